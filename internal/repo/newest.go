package repo

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A suite's InRelease is its whole state, and an old one has a good signature too.
// So that nobody who can write the repository takes a suite back in time, what was
// published last is remembered elsewhere: the id of its snapshot, which rises with
// every change of the content and stays when a Release is only signed again.

// newestPath returns the file that remembers a suite, "" if there is none.
func (r *Repo) newestPath(to target) string {
	if r.cfg.Newest == "" {
		return ""
	}
	return filepath.Join(r.cfg.Newest, string(to.tier), to.suite)
}

// checkNewest refuses, with fault.Denied, a live state that is older than the one
// that was published last, or gone.
func (r *Repo) checkNewest(to target, live *state) error {
	file := r.newestPath(to)
	if file == "" {
		return nil
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the first publish, or one from before this was remembered
	}
	if err != nil {
		return fault.New(fault.Denied, "read what was published last: %w", err)
	}
	last := string(b)
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
	file := r.newestPath(to)
	if file == "" {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(file, []byte(snapshot), 0o644)
}
