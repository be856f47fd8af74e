package pack

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// so returns the bytes of a library, or with a RUNPATH those of a program.
func so(soname, rpath string, needed ...string) string {
	s := elftest.Library(soname, needed...)
	if rpath != "" {
		s = elftest.Program(needed...)
		s.RPath = rpath
	}
	return string(elftest.Build(s))
}

const musl = "libc.musl-x86_64.so.1"

// words returns provides and depends of a package for apk.
func (b *Binary) words() (provides, depends string) {
	return apk.FormatDependencies(b.apk.Provides), apk.FormatDependencies(b.apk.Depends)
}

func TestScan(t *testing.T) {
	for name, c := range map[string]struct {
		tar               *testTar
		with              string
		provides, depends string
	}{
		"a library": {
			newTar().file("usr/lib/libz.so.1.3.1", so("libz.so.1", "", musl)).link("usr/lib/libz.so.1", "libz.so.1.3.1"), "files: [usr]",
			"so:libz.so.1=1.3.1", "so:" + musl,
		},
		"a library without version": {
			newTar().file("lib/libx-1.2.so", so("libx-1.2.so", "")), "files: [lib]", "so:libx-1.2.so=0", "",
		},
		"a version of the link alone": {
			newTar().file("usr/lib/libc-2.40.so", so("libq.so.6", "")).link("usr/lib/libq.so.6", "libc-2.40.so"), "files: [usr]", "so:libq.so.6=0", "",
		},
		"one library under several names": {
			newTar().file("usr/lib/libq.so.6.1", so("libq.so.6", "")).hardLink("usr/lib/libq.so", "usr/lib/libq.so.6.1").hardLink("usr/lib/libq.so.6", "usr/lib/libq.so.6.1").
				hardLink("usr/lib/libq.so.6.1.2", "usr/lib/libq.so.6.1"),
			"files: [usr]", "so:libq.so.6=6.1.2", "",
		},
		"the C library": {
			newTar().file("lib/ld-musl-x86_64.so.1", so(musl, "")).link("lib/"+musl, "ld-musl-x86_64.so.1"), "files: [lib]", "so:" + musl + "=1", "",
		},
		"no name of its own": {newTar().file("usr/lib/libx.so.5", so("", "")), "files: [usr]", "so:libx.so.5=5", ""},
		"a name without a version beside it": {
			newTar().file("usr/lib/libx.so", so("libx.so.5", "")), "files: [usr]\napk: {options: sover-namecheck}", "", "",
		},
		"private": {newTar().file("usr/lib/x/libp.so.1", so("libp.so.1", "")), "files: [usr]", "", ""},
		"private, recursively": {
			newTar().file("usr/lib/x/libp.so.1", so("libp.so.1", "")), "files: [usr]\napk: {options: ldpath-recursive}", "so:libp.so.1=1", "",
		},
		"private, by RUNPATH": {
			newTar().program("usr/bin/x", so("", "$ORIGIN/../lib/x:/usr/lib/y", "libp.so.1", musl)).file("usr/lib/x/libp.so.1", so("libp.so.1", "")), "files: [usr]",
			"cmd:x=1.2-r3 so:libp.so.1=1", "so:" + musl,
		},
		"commands": {
			newTar().program("usr/bin/x", "").program("bin/[", "").link("sbin/y", "/nowhere").file("usr/bin/data", "").program("usr/bin/a@b", "").
				program("usr/bin/a b", "").program("usr/bin/.z", "").program("usr/libexec/z", "").dir("usr/bin/dir"), "files: [.]",
			"cmd:[=1.2-r3 cmd:x=1.2-r3 cmd:y=1.2-r3", "",
		},
		"python": {
			newTar().file("usr/lib/python3.13/site-packages/one.py", "").file("usr/lib/python3.13/site-packages/two/__init__.py", "").
				file("usr/lib/python3.13/site-packages/two/three.py", "").file("usr/lib/python2.7/site-packages/four.py", "").file("usr/lib/python3.13/site-packages/data/x", ""), "files: [usr]",
			"py2.7:four=1.2-r3 py3.13:one=1.2-r3 py3.13:two=1.2-r3", "python3~3.13",
		},
		"pkg-config": {
			newTar().file("usr/lib/pkgconfig/x.pc", "Version: v1.2-rc1\nRequires: y >= 1.0, z\nRequires.private: w=2 v != 3\n"+"Provides: xx = 4\n").
				link("usr/share/pkgconfig/alias.pc", "../../lib/pkgconfig/x.pc"), "files: [usr]",
			"pc:alias=1.2_rc1 pc:x=1.2_rc1 pc:xx=4", "pc:v pc:w=2 pc:y>=1.0 pc:z pkgconfig",
		},
		"nothing at all": {
			newTar().file("usr/lib/libz.so.1", so("libz.so.1", "", musl)).program("usr/bin/x", "").file("usr/lib/pkgconfig/x.pc", "Version: *"),
			"files: [usr]\napk: {options: '!tracedeps'}", "", "",
		},
		"what is written goes first": {
			newTar().file("usr/lib/libz.so.1", so("libz.so.1", "", musl)), "files: [usr]\napk: {provides: ['so:libz.so.1=7'], depends: ['so:" + musl + ">=1']}",
			"so:libz.so.1=7", "so:" + musl + ">=1",
		},
		"another machine": {newTar().file("usr/lib/libz.so.1", "\x7fELF"+so("libz.so.1", "")[4:18]+"\xb7\x00"+so("libz.so.1", "", "libc.so")[20:]), "files: [usr]", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			set := assemble(t, c.tar.tree(t), spec(t, stone+"formats: [apk]\n"+c.with))
			provides, depends := set.binary(t, APK, "stone").words()
			if diff := cmp.Diff([]string{c.provides, c.depends}, []string{provides, depends}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		tar  *testTar
		want string
	}{
		"version of a library": {newTar().file("usr/lib/libx.so.1_x", so("libx.so.1", "")), `usr/lib/libx.so.1_x: dependency "so:libx.so.1=1_x"`},
		"name of a library":    {newTar().file("usr/lib/libx.so", so("lib(x).so", "")), "has a character in its name that apk does not take"},
		"name that is needed":  {newTar().file("usr/lib/libx.so", so("libx.so", "", "lib(y).so.1")), "so:lib(y).so.1"},
		"two versions":         {newTar().file("usr/lib/libx.so.1.1", so("libx.so.1", "")).file("usr/lib/libx.so.1.2", so("libx.so.1", "")), "in version 1.2, and another file in version 1.1"},
		"version of a .pc":     {newTar().file("usr/lib/pkgconfig/x.pc", "Version: 1.2-dev"), `usr/lib/pkgconfig/x.pc: dependency "pc:x=1.2-dev"`},
		"name of a .pc":        {newTar().file("usr/lib/pkgconfig/x%.pc", "Version: 1"), "pc:x%"},
		"required name":        {newTar().file("usr/lib/pkgconfig/x.pc", "Version: 1\nRequires: y&z"), "pc:y&z"},
		"required version":     {newTar().file("usr/lib/pkgconfig/x.pc", "Version: 1\nRequires: y >= 1.x"), "pc:y>=1.x"},
		"endless .pc":          {newTar().file("usr/lib/pkgconfig/x.pc", strings.Repeat("#\n", maxPC)), "usr/lib/pkgconfig/x.pc: it has more than"},
		"broken .pc":           {newTar().file("usr/lib/pkgconfig/x.pc", "Version: ${"), "usr/lib/pkgconfig/x.pc: line 1: Version: a variable without an end"},
		"two Pythons":          {newTar().file("usr/lib/python3.12/site-packages/a.py", "").file("usr/lib/python3.13/site-packages/a.py", ""), "both Python 3.12 and 3.13"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Assemble(c.tar.tree(t), spec(t, stone+"formats: [apk]\nfiles: [usr]"), testOptions())
			checkError(t, err, fault.Invalid, testFile+":14: ", c.want)
		})
	}
}

// Packages of a set depend on one another by what is in them.
func TestScanSiblings(t *testing.T) {
	tree := newTar().file("usr/lib/libz.so.1.3.1", so("libz.so.1", "", musl)).link("usr/lib/libz.so.1", "libz.so.1.3.1").
		link("usr/lib/libz.so", "libz.so.1.3.1").file("usr/include/zlib.h", "").file("usr/lib/pkgconfig/zlib.pc", "Version: 1.3.1\n").
		file("usr/lib/pkgconfig/zz.pc", "Version: 1\nRequires: zlib = 1.3.1").
		program("usr/bin/z", so("", "$ORIGIN", "libz.so.1", musl)).link("usr/bin/here", "z").link("usr/bin/there", "/usr/share/none").tree(t)
	o := testOptions()
	o.Exceptions = []Exception{{Checks: []elfCheck{CheckLoader}, Pattern: "usr/", Reason: "only a test"}}
	set, err := Assemble(tree, spec(t, stone+"subpackages: [{name: stone-dev}, {name: stone-libs}]\n"), o)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{
		"stone":      {"cmd:here=1.2-r3 cmd:there=1.2-r3 cmd:z=1.2-r3", "so:" + musl + " so:libz.so.1"},
		"stone-libs": {"so:libz.so.1=1.3.1", "so:" + musl},
		"stone-dev":  {"pc:zlib=1.3.1 pc:zz=1", "pkgconfig stone-libs=1.2-r3"},
	} {
		provides, depends := set.binary(t, APK, name).words()
		if diff := cmp.Diff(want, [2]string{provides, depends}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := set.binary(t, Deb, "stone-dev").deb.Get("Depends"); got != "stone-libs (= 1.2-3)" {
		t.Errorf("dpkg's depends on %q", got)
	}
}

// With a list of what others provide, what nobody has is found out.
func TestScanProvided(t *testing.T) {
	tar := func() *testTar {
		return newTar().program("usr/bin/x", so("", "$ORIGIN", "libown.so.1", "libother.so.2")).file("usr/lib/x/libown.so.1", so("libown.so.1", "")).
			file("usr/lib/pkgconfig/x.pc", "Version: 1\nRequires: there, nowhere")
	}
	s := spec(t, stone+"formats: [apk]\nfiles: [usr]")
	o := testOptions()
	o.Provided = func(name string) bool { return name == "so:libother.so.2" || name == "pc:there" }
	set, err := Assemble(tar().tree(t), s, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, got := set.binary(t, APK, "stone").words(); got != "pc:there pkgconfig so:libother.so.2" {
		t.Errorf("it depends on %s", got)
	}
	if len(set.Notes) != 1 || !strings.Contains(set.Notes[0], "nothing provides pc:nowhere") {
		t.Errorf("notes %q", set.Notes)
	}
	o.Provided = func(string) bool { return false }
	_, err = Assemble(tar().tree(t), s, o)
	checkError(t, err, fault.Invalid, "usr/bin/x needs the library libother.so.2, which no package provides")
}

func TestParsePC(t *testing.T) {
	got, err := parsePC(`# comment
prefix=/usr
name = ${prefix}/x$$ # and more
Name: x
Version: ${major}.2
major=1
Requires: a>=1,b <  2 c ${more}
more = d = 3 \
  e
Requires.private: ${more} f==4 g!=5
Provides: p
Cflags: -I${prefix}
nonsense
`)
	if err != nil {
		t.Fatal(err)
	}
	want := &pcFile{version: ".2", requires: []pcWord{
		{"a", ">=", "1"}, {"b", "<", "2"}, {name: "c"}, {"d", "=", "3"}, {name: "e"}, {"f", "=", "4"}, {name: "g"},
	}, provides: []pcWord{{name: "p"}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(pcFile{}, pcWord{})); diff != "" {
		t.Error(diff)
	}
	bomb := ""
	for c := 'a'; c < 'p'; c++ {
		bomb += string(c) + "=" + strings.Repeat("${"+string(c+1)+"}", 10) + "\n"
	}
	for text, want := range map[string]string{
		"a=${a}\nVersion: ${a}":                   "variables within variables",
		bomb + "Version: ${a}":                    "variables within variables",
		"Requires: >= 1":                          "where a name is wanted",
		"Requires: a >=":                          "an operator and no version",
		"x=1\nRequires: a >= <":                   "line 2: Requires: ",
		"Requires: " + strings.Repeat("a ", 1001): "more than 1000 names",
		"a=" + strings.Repeat("x", 200_000) + "\nVersion: ${a}${a}": "a value of more than",
	} {
		_, err := parsePC(text)
		checkError(t, err, fault.Invalid, want)
	}
}

func FuzzParsePC(f *testing.F) {
	f.Add("prefix=/usr\nName: x\nVersion: 1.2\nRequires: a >= 1, b\n")
	f.Add("a=${b}${b}\nb=${a}\nVersion: ${a}$$\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		pc, err := parsePC(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Error(err)
			}
			return
		}
		for _, w := range pc.requires {
			if w.name == "" || strings.ContainsAny(w.name, " ,<>=!") || (w.operator == "") != (w.version == "") {
				t.Errorf("%+v", w)
			}
		}
	})
}

func FuzzParseExceptions(f *testing.F) {
	f.Add("pie,relro usr/lib/x/*.so a good reason\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := ParseExceptions(catalog.Pos{File: "x.yaml", Line: 1}, text)
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Error(err)
		}
		for _, e := range list {
			if e.Reason == "" || len(e.Checks) == 0 {
				t.Errorf("%+v", e)
			}
			e.Allows("pie", "usr/bin/x")
		}
	})
}
