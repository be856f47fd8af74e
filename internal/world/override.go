package world

import (
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// overridesFile reports whether a file of package a becomes one of package b, which
// has it too. If neither claims it the error is fault.Conflict.
func overridesFile(a, b *installed) (bool, error) {
	priorityA, priorityB := claim(a, b), claim(b, a)
	switch {
	case priorityA > priorityB:
		return false, nil
	case priorityB >= 0, sameOrigin(a, b):
		return true, nil
	}
	return false, fault.New(fault.Conflict, "package %s has this file, too", a).
		Fix("leave it out of one of them, or give one the words \"replaces\" with the other's name")
}

// claim returns the priority by which package a replaces files of b, -1 if it does
// not.
func claim(a, b *installed) int {
	for _, d := range a.info.Replaces {
		if replaces(d, b) {
			return a.info.ReplacesPriority
		}
	}
	return -1
}

// replaces reports whether a word is about a package itself, not what it provides.
func replaces(d apk.Dependency, p *installed) bool {
	if d.Name != p.Name {
		return d.Conflict
	}
	return word{Dependency: &d}.metBy(nil, provider{&candidate{Package: p.Package}, p.Version})
}

// overridesFolder reports whether package b decides about the access rights of a
// folder rather than package a, which has it too.
func overridesFolder(a, b *installed) bool {
	if a.info.ReplacesPriority != b.info.ReplacesPriority {
		return a.info.ReplacesPriority < b.info.ReplacesPriority
	}
	if sameOrigin(a, b) {
		switch a.Origin {
		case a.Name:
			return false
		case b.Name:
			return true
		}
	}
	return a.Name > b.Name
}

func sameOrigin(a, b *installed) bool { return a.Origin != "" && a.Origin == b.Origin }
