package pack

import (
	"archive/tar"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func quarry() *testTar {
	return newTar().dir("usr").dir("usr/bin").program("usr/bin/stone", "stone").program("usr/bin/stone-dev", "stone with symbols").
		add(tar.Header{Name: "opt/stone/", Typeflag: tar.TypeDir, Mode: 0o750, Uid: 5}, "").
		file("opt/stone/conf/a", "a").file("opt/stone/conf/b", "b").file("opt/stone/x", "x").dir("opt/stone/empty").
		file("other/c", "c").link("usr/bin/s", "stone")
}

func TestTake(t *testing.T) {
	for name, c := range map[string]struct{ with, want string }{
		"files":        {"files: [usr/bin/stone, usr/bin/s]", "usr/bin/s usr/bin/stone"},
		"a folder":     {"files: [opt/stone]", "opt/stone/conf/a opt/stone/conf/b opt/stone/x"},
		"renamed":      {"files: [{path: usr/bin/rock, source: usr/bin/stone-dev}]", "usr/bin/rock"},
		"moved folder": {"files: [{path: srv, source: opt/stone/conf}]", "srv/a srv/b"},
		"onto another": {"files: [opt/stone, {path: opt/stone/conf, source: other}]", "opt/stone/conf/a opt/stone/conf/b opt/stone/conf/c opt/stone/x"},
		"everything":   {"files: [.]", "opt/stone/conf/a opt/stone/conf/b opt/stone/x other/c usr/bin/s usr/bin/stone usr/bin/stone-dev"},
		"a root":       {"root: ${target.dir}/opt/stone\nfiles: [conf]", "conf/a conf/b"},
		"root to root": {"root: ${target.dir}/opt/stone\nfiles: [/]", "conf/a conf/b x"},
	} {
		t.Run(name, func(t *testing.T) {
			set := assemble(t, quarry().tree(t), spec(t, stone+"formats: [deb]\n"+c.with))
			if got := strings.Replace(set.binary(t, Deb, "stone").list(), " usr/share/doc/stone/copyright", "", 1); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The more specific of two rules says who owns a file, in whatever order.
func TestOwnersAndModes(t *testing.T) {
	s := spec(t, stone+`formats: [deb]
files:
  - {path: opt/stone, gid: 9, mode: "0700"}
  - {path: opt/stone/conf/a, uid: 8, gid: 7, mode: "0600"}
`)
	set := assemble(t, quarry().tree(t), s)
	type facts struct {
		mode     int64
		uid, gid int
	}
	got := map[string]facts{}
	for _, f := range set.binary(t, Deb, "stone").files {
		got[f.path] = facts{f.mode, f.uid, f.gid}
	}
	for name, want := range map[string]facts{
		"opt": {0o755, 0, 0}, "opt/stone": {0o700, 5, 9}, "opt/stone/conf": {0o755, 0, 0}, "opt/stone/conf/a": {0o600, 8, 7},
		"opt/stone/x": {0o644, 0, 9}, "opt/stone/empty": {0o755, 0, 9},
	} {
		if got[name] != want {
			t.Errorf("%s is %+v, want %+v", name, got[name], want)
		}
	}
}

func TestTakeRefuses(t *testing.T) {
	for name, c := range map[string]struct{ with, want string }{
		"nothing there":     {"files: [usr/bin/rock]", ":20: package stone: there is nothing at usr/bin/rock (in usr/bin there is s, stone, stone-dev)"},
		"nothing far away":  {"files: [var/lib/x]", "(in the root there is dev, opt, other, usr)"},
		"no source":         {"files: [{path: usr/bin/stone, source: usr/bin/rock}]", "there is nothing at usr/bin/rock"},
		"outside of a root": {"root: ${target.dir}/opt\nfiles: [usr]", "there is nothing at usr"},
		"one path twice":    {"files: [usr/bin/stone, {path: usr/bin/stone, source: usr/bin/s}]", "two rules give it usr/bin/stone"},
		"a device":          {"files: [dev]", "dev/null is a device"},
		"in a file":         {"files: [usr/bin/stone, {path: usr/bin/stone/x, source: other/c}]", "usr/bin/stone, which is no folder"},
		"two packages": {"files: [opt/stone]\nsubpackages: [{name: stone-b, files: [opt/stone/x]}]",
			":21: packages stone and stone-b both take opt/stone/x, one by opt/stone and the other by opt/stone/x"},
		"to the root": {"files: [{path: /, source: usr/bin/stone}]", "its root would be a file"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := quarry().add(tar.Header{Name: "dev/null", Typeflag: tar.TypeChar}, "").tree(t)
			_, err := Assemble(tree, spec(t, stone+c.with), testOptions())
			checkError(t, err, fault.Invalid, testFile, c.want)
		})
	}
}

// Packages that name one file in the same words are alternatives, which dpkg has to
// know and apk does not.
func TestAlternatives(t *testing.T) {
	s := spec(t, stone+`files: [usr/bin/stone, usr/bin/s]
subpackages:
  - {name: stone-one, files: [usr/bin/stone]}
  - {name: stone-dev, files: [{path: usr/bin/stone, source: usr/bin/stone-dev}]}
  - {name: stone-other, files: [other]}
`)
	set := assemble(t, quarry().tree(t), s)
	for name, want := range map[string]string{"stone": "", "stone-one": "stone", "stone-dev": "stone, stone-one", "stone-other": ""} {
		b := set.binary(t, Deb, name)
		if got := b.deb.Get("Conflicts"); got != want || b.deb.Get("Replaces") != want {
			t.Errorf("%s conflicts with %q, want %q", name, got, want)
		}
		if a := set.binary(t, APK, name); len(a.apk.Depends)+len(a.apk.Replaces) > 0 {
			t.Errorf("%s for apk: %+v", name, a.apk)
		}
	}
}

func library() *testTar {
	a := newTar().program("usr/bin/x-config", "#!").program("usr/bin/x", "#!").file("usr/include/x.h", "").
		file("usr/lib/libx.so.1.2.3", "").link("usr/lib/libx.so.1", "libx.so.1.2.3").link("usr/lib/libx.so", "libx.so.1").
		file("usr/lib/libx.a", "").file("usr/lib/x/plugin.so", "").file("usr/lib/x/include/deep.h", "").
		file("usr/lib/pkgconfig/x.pc", "Version: 1.2").file("usr/lib/cmake/x/x.cmake", "").file("usr/share/aclocal/x.m4", "").
		file("usr/share/man/man1/x.1.gz", "").file("usr/share/doc/x/README", "").file("usr/share/info/x.info", "").
		file("usr/lib/debug/usr/bin/x.debug", "").file("etc/conf.d/x", "").program("etc/init.d/x", "").file("etc/x.conf", "").
		file("usr/share/bash-completion/completions/x", "").file("usr/share/zsh/site-functions/_x", "").
		file("usr/share/fish/vendor_completions.d/x.fish", "").file("usr/share/locale/de/x.mo", "").
		file("usr/lib/python3.13/site-packages/x/__pycache__/a.pyc", "").file("usr/lib/systemd/system/x.service", "").
		file("usr/lib/udev/rules.d/x.rules", "").link("usr/lib/x86_64-linux-gnu/liby.so", "liby.so.1").
		file("usr/lib/x86_64-linux-gnu/liby.so.1", "").dir("var/empty")
	return a
}

// The default split of a package gives each other one what abuild gives it.
func TestSplit(t *testing.T) {
	var subs strings.Builder
	for _, name := range []string{
		"dev", "doc", "static", "libs", "dbg", "openrc", "systemd", "udev", "bash-completion", "zsh-completion", "fish-completion", "lang", "pyc",
	} {
		subs.WriteString("  - name: stone-" + name + "\n")
	}
	set := assemble(t, library().tree(t), spec(t, stone+"formats: [apk]\nsubpackages:\n"+subs.String()))
	for name, want := range map[string]string{
		"stone": "etc/x.conf usr/bin/x usr/lib/x/plugin.so",
		"stone-dev": "usr/bin/x-config usr/include/x.h usr/lib/cmake/x/x.cmake usr/lib/libx.so usr/lib/pkgconfig/x.pc usr/lib/x/include/deep.h " +
			"usr/lib/x86_64-linux-gnu/liby.so usr/share/aclocal/x.m4",
		"stone-doc":             "usr/share/doc/x/README usr/share/info/x.info usr/share/man/man1/x.1.gz",
		"stone-static":          "usr/lib/libx.a",
		"stone-libs":            "usr/lib/libx.so.1 usr/lib/libx.so.1.2.3 usr/lib/x86_64-linux-gnu/liby.so.1",
		"stone-dbg":             "usr/lib/debug/usr/bin/x.debug",
		"stone-openrc":          "etc/conf.d/x etc/init.d/x",
		"stone-systemd":         "usr/lib/systemd/system/x.service",
		"stone-udev":            "usr/lib/udev/rules.d/x.rules",
		"stone-bash-completion": "usr/share/bash-completion/completions/x",
		"stone-zsh-completion":  "usr/share/zsh/site-functions/_x",
		"stone-fish-completion": "usr/share/fish/vendor_completions.d/x.fish",
		"stone-lang":            "usr/share/locale/de/x.mo",
		"stone-pyc":             "usr/lib/python3.13/site-packages/x/__pycache__/a.pyc",
	} {
		if got := set.binary(t, APK, name).list(); got != want {
			t.Errorf("%s has %s\nwant %s", name, got, want)
		}
	}
	doc := set.binary(t, APK, "stone-doc")
	if doc.Arch != "noarch" || doc.apk.Description != "A stone (documentation)" || len(doc.apk.InstallIf) != 2 || doc.apk.InstallIf[1].String() != "stone=1.2-r3" {
		t.Errorf("%+v", doc.apk)
	}
	if got := set.binary(t, APK, "stone-static").apk.Depends; len(got) != 1 || got[0].Name != "stone-dev" {
		t.Errorf("the static package depends on %v", got)
	}
	var folders []string
	for _, f := range set.binary(t, APK, "stone").files {
		if f.node.kind == directory {
			folders = append(folders, f.path)
		}
	}
	if got := strings.Join(folders, " "); got != "etc usr usr/bin usr/lib usr/lib/x var var/empty" {
		t.Errorf("the folders of the main package are %s", got)
	}
}

func TestSplitOfSome(t *testing.T) {
	// Without a package for them, static libraries are for developers; files of
	// others are not the main package's to be taken.
	set := assemble(t, library().tree(t), spec(t, stone+`formats: [apk]
subpackages:
  - {name: stone-dev}
  - {name: stone-conf, files: [etc]}
`))
	if dev := set.binary(t, APK, "stone-dev").list(); !strings.Contains(dev, "usr/lib/libx.a") {
		t.Errorf("the package for developers has %s", dev)
	}
	if main := set.binary(t, APK, "stone").list(); strings.Contains(main, "etc/") {
		t.Errorf("the main package has %s", main)
	}
	// Only what the main package lists can be taken out of it.
	set = assemble(t, library().tree(t), spec(t, stone+"formats: [apk, deb]\nfiles: [usr/lib, usr/share/doc]\napk: {subpackages: $pkgname-doc}"))
	if doc := set.binary(t, APK, "stone-doc").list(); doc != "usr/share/doc/x/README" {
		t.Errorf("the documentation is %s", doc)
	}
	if deb := set.binary(t, Deb, "stone").list(); !strings.Contains(deb, "usr/share/doc/x/README") || len(set.Packages) != 3 {
		t.Errorf("dpkg's package has %s", deb)
	}
	_, err := Assemble(library().tree(t), spec(t, stone+"files: [usr/bin]\nsubpackages: [{name: stone-doc}]"), testOptions())
	checkError(t, err, fault.Invalid, ":21: package stone-doc would be empty: there is no documentation")
}

// A folder that others have emptied goes with them, one that was empty stays.
func TestSplitEmptiedFolders(t *testing.T) {
	tree := newTar().dir("usr").dir("usr/bin").program("usr/bin/x", "").dir("usr/lib").dir("usr/lib/deep").file("usr/lib/deep/x.a", "").file("usr/lib/x.a", "").
		dir("usr/share").dir("usr/share/doc").dir("usr/share/doc/x").file("usr/share/doc/x/y", "").dir("var").dir("var/empty").dir("usr/lib-x").tree(t)
	set := assemble(t, tree, spec(t, stone+"formats: [apk]\nsubpackages: [{name: stone-dev}, {name: stone-doc}]"))
	for name, want := range map[string]string{
		"stone": "usr usr/bin usr/bin/x usr/lib-x var var/empty", "stone-dev": "usr usr/lib usr/lib/deep usr/lib/deep/x.a usr/lib/x.a",
		"stone-doc": "usr usr/share usr/share/doc usr/share/doc/x usr/share/doc/x/y",
	} {
		var names []string
		for _, f := range set.binary(t, APK, name).files {
			names = append(names, f.path)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s has %s\nwant %s", name, got, want)
		}
	}
}
