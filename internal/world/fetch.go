package world

import (
	"context"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxHeld bounds how many bytes of files are held in memory, that are read ahead
// and checked but not yet written. A package with more is read twice: once to
// check it, once to write it.
const maxHeld = 256 << 20

// An opener opens the file of a package.
type opener func(ctx context.Context, c Choice) (io.ReadCloser, error)

// A loaded package has been read to its end, and all its digests hold.
type loaded struct {
	info    apk.Info
	scripts apk.Scripts
	entries []apk.Entry
	// contents holds those of regular files, each by its entry; nil if they were
	// too large to be kept.
	contents [][]byte
	arena    *arena
	weight   int64 // of the contents as they count against maxHeld
	err      error
}

// An arena is memory for the contents of one package after another.
type arena struct{ b []byte }

var arenas = sync.Pool{New: func() any { return new(arena) }}

// maxArena is the size of the largest arena that is used again.
const maxArena = 32 << 20

// A fetcher reads packages ahead of their use, several at a time, and gives them
// out in order.
type fetcher struct {
	open  opener
	room  *semaphore.Weighted
	ready []chan *loaded
	group sync.WaitGroup
	stop  context.CancelFunc
}

// fetch starts to read the packages. close must be called.
func fetch(ctx context.Context, choices []Choice, open opener, workers int) *fetcher {
	ctx, stop := context.WithCancel(ctx)
	f := &fetcher{open: open, room: semaphore.NewWeighted(maxHeld), ready: make([]chan *loaded, len(choices)), stop: stop}
	for i := range f.ready {
		f.ready[i] = make(chan *loaded, 1)
	}
	f.group.Go(func() { f.start(ctx, choices, workers) })
	return f
}

// start starts to read each package when there is room for its contents, never
// more than workers at a time.
func (f *fetcher) start(ctx context.Context, choices []Choice, workers int) {
	places := semaphore.NewWeighted(int64(workers))
	for i := range choices {
		c := choices[i]
		weight := int64(0)
		if c.InstalledSize > 0 && c.InstalledSize <= maxHeld/2 {
			weight = c.InstalledSize + slack
		}
		err := f.room.Acquire(ctx, weight)
		if err == nil {
			err = places.Acquire(ctx, 1)
		}
		if err != nil {
			f.ready[i] <- &loaded{err: err}
			return
		}
		f.group.Go(func() {
			defer places.Release(1)
			f.ready[i] <- load(ctx, c, f.open, weight)
		})
	}
}

// slack is what a package may have in files beyond the size that the index gives:
// that counts blocks or bytes, as its maker saw fit.
const slack = 1 << 20

// next returns package i, once it is there; release gives its memory back. It is
// called once for each package in order.
func (f *fetcher) next(ctx context.Context, i int) (*loaded, error) {
	select {
	case l := <-f.ready[i]:
		return l, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release makes room for other packages. With reuse nothing may hold the contents
// any more.
func (f *fetcher) release(l *loaded, reuse bool) {
	f.room.Release(l.weight)
	if reuse && l.arena != nil && cap(l.arena.b) <= maxArena {
		arenas.Put(l.arena)
	}
	l.contents, l.arena, l.weight = nil, nil, 0
}

// close ends all reading.
func (f *fetcher) close() {
	f.stop()
	f.group.Wait()
}

// load reads and checks a package. Of its contents it keeps as much as weight
// allows, all or nothing.
func load(ctx context.Context, c Choice, open opener, weight int64) *loaded {
	l := &loaded{weight: weight}
	if weight > 0 {
		l.arena = arenas.Get().(*arena)
		if l.arena.b = l.arena.b[:0]; int64(cap(l.arena.b)) < weight {
			l.arena.b = make([]byte, 0, weight)
		}
	}
	if c.InstalledSize == 0 {
		l.info = *c.Info // as apk, which takes nothing from such a package
		return l
	}
	l.err = walk(ctx, c, open, l.head, l.keep)
	if l.err != nil || l.arena == nil {
		l.contents = nil
	}
	return l
}

// head takes what is known of a package before its files.
func (l *loaded) head(info *apk.Info, scripts *apk.Scripts, files int) {
	l.info, l.scripts = *info, *scripts
	l.entries, l.contents = make([]apk.Entry, 0, files), make([][]byte, 0, files)
}

// keep takes a file.
func (l *loaded) keep(_ int, e *apk.Entry, r io.Reader) error {
	l.entries = append(l.entries, *e)
	if l.arena == nil || e.Kind != apk.RegularFile {
		l.contents = append(l.contents, nil)
		return nil
	}
	at := len(l.arena.b)
	if int64(cap(l.arena.b)-at) < e.Size {
		l.arena = nil // too large; what follows is only checked
		l.contents = append(l.contents, nil)
		return nil
	}
	l.arena.b = l.arena.b[:at+int(e.Size)]
	content := l.arena.b[at:]
	l.contents = append(l.contents, content[:len(content):len(content)])
	_, err := io.ReadFull(r, content)
	return err
}

// walk opens a package, checks that it is the one that the index names, gives its
// head and then every file with its number to the functions, and checks the whole.
// Nothing that file was given may be trusted before walk has returned nil.
func walk(ctx context.Context, c Choice, open opener, head func(*apk.Info, *apk.Scripts, int), file func(int, *apk.Entry, io.Reader) error) error {
	r, err := open(ctx, c)
	if err != nil {
		return fault.Within(err, "package %s", c)
	}
	defer r.Close()
	number := -1
	each := func(e *apk.Entry, content io.Reader) error {
		number++
		return file(number, e, content)
	}
	in := interrupted{ctx, r}
	if c.v3() {
		err = walkV3(in, c, head, each)
	} else {
		err = walkV2(in, c, head, each)
	}
	if err != nil {
		return fault.Within(err, "package %s", c)
	}
	return nil
}

func walkV2(r io.Reader, c Choice, head func(*apk.Info, *apk.Scripts, int), file func(*apk.Entry, io.Reader) error) error {
	p, err := apk.OpenV2(r, nil)
	if err != nil {
		return err
	}
	if p.Identity != c.identity() {
		return fault.New(fault.Denied, "the file is not the one that the index names").Fix("fetch the index and the file again")
	}
	if err := sameName(&p.Info, c); err != nil {
		return err
	}
	head(&p.Info, &p.Scripts, 0)
	return p.Walk(file)
}

func walkV3(r io.Reader, c Choice, head func(*apk.Info, *apk.Scripts, int), file func(*apk.Entry, io.Reader) error) error {
	p, err := apk.OpenV3(r, apk.V3Expected([32]byte(c.Hash)))
	if err != nil {
		return err
	}
	if err := sameName(&p.Info, c); err != nil {
		return err
	}
	head(&p.Info, &p.Scripts, len(p.Entries))
	return p.Walk(file)
}

// sameName wants the package to be what the index says it is.
func sameName(i *apk.Info, c Choice) error {
	if i.Name != c.Name || i.Version != c.Version {
		return fault.New(fault.Denied, "the file is the package %.80q of version %.80q", i.Name, i.Version).
			Fix("fetch the index and the file again")
	}
	return nil
}

// interrupted is a reader that ends when a context does.
type interrupted struct {
	ctx context.Context
	r   io.Reader
}

func (i interrupted) Read(p []byte) (int, error) {
	if err := i.ctx.Err(); err != nil {
		return 0, err
	}
	return i.r.Read(p)
}
