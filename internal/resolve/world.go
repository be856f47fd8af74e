package resolve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

// A World is all that a lock is made from besides the definition.
type World struct {
	// Universe has the packages for build roots, and Indexes are the signed
	// indexes that it was read from.
	Universe Universe
	Indexes  []ashlar.Index
	// PackageURI returns the address by alias of a package of the universe.
	PackageURI func(*deb.Package) string
	// Archive finds source packages and says who vouches for a .dsc.
	Archive Archive
	// Fetcher brings files into Store.
	Fetcher Fetcher
	Store   blob.Store
	// Beside are the files beside the definition; nil means as they are now.
	Beside Beside
	Now    time.Time
	// Own returns the newest apk packages that this factory built for a target;
	// nil if it has none.
	Own func(context.Context, ashlar.Target) ([]OwnPackage, error)
	// Vouch returns nil if this factory attested a package of a sysroot, for Verify
	// alone; else the error is fault.Denied.
	Vouch func(context.Context, ashlar.RootPackage) error
	// PlanOnly leaves out the fetching of packages and of Debian sources. What the
	// pool does not have of a root's packages is then not noticed.
	PlanOnly bool
}

// An Archive knows the source packages of signed indexes. *archive.Archive is one.
type Archive interface {
	Sources(ctx context.Context, suite, name string, now time.Time) ([]archive.SourceRef, error)
	AnchorDsc(ctx context.Context, d ashlar.Distro, dsc ashlar.Digest, now time.Time) (ashlar.Anchor, error)
}

// A Fetcher brings files into the blob store. *source.Fetcher is one.
type Fetcher interface {
	Fetch(ctx context.Context, req source.Request) (ashlar.Material, error)
	FetchChecksum(ctx context.Context, uri, name string) (ashlar.Digest, ashlar.Material, error)
	Git(ctx context.Context, uri, commit string) (ashlar.Material, error)
	Exists(ctx context.Context, uri string) (bool, error)
	// Alias returns the address that locks use for another.
	Alias(uri string) string
}

// Beside are the files of a catalog by their paths relative to its root.
type Beside interface {
	Open(name string) (io.ReadCloser, error)
	// Files returns the paths of the files at or below one, sorted.
	Files(name string) ([]string, error)
}

// besideDefinition are the files beside a definition as they are now.
type besideDefinition struct{ def *catalog.Definition }

func (b besideDefinition) Open(name string) (io.ReadCloser, error) { return b.def.OpenLocal(name) }

func (b besideDefinition) Files(name string) ([]string, error) { return b.def.LocalFiles(name) }

// measure returns digest and size of what it reads, as a store's Put does, and keeps
// nothing. The error is fault.Invalid if the digest is not the one that is wanted.
func measure(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return ashlar.File{}, fault.New(fault.Unavailable, "%w", err)
	}
	f := ashlar.File{Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: n}
	if want != "" && f.Digest != want {
		return ashlar.File{}, fault.New(fault.Invalid, "content has digest %s, wanted %s", f.Digest, want)
	}
	return f, ctx.Err()
}

// NewWorld returns the world of a target as an archive and a fetcher have it at
// a time. Errors are those of reading the indexes.
func NewWorld(ctx context.Context, a *archive.Archive, f *source.Fetcher, t ashlar.Target, now time.Time) (World, error) {
	u, err := a.Universe(ctx, t, now)
	if err != nil {
		return World{}, err
	}
	return worldOf(a, f, u, now), nil
}

// WorldOf returns the world of a target that a lock was made in: that of the indexes
// that it names. The error is fault.NotFound if they are not all kept, else that of
// reading them.
func WorldOf(ctx context.Context, a *archive.Archive, f *source.Fetcher, t ashlar.Target, lock *ashlar.Lock, now time.Time) (World, error) {
	u, err := a.UniverseOf(ctx, t, lock.Inputs.Indexes, now)
	if err != nil {
		return World{}, err
	}
	return worldOf(a, f, u, now), nil
}

func worldOf(a *archive.Archive, f *source.Fetcher, u *archive.Universe, now time.Time) World {
	return World{
		Universe: u, Indexes: u.Indexes(), PackageURI: u.PoolURI,
		Archive: a, Fetcher: f, Store: f.Store, Now: now,
	}
}
