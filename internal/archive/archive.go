// Package archive reads Debian archives: it follows the chain from a signed
// InRelease over the SHA-256 of an index to a package, and keeps every link.
// InRelease files and compressed indexes go into the blob store for good; plain
// texts and lookup tables are a cache that is made again when it is missing or
// damaged.
package archive

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/source"
)

// Where Debian installs its keyrings.
const (
	DefaultKeyring           = "/usr/share/keyrings/debian-archive-keyring.gpg"
	DefaultMaintainerKeyring = "/usr/share/keyrings/debian-keyring.gpg"
)

// DefaultMaxAge is for how long an InRelease is used without asking for a newer
// one.
const DefaultMaxAge = time.Hour

// A Suite is one suite of an archive: dists/Name below mirror://Alias/.
type Suite struct {
	Alias      string   `json:"alias"`
	Name       string   `json:"name"`
	Components []string `json:"components"`
}

// URI returns the address of a path below the suite's archive, "mirror://…".
func (s Suite) URI(path string) string {
	return "mirror://" + s.Alias + "/" + (&url.URL{Path: strings.TrimPrefix(path, "./")}).EscapedPath()
}

// inRelease returns the address of the suite's signed table of contents.
func (s Suite) inRelease() string { return s.URI("dists/" + s.Name + "/InRelease") }

// Config says which archives there are and whom to trust. Fetcher and Dir must
// be set.
type Config struct {
	Fetcher *source.Fetcher
	Dir     string // of the cache
	// Keyrings hold the keys that sign archives; nil means DefaultKeyring.
	Keyrings []string
	// MaintainerKeyrings hold the keys that sign .dsc files; nil means
	// DefaultMaintainerKeyring if it is there.
	MaintainerKeyrings []string
	// Suites lists the suites of a distro; one that it lacks has those of Debian:
	// release, updates and security, main only.
	Suites map[ashlar.Distro][]Suite
	// MaxAge is for how long an InRelease is used without asking for a newer one;
	// 0 means DefaultMaxAge, negative asks every time.
	MaxAge time.Duration
	// AllowExpired uses an InRelease beyond its Valid-Until, for work on a machine
	// that is cut off. Its age is then no protection against a frozen mirror.
	AllowExpired bool
}

// An Archive answers what the configured suites hold. Its methods may be called
// concurrently.
type Archive struct {
	cfg         Config
	files       [2][]string // of the two keyrings
	keyring     func() (pgp.Keyring, error)
	maintainers func() (pgp.Keyring, error)

	locks     keyedMutex
	mu        sync.Mutex
	releases  map[string]*release      // by suite
	tables    map[ashlar.Digest]*table // by plain index
	universes map[string]*Universe     // by target and releases
}

// Open returns the archive. Nothing is read or fetched before it is needed.
func Open(cfg Config) *Archive {
	if cfg.MaxAge == 0 {
		cfg.MaxAge = DefaultMaxAge
	}
	archives, maintainers := cfg.Keyrings, cfg.MaintainerKeyrings
	if archives == nil {
		archives = []string{DefaultKeyring}
	}
	if maintainers == nil {
		if _, err := os.Stat(DefaultMaintainerKeyring); err == nil {
			maintainers = []string{DefaultMaintainerKeyring}
		}
	}
	return &Archive{
		cfg:         cfg,
		files:       [2][]string{archives, maintainers},
		keyring:     sync.OnceValues(func() (pgp.Keyring, error) { return readKeyrings(archives) }),
		maintainers: sync.OnceValues(func() (pgp.Keyring, error) { return readKeyrings(maintainers) }),
		releases:    map[string]*release{},
		tables:      map[ashlar.Digest]*table{},
		universes:   map[string]*Universe{},
	}
}

func readKeyrings(paths []string) (pgp.Keyring, error) {
	var all pgp.Keyring
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			return all, fault.New(fault.Denied, "the keyring is not there, so no signature can be checked").At(p, 0).
				Fix("install the package debian-archive-keyring or debian-keyring, or configure another keyring")
		}
		if err != nil {
			return all, fault.New(fault.Denied, "read the keyring: %w", err).At(p, 0)
		}
		k, err := pgp.ReadKeyring(bytes.NewReader(b))
		if err != nil {
			return all, fault.New(fault.Invalid, "read the keyring: %w", err).At(p, 0).Fix("give a file of OpenPGP public keys")
		}
		all = all.Join(k)
	}
	return all, nil
}

var suiteForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]*(/[a-z0-9.+-]+)*$`)

// Suites returns the suites of a distro, or a fault.NotFound error.
func (a *Archive) Suites(d ashlar.Distro) ([]Suite, error) {
	if s, ok := a.cfg.Suites[d]; ok {
		for _, one := range s {
			if !suiteForm.MatchString(one.Name) || strings.Contains(one.Name, "..") {
				return nil, fault.New(fault.Invalid, "%q is not the name of a suite", one.Name).Fix("correct the suites of %s in the configuration", d)
			}
		}
		return s, nil
	}
	code := d.Codename()
	if code == "" {
		return nil, fault.New(fault.NotFound, "no archive is known for %s", d).Fix("configure its suites")
	}
	main := []string{"main"}
	return []Suite{
		{"debian", code, main}, {"debian", code + "-updates", main}, {"debian-security", code + "-security", main},
	}, nil
}

// named returns the suites that a name in a debsrc: address means: all suites
// of the release for its codename, or the one suite of that exact name.
func (a *Archive) named(name string) ([]Suite, error) {
	for _, d := range slices.Sorted(maps.Keys(a.cfg.Suites)) {
		if d.Codename() == name || string(d) == name {
			return a.Suites(d)
		}
		for _, s := range a.cfg.Suites[d] {
			if s.Name == name {
				return []Suite{s}, nil
			}
		}
	}
	d := ashlar.DistroOfCodename(name)
	if d == "" {
		return nil, fault.New(fault.NotFound, "no suite %q is known", name).Fix("use the codename of a release such as bookworm or trixie, or one of its suites")
	}
	suites, err := a.Suites(d)
	if err != nil || d.Codename() == name {
		return suites, err
	}
	i := slices.IndexFunc(suites, func(s Suite) bool { return s.Name == name })
	if i < 0 {
		return nil, fault.New(fault.NotFound, "%s has no suite %q", d, name).Fix("use %s", suiteNames(suites))
	}
	return suites[i : i+1], nil
}

func suiteNames(suites []Suite) string {
	var names []string
	for _, s := range suites {
		names = append(names, s.Name)
	}
	return strings.Join(names, ", ")
}

// cachePath returns a path below the cache and makes its folder.
func (a *Archive) cachePath(elem ...string) (string, error) {
	p := path.Join(append([]string{a.cfg.Dir}, elem...)...)
	return p, durable.MkdirAll(path.Dir(p), 0o755)
}

// A keyedMutex is a mutex for each key.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*sync.Mutex
}

// lock locks the key's mutex and returns the function that unlocks it.
func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.locks == nil {
		k.locks = map[string]*sync.Mutex{}
	}
	m := k.locks[key]
	if m == nil {
		m = new(sync.Mutex)
		k.locks[key] = m
	}
	k.mu.Unlock()
	m.Lock()
	return m.Unlock
}
