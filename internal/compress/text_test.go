package compress

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// manyEntries makes a text of n entries, with one more after that of a number.
func manyEntries(n, more int, before *Text) *Text {
	rng := rand.New(rand.NewPCG(3, 4))
	t := &Text{Before: before}
	for i := range n {
		key := fmt.Sprintf("pkg%05d", i)
		t.Add([]byte(key), fmt.Appendf(nil, "Package: %s\nNoise: %x%x\nText: %s\n\n", key, rng.Uint64(), rng.Uint64(), strings.Repeat("word ", rng.IntN(200))))
		if i == more {
			t.Add([]byte("more"), []byte("Package: more\n\n"))
		}
	}
	return t
}

func TestText(t *testing.T) {
	pack := func(b []byte) ([]byte, error) { return bytes.ToUpper(b), nil }
	old := manyEntries(2000, -1, nil)
	if n := len(old.Chunks()); n < 5 || len(old.Plain)/n < minChunk {
		t.Errorf("%d bytes in %d chunks", len(old.Plain), n)
	}
	packed, err := old.Compress(nil, pack)
	if err != nil {
		t.Fatal(err)
	}
	next := manyEntries(2000, 777, old)
	made := 0
	parts, err := next.Compress(packed, func(b []byte) ([]byte, error) { made++; return pack(b) })
	if err != nil || made == 0 || made > 2 {
		t.Errorf("one more entry: %d of %d chunks were made, %v", made, len(parts), err)
	}
	scratch, err := manyEntries(2000, 777, nil).Compress(nil, pack)
	if err != nil || !bytes.Equal(bytes.Join(scratch, nil), bytes.Join(parts, nil)) {
		t.Errorf("taking over chunks gives others, %v", err)
	}
	if parts, err = next.Compress(packed[1:], pack); err != nil || !bytes.Equal(bytes.Join(scratch, nil), bytes.Join(parts, nil)) {
		t.Errorf("chunks that are not those of the text before: %v", err)
	}
	marked := &Text{Plain: old.Plain}
	for e := range bytes.SplitAfterSeq(old.Plain, []byte("\n\n")) {
		_, rest, _ := bytes.Cut(e, []byte("Package: "))
		key, _, _ := bytes.Cut(rest, []byte("\n"))
		marked.Mark(key, len(e))
	}
	if len(marked.Chunks()) != len(old.Chunks()) {
		t.Errorf("%d chunks are marked, %d were added", len(marked.Chunks()), len(old.Chunks()))
	}
	if empty := (&Text{}).Chunks(); len(empty) != 1 || len(empty[0]) != 0 {
		t.Errorf("an empty text has the chunks %q", empty)
	}
}
