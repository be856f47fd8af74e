package pack

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestParseSpec(t *testing.T) {
	got := spec(t, stone+`files:
  - usr/bin/stone
  - /opt/stone/
  - {path: opt/stone/conf, source: etc/conf, uid: 9999, gid: 0, mode: "0640"}
root: ${target.dir}/stage
section: admin
priority: "200"
formats: [deb, apk]
apk:
  options: "!tracedeps"
subpackages:
  - name: stone-plugin
    description: |
      A plugin
      of stone
    files: [{path: usr/bin/stone, source: usr/bin/stone-plugin}]
  - name: stone-doc
`)
	at := func(line int) catalog.Pos { return catalog.Pos{File: testFile, Line: line} }
	both := []Format{APK, Deb}
	want := &Spec{
		Pos: at(14), Name: "stone", Version: "1.2", Release: "3", License: "MIT", URL: "https://example.org/stone",
		Formats: both, Root: "stage", Options: []string{"!tracedeps"}, Section: "admin", Priority: "optional", ProviderPriority: 200,
		Packages: []Package{
			{Pos: at(14), Name: "stone", Description: "A stone", Formats: both, Rules: []Rule{
				{at(21), "usr/bin/stone", "usr/bin/stone", -1, -1, -1},
				{at(22), "opt/stone", "opt/stone", -1, -1, -1},
				{at(23), "opt/stone/conf", "etc/conf", 9999, 0, 0o640},
			}},
			{Pos: at(31), Name: "stone-plugin", Description: "A plugin of stone", Formats: both, Rules: []Rule{
				{at(35), "usr/bin/stone", "usr/bin/stone-plugin", -1, -1, -1},
			}},
			{Pos: at(36), Name: "stone-doc", Description: "A stone (documentation)", Formats: both, AnyArch: true},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Package{})); diff != "" {
		t.Error(diff)
	}
	if got.FullVersion(APK) != "1.2-r3" || got.FullVersion(Deb) != "1.2-3" {
		t.Errorf("versions %s and %s", got.FullVersion(APK), got.FullVersion(Deb))
	}
}

func TestParseSpecErrors(t *testing.T) {
	for name, c := range map[string]struct{ with, want string }{
		"unknown key":          {"sauce: x", `:20: unknown parameter of dhi/build-pkg:0 "sauce"`},
		"misspelled":           {"fils: [a]", `did you mean "files"?`},
		"key of a rule":        {"files: [{path: a, sorce: b}]", `"sorce" (did you mean "source"?)`},
		"key of a subpackage":  {"subpackages: [{name: ab, url: b}]", `:20: unknown key "url"`},
		"key of apk":           {"apk: {dependz: [b]}", `did you mean "depends"?`},
		"nothing":              {"", ":14: there are no files to pack"},
		"no path":              {"files: [{source: a}]", `"path" is missing`},
		"empty path":           {"files: ['']", `"" is not a path`},
		"a list for a path":    {"files: [[a]]", "a rule for files is a path"},
		"out of the root":      {"files: [usr/../../etc]", "is not a path below the root"},
		"through the root":     {"files: [{path: a, source: ../b}]", "is not a path below the root"},
		"wildcard":             {"files: ['usr/lib/*.so']", "wildcard"},
		"owner":                {"files: [{path: a, uid: -1}]", "uid is"},
		"name of an owner":     {"files: [{path: a, gid: wheel}]", "gid is"},
		"mode":                 {"files: [{path: a, mode: '77777'}]", "no permissions"},
		"format":               {"formats: [rpm]", `unknown word "rpm"`},
		"no format":            {"formats: []", "formats is empty"},
		"one format twice":     {"formats: [apk, apk]", "format apk is there twice"},
		"root":                 {"root: /etc\nfiles: [a]", "not below ${target.dir}"},
		"root beside":          {"root: ${target.dir}-other\nfiles: [a]", "not below ${target.dir}"},
		"root above":           {"root: ${target.dir}/../x\nfiles: [a]", "not below ${target.dir}"},
		"priority":             {"priority: high", "priority"},
		"large priority":       {"priority: '70000'", "priority"},
		"section":              {"section: a b", "section"},
		"option":               {"apk: {options: '!check'}", `option "!check" has no meaning here`},
		"twice":                {"files: [a]\nsubpackages: [{name: stone, files: [b]}]", "package stone is there twice"},
		"name":                 {"files: [a]\nsubpackages: [{name: Stone_X, files: [b]}]", "not a name for a package"},
		"no files":             {"files: [a]\nsubpackages: [{name: stone-x}]", ":21: package stone-x takes no files"},
		"unknown split":        {"files: [a]\napk: {subpackages: $pkgname-x}", `nothing is known of what package "$pkgname-x" takes`},
		"dependency":           {"depends: [a, 'b@edge']", ":20: for apk: dependency"},
		"version of apk":       {"depends: ['b>1_x']\nformats: [apk]", "version"},
		"library for Debian":   {"depends: ['so:libz.so.1']", "for deb: \"so:libz.so.1\" cannot be said in Debian's words"},
		"fuzzy for Debian":     {"depends: ['a~1']", "for deb"},
		"alternative for apk":  {"depends: ['aa | bb']", "for apk: \"aa | bb\" cannot be said in apk's words"},
		"alternative provided": {"deb: {provides: 'aa | bb'}\nformats: [deb]", "alternatives"},
		"conflict in Debian's": {"depends: ['!bb (>= 1:2)']", "for apk"},
		"an architecture":      {"depends: ['bb [amd64]']", ":20: for deb"},
		"qualified for apk":    {"depends: ['bb:any (>= 1)']", "cannot be said in apk's words"},
		"depends of another":   {"files: [a]\nsubpackages: [{name: bb, files: [b], depends: ['x@y']}]", ":21: for apk"},
		"range provided":       {"apk: {provides: 'a>1'}", "a name that is provided"},
		"variable":             {"provides: a=$pkgver", "a variable that does not exist"},
		"depends of a number":  {"depends: {a: b}", "a text or a list of texts is wanted"},
		"item of depends":      {"depends:\n  - a\n  - [b]", ":22: an entry of the list is no text"},
		"oci-config":           {"files: [a]\noci-config: x", "oci-config has no keys"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSpec(step(t, stone+c.with))
			checkError(t, err, fault.Invalid, testFile+":", c.want)
		})
	}
	for _, c := range []struct{ with, want string }{
		{"{version: 1, rel: 0, description: x}", `"name" is missing`},
		{"{name: ab, version: 1, rel: 01, description: x}", `rel is "01"`},
		{"{name: ab, version: 1, rel: r1, description: x}", `rel is "r1"`},
		{"{name: A, version: 1, rel: 1, description: x}", "not a name for a package"},
	} {
		_, err := ParseSpec(step(t, c.with))
		checkError(t, err, fault.Invalid, c.want)
	}
}

func TestRelations(t *testing.T) {
	s := spec(t, stone+`files: [usr/bin/stone]
depends: [musl, 'a>=1.2', '!b', 'c (>= 2)', musl]
provides: 'rock=$pkg_full_version, boulder'
replaces: rock pebble
conflicts: pebble
apk: {depends: ['so:libx.so.1', cmd:sh], provides: ['cmd:rock=1']}
deb:
  depends: [libc6, 'x | y (>= 1)', 'python3:any']
  replaces: ['z (<< 2)']
subpackages:
  - {name: stone-extra, files: [a], depends: [stone]}
oci-config: {environment: {PATH: /opt/stone, DEBUG: "true"}}
`)
	p := s.Packages[0]
	for name, c := range map[string][2]string{
		"apk depends":   {"musl a>=1.2 !b c>=2 so:libx.so.1 cmd:sh !pebble", apk.FormatDependencies(p.apk.depends)},
		"apk provides":  {"rock=1.2-r3 boulder cmd:rock=1", apk.FormatDependencies(p.apk.provides)},
		"apk replaces":  {"rock pebble", apk.FormatDependencies(p.apk.replaces)},
		"deb depends":   {"musl, a (>= 1.2), c (>= 2), libc6, x | y (>= 1), python3:any", deb.FormatDependencies(p.deb.depends)},
		"deb conflicts": {"b, pebble", deb.FormatDependencies(p.deb.conflicts)},
		"deb provides":  {"rock (= 1.2-3), boulder", deb.FormatDependencies(p.deb.provides)},
		"deb replaces":  {"rock, pebble, z (<< 2)", deb.FormatDependencies(p.deb.replaces)},
		"of another":    {"stone", apk.FormatDependencies(s.Packages[1].apk.depends)},
		"of the config": {"stone=1.2-r3", apk.FormatDependencies(s.Packages[2].apk.depends)},
		"deb's":         {"stone (= 1.2-3)", deb.FormatDependencies(s.Packages[2].deb.depends)},
		"the config":    {"environment:\n    DEBUG: \"true\"\n    PATH: /opt/stone\n", string(s.Packages[2].Config)},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: got %q, want %q", name, c[1], c[0])
		}
	}
	// Keys without a value are as if absent.
	if s := spec(t, stone+"files: [a]\nprovides:\nreplaces:\npriority:\n"); s.Packages[0].apk.provides != nil || s.Priority != "optional" {
		t.Errorf("%+v", s)
	}
}

// Only what has files, takes the rest or stands for what it depends on is a main
// package.
func TestMainPackage(t *testing.T) {
	for with, want := range map[string]string{
		"subpackages: [{name: stone-a, files: [a]}]":                     "stone-a",
		"subpackages: [{name: stone-doc}]":                               "stone",
		"depends: [stone-a]\nsubpackages: [{name: stone-a, files: [a]}]": "stone",
		"files: [b]\nsubpackages: [{name: stone-a, files: [a]}]":         "stone",
	} {
		if s := spec(t, stone+with); s.Packages[0].Name != want {
			t.Errorf("%s: the first package is %s", with, s.Packages[0].Name)
		}
	}
	s := spec(t, stone+"files: [a]\napk: {subpackages: $pkgname-dev stone-doc}")
	if len(s.Packages) != 3 || len(s.Packages[2].Formats) != 1 {
		t.Errorf("%+v", s.Packages)
	}
	if s := spec(t, stone+"files: [a]\nformats: [deb]\napk: {subpackages: $pkgname-dev}"); len(s.Packages) != 1 {
		t.Errorf("%+v", s.Packages)
	}
}

func TestParseExceptions(t *testing.T) {
	at := catalog.Pos{File: "x.yaml", Line: 7}
	got, err := ParseExceptions(at, "\n# why\n pie,relro /usr/lib/x/*.so   made by  hand in assembler\nstack usr/lib/y/ trampolines of Ada\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Exception{
		{Checks: []elfCheck{"pie", "relro"}, Pattern: "usr/lib/x/*.so", Reason: "made by hand in assembler"},
		{Checks: []elfCheck{"stack"}, Pattern: "usr/lib/y/", Reason: "trampolines of Ada"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		check, path string
		want        bool
	}{
		{"pie", "usr/lib/x/a.so", true}, {"pie", "usr/lib/x/y/a.so", false}, {"stack", "usr/lib/x/a.so", false},
		{"stack", "usr/lib/y/z/a", true}, {"stack", "usr/lib/y", false},
	} {
		allowed := false
		for _, e := range got {
			allowed = allowed || e.Allows(elfCheck(c.check), c.path)
		}
		if allowed != c.want {
			t.Errorf("%s %s: %t", c.check, c.path, allowed)
		}
	}
	for text, want := range map[string]string{
		"pie usr/bin/x":                   "line 1: it gives no reason",
		"pie usr/bin/x because":           "it gives no reason",
		"\npi usr/bin/x very good reason": `line 2: there is no check "pi"`,
		"pie [ some good reason":          "no pattern of paths",
	} {
		_, err := ParseExceptions(at, text)
		checkError(t, err, fault.Invalid, "x.yaml:7: "+ExceptionsVar, want)
	}
}

// FuzzParseSpec looks for parameters that crash the parser, for errors without a
// place, and for what gets through that must not.
func FuzzParseSpec(f *testing.F) {
	f.Add(stone + "files: [usr/bin/stone, {path: opt/stone, source: opt, uid: 1, gid: 2, mode: '0640'}]\nroot: ${target.dir}/x\n")
	f.Add(stone + "depends: [a>=1, '!b', 'c (>= 2)']\nprovides: 'rock=$pkg_full_version, x'\nreplaces: a b\nconflicts: c\n")
	f.Add(stone + "subpackages: [{name: stone-doc}, {name: x, files: [a], depends: [stone]}]\napk: {subpackages: $pkgname-dev, options: '!tracedeps'}\n")
	f.Add(stone + "oci-config: {environment: {A: b}}\ndeb: {depends: ['x | y (>= 1)', 'python3:any']}\npriority: '7'\nsection: admin\n")
	f.Add("{name: ab, version: 1, rel: 0, description: x, formats: [deb, apk], files: [[a]]}")
	f.Add(stone + "files: *a\nprovides: &a [b]\n")
	f.Fuzz(func(t *testing.T, with string) {
		e, err := expanded(with)
		if err != nil {
			return // the catalog has a fuzz target of its own
		}
		for _, b := range e.Builds {
			for _, s := range b.Pipeline {
				spec, err := ParseSpec(s)
				if err == nil {
					checkSpec(t, spec)
				} else if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), testFile+":") {
					t.Errorf("%v", err)
				}
			}
		}
	})
}

// checkSpec wants names, paths and numbers to be what packages can have.
func checkSpec(t *testing.T, s *Spec) {
	t.Helper()
	if len(s.Packages) == 0 || len(s.Formats) == 0 {
		t.Errorf("%+v", s)
	}
	for _, p := range s.Packages {
		if !isName(p.Name) || strings.ContainsAny(p.Description, "\n\r") {
			t.Errorf("%+v", p)
		}
		for _, r := range p.Rules {
			for _, name := range []string{r.Path, r.Source} {
				if strings.HasPrefix(name, "/") || name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "/../") {
					t.Errorf("the path %q", name)
				}
			}
			if r.Mode > 0o7777 || r.UID < -1 || r.GID < -1 {
				t.Errorf("%+v", r)
			}
		}
	}
}
