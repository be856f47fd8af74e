package repo

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/compress"
)

// manyEntries makes an index of n entries.
func manyEntries(n int) []entry {
	rng := rand.New(rand.NewPCG(3, 4))
	list := make([]entry, n)
	for i := range list {
		name := fmt.Sprintf("pkg%05d", i)
		list[i] = entry{name: []byte(name), body: fmt.Appendf(nil, "Package: %s\nVersion: 1\nNoise: %x%x\nText: %s\n\n",
			name, rng.Uint64(), rng.Uint64(), strings.Repeat("word ", rng.IntN(200)))}
	}
	return list
}

func keepAll(entry) bool { return false }

func TestChunks(t *testing.T) {
	list := manyEntries(2000)
	whole := merge(nil, keepAll, list)
	if n := len(whole.Chunks()); n < 5 {
		t.Errorf("%d bytes in %d chunks", len(whole.Plain), n)
	}
	old, err := gzipText(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	oldXZ, err := xzText(whole, nil)
	if err != nil {
		t.Fatal(err)
	}
	added := entry{name: []byte("pkg00777x"), body: []byte("Package: pkg00777x\nVersion: 1\n\n")}
	next := merge(whole.Plain, keepAll, []entry{added})
	for name, form := range map[string]struct {
		pack func(*compress.Text, []byte) ([]byte, error)
		old  []byte
	}{"gzip": {gzipText, old}, "xz": {xzText, oldXZ}} {
		scratch, err := form.pack(next, nil)
		if err != nil {
			t.Fatal(err)
		}
		reused, err := form.pack(next, form.old)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(scratch, reused) {
			t.Errorf("%s: taking over chunks gives other bytes", name)
		}
		got, err := unpack(name, reused)
		if err != nil || !bytes.Equal(got, next.Plain) {
			t.Errorf("%s does not read it back: %v", name, err)
		}
	}
	if blocks, err := xzBlocks(oldXZ); err != nil || len(blocks) != len(whole.Chunks()) {
		t.Errorf("%d blocks found of %d, %v", len(blocks), len(whole.Chunks()), err)
	}
}

func unpack(tool string, data []byte) ([]byte, error) {
	c := exec.Command(tool, "-dc")
	c.Stdin = bytes.NewReader(data)
	return c.Output()
}

func TestEmptyAndOdd(t *testing.T) {
	for _, plain := range [][]byte{nil, []byte("\n"), bytes.Repeat([]byte{0}, 300<<10), noise(200 << 10)} {
		in := &compress.Text{Plain: plain}
		for tool, pack := range map[string]func(*compress.Text, []byte) ([]byte, error){"gzip": gzipText, "xz": xzText} {
			data, err := pack(in, []byte("not an index"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := unpack(tool, data); err != nil || !bytes.Equal(got, plain) {
				t.Errorf("%s of %d bytes: %v", tool, len(plain), err)
			}
		}
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.NewChaCha8([32]byte{})
	rng.Read(b)
	return b
}

// FuzzOld feeds anything as the earlier version of a compressed index: it must
// not panic, nor be taken for more than it is.
func FuzzOld(f *testing.F) {
	t := merge(nil, keepAll, manyEntries(300))
	gz, err := gzipText(t, nil)
	if err != nil {
		f.Fatal(err)
	}
	xz, err := xzText(t, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(gz[:2000])
	f.Add(xz)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, old []byte) {
		size := 0
		for _, part := range gzipMembers(old) {
			size += len(part)
		}
		blocks, _ := xzBlocks(old)
		for _, part := range blocks {
			size += len(part)
		}
		if size > 2*len(old) {
			t.Errorf("%d bytes found in %d", size, len(old))
		}
	})
}

// FuzzMerge checks that an index read back and merged with nothing stays what it
// is, whatever it holds.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("Package: a\nVersion: 1\n\nPackage: b\nVersion: 2\n\n"), []byte("usr/bin/a  utils/a,utils/b\n"))
	f.Add([]byte("Package: a"), []byte("no owner"))
	f.Add([]byte("\n\n\n\n"), []byte(" \n,\n"))
	f.Fuzz(func(t *testing.T, stanzas, contents []byte) {
		once := merge(stanzas, keepAll, nil)
		if twice := merge(once.Plain, keepAll, nil); !bytes.Equal(once.Plain, twice.Plain) {
			t.Errorf("%q became %q", once.Plain, twice.Plain)
		}
		if same := mergeContents(contents, nil, nil); !bytes.Equal(same.Plain, contents) {
			t.Errorf("%q became %q", contents, same.Plain)
		}
		liveSources(stanzas)
		mergeContents(contents, map[string]bool{"a": true}, []place{{"usr/bin/a", "utils/c"}})
	})
}

// FuzzState feeds anything as the InRelease that holds the state.
func FuzzState(f *testing.F) {
	r := newTestRepo(f, nil)
	r.publishAt(f, day, simple("one", "1"))
	f.Add([]byte(r.index(f, "InRelease")))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := parseState(t.TempDir(), in)
		if err != nil {
			return
		}
		for _, file := range s.release.Files {
			s.read(file.Name)
		}
	})
}
