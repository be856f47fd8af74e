package apkrepo

import (
	"bytes"
	"context"
	"errors"
	"path"
	"slices"
	"time"

	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Resign states anew what is newest for every repository and architecture whose
// statement has used up half of its validity, and returns their names,
// "distro/tier/arch". Called more often than half the validity it keeps all of
// them valid. Indexes stay as they are unless the keys have changed: then they are
// signed again too, and get a newer date, so that clients ask for them. One
// repository that fails does not stop the others; the errors come joined.
func (r *Repo) Resign(ctx context.Context, now time.Time) ([]string, error) {
	return r.resign(ctx, now, func(x *Index) bool { return x.Err != nil || x.Expires.Sub(now) <= r.cfg.Validity/2 })
}

// ResignAll does the same for all at once, as is needed after a change of keys.
func (r *Repo) ResignAll(ctx context.Context, now time.Time) ([]string, error) {
	return r.resign(ctx, now, func(*Index) bool { return true })
}

func (r *Repo) resign(ctx context.Context, now time.Time, due func(*Index) bool) ([]string, error) {
	list, err := r.Live()
	if err != nil {
		return nil, err
	}
	var done []string
	var failed []error
	for len(list) > 0 {
		to := list[0].Target
		n := slices.IndexFunc(list, func(x Index) bool { return x.Target != to })
		if n < 0 {
			n = len(list)
		}
		var arches, names []string
		for i := range list[:n] {
			if x := &list[i]; due(x) {
				arches, names = append(arches, x.Arch), append(names, x.String())
			}
		}
		list = list[n:]
		if len(arches) == 0 {
			continue
		}
		if err := r.resignTarget(ctx, to, arches, now); err != nil {
			failed = append(failed, fault.New(fault.KindOf(err), "sign %s again: %w", to, err))
			continue
		}
		done = append(done, names...)
	}
	return done, errors.Join(failed...)
}

// resignTarget signs architectures of a repository again.
func (r *Repo) resignTarget(ctx context.Context, to Target, arches []string, now time.Time) error {
	return r.write(ctx, to, func(d *durable.Batch) error {
		g, err := r.begin(to)
		if err != nil {
			return err
		}
		date, err := r.nextDate(to, g, now)
		if err != nil {
			return err
		}
		t, err := r.newTransition(d, to, g, date)
		if err != nil {
			return err
		}
		t.again = true
		for _, arch := range arches {
			l, err := r.own(to, g, arch)
			if err != nil {
				return err
			}
			if err := t.restage(ctx, l); err != nil {
				return err
			}
		}
		return t.goLive()
	})
}

// restage signs the indexes of an architecture again and states them anew, for the
// next generation. Signatures are always the same, so without a change of keys the
// indexes are too.
func (t *transition) restage(ctx context.Context, l *live) error {
	if l.files == nil {
		return fault.New(fault.NotFound, "nothing is published in %s for %s", t.to, l.arch)
	}
	x := &indexes{v2: l.v2, v3: l.v3}
	if err := t.sign(ctx, l.arch, l.state.Snapshot, x); err != nil {
		return err
	}
	dir := path.Join(t.nextDir(), l.arch)
	if err := t.d.Mkdir(dir); err != nil {
		return err
	}
	for _, name := range indexFiles {
		var err error
		if bytes.Equal(x.files[name], l.files[name]) {
			err = t.link(t.d.Path(path.Join(t.before.dir, l.arch)), l.arch, []string{name})
		} else {
			err = t.d.WriteAll([]durable.NewFile{{Path: path.Join(dir, name), Data: x.files[name]}}, t.date)
		}
		if err != nil {
			return err
		}
	}
	t.staged[l.arch] = x
	return nil
}
