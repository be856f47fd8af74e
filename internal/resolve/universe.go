// Package resolve turns a definition into a lock: it solves the packages of each
// build root by apt's rule, finds the sources, and pins everything by digest.
//
// The solver takes the highest version of a package, goes through dependencies
// in the order in which they are written, and takes the first alternative that
// can be had. Only when that leads into a conflict does it go back, and then it
// remembers why, so that it never runs into the same conflict twice.
package resolve

import (
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/deb"
)

// A Universe is the set of packages that may be chosen from, all of one
// architecture (packages for all architectures included).
type Universe interface {
	// Versions returns the versions of the named package, in any order, and none
	// if there is no such package.
	Versions(name string) ([]*deb.Package, error)
	// Providers returns the packages, all versions, whose Provides names name.
	Providers(name string) ([]*deb.Package, error)
	// Essential returns the packages marked Essential.
	Essential() ([]*deb.Package, error)
}

// Memory is a Universe held in memory.
type Memory struct {
	versions  map[string][]*deb.Package
	providers map[string][]*deb.Package
	essential []*deb.Package
}

// NewMemory returns a universe of the given packages.
func NewMemory(pkgs ...*deb.Package) *Memory {
	m := &Memory{versions: map[string][]*deb.Package{}, providers: map[string][]*deb.Package{}}
	for _, p := range pkgs {
		m.versions[p.Name] = append(m.versions[p.Name], p)
		if p.Essential {
			m.essential = append(m.essential, p)
		}
		for _, r := range p.Provides {
			if l := m.providers[r.Name]; len(l) == 0 || l[len(l)-1] != p {
				m.providers[r.Name] = append(l, p)
			}
		}
	}
	return m
}

// Versions returns the versions of the named package. The error is always nil.
func (m *Memory) Versions(name string) ([]*deb.Package, error) { return m.versions[name], nil }

// Providers returns the packages that provide name. The error is always nil.
func (m *Memory) Providers(name string) ([]*deb.Package, error) { return m.providers[name], nil }

// Essential returns the packages marked Essential. The error is always nil.
func (m *Memory) Essential() ([]*deb.Package, error) { return m.essential, nil }

// market is a universe as one request sees it: looked up once, without what the
// pool does not have, pins applied, best version first.
type market struct {
	universe  Universe
	req       *Request
	versions  map[string][]*deb.Package
	providers map[string][]*deb.Package
	err       error // the first error of the universe; it ends the solving
}

// of returns the eligible versions of a package, highest first. The first is
// the candidate in apt's sense.
func (m *market) of(name string) []*deb.Package {
	if l, ok := m.versions[name]; ok {
		return l
	}
	all, err := m.universe.Versions(name)
	if err != nil && m.err == nil {
		m.err = err
	}
	var list []*deb.Package
	pin, pinned := m.req.pin(name)
	for _, p := range all {
		if !m.req.Unavailable[idOf(p)] && (!pinned || pin.Matches(p.Version)) {
			list = append(list, p)
		}
	}
	slices.SortStableFunc(list, func(a, b *deb.Package) int { return deb.Compare(b.Version, a.Version) })
	list = slices.CompactFunc(list, func(a, b *deb.Package) bool { return a.Version == b.Version })
	for _, p := range m.req.Installed {
		if p.Name == name {
			list = []*deb.Package{p}
		}
	}
	m.versions[name] = list
	return list
}

// providing returns the eligible packages that provide name, in apt's order of
// preference: Essential, then priority, then name; of one name the highest
// version first. A package of that very name is not among them.
func (m *market) providing(name string) []*deb.Package {
	if l, ok := m.providers[name]; ok {
		return l
	}
	all, err := m.universe.Providers(name)
	if err != nil && m.err == nil {
		m.err = err
	}
	names := map[string]bool{name: true}
	var list []*deb.Package
	for _, p := range all {
		if names[p.Name] {
			continue
		}
		names[p.Name] = true
		for _, v := range m.of(p.Name) {
			if provides(v, name) {
				list = append(list, v)
			}
		}
	}
	slices.SortStableFunc(list, comparePreference)
	m.providers[name] = list
	return list
}

// comparePreference orders packages of different names as apt prefers them.
func comparePreference(a, b *deb.Package) int {
	switch {
	case a.Name == b.Name:
		return deb.Compare(b.Version, a.Version)
	case a.Essential != b.Essential:
		if a.Essential {
			return -1
		}
		return 1
	}
	if d := rank(a.Priority) - rank(b.Priority); d != 0 {
		return d
	}
	return strings.Compare(a.Name, b.Name)
}

// rank returns the place of a priority in Debian's order; what is unknown is
// as low as "extra".
func rank(priority string) int {
	i := slices.Index([]string{"required", "important", "standard", "optional"}, priority)
	if i < 0 {
		return 4
	}
	return i
}

// provides reports whether p's Provides names name, in whatever version.
func provides(p *deb.Package, name string) bool {
	return slices.ContainsFunc(p.Provides, func(r deb.Relation) bool { return r.Name == name })
}

// isCandidate reports whether p is the highest eligible version of its name.
func (m *market) isCandidate(p *deb.Package) bool {
	l := m.of(p.Name)
	return len(l) > 0 && l[0] == p
}
