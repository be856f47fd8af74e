// Package apkrepo keeps repositories for apk in a plain folder that any web server
// can serve, beside those for apt: packages that never change, an index of them
// for each generation of the format, a snapshot of every pair of indexes that was
// ever published, and a signed statement which pair is the newest.
//
// The signed indexes are the whole state. A publish reads what the statement of
// the live indexes names, by digest, merges the new source sets in, and puts the
// new indexes and their statement live in one step.
//
//	<root>/apk/<distro>/<tier>/<arch>/name-1.2-r100.apk           packages of v2
//	<root>/apk/<distro>/<tier>/<arch>/name-1.2-r100.1a2b3c4d.apk  what Packages.adb names: packages of v3,
//	                                                              or other names for those of v2
//	<root>/apk/<distro>/<tier>/<arch>/APKINDEX.tar.gz, …          links to what is below live/now
//	<root>/apk/<distro>/<tier>/live/<n>/<arch>/…                  indexes and statement; now is a link to one <n>
//	<root>/apk/<distro>/<tier>/snapshot/<id>/<arch>/…             indexes and statement as they were
//	<root>/apk/<distro>/<tier>/sets/<arch>/<origin>/<version>.json what was published together
//	<root>/apk/<distro>/<tier>/locks/<sha256>.json                locks of what was published
//	<root>/keys/ashlar-1a2b3c4d.rsa.pub, …                        the public keys, and a statement that lists them
package apkrepo

import (
	"context"
	"crypto"
	"crypto/rsa"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// The files that a folder of packages offers beside them. A client of apk reads
// one of the indexes; who wants to know whether it is kept from updates reads the
// statement, a Sigstore bundle.
const (
	IndexV2   = sign.APKIndexV2
	IndexV3   = sign.APKIndexV3
	Statement = "index.sigstore.json"
)

// indexFiles are all of them.
var indexFiles = []string{IndexV2, IndexV3, Statement}

// A Signer signs indexes and says which are newest; *sign.Conn is one. It may be
// another process: dir is a folder with the files that it is asked about, so that
// it can check what it signs.
type Signer interface {
	SignAPKIndexes(ctx context.Context, dir string, state intoto.APKIndex) (*sign.APKIndexSignatures, error)
	SignAPKKeys(ctx context.Context, now time.Time) ([]byte, error)
}

// Keys are the public keys that are believed.
type Keys struct {
	V2         apk.Keyring        // of packages of v2 and APKINDEX.tar.gz
	V3         []crypto.PublicKey // of packages of v3 and Packages.adb
	Statements []crypto.PublicKey // of statements
}

// KeysOf returns the public keys of a signer. While the key for statements is
// being replaced, the other one must be added.
func KeysOf(pub *sign.Public) (Keys, error) {
	k := Keys{V2: apk.Keyring{}}
	statement, err := sign.ParsePublicKey(pub.Attestation)
	if err != nil {
		return k, err
	}
	k.Statements = []crypto.PublicKey{statement}
	for _, p := range pub.APK {
		key, err := sign.ParsePublicKey(p.PEM)
		if err != nil {
			return k, err
		}
		if rsaKey, ok := key.(*rsa.PublicKey); ok {
			k.V2[p.Name] = rsaKey
		} else {
			k.V3 = append(k.V3, key)
		}
	}
	return k, nil
}

// A Config says where the repositories are and who signs them. Root, Blobs, Signer
// and Keys must be set to publish; Root alone is enough to read.
type Config struct {
	Root   string
	Blobs  shelf.Blobs // where the content of source sets is
	Signer Signer
	// Keys are those of Signer, and while one is being replaced the other one as
	// well. Packages must be signed by one of them to be published. What is live
	// must be stated by one of them before something is built upon it.
	Keys Keys
	// Newest remembers the newest statement about each architecture, so that an
	// older one with a good signature is not gone on from.
	Newest shelf.Memory

	Origin   string        // who publishes, for the description of indexes; "Ashlar" if ""
	Validity time.Duration // of a statement; seven days if 0

	// Hook, for tests, is called before every change on the disk; an error from
	// it stops everything, as a crash would.
	Hook func(op, path string) error
}

// A Repo is the apk repositories of a folder. Its methods may be called
// concurrently and by several processes: writers of one repository wait for each
// other.
type Repo struct {
	cfg Config

	mu    sync.Mutex
	cache map[string]*live // what is live, by folder of the architecture, as it was published last
}

// Open returns the repositories that cfg describes. The root is made when
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
	if strings.ContainsFunc(cfg.Origin, func(r rune) bool { return r < ' ' || r == 0x7f }) || len(cfg.Origin) > 60 {
		return nil, fault.New(fault.Invalid, "%q is not a name for an origin", cfg.Origin).Fix("use one short line")
	}
	if cfg.Validity == 0 {
		cfg.Validity = 7 * 24 * time.Hour
	}
	return &Repo{cfg: cfg, cache: map[string]*live{}}, nil
}

// Root returns the folder of the repositories.
func (r *Repo) Root() string { return r.cfg.Root }

// A Target is one repository: what the packages are for and who may have them. A
// client's line for it is the address of the root, "/apk/" and String.
type Target struct {
	Distro ashlar.Distro `json:"distro"`
	Tier   ashlar.Tier   `json:"tier"`
}

// String returns "musl-1/community".
func (t Target) String() string { return string(t.Distro) + "/" + string(t.Tier) }

func (t Target) check() error {
	if err := shelf.CheckWord("a distribution", string(t.Distro)); err != nil {
		return err
	}
	return shelf.CheckWord("a tier", string(t.Tier))
}

// dir returns the folder of the repository, below the root.
func (t Target) dir() string { return path.Join("apk", string(t.Distro), string(t.Tier)) }

// The folders beside those of architectures.
const (
	liveDir     = "live"
	snapshotDir = "snapshot"
	setsDir     = "sets"
	locksDir    = "locks"
	current     = "now" // the link in liveDir
)

var (
	archForm = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	reserved = []string{liveDir, snapshotDir, setsDir, locksDir, noarch}
)

// noarch is the architecture of packages for every machine.
const noarch = "noarch"

// checkArch wants a word of apk's for a kind of machine.
func checkArch(arch string) error {
	if !archForm.MatchString(arch) || slices.Contains(reserved, arch) {
		return fault.New(fault.Invalid, "%q is not an architecture", arch).Fix("use apk's words, such as x86_64 or aarch64")
	}
	return nil
}

// pkgnameSpec returns how the Packages.adb of an architecture names files. A
// client takes the name to be relative to the repository, not to the index. The
// architecture is spelled out, since packages for every machine lie with the
// others.
func pkgnameSpec(arch string) string { return arch + "/" + apk.PublishedV3 }

// FileNameV3 returns the name of the file under which a package of v3 is
// published, and under which Packages.adb lists it: it has the beginning of its
// hash in it. A package of v2 is published as IndexEntry.FileName says.
func FileNameV3(p *apk.V3IndexEntry) (string, error) {
	return apk.V3FileName(path.Base(pkgnameSpec("")), p)
}

// description returns that of the indexes of a repository.
func (r *Repo) description(to Target) string { return r.cfg.Origin + " " + to.String() }

// write runs f while no other writer changes the repository.
func (r *Repo) write(ctx context.Context, to Target, f func(*durable.Batch) error) error {
	return shelf.Write(ctx, r.cfg.Root, to.dir(), r.cfg.Hook, f)
}

// workDir returns the folder for work in progress, below the root.
func workDir(to Target) string { return shelf.WorkDir(to.dir()) }

// Snapshots returns the ids of a repository's snapshots, oldest first.
func (r *Repo) Snapshots(to Target) ([]string, error) {
	if err := to.check(); err != nil {
		return nil, err
	}
	return shelf.SnapshotIDs(filepath.Join(r.cfg.Root, to.dir(), snapshotDir))
}

// SnapshotAt returns the id of the newest snapshot of a repository that is not
// younger than the given id, or fault.NotFound.
func (r *Repo) SnapshotAt(to Target, id string) (string, error) {
	ids, err := r.Snapshots(to)
	if err != nil {
		return "", err
	}
	return shelf.SnapshotAt(ids, id)
}
