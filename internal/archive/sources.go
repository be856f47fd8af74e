package archive

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A SourceRef is a source package that a signed index lists.
type SourceRef struct {
	Package *deb.SourcePackage
	Suite   Suite
	Index   ashlar.Index // the InRelease that vouches for it
	// Unlisted says who else vouches for a source that no index at hand lists; the
	// Index is the zero value then.
	Unlisted ashlar.Anchor
}

// Anchor returns why the files of the source are believed.
func (s SourceRef) Anchor() ashlar.Anchor {
	if s.Index.Digest == "" {
		return s.Unlisted
	}
	return ashlar.Anchor{Kind: ashlar.AnchoredByIndex, By: s.Index.URI, Signers: s.Index.Signers}
}

// Materials returns the files of the source as pinned files, the .dsc first.
func (s SourceRef) Materials() []ashlar.Material {
	var all []ashlar.Material
	for _, f := range s.Package.Files {
		all = append(all, ashlar.Material{Name: f.Name, URI: s.Suite.URI(s.Package.Directory + "/" + f.Name), Digest: f.Digest, Size: f.Size})
	}
	if dsc, ok := s.Package.Dsc(); ok {
		i := slices.IndexFunc(all, func(m ashlar.Material) bool { return m.Name == dsc.Name })
		first := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, first)
	}
	return all
}

// Sources returns the versions of a source package that the suite lists, highest
// version first, and of equal versions in the order of the suites. A release's
// codename stands for all its suites; any other name for the one suite called
// so. Sources that are kept only because something was built using them are left
// out when there are others. The error is fault.NotFound if no suite lists it.
// The pool may lack files of what an index lists.
func (a *Archive) Sources(ctx context.Context, suite, name string, now time.Time) ([]SourceRef, error) {
	suites, err := a.named(suite)
	if err != nil {
		return nil, err
	}
	releases, err := a.currentAll(ctx, suites, now)
	if err != nil {
		return nil, err
	}
	all, err := a.findSources(ctx, releases, name, (*table).byName, now)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(s SourceRef) bool { return s.Package.Name != name })
	if listed := slices.DeleteFunc(slices.Clone(all), func(s SourceRef) bool { return s.Package.ExtraSourceOnly }); len(listed) > 0 {
		all = listed
	}
	if len(all) == 0 {
		return nil, fault.New(fault.NotFound, "no source package %q in %s", name, suiteNames(suites)).
			Fix("check the name: a source package is often called otherwise than its binary packages")
	}
	sortSources(all)
	return all, nil
}

// sortSources puts the highest version first.
func sortSources(all []SourceRef) {
	slices.SortStableFunc(all, func(a, b SourceRef) int { return deb.Compare(b.Package.Version, a.Package.Version) })
}

// findSources collects the source packages that a table function finds in the
// Sources indexes of the releases, in their order.
func (a *Archive) findSources(ctx context.Context, releases []*release, key string, find func(*table, string) []int, now time.Time) ([]SourceRef, error) {
	parts, err := a.parts(ctx, releases, func(_ *release, component string) []string { return []string{component + "/source/Sources"} }, sources, now)
	if err != nil {
		return nil, err
	}
	var all []SourceRef
	for _, p := range parts {
		for _, stanza := range find(p.table, key) {
			text, err := p.table.stanza(stanza)
			if errors.Is(err, errDamaged) {
				return nil, a.discard(p.table, p.release.index.URI)
			}
			para, err := deb.ParseParagraph(text)
			if err != nil {
				return nil, fault.New(fault.Invalid, "%w", err).At(p.release.index.URI, 0).Fix("use another mirror")
			}
			pkg, err := deb.ParseSource(para)
			if err != nil {
				return nil, fault.New(fault.Invalid, "%w", err).At(p.release.index.URI, 0).Fix("use another mirror")
			}
			all = append(all, SourceRef{Package: pkg, Suite: p.release.suite, Index: p.release.index})
		}
	}
	return all, nil
}

// maxDsc bounds the size in bytes of a .dsc file.
const maxDsc = 4 << 20

// AnchorDsc says who vouches for a .dsc in the store: a Sources index of the
// distro that lists it by its SHA-256, else a maintainer's signature on it, else
// nobody. An error means that it could not be found out.
func (a *Archive) AnchorDsc(ctx context.Context, d ashlar.Distro, dsc ashlar.Digest, now time.Time) (ashlar.Anchor, error) {
	suites, err := a.Suites(d)
	if err != nil {
		return ashlar.Anchor{}, err
	}
	releases, err := a.currentAll(ctx, suites, now)
	if err != nil {
		return ashlar.Anchor{}, err
	}
	refs, err := a.findDsc(ctx, releases, dsc, now)
	if err != nil {
		return ashlar.Anchor{}, err
	}
	if len(refs) > 0 {
		return refs[0].Anchor(), nil
	}
	return a.signedDsc(ctx, dsc, now)
}

// findDsc returns the source packages of the releases whose .dsc has the digest.
func (a *Archive) findDsc(ctx context.Context, releases []*release, dsc ashlar.Digest, now time.Time) ([]SourceRef, error) {
	refs, err := a.findSources(ctx, releases, dsc.Hex(), (*table).byKey, now)
	return slices.DeleteFunc(refs, func(r SourceRef) bool {
		f, ok := r.Package.Dsc()
		return !ok || f.Digest != dsc
	}), err
}

// signedDsc returns the anchor of a .dsc that no index lists: by the signature of
// a maintainer, or none.
func (a *Archive) signedDsc(ctx context.Context, dsc ashlar.Digest, now time.Time) (ashlar.Anchor, error) {
	b, err := blob.ReadAll(ctx, a.cfg.Fetcher.Store, dsc, maxDsc)
	if err != nil {
		return ashlar.Anchor{}, err
	}
	keyring, err := a.maintainers()
	if err != nil {
		return ashlar.Anchor{}, err
	}
	if _, signers, err := keyring.VerifyClearSigned(b, now); err == nil && len(signers) > 0 {
		return ashlar.Anchor{Kind: ashlar.AnchoredBySignature, Signers: signers}, nil
	}
	return ashlar.Anchor{Kind: ashlar.Unauthenticated}, nil
}
