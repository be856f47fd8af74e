package deb

import (
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a relation field.
const (
	maxRelations   = 20_000
	maxAlternative = 1_000
	maxName        = 256
)

// A Relation names a package and what is asked of it.
type Relation struct {
	Name     string
	ArchQual string     // "any", "native", "amd64", … after the colon of the name; "" if none
	Op       string     // "<<", "<=", "=", ">=", ">>"; "" if any version will do
	Version  string     // "" if Op is
	Arches   []string   // architecture restriction list, as written: "amd64", "!i386", "linux-any"
	Profiles [][]string // build profile formula: one inner list per <…>, terms such as "!nocheck"
}

// A Dependency is a list of alternatives, any of which satisfies it. It has at
// least one.
type Dependency []Relation

// Satisfies reports whether a package of the given version fulfils the version
// condition of the relation; the name and the rest are not looked at.
func (r Relation) Satisfies(version string) bool {
	if r.Op == "" {
		return true
	}
	c := Compare(version, r.Version)
	switch r.Op {
	case "<<":
		return c < 0
	case "<=":
		return c <= 0
	case "=":
		return c == 0
	case ">=":
		return c >= 0
	}
	return c > 0
}

// String returns the relation in control syntax.
func (r Relation) String() string {
	var b strings.Builder
	b.WriteString(r.Name)
	if r.ArchQual != "" {
		b.WriteString(":" + r.ArchQual)
	}
	if r.Op != "" {
		b.WriteString(" (" + r.Op + " " + r.Version + ")")
	}
	if len(r.Arches) > 0 {
		b.WriteString(" [" + strings.Join(r.Arches, " ") + "]")
	}
	for _, group := range r.Profiles {
		b.WriteString(" <" + strings.Join(group, " ") + ">")
	}
	return b.String()
}

// String returns the alternatives in control syntax, "a | b (>= 1)".
func (d Dependency) String() string {
	parts := make([]string, len(d))
	for i, r := range d {
		parts[i] = r.String()
	}
	return strings.Join(parts, " | ")
}

// FormatDependencies returns the dependencies in control syntax, comma separated.
func FormatDependencies(deps []Dependency) string {
	parts := make([]string, len(deps))
	for i, d := range deps {
		parts[i] = d.String()
	}
	return strings.Join(parts, ", ")
}

// ParseDependencies parses the value of a relation field such as Depends,
// Provides or Build-Depends. Empty entries between commas are passed over. The
// old operators < and > become <= and >=, which is what they mean. An error is
// fault.Invalid and quotes the entry.
func ParseDependencies(s string) ([]Dependency, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	deps := make([]Dependency, 0, min(maxRelations, 1+strings.Count(s, ",")))
	for entry := range strings.SplitSeq(s, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if len(deps) == maxRelations {
			return nil, fault.New(fault.Invalid, "more than %d relations in a field", maxRelations)
		}
		d, err := parseDependency(entry)
		if err != nil {
			return nil, err
		}
		deps = append(deps, d)
	}
	return deps, nil
}

func parseDependency(entry string) (Dependency, error) {
	n := 1 + strings.Count(entry, "|")
	if n > maxAlternative {
		return nil, fault.New(fault.Invalid, "more than %d alternatives in a relation", maxAlternative)
	}
	d := make(Dependency, 0, n)
	for alt := range strings.SplitSeq(entry, "|") {
		r, why := parseRelation(strings.TrimSpace(alt))
		if why != "" {
			return nil, fault.New(fault.Invalid, "relation %q %s", clip(entry), why)
		}
		d = append(d, r)
	}
	return d, nil
}

// parseRelation parses one alternative; why says what is wrong with it.
func parseRelation(s string) (r Relation, why string) {
	end := strings.IndexAny(s, " \t\n\r([<")
	if end < 0 {
		end = len(s)
	}
	r.Name, r.ArchQual, _ = strings.Cut(s[:end], ":")
	switch {
	case r.Name == "":
		return r, "has an empty alternative"
	case !isPackageName(r.Name):
		return r, "has a malformed package name"
	case strings.Contains(s[:end], ":") && (r.ArchQual == "" || !only(r.ArchQual, "-")):
		return r, "has a malformed architecture qualifier"
	}
	s = strings.TrimSpace(s[end:])
	if strings.HasPrefix(s, "(") {
		inside, rest, ok := strings.Cut(s[1:], ")")
		if !ok {
			return r, "lacks a closing parenthesis"
		}
		if why := r.parseCondition(strings.TrimSpace(inside)); why != "" {
			return r, why
		}
		s = strings.TrimSpace(rest)
	}
	if s == "" {
		return r, ""
	}
	return r, r.parseRestrictions(s)
}

// parseCondition parses what stands in the parentheses.
func (r *Relation) parseCondition(s string) (why string) {
	n := 0
	for n < len(s) && n < 2 && strings.IndexByte("<=>", s[n]) >= 0 {
		n++
	}
	switch s[:n] {
	case "<<", "<=", "=", ">=", ">>":
		r.Op = s[:n]
	case "<", ">":
		r.Op = s[:n] + "="
	case "":
		r.Op = "="
	default:
		return "has an unknown operator"
	}
	r.Version = strings.TrimSpace(s[n:])
	if r.Version == "" || len(r.Version) > maxVersion || !only(r.Version, "-+.~:") {
		return "has a malformed version"
	}
	return ""
}

// parseRestrictions parses the [architectures] and <profiles> of a relation.
func (r *Relation) parseRestrictions(s string) (why string) {
	for s != "" {
		open, shut := s[0], "]"
		switch open {
		case '[':
			if len(r.Arches) > 0 || len(r.Profiles) > 0 {
				return "has a misplaced architecture list"
			}
		case '<':
			shut = ">"
		default:
			return "has something unexpected after it"
		}
		inside, rest, ok := strings.Cut(s[1:], shut)
		words := strings.Fields(inside)
		if !ok || len(words) == 0 {
			return "has an unfinished or empty restriction"
		}
		for _, w := range words {
			if w = strings.TrimPrefix(w, "!"); w == "" || !only(w, "-.+") {
				return "has a malformed restriction"
			}
		}
		if open == '[' {
			r.Arches = words
		} else {
			r.Profiles = append(r.Profiles, words)
		}
		s = strings.TrimSpace(rest)
	}
	return ""
}

// isPackageName reports whether s can be the name of a package. It is somewhat
// more lenient than policy, as real archives are.
func isPackageName(s string) bool {
	return s != "" && len(s) <= maxName && only(s, "+-._") && (isDigit(s[0]) || isLetter(s[0]))
}

// Reduce returns what is left of build dependencies for an architecture and a
// set of active build profiles: alternatives whose restrictions do not hold are
// dropped, then the restrictions themselves, then dependencies with no
// alternative left. The input is not changed.
func Reduce(deps []Dependency, arch ashlar.Arch, profiles []string) []Dependency {
	var kept []Dependency
	for _, d := range deps {
		var alts Dependency
		for _, r := range d {
			if r.Applies(arch, profiles) {
				r.Arches, r.Profiles = nil, nil
				alts = append(alts, r)
			}
		}
		if len(alts) > 0 {
			kept = append(kept, alts)
		}
	}
	return kept
}

// Applies reports whether the architecture list and the profile formula of the
// relation hold.
func (r Relation) Applies(arch ashlar.Arch, profiles []string) bool {
	return archListed(r.Arches, arch) && profilesHold(r.Profiles, profiles)
}

// profilesHold evaluates a formula: at least one group all of whose terms hold.
func profilesHold(formula [][]string, active []string) bool {
	if len(formula) == 0 {
		return true
	}
	return slices.ContainsFunc(formula, func(group []string) bool {
		return !slices.ContainsFunc(group, func(term string) bool {
			name, negated := strings.CutPrefix(term, "!")
			return slices.Contains(active, name) == negated
		})
	})
}
