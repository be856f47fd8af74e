package apkrepo

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A Published says what a publish did.
type Published struct {
	Target
	Date     time.Time `json:"date"`              // of the newest indexes, UTC
	Snapshot string    `json:"snapshot"`          // id of the snapshot with this state
	Sequence int64     `json:"sequence"`          // of the statements that were made
	Changed  []string  `json:"changed,omitempty"` // architectures whose indexes changed, sorted; none if all was published before
}

// Publish puts whole source sets into a repository, in place of what is live of
// those sources, and makes a snapshot of the new state. If it fails or the machine
// dies, clients keep seeing the state before; publishing again goes on from there.
// Publishing what is live already changes nothing. now is the time of the new
// indexes.
//
// The error is fault.Policy if a set is not whole, fault.Denied if a package is not
// signed by the repository's keys or what is live is not its own, fault.Conflict
// if a name and version was published with other content, a version does not sort
// above what was published, or two sources make one package.
func (r *Repo) Publish(ctx context.Context, to Target, sets []SourceSet, now time.Time) (*Published, error) {
	if err := to.check(); err != nil {
		return nil, err
	}
	loaded, err := readSets(ctx, r.cfg.Blobs, r.cfg.Keys, sets)
	if err != nil {
		return nil, err
	}
	var done *Published
	err = r.write(ctx, to, func(d *durable.Batch) error {
		g, err := r.begin(to)
		if err != nil {
			return err
		}
		done, err = r.publish(ctx, d, to, g, loaded, now)
		return err
	})
	return done, err
}

// publish makes the state with the sets merged in live.
func (r *Repo) publish(ctx context.Context, d *durable.Batch, to Target, g *generation, sets []*set, now time.Time) (*Published, error) {
	records := make([]record, len(sets))
	byArch := map[string]*update{}
	for i, s := range sets {
		var err error
		if records[i], err = mayFollow(d, to, s); err != nil {
			return nil, err
		}
		u, ok := byArch[s.Arch]
		if !ok {
			if u, err = r.newUpdate(to, g, s.Arch); err != nil {
				return nil, err
			}
			byArch[s.Arch] = u
		}
		u.sets[s.origin] = s
	}
	for _, u := range byArch {
		if err := u.check(); err != nil {
			return nil, err
		}
	}
	if err := r.place(ctx, d, to, sets, records); err != nil {
		return nil, err
	}
	return r.goOn(ctx, d, to, g, byArch, now)
}

// goOn makes the updates that change something live.
func (r *Repo) goOn(ctx context.Context, d *durable.Batch, to Target, g *generation, byArch map[string]*update, now time.Time) (*Published, error) {
	var changes []*update
	done := &Published{Target: to, Sequence: g.number}
	for _, arch := range slices.Sorted(maps.Keys(byArch)) {
		u := byArch[arch]
		if u.changes() {
			changes = append(changes, u)
			done.Changed = append(done.Changed, arch)
		}
		if u.before.state.Issued.After(done.Date) {
			done.Date, done.Snapshot = u.before.state.Issued, u.before.state.Snapshot
		}
	}
	if len(changes) == 0 {
		return done, errors.Join(d.Sync(), r.rememberLive(to, byArch))
	}
	date, err := r.nextDate(to, g, now)
	if err != nil {
		return nil, err
	}
	next, err := r.newTransition(d, to, g, date)
	if err != nil {
		return nil, err
	}
	for _, u := range changes {
		if err := next.stage(ctx, u); err != nil {
			return nil, err
		}
	}
	if err := next.goLive(); err != nil {
		return nil, err
	}
	done.Date, done.Snapshot, done.Sequence = date, shelf.SnapshotID(date), next.number
	return done, nil
}

// rememberLive remembers the live statements that the updates would go on from, for
// the publish that put them live may have died before it came to that.
func (r *Repo) rememberLive(to Target, byArch map[string]*update) error {
	for arch, u := range byArch {
		if err := r.remember(to, arch, u.before.state.Sequence); err != nil {
			return err
		}
	}
	return nil
}

// nextDate returns the date of the next generation: after that of the last one and
// after the newest snapshot.
func (r *Repo) nextDate(to Target, g *generation, now time.Time) (time.Time, error) {
	ids, err := r.Snapshots(to)
	if err != nil {
		return now, err
	}
	return shelf.NextDate(time.Unix(g.number, 0), ids, now)
}

// Withdraw takes the packages of sources out of the indexes of a repository, for
// all architectures. Their files stay, and a version above theirs may be published
// later. The reason is kept with them. A source that is not live is fault.NotFound.
func (r *Repo) Withdraw(ctx context.Context, to Target, origins []string, reason string, now time.Time) (*Published, error) {
	if err := to.check(); err != nil {
		return nil, err
	}
	if reason == "" || strings.ContainsAny(reason, "\n\r") {
		return nil, fault.New(fault.Invalid, "packages are withdrawn for a reason").Fix("say it in one line")
	}
	var done *Published
	err := r.write(ctx, to, func(d *durable.Batch) error {
		g, err := r.begin(to)
		if err != nil {
			return err
		}
		byArch := map[string]*update{}
		for _, arch := range g.arches {
			if byArch[arch], err = r.newUpdate(to, g, arch); err != nil {
				return err
			}
		}
		if err := withdraw(d, to, byArch, origins, reason); err != nil {
			return err
		}
		done, err = r.goOn(ctx, d, to, g, byArch, now)
		return err
	})
	return done, err
}

// withdraw notes what is withdrawn in the records and the updates.
func withdraw(d *durable.Batch, to Target, byArch map[string]*update, origins []string, reason string) error {
	for _, origin := range origins {
		found := false
		for arch, u := range byArch {
			version, ok := u.liveVersion(origin)
			if !ok {
				continue
			}
			found = true
			u.sets[origin] = nil
			rec, err := readRecord(d.Path(recordPath(to, arch, origin, version)))
			if err != nil {
				return err
			}
			rec.Withdrawn = reason
			if err := putRecord(d, to, rec); err != nil {
				return err
			}
		}
		if !found {
			return fault.New(fault.NotFound, "nothing of source %s is live in %s", origin, to)
		}
	}
	return nil
}

// An update is new indexes of an architecture in the making: those before, with
// source sets in place of what is live of the same sources.
type update struct {
	arch   string
	before *live
	sets   map[string]*set // by source; nil for one that is withdrawn
}

func (r *Repo) newUpdate(to Target, g *generation, arch string) (*update, error) {
	before, err := r.own(to, g, arch)
	if err != nil {
		return nil, err
	}
	before.v2.Description, before.v3.Description = r.description(to), r.description(to)
	before.v3.PkgnameSpec = pkgnameSpec(arch)
	return &update{arch: arch, before: before, sets: map[string]*set{}}, nil
}

// liveVersion returns the version of a source that is live.
func (u *update) liveVersion(origin string) (string, bool) {
	for i := range u.before.v2.Entries {
		if e := &u.before.v2.Entries[i]; e.Origin == origin {
			return e.Version, true
		}
	}
	for i := range u.before.v3.Entries {
		if e := &u.before.v3.Entries[i]; e.Origin == origin {
			return e.Version, true
		}
	}
	return "", false
}

// replaces reports whether what is live of a source gives way.
func (u *update) replaces(origin string) bool {
	_, ok := u.sets[origin]
	return ok
}

// check refuses sets that lack a live package of their version, and packages that
// another source has live.
func (u *update) check() error {
	fresh := map[string]string{} // origins by package
	for origin, s := range u.sets {
		for _, b := range s.packages {
			if other, twice := fresh[b.info.Name]; twice && other != origin {
				return bothMake(b.info.Name, other, origin)
			}
			fresh[b.info.Name] = origin
		}
	}
	known := func(name, version, origin, format string) error {
		if s, ok := u.sets[origin]; ok {
			if s.version == version && !s.has(name, formatV2) && !s.has(name, formatV3) {
				return fault.New(fault.Policy, "source set %s %s for %s is not whole: missing %s, which is live", origin, version, u.arch, name).
					Fix("publish everything that the build made; all packages of one source go live together")
			}
			return nil
		}
		if other, is := fresh[name]; is {
			return bothMake(name, origin, other)
		}
		return nil
	}
	for i := range u.before.v2.Entries {
		e := &u.before.v2.Entries[i]
		if err := known(e.Name, e.Version, e.Origin, formatV2); err != nil {
			return err
		}
	}
	for i := range u.before.v3.Entries {
		e := &u.before.v3.Entries[i]
		if err := known(e.Name, e.Version, e.Origin, formatV3); err != nil {
			return err
		}
	}
	return nil
}

func bothMake(pkg, one, other string) error {
	return fault.New(fault.Conflict, "package %s is made by source %s and by source %s", pkg, one, other).
		Fix("leave it out of one of them")
}

// added returns the entries of the sets for both indexes. A package that is there
// in one format only is in Packages.adb as well.
func (u *update) added() (v2 []apk.IndexEntry, v3 []apk.V3IndexEntry) {
	for _, s := range u.sets {
		if s == nil {
			continue
		}
		for _, b := range s.packages {
			if b.format == formatV2 {
				e := b.v2
				if e.Arch == noarch { // a client looks for it in the folder that the entry names
					e.Arch = u.arch
				}
				v2 = append(v2, e)
			}
			if b.format == formatV3 || !s.has(b.info.Name, formatV3) {
				v3 = append(v3, b.v3)
			}
		}
	}
	return v2, v3
}

// changes reports whether the indexes after the update list anything else than
// those before.
func (u *update) changes() bool {
	v2, v3 := u.added()
	is := map[string]bool{}
	for i := range v2 {
		is[formatV2+v2[i].Name+" "+v2[i].Identity.String()] = true
	}
	for i := range v3 {
		is[formatV3+v3[i].Name+" "+string(v3[i].Hash)] = true
	}
	was := map[string]bool{}
	for i := range u.before.v2.Entries {
		if e := &u.before.v2.Entries[i]; u.replaces(e.Origin) {
			was[formatV2+e.Name+" "+e.Identity] = true
		}
	}
	for i := range u.before.v3.Entries {
		if e := &u.before.v3.Entries[i]; u.replaces(e.Origin) {
			was[formatV3+e.Name+" "+string(e.Hash)] = true
		}
	}
	return !maps.Equal(is, was)
}
