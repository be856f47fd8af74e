package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/source"
	"github.com/ashlar-project/ashlar/internal/work"
)

// A twins builds definitions twice.
type twins struct {
	*lab
	shop  *work.Shop // of the first builds
	other *disk      // under the engine of the second builds
	vary  build.Variation
	book  *book
}

// repro builds each definition twice, under different conditions on separate
// engines, and compares the packages byte for byte.
func repro(ctx context.Context, l *lab, distro ashlar.Distro) (*section, error) {
	shop, err := l.shop(l.state)
	if err != nil {
		return nil, err
	}
	defer shop.Close()
	refs, err := l.catalogRefs(distro)
	if err != nil {
		return nil, err
	}
	t := &twins{lab: l, shop: shop}
	if t.book, err = openBook(l.path("repro.json")); err != nil {
		return nil, err
	}
	if t.vary, err = variation(ctx, shop); err != nil {
		return nil, err
	}
	if t.other, err = l.otherDisk(ctx); err != nil {
		return nil, err
	}
	err = t.compareAll(ctx, refs)
	return reproSection(t.book, refs, t.vary, distro), errors.Join(err, t.other.close(ctx))
}

// compareAll compares the two builds of each definition, as many at a time as
// there are processors: the second builds use one each. After a failure it goes
// on if it may.
func (t *twins) compareAll(ctx context.Context, refs []work.Ref) error {
	failed := make([]error, len(refs))
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	var stop atomic.Bool
	for i, ref := range refs {
		g.Go(func() error {
			if stop.Load() || ctx.Err() != nil {
				return nil
			}
			t.logf("repro: %d of %d, %s", i+1, len(refs), ref.Path)
			e, err := t.compare(ctx, ref)
			if err == nil {
				t.logf("repro: %s: %s", sourceName(ref), e.verdict())
				return nil
			}
			failed[i] = fmt.Errorf("%s: %w", ref.Path, err)
			t.logf("%v", failed[i])
			stop.Store(!t.keepGoing)
			return nil
		})
	}
	_ = g.Wait() // the errors are in failed
	return errors.Join(append(failed, ctx.Err())...)
}

// variation returns the conditions of the second build.
func variation(ctx context.Context, s *work.Shop) (build.Variation, error) {
	lib, err := clockLibrary(ctx, s)
	v := build.Variation{Hostname: "elsewhere", UID: 2345, Umask: "002", Locale: "C", Parallel: 1, Days: 400, ClockLib: lib, NoTests: true}
	if runtime.NumCPU() == 1 {
		v.Parallel = 2
	}
	return v, err
}

// clockLibrary puts datefudge.so of bookworm into the store.
func clockLibrary(ctx context.Context, s *work.Shop) (ashlar.Digest, error) {
	u, err := s.Archive.Universe(ctx, ashlar.Target{Distro: "debian-12", Arch: "amd64"}, s.Now())
	if err != nil {
		return "", err
	}
	versions, err := u.Versions("datefudge")
	if err != nil || len(versions) == 0 {
		return "", errors.Join(errors.New("bookworm has no package datefudge"), err)
	}
	p := versions[0]
	m, err := s.Fetcher.Fetch(ctx, source.Request{URI: u.PoolURI(p), Digest: p.SHA256, Size: p.Size})
	if err != nil {
		return "", err
	}
	b, err := s.Store.Open(ctx, m.Digest)
	if err != nil {
		return "", err
	}
	defer b.Close()
	f, err := deb.Open(b, b.Size())
	if err != nil {
		return "", err
	}
	var lib ashlar.Digest
	err = f.Walk(func(h *tar.Header, r io.Reader) error {
		if path.Base(h.Name) != "datefudge.so" {
			return nil
		}
		stored, err := s.Store.Put(ctx, r, "")
		lib = stored.Digest
		return err
	})
	if err == nil && lib == "" {
		err = errors.New("the package datefudge has no datefudge.so")
	}
	return lib, err
}

// compare returns the comparison of two builds of a definition: the one that the
// state folder has, made if it is not there, and one under other conditions.
// What is in the book is not built again.
func (t *twins) compare(ctx context.Context, ref work.Ref) (entry, error) {
	p, err := t.shop.Plan(ctx, ref, work.BuildOptions{})
	if err != nil {
		return entry{}, err
	}
	e := t.book.entry(ref.Path, p.Plan.Key())
	if e.First == nil {
		if e.First, err = t.first(ctx, ref, p); err != nil {
			return e, err
		}
		if err := t.book.set(ref.Path, e); err != nil {
			return e, err
		}
	}
	if e.Second == nil {
		begun := time.Now()
		e.Second, err = t.second(ctx, ref, p)
		e.Failure, e.Took = firstLine(err), time.Since(begun)
	}
	return e, errors.Join(err, t.book.set(ref.Path, e))
}

// first returns the packages that the state folder has of a plan, or builds them
// under the usual conditions.
func (t *twins) first(ctx context.Context, ref work.Ref, p *work.Planned) (map[string]ashlar.Digest, error) {
	if r, err := t.shop.Latest(ref, p.Lock.Inputs.Target.Arch); err == nil && r.Result.Key == p.Plan.Key() {
		return t.packagesOf(ctx, r.Result)
	}
	t.logf("repro: it is not in the state folder: building it")
	runner, err := t.runner(ctx, t.shop)
	if err != nil {
		return nil, err
	}
	res, err := t.build(ctx, runner, p, "repro-"+sourceName(ref)+".first.log")
	if err != nil {
		return nil, err
	}
	return t.packagesOf(ctx, res)
}

// second builds a plan under other conditions, on the engine of the other disk.
// The inputs are the same blobs.
func (t *twins) second(ctx context.Context, ref work.Ref, p *work.Planned) (map[string]ashlar.Digest, error) {
	runner, err := t.other.runner(ctx, t.shop.Store)
	if err != nil {
		return nil, err
	}
	runner.Vary = t.vary
	res, err := t.build(ctx, runner, p, "repro-"+sourceName(ref)+".second.log")
	if err != nil {
		return nil, err
	}
	packages, err := t.packagesOf(ctx, res)
	return packages, errors.Join(err, t.tookEffect(ctx, res))
}

// tookEffect returns an error unless the .buildinfo of a build says that the
// conditions were the others.
func (t *twins) tookEffect(ctx context.Context, res *ashlar.Result) error {
	const maxBuildinfo = 1 << 20
	for _, f := range res.Files {
		if path.Ext(f.Name) != ".buildinfo" {
			continue
		}
		b, err := blob.ReadAll(ctx, t.shop.Store, f.Digest, maxBuildinfo)
		if err != nil {
			return err
		}
		return checkBuildinfo(string(b), t.vary, res.Finished)
	}
	log, err := blob.ReadAll(ctx, t.shop.Store, res.Log.Digest, maxLog)
	if err != nil {
		return err
	}
	return checkConditions(string(log), t.vary, res.Finished)
}

// maxLog bounds the log of a build, in bytes.
const maxLog = 1 << 30

// checkConditions returns an error unless each script of a build said in the log that
// the conditions were those of v, at about the given time by a true clock.
func checkConditions(log string, v build.Variation, finished time.Time) error {
	seen := false
	for line := range strings.Lines(log) {
		said, is := strings.CutPrefix(line, build.FoundConditions)
		if !is {
			continue
		}
		seen = true
		date := finished.AddDate(0, 0, v.Days)
		for _, want := range []string{"host=" + v.Hostname, "umask=0" + v.Umask, fmt.Sprintf("nproc=%d", v.Parallel), "date=" + date.Format(time.DateOnly), "locale=" + v.Locale} {
			yesterday := "date=" + date.AddDate(0, 0, -1).Format(time.DateOnly)
			found := strings.Fields(said) // whole words: locale=C is not locale=C.UTF-8
			if !slices.Contains(found, want) && !(strings.HasPrefix(want, "date=") && slices.Contains(found, yesterday)) {
				return fmt.Errorf("the second build was not run under other conditions: %q lacks %s", strings.TrimSpace(said), want)
			}
		}
	}
	if !seen {
		return errors.New("the build left no .buildinfo, and no script said under which conditions it ran")
	}
	return nil
}

// build runs a plan and keeps its log in the scratch folder.
func (t *twins) build(ctx context.Context, runner *build.Runner, p *work.Planned, logName string) (*ashlar.Result, error) {
	defer runner.Engine.Close()
	log, err := os.Create(t.path(logName))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	runner.Log = log
	return runner.Run(ctx, p.Plan)
}

var buildDate = regexp.MustCompile(`(?m)^Build-Date: (.*)$`)

// checkBuildinfo returns an error unless a .buildinfo was written under the
// conditions of v, at about the given time by a true clock.
func checkBuildinfo(text string, v build.Variation, finished time.Time) error {
	m := buildDate.FindStringSubmatch(text)
	if m == nil {
		return errors.New("the .buildinfo has no Build-Date")
	}
	date, err := time.Parse(time.RFC1123Z, m[1])
	if err != nil {
		return err
	}
	if off := date.Sub(finished.AddDate(0, 0, v.Days)).Abs(); off > 24*time.Hour {
		return fmt.Errorf("the clock of the second build was not shifted: the .buildinfo is of %s", m[1])
	}
	for _, want := range []string{fmt.Sprintf("LC_ALL=%q", v.Locale), fmt.Sprintf("parallel=%d", v.Parallel)} {
		if !strings.Contains(text, want) {
			return fmt.Errorf("the .buildinfo of the second build lacks %s", want)
		}
	}
	return nil
}

// packagesOf returns the packages of a result, those for apk as they were before
// they were signed, by the names that they are published under.
func (t *twins) packagesOf(ctx context.Context, r *ashlar.Result) (map[string]ashlar.Digest, error) {
	packages := map[string]ashlar.Digest{}
	for _, f := range r.Packages() {
		name, err := t.shop.PublishedName(ctx, f)
		if err != nil {
			return nil, err
		}
		packages[name] = f.Digest
	}
	for _, f := range r.Unsigned {
		packages[f.Name] = f.Digest
	}
	return packages, nil
}

// firstLine returns the first line of an error for the page, "" for none.
func firstLine(err error) string {
	if err == nil {
		return ""
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// reproSection returns the page's section from all that is in the book.
func reproSection(book *book, refs []work.Ref, v build.Variation, distro ashlar.Distro) *section {
	var b strings.Builder
	b.WriteString("| definition | packages | bit-identical | what differs |\n|---|---|---|---|\n")
	same, done := 0, 0
	for _, ref := range refs {
		e := book.Entries[ref.Path]
		if e.First == nil {
			fmt.Fprintf(&b, "| %s | – | not built | |\n", sourceName(ref))
			continue
		}
		done++
		differs := e.differs()
		yes := "**no**"
		switch {
		case e.Second == nil && e.Failure != "":
			yes, differs = "second build failed", []string{strings.ReplaceAll(e.Failure, "|", "\\|")}
		case e.Second == nil:
			yes = "not built twice"
		case len(differs) == 0:
			yes = "yes"
			same++
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", sourceName(ref), len(e.First), yes, strings.Join(differs, ", "))
	}
	want := len(refs) - 1
	if distro != "debian-12" {
		want = len(refs)
	}
	return &section{
		Text: fmt.Sprintf("Every definition of %s is built a second time by another engine with a state folder of its own, and all its `.deb` files,\n"+
			"debug packages included, and its `.apk` files of both generations, as they are before they are signed, are compared byte for\n"+
			"byte. What the second build has otherwise: the clock, %d days ahead (datefudge, in every program of Debian's in every step; times\n"+
			"of files stay true); host name `%s`; umask %s; locale %s instead of C.UTF-8; %d compilation at a time instead of one for each\n"+
			"of %d processors; the order in which directories list, by a file system under the engine that hashes names with another\n"+
			"seed; user id %d, where dpkg builds (scripts of a definition run as root); and the package's own tests are left out.",
			distro, v.Days, v.Hostname, v.Umask, v.Locale, v.Parallel, runtime.NumCPU(), v.UID),
		Rows: []row{{
			Figure: "definitions that come out bit-identical", Asked: fmt.Sprintf("≥ %d of %d", want, len(refs)),
			Seen: fmt.Sprintf("%d of %d", same, done), Yardstick: "the first build", Met: same >= want && len(refs) > 1,
		}},
		More: b.String(),
	}
}
