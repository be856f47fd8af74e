package abuild

import (
	"sort"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a recipe. The largest of Alpine's 12,712 has 33 KiB.
const (
	maxRecipe = 1 << 20 // bytes of the file
	maxValue  = 1 << 18 // bytes of one value
	maxDepth  = 64      // nesting of commands and words
	maxWork   = 1 << 22 // bytes read (those of a loop each time), expanded and compared, and 64 for a command
)

// A value is what a variable holds, or why that cannot be known.
type value struct {
	text    string
	line    int    // where it was set
	unknown string // why the text cannot be known, "" if it is
}

// A mode says what becomes of assignments.
type mode int

const (
	execute mode = iota // they are made
	perhaps             // they may be made: the variable is unknown from here on
	skip                // they are not made
)

// under returns the mode of a command that runs only on a condition.
func (m mode) under() mode { return max(m, perhaps) }

// An interp runs the part of the shell language that recipes set variables with.
type interp struct {
	src      string
	newlines []int // their offsets in src
	pos      int
	vars     map[string]value
	sets     map[string][]string // variables that a function of the recipe may set
	found    map[string]bool     // variables set by what is being watched, nil if nothing is
	blind    *value              // why nothing is known any more, nil if it is
	jump     status              // whether the present turn of a loop has been left
	out      bool                // the loop has been left, not only its turn
	here     []heredoc           // documents that begin on the next line
	depth    int
	work     int
}

// A heredoc is a document in a script that is still to be read.
type heredoc struct {
	end  string
	tabs bool // leading tabs do not count
}

// interpret reads a whole recipe.
func interpret(src []byte) (*interp, error) {
	in := &interp{src: string(src), vars: map[string]value{}, sets: map[string][]string{}, jump: failure}
	if len(src) > maxRecipe {
		return nil, fault.New(fault.Invalid, "the recipe has %d bytes, more than %d", len(src), maxRecipe).At(recipe, 0)
	}
	for i, c := range src {
		switch c {
		case 0:
			return nil, fault.New(fault.Invalid, "the recipe has a NUL, so it is no script").At(recipe, in.line())
		case '\n':
			in.newlines = append(in.newlines, i)
		}
	}
	if _, _, err := in.list(execute, ""); err != nil {
		return nil, err
	}
	return in, nil
}

// get returns a variable that must be known; one that is never set is empty.
func (in *interp) get(name string) (value, error) {
	x := in.vars[name]
	if in.blind != nil {
		x.unknown, x.line = in.blind.unknown, in.blind.line
	}
	if x.unknown != "" {
		return x, fault.New(fault.Invalid, "%s= cannot be known without running the recipe: %s", name, x.unknown).At(recipe, x.line).
			Fix("name its files and their addresses under files")
	}
	return x, nil
}

// bad returns an error at the present line.
func (in *interp) bad(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).At(recipe, in.line())
}

// line returns the number of the line that is being read.
func (in *interp) line() int { return 1 + sort.SearchInts(in.newlines, in.pos) }

// spend counts work and refuses too much of it.
func (in *interp) spend(n int) error {
	if in.work += n + 1; in.work > maxWork {
		return in.bad("the recipe is too much work to read")
	}
	return nil
}

// enter goes one level deeper; leave must follow.
func (in *interp) enter() error {
	if in.depth++; in.depth > maxDepth {
		return in.bad("the recipe nests more than %d deep", maxDepth)
	}
	return nil
}

func (in *interp) leave() { in.depth-- }

// assign sets a variable as the mode says.
func (in *interp) assign(m mode, name string, v value) {
	if in.found != nil {
		in.found[name] = true
	}
	switch m {
	case perhaps:
		in.vars[name] = value{line: v.line, unknown: name + "= depends on a condition"}
	case execute:
		in.vars[name] = v
	}
}

// forget makes variables unknown: what sets them is not interpreted.
func (in *interp) forget(m mode, names []string, why string) {
	for _, name := range names {
		if in.found != nil {
			in.found[name] = true
		}
		if m != skip {
			in.vars[name] = value{line: in.line(), unknown: why}
		}
	}
}

// lose makes everything unknown from here on.
func (in *interp) lose(m mode, why string) {
	if m != skip && in.blind == nil {
		in.blind = &value{line: in.line(), unknown: why}
	}
}

// watch runs read and returns the names of the variables that it set or would set.
func (in *interp) watch(read func() error) ([]string, error) {
	outer := in.found
	in.found = map[string]bool{}
	err := read()
	var names []string
	for name := range in.found {
		names = append(names, name)
		if outer != nil {
			outer[name] = true
		}
	}
	sort.Strings(names)
	in.found = outer
	return names, err
}

// isName reports whether s is the name of a variable.
func isName(s string) bool {
	return s != "" && !('0' <= s[0] && s[0] <= '9') && nameLen(s) == len(s)
}

// nameLen returns how many bytes of s may belong to the name of a variable.
func nameLen(s string) int {
	i := 0
	for i < len(s) && (s[i] == '_' || 'a' <= s[i]|0x20 && s[i]|0x20 <= 'z' || '0' <= s[i] && s[i] <= '9') {
		i++
	}
	return i
}

// fromAbuild reports whether an unset variable may come from abuild or its
// configuration rather than be empty.
func fromAbuild(name string) bool {
	switch name {
	case "startdir", "srcdir", "pkgdir", "pkgbasedir", "builddir", "subpkgdir", "subpkgname", "subpkgarch", "tmpdir", "sharedir", "sysconfdir", "program", "repo":
		return true
	}
	return strings.ToLower(name) != name
}
