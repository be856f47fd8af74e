package ashlar

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// LockFormat is the version of the lock's JSON form.
const LockFormat = 1

// A Lock pins every input of one definition for one target. Inputs come from
// resolving; Fetched holds the trees that a sandboxed fetch phase brought, keyed
// by Inputs. Nothing that is not in the lock reaches a build.
type Lock struct {
	Format  int       `json:"format"`
	Inputs  Inputs    `json:"inputs"`
	Fetched []Fetched `json:"fetched,omitempty"`
}

// Inputs are what resolving pinned. The lists are sorted, so that the same
// inputs give the same bytes.
type Inputs struct {
	Definition Material          `json:"definition"`         // path within the catalog, and digest
	Includes   []Material        `json:"includes,omitempty"` // the files that it includes, each once, in the order they are read
	Target     Target            `json:"target"`
	Vars       map[string]string `json:"vars,omitempty"` // expanded, with source.name, source.version …
	Builds     []BuildInputs     `json:"builds"`         // in the definition's order
	Indexes    []Index           `json:"indexes,omitempty"`
	Notes      []string          `json:"notes,omitempty"` // what a reader should know: fallbacks, warnings
}

// BuildInputs are the inputs of one entry of contents.builds.
type BuildInputs struct {
	Name    string   `json:"name"`
	Root    Root     `json:"root"`
	Sources []Source `json:"sources,omitempty"` // in the definition's order
}

// A Material is one pinned file. URI is an alias ("mirror://debian/pool/…"), an
// upstream address, or "catalog:<path>" for a file beside the definition; it
// never names a mirror's host.
type Material struct {
	Name   string `json:"name"`
	URI    string `json:"uri"`
	Digest Digest `json:"digest"`
	Size   int64  `json:"size,omitempty"`
}

// A Source is a material placed into a build.
type Source struct {
	Material
	Path   string `json:"path"`           // absolute path inside the build; ends in "/" for a tree
	Mode   string `json:"mode,omitempty"` // octal, "" means 0644
	UID    int    `json:"uid,omitempty"`
	GID    int    `json:"gid,omitempty"`
	Tree   bool   `json:"tree,omitempty"` // the material is a tar archive to be unpacked at Path
	Anchor Anchor `json:"anchor"`
	// From names the pinned files that this one was taken out of, for a patch
	// by reference.
	From []Material `json:"from,omitempty"`
	// Package and Version name the Debian source package that the file belongs to.
	Package string `json:"package,omitempty"`
	Version string `json:"version,omitempty"`
}

// An Anchor says why a source is believed to be what it claims.
type Anchor struct {
	Kind    AnchorKind `json:"kind"`
	By      string     `json:"by,omitempty"`      // URI of the index, or of the checksum file
	Signers []string   `json:"signers,omitempty"` // OpenPGP fingerprints, upper-case hexadecimal
}

// An AnchorKind names a kind of evidence for a source.
type AnchorKind string

// The kinds of anchor, strongest first. Unauthenticated sources are built but
// the default policy refuses to publish what came of them.
const (
	AnchoredByIndex     AnchorKind = "signed-index"      // listed by a Sources index that a signed InRelease names
	AnchoredBySignature AnchorKind = "openpgp-signature" // signed by a key of a given keyring
	AnchoredByChecksum  AnchorKind = "checksum"          // SHA-256 written in the definition
	AnchoredByCommit    AnchorKind = "git-commit"        // full commit id written in the definition
	AnchoredLocally     AnchorKind = "catalog"           // lies beside the definition, under its version control
	Unauthenticated     AnchorKind = "unauthenticated"   // a .dsc that nothing vouches for
)

// A Root is a build root: layers of Debian packages put on one another by the
// real dpkg. The first layer is Essential; a shared base follows; what one
// source wants on top is last.
type Root struct {
	Layers []Layer `json:"layers,omitempty"`
	// Sysroot holds apk packages beside them, nil if there are none.
	Sysroot *Sysroot `json:"sysroot,omitempty"`
}

// A Sysroot is a root of apk packages in a folder of a build root: what programs
// are compiled against that are going to run elsewhere.
type Sysroot struct {
	Path     string        `json:"path"`
	Packages []RootPackage `json:"packages"` // in the order of installation
}

// A Layer is a set of packages, and the order in which dpkg unpacks and
// configures them.
type Layer struct {
	Name     string        `json:"name"` // "essential", "base", "extras"
	Packages []RootPackage `json:"packages"`
	Order    []Run         `json:"order,omitempty"`
}

// A RootPackage is one .deb of a build root.
type RootPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    Arch   `json:"arch"`
	URI     string `json:"uri"`
	Digest  Digest `json:"digest"`
	Size    int64  `json:"size"`
}

// A Run is one call of dpkg on a list of packages.
type Run struct {
	Do       string   `json:"do"` // RunUnpack or RunConfigure
	Packages []string `json:"packages"`
}

// What dpkg is called for.
const (
	RunUnpack    = "unpack"
	RunConfigure = "configure"
)

// An Index is a signed archive index that packages were taken from.
type Index struct {
	URI     string   `json:"uri"` // of the InRelease file
	Digest  Digest   `json:"digest"`
	Date    string   `json:"date,omitempty"` // of the Release, RFC 3339
	Signers []string `json:"signers"`
}

// A Fetched tree was brought by a sandboxed fetch phase (module downloads,
// distfiles). Key is the digest of the inputs that led to it.
type Fetched struct {
	Name   string `json:"name"`
	Key    Digest `json:"key"`
	Digest Digest `json:"digest"` // of the tree as a tar archive
	Size   int64  `json:"size"`
}

// Packages returns all packages of the root's layers, one after the other.
func (r Root) Packages() []RootPackage {
	var all []RootPackage
	for _, l := range r.Layers {
		all = append(all, l.Packages...)
	}
	return all
}

// Materials returns every pinned file of the lock with its digest: the
// definition and what it includes, sources, what patches were taken from, and build-root packages, in
// the order of the lock, each URI once for each digest that it is pinned to.
// Indexes and fetched trees are not among them.
func (l *Lock) Materials() []Material {
	type pin struct {
		uri    string
		digest Digest
	}
	seen := map[pin]bool{}
	var all []Material
	add := func(m Material) {
		if p := (pin{m.URI, m.Digest}); !seen[p] {
			seen[p] = true
			all = append(all, m)
		}
	}
	add(l.Inputs.Definition)
	for _, m := range l.Inputs.Includes {
		add(m)
	}
	for _, b := range l.Inputs.Builds {
		for _, s := range b.Sources {
			add(s.Material)
			for _, f := range s.From {
				add(f)
			}
		}
	}
	for _, b := range l.Inputs.Builds {
		packages := b.Root.Packages()
		if b.Root.Sysroot != nil {
			packages = append(packages, b.Root.Sysroot.Packages...)
		}
		for _, p := range packages {
			add(Material{Name: p.Name, URI: p.URI, Digest: p.Digest, Size: p.Size})
		}
	}
	return all
}

// Encode returns the canonical JSON of the lock: two-space indentation, keys in
// the order of the type, a newline at the end.
func (l *Lock) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(l); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Digest returns the digest of the canonical JSON of the lock.
func (l *Lock) Digest() (Digest, error) {
	b, err := l.Encode()
	if err != nil {
		return "", err
	}
	return DigestOf(b), nil
}

// Validate returns an error if one of the lock's digests is not a digest, its format
// is another than LockFormat, or a call of dpkg is none or names what is not in its
// layer.
func (l *Lock) Validate() error {
	if l.Format != LockFormat {
		return fmt.Errorf("lock: format %d, this program reads %d", l.Format, LockFormat)
	}
	all := l.Materials()
	for _, x := range l.Inputs.Indexes {
		all = append(all, Material{URI: x.URI, Digest: x.Digest})
	}
	for _, f := range l.Fetched {
		all = append(all, Material{URI: f.Name, Digest: f.Key}, Material{URI: f.Name, Digest: f.Digest})
	}
	for _, m := range all {
		if err := m.Digest.Validate(); err != nil {
			return fmt.Errorf("lock: %s: %w", m.URI, err)
		}
	}
	for _, b := range l.Inputs.Builds {
		for _, layer := range b.Root.Layers {
			if err := layer.validate(); err != nil {
				return fmt.Errorf("lock: build %q: %w", b.Name, err)
			}
		}
	}
	return nil
}

// validate checks the calls of dpkg, which become lines of a script.
func (l *Layer) validate() error {
	there := map[string]bool{}
	for _, p := range l.Packages {
		there[p.Name], there[p.Name+":"+string(p.Arch)] = true, true
	}
	for _, r := range l.Order {
		if r.Do != RunUnpack && r.Do != RunConfigure {
			return fmt.Errorf("%q is not what dpkg is called for", r.Do)
		}
		for _, name := range r.Packages {
			if !there[name] {
				return fmt.Errorf("dpkg is called on %q, which is not in the layer %q", name, l.Name)
			}
		}
	}
	return nil
}

// DecodeLock reads the canonical JSON of a lock, with blanks wherever JSON lets
// them be. It refuses unknown, repeated and reordered keys, text after the lock,
// an unknown format, and digests that are not digests: two readers must never
// see different locks in the same bytes.
func DecodeLock(b []byte) (*Lock, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var l Lock
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if err := l.Validate(); err != nil {
		return nil, err
	}
	canonical, err := l.Encode()
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	var have, want bytes.Buffer
	if err := errors.Join(json.Compact(&have, b), json.Compact(&want, canonical)); err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	if !bytes.Equal(have.Bytes(), want.Bytes()) {
		return nil, errors.New("lock: not in the form that this program writes: a key is repeated, empty or in another place")
	}
	return &l, nil
}
