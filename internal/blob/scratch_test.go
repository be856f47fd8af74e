package blob_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// put stores contents under the given names.
func put(t *testing.T, s blob.Store, contents map[string]string, names ...string) []ashlar.File {
	t.Helper()
	var files []ashlar.File
	for _, name := range names {
		f, err := s.Put(t.Context(), strings.NewReader(contents[name]), "")
		if err != nil {
			t.Fatal(err)
		}
		f.Name = name
		files = append(files, f)
	}
	return files
}

var tarContents = map[string]string{
	"a":                                  "",
	"block":                              strings.Repeat("b", 512),
	"long":                               strings.Repeat("long ", 50_000),
	strings.Repeat("deep/", 60) + "name": "c",
}

func TestScratchTar(t *testing.T) {
	under := blob.NewMemory()
	s := blob.NewScratch(under)
	deep := strings.Repeat("deep/", 60) + "name"
	files := put(t, under, tarContents, "block", "a", deep, "long")
	f, err := s.Tar(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.Tar(t.Context(), files); err != nil || again != f {
		t.Errorf("once more: %v, %v; first %v", again, err, f)
	}
	if n, err := s.Stat(t.Context(), f.Digest); err != nil || n != f.Size {
		t.Errorf("stat %d, %v, want %d", n, err, f.Size)
	}
	if _, err := under.Stat(t.Context(), f.Digest); !fault.Is(err, fault.NotFound) {
		t.Errorf("the archive was stored: %v", err)
	}
	if err := blob.Verify(t.Context(), s, f.Digest); err != nil {
		t.Error(err)
	}
	all, err := blob.ReadAll(t.Context(), s, f.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Open(t.Context(), f.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := iotest.TestReader(b, all); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(tarContents, untar(t, all)); diff != "" {
		t.Error(diff)
	}
}

// untar returns the files of an archive by name.
func untar(t *testing.T, b []byte) map[string]string {
	t.Helper()
	got := map[string]string{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode != 0o644 || h.Uid != 0 || h.ModTime.Unix() != 0 {
			t.Errorf("%s: %+v", h.Name, h)
		}
		got[h.Name] = string(content)
	}
}

func TestScratchTarMissing(t *testing.T) {
	s := blob.NewScratch(blob.NewMemory())
	_, err := s.Tar(t.Context(), []ashlar.File{{Name: "x", Digest: ashlar.DigestOf([]byte("x"))}})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Tar(t.Context(), put(t, s, map[string]string{"a\x00b": "c"}, "a\x00b")); err == nil {
		t.Error("a name that no archive can hold was taken")
	}
}

func TestScratchClosed(t *testing.T) {
	s := blob.NewScratch(blob.NewMemory())
	f, err := s.Tar(t.Context(), put(t, s, map[string]string{"a": "b"}, "a"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Open(t.Context(), f.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(b); err == nil {
		t.Error("read after close")
	}
}
