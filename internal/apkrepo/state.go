package apkrepo

import (
	"bytes"
	"crypto"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// maxIndex bounds an index that is read back, in bytes.
const maxIndex = 256 << 20

// A generation is the live state of a repository: for each architecture the
// indexes and the statement about them. It never changes; another takes its place.
type generation struct {
	number int64    // 0 if nothing was ever published
	dir    string   // below the root
	arches []string // sorted
}

// generationDir returns the folder of a generation, below the root.
func generationDir(to Target, number int64) string {
	return path.Join(to.dir(), liveDir, strconv.FormatInt(number, 10))
}

// readGeneration finds the live state of a repository.
func (r *Repo) readGeneration(to Target) (*generation, error) {
	link := filepath.Join(r.cfg.Root, to.dir(), liveDir, current)
	name, err := os.Readlink(link)
	if errors.Is(err, fs.ErrNotExist) {
		return &generation{}, nil
	}
	if err != nil {
		return nil, shelf.Damaged(link, "%w", err)
	}
	number, err := strconv.ParseInt(name, 10, 64)
	if err != nil || number <= 0 || strconv.FormatInt(number, 10) != name {
		return nil, shelf.Damaged(link, "it leads to %q", name)
	}
	g := &generation{number: number, dir: generationDir(to, number)}
	list, err := os.ReadDir(filepath.Join(r.cfg.Root, g.dir))
	if err != nil {
		return nil, shelf.Damaged(link, "%w", err)
	}
	for _, e := range list {
		if e.IsDir() && checkArch(e.Name()) == nil {
			g.arches = append(g.arches, e.Name())
		}
	}
	return g, nil
}

// A live is what is known of the live indexes of one architecture.
type live struct {
	arch  string
	state intoto.APKIndex // zero if nothing was ever published
	files map[string][]byte
	v2    *apk.V2RawIndex
	v3    *apk.V3RawIndex
}

// own returns the live indexes of an architecture, to go on from them with new
// signatures: what ownStated returns, taken apart.
func (r *Repo) own(to Target, g *generation, arch string) (*live, error) {
	l, err := r.ownStated(to, g, arch)
	if err != nil || l.files == nil {
		return l, err
	}
	return l, r.readLive(to, l)
}

// ownStated reads the live indexes of an architecture, none if there are none. A
// key of the repository must have stated that they are the newest of this
// repository, in no statement older than the last; it may have expired. Else the
// error is fault.Denied.
func (r *Repo) ownStated(to Target, g *generation, arch string) (*live, error) {
	l := &live{arch: arch, v2: &apk.V2RawIndex{}, v3: &apk.V3RawIndex{}}
	if !slices.Contains(g.arches, arch) {
		return l, nil
	}
	dir := filepath.Join(r.cfg.Root, g.dir, arch)
	if err := l.open(dir, to, r.cfg.Keys); err != nil {
		return nil, fault.New(fault.Denied, "the live indexes of %s for %s are not what this repository stated: %w", to, arch, err).
			At(dir, 0).Fix("find out who wrote them; then put the folder back from a backup or from the newest snapshot")
	}
	return l, r.checkNewest(to, l)
}

// readLive takes the indexes apart, unless this process published these very ones.
func (r *Repo) readLive(to Target, l *live) error {
	key := path.Join(to.dir(), l.arch)
	r.mu.Lock()
	known := r.cache[key]
	delete(r.cache, key) // one publish can build upon it
	r.mu.Unlock()
	if known != nil && bytes.Equal(known.files[IndexV2], l.files[IndexV2]) && bytes.Equal(known.files[IndexV3], l.files[IndexV3]) {
		l.v2, l.v3 = known.v2, known.v3
		return nil
	}
	return l.read()
}

// open reads the statement, checks it and reads the indexes that it is about.
func (l *live) open(dir string, to Target, keys Keys) error {
	b, err := readBounded(filepath.Join(dir, Statement), maxStatement)
	if err != nil {
		return err
	}
	state, subjects, err := openStatement(b, keys.Statements)
	if err != nil {
		return err
	}
	if state.Repository != to.String() || state.Arch != l.arch {
		return fault.New(fault.Denied, "the statement is about %s for %s", state.Repository, state.Arch)
	}
	l.state, l.files = *state, map[string][]byte{}
	for _, name := range []string{IndexV2, IndexV3} {
		if b, err = readBounded(filepath.Join(dir, name), maxIndex); err != nil {
			return err
		}
		if err := stated(name, b, subjects); err != nil {
			return err
		}
		l.files[name] = b
	}
	return nil
}

func readBounded(name string, most int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fault.New(fault.Invalid, "%d bytes, at most %d are read", info.Size(), most).At(name, 0)
	}
	return os.ReadFile(name)
}

// read takes the indexes apart. Their signatures are not looked at: the statement
// is about these very bytes, and its signer has checked them.
func (l *live) read() error {
	var g errgroup.Group
	g.Go(func() (err error) {
		if l.v2, err = apk.ReadV2Raw(l.files[IndexV2], nil); err != nil {
			err = apk.InFile(err, IndexV2)
		}
		return err
	})
	g.Go(func() (err error) {
		if l.v3, err = apk.ReadV3Raw(bytes.NewReader(l.files[IndexV3]), apk.V3Unchecked()); err != nil {
			err = apk.InFile(err, IndexV3)
		}
		return err
	})
	return g.Wait()
}

// An Index is what is known of the live indexes of one architecture.
type Index struct {
	Target
	Arch string `json:"arch"`
	// What is stated, as the statement says it is: no signature is checked.
	Issued   time.Time `json:"issued"`
	Expires  time.Time `json:"expires"`
	Sequence int64     `json:"sequence"`
	Snapshot string    `json:"snapshot"`
	Err      error     `json:"-"` // why it cannot be read, else nil
}

// String returns "musl-1/community/x86_64".
func (x Index) String() string { return x.Target.String() + "/" + x.Arch }

// Live returns the live indexes of all repositories, sorted.
func (r *Repo) Live() ([]Index, error) {
	targets, err := r.targets()
	if err != nil {
		return nil, err
	}
	var list []Index
	for _, to := range targets {
		g, err := r.readGeneration(to)
		if err != nil {
			list = append(list, Index{Target: to, Err: err})
			continue
		}
		for _, arch := range g.arches {
			x := Index{Target: to, Arch: arch}
			if state, err := r.peek(g, arch); err != nil {
				x.Err = err
			} else {
				x.Issued, x.Expires, x.Sequence, x.Snapshot = state.Issued, state.Expires, state.Sequence, state.Snapshot
			}
			list = append(list, x)
		}
	}
	return list, nil
}

// targets returns the repositories that there are, sorted.
func (r *Repo) targets() ([]Target, error) {
	distros, err := shelf.Folders(filepath.Join(r.cfg.Root, "apk"))
	if err != nil {
		return nil, err
	}
	var list []Target
	for _, distro := range distros {
		tiers, err := shelf.Folders(filepath.Join(r.cfg.Root, "apk", distro))
		if err != nil {
			return nil, err
		}
		for _, tier := range tiers {
			list = append(list, Target{ashlar.Distro(distro), ashlar.Tier(tier)})
		}
	}
	return list, nil
}

// peek reads what is stated of an architecture, whoever stated it.
func (r *Repo) peek(g *generation, arch string) (*intoto.APKIndex, error) {
	b, err := readBounded(filepath.Join(r.cfg.Root, g.dir, arch, Statement), maxStatement)
	if err != nil {
		return nil, err
	}
	bundle, err := intoto.DecodeBundle(b)
	if err != nil {
		return nil, err
	}
	st, err := intoto.DecodeStatement(bundle.DSSEEnvelope.Payload)
	if err != nil {
		return nil, err
	}
	state, _, err := readStatement(st)
	return state, err
}

// CheckLive checks that the live indexes of an architecture are what one of the
// keys stated to be the newest; the statement may have expired. If not, the error
// is fault.Denied.
func (r *Repo) CheckLive(to Target, arch string, keys []crypto.PublicKey) error {
	if err := to.check(); err != nil {
		return err
	}
	g, err := r.readGeneration(to)
	if err != nil {
		return err
	}
	return (&live{arch: arch}).open(filepath.Join(r.cfg.Root, g.dir, arch), to, Keys{Statements: keys})
}
