package resolve

import (
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The names of the layers of a root.
const (
	LayerEssential = "essential"
	LayerBase      = "base"
	LayerExtras    = "extras"
)

// BasePackages are what every build root of a target has in its shared base,
// besides Essential.
var BasePackages = []string{"build-essential", "debhelper", "fakeroot", "dpkg-dev"}

// A Set is the packages of a root, layer by layer.
type Set struct {
	Layers []SetLayer
	Notes  []string
}

// A SetLayer is one layer of a Set.
type SetLayer struct {
	Name     string
	Packages []*deb.Package
}

// All returns the packages of all layers.
func (s *Set) All() []*deb.Package {
	var all []*deb.Package
	for _, l := range s.Layers {
		all = append(all, l.Packages...)
	}
	return all
}

// SolveRoot returns the packages of a build root: Essential and the shared base
// are solved alone, so that all definitions of a target share them, and then the
// request on top. Where the request contradicts the base, everything is solved
// together and the note of the set says so. Errors are as from Solve.
func SolveRoot(u Universe, req Request) (*Set, error) {
	essential, err := EssentialSpecs(u)
	if err != nil {
		return nil, err
	}
	first, err := Solve(u, Request{Arch: req.Arch, Packages: essential, Unavailable: req.Unavailable})
	if err != nil {
		return nil, err
	}
	base, err := Solve(u, Request{Arch: req.Arch, Packages: specs(BasePackages, "base of every build root"),
		Installed: first.Packages, Unavailable: req.Unavailable})
	if err != nil {
		return nil, err
	}
	set := &Set{Notes: slices.Concat(first.Notes, base.Notes)}
	set.add(LayerEssential, first.Packages)
	set.add(LayerBase, base.Packages)
	req.Installed = set.All()
	if why := contradiction(&req); why != "" {
		return solveAlone(u, req, first, why)
	}
	extras, err := Solve(u, req)
	if fault.Is(err, fault.Conflict) {
		alone, errAlone := solveAlone(u, req, first, "its packages do not fit the shared base")
		if errAlone != nil {
			return nil, err
		}
		return alone, nil
	}
	if err != nil {
		return nil, err
	}
	set.add(LayerExtras, extras.Packages)
	set.Notes = append(set.Notes, extras.Notes...)
	return set, nil
}

// solveAlone solves a root that does not share the base: Essential, and all the
// rest as extras.
func solveAlone(u Universe, req Request, first *Solution, why string) (*Set, error) {
	req.Installed = first.Packages
	if c := contradiction(&req); c != "" {
		return nil, fault.New(fault.Conflict, "%s, which is Essential", c).Fix("take the entry out: a build root cannot do without Essential packages")
	}
	for _, s := range specs(BasePackages, "base of every build root") {
		if !req.excludes(s.Name) {
			req.Packages = append(slices.Clip(req.Packages), s)
		}
	}
	extras, err := Solve(u, req)
	if err != nil {
		return nil, err
	}
	set := &Set{Notes: append(slices.Clone(first.Notes), "the root does not share the base: "+why)}
	set.add(LayerEssential, first.Packages)
	set.add(LayerExtras, extras.Packages)
	set.Notes = append(set.Notes, extras.Notes...)
	return set, nil
}

// contradiction says which entry of the request speaks against an installed
// package, "" if none does.
func contradiction(req *Request) string {
	for _, p := range req.Installed {
		if req.excludes(p.Name) {
			return "!" + p.Name + " excludes a package of the base"
		}
		if pin, ok := req.pin(p.Name); ok && !pin.Matches(p.Version) {
			return pin.String() + " asks for another version than the base has, " + p.Version
		}
		for _, w := range req.Conflicts {
			for _, r := range w.Dependency {
				if Opposes(nil, p, r, req.Arch) {
					return w.By + " " + r.String() + " excludes " + p.Name + " of the base"
				}
			}
		}
	}
	return ""
}

// add appends a layer with its packages in order of their names. An empty layer
// is left out.
func (s *Set) add(name string, pkgs []*deb.Package) {
	if len(pkgs) == 0 {
		return
	}
	pkgs = slices.Clone(pkgs)
	slices.SortFunc(pkgs, func(a, b *deb.Package) int { return strings.Compare(a.Name, b.Name) })
	s.Layers = append(s.Layers, SetLayer{Name: name, Packages: pkgs})
}

// EssentialSpecs asks for every package that the universe has as Essential, in
// the order of their names.
func EssentialSpecs(u Universe) ([]Spec, error) {
	pkgs, err := u.Essential()
	if err != nil {
		return nil, err
	}
	var list []string
	for _, p := range pkgs {
		list = append(list, p.Name)
	}
	slices.Sort(list)
	return specs(slices.Compact(list), "Essential"), nil
}

func specs(list []string, by string) []Spec {
	var out []Spec
	for _, name := range list {
		out = append(out, Spec{Name: name, By: by})
	}
	return out
}

// Root returns the set as a lock names it. The archive's alias for a package
// comes from uri.
func (s *Set) Root(arch ashlar.Arch, uri func(*deb.Package) string) ashlar.Root {
	var root ashlar.Root
	var below []*deb.Package
	for _, l := range s.Layers {
		layer := ashlar.Layer{Name: l.Name}
		for _, p := range l.Packages {
			layer.Packages = append(layer.Packages, ashlar.RootPackage{
				Name: p.Name, Version: p.Version, Arch: p.Arch,
				URI: uri(p), Digest: p.SHA256, Size: p.Size,
			})
		}
		if l.Name == LayerEssential {
			layer.Order = essentialOrder(l.Packages)
		} else {
			layer.Order = Order(l.Packages, below, arch)
		}
		below = append(below, l.Packages...)
		root.Layers = append(root.Layers, layer)
	}
	return root
}

// essentialOrder returns the calls that bring Essential to life over a tree that
// was unpacked without dpkg: base-passwd first, since it makes the users that
// the others name, then all the rest at once, whatever their Pre-Depends.
func essentialOrder(pkgs []*deb.Package) []ashlar.Run {
	const first = "base-passwd"
	var names []string
	for _, p := range pkgs {
		names = append(names, p.Name)
	}
	if i := slices.Index(names, first); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, first)
	}
	runs := []ashlar.Run{{Do: ashlar.RunUnpack, Packages: names}}
	if len(names) > 0 && names[0] == first {
		runs = append(runs, ashlar.Run{Do: ashlar.RunConfigure, Packages: []string{first}})
	}
	return runs
}
