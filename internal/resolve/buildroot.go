package resolve

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

const (
	fetchesAtOnce = 12 // packages of a root fetched at a time
	maxRounds     = 50 // solvings because the pool lacks packages
)

// root solves the packages of a build and fetches them. A package that the pool
// turns out not to have is noted, and the root solved again without it.
func (l *locker) root(ctx context.Context, b *catalog.Build, src *deb.SourcePackage) (*ashlar.Root, error) {
	req, err := l.request(ctx, b, src)
	if err != nil {
		return nil, err
	}
	for range maxRounds {
		req.Unavailable = l.unavailable
		set, err := SolveRoot(l.Universe, *req)
		if err != nil {
			return nil, l.explainRoot(err, b)
		}
		missing, err := l.fetchPackages(ctx, set.All())
		if err != nil {
			return nil, at(err, b.Pos)
		}
		if len(missing) > 0 {
			for _, p := range missing {
				l.unavailable[idOf(p)] = true
				l.note("package %s %s is in the index, but not in the pool", p.Name, p.Version)
			}
			continue
		}
		for _, n := range set.Notes {
			l.note("build %q: %s", b.Name, n)
		}
		root := set.Root(l.def.Target.Arch, l.PackageURI)
		return &root, nil
	}
	return nil, fault.New(fault.Unavailable, "the pool still lacks packages after %d solvings", maxRounds).At(b.File, b.Line).
		Fix("try again when the mirror is complete")
}

// explainRoot gives a solver's error its place, and says so when it is the
// pool's incompleteness that stands in the way.
func (l *locker) explainRoot(err error, b *catalog.Build) error {
	if len(l.unavailable) == 0 || !fault.Is(err, fault.Conflict) {
		return at(err, b.Pos)
	}
	var gone []string
	for id := range l.unavailable {
		gone = append(gone, id.Name+" "+id.Version)
	}
	slices.Sort(gone)
	return fault.New(fault.Unavailable, "%w; in the index but not in the pool: %s", err, strings.Join(gone, ", ")).At(b.File, b.Line).
		Fix("try again when the mirror is complete, or use another mirror")
}

// request collects what the root of a build must fulfil. src is the source
// package that it builds, nil if there is none.
func (l *locker) request(ctx context.Context, b *catalog.Build, src *deb.SourcePackage) (*Request, error) {
	req := &Request{Arch: l.def.Target.Arch}
	profiles := buildProfiles(b)
	asked := map[string]bool{}
	for _, entry := range b.Packages {
		if !IsDebSrc(entry) {
			spec, err := ParseSpec(entry)
			if err != nil {
				return nil, at(err, b.Pos)
			}
			req.Packages = append(req.Packages, spec)
			continue
		}
		d, err := ParseDebSrc(entry)
		if err != nil {
			return nil, at(err, b.Pos)
		}
		if d.File != "" {
			return nil, fault.New(fault.Invalid, "%s names a file; as a package it must name a whole source", entry).At(b.File, b.Line)
		}
		ref, err := l.find(ctx, d, all)
		if err != nil {
			return nil, at(err, b.Pos)
		}
		asked[ref.Package.Name] = true
		req.AddSource(ref.Package, profiles)
	}
	if src != nil && !asked[src.Name] && checksBuildDepends(b) {
		req.AddSource(src, profiles)
	}
	return req, nil
}

// buildProfiles returns the build profiles that the environment of the build or
// of its dpkg/build steps turns on.
func buildProfiles(b *catalog.Build) []string {
	const name = "DEB_BUILD_PROFILES"
	profiles := strings.Fields(b.Environment[name])
	for _, s := range b.Pipeline {
		if strings.HasPrefix(s.Uses, "dpkg/build@") {
			profiles = append(profiles, strings.Fields(s.Environment[name])...)
		}
	}
	slices.Sort(profiles)
	return slices.Compact(profiles)
}

// checksBuildDepends reports whether a step of the build runs
// dpkg-buildpackage without -d, so that it stops if a build dependency is not there.
func checksBuildDepends(b *catalog.Build) bool {
	return slices.ContainsFunc(b.Pipeline, func(s catalog.Step) bool {
		if !strings.HasPrefix(s.Uses, "dpkg/build@") {
			return false
		}
		args, _ := s.With.Value().(map[string]any)
		text, _ := args["args"].(string)
		return !slices.ContainsFunc(strings.Fields(text), func(a string) bool {
			return a == "-d" || a == "--no-check-builddeps"
		})
	})
}

// fetchPackages brings packages into the store and returns those that the pool
// does not have, sorted as given.
func (l *locker) fetchPackages(ctx context.Context, pkgs []*deb.Package) (missing []*deb.Package, err error) {
	if l.PlanOnly {
		return nil, nil
	}
	var mu sync.Mutex
	gone := map[*deb.Package]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchesAtOnce)
	for _, p := range pkgs {
		g.Go(func() error {
			_, err := l.Fetcher.Fetch(ctx, source.Request{URI: l.PackageURI(p), Name: p.Name, Digest: p.SHA256, Size: p.Size})
			if fault.Is(err, fault.NotFound) {
				mu.Lock()
				defer mu.Unlock()
				gone[p] = true
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(pkgs), func(p *deb.Package) bool { return !gone[p] }), nil
}
