package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/source"
	"github.com/ashlar-project/ashlar/internal/work"
)

// repro builds each definition twice, under different conditions on separate
// engines, and compares the packages byte for byte.
func repro(ctx context.Context, l *lab) (*section, error) {
	shop, err := l.shop(l.state)
	if err != nil {
		return nil, err
	}
	defer shop.Close()
	refs, err := l.catalogRefs("debian-12")
	if err != nil {
		return nil, err
	}
	book, err := openBook(l.path("repro.json"))
	if err != nil {
		return nil, err
	}
	vary, err := variation(ctx, shop)
	if err != nil {
		return nil, err
	}
	other, err := l.otherDisk(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := other.close(ctx); err != nil {
			l.logf("repro: %v", err)
		}
	}()
	var failed []error
	for i, ref := range refs {
		l.logf("repro: %d of %d, %s", i+1, len(refs), ref.Path)
		e, err := l.twice(ctx, shop, other, ref, vary, book)
		if err != nil {
			err = fmt.Errorf("%s: %w", ref.Path, err)
			l.logf("%v", err)
			failed = append(failed, err)
			if !l.keepGoing || ctx.Err() != nil {
				break
			}
			continue
		}
		l.logf("repro: %s", e.verdict())
	}
	return reproSection(book, refs, vary), errors.Join(failed...)
}

// variation returns the conditions of the second build.
func variation(ctx context.Context, s *work.Shop) (build.Variation, error) {
	lib, err := faketime(ctx, s)
	v := build.Variation{Hostname: "elsewhere", UID: 2345, Umask: "002", Locale: "C", Parallel: 1, Days: 400, FakeTime: lib}
	if runtime.NumCPU() == 1 {
		v.Parallel = 2
	}
	return v, err
}

// faketime puts libfaketime.so.1 of bookworm into the store.
func faketime(ctx context.Context, s *work.Shop) (ashlar.Digest, error) {
	u, err := s.Archive.Universe(ctx, ashlar.Target{Distro: "debian-12", Arch: "amd64"}, s.Now())
	if err != nil {
		return "", err
	}
	versions, err := u.Versions("libfaketime")
	if err != nil || len(versions) == 0 {
		return "", errors.Join(errors.New("bookworm has no package libfaketime"), err)
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
		if path.Base(h.Name) != "libfaketime.so.1" {
			return nil
		}
		stored, err := s.Store.Put(ctx, r, "")
		lib = stored.Digest
		return err
	})
	if err == nil && lib == "" {
		err = errors.New("the package libfaketime has no libfaketime.so.1")
	}
	return lib, err
}

// twice returns the comparison of two builds of a definition: the one that the
// state folder has, made if it is not there, and one under other conditions.
func (l *lab) twice(ctx context.Context, shop *work.Shop, other *disk, ref work.Ref, vary build.Variation, book *book) (*entry, error) {
	p, err := shop.Plan(ctx, ref, work.BuildOptions{})
	if err != nil {
		return nil, err
	}
	key := p.Plan.Key()
	e := book.entry(ref.Path, key)
	if e.First == nil {
		if e.First, err = l.first(ctx, shop, ref, p); err != nil {
			return nil, err
		}
		if err := book.save(); err != nil {
			return nil, err
		}
	}
	if e.Second == nil {
		begun := time.Now()
		if e.Second, err = l.second(ctx, shop, other, p, vary); err != nil {
			e.Failure = firstLine(err)
			return nil, errors.Join(err, book.save())
		}
		e.Failure, e.Took = "", time.Since(begun)
	}
	return e, book.save()
}

// first returns the packages that the state folder has of a plan, or builds them
// under the usual conditions.
func (l *lab) first(ctx context.Context, shop *work.Shop, ref work.Ref, p *work.Planned) (map[string]ashlar.Digest, error) {
	if r, err := shop.Latest(ref.Path, p.Lock.Inputs.Target); err == nil && r.Result.Key == p.Plan.Key() {
		return debsOf(r.Result), nil
	}
	l.logf("repro: %s is not in the state folder: building it", ref.Path)
	runner, err := l.runner(ctx, shop)
	if err != nil {
		return nil, err
	}
	defer runner.Engine.Close()
	res, err := runner.Run(ctx, p.Plan)
	if err != nil {
		return nil, err
	}
	return debsOf(res), nil
}

// second builds a plan under other conditions, on the engine of the other disk.
// The inputs are the same blobs.
func (l *lab) second(ctx context.Context, shop *work.Shop, other *disk, p *work.Planned, vary build.Variation) (map[string]ashlar.Digest, error) {
	runner, err := other.runner(ctx, l, shop.Store)
	if err != nil {
		return nil, err
	}
	defer runner.Engine.Close()
	runner.Vary = vary
	res, err := runner.Run(ctx, p.Plan)
	if err != nil {
		return nil, err
	}
	return debsOf(res), nil
}

func debsOf(r *ashlar.Result) map[string]ashlar.Digest {
	debs := map[string]ashlar.Digest{}
	for _, f := range r.Debs() {
		debs[f.Name] = f.Digest
	}
	return debs
}

// firstLine returns the first line of an error for the page.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// reproSection returns the page's section from all that is in the book.
func reproSection(book *book, refs []work.Ref, v build.Variation) *section {
	var b strings.Builder
	b.WriteString("| definition | packages | bit-identical | what differs |\n|---|---|---|---|\n")
	same, done := 0, 0
	for _, ref := range refs {
		e := book.Entries[ref.Path]
		if e == nil || e.First == nil {
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
	return &section{
		Text: fmt.Sprintf("Every definition of bookworm is built a second time by another engine with a state folder of its own, and all its `.deb`\n"+
			"files, debug packages included, are compared byte for byte. What the second build has otherwise: the clock, %d days\n"+
			"ahead (libfaketime, in every program of every step; times of files stay true); host name `%s`; user id %d; umask %s;\n"+
			"locale %s instead of C.UTF-8; parallel=%d instead of one for each of %d processors; and the order in which directories\n"+
			"list, by a file system under the engine that hashes names with another seed.",
			v.Days, v.Hostname, v.UID, v.Umask, v.Locale, v.Parallel, runtime.NumCPU()),
		Rows: []row{{
			Figure: "definitions that come out bit-identical", Asked: fmt.Sprintf("≥ %d of %d", len(refs)-1, len(refs)),
			Seen: fmt.Sprintf("%d of %d", same, done), Yardstick: "the first build", Met: same >= len(refs)-1 && len(refs) > 1,
		}},
		More: b.String(),
	}
}
