package resolve

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// universe makes a memory universe of lines such as
// "a 1; Depends: b (>= 2) | c; Provides: x (= 3)".
func universe(t testing.TB, text string) *Memory {
	t.Helper()
	var pkgs []*deb.Package
	for line := range strings.Lines(text) {
		fields := strings.Split(strings.TrimSpace(line), ";")
		if fields[0] == "" {
			continue
		}
		name, version, _ := strings.Cut(fields[0], " ")
		stanza := "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\n"
		for _, f := range fields[1:] {
			stanza += strings.TrimSpace(f) + "\n"
		}
		p, err := deb.ParsePackageText([]byte(stanza))
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		pkgs = append(pkgs, p)
	}
	return NewMemory(pkgs...)
}

// request reads entries such as "a", "!b", "a=1", and in parentheses a want of
// dependencies: "(a | b)"; with a minus before it a conflict.
func request(t testing.TB, entries ...string) Request {
	t.Helper()
	req := Request{Arch: "amd64"}
	for _, e := range entries {
		inner, isWant := strings.CutPrefix(e, "(")
		inner, isConflict := strings.CutPrefix(inner, "-(")
		if !isWant && !isConflict {
			s, err := ParseSpec(e)
			if err != nil {
				t.Fatal(err)
			}
			req.Packages = append(req.Packages, s)
			continue
		}
		deps, err := deb.ParseDependencies(strings.TrimSuffix(inner, ")"))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range deb.Reduce(deps, "amd64", nil) {
			if isConflict {
				req.Conflicts = append(req.Conflicts, Want{Dependency: d, By: "Build-Conflicts of src"})
			} else {
				req.Wants = append(req.Wants, Want{Dependency: d, By: "Build-Depends of src"})
			}
		}
	}
	return req
}

var solveTests = []struct {
	name     string
	universe string
	request  []string
	want     string // "a=1 b=2" in the order of choice, or what the error says
}{
	{"highest version", "a 1\na 10\na 9", []string{"a"}, "a=10"},
	{"dependencies in order", "a 1; Depends: c, b\nb 1\nc 1", []string{"a"}, "a=1 c=1 b=1"},
	{"pre-depends first", "a 1; Depends: c; Pre-Depends: b\nb 1\nc 1", []string{"a"}, "a=1 b=1 c=1"},
	{"named packages before dependencies", "a 1; Depends: x | y\ny 1\nx 1", []string{"a", "y"}, "a=1 y=1"},
	{"no recommends", "a 1; Recommends: b\nb 1", []string{"a"}, "a=1"},
	{"first alternative", "a 1; Depends: b | c\nb 1\nc 1", []string{"a"}, "a=1 b=1"},
	{"second alternative when the first is missing", "a 1; Depends: b | c\nc 1", []string{"a"}, "a=1 c=1"},
	{"second alternative when the first is too old", "a 1; Depends: b (>= 2) | c\nb 1\nc 1", []string{"a"}, "a=1 c=1"},
	{"an alternative that is there already", "a 1; Depends: z, b | c\nb 1\nc 1\nz 1; Depends: c", []string{"a"}, "a=1 z=1 c=1"},
	{"alternative whose own needs are missing", "a 1; Depends: b | c\nb 1; Depends: nowhere\nc 1", []string{"a"}, "a=1 c=1"},

	{"real before virtual", "a 1; Depends: v\np 1; Provides: v\nv 1", []string{"a"}, "a=1 v=1"},
	{"virtual", "a 1; Depends: v\np 1; Provides: v", []string{"a"}, "a=1 p=1"},
	{"virtual by name on the command line", "p 1; Provides: v", []string{"v"}, "p=1"},
	{"a real name is not satisfied by a provider", "p 1; Provides: v\nv 1", []string{"p", "v"}, "p=1 v=1"},
	{"provider by priority", "a 1; Depends: v\np 1; Provides: v; Priority: optional\nq 1; Provides: v; Priority: required", []string{"a"}, "a=1 q=1"},
	{"provider by name", "a 1; Depends: v\nq 1; Provides: v\np 1; Provides: v", []string{"a"}, "a=1 p=1"},
	{"essential provider", "a 1; Depends: v\np 1; Provides: v\nq 1; Provides: v; Essential: yes", []string{"a"}, "a=1 q=1"},
	{"provider that is there already", "a 1; Depends: q, v\np 1; Provides: v\nq 1; Provides: v", []string{"a"}, "a=1 q=1"},
	{"versioned provides", "a 1; Depends: v (>= 2)\np 1; Provides: v (= 1)\nq 1; Provides: v (= 3)", []string{"a"}, "a=1 q=1"},
	{"unversioned provides satisfies no version", "a 1; Depends: v (>= 2)\np 3; Provides: v", []string{"a"}, "packages cannot be installed together: packages: a → v (>= 2) not available"},
	{"compat level", "a 1; Depends: debhelper-compat (= 13)\ndebhelper 14; Provides: debhelper-compat (= 12), debhelper-compat (= 13)", []string{"a"}, "a=1 debhelper=14"},

	{"conflict with what is chosen", "a 1; Depends: b | c\nb 1; Conflicts: x\nc 1\nx 1", []string{"x", "a"}, "x=1 a=1 c=1"},
	{"conflict in the other direction", "a 1; Depends: b | c\nb 1\nc 1\nx 1; Conflicts: b", []string{"x", "a"}, "x=1 a=1 c=1"},
	{"breaks below a version", "a 1; Depends: b | c\nb 1\nc 1\nx 1; Breaks: b (<< 2)", []string{"x", "a"}, "x=1 a=1 c=1"},
	{"breaks not at that version", "a 1; Depends: b | c\nb 2\nc 1\nx 1; Breaks: b (<< 2)", []string{"x", "a"}, "x=1 a=1 b=2"},
	{"conflict with a virtual package", "a 1; Depends: b | c\nb 1; Provides: mta; Conflicts: mta\nc 1\nx 1; Provides: mta; Conflicts: mta", []string{"x", "a"}, "x=1 a=1 c=1"},
	{"a package does not conflict with itself", "a 1; Provides: v; Conflicts: v", []string{"a"}, "a=1"},
	{"versioned conflict leaves unversioned provides alone", "a 1; Conflicts: v (<< 9)\nb 1; Provides: v", []string{"a", "b"}, "a=1 b=1"},
	{"versioned conflict and versioned provides", "a 1; Conflicts: v (<< 9)\nb 1; Provides: v (= 2)\nw 1; Depends: b | c\nc 1", []string{"a", "w"}, "a=1 w=1 c=1"},
	{"back to an earlier choice", "s 1; Depends: a, x\na 1; Depends: b | c\nb 1\nc 1\nx 1; Conflicts: b", []string{"s"}, "s=1 a=1 c=1 x=1"},
	{"back over two choices", "s 1; Depends: m | n, x\nm 1; Depends: b\nb 1\nn 1\nx 1; Conflicts: b", []string{"s"}, "s=1 n=1 x=1"},
	{"an older version rather than none", "a 1; Depends: b, c\nb 2; Breaks: c\nb 1\nc 1", []string{"a"}, "a=1 b=1 c=1"},
	{"older siblings together", "a 1; Depends: lib-dev\nlib-dev 2; Depends: lib (= 2)\nlib-dev 1; Depends: lib (= 1)\nlib 1", []string{"a"}, "a=1 lib-dev=1 lib=1"},

	{"circle", "a 1; Depends: b\nb 1; Depends: c\nc 1; Depends: a", []string{"a"}, "a=1 b=1 c=1"},
	{"a package depends on itself", "a 1; Depends: a", []string{"a"}, "a=1"},

	{"exclusion takes the other alternative", "a 1; Depends: b | c\nb 1\nc 1", []string{"a", "!b"}, "a=1 c=1"},
	{"exclusion of what is needed", "a 1; Depends: b\nb 1; Depends: c\nc 1", []string{"a", "!c"}, "packages: a → b → c: excluded by !c"},
	{"exclusion of a provider", "a 1; Depends: v\np 1; Provides: v\nq 1; Provides: v", []string{"a", "!p"}, "a=1 q=1"},
	{"pin", "a 1\na 2\na 3", []string{"a=2"}, "a=2"},
	{"pin of a dependency", "a 1; Depends: b\nb 1\nb 2", []string{"a", "b=1"}, "a=1 b=1"},
	{"pin on a version that is not there", "a 1", []string{"a=2"}, "packages: a not available in the version that a=2 asks for"},
	{"pin on a provider's name", "p 1; Provides: a (= 2)", []string{"a=2"}, "packages: a not available in the version that a=2 asks for"},
	{"two pins", "a 1\na 2", []string{"a=1", "a=2"}, "a=1 and a=2 ask for different versions"},
	{"fuzzy pin", "a 1.2\na 1.2.9-1\na 1.20\na 2", []string{"a~1.2"}, "a=1.2.9-1"},

	{"want", "a 1\nb 1", []string{"(a, b)"}, "a=1 b=1"},
	{"want with architecture", "a 1\nb 1", []string{"(a [amd64], b [!amd64])"}, "a=1"},
	{"build conflict", "a 1; Depends: b | c\nb 1\nc 1", []string{"(a)", "-(b)"}, "a=1 c=1"},
	{"build conflict with all of it", "a 1", []string{"(a)", "-(a)"}, "Build-Depends of src: a: excluded by Build-Conflicts of src a"},

	{"any needs allowed", "a 1; Depends: p:any\np 1; Multi-Arch: allowed", []string{"a"}, "a=1 p=1"},
	{"any without allowed", "a 1; Depends: p:any\np 1; Multi-Arch: foreign", []string{"a"}, "p is not Multi-Arch: allowed"},
	{"native", "p 1", []string{"(p:native)"}, "p=1"},
	{"own architecture", "p 1", []string{"(p:amd64)"}, "p=1"},
	{"foreign architecture", "p 1", []string{"(p:arm64)"}, "p:arm64 not available"},

	{"missing", "a 1; Depends: b\nb 1; Depends: c (>= 2)\nc 1", []string{"a"},
		"packages cannot be installed together: packages: a → b → c (>= 2) not available (the index has c 1)"},
	{"conflict named", "a 1; Depends: b\nb 1; Conflicts: d\nd 1\ne 1; Depends: d", []string{"e", "a"},
		"packages: e: because of packages → a: because of packages → e → d: because of packages → a → b: conflicts with d 1, needed by packages → e"},
	{"several alternatives all refused", "a 1; Depends: b | c\nb 1; Depends: x\nc 1; Conflicts: a", []string{"a"},
		"c 1: conflicts with a 1"},
	{"no such package", "", []string{"a"}, "packages: a not available"},
}

func TestSolve(t *testing.T) {
	for _, tt := range solveTests {
		t.Run(tt.name, func(t *testing.T) {
			u, req := universe(t, tt.universe), request(t, tt.request...)
			sol, err := Solve(u, req)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %q\nwant   %q", err, tt.want)
				}
				if !fault.Is(err, fault.Conflict) {
					t.Errorf("kind %v", fault.KindOf(err))
				}
				return
			}
			var got []string
			for _, p := range sol.Packages {
				got = append(got, p.Name+"="+p.Version)
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err := inconsistency(sol.Packages, req); err != "" {
				t.Error(err)
			}
		})
	}
}

// inconsistency checks a set independently of the solver, by the rules of
// dpkg, and says what is wrong with it.
func inconsistency(set []*deb.Package, req Request) string {
	set = append(slices.Clone(set), req.Installed...)
	names := map[string]bool{}
	holds := func(d deb.Dependency) bool {
		for _, p := range set {
			for _, r := range d {
				if Fulfils(p, r, req.Arch) {
					return true
				}
			}
		}
		return false
	}
	for _, p := range set {
		if names[p.Name] {
			return p.Name + " is there twice"
		}
		names[p.Name] = true
		for _, d := range slices.Concat(p.PreDepends, p.Depends) {
			if !holds(d) {
				return p.Name + " needs " + d.String()
			}
		}
		for _, d := range slices.Concat(p.Conflicts, p.Breaks) {
			for _, q := range set {
				if Opposes(p, q, d[0], req.Arch) {
					return p.Name + " opposes " + q.Name
				}
			}
		}
	}
	for _, w := range req.Wants {
		if !holds(w.Dependency) {
			return "the request wants " + w.Dependency.String()
		}
	}
	for _, s := range req.Packages {
		if s.Exclude && names[s.Name] {
			return s.Name + " is excluded"
		}
		if !s.Exclude && !holds(deb.Dependency{{Name: s.Name}}) {
			return "the request names " + s.Name
		}
	}
	return ""
}

func TestSolveNotesOlderVersion(t *testing.T) {
	sol, err := Solve(universe(t, "a 1; Depends: b, c\nb 2; Breaks: c\nb 1\nc 1"), request(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b 1 chosen instead of the newer 2, which does not fit"}, sol.Notes); diff != "" {
		t.Error(diff)
	}
}

func TestSolveUnavailable(t *testing.T) {
	req := request(t, "a")
	req.Unavailable = map[ID]bool{{"a", "2"}: true}
	sol, err := Solve(universe(t, "a 1\na 2"), req)
	if err != nil || len(sol.Packages) != 1 || sol.Packages[0].Version != "1" || sol.Notes != nil {
		t.Errorf("%v %v", sol, err)
	}
}

func TestParseSpec(t *testing.T) {
	for entry, want := range map[string]Spec{
		"a1":             {Name: "a1", By: "packages"},
		"libc6:amd64":    {Name: "libc6", Qual: "amd64", By: "packages"},
		"curl=1:2.0~rc1": {Name: "curl", Op: "=", Version: "1:2.0~rc1", By: "packages"},
		"curl~2.0":       {Name: "curl", Op: "~", Version: "2.0", By: "packages"},
		"!curl":          {Name: "curl", Exclude: true, By: "packages"},
	} {
		got, err := ParseSpec(entry)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", entry, err, diff)
		}
		if got.String() != entry {
			t.Errorf("%s: String is %s", entry, got)
		}
	}
	for _, entry := range []string{"", "!", "a b", "a=", "a~", "!a=1", "a|b", "a, b", "../a", "a (>= 1)"} {
		if s, err := ParseSpec(entry); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %+v %v", entry, s, err)
		}
	}
}

func TestAddSourceProfiles(t *testing.T) {
	src := &deb.SourcePackage{Name: "s"}
	src.BuildDepends, _ = deb.ParseDependencies("a, b <!nocheck>, c [arm64], d:native")
	src.BuildDependsIndep, _ = deb.ParseDependencies("e <!nodoc>")
	src.BuildConflicts, _ = deb.ParseDependencies("f [linux-any]")
	for _, tt := range []struct {
		arch      ashlar.Arch
		profiles  []string
		wants     string
		conflicts string
	}{
		{"amd64", nil, "a, b, d:native, e", "f"},
		{"arm64", nil, "a, b, c, d:native, e", "f"},
		{"amd64", []string{"nocheck"}, "a, d:native, e", "f"},
		{"amd64", []string{"nocheck", "nodoc"}, "a, d:native", "f"},
	} {
		req := Request{Arch: tt.arch}
		req.AddSource(src, tt.profiles)
		if got := wantText(req.Wants); got != tt.wants {
			t.Errorf("%s %v: wants %q, want %q", tt.arch, tt.profiles, got, tt.wants)
		}
		if got := wantText(req.Conflicts); got != tt.conflicts {
			t.Errorf("%s %v: conflicts %q, want %q", tt.arch, tt.profiles, got, tt.conflicts)
		}
	}
}

func wantText(list []Want) string {
	var deps []deb.Dependency
	for _, w := range list {
		deps = append(deps, w.Dependency)
	}
	return deb.FormatDependencies(deps)
}
