package repo

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// snapshotField is the field of a Release of ours that names the snapshot with
// the same indexes.
const snapshotField = "X-Snapshot-Id"

// maxIndex bounds the bytes of one index that is read back.
const maxIndex = 2 << 30

// A state is what a suite holds, by its InRelease.
type state struct {
	dir      string       // absolute; where the indexes are
	release  *deb.Release // nil if nothing was ever published
	snapshot string
	loaded   map[string][]byte // indexes that load has read, by name
}

// readState reads the InRelease in the folder to show what it says: nobody
// vouches for it. No InRelease is an empty state.
func readState(dir string) (*state, error) {
	b, err := readInRelease(dir)
	if b == nil || err != nil {
		return &state{dir: dir}, err
	}
	return parseState(dir, b)
}

// readInRelease returns the InRelease in the folder, nil if there is none.
func readInRelease(dir string) ([]byte, error) {
	b, err := os.ReadFile(path.Join(dir, "InRelease"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// ownState reads the state of a live suite as readState does, to go on from it
// with a new signature. The InRelease must be one that a key of the repository
// signed, for this suite and tier, and no older than what was published last; it
// may have expired. Else the error is fault.Denied.
func (r *Repo) ownState(d *durable.Batch, to target, now time.Time) (*state, error) {
	dir := d.Path(distDir(to.tier, to.suite))
	b, err := readInRelease(dir)
	if err != nil {
		return nil, err
	}
	if b == nil {
		s := &state{dir: dir}
		return s, r.checkNewest(to, s)
	}
	s, err := parseState(dir, b)
	if err != nil {
		return nil, err
	}
	if s.release.Date.After(now) {
		now = s.release.Date // whether the clock is right is for others to say
	}
	_, _, err = r.cfg.Keyring.VerifyClearSigned(b, now)
	if err == nil && (s.release.Suite != to.suite || !strings.HasSuffix(s.release.Label, " "+string(to.tier))) {
		err = fmt.Errorf("it is the one of suite %s of %s", s.release.Suite, s.release.Label)
	}
	if err != nil {
		return nil, fault.New(fault.Denied, "the live InRelease is not one that this repository signed for the suite: %w", err).
			At(path.Join(dir, "InRelease"), 0).
			Fix("find out who wrote it; then put the suite's folder back from a backup or from its newest snapshot")
	}
	return s, r.checkNewest(to, s)
}

// parseState reads the InRelease of the folder. The signature is not checked.
func parseState(dir string, b []byte) (*state, error) {
	s := &state{dir: dir}
	name := path.Join(dir, "InRelease")
	plain, signed, err := pgp.Unwrap(b)
	if err != nil || !signed {
		return nil, shelf.Damaged(name, "it is not a clear-signed file: %w", err)
	}
	if s.release, err = deb.ParseRelease(plain); err != nil {
		return nil, shelf.Damaged(name, "%w", err)
	}
	s.snapshot = string(deb.StanzaField(plain, snapshotField))
	if !shelf.IsSnapshotID(s.snapshot) {
		return nil, shelf.Damaged(name, "%s %q is not the id of a snapshot", snapshotField, s.snapshot)
	}
	return s, nil
}

// file returns the digest and size of an index as the Release lists it.
func (s *state) file(name string) (ashlar.File, bool) {
	if s.release == nil {
		return ashlar.File{}, false
	}
	return s.release.File(name)
}

// read returns the content of an index, nil if there is none. It is found by its
// digest, so that a crash while names were being changed does no harm.
func (s *state) read(name string) ([]byte, error) {
	if b, ok := s.loaded[name]; ok {
		return b, nil
	}
	f, ok := s.file(name)
	if !ok {
		return nil, nil
	}
	at := path.Join(s.dir, byHash(f))
	if f.Size > maxIndex {
		return nil, shelf.Damaged(at, "an index of %d bytes, at most %d are read", f.Size, int64(maxIndex))
	}
	b, err := os.ReadFile(at)
	if err != nil {
		return nil, shelf.Damaged(at, "%w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != f.Digest.Hex() {
		return nil, shelf.Damaged(at, "the content of the index does not have the digest that the InRelease lists")
	}
	return b, nil
}

// load reads every index, several at a time.
func (s *state) load() error {
	if s.release == nil {
		return nil
	}
	list := s.release.Files
	content := make([][]byte, len(list))
	var g errgroup.Group
	g.SetLimit(shelf.Workers())
	for i, f := range list {
		g.Go(func() (err error) {
			content[i], err = s.read(f.Name)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	s.loaded = map[string][]byte{}
	for i, f := range list {
		s.loaded[f.Name] = content[i]
	}
	return nil
}

// byHash returns the path of an index by its digest, below the suite.
func byHash(f ashlar.File) string {
	return path.Join(path.Dir(f.Name), "by-hash", "SHA256", f.Digest.Hex())
}

// The indexes of a suite. A name is a path below the suite.
const (
	sourcesIndex     = component + "/source/Sources"
	translationIndex = component + "/i18n/Translation-en"
)

func packagesIndex(arch ashlar.Arch) string {
	return component + "/binary-" + string(arch) + "/Packages"
}

func udebIndex(arch ashlar.Arch) string {
	return component + "/debian-installer/binary-" + string(arch) + "/Packages"
}

func contentsIndex(arch ashlar.Arch) string { return component + "/Contents-" + string(arch) }

// forms returns the suffixes under which an index is published.
func forms(index string) []string {
	if strings.Contains(index, "/Contents-") {
		return []string{"", ".gz"}
	}
	return []string{"", ".gz", ".xz"}
}

// A rendered index is one that changed: a new content for a name.
type rendered struct {
	ashlar.File
	data []byte
}

// render compresses an index into all its forms and takes over what it can from
// the forms that the state has. An index that did not change gives nothing.
func (s *state) render(name string, t *compress.Text) ([]rendered, error) {
	out := []rendered{newRendered(name, t.Plain)}
	if f, ok := s.file(name); ok && f == out[0].File {
		return nil, nil
	}
	for _, form := range forms(name)[1:] {
		old, err := s.read(name + form)
		if err != nil {
			return nil, err
		}
		pack := gzipText
		if form == ".xz" {
			pack = xzText
		}
		data, err := pack(t, old)
		if err != nil {
			return nil, err
		}
		out = append(out, newRendered(name+form, data))
	}
	return out, nil
}

// renderAll renders several indexes at a time.
func (s *state) renderAll(texts map[string]*compress.Text) ([]rendered, error) {
	indexes := slices.Sorted(maps.Keys(texts))
	parts := make([][]rendered, len(indexes))
	var g errgroup.Group
	g.SetLimit(shelf.Workers())
	for i, name := range indexes {
		g.Go(func() (err error) {
			parts[i], err = s.render(name, texts[name])
			return err
		})
	}
	err := g.Wait()
	return slices.Concat(parts...), err
}

func newRendered(name string, data []byte) rendered {
	return rendered{ashlar.File{Name: name, Digest: ashlar.DigestOf(data), Size: int64(len(data))}, data}
}

// liveSources returns the version of every source package that an index of
// Sources lists.
func liveSources(sources []byte) map[string]string {
	live := map[string]string{}
	for e := range entries(sources) {
		live[string(e.name)] = string(e.field("Version"))
	}
	return live
}
