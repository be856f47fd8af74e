package compress

import (
	"compress/bzip2"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz/lzma"
	"github.com/xi2/xz"
)

// maxWindow bounds the memory that a stream can make its decoder allocate, in
// bytes. xz -9 asks for 64 MiB, zstd --ultra -22 for 128 MiB.
const maxWindow = 128 << 20

// errTruncated stands for a decoder's own way to say that the data ends early.
var errTruncated = errors.New("unexpected end of data")

// Decoders hold windows of up to several megabytes, so they are used again.
var (
	gzips sync.Pool
	xzs   sync.Pool
	zstds sync.Pool
)

type gzipDecoder struct{ *gzip.Reader }

func openGzip(r io.Reader) (decoder, error) {
	if z, ok := gzips.Get().(*gzip.Reader); ok {
		if err := z.Reset(r); err != nil {
			return nil, err
		}
		return gzipDecoder{z}, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	return gzipDecoder{z}, nil
}

func (d gzipDecoder) Close() error {
	gzips.Put(d.Reader)
	return nil
}

type xzDecoder struct{ *xz.Reader }

func openXZ(r io.Reader) (decoder, error) {
	z, ok := xzs.Get().(*xz.Reader)
	if !ok {
		var err error
		if z, err = xz.NewReader(nil, maxWindow); err != nil {
			return nil, err
		}
	}
	if err := z.Reset(r); err != nil {
		return nil, xzError(err)
	}
	return xzDecoder{z}, nil
}

func (d xzDecoder) Read(p []byte) (int, error) {
	n, err := d.Reader.Read(p)
	return n, xzError(err)
}

func (d xzDecoder) Close() error {
	xzs.Put(d.Reader)
	return nil
}

func xzError(err error) error {
	if errors.Is(err, xz.ErrBuf) {
		return errTruncated
	}
	return err
}

type zstdDecoder struct{ *zstd.Decoder }

func openZstd(r io.Reader) (decoder, error) {
	if z, ok := zstds.Get().(*zstd.Decoder); ok {
		if err := z.Reset(r); err != nil {
			return nil, err
		}
		return zstdDecoder{z}, nil
	}
	// One at a time: without goroutines of its own, a decoder that the pool
	// drops is simply collected.
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return zstdDecoder{z}, nil
}

func (d zstdDecoder) Close() error {
	if err := d.Decoder.Reset(nil); err != nil {
		return err
	}
	zstds.Put(d.Decoder)
	return nil
}

func openBzip2(r io.Reader) decoder { return io.NopCloser(bzip2.NewReader(buffered(r))) }

func openLZMA(r io.Reader) (decoder, error) {
	z, err := lzma.ReaderConfig{DictCap: maxWindow}.NewReader(buffered(r))
	if err != nil {
		return nil, err
	}
	return io.NopCloser(z), nil
}
