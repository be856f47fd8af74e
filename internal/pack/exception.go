package pack

import (
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
)

// ExceptionsVar is the variable of a definition that says which files may fall
// short of hardening, and why.
const ExceptionsVar = "ASHLAR_ELF_EXCEPTIONS"

// CheckLoader is the check that programs and libraries are for the C library of
// the distribution that the package is for.
const CheckLoader elfcheck.Check = "loader"

// An Exception lets some files fail some checks.
type Exception struct {
	Checks  []elfcheck.Check
	Pattern string // of paths: path.Match, or everything below a folder if it ends in a slash
	Reason  string
}

// Bounds on exceptions.
const (
	maxExceptions = 1000
	minReason     = 8 // characters
)

// ParseExceptions reads the value of ExceptionsVar: a line for each exception,
// with the checks, separated by commas, the pattern of paths and the reason, as in
//
//	pie,textrel usr/lib/x/*.so  its assembler has no relocatable form
//
// Empty lines and lines that begin with # count for nothing. Errors are
// fault.Invalid and name the line of at with the number of the line in the text.
func ParseExceptions(at catalog.Pos, text string) ([]Exception, error) {
	known := append(elfcheck.Checks(), CheckLoader)
	var list []Exception
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 3 || len(strings.Join(words[2:], " ")) < minReason {
			return nil, errorAt(at, "%s, line %d: it gives no reason", ExceptionsVar, number).
				Fix("write: check path reason, such as: pie usr/bin/x its assembler has no relocatable form")
		}
		e := Exception{Pattern: strings.TrimPrefix(words[1], "/"), Reason: strings.Join(words[2:], " ")}
		for name := range strings.SplitSeq(words[0], ",") {
			if !slices.Contains(known, elfcheck.Check(name)) {
				return nil, errorAt(at, "%s, line %d: there is no check %q", ExceptionsVar, number, name).Fix("known are %s", checkNames(known))
			}
			e.Checks = append(e.Checks, elfcheck.Check(name))
		}
		if _, err := path.Match(e.Pattern, ""); err != nil {
			return nil, errorAt(at, "%s, line %d: %q is no pattern of paths", ExceptionsVar, number, words[1])
		}
		if list = append(list, e); len(list) > maxExceptions {
			return nil, errorAt(at, "%s has more than %d lines", ExceptionsVar, maxExceptions)
		}
	}
	return list, nil
}

// checkNames returns names of checks with commas between them.
func checkNames(checks []elfcheck.Check) string {
	names := make([]string, len(checks))
	for i, c := range checks {
		names[i] = string(c)
	}
	return strings.Join(names, ", ")
}

// Allows reports whether the exception is for a check of a file.
func (e *Exception) Allows(check elfcheck.Check, file string) bool {
	if !slices.Contains(e.Checks, check) {
		return false
	}
	if strings.HasSuffix(e.Pattern, "/") {
		return strings.HasPrefix(file, e.Pattern)
	}
	ok, err := path.Match(e.Pattern, file)
	return ok && err == nil
}
