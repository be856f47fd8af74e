package repo

import (
	"crypto/sha256"
	"hash/fnv"
	"sync"

	"golang.org/x/sync/errgroup"
)

// An index is cut into chunks that are compressed each for itself, so that a
// change recompresses only the chunks it touches. Where to cut depends on the
// entries alone, never on how the index came to be: the same entries always give
// the same compressed bytes.
const (
	minChunk    = 48 << 10 // bytes; a chunk ends at the first fitting entry after these
	targetChunk = 48 << 10 // bytes; how many more there are on average
)

// A text is the plain form of an index with the places where its chunks begin,
// other than 0.
type text struct {
	plain []byte
	cuts  []int

	once sync.Once
	sums []digest // of the chunks, computed when first wanted
}

// add appends an entry. The key decides whether a chunk may begin here.
func (t *text) add(key, entry []byte) {
	if len(t.plain)-t.begin() >= minChunk && startsChunk(key, len(entry)) {
		t.cuts = append(t.cuts, len(t.plain))
	}
	t.plain = append(t.plain, entry...)
}

// begin returns where the last chunk begins.
func (t *text) begin() int {
	if n := len(t.cuts); n > 0 {
		return t.cuts[n-1]
	}
	return 0
}

// startsChunk reports whether an entry with the key may begin a chunk. The
// chance is its share of targetChunk.
func startsChunk(key []byte, size int) bool {
	h := fnv.New32a()
	h.Write(key)
	return uint64(h.Sum32())*targetChunk < uint64(size)<<32
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

// A digest is the SHA-256 of a chunk.
type digest [sha256.Size]byte

// digests returns the digest of every chunk.
func (t *text) digests() []digest {
	t.once.Do(func() {
		for _, chunk := range t.chunks() {
			t.sums = append(t.sums, sha256.Sum256(chunk))
		}
	})
	return t.sums
}

// compress returns the compressed form of every chunk: the known one with its
// digest, else what pack makes of it, several at a time.
func (t *text) compress(known map[digest][]byte, pack func([]byte, digest) ([]byte, error)) ([][]byte, error) {
	chunks, sums := t.chunks(), t.digests()
	parts := make([][]byte, len(chunks))
	var g errgroup.Group
	g.SetLimit(workers())
	for i, chunk := range chunks {
		if part, ok := known[sums[i]]; ok {
			parts[i] = part
			continue
		}
		g.Go(func() (err error) {
			parts[i], err = pack(chunk, sums[i])
			return err
		})
	}
	err := g.Wait()
	return parts, err
}
