package build

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
)

// ranTests reports whether a log shows a test suite being run: a call of make,
// ctest, prove or Python's runners for it, automake's summary, or the word of the
// step that has abuild run them. That debhelper
// came to its step of testing shows nothing: it runs what the package has, which
// may be nothing at all.
func ranTests(log string) bool {
	for line := range strings.Lines(log) {
		words := strings.Fields(line)
		if len(words) > 0 && (testCall(words) || strings.HasPrefix(line, "# TOTAL:") || strings.HasPrefix(line, abuildChecks)) {
			return true
		}
	}
	return false
}

// testCall reports whether a command runs a test suite.
func testCall(words []string) bool {
	switch path.Base(words[0]) {
	case "make":
		return slices.ContainsFunc(targets(words[1:]), func(t string) bool { return testTarget.MatchString(t) })
	case "ctest", "prove":
		return true
	case "python3":
		m := slices.Index(words, "-m")
		return m > 0 && m+1 < len(words) && (words[m+1] == "pytest" || words[m+1] == "unittest")
	}
	return false
}

// testTarget matches the names that makefiles give to running their tests.
var testTarget = regexp.MustCompile(`^((run|make)?[-_]?(check|tests?)|[a-z0-9_-]+[-_](check|tests?))$`)

// targets returns the words of a call of make that are neither options nor
// variables.
func targets(words []string) []string {
	var list []string
	for i := 0; i < len(words); i++ {
		w := strings.Trim(words[i], `"'`)
		switch {
		case w == "-C" || w == "-f" || w == "-I" || w == "-j":
			i++
		case w == ">" || w == "|" || w == "||" || w == "&&" || w == ";":
			return list
		case w != "" && w[0] != '-' && !strings.Contains(w, "="):
			list = append(list, w)
		}
	}
	return list
}

// said matches a line of a log that is not the heading of a step.
var said = regexp.MustCompile(`(?m)^([^=\n]|=[^=]|==[^=])`)

// tallies are the counts that test harnesses print: automake's, TAP's, Tcl's and
// Python's.
var tallies = []struct {
	form                    *regexp.Regexp
	passed, failed, skipped int // number of the group, 0 for none
}{
	{regexp.MustCompile(`(?m)^# PASS:\s+(\d+)\n(?:^# SKIP:\s+(\d+)\n)?(?:^# XFAIL:\s+\d+\n)?(?:^# FAIL:\s+(\d+)\n)?`), 1, 3, 2},
	{regexp.MustCompile(`(?m)^TESTDONE: \d+ tests out of (\d+) reported OK`), 1, 0, 0},
	{regexp.MustCompile(`(?m)^Files=\d+, Tests=(\d+),`), 1, 0, 0},
	{regexp.MustCompile(`(?m)^Ran (\d+) tests? in`), 1, 0, 0},
	{regexp.MustCompile(`(?m)^(\d+) of \d+ tests passed`), 1, 0, 0},
	{regexp.MustCompile(`(?m)^(\d+)% tests passed, (\d+) tests failed out of`), 0, 2, 0},
}

// testResult says what became of the package's own test suite. A build whose
// tests fail does not come here, so tests that were run have passed, or their
// failure was made no error by the package's own rules; the counts tell.
func testResult(plan *Plan, log string) ashlar.TestResult {
	if why := switchedOff(plan); why != "" {
		return ashlar.TestResult{Outcome: ashlar.TestsSkipped, Reason: why}
	}
	if !said.MatchString(log) {
		return ashlar.TestResult{Outcome: ashlar.TestsNone, Reason: "the engine had the result of an earlier run, whose log was not kept; build with --fresh to see the tests"}
	}
	ran := testStep(plan)
	res := ashlar.TestResult{Outcome: ashlar.TestsPassed, Reason: runner(plan) + " ran the test suite and succeeded"}
	if ran {
		res.Reason = "the definition's step " + strconv.Quote(testStepName) + " ran and succeeded"
	}
	for _, t := range tallies {
		for _, m := range t.form.FindAllStringSubmatch(log, -1) {
			res.Passed += group(m, t.passed)
			res.Failed += group(m, t.failed)
			res.Skipped += group(m, t.skipped)
		}
	}
	if res.Passed+res.Failed == 0 && !ran && !ranTests(log) {
		return ashlar.TestResult{Outcome: ashlar.TestsNone, Reason: "no test command was seen in the build log"}
	}
	return res
}

// runner names the program that runs a package's own tests.
func runner(plan *Plan) string {
	for _, b := range plan.Builds {
		if slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Uses == "abuild/build@v1" }) {
			return "abuild"
		}
	}
	return "dpkg-buildpackage"
}

// testStepName is what a definition calls the script that runs the tests of a
// package that it builds without dpkg.
const testStepName = "test"

// testStep reports whether the plan has such a script.
func testStep(plan *Plan) bool {
	return slices.ContainsFunc(plan.Builds, func(b BuildPlan) bool {
		return slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Name == testStepName })
	})
}

// switchedOff returns how the definition turns tests off, or "".
func switchedOff(plan *Plan) string {
	for _, b := range plan.Builds {
		for _, s := range b.Steps {
			if s.Uses == "abuild/disable@v1" {
				return "the definition turns check() off"
			}
			words, profiles := strings.Fields(s.Env["DEB_BUILD_OPTIONS"]), s.Env["DEB_BUILD_PROFILES"]
			var args []string
			if s.Uses == "dpkg/build@v1" {
				first, rest, _ := strings.Cut(s.Script, "\n")
				words = append(words, strings.Fields(strings.Trim(strings.TrimPrefix(first, "OPTIONS="), "'"))...)
				args = argsOf(rest)
			}
			if slices.Contains(append(words, catalog.ActiveProfiles(args, profiles)...), "nocheck") {
				return "the definition sets nocheck"
			}
		}
	}
	return ""
}

// argsOf returns the arguments of dpkg-buildpackage in the script of dpkg/build.
func argsOf(script string) []string {
	_, text, _ := strings.Cut(script, "dpkg-buildpackage ")
	args := strings.Fields(text)
	for i, a := range args {
		args[i] = strings.Trim(a, "'")
	}
	return args
}

func group(m []string, i int) int {
	if i == 0 || m[i] == "" {
		return 0
	}
	n, err := strconv.Atoi(m[i])
	if err != nil {
		return 0
	}
	return n
}
