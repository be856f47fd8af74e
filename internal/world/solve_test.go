package world

import (
	"crypto/sha1"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// index returns packages without files, as an index has them.
func index(packages ...*pkg) []Package {
	var out []Package
	for _, p := range packages {
		info := p.Info
		info.InstalledSize = 1
		id := sha1.Sum(fmt.Append(nil, info))
		out = append(out, Package{Info: &info, Hash: id[:], Size: 1, File: p.Name + ".apk"})
	}
	return out
}

// weighty returns a package with a priority among providers.
func weighty(p *pkg, priority int) *pkg {
	p.ProviderPriority = priority
	return p
}

func TestSolve(t *testing.T) {
	plain := func(packages ...*pkg) []Repository { return []Repository{{Packages: index(packages...)}} }
	for _, c := range []struct {
		name         string
		repositories []Repository
		world        string
		want         string
	}{
		{"dependencies first", plain(mk("a", "depends b c"), mk("b", "depends c"), mk("c")), "a", "c-1.0-r0 b-1.0-r0 a-1.0-r0"},
		{"a circle", plain(mk("a", "depends b"), mk("b", "depends a")), "b a", "b-1.0-r0 a-1.0-r0"},
		{"the newest", plain(mk("a=1"), mk("a=1.10"), mk("a=1.9")), "a", "a-1.10"},
		{"not the newest", plain(mk("a=1"), mk("a=1.10"), mk("a=1.9"), mk("b", "depends a<1.10")), "a b", "a-1.9 b-1.0-r0"},
		{"a library", plain(mk("a", "depends so:x.so.1"), mk("x", "provides so:x.so.1=1.2")), "a", "x-1.0-r0 a-1.0-r0"},
		{"by priority", plain(mk("postfix", "provides mta"), weighty(mk("exim", "provides mta"), 2), weighty(mk("qmail", "provides mta"), 1)), "mta", "exim-1.0-r0"},
		{"by hand", plain(mk("postfix", "provides mta"), weighty(mk("exim", "provides mta"), 2)), "mta postfix", "postfix-1.0-r0"},
		{"install_if", plain(mk("a"), mk("docs"), mk("a-doc", "install_if a docs"), mk("a-dev", "install_if a devs")), "a docs", "a-1.0-r0 docs-1.0-r0 a-doc-1.0-r0"},
		{"install_if not", plain(mk("a"), mk("x", "install_if a !b"), mk("b")), "a", "a-1.0-r0 x-1.0-r0"},
		{"avoided", plain(mk("a", "depends z"), mk("y", "provides z=2"), mk("w", "provides z=1")), "a !y", "w-1.0-r0 a-1.0-r0"},
		{"first repository", []Repository{{Packages: index(mk("a", "origin one"))}, {Packages: index(mk("a", "origin two"))}}, "a", "a-1.0-r0/0"},
		{"newer in the second", []Repository{{Packages: index(mk("a=1"))}, {Packages: index(mk("a=2"))}}, "a", "a-2/1"},
		{"tagged", []Repository{{Packages: index(mk("a=1"), mk("b=1"))}, {Tag: "edge", Packages: index(mk("a=2", "depends b c"), mk("b=2"), mk("c"))}}, "a@edge b", "b-1 c-1.0-r0@edge/1 a-2@edge/1"},
		{"nothing", nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Solve(Request{Arch: "x86_64", Repositories: c.repositories, World: mustDeps(t, c.world)})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, choice := range s.Install {
				line := choice.String()
				if choice.Tag != "" {
					line += "@" + choice.Tag
				}
				if len(c.repositories) > 1 && (choice.Repository > 0 || choice.Name == "a") {
					line += fmt.Sprintf("/%d", choice.Repository)
				}
				got = append(got, line)
			}
			if d := cmp.Diff(c.want, strings.Join(got, " ")); d != "" {
				t.Error(d)
			}
		})
	}
}

// What is wrong is said with the way that leads there.
func TestSolveExplains(t *testing.T) {
	foreign := mk("foreign")
	foreign.Arch = "riscv64"
	layered := mk("layered")
	layered.Layer = 1
	repositories := []Repository{{Packages: index(
		mk("app", "depends lib>=2"), mk("lib=1.4-r0"), mk("lib=1.3-r0"), mk("deep", "depends app2"), mk("app2", "depends so:none.so.1"),
		mk("mail", "depends mta"), mk("postfix", "provides mta"), mk("exim", "provides mta"), foreign, layered,
		mk("server-a", "provides service=1"), mk("server-b", "provides service=2"), mk("enemy", "depends !lib"), mk("bad", "depends lib=what"),
	)}, {Tag: "edge", Packages: index(mk("new"))}}
	for _, c := range []struct {
		world string
		kind  fault.Kind
		want  string
	}{
		{"none", fault.Conflict, "the world wants none, which no repository has"},
		{"app", fault.Conflict, "the world wants app, app-1.0-r0 wants lib>=2, but lib-1.4-r0 is chosen"},
		{"deep", fault.Conflict, "the world wants deep, deep-1.0-r0 wants app2, app2-1.0-r0 wants so:none.so.1, which no repository has"},
		{"mail", fault.Conflict, "mail-1.0-r0 wants mta, which must be chosen by hand: postfix, exim can stand for it"},
		{"foreign", fault.Conflict, "foreign-1.0-r0 cannot be installed: it is for riscv64"},
		{"layered", fault.Conflict, "layered-1.0-r0 cannot be installed: it is for another layer"},
		{"bad", fault.Conflict, "bad-1.0-r0 cannot be installed: it depends on lib=what, which is no version"},
		{"server-a server-b", fault.Conflict, "both provide service: the world wants server-b; the world wants server-a"},
		{"enemy lib", fault.Conflict, "enemy-1.0-r0 wants !lib, but lib-1.4-r0 is chosen since the world wants lib"},
		{"new", fault.Conflict, "new-1.0-r0 is only in a repository with the tag @edge"},
		{"new@none", fault.Invalid, "no repository has the tag @none"},
		{"app=what", fault.Invalid, "does not begin with a number"},
	} {
		_, err := Solve(Request{Arch: "x86_64", Repositories: repositories, World: mustDeps(t, c.world)})
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error of kind %q with %q", c.world, err, c.kind, c.want)
		}
	}
}

// A chain that is too long, or work that would take too long, is refused.
func TestSolveBounds(t *testing.T) {
	var packages []*pkg
	for n := range maxDepth + 10 {
		packages = append(packages, mk(fmt.Sprintf("p%d", n), fmt.Sprintf("depends p%d", n+1)))
	}
	_, err := Solve(Request{Arch: "x86_64", Repositories: []Repository{{Packages: index(packages...)}}, World: mustDeps(t, "p0")})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "in a row") {
		t.Errorf("a long chain: %v", err)
	}
	r := Request{Arch: "x86_64", Repositories: make([]Repository, maxRepositories+1)}
	if _, err := Solve(r); !fault.Is(err, fault.Invalid) {
		t.Errorf("many repositories: %v", err)
	}
	r = Request{Arch: "x86_64", Repositories: []Repository{{Packages: []Package{{Info: &apk.Info{Name: "a", Version: "1"}}}}}}
	if _, err := Solve(r); !fault.Is(err, fault.Invalid) {
		t.Errorf("a package without hash: %v", err)
	}
	if _, err := Solve(Request{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no architecture: %v", err)
	}
}

// verify wants a solution to be one: whatever is wanted is met, nothing twice.
func verify(t testing.TB, r *Request, s *Solution) {
	t.Helper()
	provided := map[string][]provider{}
	for _, c := range s.Install {
		for _, p := range provided[c.Name] {
			if p.pkg.Name == c.Name {
				t.Errorf("two packages %s", c.Name)
			}
		}
		pkg := &candidate{Package: c.Package}
		provided[c.Name] = append(provided[c.Name], provider{pkg, c.Version})
		for _, d := range c.Provides {
			provided[d.Name] = append(provided[d.Name], provider{pkg, d.Version})
		}
	}
	check := func(who string, wanter *Package, deps []apk.Dependency) {
		for _, d := range deps {
			met := d.Conflict
			for _, p := range provided[d.Name] {
				ok := word{Dependency: &d}.metBy(nil, p)
				if d.Conflict {
					met = met && (ok || p.pkg.Package == wanter)
				} else {
					met = met || ok
				}
			}
			if !met {
				t.Errorf("%s wants %s, which is not met", who, d)
			}
		}
	}
	check("the world", nil, r.World)
	for _, c := range s.Install {
		check(c.String(), c.Package, c.Depends)
	}
}

// The solver never panics, ends, gives the same for the same, and what it gives is
// a solution.
func FuzzSolve(f *testing.F) {
	f.Add("C:Q1z2MOFk30NtaenfZsPRHk8X/tm4Y=\nP:a\nV:1\nA:x\nI:1\nD:b so:c !d\n\nC:Q19VPxrQu5REvqFleiF9gSMskw720=\nP:b\nV:2\nI:1\np:so:c=1\ni:a\nk:3\n", "a b<3 !e")
	f.Add("C:Q1z2MOFk30NtaenfZsPRHk8X/tm4Y=\nP:a\nV:1\nI:0\np:a b=1 b\nD:a b !a\ni:!a b\n\n", "b a@edge")
	f.Add("C:Q1z2MOFk30NtaenfZsPRHk8X/tm4Y=\nP:a\nV:1\nI:1\nD:a><Q1z2MOFk30NtaenfZsPRHk8X/tm4Y=\n\n", "a><Q1z2MOFk30NtaenfZsPRHk8X/tm4Y=")
	f.Fuzz(func(t *testing.T, text, world string) {
		entries, err := apk.ParseIndex([]byte(text))
		if err != nil {
			return
		}
		words, err := apk.ParseDependencies(world)
		if err != nil {
			return
		}
		packages := FromIndex(&apk.Index{Entries: entries})
		half := len(packages) / 2
		r := Request{Arch: "x", World: words, Repositories: []Repository{{Packages: packages[:half]}, {Tag: "edge", Packages: packages[half:]}, {Packages: packages}}}
		s, err := Solve(r)
		again, err2 := Solve(r)
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("%v, then %v", err, err2)
		}
		if err != nil {
			return
		}
		if len(s.Install) != len(again.Install) {
			t.Fatal("solved in two ways")
		}
		for i := range s.Install {
			if s.Install[i].Package.String() != again.Install[i].Package.String() {
				t.Fatal("solved in two ways")
			}
		}
		verify(t, &r, s)
	})
}
