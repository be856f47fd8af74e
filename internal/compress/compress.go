// Package compress reads and writes the compression formats that packages come
// in. Readers are bounded, since a few bytes can claim to be gigabytes, and
// their decoders are pooled, since a repository has thousands of small archives.
package compress

import (
	"bufio"
	"errors"
	"io"
	"path"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// NewReader returns a reader of the plain content of r, which is compressed as
// the suffix of name says: .gz, .tgz, .xz, .txz, .bz2, .lzma, .zst, or not at all. Reading
// more than max bytes, or a malformed or truncated stream, is a fault.Invalid
// error that names the file; an error of r itself is returned as it is. Close
// gives the decoder back; it does not close r.
func NewReader(name string, r io.Reader, max int64) (io.ReadCloser, error) {
	src := &tracked{r: r}
	dec, err := open(name, src)
	if err != nil {
		return nil, src.blame(name, err)
	}
	return &reader{name: name, src: src, dec: dec, left: max, max: max}, nil
}

// A decoder decompresses; Close puts it into its pool.
type decoder interface {
	io.Reader
	Close() error
}

func open(name string, r io.Reader) (decoder, error) {
	switch path.Ext(name) {
	case ".gz", ".tgz":
		return openGzip(r)
	case ".xz", ".txz":
		return openXZ(r)
	case ".zst":
		return openZstd(r)
	case ".bz2":
		return openBzip2(r), nil
	case ".lzma":
		return openLZMA(r)
	}
	return io.NopCloser(r), nil
}

// Suffixes returns the file name suffixes, with the dot, that NewReader knows.
func Suffixes() []string { return []string{".xz", ".gz", ".zst", ".bz2", ".lzma"} }

// tracked remembers an error of the source, to tell it from one of the format.
type tracked struct {
	r   io.Reader
	err error
}

func (t *tracked) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		t.err = err
	}
	return n, err
}

// blame returns the error of the source if it has one, else says that the file
// is malformed.
func (t *tracked) blame(name string, err error) error {
	switch {
	case t.err != nil:
		return t.err
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), errors.Is(err, errTruncated):
		return fault.New(fault.Invalid, "the compressed data is cut short").At(name, 0).Fix("fetch the file again")
	}
	return fault.New(fault.Invalid, "the compressed data is malformed: %w", err).At(name, 0).Fix("fetch the file again")
}

// reader bounds a decoder and words its errors.
type reader struct {
	name string
	src  *tracked
	dec  decoder
	left int64
	max  int64
	err  error
}

func (r *reader) Read(p []byte) (int, error) {
	switch {
	case r.err != nil:
		return 0, r.err
	case len(p) == 0:
		return 0, nil
	}
	if int64(len(p)) > r.left+1 {
		p = p[:r.left+1] // one more than allowed, to see that there is more
	}
	n, err := r.dec.Read(p)
	if int64(n) > r.left {
		n = int(r.left)
		r.err = fault.New(fault.Invalid, "more than %d bytes when unpacked", r.max).At(r.name, 0).
			Fix("check where the file comes from; real ones are smaller")
		r.left = 0
		return n, r.err
	}
	r.left -= int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		r.err = io.EOF
	default:
		r.err = r.src.blame(r.name, err)
	}
	return n, r.err
}

var errClosed = errors.New("read after close")

// Close gives the decoder back to its pool. Closing twice does nothing.
func (r *reader) Close() error {
	if r.dec == nil {
		return nil
	}
	err := r.dec.Close()
	r.dec, r.err = nil, errClosed
	return err
}

// buffered returns r as a source of single bytes, which some decoders want.
func buffered(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, 32<<10) }
