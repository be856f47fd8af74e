package apk

import (
	"bytes"
	"cmp"
	"crypto"
	"errors"
	"io"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar/internal/adb"
)

// A V3RawIndex is an index of v3 whose packages are understood only as far as it
// takes to make another index of them, which Merge does.
type V3RawIndex struct {
	Description string
	PkgnameSpec string
	Entries     []V3RawEntry // sorted

	decoder *adb.Decoder // of the values of the entries; nil for an index that was never written
	payload []byte
}

// A V3RawEntry is a package of a V3RawIndex.
type V3RawEntry struct {
	Name, Version string
	Origin        string // name of the source package; Name if the entry names none
	Hash          []byte // as in a V3IndexEntry

	o adb.Object
}

// Compare orders entries as an index has them: by name, then by ascending version.
func (e *V3RawEntry) Compare(o *V3RawEntry) int {
	return (&RawEntry{Name: e.Name, Version: e.Version}).Compare(&RawEntry{Name: o.Name, Version: o.Version})
}

// ReadV3Raw reads an index from r to its end, if it is to be trusted. Its packages
// must be in order, each there once, with a hash and a size. Errors of form are
// fault.Invalid, an error of r comes back as it is.
func ReadV3Raw(r io.Reader, trust V3Trust) (*V3RawIndex, error) {
	f, err := openV3(r, v3SchemaIndex, v3IndexLimits, trust)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	x := &V3RawIndex{decoder: adb.NewDecoder(f.Payload), payload: f.Payload}
	err = x.read(x.decoder.Root())
	if x.decoder.Err() != nil {
		err = x.decoder.Err() // what came after it is a consequence
	}
	if err != nil {
		return nil, inV3(err)
	}
	return x, v3End(f)
}

func (x *V3RawIndex) read(root adb.Object) error {
	list, err := readV3IndexHead(root, &x.Description, &x.PkgnameSpec)
	if err != nil {
		return err
	}
	x.Entries = make([]V3RawEntry, 0, min(list.Len(), 1<<16))
	return v3Nodes(list, func(o adb.Object) error {
		e := V3RawEntry{Name: o.String(v3Name), Version: o.String(v3Version), Origin: o.String(v3Origin), Hash: o.Bytes(v3Hashes), o: o}
		e.Origin = cmp.Or(e.Origin, e.Name)
		if err := checkV3Texts(&Info{Name: e.Name, Version: e.Version, Origin: e.Origin}); err != nil {
			return err
		}
		if err := checkV3Hash(e.Name, e.Hash); err != nil {
			return err
		}
		switch n := len(x.Entries); {
		case o.Int63(v3FileSize) <= 0:
			return invalid("package %s: it has no size", e.Name)
		case n > 0 && x.Entries[n-1].Compare(&e) >= 0:
			return invalid("package %s %s is there twice or not in order", e.Name, e.Version)
		}
		x.Entries = append(x.Entries, e)
		return nil
	})
}

// Merge returns the index with the added packages and without those that drop
// says yes to, not signed. It is byte for byte what all packages give that are
// added to an empty index. Two packages of one name and version, and what
// WriteV3Index refuses, are fault.Invalid. An index can be merged a few times only:
// what is read of it is counted.
func (x *V3RawIndex) Merge(drop func(*V3RawEntry) bool, added []V3IndexEntry) (*V3RawIndex, error) {
	fresh := make([]*V3IndexEntry, len(added))
	for i := range added {
		fresh[i] = &added[i]
	}
	slices.SortFunc(fresh, compareV3Entries)
	head := V3Index{Description: x.Description, PkgnameSpec: x.PkgnameSpec}
	if err := head.check(fresh); err != nil {
		return nil, err
	}
	m := newV3Merge(len(x.Entries) + len(fresh))
	for i := range x.Entries {
		e := &x.Entries[i]
		if drop(e) {
			continue
		}
		for ; len(fresh) > 0 && rawOf(fresh[0]).Compare(e) < 0; fresh = fresh[1:] {
			m.add(fresh[0])
		}
		m.keep(e)
	}
	for _, e := range fresh {
		m.add(e)
	}
	if x.decoder != nil && x.decoder.Err() != nil {
		return nil, inV3(x.decoder.Err())
	}
	if m.err != nil {
		return nil, m.err
	}
	payload, err := head.payload(m.b, m.values)
	if err != nil {
		return nil, err
	}
	next := &V3RawIndex{Description: x.Description, PkgnameSpec: x.PkgnameSpec, Entries: m.entries, payload: payload, decoder: adb.NewDecoder(payload)}
	for i, v := range m.values {
		next.Entries[i].o = next.decoder.Object(v)
	}
	return next, next.decoder.Err()
}

// Plain returns the index as a file that is neither signed nor compressed.
func (x *V3RawIndex) Plain() ([]byte, error) {
	var plain bytes.Buffer
	plain.Grow(len(x.payload) + 64)
	err := writePlainV3(&plain, x.payload, nil)
	return plain.Bytes(), err
}

// rawOf returns an entry as it is in an index that was read, but for its values.
func rawOf(p *V3IndexEntry) *V3RawEntry {
	return &V3RawEntry{Name: p.Name, Version: p.Version, Origin: cmp.Or(p.Origin, p.Name), Hash: p.Hash}
}

// A v3Merge puts the packages of an index together, one by one in their order.
type v3Merge struct {
	b       *adb.Builder
	copier  *adb.Copier
	values  []adb.Value
	entries []V3RawEntry
	err     error
}

func newV3Merge(n int) *v3Merge {
	m := &v3Merge{b: adb.NewBuilder(), values: make([]adb.Value, 0, n), entries: make([]V3RawEntry, 0, n)}
	m.copier = adb.NewCopier(m.b)
	return m
}

// next takes note of a package and its value.
func (m *v3Merge) next(e *V3RawEntry, v adb.Value) {
	if n := len(m.entries); n > 0 && m.err == nil && m.entries[n-1].Compare(e) >= 0 {
		m.err = invalid("%s-%s would be in the index twice", e.Name, e.Version).Fix("publish one of them under another version")
	}
	m.values, m.entries = append(m.values, v), append(m.entries, *e)
}

// add makes a package.
func (m *v3Merge) add(p *V3IndexEntry) { m.next(rawOf(p), p.v3Value(m.b)) }

// v3SlotOrder is the order in which the values of a package are made.
var v3SlotOrder = [...]int{
	v3Name, v3Version, v3Description, v3Arch, v3License, v3Origin, v3Maintainer, v3URL, v3Commit, v3BuildTime,
	v3ProviderPriority, v3Depends, v3Provides, v3Replaces, v3InstallIf, v3Recommends, v3Layer, v3Tags,
	v3InstalledSize, v3FileSize, v3Hashes,
}

// keep copies a package.
func (m *v3Merge) keep(e *V3RawEntry) {
	var slots v3Info
	for _, i := range v3SlotOrder {
		slots[i] = m.copier.Slot(e.o, i)
	}
	m.next(e, slots.value(m.b))
}

// Sign returns the signatures of all signers over the index that was read.
func (x *V3RawIndex) Sign(signers ...crypto.Signer) ([]adb.Signature, error) {
	return adb.Sign(v3SchemaIndex, x.payload, signers...)
}

// How an index is compressed: a change touches all that comes after it, so this is
// to be quick.
const (
	v3Piece      = 256 << 10 // bytes that are compressed for themselves
	v3IndexLevel = 5         // of klauspost/compress
)

// v3Deflated is before the compressed content of an ADB file.
const v3Deflated = "ADBd"

// writePlainV3 writes an index that is not compressed.
func writePlainV3(w io.Writer, payload []byte, sigs []adb.Signature) error {
	out, err := adb.NewWriter(w, adb.None, v3SchemaIndex, payload, sigs)
	if err != nil {
		return err
	}
	return out.Close()
}

// DeflateV3Index compresses what Plain returns, several pieces at a time. The
// output is for JoinV3Index; it depends on the index alone.
func DeflateV3Index(plain []byte) []byte {
	parts := make([][]byte, (len(plain)+v3Piece-1)/v3Piece)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range parts {
		g.Go(func() error {
			parts[i] = deflatePiece(v3IndexLevel, plain[i*v3Piece:min(len(plain), (i+1)*v3Piece)])
			return nil
		})
	}
	_ = g.Wait() // nothing fails
	return bytes.Join(parts, nil)
}

// JoinV3Index returns the Packages.adb that consists of what DeflateV3Index made of
// an index and of signatures over it. Neither is checked.
func JoinV3Index(deflated []byte, sigs []adb.Signature) ([]byte, error) {
	b := adb.NewBuilder()
	payload, err := b.Payload(adb.Null) // of any index: the signatures come after it
	if err != nil {
		return nil, err
	}
	var plain, signed bytes.Buffer
	if err := errors.Join(writePlainV3(&plain, payload, nil), writePlainV3(&signed, payload, sigs)); err != nil {
		return nil, err
	}
	return slices.Concat([]byte(v3Deflated), deflated, deflatePiece(v3IndexLevel, signed.Bytes()[plain.Len():]), lastBlock), nil
}
