package engine

import (
	"bytes"
	"sync"

	"github.com/moby/buildkit/client"
	digest "github.com/opencontainers/go-digest"

	"github.com/ashlar-project/ashlar"
)

// tailBytes is how much of a vertex's log is kept for the error message.
const tailBytes = 64 << 10

// A watch follows a solve: it passes events on and keeps the end of each log.
type watch struct {
	progress func(Event)
	vertices map[digest.Digest]*Event
	tails    map[digest.Digest][]byte
}

func newWatch(progress func(Event)) *watch {
	if progress == nil {
		progress = func(Event) {}
	}
	return &watch{progress: progress, vertices: map[digest.Digest]*Event{}, tails: map[digest.Digest][]byte{}}
}

func (w *watch) update(u *client.SolveStatus) {
	for _, v := range u.Vertexes {
		e := w.vertex(v.Digest)
		e.Name, e.Error = v.Name, v.Error
		e.Cached = e.Cached || v.Cached
		if v.Started != nil {
			e.Started = *v.Started
		}
		if v.Completed != nil {
			e.Completed = *v.Completed
		}
		w.progress(*e)
	}
	for _, l := range u.Logs {
		tail := append(w.tails[l.Vertex], l.Data...)
		if len(tail) > 2*tailBytes {
			tail = bytes.Clone(tail[len(tail)-tailBytes:])
		}
		w.tails[l.Vertex] = tail
		e := *w.vertex(l.Vertex)
		e.Log = l.Data
		w.progress(e)
	}
}

func (w *watch) vertex(d digest.Digest) *Event {
	e := w.vertices[d]
	if e == nil {
		e = &Event{Vertex: ashlar.Digest(d)}
		w.vertices[d] = e
	}
	return e
}

// last returns the last n lines that a vertex wrote.
func (w *watch) last(d digest.Digest, n int) []string {
	text := bytes.TrimRight(w.tails[d], "\r\n")
	if len(text) == 0 {
		return nil
	}
	lines := bytes.Split(text, []byte("\n"))
	var last []string
	for _, l := range lines[max(0, len(lines)-n):] {
		last = append(last, string(bytes.TrimRight(l, "\r")))
	}
	return last
}

// lost keeps the first error of the blob store during a solve.
type lost struct {
	mu  sync.Mutex
	err error
}

func (l *lost) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

func (l *lost) first() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
