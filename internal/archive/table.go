package archive

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
)

// A kind of index decides which further keys its stanzas are found by.
type kind byte

const (
	binaries kind = 'b' // Packages: what Provides names, and essentialKey
	sources  kind = 's' // Sources: the hexadecimal SHA-256 of the .dsc
)

// essentialKey finds the Essential packages; no package has this name.
const essentialKey = "essential:yes"

// The table of an index is one file, integers little-endian:
//
//	header   magic (7 bytes), kind (1), SHA-256 of the text (32), size of the
//	         text (8), number of stanzas (4), of keys (4), bytes of names (4)
//	stanzas  20 bytes each, sorted by name, then by place: name offset, name
//	         length, text offset, text length, CRC-32C of the text
//	keys     12 bytes each, sorted by key, then by stanza: key offset, key
//	         length, stanza number
//	names    the bytes that offsets of names and keys point into
//	sum      SHA-256 of all before (32)
const (
	tableMagic = "ashidx2"
	headerSize = 60
	stanzaSize = 20
	keySize    = 12
)

var errDamaged = errors.New("the lookup table is damaged or of another index")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A table finds the stanzas of an index by name and by further keys. The text
// stays on disk.
type table struct {
	digest  ashlar.Digest // of the text
	stanzas []byte
	keys    []byte
	names   []byte
	text    io.ReaderAt
}

// openTable opens the table beside the text at textPath. The error is the same
// for all that can be wrong with them: they have to be made again.
func openTable(textPath string, want ashlar.Digest, k kind) (*table, error) {
	b, err := os.ReadFile(textPath + ".table")
	if err != nil {
		return nil, errDamaged
	}
	t, size, err := decodeTable(b, want, k)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(textPath)
	if err != nil {
		return nil, errDamaged
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		f.Close()
		return nil, errDamaged
	}
	t.text = f // closed when the table is garbage
	return t, nil
}

// decodeTable checks the form and the checksum of a table and returns it without
// its text, whose size in bytes it returns too.
func decodeTable(b []byte, want ashlar.Digest, k kind) (*table, int64, error) {
	if len(b) < headerSize+sha256.Size {
		return nil, 0, errDamaged
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, 0, errDamaged
	}
	if string(body[:7]) != tableMagic || kind(body[7]) != k || hex.EncodeToString(body[8:40]) != want.Hex() {
		return nil, 0, errDamaged
	}
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(body[at:])) }
	stanzas, keys, names := u32(48)*stanzaSize, u32(52)*keySize, u32(56)
	rest := body[headerSize:]
	if stanzas+keys+names != int64(len(rest)) {
		return nil, 0, errDamaged
	}
	t := &table{digest: want, stanzas: rest[:stanzas], keys: rest[stanzas : stanzas+keys], names: rest[stanzas+keys:]}
	return t, int64(binary.LittleEndian.Uint64(body[40:])), nil
}

// name returns the name at a place in a record, nil if the record is damaged.
func (t *table) name(record []byte) []byte {
	off, n := uint64(binary.LittleEndian.Uint32(record)), uint64(binary.LittleEndian.Uint32(record[4:]))
	if off+n > uint64(len(t.names)) {
		return nil
	}
	return t.names[off : off+n]
}

// find returns the range of records of the given size whose name is name.
func (t *table) find(records []byte, size int, name string) (from, to int) {
	n := len(records) / size
	from = sort.Search(n, func(i int) bool { return string(t.name(records[i*size:])) >= name })
	for to = from; to < n && string(t.name(records[to*size:])) == name; to++ {
	}
	return from, to
}

// byName returns the numbers of the stanzas of that name.
func (t *table) byName(name string) []int {
	from, to := t.find(t.stanzas, stanzaSize, name)
	all := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

// byKey returns the numbers of the stanzas with that further key.
func (t *table) byKey(key string) []int {
	from, to := t.find(t.keys, keySize, key)
	all := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, int(binary.LittleEndian.Uint32(t.keys[i*keySize+8:])))
	}
	return all
}

// stanza returns the text of a stanza, or errDamaged if it is not what it was
// when the table was made.
func (t *table) stanza(i int) ([]byte, error) {
	if i < 0 || (i+1)*stanzaSize > len(t.stanzas) {
		return nil, errDamaged
	}
	record := t.stanzas[i*stanzaSize:]
	size := binary.LittleEndian.Uint32(record[12:])
	if size > maxStanza {
		return nil, errDamaged
	}
	b := make([]byte, size)
	if _, err := t.text.ReadAt(b, int64(binary.LittleEndian.Uint32(record[8:]))); err != nil {
		return nil, errDamaged
	}
	if crc32.Checksum(b, castagnoli) != binary.LittleEndian.Uint32(record[16:]) {
		return nil, errDamaged
	}
	return b, nil
}

// maxStanza bounds the size in bytes of one stanza.
const maxStanza = 4 << 20

// An entry is a stanza while a table is made.
type entry struct {
	name string
	at   int
	text []byte
	keys []string
}

// buildTable makes the bytes of a table for an index text.
func buildTable(text []byte, digest ashlar.Digest, k kind) ([]byte, error) {
	entries := make([]entry, 0, len(text)/700)
	for at, stanza := range deb.Stanzas(text) {
		e := scan(stanza, k)
		if e.name == "" || len(stanza) > maxStanza {
			return nil, fmt.Errorf("the stanza at byte %d has no package name or is too large", at)
		}
		e.at = at
		entries = append(entries, e)
	}
	byName := func(a, b entry) int { return strings.Compare(a.name, b.name) }
	if !slices.IsSortedFunc(entries, byName) {
		slices.SortStableFunc(entries, byName)
	}
	return encodeTable(entries, text, digest, k), nil
}

// scan finds the name and the keys of a stanza in one pass.
func scan(stanza []byte, k kind) entry {
	e := entry{text: stanza}
	for rest := stanza; len(rest) > 0; {
		line := rest
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			line, rest = rest[:i], rest[i+1:]
		} else {
			rest = nil
		}
		if len(line) == 0 {
			continue
		}
		switch line[0] {
		case 'P':
			if v, ok := bytes.CutPrefix(line, []byte("Package:")); ok {
				e.name = string(bytes.TrimSpace(v))
			} else if bytes.HasPrefix(line, []byte("Provides:")) && k == binaries {
				e.keys = appendProvided(e.keys, deb.StanzaField(stanza, "Provides"))
			}
		case 'E':
			if k == binaries && string(line) == "Essential: yes" {
				e.keys = append(e.keys, essentialKey)
			}
		case ' ':
			if k == sources && bytes.HasSuffix(line, []byte(".dsc")) {
				if f := bytes.Fields(line); len(f) == 3 && len(f[0]) == 64 {
					e.keys = append(e.keys, string(bytes.ToLower(f[0])))
				}
			}
		}
	}
	return e
}

// appendProvided adds the names of a Provides field, each once.
func appendProvided(keys []string, value []byte) []string {
	for one := range bytes.SplitSeq(value, []byte{','}) {
		one = bytes.TrimSpace(one)
		if i := bytes.IndexAny(one, " (:\t\n"); i >= 0 {
			one = one[:i]
		}
		if name := string(one); name != "" && !slices.Contains(keys, name) {
			keys = append(keys, name)
		}
	}
	return keys
}

// encodeTable writes the sections of a table.
func encodeTable(entries []entry, text []byte, digest ashlar.Digest, k kind) []byte {
	type key struct {
		name   string
		stanza int
	}
	var keys []key
	var names, stanzas []byte
	le := binary.LittleEndian
	for i, e := range entries {
		stanzas = le.AppendUint32(stanzas, uint32(len(names)))
		stanzas = le.AppendUint32(stanzas, uint32(len(e.name)))
		stanzas = le.AppendUint32(stanzas, uint32(e.at))
		stanzas = le.AppendUint32(stanzas, uint32(len(e.text)))
		stanzas = le.AppendUint32(stanzas, crc32.Checksum(e.text, castagnoli))
		names = append(names, e.name...)
		for _, name := range e.keys {
			keys = append(keys, key{name, i})
		}
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(strings.Compare(a.name, b.name), a.stanza-b.stanza)
	})
	var found []byte
	for _, one := range keys {
		found = le.AppendUint32(found, uint32(len(names)))
		found = le.AppendUint32(found, uint32(len(one.name)))
		found = le.AppendUint32(found, uint32(one.stanza))
		names = append(names, one.name...)
	}
	b := append([]byte(tableMagic), byte(k))
	raw, _ := hex.DecodeString(digest.Hex())
	b = append(b, raw...)
	b = le.AppendUint64(b, uint64(len(text)))
	b = le.AppendUint32(b, uint32(len(entries)))
	b = le.AppendUint32(b, uint32(len(keys)))
	b = le.AppendUint32(b, uint32(len(names)))
	b = slices.Concat(b, stanzas, found, names)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func hexOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }
