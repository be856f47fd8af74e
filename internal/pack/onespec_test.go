package pack

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The number of processors and of workers changes no byte.
func TestWriteDeterministic(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	var first []ashlar.File
	for _, processors := range []int{1, 2} {
		runtime.GOMAXPROCS(processors)
		for _, workers := range []int{1, 3} {
			_, files := writeMonument(t, t.TempDir(), workers)
			if first == nil {
				first = files
			}
			if diff := cmp.Diff(first, files); diff != "" {
				t.Errorf("%d processors, %d workers: %s", processors, workers, diff)
			}
		}
	}
}

// installers are the ways in which packages get into an empty root.
func installers(t *testing.T) map[string]func(t *testing.T, names ...string) (root string) {
	apk := func(variable string, v3 bool) func(t *testing.T, names ...string) string {
		return func(t *testing.T, names ...string) string {
			s := newSite(t, os.Getenv(variable))
			accounts(t, s.root)
			set, _ := writeMonument(t, t.TempDir(), 1)
			s.write(t, set)
			repository := s.repo
			if v3 {
				s.indexV3(t)
				repository = s.repo + "/x86_64/Packages.adb"
			} else {
				s.indexV2(t)
			}
			if out, err := s.add(t, repository, names...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return s.root
		}
	}
	return map[string]func(t *testing.T, names ...string) string{
		"v2 with apk 2": apk("ASHLAR_APK2", false), "v2 with apk 3": apk("ASHLAR_APK3", false), "v3 with apk 3": apk("ASHLAR_APK3", true),
		"dpkg": func(t *testing.T, names ...string) string {
			root, dpkg := dpkgRoot(t)
			accounts(t, root)
			dir := t.TempDir()
			writeMonument(t, dir, 1)
			for _, name := range names {
				files, err := filepath.Glob(filepath.Join(dir, name+"_1.2-3_*.deb"))
				if err != nil || len(files) != 1 {
					t.Fatalf("%s: %v, %v", name, files, err)
				}
				mustRun(t, append(dpkg, "-i", files[0])...)
			}
			return root
		},
	}
}

// accounts writes the accounts of the monument into a root.
func accounts(t *testing.T, root string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"passwd": "root:x:0:0::/:/bin/sh\nmason:x:70:71::/:/bin/sh\n", "group": "root:x:0:\nmasons:x:71:\n"} {
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// rootFacts says of everything in a root what it is, but for what package
// managers keep for themselves and for what is said of the licence for Debian.
func rootFacts(t *testing.T, root string) map[string]string {
	t.Helper()
	facts := map[string]string{}
	inodes := map[uint64]string{}
	if err := filepath.Walk(root, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(name, root), "/")
		for _, own := range []string{"var/lib/dpkg", "lib", "etc/apk", "var/cache", "var/log", "usr/share/doc", "etc/passwd", "etc/group", "usr/lib/apk", "dev", "proc", "tmp"} {
			if rel == own || strings.HasPrefix(rel, own+"/") || rel == "" || rel == "usr/lib" || rel == "var" || rel == "var/lib" {
				return nil
			}
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		fact := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(name)
			facts[rel] = fact + " to " + target
			return err
		case info.Mode().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fact += fmt.Sprintf(" %d bytes %x at %d", len(b), sha256.Sum256(b), info.ModTime().Unix())
			if first := inodes[st.Ino]; first != "" {
				fact += " is " + first
			}
			inodes[st.Ino] = rel
		}
		facts[rel] = fact
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return facts
}

// One description gives the same root, whoever installs it; except that apk 3 makes
// folders without the bits beyond 01777, as mkdir does.
func TestRealOneSpec(t *testing.T) {
	const setgid = "var/lib/stone"
	var first map[string]string
	firstName := ""
	for name, install := range installers(t) {
		t.Run(name, func(t *testing.T) {
			facts := rootFacts(t, install(t, "stone", "stone-doc", "stone-oci-config"))
			if len(facts) < 20 {
				t.Errorf("%d files are installed", len(facts))
			}
			if strings.HasSuffix(name, "apk 3") && facts[setgid] == "40770 70:71" {
				facts[setgid] = "42770 70:71"
			}
			if first == nil {
				first, firstName = facts, name
			}
			if diff := cmp.Diff(first, facts); diff != "" {
				t.Errorf("-%s +%s:\n%s", firstName, name, diff)
			}
		})
	}
}

// All packages that one may be split into make up the whole again.
func TestRealSplits(t *testing.T) {
	for name, c := range map[string]struct {
		variable string
		v3       bool
	}{"v2 with apk 2": {"ASHLAR_APK2", false}, "v2 with apk 3": {"ASHLAR_APK3", false}, "v3 with apk 3": {"ASHLAR_APK3", true}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, os.Getenv(c.variable))
			o := testOptions()
			for _, dir := range []string{"usr/", "lib/"} {
				o.Exceptions = append(o.Exceptions, Exception{Checks: append(elfcheck.Checks(), CheckLoader), Pattern: dir, Reason: "only a test"})
			}
			tree := abuildLibrary().file("usr/lib/debug/x.debug", "x").tree(t)
			set, err := Assemble(tree, spec(t, stone+strings.Replace(allSplits, "{name: stone-dev}", "{name: stone-dev}, {name: stone-dbg}", 1)), o)
			if err != nil {
				t.Fatal(err)
			}
			world := "name: world\nversion: 1\nrel: 0\ndescription: x\nlicense: MIT\nurl: https://example.org\nformats: [apk]\nfiles: [srv]\n" +
				"apk: {provides: ['so:" + musl + "', 'so:libm.so.6', pc:w, pc:z=9, pkgconfig, python3=3.13.1, docs, openrc, lang, bash-completion]}\n"
			s.write(t, set, assemble(t, newTar().file("srv/x", "x").tree(t), spec(t, world)))
			repository := s.repo
			if c.v3 {
				s.indexV3(t)
				repository = s.repo + "/x86_64/Packages.adb"
			} else {
				s.indexV2(t)
			}
			if out, err := s.add(t, repository, "stone", "world"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			// What is installed together with something else came by itself.
			installed := "\n" + mustRun(t, s.apk, "--root", s.root, "info")
			for name, want := range map[string]bool{
				"stone": true, "stone-libs": true, "stone-doc": true, "stone-openrc": true, "stone-lang": true, "stone-bash-completion": true,
				"stone-zsh-completion": false, "stone-dev": false, "stone-systemd": false,
			} {
				if strings.Contains(installed, "\n"+name+"\n") != want {
					t.Errorf("%s is installed: %t", name, !want)
				}
			}
			var names []string
			for _, b := range set.Packages {
				names = append(names, b.Name)
			}
			if out, err := s.add(t, repository, names...); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, b := range set.Packages {
				checkInstalled(t, set, b, s.root)
			}
			for _, n := range tree.sorted {
				if _, err := os.Lstat(filepath.Join(s.root, n.path)); (err == nil) == (n.path == infoDirectory) {
					t.Errorf("%s: %v", n.path, err)
				}
			}
		})
	}
}

// rawV2 returns a v2 package of one empty file, with lines added to what it says
// of itself.
func rawV2(t *testing.T, name, version, lines string) []byte {
	t.Helper()
	part := func(name, content string, end bool) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		w.Write([]byte(content))
		if w.Flush(); end {
			w.Close()
		}
		z.Close()
		return b.Bytes()
	}
	data := part("srv/x", "", true)
	info := fmt.Sprintf("pkgname = %s\npkgver = %s\npkgdesc = x\nurl = x\narch = x86_64\nsize = 1\nlicense = MIT\n%sdatahash = %x\n", name, version, lines, sha256.Sum256(data))
	return append(part(".PKGINFO", info, false), data...)
}

// What makes apk's own tool for indexes give up, and versions that apk has no order
// for, are refused before anything is written, with place and remedy.
func TestRealMkndxRefuses(t *testing.T) {
	pc := func(text string) *testTar { return newTar().file("usr/lib/pkgconfig/x.pc", text) }
	for name, c := range map[string]struct {
		tar           *testTar // nil for one file
		version, with string   // of the definition
		lines         string   // what such a package says of itself
		line          int      // of the definition, 0 if it is good
		want          string
	}{
		"a good one":                {nil, "1.2", "provides: a=1", "provides = a=1\n", 0, ""},
		"word in a version":         {nil, "1.2-cluster", "", "", 14, `version "1.2-cluster-r3"`},
		"v before a version":        {nil, "v1", "", "", 14, `version "v1-r3"`},
		"Debian's epoch":            {nil, "1:2", "", "", 14, `version "1:2-r3"`},
		"two revisions":             {nil, "1.2-r1", "", "", 14, "-r3"},
		"hash in a version":         {nil, "1.2~abc", "", "", 14, "apk 2 does not take"},
		"version that is provided":  {nil, "1.2", "provides: a=1_x", "provides = a=1_x\n", 21, `"a=1_x"`},
		"version of a library":      {newTar().file("usr/lib/libx.so.1_x", so("libx.so.1", "")), "1.2", "", "provides = so:libx.so.1=1_x\n", 14, "so:libx.so.1=1_x"},
		"name of a library":         {newTar().file("usr/lib/libx.so.1", so("lib(x).so.1", "")), "1.2", "", "provides = so:lib(x).so.1=1\n", 14, "so:lib(x).so.1"},
		"library that is needed":    {newTar().program("usr/bin/x", so("", "$ORIGIN", "lib{y}.so")), "1.2", "", "depend = so:lib{y}.so\n", 14, "so:lib{y}.so"},
		"version of a .pc file":     {pc("Version: 1.2-dev\n"), "1.2", "", "provides = pc:x=1.2-dev\n", 14, "pc:x=1.2-dev"},
		"version of a needed .pc":   {pc("Version: 1\nRequires: y >= 1.x\n"), "1.2", "", "depend = pc:y>=1.x\n", 14, "pc:y>=1.x"},
		"a name with an odd letter": {nil, "1.2", "depends: 'a&b'", "depend = a&b\n", 21, "a&b"},
		"what is replaced":          {nil, "1.2", "replaces: 'a>1.x'", "replaces = a>1.x\n", 21, "a>1.x"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.tar == nil {
				c.tar = newTar().file("usr/x", "")
			}
			s, err := ParseSpec(step(t, strings.Replace(stone, "1.2", "'"+c.version+"'", 1)+"files: [usr]\n"+c.with+"\nformats: [apk]\n"))
			if err == nil {
				_, err = Assemble(c.tar.tree(t), s, testOptions())
			}
			if c.line == 0 && err != nil {
				t.Error(err)
			}
			if c.line > 0 {
				checkError(t, err, fault.Invalid, fmt.Sprintf("%s:%d: ", testFile, c.line), c.want)
				if err != nil && !strings.HasSuffix(err.Error(), ")") {
					t.Errorf("%v has no remedy", err)
				}
			}
			if out, ok := acceptedByBoth(t, c.version+"-r3", c.lines); ok != (c.line == 0) {
				t.Errorf("apk's tools accept it: %t\n%s", ok, out)
			}
		})
	}
}

// acceptedByBoth reports whether apk 2 and apk 3 know a version, and whether apk 3
// indexes a package that says such lines of itself.
func acceptedByBoth(t *testing.T, version, lines string) (string, bool) {
	t.Helper()
	apk2, apk3 := os.Getenv("ASHLAR_APK2"), os.Getenv("ASHLAR_APK3")
	if apk2 == "" || apk3 == "" {
		t.Skip("ASHLAR_APK2 and ASHLAR_APK3 name no apk to ask")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "x.apk")
	if err := os.WriteFile(file, rawV2(t, "stone", version, lines), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{
		{apk2, "version", "--check", "--quiet", version}, {apk3, "version", "--check", "--quiet", version},
		{apk3, "--allow-untrusted", "mkndx", "--output", filepath.Join(dir, "x.adb"), file},
	} {
		if out, err := run(t, argv...); err != nil {
			return out, false
		}
	}
	return "", true
}

// A package that is for every architecture has nothing that is for one.
func TestNoArchRefuses(t *testing.T) {
	tree := func() *Tree {
		return newTar().file("usr/share/doc/stone/example", static("one")).file("usr/bin/x", "x").tree(t)
	}
	with := stone + "formats: [apk]\nsubpackages: [{name: stone-doc}]"
	_, err := Assemble(tree(), spec(t, with), testOptions())
	checkError(t, err, fault.Invalid, testFile+":21: package stone-doc is for every architecture, and usr/share/doc/stone/example is for one (list the files")
	with = stone + "files: [usr/bin]\nformats: [apk]\nsubpackages: [{name: stone-doc, files: [usr/share]}]"
	if set := assemble(t, tree(), spec(t, with)); set.binary(t, APK, "stone-doc").Arch != "x86_64" {
		t.Errorf("its architecture is %s", set.binary(t, APK, "stone-doc").Arch)
	}
}

// A package of empty files only is installed, too; apk 2 takes one of size 0 for
// a list of dependencies.
func TestRealEmptyFiles(t *testing.T) {
	s := newSite(t, os.Getenv("ASHLAR_APK2"))
	set := assemble(t, newTar().file("usr/x", "").link("usr/y", "x").dir("usr/z").tree(t), spec(t, stone+"formats: [apk]\nfiles: [usr]"))
	if _, err := set.Write(context.Background(), s.repo+"/x86_64", 1); err != nil {
		t.Fatal(err)
	}
	s.indexV2(t)
	if out, err := s.add(t, s.repo, "stone"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	checkInstalled(t, set, set.Packages[0], s.root)
}
