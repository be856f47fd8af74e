package ashlar

import (
	"path"
	"strings"
	"time"
)

// A Result is what one build produced, with what an auditor wants to know of how.
type Result struct {
	Key      Digest       `json:"key"`  // of the plan that was run
	Lock     Digest       `json:"lock"` // of the lock that the plan was made from
	Target   Target       `json:"target"`
	Files    []File       `json:"files"`              // sorted by name: .deb, .dsc and its files, .buildinfo, .changes
	Unsigned []File       `json:"unsigned,omitempty"` // the .apk of Files as they were before they were signed
	Log      File         `json:"log"`
	Steps    []StepResult `json:"steps"`
	Tests    TestResult   `json:"tests"`
	Engine   string       `json:"engine"`   // name and version of the executor
	Started  time.Time    `json:"started"`  // UTC
	Finished time.Time    `json:"finished"` // UTC
}

// A StepResult is what is known of one step that ran.
type StepResult struct {
	Build   string        `json:"build"`
	Name    string        `json:"name"`
	Uses    string        `json:"uses"`
	Digest  Digest        `json:"digest"` // of the step as planned: arguments, environment, inputs
	Network bool          `json:"network,omitempty"`
	Took    time.Duration `json:"took"` // in nanoseconds
}

// A TestResult is the outcome of the package's own test suite during the build.
type TestResult struct {
	Outcome string `json:"outcome"`          // "passed", "skipped" or "none"
	Reason  string `json:"reason,omitempty"` // why it was skipped, or how it is known
	Passed  int    `json:"passed,omitempty"` // counts, where the log tells them
	Failed  int    `json:"failed,omitempty"`
	Skipped int    `json:"skipped,omitempty"`
}

// The outcomes of a package's own test suite.
const (
	TestsPassed  = "passed"
	TestsSkipped = "skipped" // the definition turned them off
	TestsNone    = "none"    // the build ran no test that could be seen
)

// Packages returns the packages of the result that users install: .deb and .apk.
func (r *Result) Packages() []File {
	var packages []File
	for _, f := range r.Files {
		if ext := path.Ext(f.Name); ext == ".deb" || ext == ".apk" {
			packages = append(packages, f)
		}
	}
	return packages
}

// Debs returns the .deb files of the result, -dbgsym packages included.
func (r *Result) Debs() []File {
	var debs []File
	for _, f := range r.Files {
		if path.Ext(f.Name) == ".deb" {
			debs = append(debs, f)
		}
	}
	return debs
}

// DebFileName returns the canonical file name of a Debian binary package: the
// version loses its epoch.
func DebFileName(name, version string, arch Arch) string {
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	return name + "_" + version + "_" + string(arch) + ".deb"
}
