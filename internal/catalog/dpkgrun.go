package catalog

import (
	"slices"
	"strings"
)

// profilesVariable names the build profiles to dpkg's tools.
const profilesVariable = "DEB_BUILD_PROFILES"

// A DpkgRun is one run of dpkg-buildpackage, as a dpkg/build step asks for it.
type DpkgRun struct {
	Profiles      []string // active build profiles, sorted, each once
	ChecksDepends bool     // it stops if a build dependency is not there
}

// DpkgRuns returns the runs of a build in their order.
func (b *Build) DpkgRuns() []DpkgRun {
	var runs []DpkgRun
	for i := range b.Pipeline {
		s := &b.Pipeline[i]
		if !strings.HasPrefix(s.Uses, "dpkg/build@") {
			continue
		}
		variable, ok := s.Environment[profilesVariable] // takes the place of the build's
		if !ok {
			variable = b.Environment[profilesVariable]
		}
		args := strings.Fields(s.With.text("args"))
		runs = append(runs, DpkgRun{Profiles: ActiveProfiles(args, variable), ChecksDepends: checksDepends(args)})
	}
	return runs
}

// ProfileLists returns the lists of build profiles that a build compiles under:
// one for every run of dpkg-buildpackage, equal ones once. A build without such a
// run has that of its environment.
func (b *Build) ProfileLists() [][]string {
	var lists [][]string
	for _, run := range b.DpkgRuns() {
		if !slices.ContainsFunc(lists, func(l []string) bool { return slices.Equal(l, run.Profiles) }) {
			lists = append(lists, run.Profiles)
		}
	}
	if lists == nil {
		lists = [][]string{ActiveProfiles(nil, b.Environment[profilesVariable])}
	}
	return lists
}

// ActiveProfiles returns the build profiles that dpkg-buildpackage takes from its
// arguments and from DEB_BUILD_PROFILES, sorted, each once: of several -P options
// the last counts, and if it names any, the variable does not.
func ActiveProfiles(args []string, variable string) []string {
	var named []string
	for _, arg := range args {
		list, ok := strings.CutPrefix(arg, "-P")
		if !ok {
			list, ok = strings.CutPrefix(arg, "--build-profiles=")
		}
		if ok {
			named = strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
		}
	}
	if len(named) == 0 {
		named = strings.Fields(variable)
	}
	slices.Sort(named)
	return slices.Compact(named)
}

// checksDepends reports whether dpkg-buildpackage looks for the build
// dependencies: of contradicting options the last counts.
func checksDepends(args []string) bool {
	checks := true
	for _, arg := range args {
		switch arg {
		case "-d", "--no-check-builddeps":
			checks = false
		case "-D", "--check-builddeps":
			checks = true
		}
	}
	return checks
}
