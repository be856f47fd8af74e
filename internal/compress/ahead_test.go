package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

// closing counts how often it is closed.
type closing struct {
	io.Reader
	closed int
}

func (c *closing) Close() error { c.closed++; return nil }

func TestAhead(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 3*chunkSize/16+5)
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, len(content)} {
		for _, max := range []int{0, chunkSize, 10 * chunkSize} {
			src := &closing{Reader: bytes.NewReader(content[:n])}
			r := Ahead(src, max)
			if err := iotest.TestReader(r, content[:n]); err != nil {
				t.Errorf("%d bytes, %d ahead: %v", n, max, err)
			}
			for range 2 { // closing twice does nothing
				if err := r.Close(); err != nil || src.closed != 1 {
					t.Errorf("%d bytes: closed %d times, %v", n, src.closed, err)
				}
			}
		}
	}
}

func TestAheadError(t *testing.T) {
	broken := errors.New("broken")
	r := Ahead(io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, chunkSize+7)), iotest.ErrReader(broken))), chunkSize)
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); n != chunkSize+7 || !errors.Is(err, broken) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, broken) {
		t.Errorf("once more: %v", err)
	}
}

// TestAheadStop closes a reader of something without an end.
func TestAheadStop(t *testing.T) {
	src := &closing{Reader: endless{}}
	r := Ahead(src, 2*chunkSize)
	if _, err := io.ReadFull(r, make([]byte, chunkSize/2)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || src.closed != 1 {
		t.Errorf("closed %d times, %v", src.closed, err)
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read after close: %d, %v", n, err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
