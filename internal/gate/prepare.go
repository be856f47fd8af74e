package gate

import (
	"context"
	"path"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/source"
)

// Prepare gathers what is needed to judge a result: a root with apt, and every
// package of the world that installing or upgrading the set draws on. Dsc and
// Profiles of the case are left to the caller.
func Prepare(ctx context.Context, w resolve.World, res *ashlar.Result) (*Case, error) {
	c := &Case{Target: res.Target, Set: res.Files, Indexes: w.Indexes}
	var err error
	if c.Packages, err = readSet(ctx, w.Store, res.Debs()); err != nil {
		return nil, err
	}
	apt, err := aptRoot(w.Universe, res.Target.Arch)
	if err != nil {
		return nil, err
	}
	c.Root = apt.Root(res.Target.Arch, w.PackageURI)
	needed, err := closure(w.Universe, c, apt)
	if err != nil {
		return nil, err
	}
	var files []ashlar.File
	for _, p := range needed {
		uri := w.PackageURI(p)
		files = append(files, ashlar.File{Name: path.Base(uri), Digest: p.SHA256, Size: p.Size})
		if err := fetch(ctx, w, uri, p); err != nil {
			return nil, err
		}
	}
	if c.Archive, err = readSet(ctx, w.Store, files); err != nil {
		return nil, err
	}
	return c, nil
}

// fetch brings a package of the world into the store.
func fetch(ctx context.Context, w resolve.World, uri string, p *deb.Package) error {
	if _, err := w.Store.Stat(ctx, p.SHA256); err == nil {
		return nil
	}
	_, err := w.Fetcher.Fetch(ctx, source.Request{URI: uri, Digest: p.SHA256, Size: p.Size})
	return err
}

// aptRoot solves Essential, and apt on top.
func aptRoot(u resolve.Universe, arch ashlar.Arch) (*resolve.Set, error) {
	essential, err := u.Essential()
	if err != nil {
		return nil, err
	}
	var specs []resolve.Spec
	for _, p := range essential {
		specs = append(specs, resolve.Spec{Name: p.Name, By: "Essential"})
	}
	first, err := resolve.Solve(u, resolve.Request{Arch: arch, Packages: specs})
	if err != nil {
		return nil, err
	}
	second, err := resolve.Solve(u, resolve.Request{
		Arch: arch, Packages: []resolve.Spec{{Name: "apt", By: "the gate"}}, Installed: first.Packages,
	})
	if err != nil {
		return nil, err
	}
	return &resolve.Set{Layers: []resolve.SetLayer{
		{Name: resolve.LayerEssential, Packages: first.Packages},
		{Name: "apt", Packages: second.Packages},
	}}, nil
}

// closure returns the packages of the snapshot that each package of the set
// needs, and each package's own earlier version with what that needs.
func closure(u resolve.Universe, c *Case, apt *resolve.Set) ([]*deb.Package, error) {
	over, err := overlay(u, c.Packages)
	if err != nil {
		return nil, err
	}
	seen := map[ashlar.Digest]bool{}
	var all []*deb.Package
	take := func(list []*deb.Package) {
		for _, p := range list {
			if p.SHA256 != "" && !seen[p.SHA256] && !over.ours[p] {
				seen[p.SHA256] = true
				all = append(all, p)
			}
		}
	}
	take(apt.All()) // apt weighs what is installed by what its index knows
	for _, p := range over.list {
		solution, err := resolve.Solve(over, resolve.Request{
			Arch: c.Target.Arch, Packages: []resolve.Spec{{Name: p.Name, Op: "=", Version: p.Version, By: "the gate"}}, Installed: withoutOurs(apt.All(), over),
		})
		if err != nil {
			return nil, fault.New(fault.Policy, "%s %s cannot be installed on this snapshot: %w", p.Name, p.Version, err)
		}
		take(solution.Packages)
		before, err := resolve.Solve(u, resolve.Request{
			Arch: c.Target.Arch, Packages: []resolve.Spec{{Name: p.Name, By: "the gate"}}, Installed: apt.All(),
		})
		if err == nil { // a package that is new in the set has no version before it
			take(before.Packages)
		}
	}
	return all, nil
}

// withoutOurs leaves out the installed packages that the set replaces.
func withoutOurs(installed []*deb.Package, over *overlaid) []*deb.Package {
	var kept []*deb.Package
	for _, p := range installed {
		if over.versions[p.Name] == nil {
			kept = append(kept, p)
		}
	}
	return kept
}

// An overlaid universe has the packages of a set in place of another's.
type overlaid struct {
	resolve.Universe
	list      []*deb.Package
	ours      map[*deb.Package]bool
	versions  map[string][]*deb.Package
	providers map[string][]*deb.Package
}

func overlay(u resolve.Universe, set []Package) (*overlaid, error) {
	o := &overlaid{Universe: u, ours: map[*deb.Package]bool{}, versions: map[string][]*deb.Package{}, providers: map[string][]*deb.Package{}}
	for _, s := range set {
		p, err := deb.ParsePackage(s.Control)
		if err != nil {
			return nil, err
		}
		o.list = append(o.list, p)
		o.ours[p] = true
		o.versions[p.Name] = append(o.versions[p.Name], p)
		for _, r := range p.Provides {
			o.providers[r.Name] = append(o.providers[r.Name], p)
		}
	}
	return o, nil
}

// Versions returns the set's package of that name, or if it has none the
// snapshot's.
func (o *overlaid) Versions(name string) ([]*deb.Package, error) {
	if ours := o.versions[name]; ours != nil {
		return ours, nil
	}
	return o.Universe.Versions(name)
}

// Providers returns the set's providers of that name, then those of the
// snapshot's that the set does not replace.
func (o *overlaid) Providers(name string) ([]*deb.Package, error) {
	rest, err := o.Universe.Providers(name)
	all := slices.Clone(o.providers[name])
	for _, p := range rest {
		if o.versions[p.Name] == nil {
			all = append(all, p)
		}
	}
	return all, err
}

// readSet reads the control files of .debs in the store.
func readSet(ctx context.Context, store blob.Store, files []ashlar.File) ([]Package, error) {
	var set []Package
	for _, f := range files {
		p, err := readPackage(ctx, store, f)
		if err != nil {
			return nil, err
		}
		set = append(set, p)
	}
	return set, nil
}

func readPackage(ctx context.Context, store blob.Store, f ashlar.File) (Package, error) {
	b, err := store.Open(ctx, f.Digest)
	if err != nil {
		return Package{}, err
	}
	defer b.Close()
	text, err := deb.ReadControl(b, b.Size())
	if err != nil {
		return Package{}, fault.New(fault.Invalid, "%w", err).At(f.Name, 0)
	}
	control, err := deb.ParseParagraph(text)
	return Package{File: f, Control: control}, err
}
