package gate

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// Prepare gathers what is needed to judge a result: a root with apt, and every
// package of the world that installing or upgrading the set draws on. What the
// index lists but the pool does not have is done without, as when a build root
// is solved. Dsc and Profiles of the case are left to the caller. The error is
// fault.Policy if a package of the set cannot be installed on this snapshot.
func Prepare(ctx context.Context, w resolve.World, res *ashlar.Result) (*Case, error) {
	c := &Case{Target: res.Target, Set: res.Files, Indexes: w.Indexes}
	var err error
	if c.Packages, err = readSet(ctx, w.Store, res.Debs()); err != nil {
		return nil, err
	}
	over, err := overlay(w.Universe, c.Packages)
	if err != nil {
		return nil, err
	}
	gone := map[resolve.ID]bool{}
	var n *needs
	err = w.Settle(ctx, gone, func() (_ []*deb.Package, err error) {
		if n, err = closure(over, c.Target.Arch, gone); err != nil {
			return nil, err
		}
		return n.packages, nil
	})
	if err != nil {
		return nil, err
	}
	c.Root, c.Before, c.Untried = n.apt.Root(c.Target.Arch, w.PackageURI), n.before, n.untried
	var files []ashlar.File
	for _, p := range n.packages {
		files = append(files, ashlar.File{Name: path.Base(w.PackageURI(p)), Digest: p.SHA256, Size: p.Size})
	}
	c.Archive, err = readSet(ctx, w.Store, files)
	return c, err
}

// needs are what a set draws on.
type needs struct {
	apt      *resolve.Set // the root with apt
	packages []*deb.Package
	before   map[string]string // see Case
	untried  map[string]string

	over *overlaid
	arch ashlar.Arch
	gone map[resolve.ID]bool // what the pool does not have
	seen map[ashlar.Digest]bool
}

// closure returns the packages of the snapshot that a root with apt and each
// package of the set need, and each package's own earlier version with what that
// needs.
func closure(over *overlaid, arch ashlar.Arch, gone map[resolve.ID]bool) (*needs, error) {
	n := &needs{before: map[string]string{}, untried: map[string]string{}, over: over, arch: arch, gone: gone, seen: map[ashlar.Digest]bool{}}
	if err := n.root(); err != nil {
		return nil, err
	}
	n.take(n.apt.All()) // apt weighs what is installed by what its index knows
	for _, p := range over.list {
		if err := n.install(p); err != nil {
			return nil, err
		}
		if err := n.upgrade(p); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// take adds packages of the snapshot, each once.
func (n *needs) take(list []*deb.Package) {
	for _, p := range list {
		if p.SHA256 != "" && !n.seen[p.SHA256] && !n.over.ours[p] {
			n.seen[p.SHA256] = true
			n.packages = append(n.packages, p)
		}
	}
}

// solve solves specs in a universe on top of what is installed.
func (n *needs) solve(u resolve.Universe, installed []*deb.Package, specs ...resolve.Spec) ([]*deb.Package, error) {
	s, err := resolve.Solve(u, resolve.Request{Arch: n.arch, Packages: specs, Installed: installed, Unavailable: n.gone})
	if err != nil {
		return nil, err
	}
	return s.Packages, nil
}

// root solves Essential, and apt on top.
func (n *needs) root() error {
	u := n.over.Universe
	specs, err := resolve.EssentialSpecs(u)
	if err != nil {
		return err
	}
	essential, err := n.solve(u, nil, specs...)
	if err != nil {
		return err
	}
	apt, err := n.solve(u, essential, resolve.Spec{Name: "apt", By: "the gate"})
	n.apt = &resolve.Set{Layers: []resolve.SetLayer{
		{Name: resolve.LayerEssential, Packages: essential},
		{Name: "apt", Packages: apt},
	}}
	return err
}

// install takes what a package of the set needs.
func (n *needs) install(p *deb.Package) error {
	needed, err := n.solve(n.over, withoutOurs(n.apt.All(), n.over), resolve.Spec{Name: p.Name, Op: "=", Version: p.Version, By: "the gate"})
	if err != nil {
		kind := fault.KindOf(err)
		if kind == fault.Conflict && len(n.gone) == 0 {
			kind = fault.Policy
		}
		return fault.New(kind, "%s %s cannot be installed on this snapshot: %w", p.Name, p.Version, err)
	}
	n.take(needed)
	return nil
}

// upgrade takes the snapshot's version of a package of the set, and what that
// needs; or notes why it cannot be upgraded from. A package that is new in the
// set has no version before it.
func (n *needs) upgrade(p *deb.Package) error {
	u := n.over.Universe
	all, err := u.Versions(p.Name)
	if err != nil || len(all) == 0 {
		return err
	}
	if !slices.ContainsFunc(all, func(x *deb.Package) bool { return !n.gone[resolve.ID{Name: x.Name, Version: x.Version}] }) {
		n.untried[p.Name] = "the pool has none of the versions that the index lists"
		return nil
	}
	needed, err := n.solve(u, n.apt.All(), resolve.Spec{Name: p.Name, By: "the gate"})
	if fault.Is(err, fault.Conflict) {
		n.untried[p.Name] = fmt.Sprintf("the archive's version cannot be installed: %v", err)
		return nil
	} else if err != nil {
		return err
	}
	there := slices.Concat(n.apt.All(), needed)
	i := slices.IndexFunc(there, func(x *deb.Package) bool { return x.Name == p.Name })
	if deb.Compare(there[i].Version, p.Version) >= 0 {
		n.untried[p.Name] = fmt.Sprintf("the archive has %s, which is not lower than %s", there[i].Version, p.Version)
		return nil
	}
	n.before[p.Name] = there[i].Version
	n.take(needed)
	return nil
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
