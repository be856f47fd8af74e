package apk

import (
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a list of dependencies.
const (
	maxWords = 50_000
	maxWord  = 255 // bytes; apk formats one in a buffer of 256
)

// A Match says which outcomes of comparing a version with the one that is asked
// for are wanted: any of the bits that are set. The numbers are those of the v3
// format. None set means that any version will do.
type Match uint8

// The bits of a Match. Less and Greater together, without Equal, ask for the
// package of a certain identity in place of a version ("><Q1…").
const (
	Equal   Match = 1
	Less    Match = 2
	Greater Match = 4
	Fuzzy   Match = 8 // a version that begins with the parts of the wanted one is equal to it

	Identified = Less | Greater
)

// operators are the matches as apk writes them, "" where it cannot.
var operators = [16]string{
	Equal:                   "=",
	Less:                    "<",
	Less | Equal:            "<=",
	Less | Equal | Fuzzy:    "<~",
	Fuzzy:                   "~",
	Equal | Fuzzy:           "~",
	Greater:                 ">",
	Greater | Equal:         ">=",
	Greater | Equal | Fuzzy: ">~",
	Identified:              "><",
}

// String returns the operator as apk writes it, "" if any version will do, and
// "?" if there is no operator for it.
func (m Match) String() string {
	if m != 0 && (int(m) >= len(operators) || operators[m] == "") {
		return "?"
	}
	return operators[m]
}

// A Dependency is one word of a list of dependencies, provides and so on:
// "busybox", "musl>=1.2", "!uclibc", "so:libc.musl-x86_64.so.1", "bash@edge".
// Its values can be compared with ==.
type Dependency struct {
	Name     string
	Match    Match
	Version  string // "" if Match is 0
	Conflict bool   // "!": what matches must not be there
	Tag      string // repository that it is pinned to; in a list of wanted packages only
}

// String returns the word as apk writes it.
func (d Dependency) String() string { return string(d.appendTo(nil)) }

func (d Dependency) appendTo(b []byte) []byte {
	if d.Conflict {
		b = append(b, '!')
	}
	b = append(b, d.Name...)
	if d.Tag != "" {
		b = append(append(b, '@'), d.Tag...)
	}
	return append(append(b, d.Match.String()...), d.Version...)
}

// FormatDependencies returns the words, separated by single spaces.
func FormatDependencies(deps []Dependency) string { return string(appendDeps(nil, deps)) }

func appendDeps(b []byte, deps []Dependency) []byte {
	for i, d := range deps {
		if i > 0 {
			b = append(b, ' ')
		}
		b = d.appendTo(b)
	}
	return b
}

// ParseDependency parses one word, [!]name[@tag][operator version]. Like apk it
// takes any mixture of <, =, > and ~ for an operator, and asks nothing of the
// characters of name and version; Check does. Errors are fault.Invalid and quote
// the word.
func ParseDependency(word string) (Dependency, error) {
	d, why := parseDependency(word)
	if why != "" {
		return Dependency{}, invalid("dependency %q %s", clip(word), why)
	}
	return d, nil
}

// parseDependency parses a word; why says what is wrong with it.
func parseDependency(word string) (d Dependency, why string) {
	rest := word
	if strings.HasPrefix(rest, "!") {
		d.Conflict, rest = true, rest[1:]
	}
	d.Name = rest
	if at := strings.IndexAny(rest, "<=>~"); at >= 0 {
		d.Name, rest = rest[:at], rest[at:]
		d.Version = strings.TrimLeft(rest, "<=>~")
		if d.Version == "" {
			return d, "has an operator but no version"
		}
		for _, c := range []byte(rest[:len(rest)-len(d.Version)]) {
			d.Match |= operator(c)
		}
		if d.Match.String() == "?" {
			return d, "has an operator that can never fail"
		}
	}
	if at := strings.IndexByte(d.Name, '@'); at >= 0 {
		d.Name, d.Tag = d.Name[:at], d.Name[at+1:]
		if d.Tag == "" {
			return d, "has an empty tag"
		}
	}
	switch {
	case d.Name == "":
		return d, "has no name"
	case len(word) > maxWord:
		return d, "is too long"
	case strings.ContainsAny(word, " \n"):
		return d, "has a blank in it"
	}
	return d, ""
}

// operator returns what one character of an operator adds to a Match.
func operator(c byte) Match {
	switch c {
	case '<':
		return Less
	case '>':
		return Greater
	case '~':
		return Equal | Fuzzy
	}
	return Equal
}

// ParseDependencies parses words that spaces or newlines separate. Errors are
// fault.Invalid.
func ParseDependencies(s string) ([]Dependency, error) {
	n := countWords(s)
	switch {
	case n == 0:
		return nil, nil
	case n > maxWords:
		return nil, invalid("a list of more than %d dependencies", maxWords)
	}
	deps := make([]Dependency, 0, n)
	for s != "" {
		end := strings.IndexAny(s, " \n")
		if end < 0 {
			end = len(s)
		}
		if end > 0 {
			d, err := ParseDependency(s[:end])
			if err != nil {
				return nil, err
			}
			deps = append(deps, d)
		}
		s = s[min(end+1, len(s)):]
	}
	return deps, nil
}

// countWords counts what spaces and newlines separate.
func countWords(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] != ' ' && s[i] != '\n' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\n') {
			n++
		}
	}
	return n
}

// Allows reports whether a package or a provided name of the given version does
// what the dependency asks: that it is of a wanted version or, with Conflict,
// that it is not. A provided name without a version, "", is older than any version,
// as in apk 3; in apk 2 it meets no word with a version. The name is not looked at,
// and a wanted identity is never met here.
func (d Dependency) Allows(version string) bool {
	var ok bool
	switch {
	case d.Match == 0:
		ok = true
	case d.Match == Identified:
		ok = false
	default:
		ok = d.Match.holds(version, d.Version)
	}
	return ok != d.Conflict
}

// Check returns a fault.Invalid error if apk refuses to index a package that
// has the word among its dependencies, provides or replaces: because of its
// version, the characters of its name, its length, or because it is pinned to a
// repository.
func (d Dependency) Check() error {
	if why := d.wrong(); why != "" {
		return invalid("dependency %q %s", clip(d.String()), why)
	}
	switch d.Match {
	case 0:
		return nil
	case Identified:
		if _, err := ParseIdentity(d.Version); err != nil {
			return fault.Within(err, "dependency %q", clip(d.String()))
		}
		return nil
	}
	if err := ValidateVersion(d.Version); err != nil {
		return fault.Within(err, "dependency %q", clip(d.String())).
			Fix("give it a version that apk understands, or none")
	}
	return nil
}

// wrong says what is wrong with the word, its version aside.
func (d Dependency) wrong() string {
	switch {
	case d.Tag != "":
		return "is pinned to a repository, which a package must not be"
	case d.Name == "":
		return "has no name"
	case !only(d.Name, nameChars+",:/[]"):
		return "has a character in its name that apk does not take"
	case d.Match.String() == "?":
		return "has an operator that does not exist"
	case (d.Match == 0) != (d.Version == ""):
		return "has a version without an operator, or an operator without a version"
	case d.size() > maxWord:
		return "is too long"
	}
	return ""
}

// size returns the length of the word in bytes.
func (d Dependency) size() int {
	n := len(d.Name) + len(d.Match.String()) + len(d.Version)
	if d.Conflict {
		n++
	}
	if d.Tag != "" {
		n += 1 + len(d.Tag)
	}
	return n
}
