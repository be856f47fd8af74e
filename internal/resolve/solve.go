package resolve

import (
	"slices"

	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on one solving. Real build roots need a handful of conflicts and some
// hundred packages.
const (
	maxConflicts = 5_000
	maxChosen    = 20_000
)

// A Solution is a consistent set of packages.
type Solution struct {
	// Packages are the chosen packages without the installed ones, in the order
	// in which they were chosen.
	Packages []*deb.Package
	// Notes say where the set is not what apt would take: a version below the
	// candidate.
	Notes []string
	// Conflicts is the number of times that the solver had to go back.
	Conflicts int
}

// Solve returns the set of packages that fulfils the request by apt's rule. The
// same request on the same universe gives the same solution. The error for a
// request that cannot be fulfilled is fault.Conflict and names the chain of
// packages that leads to what is missing or in the way.
func Solve(u Universe, req Request) (*Solution, error) {
	if err := req.check(); err != nil {
		return nil, err
	}
	m := &market{universe: u, req: &req, versions: map[string][]*deb.Package{}, providers: map[string][]*deb.Package{}}
	s := &solver{market: m, req: &req, lessons: map[*deb.Package][]*lesson{}}
	for s.conflicts = 0; s.conflicts <= maxConflicts; s.conflicts++ {
		l := s.pass()
		switch {
		case m.err != nil:
			return nil, m.err
		case l == nil:
			return s.solution(), nil
		case len(l.set) == 0:
			return nil, l.fault()
		}
		for _, p := range l.set {
			s.lessons[p] = append(s.lessons[p], l)
		}
	}
	return nil, fault.New(fault.Conflict, "no consistent set of packages found in %d attempts", maxConflicts).
		Fix("ask for fewer packages at once, or exclude one of the alternatives with !name")
}

// solver goes through the request in passes. A pass chooses greedily; when it
// meets a conflict it returns a lesson, a set of packages that cannot all be
// chosen, and the next pass heeds it. A lesson about the empty set says that
// the request itself cannot be fulfilled.
type solver struct {
	*market
	req       *Request
	lessons   map[*deb.Package][]*lesson
	conflicts int

	// the state of a pass
	chosen    map[string]*deb.Package
	order     []*deb.Package
	fixed     map[*deb.Package]bool // installed: not a choice, so no part of a lesson
	reasons   map[*deb.Package]reason
	providing map[string][]*deb.Package // chosen packages by what they provide
	opposed   map[string][]opposition   // Conflicts and Breaks of chosen packages by the name they aim at
	forbidden map[string][]opposition   // the same of the request itself
}

// reason says why a package was chosen: what asked for it, and in which words.
// A nil package is the request.
type reason struct {
	from *deb.Package
	by   string
}

// opposition is a Conflicts or Breaks of a package; by is nil for the request.
type opposition struct {
	relation deb.Relation
	by       *deb.Package
	word     string // "conflicts with", "breaks", or who forbids it
}

// pass chooses packages for the whole request, and returns nil when they are
// consistent.
func (s *solver) pass() *lesson {
	s.reset()
	for _, p := range s.req.Installed {
		s.fixed[p] = true
		s.take(p, reason{by: "the layers below"})
	}
	var named []*deb.Package
	for _, spec := range s.req.Packages {
		if spec.Exclude {
			continue
		}
		p, l := s.name(spec)
		if l != nil {
			return l
		}
		if p != nil {
			named = append(named, p)
		}
	}
	for _, p := range named {
		if l := s.dependencies(p); l != nil {
			return l
		}
	}
	for _, w := range s.req.Wants {
		if l := s.need(w.Dependency, reason{by: w.By}); l != nil {
			return l
		}
	}
	return nil
}

func (s *solver) reset() {
	s.chosen = map[string]*deb.Package{}
	s.order = nil
	s.fixed = map[*deb.Package]bool{}
	s.reasons = map[*deb.Package]reason{}
	s.providing = map[string][]*deb.Package{}
	s.opposed = map[string][]opposition{}
	s.forbidden = map[string][]opposition{}
	for _, w := range s.req.Conflicts {
		for _, r := range w.Dependency {
			s.forbidden[r.Name] = append(s.forbidden[r.Name], opposition{relation: r, word: w.By})
		}
	}
}

// name takes the package that an entry of the request names, without its
// dependencies yet; only a name that no package has means one that provides it.
// It returns nil if one that is chosen already will do.
func (s *solver) name(spec Spec) (*deb.Package, *lesson) {
	dep := deb.Dependency{spec.relation()}
	real := spec.Op != "" || len(s.of(spec.Name)) > 0
	if p := s.chosen[spec.Name]; p != nil && spec.Matches(p.Version) || !real && s.satisfied(dep) {
		return nil, nil
	}
	return s.choose(dep, reason{by: spec.By}, func(p *deb.Package) bool {
		return !real || p.Name == spec.Name && spec.Matches(p.Version)
	})
}

// need makes sure that a dependency is satisfied, choosing what it takes.
func (s *solver) need(dep deb.Dependency, why reason) *lesson {
	if s.satisfied(dep) {
		return nil
	}
	p, l := s.choose(dep, why, nil)
	if l != nil {
		return l
	}
	return s.dependencies(p)
}

// dependencies satisfies the dependencies of a chosen package.
func (s *solver) dependencies(p *deb.Package) *lesson {
	if len(s.order) > maxChosen {
		s.err = fault.New(fault.Invalid, "the request needs more than %d packages", maxChosen)
		return &lesson{}
	}
	for _, list := range [2][]deb.Dependency{p.PreDepends, p.Depends} {
		for _, dep := range list {
			if l := s.need(dep, reason{from: p}); l != nil {
				return l
			}
		}
	}
	return nil
}

// choose takes the first alternative of a dependency that is acceptable (nil
// accepts all) and that nothing speaks against. If there is none, the lesson holds who needs it and what speaks
// against each alternative.
func (s *solver) choose(dep deb.Dependency, why reason, accept func(*deb.Package) bool) (*deb.Package, *lesson) {
	l := &lesson{needs: dep, why: why, chain: s.chain(why.from)}
	for p := range s.alternatives(dep) {
		if accept != nil && !accept(p) {
			continue
		}
		r := s.refusal(p)
		if r == nil {
			s.take(p, why)
			return p, nil
		}
		l.refusals = append(l.refusals, *r)
	}
	if len(l.refusals) == 0 {
		l.missing = s.missing(dep)
	}
	l.gather(s)
	return nil, l
}

// take makes p a part of the set.
func (s *solver) take(p *deb.Package, why reason) {
	s.chosen[p.Name] = p
	s.reasons[p] = why
	if !s.fixed[p] {
		s.order = append(s.order, p)
	}
	for _, r := range p.Provides {
		s.providing[r.Name] = append(s.providing[r.Name], p)
	}
	for word, list := range oppositions(p) {
		for _, d := range list {
			for _, r := range d {
				s.opposed[r.Name] = append(s.opposed[r.Name], opposition{relation: r, by: p, word: word})
			}
		}
	}
}

// oppositions yields the Conflicts and the Breaks of p with the word for each.
func oppositions(p *deb.Package) func(yield func(string, []deb.Dependency) bool) {
	return func(yield func(string, []deb.Dependency) bool) {
		if yield("conflicts with", p.Conflicts) {
			yield("breaks", p.Breaks)
		}
	}
}

// alternatives yields what could satisfy a dependency, best first: for each
// alternative as written the candidate of that name, then candidates that
// provide it; after all of those, versions that are not candidates.
func (s *solver) alternatives(dep deb.Dependency) func(yield func(*deb.Package) bool) {
	return func(yield func(*deb.Package) bool) {
		for _, candidates := range [2]bool{true, false} {
			for _, r := range dep {
				for _, list := range [2]func(string) []*deb.Package{s.of, s.market.providing} {
					for _, p := range list(r.Name) {
						if s.isCandidate(p) == candidates && s.fulfils(p, r) && !yield(p) {
							return
						}
					}
				}
			}
		}
	}
}

// satisfied reports whether a chosen package satisfies the dependency.
func (s *solver) satisfied(dep deb.Dependency) bool {
	for _, r := range dep {
		if p := s.chosen[r.Name]; p != nil && s.fulfils(p, r) {
			return true
		}
		if slices.ContainsFunc(s.providing[r.Name], func(p *deb.Package) bool { return s.fulfils(p, r) }) {
			return true
		}
	}
	return false
}

// fulfils reports whether p satisfies one alternative of a dependency.
func (s *solver) fulfils(p *deb.Package, r deb.Relation) bool { return Fulfils(p, r, s.req.Arch) }

// refusal says what speaks against choosing p now, nil if nothing does.
func (s *solver) refusal(p *deb.Package) *refusal {
	if s.req.excludes(p.Name) {
		return &refusal{pkg: p, text: "excluded by !" + p.Name}
	}
	if q := s.chosen[p.Name]; q != nil {
		return &refusal{pkg: p, because: []*deb.Package{q}, text: "version " + q.Version + " is chosen already" + s.neededBy(q)}
	}
	if r := s.opposition(p); r != nil {
		return r
	}
	for _, l := range s.lessons[p] {
		if rest, ok := s.completes(l, p); ok {
			return &refusal{pkg: p, because: rest, lesson: l}
		}
	}
	return nil
}

// opposition looks for a Conflicts or Breaks between p and what is chosen, in
// either direction.
func (s *solver) opposition(p *deb.Package) *refusal {
	names := append([]deb.Relation{{Name: p.Name}}, p.Provides...)
	for _, n := range names {
		for _, o := range slices.Concat(s.forbidden[n.Name], s.opposed[n.Name]) {
			if !Opposes(o.by, p, o.relation, s.req.Arch) {
				continue
			}
			if o.by == nil {
				return &refusal{pkg: p, text: "excluded by " + o.word + " " + o.relation.String()}
			}
			return &refusal{pkg: p, because: []*deb.Package{o.by}, text: o.by.Name + " " + o.word + " " + o.relation.String() + s.neededBy(o.by)}
		}
	}
	for word, list := range oppositions(p) {
		for _, d := range list {
			for _, r := range d {
				if q := s.hit(p, r); q != nil {
					return &refusal{pkg: p, because: []*deb.Package{q}, text: word + " " + q.Name + " " + q.Version + s.neededBy(q)}
				}
			}
		}
	}
	return nil
}

// hit returns a chosen package that a Conflicts or Breaks of p aims at.
func (s *solver) hit(p *deb.Package, r deb.Relation) *deb.Package {
	if q := s.chosen[r.Name]; q != nil && Opposes(p, q, r, s.req.Arch) {
		return q
	}
	for _, q := range s.providing[r.Name] {
		if Opposes(p, q, r, s.req.Arch) {
			return q
		}
	}
	return nil
}

// completes reports whether choosing p would complete the set of a lesson, and
// returns the rest of the set.
func (s *solver) completes(l *lesson, p *deb.Package) ([]*deb.Package, bool) {
	var rest []*deb.Package
	for _, q := range l.set {
		switch {
		case q == p:
		case s.chosen[q.Name] != q:
			return nil, false
		default:
			rest = append(rest, q)
		}
	}
	return rest, true
}

// solution returns what the last pass chose.
func (s *solver) solution() *Solution {
	sol := &Solution{Packages: s.order, Conflicts: s.conflicts}
	for _, p := range s.order {
		if s.isCandidate(p) {
			continue
		}
		sol.Notes = append(sol.Notes, p.Name+" "+p.Version+" chosen instead of the newer "+s.of(p.Name)[0].Version+", which does not fit")
	}
	slices.Sort(sol.Notes)
	return sol
}
