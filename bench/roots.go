package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/work"
)

// The roots that are made: what three sources want to be built is 230 packages;
// the base alone is what a source without build dependencies wants; expat wants
// about 50 more.
var (
	largeRoot = recipe{suite: "bookworm", name: "large", wants: []string{"zlib", "expat", "bzip2"}}
	baseRoot  = recipe{suite: "bookworm", name: "base", wants: []string{"pcre2"}}
	newRoot   = recipe{suite: "bookworm", name: "new", wants: []string{"expat"}}
)

// rootTimes are the times of one kind of making a root each.
type rootTimes struct {
	cold, stocked, warm, added, mmdebstrap times
	packages, extras                       int
}

// buildRoots times the making of build roots against mmdebstrap.
func buildRoots(ctx context.Context, l *lab) (*section, error) {
	var t rootTimes
	for i := range l.reps {
		l.logf("root: run %d of %d", i+1, l.reps)
		if err := l.rootRound(ctx, &t); err != nil {
			return nil, errors.Join(err, l.sweep())
		}
	}
	if err := l.sweep(); err != nil {
		return nil, err
	}
	n := fmt.Sprintf("%d packages", t.packages)
	return &section{
		Text: "A build root of bookworm from a definition: find the sources, solve, pin, fetch, and let the real dpkg install it, layer by layer.\n" +
			"*Cold* starts with an empty state folder and ends with the engine having the root: it starts the engine, reads the signed\n" +
			"indexes and downloads every package. mmdebstrap (`--variant=custom`, a plain directory, root mode) gets the very same\n" +
			"versions by name, from the same mirror, and downloads them too. *With the packages at hand* the engine is new and nothing\n" +
			"is downloaded. *New source* starts from a state folder that has the base that all definitions share and has never seen the\n" +
			"extras: it solves, downloads and installs them. *Warm* has everything.",
		Rows: []row{
			against("cold, "+n, t.cold, t.mmdebstrap, 0.7, "mmdebstrap"),
			against("with the packages at hand, "+n, t.stocked, t.mmdebstrap, 0.7, "mmdebstrap"),
			within(fmt.Sprintf("new source, %d extras on a warm base", t.extras), t.added, 6*time.Second),
			within("warm, "+n, t.warm, 500*time.Millisecond),
		},
	}, nil
}

// rootRound measures each kind once.
func (l *lab) rootRound(ctx context.Context, t *rootTimes) (err error) {
	dir, err := l.fresh("large")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop(ctx, dir)) }()
	settle()
	var root ashlar.Root
	if err := t.cold.add(func() error { root, err = l.makeRoot(ctx, dir, largeRoot); return err }); err != nil {
		return err
	}
	t.packages = len(root.Packages())
	settle()
	if err := l.timeMmdebstrap(ctx, root, &t.mmdebstrap); err != nil {
		return err
	}
	if err := t.warm.add(func() error { _, err := l.makeRoot(ctx, dir, largeRoot); return err }); err != nil {
		return err
	}
	if err := l.forgetEngine(ctx, dir); err != nil {
		return err
	}
	settle()
	if err := t.stocked.add(func() error { _, err := l.makeRoot(ctx, dir, largeRoot); return err }); err != nil {
		return err
	}
	return l.timeAdded(ctx, t)
}

// timeAdded times a new source on a warm base.
func (l *lab) timeAdded(ctx context.Context, t *rootTimes) (err error) {
	dir, err := l.fresh("added")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop(ctx, dir)) }()
	base, err := l.makeRoot(ctx, dir, baseRoot)
	if err != nil {
		return err
	}
	settle()
	var root ashlar.Root
	err = t.added.add(func() error { root, err = l.makeRoot(ctx, dir, newRoot); return err })
	t.extras = len(root.Packages()) - len(base.Packages())
	return err
}

// makeRoot makes the root of a recipe in a state folder, as a build would.
func (l *lab) makeRoot(ctx context.Context, dir string, r recipe) (ashlar.Root, error) {
	ref, err := r.write(dir)
	if err != nil {
		return ashlar.Root{}, err
	}
	shop, err := l.shop(dir)
	if err != nil {
		return ashlar.Root{}, err
	}
	defer shop.Close()
	p, err := shop.Plan(ctx, ref, work.BuildOptions{})
	if err != nil {
		return ashlar.Root{}, err
	}
	runner, err := l.runner(ctx, shop)
	if err != nil {
		return ashlar.Root{}, err
	}
	defer runner.Engine.Close()
	root := p.Lock.Inputs.Builds[0].Root
	state, err := runner.Root(ctx, engine.Native, root)
	if err != nil {
		return root, err
	}
	return root, runner.Engine.Solve(ctx, state, engine.Request{Blobs: runner.Blobs()})
}

// forgetEngine removes the engine of a state folder with all that it has cached,
// and the bootstrap image, but not the packages.
func (l *lab) forgetEngine(ctx context.Context, dir string) error {
	return errors.Join(engine.Stop(ctx, l.engineConfig(dir)),
		l.discard(filepath.Join(dir, "engine")), l.discard(filepath.Join(dir, "bootstrap")))
}

// timeMmdebstrap times mmdebstrap making the same root.
func (l *lab) timeMmdebstrap(ctx context.Context, root ashlar.Root, t *times) (err error) {
	dir, err := l.fresh("mmdebstrap")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.discard(dir)) }()
	list := filepath.Join(dir, "sources.list")
	if err := l.writeSourcesList(list, largeRoot.suite, "deb"); err != nil {
		return err
	}
	var want []string
	for _, p := range root.Packages() {
		want = append(want, p.Name+"="+p.Version)
	}
	return t.add(func() error {
		return do(ctx, dir, "mmdebstrap", "--quiet", "--mode=root", "--variant=custom", "--format=directory",
			"--include="+strings.Join(want, ","), largeRoot.suite, filepath.Join(dir, "root"), list)
	})
}

// writeSourcesList writes a sources.list for apt with the suites that a root is
// solved from; types are those of its lines, such as "deb".
func (l *lab) writeSourcesList(file, suite string, types ...string) error {
	shop, err := l.shop(l.path("lists"))
	if err != nil {
		return err
	}
	defer shop.Close()
	suites, err := shop.Archive.Suites(ashlar.DistroOfCodename(suite))
	if err != nil {
		return err
	}
	var b strings.Builder
	for _, s := range suites {
		bases := l.mirrors.Aliases[s.Alias]
		if len(bases) == 0 {
			return fmt.Errorf("apt on this machine names no archive for %s", s.Alias)
		}
		for _, t := range types {
			fmt.Fprintf(&b, "%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s %s\n", t, bases[0], s.Name, strings.Join(s.Components, " "))
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
