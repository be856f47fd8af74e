package repo

import (
	"context"
	"errors"
	"path"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// Resign signs every live suite again that has used up half of its validity,
// with a new date and the same content, and returns their names, "tier/suite".
// Called more often than half the validity it keeps all suites valid. One suite
// that cannot be signed does not stop the others; the errors come joined.
func (r *Repo) Resign(ctx context.Context, now time.Time) ([]string, error) {
	return r.resign(ctx, now, func(s Suite) bool { return s.Err != nil || s.ValidUntil.Sub(now) <= r.cfg.Validity/2 })
}

// ResignAll signs every live suite again at once, as is needed after a change of
// keys, and returns the same as Resign.
func (r *Repo) ResignAll(ctx context.Context, now time.Time) ([]string, error) {
	return r.resign(ctx, now, func(Suite) bool { return true })
}

// resign signs the suites again that due says yes to.
func (r *Repo) resign(ctx context.Context, now time.Time, due func(Suite) bool) ([]string, error) {
	list, err := r.Suites()
	if err != nil {
		return nil, err
	}
	var done []string
	var failed []error
	for _, s := range list {
		if !due(s) {
			continue
		}
		name := string(s.Tier) + "/" + s.Suite
		if err := r.resignSuite(ctx, target{s.Tier, s.Suite}, now); err != nil {
			failed = append(failed, fault.New(fault.KindOf(err), "sign %s again: %w", name, err))
			continue
		}
		done = append(done, name)
	}
	return done, errors.Join(failed...)
}

// resignSuite signs a live suite again.
func (r *Repo) resignSuite(ctx context.Context, to target, now time.Time) error {
	return r.write(ctx, to.tier, func(d *durable.Batch) error {
		live, err := r.ownState(d, to, now)
		if err != nil {
			return err
		}
		if live.release == nil {
			return fault.New(fault.NotFound, "nothing is published in suite %s of tier %s", to.suite, to.tier)
		}
		date, err := shelf.NextDate(live.release.Date, nil, now)
		if err != nil {
			return err
		}
		live.release.Date, live.release.ValidUntil = date, date.Add(r.cfg.Validity)
		if err := d.Mkdir(liveStage(to.tier)); err != nil {
			return err
		}
		listed := d.Path(path.Join(snapshotDir(to.tier, live.snapshot), "dists", to.suite))
		release := map[string][]byte{liveStage(to.tier): encodeRelease(live.release, live.snapshot)}
		if err := r.sign(ctx, d, listed, date, release); err != nil {
			return err
		}
		if err := d.Sync(); err != nil {
			return err
		}
		if err := r.swap(d, to); err != nil {
			return err
		}
		return r.remember(to, live.snapshot)
	})
}

// A Suite is what is known of one live suite.
type Suite struct {
	Tier       ashlar.Tier
	Suite      string
	Date       time.Time // of its Release, UTC
	ValidUntil time.Time
	Snapshot   string // id of the snapshot with the same content
	Err        error  // why it cannot be read, else nil
}

// Suites returns every live suite, sorted by tier and name, as its InRelease says
// it is: no signature is checked.
func (r *Repo) Suites() ([]Suite, error) {
	tiers, err := shelf.Folders(path.Join(r.cfg.Root, "deb"))
	if err != nil {
		return nil, err
	}
	var list []Suite
	for _, tier := range tiers {
		suites, err := shelf.Folders(path.Join(r.cfg.Root, tierDir(ashlar.Tier(tier)), "dists"))
		if err != nil {
			return nil, err
		}
		for _, name := range suites {
			s := Suite{Tier: ashlar.Tier(tier), Suite: name}
			live, err := readState(path.Join(r.cfg.Root, distDir(s.Tier, name)))
			switch {
			case err != nil:
				s.Err = err
			case live.release == nil:
				continue // the first publish is not done
			default:
				s.Date, s.ValidUntil, s.Snapshot = live.release.Date, live.release.ValidUntil, live.snapshot
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// Snapshots returns the ids of a tier's snapshots, oldest first.
func (r *Repo) Snapshots(tier ashlar.Tier) ([]string, error) {
	if err := checkNames(tier, "any"); err != nil {
		return nil, err
	}
	return shelf.SnapshotIDs(path.Join(r.cfg.Root, tierDir(tier), "snapshot"))
}

// SnapshotAt returns the id of the newest snapshot of a tier that is not younger
// than the given id, or fault.NotFound.
func (r *Repo) SnapshotAt(tier ashlar.Tier, id string) (string, error) {
	ids, err := r.Snapshots(tier)
	if err != nil {
		return "", err
	}
	return shelf.SnapshotAt(ids, id)
}
