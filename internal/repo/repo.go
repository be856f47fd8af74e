// Package repo keeps Debian repositories in a plain folder that any web server
// can serve: one for each tier, with a pool of immutable files, suites of signed
// indexes over it, and a snapshot of every state that was ever published.
//
// The signed indexes are the whole state. A publish reads what the live
// InRelease names, by digest, merges the new source sets in, and writes what
// changed; there is no database beside it that could say something else.
//
//	<root>/deb/<tier>/dists/<suite>/…           the live indexes, InRelease last
//	<root>/deb/<tier>/pool/main/b/bzip2/…       packages, sources, attestations
//	<root>/deb/<tier>/snapshot/<id>/dists/…     indexes as they were; pool is a link
//	<root>/deb/<tier>/locks/<sha256>.json       locks of what was published
//	<root>/sources/sha256/<hex>                 every file that such a lock names
//	<root>/.state/…                             not to be served: locks between writers, work in progress
package repo

import (
	"context"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

const (
	component = "main"
	all       = ashlar.Arch("all")
)

// A Signer signs Release files. It may be another process: dir is a folder with
// every file that the Release lists, so that it can check what it signs.
type Signer interface {
	// SignReleases returns each Release signed, by one key or, while a key is
	// being replaced, by several.
	SignReleases(ctx context.Context, dir string, releases [][]byte, now time.Time) ([]pgp.Signed, error)
}

// A Config says where a repository is and how it presents itself. Root, Blobs,
// Signer and Keyring must be set to publish; Root alone is enough to read.
type Config struct {
	Root   string
	Blobs  shelf.Blobs // where the content of source sets is
	Signer Signer
	// Keyring holds the public keys of Signer, and while a key is being replaced
	// the other one as well. What is live must be signed by one of them before
	// something is built upon it or it is signed again.
	Keyring pgp.Keyring
	// Newest is a folder outside of Root that remembers the newest state of each
	// suite, so that an older one with a good signature is not gone on from; ""
	// remembers nothing.
	Newest shelf.Memory

	Origin   string        // of every Release, for pinning; "Ashlar" if ""
	BaseURL  string        // public address of Root, for the Snapshots field; none if ""
	Validity time.Duration // of a live Release; seven days if 0

	// Hook, for tests, is called before every change on the disk; an error from
	// it stops everything, as a crash would.
	Hook func(op, path string) error
}

// A Repo is a repository. Its methods may be called concurrently and by several
// processes: writers of one tier wait for each other.
type Repo struct{ cfg Config }

// Open returns the repository that cfg describes. The root is made when
// something is published.
func Open(cfg Config) (*Repo, error) {
	if cfg.Root == "" {
		return nil, fault.New(fault.Invalid, "a repository needs a folder").Fix("name one in the configuration")
	}
	root, err := filepath.Abs(cfg.Root)
	if err != nil {
		return nil, err
	}
	cfg.Root = root
	if cfg.Origin == "" {
		cfg.Origin = "Ashlar"
	}
	if strings.ContainsAny(cfg.Origin, "\n\r,\"") {
		return nil, fault.New(fault.Invalid, "%q is not a name for an origin", cfg.Origin).Fix("use one line without commas and quotes")
	}
	if cfg.Validity == 0 {
		cfg.Validity = 7 * 24 * time.Hour
	}
	if cfg.BaseURL != "" {
		if cfg.BaseURL, err = baseURL(cfg.BaseURL); err != nil {
			return nil, err
		}
	}
	return &Repo{cfg: cfg}, nil
}

// Root returns the folder of the repository.
func (r *Repo) Root() string { return r.cfg.Root }

// tierDir returns the folder of a tier, below the root.
func tierDir(tier ashlar.Tier) string { return path.Join("deb", string(tier)) }

// distDir returns the folder of a live suite, below the root.
func distDir(tier ashlar.Tier, suite string) string {
	return path.Join(tierDir(tier), "dists", suite)
}

// snapshotDir returns the folder of a snapshot, below the root.
func snapshotDir(tier ashlar.Tier, id string) string {
	return path.Join(tierDir(tier), "snapshot", id)
}

// checkNames refuses names that are not plain words, which would be dangerous as
// parts of a path.
func checkNames(tier ashlar.Tier, suite string) error {
	if err := shelf.CheckWord("a tier", string(tier)); err != nil {
		return err
	}
	return shelf.CheckWord("a suite", suite)
}

// write runs f while no other writer changes the tier.
func (r *Repo) write(ctx context.Context, tier ashlar.Tier, f func(*durable.Batch) error) error {
	return shelf.Write(ctx, r.cfg.Root, tierDir(tier), r.cfg.Hook, f)
}

// Origin returns the Origin that every Release has, by which apt pins.
func (r *Repo) Origin() string { return r.cfg.Origin }
