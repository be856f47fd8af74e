package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/work"
)

// solverTimes are the times of solving, ours and apt's, with cold and with
// ready-made caches.
type solverTimes struct {
	cold, cached, again, aptCold, aptCached times
	sources                                 times // reading the Sources indexes, cold
	packages                                int
}

// solver times the choice of the packages for curl's build root on trixie.
func solver(ctx context.Context, l *lab) (*section, error) {
	shop, err := l.shop(l.path("solver"))
	if err != nil {
		return nil, err
	}
	defer shop.Close()
	var t solverTimes
	if _, err := newSolving(shop).solve(ctx); err != nil { // downloads the indexes
		return nil, err
	}
	apt, err := l.newApt(ctx, "trixie")
	if err != nil {
		return nil, err
	}
	for range l.atLeast(7) {
		if err := t.round(ctx, shop, apt); err != nil {
			return nil, err
		}
	}
	return &section{
		Text: "The packages of curl's build root on trixie: Essential, the shared base and the build dependencies. *Reading the indexes*\n" +
			"starts with the signed indexes as they were downloaded: check the signatures, unpack the Packages of three suites, make\n" +
			"the lookup tables, solve. *Cached* has the tables that an earlier command left on the disk. The yardstick is\n" +
			"`apt-get --print-uris build-dep curl` with nothing installed, which has no Essential packages to choose: its cold run makes its\n" +
			"package cache from unpacked lists that it trusts already, its other run has the cache; both look curl up in Sources.",
		Rows: []row{
			beside(within(fmt.Sprintf("reading the indexes, %d packages", t.packages), t.cold, time.Second), t.cold, t.aptCold),
			beside(within("with cached indexes", t.cached, 100*time.Millisecond), t.cached, t.aptCached),
		},
		More: fmt.Sprintf("Besides, making a lock looks curl up in Sources: reading the Sources of three suites takes %s the first time.\nSolving again in the same process: %s.", t.sources, t.again),
	}, nil
}

// beside adds a yardstick that decides nothing to a row.
func beside(r row, seen, apt times) row {
	r.Yardstick = "apt-get: " + apt.String()
	r.Ratio = fmt.Sprintf("%.3g", seen.ratio(apt))
	return r
}

// round measures each kind once.
func (t *solverTimes) round(ctx context.Context, shop *work.Shop, apt *apt) error {
	if err := os.RemoveAll(filepath.Join(shop.Dir, "indexes", "texts")); err != nil {
		return err
	}
	settle()
	var s *solving
	solve := func() (err error) { t.packages, err = s.solve(ctx); return err }
	sources := newSolving(shop)
	for _, m := range []struct {
		t *times
		f func() error
	}{
		{&t.sources, func() error { return sources.find(ctx) }},
		{&t.cold, solve},
		{&t.aptCold, func() error { return apt.buildDep(ctx, true) }},
		{&t.cached, solve},
		{&t.again, solve},
		{&t.aptCached, func() error { return apt.buildDep(ctx, false) }},
	} {
		if m.t != &t.again && m.t != &t.sources { // a new archive has nothing in memory
			s = newSolving(shop)
			s.source = sources.source
		}
		if err := m.t.add(m.f); err != nil {
			return err
		}
	}
	return nil
}

// A solving chooses the packages for curl, in an archive that begins with
// nothing in memory.
type solving struct {
	archive *archive.Archive
	source  *deb.SourcePackage
}

func newSolving(shop *work.Shop) *solving {
	return &solving{archive: archive.Open(archive.Config{Fetcher: shop.Fetcher, Dir: filepath.Join(shop.Dir, "indexes"), MaxAge: 24 * time.Hour})}
}

// find looks the source up.
func (s *solving) find(ctx context.Context) error {
	refs, err := s.archive.Sources(ctx, "trixie", "curl", time.Now())
	if err == nil {
		s.source = refs[0].Package
	}
	return err
}

// solve returns how many packages the root has. It looks the source up if that
// was not done.
func (s *solving) solve(ctx context.Context) (int, error) {
	if s.source == nil {
		if err := s.find(ctx); err != nil {
			return 0, err
		}
	}
	u, err := s.archive.Universe(ctx, ashlar.Target{Distro: "debian-13", Arch: "amd64"}, time.Now())
	if err != nil {
		return 0, err
	}
	req := resolve.Request{Arch: "amd64"}
	req.AddSource(s.source, nil)
	set, err := resolve.SolveRoot(u, req)
	if err != nil {
		return 0, err
	}
	return len(set.Root("amd64", u.PoolURI).Packages()), nil
}

// An apt is an apt-get with lists of its own and nothing installed.
type apt struct{ dir string }

// newApt makes the folders of an apt and downloads its lists.
func (l *lab) newApt(ctx context.Context, suite string) (*apt, error) {
	dir, err := l.fresh("apt")
	if err != nil {
		return nil, err
	}
	a := &apt{dir}
	for _, d := range []string{"etc/apt/preferences.d", "etc/apt/sources.list.d", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(dir, "state/status"), nil, 0o644),
		l.writeSourcesList(filepath.Join(dir, "etc/apt/sources.list"), suite, "deb", "deb-src"),
	); err != nil {
		return nil, err
	}
	return a, do(ctx, dir, "apt-get", a.args("update")...)
}

func (a *apt) args(words ...string) []string {
	return append([]string{"-q", "-o", "Dir::Etc=" + a.dir + "/etc/apt", "-o", "Dir::State=" + a.dir + "/state", "-o", "Dir::Cache=" + a.dir + "/cache",
		"-o", "Dir::State::status=" + a.dir + "/state/status", "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64",
		"-o", "APT::Sandbox::User=root", "-o", "Dir::Cache::pkgcache=pkgcache.bin", "-o", "Dir::Cache::srcpkgcache=srcpkgcache.bin",
		"-o", "Acquire::GzipIndexes=false", "-o", "Acquire::Languages=none"}, words...)
}

// buildDep lets apt choose the packages that building curl wants, without
// apt's package cache if cold.
func (a *apt) buildDep(ctx context.Context, cold bool) error {
	if cold {
		for _, f := range []string{"pkgcache.bin", "srcpkgcache.bin"} {
			if err := os.RemoveAll(filepath.Join(a.dir, "cache", f)); err != nil {
				return err
			}
		}
	}
	return do(ctx, a.dir, "apt-get", a.args("-y", "--print-uris", "build-dep", "curl")...)
}
