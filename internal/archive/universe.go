package archive

import (
	"context"
	"errors"
	"path"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Universe is the set of binary packages of a target: those of its
// architecture and those for all, from every suite of the distro. Packages are
// parsed when they are asked for; the same package is always the same pointer.
// Of a name and version that several suites have, the first suite's is taken.
// Its methods may be called concurrently.
type Universe struct {
	archive *Archive
	arch    ashlar.Arch
	parts   []part

	mu        sync.Mutex
	parsed    map[place]*deb.Package
	packages  map[identity]*deb.Package
	homes     map[*deb.Package]int // the part that a package came from
	versions  map[string][]*deb.Package
	providers map[string][]*deb.Package
}

// A part is one index of a universe.
type part struct {
	release *release
	table   *table
}

type place struct{ part, stanza int }

type identity struct {
	name, version string
	arch          ashlar.Arch
}

// Universe returns the binary packages that a target's suites hold now. The
// error is fault.Denied if a signature is bad or expired.
func (a *Archive) Universe(ctx context.Context, t ashlar.Target, now time.Time) (*Universe, error) {
	suites, err := a.Suites(t.Distro)
	if err != nil {
		return nil, err
	}
	releases, err := a.currentAll(ctx, suites, now)
	if err != nil {
		return nil, err
	}
	key := t.String()
	for _, r := range releases {
		key += " " + string(r.index.Digest)
	}
	a.mu.Lock()
	u := a.universes[key]
	a.mu.Unlock()
	if u != nil {
		return u, nil
	}
	if u, err = a.universe(ctx, t.Arch, releases, now); err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.universes[key] = u
	return u, nil
}

// universe returns the packages of the releases for an architecture.
func (a *Archive) universe(ctx context.Context, arch ashlar.Arch, releases []*release, now time.Time) (*Universe, error) {
	parts, err := a.parts(ctx, releases, func(r *release, component string) []string { return packagesOf(r, component, arch) }, binaries, now)
	if err != nil {
		return nil, err
	}
	return &Universe{
		archive: a, arch: arch, parts: parts,
		parsed: map[place]*deb.Package{}, packages: map[identity]*deb.Package{}, homes: map[*deb.Package]int{},
		versions: map[string][]*deb.Package{}, providers: map[string][]*deb.Package{},
	}, nil
}

// currentAll returns the current releases of the suites, in their order.
func (a *Archive) currentAll(ctx context.Context, suites []Suite, now time.Time) ([]*release, error) {
	releases := make([]*release, len(suites))
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range suites {
		g.Go(func() (err error) {
			releases[i], err = a.release(ctx, s, now)
			return err
		})
	}
	return releases, g.Wait()
}

// packagesOf returns the names of the indexes that hold a component's packages
// for an architecture. By apt's rule the index of "all" is one of its own only if
// the Release names that architecture and does not say otherwise.
func packagesOf(r *release, component string, arch ashlar.Arch) []string {
	names := []string{component + "/binary-" + string(arch) + "/Packages"}
	all := component + "/binary-all/Packages"
	if _, ok := r.content.File(all); ok && slices.Contains(r.content.Architectures, "all") && r.content.NoSupportForArchAll != "Packages" {
		names = append(names, all)
	}
	return names
}

// parts returns the tables of the indexes that list names, in the order of the
// releases and their components.
func (a *Archive) parts(ctx context.Context, releases []*release, list func(*release, string) []string, k kind, now time.Time) ([]part, error) {
	type job struct {
		release *release
		name    string
	}
	var jobs []job
	for _, r := range releases {
		for _, component := range r.suite.Components {
			for _, name := range list(r, component) {
				jobs = append(jobs, job{r, name})
			}
		}
	}
	parts := make([]part, len(jobs))
	g, ctx := errgroup.WithContext(ctx)
	for i, j := range jobs {
		g.Go(func() error {
			t, err := a.index(ctx, j.release, j.name, k, now)
			parts[i] = part{j.release, t}
			return err
		})
	}
	return parts, g.Wait()
}

// Versions returns the versions of the named package, one of each, in no
// particular order; none if there is no such package.
func (u *Universe) Versions(name string) ([]*deb.Package, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lookup(u.versions, name, (*table).byName)
}

// Providers returns the packages whose Provides names name, in any version.
func (u *Universe) Providers(name string) ([]*deb.Package, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.lookup(u.providers, name, (*table).byKey)
}

// Essential returns the packages marked Essential, all versions.
func (u *Universe) Essential() ([]*deb.Package, error) { return u.Providers(essentialKey) }

// lookup collects the packages that a table function finds, and remembers them.
func (u *Universe) lookup(known map[string][]*deb.Package, name string, find func(*table, string) []int) ([]*deb.Package, error) {
	if all, ok := known[name]; ok {
		return all, nil
	}
	var all []*deb.Package
	seen := map[*deb.Package]bool{}
	for i, p := range u.parts {
		for _, stanza := range find(p.table, name) {
			pkg, err := u.load(place{i, stanza})
			if err != nil {
				return nil, err
			}
			if pkg != nil && !seen[pkg] {
				seen[pkg] = true
				all = append(all, pkg)
			}
		}
	}
	known[name] = all
	return all, nil
}

// load returns the package at a place, or the equal one that was loaded before;
// nil if it is of another architecture.
func (u *Universe) load(at place) (*deb.Package, error) {
	if pkg, ok := u.parsed[at]; ok {
		return pkg, nil
	}
	p := u.parts[at.part]
	text, err := p.table.stanza(at.stanza)
	if errors.Is(err, errDamaged) {
		return nil, u.archive.discard(p.table, p.release.index.URI)
	}
	pkg, err := deb.ParsePackageText(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(p.release.index.URI, 0).Fix("use another mirror")
	}
	if pkg.SHA256 == "" || pkg.Filename == "" {
		return nil, fault.New(fault.Invalid, "package %s %s has no file name or no SHA-256", pkg.Name, pkg.Version).At(p.release.index.URI, 0).Fix("use another mirror")
	}
	if pkg.Arch != u.arch && pkg.Arch != "all" {
		pkg = nil
	} else {
		id := identity{pkg.Name, pkg.Version, pkg.Arch}
		if same := u.packages[id]; same != nil {
			pkg = same
		} else {
			u.packages[id], u.homes[pkg] = pkg, at.part
		}
	}
	u.parsed[at] = pkg
	return pkg, nil
}

// Material returns the .deb of a package of this universe as a pinned file, with
// its address in the pool by alias; ok is false for any other package.
func (u *Universe) Material(p *deb.Package) (m ashlar.Material, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	home, ok := u.homes[p]
	if !ok {
		return m, false
	}
	return ashlar.Material{
		Name: path.Base(p.Filename), URI: u.parts[home].release.suite.URI(p.Filename), Digest: p.SHA256, Size: p.Size,
	}, true
}

// PoolURI returns the address of a package of this universe, "mirror://…", and
// "" for any other package.
func (u *Universe) PoolURI(p *deb.Package) string {
	m, _ := u.Material(p)
	return m.URI
}

// Indexes returns the signed indexes that the universe was made from, in the
// order of the suites.
func (u *Universe) Indexes() []ashlar.Index {
	var all []ashlar.Index
	for i, p := range u.parts {
		if i == 0 || u.parts[i-1].release != p.release {
			all = append(all, p.release.index)
		}
	}
	return all
}
