package repo

import (
	"bytes"
	"context"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A Published says what a publish did.
type Published struct {
	Date     time.Time // of the Release, UTC
	Snapshot string    // id of the snapshot with this state
	Changed  []string  // names of the indexes that changed, sorted, with "Release" if its header did; none if all was published before
}

// Publish puts whole source sets into a suite, in place of what is live of those
// sources, and makes a snapshot of the new state. If it fails or the machine
// dies, clients keep seeing the state before; publishing again goes on from there.
// Publishing what is live already changes nothing.
//
// The error is fault.Policy if a set is not whole (it names what is missing),
// fault.Conflict if a file name was published with other content, a version is
// older than the live one or two sources make one package.
func (r *Repo) Publish(ctx context.Context, tier ashlar.Tier, suite string, sets []SourceSet, now time.Time) (*Published, error) {
	if err := checkNames(tier, suite); err != nil {
		return nil, err
	}
	loaded, err := readSets(ctx, r.cfg.Blobs, sets)
	if err != nil {
		return nil, err
	}
	var done *Published
	err = r.write(ctx, tier, func(d *durable.Batch) error {
		to := target{tier, suite}
		before, err := r.ownState(d, to, now)
		if err != nil {
			return err
		}
		done, err = r.publish(ctx, d, to, before, loaded, now)
		return err
	})
	return done, err
}

// A target is a suite of a tier.
type target struct {
	tier  ashlar.Tier
	suite string
}

// publish makes the state with the sets merged in live: first the files that
// indexes will name, then a snapshot of the new indexes, then these by digest, then
// by name, InRelease last.
func (r *Repo) publish(ctx context.Context, d *durable.Batch, to target, before *state, sets []*set, now time.Time) (*Published, error) {
	u, err := newUpdate(before, sets)
	if err != nil {
		return nil, err
	}
	changed, err := u.build()
	if err != nil {
		return nil, err
	}
	changed = before.onlyNew(append(changed, smallReleases(r.cfg.Origin, r.label(to.tier), to.suite, u.arches)...))
	if err := r.placeAll(ctx, d, to, u.sets); err != nil {
		return nil, err
	}
	headed := r.newHeader(to, u)
	if len(changed) == 0 && !headed {
		if err := d.Sync(); err != nil {
			return nil, err
		}
		return &Published{Date: before.release.Date, Snapshot: before.snapshot}, r.remember(to, before.snapshot)
	}
	date, err := r.nextDate(to.tier, before, now)
	if err != nil {
		return nil, err
	}
	release := r.release(to, u, changed, date)
	if err := r.stage(ctx, d, to, before, release, changed); err != nil {
		return nil, err
	}
	if err := r.goLive(d, to, release); err != nil {
		return nil, err
	}
	if err := r.remember(to, shelf.SnapshotID(date)); err != nil {
		return nil, err
	}
	done := &Published{Date: date, Snapshot: shelf.SnapshotID(date)}
	if headed {
		done.Changed = append(done.Changed, "Release")
	}
	for _, c := range changed {
		done.Changed = append(done.Changed, c.Name)
	}
	slices.Sort(done.Changed)
	return done, nil
}

// onlyNew leaves out what the state has already.
func (s *state) onlyNew(files []rendered) []rendered {
	return slices.DeleteFunc(files, func(c rendered) bool {
		f, ok := s.file(c.Name)
		return ok && f == c.File
	})
}

// nextDate returns the date of the next Release: now, or just after the newest
// one of the tier.
func (r *Repo) nextDate(tier ashlar.Tier, before *state, now time.Time) (time.Time, error) {
	var last time.Time
	if before.release != nil {
		last = before.release.Date
	}
	ids, err := r.Snapshots(tier)
	if err != nil {
		return last, err
	}
	return shelf.NextDate(last, ids, now)
}

// label returns the Label of a tier's Release files.
func (r *Repo) label(tier ashlar.Tier) string { return r.cfg.Origin + " " + string(tier) }

// release returns the Release of the updated suite, without a Valid-Until.
func (r *Repo) release(to target, u *update, changed []rendered, date time.Time) *deb.Release {
	release := &deb.Release{
		Origin: r.cfg.Origin, Label: r.label(to.tier), Suite: to.suite, Codename: to.suite,
		Description:         "Debian packages rebuilt from source and hardened, tier " + string(to.tier),
		Date:                date,
		AcquireByHash:       true,
		NoSupportForArchAll: "Packages",
		Architectures:       []string{string(all)},
		Components:          []string{component},
		Files:               u.release(changed),
	}
	for _, a := range u.arches {
		release.Architectures = append(release.Architectures, string(a))
	}
	switch {
	case r.cfg.BaseURL != "":
		release.Snapshots = r.cfg.BaseURL + "/" + snapshotDir(to.tier, "@SNAPSHOTID@") + "/"
	case u.before.release != nil:
		release.Snapshots = u.before.release.Snapshots
	}
	return release
}

// newHeader reports whether the Release of the updated suite says something new
// beside its date and the indexes that changed.
func (r *Repo) newHeader(to target, u *update) bool {
	old := u.before.release
	if old == nil {
		return true
	}
	release := r.release(to, u, nil, old.Date)
	release.ValidUntil = old.ValidUntil
	return !bytes.Equal(release.Encode(), old.Encode())
}

// encodeRelease returns the text of a Release that names its snapshot.
func encodeRelease(release *deb.Release, snapshot string) []byte {
	text := string(release.Encode())
	return []byte(strings.Replace(text, "\nSHA256:", "\n"+snapshotField+": "+snapshot+"\nSHA256:", 1))
}

// stage makes the folder of the new snapshot, complete and signed, and beside it
// the signed files of the live suite. What did not change is linked from the
// state before.
func (r *Repo) stage(ctx context.Context, d *durable.Batch, to target, before *state, release *deb.Release, changed []rendered) error {
	id := shelf.SnapshotID(release.Date)
	dist := path.Join(shelf.WorkDir(tierDir(to.tier)), id, "dists", to.suite)
	if err := d.Mkdir(dist); err != nil {
		return err
	}
	if err := stageIndexes(d, dist, before, release, changed); err != nil {
		return err
	}
	if err := r.linkSuites(d, to, path.Join(shelf.WorkDir(tierDir(to.tier)), id), release.Date); err != nil {
		return err
	}
	live := *release
	live.ValidUntil = release.Date.Add(r.cfg.Validity)
	if err := d.Mkdir(liveStage(to.tier)); err != nil {
		return err
	}
	return r.sign(ctx, d, d.Path(dist), release.Date, map[string][]byte{
		dist:               encodeRelease(release, id),
		liveStage(to.tier): encodeRelease(&live, id),
	})
}

// stageIndexes fills the folder of a suite with the indexes of the Release.
func stageIndexes(d *durable.Batch, dist string, before *state, release *deb.Release, changed []rendered) error {
	fresh := map[string]rendered{}
	for _, c := range changed {
		fresh[c.Name] = c
	}
	var write []durable.NewFile
	done := map[string]bool{} // by path: two names can have the same content
	for _, f := range release.Files {
		hashed := path.Join(dist, byHash(f))
		if done[hashed] {
			continue
		}
		done[hashed] = true
		if err := d.Mkdir(path.Dir(hashed)); err != nil {
			return err
		}
		if c, ok := fresh[f.Name]; ok {
			write = append(write, durable.NewFile{Path: hashed, Data: c.data})
		} else if err := d.Link(filepath.Join(before.dir, byHash(f)), hashed); err != nil {
			return err
		}
	}
	if err := d.WriteAll(write, release.Date); err != nil {
		return err
	}
	for _, f := range release.Files {
		if err := d.Link(d.Path(path.Join(dist, byHash(f))), path.Join(dist, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// liveStage returns the folder in which the next signed files of a live suite
// wait, below the root.
func liveStage(tier ashlar.Tier) string { return path.Join(shelf.WorkDir(tierDir(tier)), "live") }

// sign signs Release files and writes each, with its signatures, into its folder.
// listed is where the files are that they list.
func (r *Repo) sign(ctx context.Context, d *durable.Batch, listed string, date time.Time, releases map[string][]byte) error {
	dirs := slices.Sorted(maps.Keys(releases))
	texts := make([][]byte, len(dirs))
	for i, dir := range dirs {
		texts[i] = releases[dir]
	}
	signed, err := r.cfg.Signer.SignReleases(ctx, listed, texts, date)
	if err != nil {
		return err
	}
	var write []durable.NewFile
	for i, dir := range dirs {
		write = append(write, durable.NewFile{Path: path.Join(dir, "Release"), Data: texts[i]},
			durable.NewFile{Path: path.Join(dir, "Release.gpg"), Data: signed[i].Detached},
			durable.NewFile{Path: path.Join(dir, "InRelease"), Data: signed[i].Clear})
	}
	return d.WriteAll(write, date)
}

// linkSuites adds to a snapshot the links to the pool and to the snapshots of
// the tier's other suites as they are, which must be the repository's own work too.
func (r *Repo) linkSuites(d *durable.Batch, to target, stage string, now time.Time) error {
	if err := d.Symlink("../../pool", path.Join(stage, "pool")); err != nil {
		return err
	}
	suites, err := shelf.Folders(d.Path(path.Join(tierDir(to.tier), "dists")))
	if err != nil {
		return err
	}
	for _, other := range suites {
		if other == to.suite {
			continue
		}
		live, err := r.ownState(d, target{to.tier, other}, now)
		if err != nil {
			return err
		}
		if live.snapshot == "" {
			continue
		}
		link := path.Join("../..", live.snapshot, "dists", other)
		if err := d.Symlink(link, path.Join(stage, "dists", other)); err != nil {
			return err
		}
	}
	return nil
}

// goLive puts what stage made in place: the indexes by digest, then the snapshot,
// then the indexes by name, then the signed files. Whatever of it a crash keeps,
// each InRelease there is names only what is there as well.
func (r *Repo) goLive(d *durable.Batch, to target, release *deb.Release) error {
	id := shelf.SnapshotID(release.Date)
	stage, final := path.Join(shelf.WorkDir(tierDir(to.tier)), id), snapshotDir(to.tier, id)
	dist := distDir(to.tier, to.suite)
	for _, f := range release.Files {
		hashed := path.Join(dist, byHash(f))
		if err := d.Mkdir(path.Dir(hashed)); err != nil {
			return err
		}
		// What a power cut left there may be empty, whatever its name says.
		if err := d.Replace(d.Path(path.Join(stage, "dists", to.suite, byHash(f))), hashed); err != nil {
			return err
		}
	}
	if err := d.Mkdir(path.Dir(final)); err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if err := d.Rename(stage, final); err != nil {
		return err
	}
	for _, f := range release.Files {
		if err := d.Replace(d.Path(path.Join(dist, byHash(f))), path.Join(dist, f.Name)); err != nil {
			return err
		}
	}
	return r.swap(d, to)
}

// swap moves the signed files that wait into the live suite, InRelease last.
func (r *Repo) swap(d *durable.Batch, to target) error {
	stage, dist := liveStage(to.tier), distDir(to.tier, to.suite)
	for _, name := range []string{"Release", "Release.gpg"} {
		if err := d.Rename(path.Join(stage, name), path.Join(dist, name)); err != nil {
			return err
		}
	}
	if err := d.Sync(); err != nil {
		return err
	}
	if err := d.Rename(path.Join(stage, "InRelease"), path.Join(dist, "InRelease")); err != nil {
		return err
	}
	return d.Sync()
}
