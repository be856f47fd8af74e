package world

import (
	"math/bits"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a request. apk has room for 32 repositories.
const (
	maxRepositories = 32
	maxTags         = 30 // in a world; with those of repositories at most 64
	maxWorld        = 50_000
	maxDepth        = 100_000 // packages that want one another in a row
)

// maxWork bounds the work of the solver, in looks at a provider or a word. A world of
// all of 20,000 packages takes a fortieth of it.
const maxWork = 1 << 27

// A Repository is what one repository has to offer.
type Repository struct {
	// Tag is the name after "@" by which its packages must be asked for; "" if all
	// may come from it.
	Tag      string
	Packages []Package
}

// A Request asks for a root.
type Request struct {
	Arch string // of the machine, such as "x86_64"
	// Repositories are in the order of preference. Of packages of the same version
	// the one in the first repository is taken.
	Repositories []Repository
	World        []apk.Dependency // what is wanted, as in the file etc/apk/world
	// Added are names in World that were not in the file but given to "apk add".
	// apk settles them before all others, which can make another solution.
	Added []string
}

// A Solution is what a Request comes to.
type Solution struct {
	Arch    string
	World   []apk.Dependency // in the order of the file etc/apk/world
	Install []Choice         // in the order of installation
}

// A Choice is a package to be installed.
type Choice struct {
	*Package
	Repository int // the number of the first repository that has it
	// Tag is that of the repository that it was allowed to come from, "" if that
	// has none.
	Tag string
}

// Solve chooses the packages for an empty root, as apk does. It depends on the
// request alone. If there is no solution the error is fault.Conflict and says who
// wants what, from the world on; like apk's the search is not exhaustive, so a
// solution that exists may be missed. A malformed request is fault.Invalid.
func Solve(r Request) (*Solution, error) {
	r.World = sortWorld(r.World)
	if err := r.check(); err != nil {
		return nil, err
	}
	u := newUniverse(&r)
	for _, w := range u.world {
		if tag := u.tag(w.Tag); tag != 0 && u.tagged[tag] == 0 {
			return nil, fault.New(fault.Invalid, "the world asks for %s, but no repository has the tag @%s", w, w.Tag).
				Fix("give a repository this tag, or ask for the package without it")
		}
	}
	s := &solver{universe: u}
	s.settleAll()
	chosen := s.list()
	switch {
	case s.tooMuch != "":
		return nil, fault.New(fault.Invalid, "the indexes are too tangled to solve: %s", s.tooMuch)
	case s.errors > 0:
		return nil, s.explain(chosen)
	}
	return s.solution(&r, chosen), nil
}

// check checks what the solver relies on.
func (r *Request) check() error {
	switch {
	case r.Arch == "":
		return fault.New(fault.Invalid, "a request for no architecture")
	case len(r.Repositories) > maxRepositories:
		return fault.New(fault.Invalid, "%d repositories; apk takes at most %d", len(r.Repositories), maxRepositories)
	case len(r.World) > maxWorld:
		return fault.New(fault.Invalid, "a world of more than %d words", maxWorld)
	}
	tags := map[string]bool{}
	for _, w := range r.World {
		if err := checkWorldWord(w); err != nil {
			return err
		}
		tags[w.Tag] = true
	}
	if len(tags) > maxTags {
		return fault.New(fault.Invalid, "a world with more than %d tags", maxTags)
	}
	for i := range r.Repositories {
		for j := range r.Repositories[i].Packages {
			p := &r.Repositories[i].Packages[j]
			if len(p.Hash) < len(apk.Identity{}) || p.Name == "" || p.Version == "" {
				return fault.New(fault.Invalid, "repository %d: a package (%.80q) without name, version or hash", i+1, p.Name)
			}
		}
	}
	return nil
}

// checkWorldWord wants a word that can stand in the file etc/apk/world.
func checkWorldWord(w apk.Dependency) error {
	tag := w.Tag
	w.Tag = ""
	err := w.Check()
	if err == nil && tag != "" {
		if _, err = apk.ParseDependency("x@" + tag); err == nil && len(tag) > maxTag {
			err = fault.New(fault.Invalid, "the tag %.80q is too long", tag)
		}
	}
	if err != nil {
		return fault.Within(err, "world")
	}
	return nil
}

const maxTag = 100 // bytes

// solution returns what was chosen as the caller gets it.
func (s *solver) solution(r *Request, chosen []*candidate) *Solution {
	out := &Solution{Arch: r.Arch, World: r.World, Install: make([]Choice, len(chosen))}
	for i, c := range chosen {
		out.Install[i] = Choice{Package: c.Package, Repository: bits.TrailingZeros32(c.repositories), Tag: s.tagOf(c)}
	}
	return out
}

// tagOf returns the first tag that a chosen package was allowed to come by.
func (s *solver) tagOf(c *candidate) string {
	for i, tag := range s.tags {
		if c.allowedTags&(1<<i) != 0 && s.tagged[i]&c.repositories != 0 {
			return tag
		}
	}
	return ""
}
