package world

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// A Package is a package of a repository, as the index of that describes it.
type Package struct {
	*apk.Info
	// Hash names the one file that this is: 20 bytes, the identity of a v2 package,
	// or 32, the hash of a v3 package. Its first 20 bytes tell packages apart.
	Hash []byte
	Size int64 // bytes of the file
	// File is the path of the file, below the folder of the index.
	File string
	// Unusable says why the index makes the package one that must not be installed,
	// "" if it does not.
	Unusable string
}

// String returns name and version as apk writes them together.
func (p *Package) String() string { return p.Name + "-" + p.Version }

// v3 reports whether the package is of the third generation.
func (p *Package) v3() bool { return len(p.Hash) > len(apk.Identity{}) }

// identity returns what tells the package apart from others.
func (p *Package) identity() (id apk.Identity) {
	copy(id[:], p.Hash)
	return id
}

// FromIndex returns the packages of an index of v2, which share their Info with
// it.
func FromIndex(x *apk.Index) []Package {
	packages := make([]Package, len(x.Entries))
	for i := range x.Entries {
		e := &x.Entries[i]
		packages[i] = Package{Info: &e.Info, Hash: e.Identity[:], Size: e.Size, File: e.FileName(), Unusable: e.Unusable}
	}
	return packages
}

// FromV3Index returns the packages of an index of v3, which share their Info with
// it. A name for files that leads out of the folder of the index is a
// fault.Invalid error.
func FromV3Index(x *apk.V3Index) ([]Package, error) {
	packages := make([]Package, len(x.Entries))
	for i := range x.Entries {
		e := &x.Entries[i]
		file, err := apk.V3FileName(x.PkgnameSpec, e)
		if err != nil {
			return nil, err
		}
		packages[i] = Package{Info: &e.Info, Hash: e.Hash, Size: e.Size, File: file}
	}
	return packages, nil
}

// compareNames orders names as apk shows them: upper and lower case together.
func compareNames(a, b string) int {
	return cmp.Or(bytes.Compare(lower(a), lower(b)), cmp.Compare(a, b))
}

// lower returns s with the letters of ASCII in lower case.
func lower(s string) []byte {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return b
}

// sortWorld returns the words in the order in which apk solves and writes them.
func sortWorld(words []apk.Dependency) []apk.Dependency {
	return slices.SortedStableFunc(slices.Values(words), func(a, b apk.Dependency) int { return compareNames(a.Name, b.Name) })
}
