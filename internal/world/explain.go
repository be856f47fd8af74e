package world

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on an explanation.
const (
	maxProblems = 5
	maxChain    = 6 // links of a chain of who wants what
	maxNamed    = 5 // packages in a list
)

// A want is a word with the way that leads to it.
type want struct {
	by     *want      // what led to the package whose word it is, nil for the world
	wanter *candidate // whose word it is, nil for the world
	word   word
}

// An explainer finds out why a choice is no solution.
type explainer struct {
	*solver
	wants    []*want
	reason   map[*candidate]*want // what first led to a package
	problems []string
	more     int
}

// explain returns the error that says why what was chosen is no solution.
func (s *solver) explain(chosen []*candidate) error {
	e := &explainer{solver: s, reason: map[*candidate]*want{}}
	for _, w := range s.world {
		e.wants = append(e.wants, &want{word: w})
	}
	e.follow()
	for _, c := range chosen { // by install_if
		if _, ok := e.reason[c]; !ok {
			e.lead(c, &want{wanter: c})
			e.follow()
		}
	}
	for _, w := range e.wants {
		e.unmet(w)
	}
	for _, c := range chosen {
		e.masked(c)
		e.clashes(c)
	}
	if len(e.problems) == 0 {
		e.problem("no choice of packages was found")
	}
	if e.more > 0 {
		e.problems = append(e.problems, fmt.Sprintf("and %d more", e.more))
	}
	return fault.New(fault.Conflict, "the packages cannot be installed together: %s", strings.Join(e.problems, "; "))
}

func (e *explainer) problem(format string, args ...any) {
	if len(e.problems) == maxProblems {
		e.more++
		return
	}
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// follow goes from the wants to what was chosen for them, and to what that wants.
func (e *explainer) follow() {
	for i := 0; i < len(e.wants); i++ {
		if c := e.wants[i].word.name.chosen.pkg; c != nil && !e.wants[i].word.Conflict {
			e.lead(c, e.wants[i])
		}
	}
}

// lead notes what led to a package, and its words.
func (e *explainer) lead(c *candidate, w *want) {
	if _, ok := e.reason[c]; ok {
		return
	}
	e.reason[c] = w
	for _, word := range c.depends {
		e.wants = append(e.wants, &want{by: w, wanter: c, word: word})
	}
}

// unmet says so if a word is not met.
func (e *explainer) unmet(w *want) {
	chosen := w.word.name.chosen
	switch {
	case w.word.metBy(w.wanter, chosen):
	case len(e.problems) == maxProblems:
		e.more++
	case chosen.pkg != nil:
		e.problem("%s, but %s is chosen%s", w, e.as(w.word.name), e.because(chosen.pkg, w))
	default:
		e.problem("%s, %s", w, e.nothing(w.word))
	}
}

// as returns the package chosen for a name, with what it provides the name as.
func (e *explainer) as(n *name) string {
	c := n.chosen.pkg
	switch {
	case c.name == n:
		return c.String()
	case n.chosen.version == "":
		return fmt.Sprintf("%s (which provides %s)", c, n.text)
	}
	return fmt.Sprintf("%s (which provides %s=%s)", c, n.text, n.chosen.version)
}

// because returns why a package was chosen, if that is not for the word itself.
func (e *explainer) because(c *candidate, not *want) string {
	for _, w := range e.wants {
		if w != not && !w.word.Conflict && w.word.name.chosen.pkg == c && w.word.metBy(w.wanter, w.word.name.chosen) {
			return " since " + w.String()
		}
	}
	return ""
}

// nothing says why nothing was chosen for a word.
func (e *explainer) nothing(w word) string {
	var bare, others, unusable []string
	for _, p := range w.name.providers {
		switch {
		case p.pkg.unusable != "":
			unusable = appendName(unusable, fmt.Sprintf("%s (%s)", p.pkg, p.pkg.unusable))
		case p.version == "" && p.pkg.ProviderPriority == 0:
			bare = appendName(bare, p.pkg.Name)
		default:
			others = appendName(others, p.pkg.String())
		}
	}
	switch {
	case len(w.name.providers) == 0:
		return "which no repository has"
	case len(bare) > 0:
		return "which must be chosen by hand: " + enumerate(bare) + " can stand for it"
	case len(others) > 0:
		return "of which the repositories have " + enumerate(others)
	}
	return "of which the repositories have none that can be installed: " + enumerate(unusable)
}

// masked says so if a package was chosen that cannot be installed.
func (e *explainer) masked(c *candidate) {
	switch {
	case c.unusable != "":
		e.problem("%s, but %s cannot be installed: %s", e.reason[c], c, c.unusable)
	case !c.tagOK:
		var tags []string
		for i, repositories := range e.tagged {
			if repositories&c.repositories != 0 {
				tags = append(tags, "@"+e.tags[i])
			}
		}
		e.problem("%s, but %s is only in a repository with the tag %s", e.reason[c], c, enumerate(tags))
	}
}

// clashes says so if another package was chosen that provides a name of this one.
func (e *explainer) clashes(c *candidate) {
	for i := -1; i < len(c.provides); i++ {
		n, version := c.name, c.Version
		if i >= 0 {
			n, version = c.provides[i].name, c.provides[i].Version
		}
		if other := n.chosen; other.pkg != nil && other.pkg != c && (version != "" || other.version != "") {
			e.problem("%s and %s both provide %s: %s; %s", c, other.pkg, n.text, e.reason[c], e.reason[other.pkg])
		} else if other.pkg == c && i >= 0 && n == c.name {
			e.problem("%s provides its own name", c)
		}
	}
}

// String returns the way from the world to the word: who wants what.
func (w *want) String() string {
	if w == nil {
		return "it was chosen"
	}
	var links []string
	for ; w != nil; w = w.by {
		switch {
		case w.wanter == nil:
			links = append(links, "the world wants "+w.word.String())
		case w.word.name == nil:
			links = append(links, fmt.Sprintf("%s comes along by its install_if", w.wanter))
		default:
			links = append(links, fmt.Sprintf("%s wants %s", w.wanter, w.word))
		}
	}
	slices.Reverse(links)
	if n := len(links) - maxChain; n > 0 {
		links = slices.Replace(links, maxChain/2, maxChain/2+n, fmt.Sprintf("… %d more …", n))
	}
	return strings.Join(links, ", ")
}

// appendName appends a name unless it is there or there are enough.
func appendName(names []string, s string) []string {
	if len(names) > maxNamed || len(names) > 0 && names[len(names)-1] == s {
		return names
	}
	return append(names, s)
}

// enumerate returns names as a list.
func enumerate(names []string) string {
	if len(names) > maxNamed {
		names = append(names[:maxNamed:maxNamed], "others")
	}
	return strings.Join(names, ", ")
}
