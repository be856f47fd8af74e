package repo

import (
	"path"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A suite's InRelease is its whole state. What is remembered of it is the id of its
// snapshot, which rises with every change of the content and stays when a Release
// is only signed again.

// newestName returns the name under which a suite is remembered.
func newestName(to target) string { return path.Join(string(to.tier), to.suite) }

// checkNewest refuses, with fault.Denied, a live state that is older than the one
// that was published last, or gone.
func (r *Repo) checkNewest(to target, live *state) error {
	last, err := r.cfg.Newest.Last(newestName(to))
	if err != nil || last == "" {
		return err
	}
	file := r.cfg.Newest.File(newestName(to))
	if !shelf.IsSnapshotID(last) {
		return fault.New(fault.Invalid, "%q is not the id of a snapshot", last).At(file, 0).
			Fix("look which snapshot of suite %s is the newest, and write its id there", to.suite)
	}
	if live.snapshot >= last {
		return nil
	}
	is := "is the one of snapshot " + live.snapshot
	if live.release == nil {
		is = "is gone"
	}
	return fault.New(fault.Denied, "the live InRelease %s, and snapshot %s was published last: somebody took the suite back in time", is, last).
		At(path.Join(live.dir, "InRelease"), 0).
		Fix("find out who; copy %s over %s, then run: ashlar resign. If the repository was put back from a backup on purpose, delete %s",
			path.Join(snapshotDir(to.tier, last), "dists", to.suite), distDir(to.tier, to.suite), file)
}

// remember notes that a snapshot of a suite is live.
func (r *Repo) remember(to target, snapshot string) error {
	return r.cfg.Newest.Remember(newestName(to), snapshot)
}
