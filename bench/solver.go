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
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/work"
)

// solverTimes are the times of solving, ours and apt's, with cold and with
// ready-made caches.
type solverTimes struct {
	cold, cached, again, aptCold, aptCached times
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
	if _, err := l.solveCurl(ctx, shop, nil); err != nil { // downloads the indexes
		return nil, err
	}
	apt, err := l.newApt(ctx, "trixie")
	if err != nil {
		return nil, err
	}
	for range l.atLeast(7) {
		if err := l.solverRound(ctx, shop, apt, &t); err != nil {
			return nil, err
		}
	}
	return &section{
		Text: "The packages of curl's build root on trixie: Essential, the shared base and the build dependencies, with the source itself\n" +
			"looked up in Sources. *Reading the indexes* starts with the signed indexes as they were downloaded: check the signatures,\n" +
			"unpack Packages and Sources of three suites, make the lookup tables, solve. *Cached* has the tables of an earlier command.\n" +
			"apt does less here: it has no Essential packages to choose (`apt-get -s build-dep`, nothing installed); its cold run makes\n" +
			"its package cache from unpacked lists, its other run has the cache.",
		Rows: []row{
			withBeside(within(fmt.Sprintf("reading the indexes, %d packages", t.packages), t.cold, time.Second), t.cold, t.aptCold),
			withBeside(within("with cached indexes", t.cached, 100*time.Millisecond), t.cached, t.aptCached),
		},
		More: "A second root in the same process: " + t.again.String() + ".",
	}, nil
}

// withBeside adds a yardstick that decides nothing to a row.
func withBeside(r row, seen, apt times) row {
	r.Yardstick = "apt-get: " + apt.String()
	r.Ratio = fmt.Sprintf("%.3g", float64(seen.median())/float64(apt.median()))
	return r
}

// solverRound measures each kind once.
func (l *lab) solverRound(ctx context.Context, shop *work.Shop, apt *apt, t *solverTimes) error {
	if err := os.RemoveAll(filepath.Join(shop.Dir, "indexes", "texts")); err != nil {
		return err
	}
	settle()
	steps := []struct {
		t *times
		f func() error
	}{
		{&t.cold, func() (err error) { t.packages, err = l.solveCurl(ctx, shop, nil); return err }},
		{&t.aptCold, func() error { return apt.buildDep(ctx, true) }},
		{&t.cached, func() error { _, err := l.solveCurl(ctx, shop, &t.again); return err }},
		{&t.aptCached, func() error { return apt.buildDep(ctx, false) }},
	}
	for _, s := range steps {
		if err := s.t.add(s.f); err != nil {
			return err
		}
	}
	if n := len(t.cached) - 1; n >= 0 && len(t.again) > n { // the second solving is no part of the first
		t.cached[n] -= t.again[n]
	}
	return nil
}

// solveCurl solves the root with an archive that has nothing in memory, and
// returns how many packages it has. With again it solves once more and adds how
// long that took.
func (l *lab) solveCurl(ctx context.Context, shop *work.Shop, again *times) (int, error) {
	a := archive.Open(archive.Config{Fetcher: shop.Fetcher, Dir: filepath.Join(shop.Dir, "indexes"), MaxAge: 24 * time.Hour})
	n := 0
	solve := func() error {
		now := time.Now()
		refs, err := a.Sources(ctx, "trixie", "curl", now)
		if err != nil {
			return err
		}
		u, err := a.Universe(ctx, ashlar.Target{Distro: "debian-13", Arch: "amd64"}, now)
		if err != nil {
			return err
		}
		req := resolve.Request{Arch: "amd64"}
		req.AddSource(refs[0].Package, nil)
		set, err := resolve.SolveRoot(u, req)
		if err != nil {
			return err
		}
		n = len(set.Root("amd64", u.PoolURI).Packages())
		return nil
	}
	err := solve()
	if err == nil && again != nil {
		err = again.add(solve)
	}
	return n, err
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
		"-o", "APT::Sandbox::User=root"}, words...)
}

// buildDep simulates the installation of curl's build dependencies, without
// apt's package cache if cold.
func (a *apt) buildDep(ctx context.Context, cold bool) error {
	if cold {
		for _, f := range []string{"pkgcache.bin", "srcpkgcache.bin"} {
			if err := os.RemoveAll(filepath.Join(a.dir, "cache", f)); err != nil {
				return err
			}
		}
	}
	return do(ctx, a.dir, "apt-get", a.args("-s", "build-dep", "curl")...)
}
