package apkrepo

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// newestName returns the name under which the newest statement about an
// architecture is remembered, by its number.
func newestName(to Target, arch string) string { return path.Join(to.String(), arch) }

// remember notes that the statement about an architecture is live.
func (r *Repo) remember(to Target, arch string, number int64) error {
	return r.cfg.Newest.Remember(newestName(to, arch), strconv.FormatInt(number, 10))
}

// last returns the number of the newest statement about an architecture, 0 if none
// is remembered.
func (r *Repo) last(to Target, arch string) (int64, error) {
	name := newestName(to, arch)
	value, err := r.cfg.Newest.Last(name)
	if err != nil || value == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fault.New(fault.Invalid, "%q is not the number of a statement", value).At(r.cfg.Newest.File(name), 0).
			Fix("delete it if the live indexes of %s are the newest", to)
	}
	return n, nil
}

// begin finds the live state of a repository to go on from it. If the indexes of an
// architecture that was published are gone the error is fault.Denied.
func (r *Repo) begin(to Target) (*generation, error) {
	g, err := r.readGeneration(to)
	if err != nil {
		return nil, err
	}
	known, err := r.cfg.Newest.Names(to.String())
	if err != nil {
		return nil, err
	}
	for _, arch := range known {
		if slices.Contains(g.arches, arch) {
			continue
		}
		if err := r.checkNewest(to, &live{arch: arch}); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// checkNewest refuses, with fault.Denied, live indexes whose statement is older
// than the last one, or that are gone.
func (r *Repo) checkNewest(to Target, l *live) error {
	last, err := r.last(to, l.arch)
	if err != nil || l.state.Sequence >= last {
		return err
	}
	is := fmt.Sprintf("are those of statement %d", l.state.Sequence)
	if l.files == nil {
		is = "are gone"
	}
	newest, err := r.newestOf(to)
	if err != nil {
		return err
	}
	return fault.New(fault.Denied, "the live indexes of %s for %s %s, and statement %d was the last: somebody took the repository back in time", to, l.arch, is, last).
		At(filepath.Join(r.cfg.Root, to.dir(), liveDir, current), 0).
		Fix("find out who; let this link lead to %d again, or put the folder back from a backup. If it was put back on purpose, delete %s",
			newest, r.cfg.Newest.File(to.String()))
}

// newestOf returns the number of the newest statement of a repository, which is
// that of its generation.
func (r *Repo) newestOf(to Target) (newest int64, err error) {
	arches, err := r.cfg.Newest.Names(to.String())
	if err != nil {
		return 0, err
	}
	for _, arch := range arches {
		n, err := r.last(to, arch)
		if err != nil {
			return 0, err
		}
		newest = max(newest, n)
	}
	return newest, nil
}
