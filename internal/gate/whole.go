package gate

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// wholeSet checks that the build made every binary package that the source says
// it makes for this architecture, and each at one version of the source.
func wholeSet(c *Case) []ashlar.Check {
	check := ashlar.Check{Name: "whole source set", Subject: c.source(), Outcome: ashlar.CheckPassed}
	want, err := expected(c.Dsc, c.Target.Arch, c.Profiles)
	var left []string
	if c.ArchOnly {
		want, left = split(want)
	}
	if err != nil {
		check.Outcome, check.Detail = ashlar.CheckFailed, err.Error()
		return []ashlar.Check{check}
	}
	have := map[string]bool{}
	for _, p := range c.Packages {
		have[p.Control.Get("Package")] = true
	}
	for _, f := range c.Set {
		if path.Ext(f.Name) == ".udeb" {
			name, _, _ := strings.Cut(f.Name, "_")
			have[name] = true
		}
	}
	var missing []string
	for _, w := range want {
		if !have[w.name] {
			missing = append(missing, w.name)
		}
	}
	if len(missing) > 0 {
		check.Outcome = ashlar.CheckFailed
		check.Detail = "the source lists these packages but the build did not make them: " + strings.Join(missing, ", ")
		return []ashlar.Check{check}
	}
	check.Detail = fmt.Sprintf("all %d binary packages that the source lists are there", len(want))
	if len(left) > 0 {
		check.Detail += "; the definition builds for the architecture alone and leaves out " + strings.Join(left, ", ")
	}
	return []ashlar.Check{check}
}

// source names the source package of the case for people.
func (c *Case) source() string {
	p, err := deb.ParseParagraph(c.Dsc)
	if err != nil {
		return "source"
	}
	return p.Get("Source") + " " + p.Get("Version")
}

// A wanted package is one that the source says it makes.
type wanted struct {
	name string
	all  bool // it fits every architecture
}

// split separates the packages of the architecture from the names of the others.
func split(list []wanted) (arch []wanted, all []string) {
	for _, w := range list {
		if w.all {
			all = append(all, w.name)
		} else {
			arch = append(arch, w)
		}
	}
	return arch, all
}

// expected returns the binary packages that a .dsc lists in Package-List for an
// architecture and any of the lists of build profiles. A .dsc without the field
// expects nothing.
func expected(dsc []byte, arch ashlar.Arch, lists [][]string) ([]wanted, error) {
	if len(dsc) == 0 {
		return nil, nil
	}
	plain, _, err := pgp.Unwrap(dsc) // one that was pinned is as its maintainer signed it
	if err != nil {
		return nil, err
	}
	p, err := deb.ParseParagraph(plain)
	if err != nil {
		return nil, err
	}
	var list []wanted
	for line := range strings.Lines(p.Get("Package-List")) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		if slices.ContainsFunc(lists, func(profiles []string) bool { return listed(f[4:], arch, profiles) }) {
			list = append(list, wanted{f[0], slices.Contains(f[4:], "arch=all")})
		}
	}
	return list, nil
}

// listed reports whether a Package-List entry is built here: its arch= names the
// architecture, and its profile= (alternatives by comma, conjunctions by plus)
// holds.
func listed(attrs []string, arch ashlar.Arch, profiles []string) bool {
	for _, a := range attrs {
		key, value, _ := strings.Cut(a, "=")
		switch key {
		case "arch":
			if !archListed(strings.Split(value, ","), arch) {
				return false
			}
		case "profile":
			var formula [][]string
			for _, alternative := range strings.Split(value, ",") {
				formula = append(formula, strings.Split(alternative, "+"))
			}
			if !(deb.Relation{Profiles: formula}).Applies(arch, profiles) {
				return false
			}
		}
	}
	return true
}

func archListed(patterns []string, arch ashlar.Arch) bool {
	for _, p := range patterns {
		if p == "all" || deb.MatchArch(p, arch) {
			return true
		}
	}
	return false
}
