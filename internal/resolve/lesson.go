package resolve

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on how much of a conflict an error tells.
const (
	maxTold  = 4 // alternatives of one dependency
	maxDepth = 8 // lessons within lessons
)

// A lesson says that the packages of set cannot all be chosen, and why: the
// dependency that needs cannot be satisfied, for each alternative was refused.
type lesson struct {
	set      []*deb.Package
	needs    deb.Dependency
	why      reason
	chain    []string // from the request to the package that needs it
	refusals []refusal
	missing  string // why there is no alternative at all, "" if there are some
}

// A refusal says why an alternative was not taken: because of other packages in
// the set, or for a reason that always holds (because is empty then).
type refusal struct {
	pkg     *deb.Package
	because []*deb.Package
	text    string
	lesson  *lesson // instead of text: what was learned before
}

// gather fills the set of the lesson: who needs it, and what the refusals rest
// on. Installed packages are not a choice and do not count.
func (l *lesson) gather(s *solver) {
	add := func(p *deb.Package) {
		if p != nil && !s.fixed[p] && !slices.Contains(l.set, p) {
			l.set = append(l.set, p)
		}
	}
	add(l.why.from)
	for _, r := range l.refusals {
		for _, p := range r.because {
			add(p)
		}
	}
	slices.SortFunc(l.set, func(a, b *deb.Package) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Version, b.Version))
	})
}

// fault returns the error for a request that cannot be fulfilled.
func (l *lesson) fault() error {
	return fault.New(fault.Conflict, "packages cannot be installed together: %s: %s", l.origin(), l.explain(0)).
		Fix("change what is asked for, or wait until the archive is consistent again")
}

// origin returns who first asked.
func (l *lesson) origin() string {
	if l.why.by != "" {
		return l.why.by
	}
	if len(l.chain) > 0 {
		return strings.Join(l.chain, " → ")
	}
	return "the request"
}

// explain returns the chain from the needed dependency down to what is in the way.
func (l *lesson) explain(depth int) string {
	dep := l.needs.String()
	switch {
	case l.missing != "":
		return dep + " " + l.missing
	case depth >= maxDepth:
		return dep + " → …"
	case len(l.refusals) == 1:
		return dep + l.refusals[0].explain(l.needs, depth)
	}
	var parts []string
	for i, r := range l.refusals {
		if i == maxTold {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, r.pkg.Name+" "+r.pkg.Version+r.explain(nil, depth))
	}
	return dep + " [" + strings.Join(parts, "; ") + "]"
}

// explain continues the chain at a refused alternative. When the dependency
// already names the package, it is not named again.
func (r refusal) explain(dep deb.Dependency, depth int) string {
	name := ""
	if len(dep) > 0 && (len(dep) > 1 || dep[0].Name != r.pkg.Name) {
		name = " → " + r.pkg.Name
	}
	switch {
	case r.lesson == nil:
		return name + ": " + r.text
	case r.lesson.why.from == r.pkg:
		return name + " → " + r.lesson.explain(depth+1)
	}
	return name + ": because of " + r.lesson.origin() + " → " + r.lesson.explain(depth+1)
}

// chain returns the names from the request down to p, the first with who asked.
func (s *solver) chain(p *deb.Package) []string {
	var names []string
	for p != nil && len(names) < 100 {
		names = append(names, p.Name)
		r := s.reasons[p]
		if r.from == nil && r.by != "" {
			names = append(names, r.by)
		}
		p = r.from
	}
	slices.Reverse(names)
	return names
}

// neededBy returns " (needed by …)" for a chosen package.
func (s *solver) neededBy(p *deb.Package) string {
	chain := s.chain(p)
	if len(chain) < 2 {
		return ""
	}
	return ", needed by " + strings.Join(chain[:len(chain)-1], " → ")
}

// missing says why nothing at all satisfies a dependency.
func (s *solver) missing(dep deb.Dependency) string {
	for _, r := range dep {
		if l := s.of(r.Name); len(l) > 0 {
			if r.ArchQual == "any" && r.Satisfies(l[0].Version) {
				return "not available (" + r.Name + " is not Multi-Arch: allowed)"
			}
			if r.ArchQual != "" && r.Satisfies(l[0].Version) {
				return "not available (the index is of " + string(s.req.Arch) + ")"
			}
			return "not available (the index has " + l[0].Name + " " + l[0].Version + ")"
		}
		if pin, ok := s.req.pin(r.Name); ok {
			return "not available in the version that " + pin.String() + " asks for"
		}
	}
	return "not available"
}
