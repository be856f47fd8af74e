package blob_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/blob/blobtest"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func newDir(t *testing.T) *blob.Dir {
	t.Helper()
	d, err := blob.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDir(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return newDir(t) })
}

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return blob.NewMemory() })
}

func TestScratch(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return blob.NewScratch(blob.NewMemory()) })
}

// ingest returns what lies in the folder of unfinished files.
func ingest(t *testing.T, d *blob.Dir) []os.DirEntry {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(d.Root(), "ingest"))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestDirLayout(t *testing.T) {
	d := newDir(t)
	f, err := d.Put(t.Context(), strings.NewReader("hello"), "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Root(), "blobs", "sha256", f.Digest.Hex())
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o444 {
		t.Errorf("%s: %v, %v", path, info, err)
	}
	if left := ingest(t, d); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	var seen []ashlar.File
	if err := d.Walk(t.Context(), func(f ashlar.File) error { seen = append(seen, f); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 1 || seen[0] != f {
		t.Errorf("walk saw %v", seen)
	}
}

func TestDirVerifyAltered(t *testing.T) {
	d := newDir(t)
	f, err := d.Put(t.Context(), strings.NewReader("hello"), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(d.Path(f.Digest), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Path(f.Digest), []byte("hellO"), 0o644); err != nil {
		t.Fatal(err)
	}
	err = d.Verify(t.Context(), f.Digest)
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), d.Path(f.Digest)) {
		t.Errorf("got %v", err)
	}
}

func TestNewDirCleans(t *testing.T) {
	d := newDir(t)
	dead := filepath.Join(d.Root(), "ingest", "put-dead")
	alive := filepath.Join(d.Root(), "ingest", "put-alive")
	for _, p := range []string{dead, alive} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.NewDir(d.Root()); err != nil {
		t.Fatal(err)
	}
	if left := ingest(t, d); len(left) != 1 || left[0].Name() != "put-alive" {
		t.Errorf("left: %v", left)
	}
}

func TestDirFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("tmpfs", root, "tmpfs", 0, "size=128k"); err != nil {
		t.Skipf("cannot mount a small tmpfs: %v", err)
	}
	defer syscall.Unmount(root, syscall.MNT_DETACH)
	d, err := blob.NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Put(t.Context(), bytes.NewReader(make([]byte, 1<<20)), "")
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if left := ingest(t, d); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := d.Put(t.Context(), strings.NewReader("small"), ""); err != nil {
		t.Errorf("after a full disk: %v", err)
	}
}
