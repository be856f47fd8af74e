package apk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
)

// A gzip member is written by several goroutines: the input is cut into chunks
// of a fixed size, each compressed on its own with the 32 KiB before it as a
// dictionary. Where chunks meet, and in between, the stream is flushed to a
// whole byte, so the pieces make one deflate stream, the same whatever their
// number of makers. The flushes within a chunk are there for the sake of size:
// they begin a new Huffman table, and binaries change their nature that often.
const (
	chunkSize  = 256 << 10
	flushSize  = 16 << 10
	windowSize = 32 << 10
	// gzipLevel is that of klauspost/compress. It comes within 1.1 % of the size
	// that gzip -9 makes of libraries, programs, documents and headers (1.7 % of
	// libraries alone), in a fifth of its processor time. Level 9 gains 0.3 % and
	// takes more than three times as long, level 7 loses 0.7 % and gains a fifth.
	gzipLevel = 8
)

// gzipHeader says: deflate, no name, no time, maximum compression, Unix.
var gzipHeader = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 3}

// lastBlock is an empty deflate block with the mark of the last one.
var lastBlock = []byte{3, 0}

// A gzipWriter writes one gzip member to w. Its output depends on the input
// alone, neither on how it is cut into writes nor on workers.
type gzipWriter struct {
	w       io.Writer
	chunk   *chunk
	pending []*chunk // being compressed, oldest first
	workers int
	crc     uint32
	size    uint32 // of the input, modulo 2^32
	err     error
}

// A chunk is a piece of the input and what becomes of it. Chunks are used again.
type chunk struct {
	in   [windowSize + chunkSize]byte // the window first
	dict int                          // bytes of the window that are set, at its end
	n    int                          // bytes of input behind the window
	out  bytes.Buffer
	w    *flate.Writer
	done chan struct{}
	err  error
}

var chunks = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, gzipLevel)
	if err != nil {
		panic(err) // unreachable: the level is in range
	}
	return &chunk{w: w, done: make(chan struct{}, 1)}
}}

// newGzipWriter returns a writer of one member. So many goroutines compress at a
// time as there are workers, as there are processors if it is 0.
func newGzipWriter(w io.Writer, workers int) *gzipWriter {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	g := &gzipWriter{w: w, workers: workers, chunk: chunks.Get().(*chunk)}
	g.chunk.n, g.chunk.dict = 0, 0
	_, g.err = w.Write(gzipHeader)
	return g
}

// Write compresses p. An error is one of writing to the underlying writer.
func (g *gzipWriter) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && g.err == nil {
		c := g.chunk
		if c.n == chunkSize {
			g.dispatch()
			continue
		}
		n := copy(c.in[windowSize+c.n:], p)
		c.n += n
		p = p[n:]
	}
	if g.err != nil {
		return 0, g.err
	}
	return total, nil
}

// dispatch sends the chunk off to be compressed and begins another.
func (g *gzipWriter) dispatch() {
	c := g.chunk
	input := c.in[windowSize:][:c.n]
	g.crc = crc32.Update(g.crc, crc32.IEEETable, input)
	g.size += uint32(c.n)
	g.chunk = chunks.Get().(*chunk)
	g.chunk.n, g.chunk.dict = 0, copy(g.chunk.in[:windowSize], c.in[c.n:][:windowSize])
	for len(g.pending) >= g.workers {
		g.collect()
	}
	g.pending = append(g.pending, c)
	go c.compress()
}

// compress compresses the input of the chunk and ends on a whole byte.
func (c *chunk) compress() {
	c.out.Reset()
	c.w.ResetDict(&c.out, c.in[windowSize-c.dict:windowSize])
	c.err = nil
	for rest := c.in[windowSize:][:c.n]; len(rest) > 0 && c.err == nil; {
		n := min(flushSize, len(rest))
		if _, c.err = c.w.Write(rest[:n]); c.err == nil {
			c.err = c.w.Flush()
		}
		rest = rest[n:]
	}
	c.done <- struct{}{}
}

// collect waits for the oldest chunk and writes it.
func (g *gzipWriter) collect() {
	c := g.pending[0]
	g.pending = g.pending[1:]
	<-c.done
	if g.err == nil {
		g.err = c.err
	}
	if g.err == nil {
		_, g.err = g.w.Write(c.out.Bytes())
	}
	chunks.Put(c)
}

// Close writes what is left and ends the member. It must be called, also after
// an error.
func (g *gzipWriter) Close() error {
	if g.chunk == nil {
		return g.err
	}
	if g.chunk.n > 0 {
		g.dispatch()
	}
	for len(g.pending) > 0 {
		g.collect()
	}
	chunks.Put(g.chunk)
	g.chunk = nil
	if g.err == nil {
		end := binary.LittleEndian.AppendUint32(bytes.Clone(lastBlock), g.crc)
		_, g.err = g.w.Write(binary.LittleEndian.AppendUint32(end, g.size))
	}
	return g.err
}

// gzipMember returns one gzip member with the content b.
func gzipMember(b []byte, workers int) []byte {
	var out bytes.Buffer
	g := newGzipWriter(&out, workers)
	_, _ = g.Write(b)
	if err := g.Close(); err != nil {
		panic(err) // unreachable: a buffer takes everything
	}
	return out.Bytes()
}

// A source reads gzip members from r one after the other and lets hashes see
// exactly the compressed bytes of each.
type source struct {
	r      io.Reader
	buf    *bufio.Reader
	gz     gzip.Reader
	hashes []hash.Hash
	last   []byte // what the last read from r gave
	tail   []byte // its end, which is not known to belong to the current member
	at     int64  // bytes of finished members
	member int64  // bytes of the current member that hashes have seen
	err    error  // of r
}

// sourceBuffer is small since for an index only the beginning of a package is
// read.
const sourceBuffer = 8 << 10

var sources = sync.Pool{New: func() any {
	return &source{buf: bufio.NewReaderSize(nil, sourceBuffer)}
}}

// openSource returns a source that reads from r; release gives it back.
func openSource(r io.Reader) *source {
	s := sources.Get().(*source)
	s.r, s.tail, s.at, s.member, s.err = r, nil, 0, 0, nil
	s.buf.Reset(underlying{s})
	return s
}

// release gives the source back. It must not be used any more.
func (s *source) release() {
	s.r, s.hashes = nil, nil
	sources.Put(s)
}

// underlying is what the buffer of a source reads from.
type underlying struct{ *source }

// Read is called when the buffer is empty: all that came before belongs to the
// current member.
func (u underlying) Read(p []byte) (int, error) {
	s := u.source
	s.account(len(s.tail))
	n, err := s.r.Read(p)
	s.last = append(s.last[:0], p[:n]...)
	s.tail = s.last
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// account lets the hashes see the first n bytes of the tail.
func (s *source) account(n int) {
	for _, h := range s.hashes {
		h.Write(s.tail[:n])
	}
	s.tail = s.tail[n:]
	s.member += int64(n)
}

// more reports whether there is another byte.
func (s *source) more() (bool, error) {
	if _, err := s.buf.Peek(1); err != nil {
		if err == io.EOF {
			return false, nil
		}
		return false, err
	}
	return true, nil
}

// open begins the next member, whose compressed bytes the hashes will see.
func (s *source) open(hashes ...hash.Hash) error {
	s.hashes = hashes
	if err := s.gz.Reset(s.buf); err != nil {
		return s.blame(err)
	}
	s.gz.Multistream(false)
	return nil
}

// Read reads plain content of the current member, up to io.EOF at its end.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.gz.Read(p)
	if err != nil && err != io.EOF {
		err = s.blame(err)
	}
	return n, err
}

// end ends the current member, which has been read to its end, and returns the
// size of its compressed bytes.
func (s *source) end() int64 {
	s.account(len(s.tail) - s.buf.Buffered())
	n := s.member
	s.at, s.member, s.hashes = s.at+n, 0, nil
	return n
}

// blame returns the error of the underlying reader if it has one, else says that
// the data is malformed.
func (s *source) blame(err error) error {
	switch {
	case s.err != nil:
		return s.err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return invalid("the compressed data is cut short").Fix("fetch the file again")
	}
	return invalid("the compressed data is malformed: %w", err).Fix("fetch the file again")
}

// readMember reads a whole member of at most max bytes of content.
func (s *source) readMember(max int64, hashes ...hash.Hash) ([]byte, error) {
	if err := s.open(hashes...); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(s, max+1))
	switch {
	case err != nil:
		return nil, err
	case n > max:
		return nil, invalid("more than %d bytes when unpacked", max)
	}
	s.end()
	return b.Bytes(), nil
}
