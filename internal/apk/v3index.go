package apk

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/sha256"
	"io"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/adb"
)

// Bounds on an index.
const (
	maxV3Packages    = 1_000_000
	maxV3Description = 4 << 10 // bytes
)

// A V3Index is an index of packages in the form of v3, the content of a
// Packages.adb. It can list packages of both generations.
type V3Index struct {
	Description string // such as the commit of the recipes
	// PkgnameSpec says how the files of the packages are named; see V3FileName.
	// "" leaves that to the client.
	PkgnameSpec string
	Entries     []V3IndexEntry
}

// A V3IndexEntry is what an index says of a package. Of its Info an index holds
// neither Packager, ReplacesPriority and Triggers.
type V3IndexEntry struct {
	Info
	// Hash tells packages of the same name and version apart: 32 bytes, the Hash
	// of a v3 package, or 20, the Identity of a v2 package.
	Hash []byte
	Size int64 // bytes of the package
}

// IndexEntry returns what an index says of the package, which has the given size
// in bytes.
func (p *V3Package) IndexEntry(size int64) V3IndexEntry {
	return v3IndexEntry(&p.Info, p.Hash[:], size)
}

// IndexEntry returns what an index says of the package.
func (p *V3Packed) IndexEntry() V3IndexEntry { return v3IndexEntry(&p.Info, p.Hash[:], p.Size) }

// V3IndexEntry returns what an index of v3 says of the package, which has the
// given size in bytes.
func (p *V2Package) V3IndexEntry(size int64) V3IndexEntry {
	return v3IndexEntry(&p.Info, p.Identity[:], size)
}

// V3IndexEntry returns what an index of v3 says of the package.
func (p *V2Packed) V3IndexEntry() V3IndexEntry {
	return v3IndexEntry(&p.Info, p.Identity[:], p.Size)
}

// v3IndexEntry makes an entry and leaves out what an index does not hold.
func v3IndexEntry(i *Info, hash []byte, size int64) V3IndexEntry {
	e := V3IndexEntry{Info: *i, Hash: bytes.Clone(hash), Size: size}
	e.Packager, e.ReplacesPriority, e.Triggers = "", 0, nil
	return e
}

// ReadV3Index reads an index from r to its end, if it is to be trusted. Errors of
// form are fault.Invalid, an error of r comes back as it is.
func ReadV3Index(r io.Reader, trust V3Trust) (*V3Index, error) {
	f, err := openV3(r, v3SchemaIndex, v3IndexLimits, trust)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d := adb.NewDecoder(f.Payload)
	var x V3Index
	err = x.read(d.Root())
	if d.Err() != nil {
		err = d.Err() // what came after it is a consequence
	}
	if err != nil {
		return nil, inV3(err)
	}
	if err := v3End(f); err != nil {
		return nil, err
	}
	return &x, nil
}

// v3End wants nothing to follow the signatures.
func v3End(f *adb.File) error {
	switch _, err := f.Next(); {
	case err == io.EOF:
		return nil
	case err != nil:
		return inV3(err)
	}
	return inV3(invalid("it has data of files"))
}

// VerifyV3Index checks that an index is signed by one of the keys and ends in good
// order, and no more of it. If it is not signed the error is fault.Denied.
func VerifyV3Index(r io.Reader, keys ...crypto.PublicKey) error {
	f, err := openV3(r, v3SchemaIndex, v3IndexLimits, V3Signed(keys...))
	if err != nil {
		return err
	}
	defer f.Close()
	return v3End(f)
}

// readV3IndexHead reads what is said of the index as a whole and returns the list
// of packages.
func readV3IndexHead(root adb.Object, description, spec *string) (adb.Object, error) {
	*description, *spec = root.String(v3IndexDescription), root.String(v3IndexPkgnameSpec)
	list := root.Object(v3IndexPackages)
	switch {
	case len(*description) > maxV3Text || len(*spec) > maxPath:
		return list, invalid("its description or its pkgname-spec is too long")
	case list.Len() > maxV3Packages:
		return list, invalid("more than %d packages", maxV3Packages)
	}
	return list, nil
}

func (x *V3Index) read(root adb.Object) error {
	list, err := readV3IndexHead(root, &x.Description, &x.PkgnameSpec)
	if err != nil {
		return err
	}
	x.Entries = make([]V3IndexEntry, 0, min(list.Len(), 1<<16))
	return v3Nodes(list, func(o adb.Object) error {
		info, err := readV3Info(o)
		if err != nil {
			return err
		}
		p := V3IndexEntry{Info: info, Hash: bytes.Clone(o.Bytes(v3Hashes)), Size: o.Int63(v3FileSize)}
		if err := checkV3Hash(info.Name, p.Hash); err != nil {
			return err
		}
		if n := len(x.Entries); n > 0 && compareV3Entries(&x.Entries[n-1], &p) == 0 {
			return invalid("package %s is listed twice", info.Name)
		}
		x.Entries = append(x.Entries, p)
		return nil
	})
}

// WriteV3Index writes an index to w, signed by each signer; apk takes none that
// is not signed. The order of the packages makes no difference, and equal
// contents give equal bytes as far as the signers do the same. A package that apk
// would refuse, with a version or a word that is malformed (see Info.Check), is a
// fault.Invalid error before anything is written, and so are a pkgname-spec that
// apk does not take and packages whose files would have the same name.
func WriteV3Index(w io.Writer, x *V3Index, c adb.Compression, signers ...crypto.Signer) error {
	entries := make([]*V3IndexEntry, len(x.Entries))
	for i := range entries {
		entries[i] = &x.Entries[i]
	}
	slices.SortFunc(entries, compareV3Entries)
	if err := x.check(entries); err != nil {
		return err
	}
	b := adb.NewBuilder()
	values := make([]adb.Value, len(entries))
	for i, p := range entries {
		values[i] = p.v3Value(b)
	}
	payload, err := x.payload(b, values)
	if err != nil {
		return err
	}
	sigs, err := adb.Sign(v3SchemaIndex, payload, signers...)
	if err != nil {
		return err
	}
	out, err := adb.NewWriter(w, c, v3SchemaIndex, payload, sigs)
	if err != nil {
		return err
	}
	return out.Close()
}

// v3Value returns the value of a package in an index.
func (p *V3IndexEntry) v3Value(b *adb.Builder) adb.Value {
	slots := newV3Info(b, &p.Info)
	slots[v3InstalledSize] = b.Int(uint64(p.InstalledSize))
	slots[v3FileSize] = b.Int(uint64(p.Size))
	slots[v3Hashes] = b.Blob(p.Hash)
	return slots.value(b)
}

// payload returns what describes an index of the packages.
func (x *V3Index) payload(b *adb.Builder, packages []adb.Value) ([]byte, error) {
	payload, err := b.Payload(b.Object(b.String(x.Description), b.Object(packages...), b.String(x.PkgnameSpec)))
	if err == nil && len(payload) > maxV3Index {
		err = invalid("an index of %d bytes; at most %d are allowed", len(payload), maxV3Index)
	}
	return payload, err
}

// compareV3Entries orders packages as apk does, which looks them up by halves.
func compareV3Entries(x, y *V3IndexEntry) int {
	if x.Name != y.Name {
		return strings.Compare(x.Name, y.Name)
	}
	if c := CompareVersions(x.Version, y.Version); c != 0 {
		return c
	}
	return cmp.Or(strings.Compare(x.Version, y.Version), bytes.Compare(x.Hash, y.Hash), strings.Compare(x.Arch, y.Arch))
}

// check checks the index with its entries in order.
func (x *V3Index) check(entries []*V3IndexEntry) error {
	if len(x.Description) > maxV3Description || hasControl(x.Description) {
		return invalid("the description of the index is not one line of at most %d bytes", maxV3Description)
	}
	if len(entries) > maxV3Packages {
		return invalid("an index of %d packages; at most %d are allowed", len(entries), maxV3Packages)
	}
	spec, err := parseV3Spec(cmp.Or(x.PkgnameSpec, defaultV3Spec))
	if err != nil {
		return err
	}
	names := make(map[string]struct{}, len(entries))
	var buf []byte
	for _, p := range entries {
		if err := p.check(); err != nil {
			return err
		}
		buf = spec.expand(buf[:0], p)
		if _, twice := names[string(buf)]; twice {
			return invalid("two packages would have the same file %s", clip(string(buf))).
				Fix("leave one out, or put ${arch} or ${hash:8} into the pkgname-spec")
		}
		names[string(buf)] = struct{}{}
	}
	return nil
}

// check checks what an index is to say of a package.
func (p *V3IndexEntry) check() error {
	if err := p.Info.Check(); err != nil {
		return err
	}
	if p.Size <= 0 {
		return invalid("package %s: a file of %d bytes", p.Name, p.Size)
	}
	return checkV3Hash(p.Name, p.Hash)
}

// checkV3Hash wants the hash of a v3 package or the identity of a v2 one.
func checkV3Hash(name string, hash []byte) error {
	if len(hash) != sha256.Size && len(hash) != len(Identity{}) {
		return invalid("package %s: a hash of %d bytes", clip(name), len(hash))
	}
	return nil
}
