package resolve

import (
	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
)

// Fulfils reports whether package p, in a root of one architecture, satisfies
// one alternative of a dependency, by its name or by what it provides. A
// provided name without a version satisfies no versioned dependency.
func Fulfils(p *deb.Package, r deb.Relation, arch ashlar.Arch) bool {
	switch r.ArchQual {
	case "", "native", string(arch):
	case "any":
		if p.MultiArch != "allowed" {
			return false
		}
	default:
		return false
	}
	return matches(p, r)
}

// Opposes reports whether a Conflicts or Breaks of package by aims at p. A
// package never opposes itself, not even by a name that it provides. A nil by
// stands for the request.
func Opposes(by, p *deb.Package, r deb.Relation, arch ashlar.Arch) bool {
	if by != nil && by.Name == p.Name {
		return false
	}
	switch r.ArchQual {
	case "", "any", "native", string(arch):
		return matches(p, r)
	}
	return false
}

// matches holds a relation against the name and version of p, and against what
// it provides.
func matches(p *deb.Package, r deb.Relation) bool {
	if p.Name == r.Name && r.Satisfies(p.Version) {
		return true
	}
	for _, v := range p.Provides {
		if v.Name == r.Name && (r.Op == "" || v.Version != "" && r.Satisfies(v.Version)) {
			return true
		}
	}
	return false
}
