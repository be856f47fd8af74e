package repo

import (
	"bytes"
	"hash/fnv"
	"hash/maphash"
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

// A cutter decides where chunks begin.
type cutter struct {
	begin int // of the last chunk
	cuts  []int
}

// entry takes the next entry, which starts at an offset. The key decides whether
// a chunk may begin with it: the chance is the entry's share of targetChunk.
func (c *cutter) entry(at int, key []byte, size int) {
	if at-c.begin < minChunk {
		return
	}
	h := fnv.New32a()
	h.Write(key)
	if uint64(h.Sum32())*targetChunk < uint64(size)<<32 {
		c.begin = at
		c.cuts = append(c.cuts, at)
	}
}

// A text is the plain form of an index with the places where its chunks begin,
// other than 0.
type text struct {
	plain []byte
	cutter
	before *text // that it was made from, or nil

	once sync.Once
	same []int // for each chunk the equal chunk of before, or -1
}

// add appends an entry.
func (t *text) add(key, entry []byte) {
	t.entry(len(t.plain), key, len(entry))
	t.plain = append(t.plain, entry...)
}

// chunks returns the parts of the text. Even an empty text has one.
func (t *text) chunks() [][]byte {
	parts := make([][]byte, 0, len(t.cuts)+1)
	from := 0
	for _, to := range append(t.cuts[:len(t.cuts):len(t.cuts)], len(t.plain)) {
		parts = append(parts, t.plain[from:to])
		from = to
	}
	return parts
}

// match finds the chunks that the text before has too.
func (t *text) match() []int {
	t.once.Do(func() {
		seed := maphash.MakeSeed()
		var old [][]byte
		if t.before != nil {
			old = t.before.chunks()
		}
		known := make(map[uint64]int, len(old))
		for i, chunk := range old {
			known[maphash.Bytes(seed, chunk)] = i
		}
		for _, chunk := range t.chunks() {
			i, ok := known[maphash.Bytes(seed, chunk)]
			if !ok || !bytes.Equal(old[i], chunk) {
				i = -1
			}
			t.same = append(t.same, i)
		}
	})
	return t.same
}

// compress returns the compressed form of every chunk. What is the same as
// before is taken from old, the compressed chunks of the text before; the rest
// is packed, several at a time.
func (t *text) compress(old [][]byte, pack func([]byte) ([]byte, error)) ([][]byte, error) {
	chunks, same := t.chunks(), t.match()
	if t.before == nil || len(old) != len(t.before.cuts)+1 {
		old = nil
	}
	parts := make([][]byte, len(chunks))
	var g errgroup.Group
	g.SetLimit(workers())
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
