package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// tools are the programs whose output must be read.
var tools = map[string][]string{
	"x.gz":   {"gzip", "-9"},
	"x.xz":   {"xz", "-6"},
	"x.bz2":  {"bzip2"},
	"x.lzma": {"xz", "--format=lzma"},
	"x.zst":  {"zstd", "-19"},
	"x":      {"cat"},
}

func pack(t testing.TB, name string, plain []byte) []byte {
	t.Helper()
	argv := tools[name]
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skipf("%s is not installed", argv[0])
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = bytes.NewReader(plain)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// sample returns text that compresses, but not to nothing.
func sample(size int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(4))
	}
	return b
}

func read(name string, packed []byte, max int64) ([]byte, error) {
	r, err := NewReader(name, bytes.NewReader(packed), max)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func TestReadsWhatToolsWrite(t *testing.T) {
	for name := range tools {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{0, 1, 100_000} {
				plain := sample(size)
				packed := pack(t, name, plain)
				for range 3 { // the second time with a used decoder
					got, err := read(name, packed, int64(size))
					if err != nil || !bytes.Equal(got, plain) {
						t.Fatalf("size %d: %d bytes, error %v", size, len(got), err)
					}
				}
			}
		})
	}
}

func TestBounds(t *testing.T) {
	for name := range tools {
		t.Run(name, func(t *testing.T) {
			packed := pack(t, name, make([]byte, 1<<20))
			got, err := read(name, packed, 1000)
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
				t.Errorf("error %v, want an invalid one that names the file", err)
			}
			if len(got) > 1000 {
				t.Errorf("%d bytes came out, want at most 1000", len(got))
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	for name := range tools {
		if name == "x" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			packed := pack(t, name, sample(100_000))
			if _, err := read(name, packed[:len(packed)/2], 1<<20); !fault.Is(err, fault.Invalid) {
				t.Errorf("cut short: %v", err)
			}
			if _, err := read(name, nil, 1<<20); name != "x.zst" && name != "x.xz" && !fault.Is(err, fault.Invalid) {
				t.Errorf("empty: %v", err)
			}
			broken := bytes.Clone(packed)
			broken[len(broken)/2] ^= 0x55
			if _, err := read(name, broken, 1<<20); name != "x.lzma" && !fault.Is(err, fault.Invalid) {
				t.Errorf("a byte changed: %v", err)
			}
			if got, err := read(name, packed, 1<<20); err != nil || len(got) != 100_000 {
				t.Errorf("after bad input a good one gives %d bytes, error %v", len(got), err)
			}
		})
	}
}

func TestSourceErrorStays(t *testing.T) {
	lost := errors.New("connection lost")
	for name := range tools {
		packed := pack(t, name, sample(100_000))
		r, err := NewReader(name, io.MultiReader(bytes.NewReader(packed[:len(packed)/2]), iotest.ErrReader(lost)), 1<<20)
		if err == nil {
			_, err = io.ReadAll(r)
			r.Close()
		}
		if !errors.Is(err, lost) {
			t.Errorf("%s: %v, want the source's own error", name, err)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	packed := pack(t, "x.xz", sample(1000))
	a, err := NewReader("x.xz", bytes.NewReader(packed), 1000)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	a.Close()
	if _, err := a.Read(make([]byte, 1)); err == nil {
		t.Error("a closed reader can be read")
	}
}

func TestWriters(t *testing.T) {
	plain := sample(300_000)
	for _, c := range []struct {
		name string
		argv []string
		open func(io.Writer) (io.WriteCloser, error)
	}{
		{"x.gz", []string{"gzip", "-dc"}, func(w io.Writer) (io.WriteCloser, error) { return NewGzipWriter(w), nil }},
		{"fast x.gz", []string{"gzip", "-dc"}, func(w io.Writer) (io.WriteCloser, error) { return NewFastGzipWriter(w), nil }},
		{"x.xz", []string{"xz", "-dc"}, NewXZWriter},
	} {
		var once []byte
		for range 2 {
			var b bytes.Buffer
			w, err := c.open(&b)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(plain); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if once != nil && !bytes.Equal(once, b.Bytes()) {
				t.Errorf("%s: two outputs differ", c.name)
			}
			once = b.Bytes()
		}
		cmd := exec.Command(c.argv[0], c.argv[1:]...)
		cmd.Stdin = bytes.NewReader(once)
		if out, err := cmd.Output(); err != nil || !bytes.Equal(out, plain) {
			t.Errorf("%s: %v reads %d bytes, error %v", c.name, c.argv, len(out), err)
		}
	}
}

func FuzzReader(f *testing.F) {
	for name := range tools {
		f.Add(name, pack(f, name, sample(300)))
		f.Add(name, pack(f, name, make([]byte, 1<<20)))
	}
	f.Fuzz(func(t *testing.T, name string, packed []byte) {
		const max = 64 << 10
		got, err := read(name, packed, max)
		if len(got) > max {
			t.Errorf("%d bytes came out, want at most %d", len(got), max)
		}
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("error %v is not an invalid one", err)
		}
	})
}

func BenchmarkSmallXZ(b *testing.B) {
	packed := pack(b, "x.xz", sample(3000))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := read("x.xz", packed, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
