package apk

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A RawEntry is an entry of an APKINDEX as the text that it is.
type RawEntry struct {
	Name, Version string
	Origin        string // name of the source package; Name if the entry names none
	Identity      string // as Identity.String has it
	Text          []byte // its lines, with the empty line after them
}

// raw returns the entry as text. What a client would misread is a fault.Invalid
// error.
func (e *IndexEntry) raw() (RawEntry, error) {
	if err := e.check(); err != nil {
		return RawEntry{}, err
	}
	return RawEntry{
		Name: e.Name, Version: e.Version, Origin: cmp.Or(e.Origin, e.Name), Identity: e.Identity.String(), Text: e.AppendTo(nil),
	}, nil
}

// Compare orders entries as an index has them: by name, then by ascending version.
func (e *RawEntry) Compare(o *RawEntry) int {
	if c := strings.Compare(e.Name, o.Name); c != 0 {
		return c
	}
	if e.Version == o.Version {
		return 0
	}
	return cmp.Or(CompareVersions(e.Version, o.Version), strings.Compare(e.Version, o.Version))
}

// A V2RawIndex is an index whose packages are understood only as far as it takes
// to make another index of them, which Merge does.
type V2RawIndex struct {
	Description string
	Entries     []RawEntry // sorted
	SignedBy    string     // as in a V2Index

	packed []byte // what is signed; nil for an index that was never written
}

// ReadV2Raw reads an APKINDEX.tar.gz, as ParseV2Index does, whose entries must be
// sorted and well-formed, each there once, with an identity and a size. Errors of
// form are fault.Invalid. It keeps b, which must not be changed.
func ReadV2Raw(b []byte, keys Keyring) (*V2RawIndex, error) {
	x := &V2Index{}
	signed, err := x.open(b, keys)
	if err != nil {
		return nil, notIndex(err)
	}
	entries, err := rawEntries(x.text)
	if err != nil {
		return nil, notIndex(err)
	}
	return &V2RawIndex{Description: x.Description, Entries: entries, SignedBy: x.SignedBy, packed: signed}, nil
}

// Unsigned returns what of the index is signed: all but the signatures before it.
func (x *V2RawIndex) Unsigned() []byte { return x.packed }

// Sign returns the signatures of all signers over the index that was read: one
// gzip member, which goes before what Unsigned returns.
func (x *V2RawIndex) Sign(signers ...Signer) ([]byte, error) { return sign(x.packed, signers) }

// Merge returns the index with the added packages and without those that drop
// says yes to, not signed. buildTime, in Unix seconds, is the time of the files in
// it. It is byte for byte what all packages give that are added to an empty index,
// but only what the change touches is compressed again. Two packages of one name
// and version, and what a client would misread, are fault.Invalid.
func (x *V2RawIndex) Merge(drop func(*RawEntry) bool, added []IndexEntry, buildTime int64) (*V2RawIndex, error) {
	fresh := make([]RawEntry, len(added))
	for i := range added {
		var err error
		if fresh[i], err = added[i].raw(); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(fresh, func(a, b RawEntry) int { return a.Compare(&b) })
	m := newRawMerge(x.Entries, len(fresh))
	for i := range x.Entries {
		e := &x.Entries[i]
		if drop(e) {
			continue
		}
		for ; len(fresh) > 0 && fresh[0].Compare(e) < 0; fresh = fresh[1:] {
			m.put(&fresh[0])
		}
		m.put(e)
	}
	for i := range fresh {
		m.put(&fresh[i])
	}
	if m.err != nil {
		return nil, m.err
	}
	packed, err := packV2Index(x.Description, m.text, buildTime, x.packed)
	return &V2RawIndex{Description: x.Description, Entries: m.list(), packed: packed}, err
}

// rawEntries takes the content of a file APKINDEX apart, as this package writes
// it: every entry ends with an empty line, has a name, a version, an identity and
// a size, and comes after those that Compare says are before it. Anything else is
// a fault.Invalid error. The entries share the text.
func rawEntries(text []byte) ([]RawEntry, error) {
	all := string(text)
	entries := make([]RawEntry, 0, min(bytes.Count(text, []byte("\n\n")), maxIndexEntries))
	for at := 0; at < len(all); {
		size := strings.Index(all[at:], "\n\n") + 2
		if size < 2 {
			return nil, invalid("the index ends within an entry").At(indexName, 0)
		}
		e, err := rawEntry(all[at : at+size-1])
		if err != nil {
			return nil, fault.Within(err, "package %s", clip(e.Name)).At(indexName, 0)
		}
		e.Text = text[at : at+size : at+size]
		if n := len(entries); n > 0 && entries[n-1].Compare(&e) >= 0 {
			return nil, invalid("package %s %s is there twice or not in order", clip(e.Name), clip(e.Version)).At(indexName, 0)
		}
		if len(entries) == maxIndexEntries {
			return nil, invalid("more than %d packages", maxIndexEntries).At(indexName, 0)
		}
		entries = append(entries, e)
		at += size
	}
	return entries, nil
}

// rawEntry finds what is wanted among the lines of an entry, each with its end.
func rawEntry(lines string) (RawEntry, error) {
	var e RawEntry
	sized := false
	for lines != "" {
		end := strings.IndexByte(lines, '\n')
		line := lines[:end]
		lines = lines[end+1:]
		if len(line) < 2 || line[1] != ':' {
			return e, invalid("%q is not a field", clip(line))
		}
		value := line[2:]
		to := &e.Identity
		switch line[0] {
		case 'C':
		case 'P':
			to = &e.Name
		case 'V':
			to = &e.Version
		case 'o':
			to = &e.Origin
		case 'S':
			sized = sized || value != ""
			continue
		default:
			continue
		}
		if *to != "" {
			return e, invalid("it has the field %c twice", line[0])
		}
		*to = value
	}
	if e.Name == "" || e.Version == "" || e.Identity == "" || !sized {
		return e, invalid("it has no name, no version, no identity or no size")
	}
	e.Origin = cmp.Or(e.Origin, e.Name)
	return e, nil
}

// A rawMerge puts the text of an index together, entry by entry in their order.
type rawMerge struct {
	text    *compress.Text
	entries []RawEntry
	err     error
}

// newRawMerge begins the text of an index that is made from the entries of another
// and some more.
func newRawMerge(before []RawEntry, more int) *rawMerge {
	old := &compress.Text{}
	size := 0
	for i := range before {
		size += len(before[i].Text)
	}
	old.Plain = make([]byte, 0, size)
	for i := range before {
		old.Add([]byte(before[i].Name), before[i].Text)
	}
	return &rawMerge{
		text:    &compress.Text{Plain: make([]byte, 0, size+more*512), Before: old},
		entries: make([]RawEntry, 0, len(before)+more),
	}
}

// put adds an entry.
func (m *rawMerge) put(e *RawEntry) {
	if n := len(m.entries); n > 0 && m.err == nil && m.entries[n-1].Compare(e) >= 0 {
		m.err = invalid("%s-%s would be in the index twice", clip(e.Name), clip(e.Version)).Fix("publish one of them under another version")
	}
	m.text.Add([]byte(e.Name), e.Text)
	m.entries = append(m.entries, *e)
}

// list returns the entries, which share the new text.
func (m *rawMerge) list() []RawEntry {
	at := 0
	for i := range m.entries {
		end := at + len(m.entries[i].Text)
		m.entries[i].Text = m.text.Plain[at:end:end]
		at = end
	}
	return m.entries
}
