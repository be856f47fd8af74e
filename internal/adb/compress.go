package adb

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Compression names how an ADB file is compressed as a whole.
type Compression uint8

// The compressions, by their numbers in the format. Every apk v3 reads None and
// Deflate; one may be built without Zstd.
const (
	None    Compression = 0
	Deflate Compression = 1
	Zstd    Compression = 2
)

// String returns the name that apk's --compression option takes.
func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Deflate:
		return "deflate"
	case Zstd:
		return "zstd"
	}
	return "unknown"
}

const (
	magicPlain   = "ADB."
	magicDeflate = "ADBd" // and the compressed stream
	magicOther   = "ADBc" // the compression's number, its level, and the stream
)

// What the writer uses. The level of deflate is not recorded; with what flushSize
// does it comes within 2 % of the size that gzip -9 makes, in a fifth of its time.
const (
	deflateLevel = 8
	zstdLevel    = 3 // as recorded; close to what the encoder's default is
)

// maxWindow bounds the memory that a zstd stream can make its decoder allocate,
// in bytes: what apk's highest level asks for.
const maxWindow = 128 << 20

// A source remembers an error of the reader below, to tell it from one of the
// format.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// A stream is the plain content of an ADB file, bounded in size.
type stream struct {
	src   *source
	raw   *bufio.Reader // what is compressed
	plain io.Reader
	free  func() // gives the decoder back, may be nil
	left  int64  // bytes that may still come out
	max   int64
	err   error
}

// newStream takes the compression off r, of whose plain content it gives out at
// most max bytes.
func newStream(r io.Reader, max int64) (*stream, Compression, error) {
	src := &source{r: r}
	s := &stream{src: src, raw: bufio.NewReaderSize(src, 32<<10), left: max, max: max}
	head, err := s.raw.Peek(4)
	if err != nil {
		return nil, 0, s.blame(io.ErrUnexpectedEOF)
	}
	c, skip := None, 0
	switch string(head) {
	case magicPlain:
	case magicDeflate:
		c, skip = Deflate, 4
	case magicOther:
		spec, err := s.raw.Peek(6)
		if err != nil {
			return nil, 0, s.blame(io.ErrUnexpectedEOF)
		}
		c, skip = Compression(spec[4]), 6
	default:
		return nil, 0, malformed("it does not begin with %s", magicPlain)
	}
	if _, err := s.raw.Discard(skip); err != nil {
		return nil, 0, s.blame(err)
	}
	if err := s.open(c); err != nil {
		return nil, 0, err
	}
	return s, c, nil
}

// open starts decompressing.
func (s *stream) open(c Compression) error {
	switch c {
	case None:
		s.plain = s.raw
	case Deflate:
		s.plain = openFlate(s)
	case Zstd:
		z, err := openZstd(s)
		if err != nil {
			return s.blame(err)
		}
		s.plain = z
	default:
		return malformed("its compression has the unknown number %d", c)
	}
	return nil
}

// Decoders hold windows, so they are used again.
var (
	flates sync.Pool
	zstds  sync.Pool
)

func openFlate(s *stream) io.Reader {
	z, ok := flates.Get().(io.ReadCloser)
	if !ok {
		z = flate.NewReader(s.raw)
	} else if err := z.(flate.Resetter).Reset(s.raw, nil); err != nil {
		z = flate.NewReader(s.raw)
	}
	s.free = func() { flates.Put(z) }
	return z
}

func openZstd(s *stream) (io.Reader, error) {
	z, ok := zstds.Get().(*zstd.Decoder)
	if ok {
		if err := z.Reset(s.raw); err != nil {
			return nil, err
		}
	} else {
		// One at a time: without goroutines of its own, a decoder that the pool
		// drops is simply collected.
		var err error
		z, err = zstd.NewReader(s.raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow),
			zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
	}
	s.free = func() {
		if z.Reset(nil) == nil {
			zstds.Put(z)
		}
	}
	return z, nil
}

var errClosed = errors.New("read after close")

// close gives the decoder back. Nothing can be read afterwards.
func (s *stream) close() {
	if s.free != nil {
		s.free()
		s.free = nil
	}
	if s.plain != nil {
		s.plain, s.err = nil, errClosed
	}
}

// blame returns the error of the source if it has one, else says that the file
// is malformed.
func (s *stream) blame(err error) error {
	var f *fault.Error
	switch {
	case s.src.err != nil:
		return s.src.err
	case errors.As(err, &f):
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return cutShort()
	}
	return malformed("its compressed data is damaged: %w", err).Fix("fetch the file again")
}

// Read gives out plain content. Its errors are io.EOF, a fault.Invalid error, or
// an error of the source as it is.
func (s *stream) Read(p []byte) (int, error) {
	switch {
	case s.err != nil:
		return 0, s.err
	case len(p) == 0:
		return 0, nil
	}
	if int64(len(p)) > s.left+1 {
		p = p[:s.left+1] // one more than allowed, to see that there is more
	}
	n, err := s.plain.Read(p)
	if int64(n) > s.left {
		n = int(s.left)
		err = fault.New(fault.Invalid, "more than %d bytes when unpacked", s.max).
			Fix("check where the file comes from; real ones are smaller")
	}
	s.left -= int64(n)
	switch {
	case err == nil:
	case err == io.EOF:
		s.err = s.atEnd()
	default:
		s.err = s.blame(err)
	}
	return n, s.err
}

// atEnd returns io.EOF if the compressed data is the whole file.
func (s *stream) atEnd() error {
	switch _, err := s.raw.ReadByte(); {
	case err == nil:
		return malformed("something follows its compressed data")
	case s.src.err != nil:
		return s.src.err
	}
	return io.EOF
}

// newCompressor writes the magic of a compression to w and returns a writer of
// plain content, whose Close finishes the compressed stream. The output depends
// on nothing but what is written.
func newCompressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	var magic string
	var z io.WriteCloser
	var err error
	size := chunkSize
	switch c {
	case None:
		return nopCloser{w}, nil
	case Deflate:
		magic = magicDeflate
		size = flushSize
		z, err = newDeflater(w)
	case Zstd:
		magic = magicOther + string([]byte{byte(Zstd), zstdLevel})
		z, err = zstd.NewWriter(w, zstd.WithEncoderConcurrency(1),
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(zstdLevel)))
	default:
		return nil, fault.New(fault.Invalid, "no ADB file is compressed with number %d", c)
	}
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, err
	}
	return &chunker{w: z, size: size}, nil
}

// A deflater ends a block with each chunk that it is given.
type deflater struct{ *flate.Writer }

func newDeflater(w io.Writer) (io.WriteCloser, error) {
	z, err := flate.NewWriter(w, deflateLevel)
	return deflater{z}, err
}

func (d deflater) Write(p []byte) (int, error) {
	n, err := d.Writer.Write(p)
	if err == nil && len(p) == flushSize { // what is shorter is the end
		err = d.Flush()
	}
	return n, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// What a compressor gets at a time, in bytes: zstd chunkSize, and deflate flushSize,
// after which it begins a new Huffman table, since binaries change their nature that
// often.
const (
	chunkSize = 64 << 10
	flushSize = 16 << 10
)

// A chunker hands a compressor chunks of always the same size, since what one
// makes of its input may depend on how it comes in.
type chunker struct {
	w    io.WriteCloser
	buf  bytes.Buffer
	size int // of a chunk
}

func (c *chunker) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), c.size-c.buf.Len())
		c.buf.Write(p[:n])
		p = p[n:]
		written += n
		if c.buf.Len() == c.size {
			if _, err := c.buf.WriteTo(c.w); err != nil {
				return written, err
			}
		}
	}
	return written, nil
}

func (c *chunker) Close() error {
	if _, err := c.buf.WriteTo(c.w); err != nil {
		return err
	}
	return c.w.Close()
}
