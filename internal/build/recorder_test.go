package build

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
)

func TestRejection(t *testing.T) {
	tests := []struct{ name, log, want string }{
		{"other failure", "make: *** [all] Error 1\n", ""},
		{
			"hunk",
			"ashlar: applying x\nchecking file lib/a.c\nchecking file lib/b.c\nHunk #2 FAILED at 123.\n1 out of 3 hunks FAILED\nashlar: patch /p/CVE.patch does not apply\n",
			"patch /p/CVE.patch does not apply: lib/b.c: hunk 2 at line 123 does not fit",
		},
		{
			"missing file",
			"can't find file to patch at input line 5\nashlar: patch /p/CVE.patch does not apply\n",
			"patch /p/CVE.patch does not apply: the file that it changes is not in the source",
		},
		{
			"git",
			"error: patch failed: src/x.c:42\nerror: src/x.c: patch does not apply\nashlar: patch two.patch does not apply\n",
			"patch two.patch does not apply: src/x.c: the hunk at line 42 does not fit",
		},
	}
	for _, tt := range tests {
		if got := rejection(tt.log); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestTestResult(t *testing.T) {
	plan := func(options, profiles string) *Plan {
		return &Plan{Builds: []BuildPlan{{Steps: []Step{{
			Uses: "dpkg/build@v1", Script: "OPTIONS='" + options + "'\nset -eu\n", Env: map[string]string{"DEB_BUILD_PROFILES": profiles},
		}}}}}
	}
	argument := func(args, profiles string) *Plan {
		const name = "package/deb/main/x/debian-12/1.yaml"
		text := fmt.Sprintf("contents:\n  builds:\n    - pipeline: [{uses: dpkg/build@v1, with: {args: %q}, environment: {DEB_BUILD_PROFILES: %q}}]\n", args, profiles)
		def, err := catalog.LoadTexts(map[string][]byte{name: []byte(text)}, name)
		if err != nil {
			t.Fatal(err)
		}
		e, err := def.Expand(bookworm)
		if err != nil {
			t.Fatal(err)
		}
		lock := &ashlar.Lock{Inputs: ashlar.Inputs{Target: bookworm, Builds: []ashlar.BuildInputs{{}}}}
		plan, err := NewPlan(e, lock, Policy{})
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	apk := func(uses ...string) *Plan {
		b := BuildPlan{Steps: []Step{{Uses: "abuild/setup@v1"}}}
		for _, u := range append(uses, "abuild/build@v1") {
			b.Steps = append(b.Steps, Step{Uses: u})
		}
		return &Plan{Builds: []BuildPlan{b}}
	}
	tests := []struct {
		name string
		plan *Plan
		log  string
		want ashlar.TestResult
	}{
		{"option", plan("nocheck", ""), "", ashlar.TestResult{Outcome: "skipped", Reason: "the definition sets nocheck"}},
		{"profile", plan("", "nodoc nocheck"), "", ashlar.TestResult{Outcome: "skipped", Reason: "the definition sets nocheck"}},
		{"argument", argument("-uc -Pnodoc,nocheck", ""), "", ashlar.TestResult{Outcome: "skipped", Reason: "the definition sets nocheck"}},
		{"argument that takes the variable's place", argument("-uc -Pnodoc", "nocheck"), "   dh_auto_build\n", ashlar.TestResult{Outcome: "none", Reason: "no test command was seen in the build log"}},
		{"none", plan("", ""), "   dh_auto_build\n", ashlar.TestResult{Outcome: "none", Reason: "no test command was seen in the build log"}},
		{
			"cached", plan("", ""), "=== deb: 0 place files\n=== deb: 1 dpkg/build@v1\n",
			ashlar.TestResult{Outcome: "none", Reason: "the engine had the result of an earlier run, whose log was not kept; build with --fresh to see the tests"},
		},
		{"debhelper's step alone", plan("", ""), "   dh_auto_test\n", ashlar.TestResult{Outcome: "none", Reason: "no test command was seen in the build log"}},
		{
			"a folder called tests", plan("", ""), "make[2]: Entering directory '/build/x/tests'\n\tmake -C tests\nmake all CFLAGS=test\n",
			ashlar.TestResult{Outcome: "none", Reason: "no test command was seen in the build log"},
		},
		{
			"perl's harness", plan("", ""), "\t/usr/bin/make -C build_shared test \nFiles=251, Tests=3200, 300 wallclock secs\n",
			ashlar.TestResult{Outcome: "passed", Reason: "dpkg-buildpackage ran the test suite and succeeded", Passed: 3200},
		},
		{
			"automake", plan("", ""), "   dh_auto_test\n# TOTAL: 9\n# PASS:  7\n# SKIP:  2\n# XFAIL: 0\n# FAIL:  0\n",
			ashlar.TestResult{Outcome: "passed", Reason: "dpkg-buildpackage ran the test suite and succeeded", Passed: 7, Skipped: 2},
		},
		{
			"no counts", plan("", ""), "\tmake -j2 check VERBOSE=1\nok\n",
			ashlar.TestResult{Outcome: "passed", Reason: "dpkg-buildpackage ran the test suite and succeeded"},
		},
		{"abuild", apk(), abuildChecks + "\nok\n", ashlar.TestResult{Outcome: "passed", Reason: "abuild ran the test suite and succeeded"}},
		{"abuild without check()", apk(), ">>> x: Building main/x\n", ashlar.TestResult{Outcome: "none", Reason: "no test command was seen in the build log"}},
		{"abuild/disable", apk("abuild/disable@v1"), "", ashlar.TestResult{Outcome: "skipped", Reason: "the definition turns check() off"}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, testResult(tt.plan, tt.log)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestTestStep: the step of a definition that is called test is its test suite.
func TestTestStep(t *testing.T) {
	plan := &Plan{Builds: []BuildPlan{{Name: "apk", Steps: []Step{{Name: "place files"}, {Name: "test", Uses: "runs"}}}}}
	const by = `the definition's step "test" ran and succeeded`
	for name, c := range map[string]struct {
		log  string
		want ashlar.TestResult
	}{
		"silent":  {"=== apk: 1 test (0.1s)\nfine\n", ashlar.TestResult{Outcome: "passed", Reason: by}},
		"counted": {"=== apk: 1 test (0.1s)\n# PASS:  7\n# SKIP:  2\n", ashlar.TestResult{Outcome: "passed", Reason: by, Passed: 7, Skipped: 2}},
	} {
		if diff := cmp.Diff(c.want, testResult(plan, c.log)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
