package work

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// An Ordered is a definition among others that are to be built with it.
type Ordered struct {
	Ref
	// After are the places in the order of those that make packages which this one
	// is built with: all come before it.
	After []int
}

// Order puts definitions into the order in which they must be built: one that
// packs what another's root wants comes first. The given order stays otherwise. A
// circle is fault.Invalid and is named. What cannot be read stays in its place:
// building it will say why.
func Order(refs []Ref, arch ashlar.Arch) ([]Ordered, error) {
	s := &sorter{refs: refs, makers: map[string]int{}, wants: make([][]string, len(refs)), needs: make([][]string, len(refs)), place: map[int]int{}}
	for i, ref := range refs {
		def, err := expand(ref, arch)
		if err != nil {
			continue
		}
		n := ownNames(def)
		for _, name := range n.makes {
			s.makers[string(def.Target.Distro)+"/"+name] = i
		}
		for _, name := range n.wants {
			s.wants[i] = append(s.wants[i], string(def.Target.Distro)+"/"+name)
		}
		for _, name := range n.needs {
			s.needs[i] = append(s.needs[i], string(def.Target.Distro)+"/"+name)
		}
	}
	for i := range refs {
		if err := s.visit(i, nil); err != nil {
			return nil, err
		}
	}
	return s.done, nil
}

// Each calls f with the place of every definition in an order, up to jobs at a time,
// once all that come before it have ended well; where that leaves a choice, in
// order. One that comes after a failure, be it of f or of this kind, is given to
// left instead, with the place of what failed. It returns when all have ended, and
// begins none once ctx is done.
func Each(ctx context.Context, order []Ordered, jobs int, f func(i int) error, left func(i, failed int)) {
	type end struct {
		i   int
		err error
	}
	ends := make(chan end)
	failed := map[int]bool{} // of what has ended
	waiting := make([]int, len(order))
	for i := range waiting {
		waiting[i] = i
	}
	running := 0
	for len(waiting) > 0 || running > 0 {
		if ctx.Err() != nil {
			waiting = nil
		}
		waiting = slices.DeleteFunc(waiting, func(i int) bool {
			for _, j := range order[i].After {
				switch bad, over := failed[j]; {
				case bad:
					failed[i] = true
					left(i, j)
					return true
				case !over:
					return false
				}
			}
			if running == max(1, jobs) || ctx.Err() != nil {
				return false
			}
			running++
			go func() { ends <- end{i, f(i)} }()
			return true
		})
		if running > 0 {
			e := <-ends
			running--
			failed[e.i] = e.err != nil
		}
	}
}

// names are those of packages that a definition has to do with.
type names struct {
	makes []string // what it packs
	wants []string // of its own catalog, what its roots hold
	needs []string // what its packages depend on
}

func ownNames(def *catalog.Expanded) names {
	var n names
	for _, b := range def.Builds {
		for _, entry := range b.Packages {
			if name, _, tagged := strings.Cut(entry, "@"); tagged && !strings.Contains(entry, "://") {
				n.wants = append(n.wants, bare(name))
			}
		}
		for _, step := range b.Pipeline {
			if with, ok := step.With.Value().(map[string]any); ok && catalog.Packs(step.Uses) {
				n.add(with)
			}
		}
	}
	return n
}

// bare returns the name in a word that may ask for a version.
func bare(word string) string {
	if i := strings.IndexAny(word, "<>=~"); i >= 0 {
		return word[:i]
	}
	return word
}

// add adds the names of a package and its subpackages.
func (n *names) add(with map[string]any) {
	if name, ok := with["name"].(string); ok {
		n.makes = append(n.makes, name)
	}
	own, _ := with["apk"].(map[string]any)
	n.makes = append(n.makes, words(with["provides"], own["provides"])...)
	n.needs = append(n.needs, words(with["depends"], own["depends"])...)
	subpackages, _ := with["subpackages"].([]any)
	for _, sub := range subpackages {
		if m, ok := sub.(map[string]any); ok {
			n.add(m)
		}
	}
}

// words returns the names in parameters that are lists of dependencies: texts of
// several words, or lists of such.
func words(parameters ...any) []string {
	var names []string
	for _, p := range parameters {
		switch p := p.(type) {
		case string:
			for _, word := range strings.FieldsFunc(p, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
				names = append(names, bare(word))
			}
		case []any:
			names = append(names, words(p...)...)
		}
	}
	return names
}

// A sorter is a depth-first search under way.
type sorter struct {
	refs   []Ref
	makers map[string]int // of a package, by distro and name
	wants  [][]string
	needs  [][]string  // better before than after, for the gate tries packages with theirs
	place  map[int]int // in done, for those that are there
	done   []Ordered
}

func (s *sorter) visit(i int, path []int) error {
	if _, ok := s.place[i]; ok {
		return nil
	}
	if at := slices.Index(path, i); at >= 0 {
		var names []string
		for _, j := range append(path[at:], i) {
			names = append(names, s.refs[j].Path)
		}
		return fault.New(fault.Invalid, "definitions are built with one another's packages: %s", strings.Join(names, " → ")).
			Fix("break the circle: build one of them without the other first, in a definition of its own")
	}
	after := map[int]bool{}
	for _, name := range s.wants[i] {
		maker, ok := s.makers[name]
		if !ok {
			continue
		}
		if err := s.visit(maker, append(slices.Clip(path), i)); err != nil {
			return err
		}
		after[s.place[maker]] = true
	}
	for _, name := range s.needs[i] {
		maker, ok := s.makers[name]
		if !ok || maker == i || slices.Contains(path, maker) || s.circular(maker, append(slices.Clip(path), i)) {
			continue
		}
		if err := s.visit(maker, append(slices.Clip(path), i)); err != nil {
			return err
		}
		after[s.place[maker]] = true
	}
	s.place[i] = len(s.done)
	s.done = append(s.done, Ordered{s.refs[i], slices.Sorted(maps.Keys(after))})
	return nil
}

// circular reports whether a definition wants, by others or itself, one of a path.
func (s *sorter) circular(i int, path []int) bool {
	seen := map[int]bool{}
	var leads func(i int) bool
	leads = func(i int) bool {
		if seen[i] {
			return false
		}
		seen[i] = true
		return slices.ContainsFunc(s.wants[i], func(name string) bool {
			maker, ok := s.makers[name]
			return ok && (slices.Contains(path, maker) || leads(maker))
		})
	}
	return leads(i)
}
