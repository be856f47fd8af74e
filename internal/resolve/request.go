package resolve

import (
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Request says what a set of packages must fulfil.
type Request struct {
	Arch ashlar.Arch
	// Packages are chosen by name before any dependency is looked at, in this
	// order, as on apt's command line.
	Packages []Spec
	// Wants are dependencies to be satisfied after that, in this order.
	Wants []Want
	// Conflicts must not be in the set.
	Conflicts []Want
	// Installed packages are there already; they are not changed, and their own
	// dependencies are taken as satisfied.
	Installed []*deb.Package
	// Unavailable versions are passed over, for they are in the index but not in
	// the pool.
	Unavailable map[ID]bool
}

// A Want is a dependency, or with Conflicts a package to be kept out, and who
// asks for it in words that an error can use: "Build-Depends of bzip2".
type Want struct {
	Dependency deb.Dependency
	By         string
}

// An ID names one version of a package.
type ID struct{ Name, Version string }

// idOf returns the ID of a package.
func idOf(p *deb.Package) ID { return ID{p.Name, p.Version} }

// A Spec is an entry of a definition's packages list: "name", "name=version",
// "name~version" (that version or any that continues it) or "!name".
type Spec struct {
	Name    string
	Qual    string // architecture qualifier after a colon, "" if none
	Op      string // "", "=" or "~"
	Version string
	Exclude bool
	By      string // who asks for it, for errors
}

// ParseSpec reads an entry of a packages list. The error is fault.Invalid.
func ParseSpec(entry string) (Spec, error) {
	bad := func(why string) (Spec, error) {
		return Spec{}, fault.New(fault.Invalid, "package entry %q: %s", entry, why).
			Fix("write name, name=version, name~version or !name")
	}
	rest, exclude := strings.CutPrefix(entry, "!")
	s := Spec{Name: rest, Exclude: exclude, By: "packages"}
	if i := strings.IndexAny(rest, "=~"); i >= 0 {
		s.Name, s.Op, s.Version = rest[:i], rest[i:i+1], rest[i+1:]
		if exclude {
			return bad("an exclusion takes no version")
		}
		if err := deb.ValidateVersion(s.Version); err != nil {
			return bad(err.Error())
		}
	}
	name, qual, qualified := strings.Cut(s.Name, ":")
	if qualified && qual == "" {
		return bad("nothing follows the colon")
	}
	s.Name, s.Qual = name, qual
	deps, err := deb.ParseDependencies(s.relation().String())
	if err != nil || len(deps) != 1 || len(deps[0]) != 1 || deps[0][0].Name != s.Name {
		return bad("not the name of a package")
	}
	return s, nil
}

// relation returns what the entry asks for, without its version.
func (s Spec) relation() deb.Relation { return deb.Relation{Name: s.Name, ArchQual: s.Qual} }

// Matches reports whether a version is one that the entry admits.
func (s Spec) Matches(version string) bool {
	switch s.Op {
	case "=":
		return deb.Compare(version, s.Version) == 0
	case "~":
		rest, ok := strings.CutPrefix(version, s.Version)
		return ok && (rest == "" || !isDigit(rest[0]) || !isDigit(s.Version[len(s.Version)-1]))
	}
	return true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// String returns the entry as it is written in a definition.
func (s Spec) String() string {
	name := s.relation().String() + s.Op + s.Version
	if s.Exclude {
		return "!" + name
	}
	return name
}

// pin returns the entry that fixes the version of a name, and whether one does.
func (r *Request) pin(name string) (Spec, bool) {
	for _, s := range r.Packages {
		if s.Name == name && s.Op != "" {
			return s, true
		}
	}
	return Spec{}, false
}

// check refuses entries that contradict each other.
func (r *Request) check() error {
	for _, s := range r.Packages {
		if pin, ok := r.pin(s.Name); ok && s.Op != "" && (s.Op != pin.Op || s.Version != pin.Version) {
			return fault.New(fault.Conflict, "%s and %s ask for different versions", pin, s).Fix("leave one of them")
		}
	}
	return nil
}

// excludes reports whether an entry forbids the package.
func (r *Request) excludes(name string) bool {
	for _, s := range r.Packages {
		if s.Exclude && s.Name == name {
			return true
		}
	}
	return false
}

// AddSource asks for what a source package needs to be built, all packages of
// it, under the given build profiles: Build-Depends with its -Arch and -Indep
// parts; and against its Build-Conflicts.
func (r *Request) AddSource(src *deb.SourcePackage, profiles []string) {
	add := func(to *[]Want, field string, deps []deb.Dependency) {
		for _, d := range deb.Reduce(deps, r.Arch, profiles) {
			*to = append(*to, Want{Dependency: d, By: field + " of " + src.Name})
		}
	}
	add(&r.Wants, "Build-Depends", src.BuildDepends)
	add(&r.Wants, "Build-Depends-Arch", src.BuildDependsArch)
	add(&r.Wants, "Build-Depends-Indep", src.BuildDependsIndep)
	add(&r.Conflicts, "Build-Conflicts", src.BuildConflicts)
	add(&r.Conflicts, "Build-Conflicts-Arch", src.BuildConflictsArch)
	add(&r.Conflicts, "Build-Conflicts-Indep", src.BuildConflictsIndep)
}
