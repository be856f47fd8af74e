package apk

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// mixed returns content of changing nature, some of it random.
func mixed(size int) []byte {
	b := []byte(noise(size))
	for at := 0; at+50_000 < size; at += 100_000 {
		sum := sha256.Sum256(b[at : at+1000])
		for i := range 50_000 {
			if i%32 == 0 {
				sum = sha256.Sum256(sum[:])
			}
			b[at+i] = sum[i%32]
		}
	}
	return b
}

func TestGzipWriter(t *testing.T) {
	for _, size := range []int{0, 1, flushSize, flushSize + 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 17} {
		plain := mixed(size)
		one := gzipMember(plain, 1)
		for _, workers := range []int{2, 3, 16, 0} {
			if !bytes.Equal(gzipMember(plain, workers), one) {
				t.Errorf("%d bytes: the output of %d workers is another one", size, workers)
			}
		}
		var b bytes.Buffer
		g := newGzipWriter(&b, 2)
		for rest := plain; len(rest) > 0; {
			n := min(len(rest), 1+len(rest)/3)
			if _, err := g.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := errors.Join(g.Close(), g.Close()); err != nil || !bytes.Equal(b.Bytes(), one) {
			t.Errorf("%d bytes: the output depends on how they are written: %v", size, err)
		}
		r, err := gzip.NewReader(bytes.NewReader(one))
		if err != nil {
			t.Fatal(err)
		}
		r.Multistream(false)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %d are read back, %v", size, len(got), err)
		}
		if _, err := r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d bytes: more than one member", size)
		}
	}
}

// The bytes of packages that were published must come out again of the same
// input. If a new version of the compressor breaks this, say so in its commit.
func TestGzipStaysTheSame(t *testing.T) {
	sum := sha256.Sum256(gzipMember(mixed(1<<20), 2))
	golden(t, "gzip.sha256", []byte(hex.EncodeToString(sum[:])+"\n"))
}

var errFull = errors.New("no space left")

// full is a writer that takes some bytes.
type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestGzipWriterError(t *testing.T) {
	plain := mixed(5 * chunkSize)
	for _, left := range []int{0, 5, 10, 100, chunkSize, 2 * chunkSize} {
		g := newGzipWriter(&full{left}, 2)
		_, err := g.Write(plain)
		if err2 := g.Close(); !errors.Is(err2, errFull) || err != nil && !errors.Is(err, errFull) {
			t.Errorf("room for %d: %v, %v", left, err, err2)
		}
	}
	if !bytes.Equal(gzipMember(plain, 2), gzipMember(plain, 1)) {
		t.Error("errors leave something behind")
	}
}

// However its reader hands out bytes, a source finds where members end.
func TestSource(t *testing.T) {
	parts := [][]byte{gzipMember([]byte("signature"), 1), gzipMember(mixed(300_000), 1), gzipMember(nil, 1), gzipMember(mixed(30_000), 1)}
	all := bytes.Join(parts, nil)
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"all": func(r io.Reader) io.Reader { return r }, "half": iotest.HalfReader, "one byte": iotest.OneByteReader, "with the end": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			s := openSource(wrap(bytes.NewReader(all)))
			defer s.release()
			at := int64(0)
			for i, part := range parts {
				sum := sha256.New()
				if _, err := s.readMember(1<<20, sum); err != nil {
					t.Fatal(err)
				}
				if want := sha256.Sum256(part); !bytes.Equal(sum.Sum(nil), want[:]) {
					t.Errorf("member %d: the hash is not that of its bytes", i)
				}
				if at += int64(len(part)); s.at != at {
					t.Errorf("member %d ends at %d, want %d", i, s.at, at)
				}
				if more, err := s.more(); err != nil || more != (i < len(parts)-1) {
					t.Errorf("member %d: more is %t, %v", i, more, err)
				}
			}
		})
	}
}

func TestSourceErrors(t *testing.T) {
	lost := errors.New("connection lost")
	packed := gzipMember(mixed(100_000), 1)
	for _, c := range []struct {
		name string
		r    io.Reader
		want string
	}{
		{"empty", bytes.NewReader(nil), "cut short"},
		{"cut", bytes.NewReader(packed[:len(packed)/2]), "cut short"},
		{"cut in the trailer", bytes.NewReader(packed[:len(packed)-3]), "cut short"},
		{"no gzip", bytes.NewReader(make([]byte, 100)), "malformed"},
		{"changed", bytes.NewReader(append(packed[:len(packed)-8:len(packed)-8], make([]byte, 8)...)), "malformed"},
		{"too large", bytes.NewReader(gzipMember(make([]byte, 200_000), 1)), "more than 100000 bytes"},
	} {
		s := openSource(c.r)
		_, err := s.readMember(100_000)
		checkError(t, err, fault.Invalid, c.want)
		s.release()
	}
	s := openSource(io.MultiReader(bytes.NewReader(packed[:1000]), iotest.ErrReader(lost)))
	defer s.release()
	if _, err := s.readMember(100_000); !errors.Is(err, lost) {
		t.Errorf("%v, want the reader's own error", err)
	}
}
