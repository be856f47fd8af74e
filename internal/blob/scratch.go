package blob

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Scratch is a Store over another one that keeps for itself what is put into
// it, in memory. It also has tar archives of the other's blobs, which take no
// room: they are put together while they are read. What is large or has to last
// does not belong there.
type Scratch struct {
	under Store
	own   *Memory

	mu   sync.RWMutex
	tars map[ashlar.Digest]*layout
}

// NewScratch returns a Scratch over a store.
func NewScratch(under Store) *Scratch {
	return &Scratch{under: under, own: NewMemory(), tars: map[ashlar.Digest]*layout{}}
}

// Put keeps the content in memory. See Store.
func (s *Scratch) Put(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error) {
	return s.own.Put(ctx, r, want)
}

// Open returns a blob of either store, or an archive. See Store.
func (s *Scratch) Open(ctx context.Context, d ashlar.Digest) (Blob, error) {
	if l := s.tar(d); l != nil {
		return l.open(ctx, s), nil
	}
	if b, err := s.own.Open(ctx, d); err == nil {
		return b, nil
	}
	return s.under.Open(ctx, d)
}

// Stat returns the size of a blob or an archive. See Store.
func (s *Scratch) Stat(ctx context.Context, d ashlar.Digest) (int64, error) {
	if l := s.tar(d); l != nil {
		return l.size, nil
	}
	if n, err := s.own.Stat(ctx, d); err == nil {
		return n, nil
	}
	return s.under.Stat(ctx, d)
}

func (s *Scratch) tar(d ashlar.Digest) *layout {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.tars[d]
}

// Tar adds a tar archive of blobs and returns its digest and size. Its bytes
// depend on the members alone: they belong to root, are readable by all and date
// from the epoch. The blobs are read once, for the digest.
func (s *Scratch) Tar(ctx context.Context, members []ashlar.File) (ashlar.File, error) {
	l, err := s.lay(ctx, members)
	if err != nil {
		return ashlar.File{}, err
	}
	b := l.open(ctx, s)
	defer b.Close()
	f, err := measure(ctx, io.Discard, b)
	if err != nil {
		return ashlar.File{}, fault.New(fault.Internal, "read blobs: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tars[f.Digest] = l
	return f, nil
}

// A layout says what an archive is made of, in order.
type layout struct {
	parts []part
	size  int64
}

// A part is a run of bytes: given ones, or those of a blob.
type part struct {
	at, size int64
	bytes    []byte // nil for a blob
	digest   ashlar.Digest
}

// lay returns the layout of an archive of the members.
func (s *Scratch) lay(ctx context.Context, members []ashlar.File) (*layout, error) {
	l := &layout{}
	var text bytes.Buffer // what goes before the next blob
	w := tar.NewWriter(&text)
	flush := func() {
		if text.Len() > 0 {
			l.add(part{size: int64(text.Len()), bytes: bytes.Clone(text.Bytes())})
			text.Reset()
		}
	}
	for _, m := range members {
		size, err := s.Stat(ctx, m.Digest)
		if err != nil {
			return nil, err
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: m.Name, Mode: 0o644, Size: size}); err != nil {
			return nil, fault.New(fault.Invalid, "put %q into an archive: %w", m.Name, err)
		}
		flush()
		l.add(part{size: size, digest: m.Digest})
		if rest := size % blockSize; rest != 0 {
			text.Write(make([]byte, blockSize-rest))
		}
		// The writer saw the header only; the next one must not wait for content.
		w = tar.NewWriter(&text)
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	flush()
	return l, nil
}

// blockSize is what tar rounds every member up to, in bytes.
const blockSize = 512

func (l *layout) add(p part) {
	p.at = l.size
	l.parts = append(l.parts, p)
	l.size += p.size
}

// open returns the archive as a blob. The blobs in it are opened when they are
// read.
func (l *layout) open(ctx context.Context, from Store) Blob {
	r := &tarReader{ctx: ctx, from: from, parts: l.parts, opened: make([]opened, len(l.parts))}
	return tarBlob{io.NewSectionReader(r, 0, l.size), r}
}

// A tarBlob is an open archive.
type tarBlob struct {
	*io.SectionReader
	r *tarReader
}

// Close closes the blobs that were opened.
func (t tarBlob) Close() error {
	for i := range t.r.opened {
		o := &t.r.opened[i]
		o.once.Do(func() { o.err = fs.ErrClosed })
		if o.blob != nil {
			o.blob.Close()
		}
	}
	return nil
}

// A tarReader reads an archive at any place, for several readers at a time.
type tarReader struct {
	ctx    context.Context
	from   Store
	parts  []part
	opened []opened // by part
}

// opened is a blob of an archive, once it was needed.
type opened struct {
	once sync.Once
	blob Blob
	err  error
}

// ReadAt implements io.ReaderAt.
func (t *tarReader) ReadAt(b []byte, off int64) (int, error) {
	i := sort.Search(len(t.parts), func(i int) bool { return t.parts[i].at+t.parts[i].size > off })
	n := 0
	for ; i < len(t.parts) && n < len(b); i++ {
		p := t.parts[i]
		within := off + int64(n) - p.at
		want := b[n:min(len(b), n+int(p.size-within))]
		if err := t.read(i, want, within); err != nil {
			return n, err
		}
		n += len(want)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// read fills b from a part.
func (t *tarReader) read(i int, b []byte, off int64) error {
	p := t.parts[i]
	if p.bytes != nil {
		copy(b, p.bytes[off:])
		return nil
	}
	o := &t.opened[i]
	o.once.Do(func() { o.blob, o.err = t.from.Open(t.ctx, p.digest) })
	if o.err != nil {
		return o.err
	}
	n, err := o.blob.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // the blob is shorter than it was
	}
	return err
}
