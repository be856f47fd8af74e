package apkrepo

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// A transition takes a repository from one generation to the next: stage makes the
// indexes and statement of each architecture that changes, goLive puts them live,
// with those of the others as they are.
type transition struct {
	repo   *Repo
	d      *durable.Batch
	to     Target
	before *generation
	date   time.Time
	number int64               // of the generation that begins, and of its statements
	staged map[string]*indexes // by architecture
	again  bool                // they are those of before, and no snapshot is made of them
}

// newTransition begins a transition on a date, which is after all that came
// before. So the number of a generation, which is its date in Unix seconds, grows
// even where nothing is left of those before.
func (r *Repo) newTransition(d *durable.Batch, to Target, before *generation, date time.Time) (*transition, error) {
	t := &transition{repo: r, d: d, to: to, before: before, date: date, number: max(date.Unix(), before.number+1), staged: map[string]*indexes{}}
	for {
		_, err := os.Lstat(d.Path(generationDir(to, t.number)))
		if errors.Is(err, fs.ErrNotExist) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		t.number++ // a crash left this one
	}
}

// stageDir and nextDir are where the files for the snapshot and for the next
// generation wait, below the root.
func (t *transition) stageDir() string { return path.Join(workDir(t.to), shelf.SnapshotID(t.date)) }
func (t *transition) nextDir() string  { return path.Join(workDir(t.to), "next") }

// indexes are both indexes of an architecture and the statement about them, ready
// to be served.
type indexes struct {
	files map[string][]byte // by name
	v2    *apk.V2RawIndex
	v3    *apk.V3RawIndex
}

// stage makes the signed indexes of an update and the statement about them, for a
// snapshot and for the next generation.
func (t *transition) stage(ctx context.Context, u *update) error {
	x, err := t.render(ctx, u)
	if err != nil {
		return err
	}
	dir := path.Join(t.stageDir(), u.arch)
	if err := t.d.Mkdir(dir); err != nil {
		return err
	}
	var write []durable.NewFile
	for _, name := range indexFiles {
		write = append(write, durable.NewFile{Path: path.Join(dir, name), Data: x.files[name]})
	}
	if err := t.d.WriteAll(write, t.date); err != nil {
		return err
	}
	t.staged[u.arch] = x
	return t.link(t.d.Path(dir), u.arch, indexFiles)
}

// render merges both indexes, several things at a time, and has them signed.
func (t *transition) render(ctx context.Context, u *update) (*indexes, error) {
	v2, v3 := u.added()
	x := &indexes{}
	var g errgroup.Group
	g.Go(func() (err error) {
		x.v2, err = u.before.v2.Merge(func(e *apk.RawEntry) bool { return u.replaces(e.Origin) }, v2, t.date.Unix())
		return err
	})
	g.Go(func() (err error) {
		x.v3, err = u.before.v3.Merge(func(e *apk.V3RawEntry) bool { return u.replaces(e.Origin) }, v3)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return x, t.sign(ctx, u.arch, shelf.SnapshotID(t.date), x)
}

// sign has both indexes signed and stated to be the newest, the same as those of a
// snapshot. What the signer reads is in a folder of its own, and is no longer
// needed afterwards.
func (t *transition) sign(ctx context.Context, arch, snapshot string, x *indexes) error {
	plain, err := x.v3.Plain()
	if err != nil {
		return err
	}
	deflated := apk.DeflateV3Index(plain)
	dir := path.Join(workDir(t.to), "unsigned-"+arch)
	if err := t.d.Mkdir(dir); err != nil {
		return err
	}
	defer os.RemoveAll(t.d.Path(dir)) // what stays is removed by the next writer
	for name, b := range map[string][]byte{sign.APKUnsignedV2: x.v2.Unsigned(), sign.APKUnsignedV3: plain, sign.APKDeflatedV3: deflated} {
		at := t.d.Path(path.Join(dir, name))
		if err := errors.Join(os.WriteFile(at, b, 0o644), os.Chmod(at, 0o644)); err != nil { // whatever the umask is
			return err
		}
	}
	signed, err := t.repo.cfg.Signer.SignAPKIndexes(ctx, t.d.Path(dir), intoto.APKIndex{
		Repository: t.to.String(), Arch: arch, Snapshot: snapshot, Sequence: t.number,
		Issued: t.date, Expires: t.date.Add(t.repo.cfg.Validity),
	})
	if err != nil {
		return err
	}
	v3, err := apk.JoinV3Index(deflated, signed.V3)
	x.files = map[string][]byte{IndexV2: slices.Concat(signed.V2, x.v2.Unsigned()), IndexV3: v3, Statement: signed.Statement}
	return err
}

// link puts files of the folder from into the next generation.
func (t *transition) link(from, arch string, names []string) error {
	dir := path.Join(t.nextDir(), arch)
	if err := t.d.Mkdir(dir); err != nil {
		return err
	}
	for _, name := range names {
		if err := t.d.Link(path.Join(from, name), path.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// goLive puts in place what was staged: the packages and all else, on the disk,
// then the snapshot and the folder of the generation, and then, in one step, the
// link by which clients find it. Whatever of it a crash keeps, clients see one
// generation as a whole, and every package that it lists is there.
func (t *transition) goLive() error {
	if err := t.linkOthers(); err != nil {
		return err
	}
	if err := t.linkNames(); err != nil {
		return err
	}
	snapshots := path.Join(t.to.dir(), snapshotDir)
	if err := t.d.Mkdir(snapshots); err != nil {
		return err
	}
	if err := t.d.Sync(); err != nil {
		return err
	}
	if !t.again {
		if err := t.d.Rename(t.stageDir(), path.Join(snapshots, shelf.SnapshotID(t.date))); err != nil {
			return err
		}
	}
	if err := t.d.Rename(t.nextDir(), generationDir(t.to, t.number)); err != nil {
		return err
	}
	if err := t.d.Sync(); err != nil {
		return err
	}
	temp := t.d.Temp()
	if err := t.d.Symlink(strconv.FormatInt(t.number, 10), temp); err != nil {
		return err
	}
	if err := t.d.Rename(temp, path.Join(t.to.dir(), liveDir, current)); err != nil {
		return err
	}
	if err := t.d.Sync(); err != nil {
		return err
	}
	t.forget()
	return t.remember()
}

// remember keeps what went live for the next publish of this process, and its
// number for those of any.
func (t *transition) remember() error {
	t.repo.mu.Lock()
	defer t.repo.mu.Unlock()
	for arch, x := range t.staged {
		t.repo.cache[path.Join(t.to.dir(), arch)] = &live{arch: arch, files: x.files, v2: x.v2, v3: x.v3}
		if err := t.repo.remember(t.to, arch, t.number); err != nil {
			return err
		}
	}
	return nil
}

// linkOthers takes over the architectures that do not change, which must be the
// repository's own work too.
func (t *transition) linkOthers() error {
	for _, arch := range t.before.arches {
		if _, ok := t.staged[arch]; ok {
			continue
		}
		other, err := t.repo.ownStated(t.to, t.before, arch)
		if err != nil {
			return err
		}
		if err := t.link(t.d.Path(path.Join(t.before.dir, arch)), arch, indexFiles); err != nil {
			return err
		}
		if t.again {
			continue
		}
		if !shelf.IsSnapshotID(other.state.Snapshot) {
			return shelf.Damaged(t.d.Path(path.Join(t.before.dir, arch, Statement)), "%q is not the id of a snapshot", other.state.Snapshot)
		}
		if err := t.d.Symlink(path.Join("..", other.state.Snapshot, arch), path.Join(t.stageDir(), arch)); err != nil {
			return err
		}
	}
	return nil
}

// linkNames makes the links by which clients find the indexes, which lead to
// whatever generation is live.
func (t *transition) linkNames() error {
	if err := t.d.Mkdir(path.Join(t.to.dir(), liveDir)); err != nil {
		return err
	}
	for arch := range t.staged {
		dir := path.Join(t.to.dir(), arch)
		if err := t.d.Mkdir(dir); err != nil {
			return err
		}
		for _, name := range indexFiles {
			at, target := path.Join(dir, name), path.Join("..", liveDir, current, arch, name)
			if is, err := os.Readlink(t.d.Path(at)); err == nil && is == target {
				continue
			}
			temp := t.d.Temp()
			if err := t.d.Symlink(target, temp); err != nil {
				return err
			}
			if err := t.d.Rename(temp, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes the generations before the last one, which a server may have open
// still. What cannot be removed is tried again the next time.
func (t *transition) forget() {
	dir := t.d.Path(path.Join(t.to.dir(), liveDir))
	list, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range list {
		n, err := strconv.ParseInt(e.Name(), 10, 64)
		if err == nil && e.IsDir() && n != t.number && n != t.before.number {
			_ = os.RemoveAll(path.Join(dir, e.Name()))
		}
	}
}
