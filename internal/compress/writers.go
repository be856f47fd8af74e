package compress

import (
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/ulikunitz/xz"
)

// NewGzipWriter returns a gzip writer to w whose output depends only on what is
// written: no file name, no time. It compresses an index as small as gzip -9
// does. Close finishes the stream; it does not close w.
func NewGzipWriter(w io.Writer) io.WriteCloser { return newGzip(w, 6) }

// NewFastGzipWriter is NewGzipWriter at half the time, for output that is a
// tenth larger: for an index that is written anew with every change.
func NewFastGzipWriter(w io.Writer) io.WriteCloser { return newGzip(w, 2) }

func newGzip(w io.Writer, level int) io.WriteCloser {
	z, err := gzip.NewWriterLevel(w, level)
	if err != nil {
		panic(err) // unreachable: the levels are in range
	}
	return z
}

// NewXZWriter returns an xz writer to w, deterministic too. Close finishes the
// stream; it does not close w. The error is one of writing the header to w.
func NewXZWriter(w io.Writer) (io.WriteCloser, error) {
	return xz.WriterConfig{DictCap: 8 << 20, CheckSum: xz.CRC64}.NewWriter(w)
}
