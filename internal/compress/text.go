package compress

import (
	"bytes"
	"cmp"
	"hash/fnv"
	"hash/maphash"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"
)

// An index is cut into chunks that are compressed each for itself, so that a
// change recompresses only the chunks it touches. Where to cut depends on the
// entries alone, never on how the index came to be: the same entries always give
// the same compressed bytes.
const (
	minChunk    = 32 << 10 // bytes; a chunk ends at the first fitting entry after these
	targetChunk = 32 << 10 // bytes; how many more there are on average
)

// A Text is the plain form of an index, made of entries, with the places where
// its chunks begin. Add makes it longer; of a Text whose Plain is there already,
// Mark goes through the entries. A Text without either is one chunk.
type Text struct {
	Plain   []byte
	Before  *Text // that it was made from, or nil
	Workers int   // chunks that Compress packs at a time; 0 for one per processor

	at    int // where the next entry begins
	begin int // of the last chunk
	cuts  []int

	once sync.Once
	same []int // for each chunk the equal chunk of Before, or -1
}

// Add appends an entry. The key, of which equal entries have the same, decides
// whether a chunk may begin with it.
func (t *Text) Add(key, entry []byte) {
	t.Plain = append(t.Plain, entry...)
	t.Mark(key, len(entry))
}

// Mark takes the next entry of Plain, of size bytes, into account.
func (t *Text) Mark(key []byte, size int) {
	at := t.at
	t.at += size
	if at-t.begin < minChunk {
		return
	}
	h := fnv.New32a()
	h.Write(key)
	// The chance of a cut is the entry's share of targetChunk.
	if uint64(h.Sum32())*targetChunk < uint64(size)<<32 {
		t.begin = at
		t.cuts = append(t.cuts, at)
	}
}

// Chunks returns the parts of the text. Even an empty text has one.
func (t *Text) Chunks() [][]byte {
	parts := make([][]byte, 0, len(t.cuts)+1)
	from := 0
	for _, to := range append(t.cuts[:len(t.cuts):len(t.cuts)], len(t.Plain)) {
		parts = append(parts, t.Plain[from:to])
		from = to
	}
	return parts
}

// match finds the chunks that the text before has too.
func (t *Text) match() []int {
	t.once.Do(func() {
		seed := maphash.MakeSeed()
		var old [][]byte
		if t.Before != nil {
			old = t.Before.Chunks()
		}
		known := make(map[uint64]int, len(old))
		for i, chunk := range old {
			known[maphash.Bytes(seed, chunk)] = i
		}
		for _, chunk := range t.Chunks() {
			i, ok := known[maphash.Bytes(seed, chunk)]
			if !ok || !bytes.Equal(old[i], chunk) {
				i = -1
			}
			t.same = append(t.same, i)
		}
	})
	return t.same
}

// Compress returns the compressed form of every chunk. What is the same as before
// is taken from old, the compressed chunks of Before, unless their number tells
// that they are not; the rest is packed, several at a time. An error is one of
// pack.
func (t *Text) Compress(old [][]byte, pack func([]byte) ([]byte, error)) ([][]byte, error) {
	chunks, same := t.Chunks(), t.match()
	if t.Before == nil || len(old) != len(t.Before.cuts)+1 {
		old = nil
	}
	parts := make([][]byte, len(chunks))
	var g errgroup.Group
	g.SetLimit(cmp.Or(t.Workers, runtime.GOMAXPROCS(0)))
	for i, chunk := range chunks {
		if old != nil && same[i] >= 0 {
			parts[i] = old[same[i]]
			continue
		}
		g.Go(func() (err error) {
			parts[i], err = pack(chunk)
			return err
		})
	}
	err := g.Wait()
	return parts, err
}
