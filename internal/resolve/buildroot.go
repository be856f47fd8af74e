package resolve

import (
	"context"
	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// root solves the packages of a build and fetches them.
func (l *locker) root(ctx context.Context, b *catalog.Build, src *deb.SourcePackage) (*ashlar.Root, error) {
	req, err := l.request(ctx, b, src)
	if err != nil {
		return nil, err
	}
	req.Unavailable = l.unavailable
	var set *Set
	err = l.Settle(ctx, l.unavailable, func() (_ []*deb.Package, err error) {
		if set, err = SolveRoot(l.Universe, *req); err != nil {
			return nil, err
		}
		return set.All(), nil
	})
	if err != nil {
		return nil, at(err, b.Pos)
	}
	for _, n := range set.Notes {
		l.note("build %q: %s", b.Name, n)
	}
	root := set.Root(l.def.Target.Arch, l.PackageURI)
	return &root, nil
}

// request collects what the root of a build must fulfil. src is the source
// package that it builds, nil if there is none.
func (l *locker) request(ctx context.Context, b *catalog.Build, src *deb.SourcePackage) (*Request, error) {
	req := &Request{Arch: l.def.Target.Arch}
	asked := map[string]bool{}
	for _, entry := range b.Packages {
		if isTagged(entry) {
			continue // of the sysroot
		}
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
		for _, profiles := range b.ProfileLists() {
			req.AddSource(ref.Package, profiles)
		}
	}
	if src == nil || asked[src.Name] {
		return req, nil
	}
	for _, run := range b.DpkgRuns() {
		if run.ChecksDepends {
			req.AddSource(src, run.Profiles)
		}
	}
	return req, nil
}
