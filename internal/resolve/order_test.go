package resolve

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/deb"
)

func TestOrder(t *testing.T) {
	for _, tt := range []struct {
		name, universe, below, want string
	}{
		{"all at once", "a 1; Depends: b\nb 1", "", "unpack a b"},
		{"pre-depends", "a 1; Pre-Depends: b\nb 1", "", "unpack b, configure b, unpack a"},
		{"configured with what it depends on", "a 1; Pre-Depends: b\nb 1; Depends: c | d\nc 1\ne 1", "", "unpack b c e, configure b c, unpack a"},
		{"chain", "a 1; Pre-Depends: b\nb 1; Pre-Depends: c\nc 1", "", "unpack c, configure c, unpack b, configure b, unpack a"},
		{"chain through depends", "a 1; Pre-Depends: b\nb 1; Depends: c\nc 1; Pre-Depends: d\nd 1", "", "unpack b d, configure d, unpack c, configure b c, unpack a"},
		{"below counts as configured", "a 1; Pre-Depends: b", "b 1", "unpack a"},
		{"virtual below", "a 1; Pre-Depends: v", "b 1; Provides: v", "unpack a"},
		{"virtual beside", "a 1; Pre-Depends: v\nb 1; Provides: v", "", "unpack b, configure b, unpack a"},
		{"circle of depends below a pre-depends", "a 1; Pre-Depends: b\nb 1; Depends: c\nc 1; Depends: b", "", "unpack b c, configure b c, unpack a"},
		{"circle with a pre-depends in it", "a 1; Pre-Depends: b\nb 1; Depends: a", "", "unpack a b"},
		{"two that pre-depend on the same", "a 1; Pre-Depends: c\nb 1; Pre-Depends: c\nc 1", "", "unpack c, configure c, unpack a b"},
		{"nothing", "", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pkgs := inOrder(universe(t, tt.universe), tt.universe)
			below := inOrder(universe(t, tt.below), tt.below)
			var got []string
			for _, r := range Order(pkgs, below, "amd64") {
				got = append(got, r.Do+" "+strings.Join(r.Packages, " "))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func inOrder(m *Memory, text string) []*deb.Package {
	var list []*deb.Package
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, " ")
		list = append(list, m.versions[name]...)
	}
	return list
}

// TestSolveRoot checks the layers, and when the shared base is given up.
func TestSolveRoot(t *testing.T) {
	const base = "base-passwd 1; Essential: yes\nlibc6 2\nlibc6 1\nbash 5; Essential: yes; Pre-Depends: libc6\n" +
		"build-essential 1; Depends: gcc, libc6\ngcc 12\ngcc 11\ndebhelper 13\nfakeroot 1\ndpkg-dev 1\nx 1; Depends: y, gcc\ny 1\nz 1; Conflicts: fakeroot\n"
	for _, tt := range []struct {
		name    string
		request []string
		want    string
		note    string
	}{
		{"shared base", []string{"x"}, "essential: base-passwd=1 bash=5 libc6=2, base: build-essential=1 debhelper=13 dpkg-dev=1 fakeroot=1 gcc=12, extras: x=1 y=1", ""},
		{"no extras", nil, "essential: base-passwd=1 bash=5 libc6=2, base: build-essential=1 debhelper=13 dpkg-dev=1 fakeroot=1 gcc=12", ""},
		{"pin on what the base has", []string{"x", "gcc=12"}, "essential: base-passwd=1 bash=5 libc6=2, base: build-essential=1 debhelper=13 dpkg-dev=1 fakeroot=1 gcc=12, extras: x=1 y=1", ""},
		{"pin against the base", []string{"x", "gcc=11"}, "essential: base-passwd=1 bash=5 libc6=2, extras: build-essential=1 debhelper=13 dpkg-dev=1 fakeroot=1 gcc=11 x=1 y=1",
			"the root does not share the base: gcc=11 asks for another version than the base has, 12"},
		{"exclusion of a base package", []string{"x", "!fakeroot"}, "essential: base-passwd=1 bash=5 libc6=2, extras: build-essential=1 debhelper=13 dpkg-dev=1 gcc=12 x=1 y=1",
			"the root does not share the base: !fakeroot excludes a package of the base"},
		{"conflict with the base", []string{"z"}, "packages cannot be installed together", ""},
		{"exclusion of Essential", []string{"!bash"}, "!bash excludes a package of the base, which is Essential", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := SolveRoot(universe(t, base), request(t, tt.request...))
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %q, want %q", err, tt.want)
				}
				return
			}
			var got []string
			for _, l := range set.Layers {
				got = append(got, l.Name+": "+strings.Join(lines(l.Packages), " "))
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(tt.note, strings.Join(set.Notes, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
