package resolve

import (
	"context"
	"path"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// checkListed holds the list of files in a .dsc against the index that led to
// it. It needs the .dsc in the store; with PlanOnly it may not be there.
func (l *locker) checkListed(ctx context.Context, ref *archive.SourceRef) error {
	files := ref.Materials()
	_, err := archive.CheckDsc(ctx, l.Store, files[0], files[1:])
	if l.PlanOnly && fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// anchorDscs finds out, for every .dsc that was named by an address, who vouches
// for it: a signed index that lists it, or a signature by a maintainer's key. The
// anchor holds for the files that the .dsc lists too, which must be the ones that
// lie beside it. It returns the first such source package, or nil.
func (l *locker) anchorDscs(ctx context.Context, sources []ashlar.Source) (*deb.SourcePackage, error) {
	var first *deb.SourcePackage
	for i := range sources {
		dsc := &sources[i]
		if dsc.Package != "" || dsc.Tree || !strings.HasSuffix(dsc.Name, ".dsc") && !strings.HasSuffix(dsc.Path, ".dsc") {
			continue
		}
		beside := besides(sources, dsc)
		var files []ashlar.Material
		for _, s := range beside {
			files = append(files, ashlar.Material{Name: path.Base(s.Path), URI: s.URI, Digest: s.Digest, Size: s.Size})
		}
		src, err := archive.CheckDsc(ctx, l.Store, dsc.Material, files)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = src
		}
		anchor, err := l.anchorDsc(ctx, dsc, src)
		if err != nil {
			return nil, err
		}
		dsc.Anchor, dsc.Package, dsc.Version = anchor, src.Name, src.Version
		for _, s := range beside {
			for _, f := range src.Files {
				if f.Name == path.Base(s.Path) {
					s.Anchor, s.Package, s.Version = anchor, src.Name, src.Version
				}
			}
		}
	}
	return first, nil
}

// anchorDsc says who vouches for a .dsc that was named by an address. Of one without
// a checksum, index and signature say that it is a package of Debian's, but not which
// one was meant: it must bear the name of the package that it is of.
func (l *locker) anchorDsc(ctx context.Context, dsc *ashlar.Source, src *deb.SourcePackage) (ashlar.Anchor, error) {
	name := src.DscName()
	if dsc.Anchor.Kind == ashlar.Unauthenticated && dsc.Name != name && path.Base(dsc.Path) != name {
		l.note("unauthenticated source: %s is %s under another name, and has no checksum", dsc.Name, name)
		return dsc.Anchor, nil
	}
	target, err := RootTarget(l.def)
	if err != nil {
		return dsc.Anchor, err
	}
	var anchor ashlar.Anchor
	if l.pins != nil {
		anchor, err = l.pins.anchor(ctx, target.Distro, dsc.Material)
	} else {
		anchor, err = l.Archive.AnchorDsc(ctx, target.Distro, dsc.Digest, l.Now)
	}
	if err == nil && anchor.Kind == ashlar.Unauthenticated {
		l.note("unauthenticated source: no signed index and no known key vouches for %s", dsc.Name)
	}
	return anchor, err
}

// besides returns the files that are placed in the same folder as a .dsc.
func besides(sources []ashlar.Source, dsc *ashlar.Source) []*ashlar.Source {
	var list []*ashlar.Source
	for i := range sources {
		s := &sources[i]
		if s != dsc && !s.Tree && path.Dir(s.Path) == path.Dir(dsc.Path) {
			list = append(list, s)
		}
	}
	return list
}
