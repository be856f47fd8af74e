package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// static returns a program that runs on both distributions.
func static(name string) string {
	s := elftest.Library("")
	s.Dynamic = map[elf.DynTag]uint64{elf.DT_FLAGS_1: uint64(elf.DF_1_NOW | elf.DF_1_PIE)}
	s.Comment = name
	return string(elftest.Build(s))
}

// monument is a tree with everything in it that both formats can hold.
func monument() *testTar {
	return newTar().dir("usr").program("usr/bin/stone", static("one")).hardLink("usr/bin/rock", "usr/bin/stone").link("usr/bin/pebble", "rock").
		program("usr/bin/stone-dev", static("two")).file("etc/stone/conf", "hard\n").
		add(tar.Header{Name: "var/lib/stone/", Typeflag: tar.TypeDir, Mode: 0o2770, Uid: 70, Gid: 71}, "").
		add(tar.Header{Name: "usr/bin/su-stone", Mode: 0o4755}, "#!/bin/sh\n").
		file("usr/share/man/man1/stone.1.gz", "man").file("usr/share/stone/big", strings.Repeat("0123456789abcdef", 100_000)).
		file("usr/share/stone/empty", "").dir("usr/share/stone/folder")
}

const monumentWith = stone + `files: [usr/bin/stone, usr/bin/rock, usr/bin/pebble, usr/bin/su-stone, etc, var, usr/share]
section: admin
priority: optional
provides: boulder=$pkg_full_version
subpackages:
  - {name: stone-dev, files: [{path: usr/bin/stone, source: usr/bin/stone-dev}]}
  - {name: stone-doc}
oci-config: {environment: {PATH: /usr/bin}}
`

// write assembles and writes the monument.
func writeMonument(t testing.TB, dir string, workers int) (*Set, []ashlar.File) {
	t.Helper()
	o := testOptions()
	o.Users, o.Groups = map[int]string{70: "mason"}, map[int]string{71: "masons"}
	set, err := Assemble(monument().tree(t), spec(t, monumentWith), o)
	if err != nil {
		t.Fatal(err)
	}
	files, err := set.Write(context.Background(), dir, workers)
	if err != nil {
		t.Fatal(err)
	}
	return set, files
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	set, files := writeMonument(t, dir, 1)
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		b, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil || int64(len(b)) != f.Size || fmt.Sprintf("sha256:%x", sha256.Sum256(b)) != string(f.Digest) {
			t.Errorf("%+v is not as it was written, %v", f, err)
		}
	}
	want := []string{
		"stone-1.2-r3.apk", "stone-1.2-r3.v3.apk", "stone-dev-1.2-r3.apk", "stone-dev-1.2-r3.v3.apk", "stone-dev_1.2-3_amd64.deb",
		"stone-doc-1.2-r3.apk", "stone-doc-1.2-r3.v3.apk", "stone-doc_1.2-3_all.deb", "stone-oci-config-1.2-r3.apk",
		"stone-oci-config-1.2-r3.v3.apk", "stone-oci-config_1.2-3_all.deb", "stone_1.2-3_amd64.deb",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if left, _ := os.ReadDir(dir); len(left) != len(files) {
		t.Errorf("there is more in the folder: %v", left)
	}
	wantNotes := []string{
		"apk package stone: usr/bin/su-stone has mode 04755: it runs with the rights of its owner or group",
		"apk package stone: var/lib/stone has mode 02770: apk 3 makes folders without setuid and setgid, apk 2 with",
		"deb package stone: usr/bin/su-stone has mode 04755: it runs with the rights of its owner or group",
	}
	if diff := cmp.Diff(wantNotes, set.Notes); diff != "" {
		t.Error(diff)
	}
	// Whoever does it again gets the same bytes, with any number of workers.
	_, again := writeMonument(t, t.TempDir(), 4)
	if diff := cmp.Diff(files, again); diff != "" {
		t.Error(diff)
	}
	checkPackages(t, dir)
}

// checkPackages reads what was written back.
func checkPackages(t *testing.T, dir string) {
	t.Helper()
	v2, err := os.Open(filepath.Join(dir, "stone-1.2-r3.apk"))
	if err != nil {
		t.Fatal(err)
	}
	defer v2.Close()
	p, err := apk.ReadV2(v2)
	if err != nil {
		t.Fatal(err)
	}
	if p.Info.Origin != "stone" || p.Info.Arch != "x86_64" || p.Info.BuildTime != sourceTime || p.Info.License != "MIT" ||
		apk.FormatDependencies(p.Info.Provides) != "boulder=1.2-r3 cmd:pebble=1.2-r3 cmd:rock=1.2-r3 cmd:stone=1.2-r3 cmd:su-stone=1.2-r3" {
		t.Errorf("%+v", p.Info)
	}
	b, err := os.ReadFile(filepath.Join(dir, "stone_1.2-3_amd64.deb"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := deb.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	wantControl := `Package: stone
Version: 1.2-3
Architecture: amd64
Maintainer: Ann Other <ann@example.org>
Installed-Size: 1581
Provides: boulder (= 1.2-3)
Section: admin
Priority: optional
Homepage: https://example.org/stone
Description: A stone
`
	if diff := cmp.Diff(wantControl, d.Control.String()); diff != "" {
		t.Error(diff)
	}
	conffiles, _ := d.ControlFile("conffiles")
	if string(conffiles) != "/etc/stone/conf\n" {
		t.Errorf("conffiles %q", conffiles)
	}
	owners := map[string]string{}
	if err := d.Walk(func(h *tar.Header, _ io.Reader) error {
		owners[h.Name] = fmt.Sprintf("%c %o %d:%s %d:%s %s", h.Typeflag, h.Mode, h.Uid, h.Uname, h.Gid, h.Gname, h.Linkname)
		return nil
	}); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"var/lib/stone": "5 2770 70:mason 71:masons ", "usr/bin/su-stone": "0 4755 0:root 0:root ",
		"usr/bin/stone": "1 755 0:root 0:root usr/bin/rock", "usr/bin/pebble": "2 777 0:root 0:root rock",
		"usr/share/doc/stone/copyright": "0 644 0:root 0:root ",
	} {
		if owners[name] != want {
			t.Errorf("%s is %q, want %q", name, owners[name], want)
		}
	}
}

// If a package cannot be written none is left.
func TestWriteFails(t *testing.T) {
	set := assemble(t, newTar().program("usr/bin/x", "x").tree(t), spec(t, stone+"files: [usr]"))
	for _, b := range set.Packages {
		if b.Format == APK {
			b.apk.Version = "no version"
		}
	}
	dir := t.TempDir()
	if _, err := set.Write(context.Background(), dir, 1); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := set.Write(ctx, dir, 1); !errors.Is(err, context.Canceled) && !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestAssembleRefuses(t *testing.T) {
	tree := func() *Tree { return monument().tree(t) }
	for name, c := range map[string]struct {
		with   string
		change func(*Options)
		want   string
	}{
		"architecture":      {stone + "files: [usr]", func(o *Options) { o.Arch = "i386" }, `packages for "i386" are not made`},
		"no maintainer":     {stone + "files: [usr]", func(o *Options) { o.Maintainer = "" }, "packages need a maintainer"},
		"version of apk":    {strings.Replace(stone, "1.2", "1.2-cluster", 1) + "files: [etc]", func(*Options) {}, ":14: for apk: package stone: version"},
		"version of Debian": {strings.Replace(stone, "1.2", "1.2_x", 1) + "files: [etc]\nformats: [deb]", func(*Options) {}, ":14: for deb: package stone: version"},
		"nameless owner":    {stone + "files: [etc, var/lib/stone]\nformats: [apk]", func(*Options) {}, ":20: for apk: package stone: the owner of var/lib/stone is 70:71"},
		"commit":            {stone + "files: [etc]\nformats: [apk]", func(o *Options) { o.Commit = "abc" }, "commit"},
		"hidden file":       {stone + "files: [{path: .stone, source: etc/stone/conf}]\nformats: [apk]", func(*Options) {}, "begins with a dot"},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			c.change(&o)
			_, err := Assemble(tree(), spec(t, c.with), o)
			checkError(t, err, fault.Invalid, c.want)
		})
	}
}

// Numbers are enough of an owner for dpkg.
func TestNumbersForDpkg(t *testing.T) {
	set := assemble(t, monument().tree(t), spec(t, stone+"files: [var/lib/stone]\nformats: [deb]"))
	if _, err := set.Write(context.Background(), t.TempDir(), 1); err != nil {
		t.Error(err)
	}
}

// Extended attributes are in packages of apk, which it is said of, and cannot be in
// Debian's.
func TestAttributes(t *testing.T) {
	tree := newTar().add(tar.Header{Name: "usr/bin/ping", PAXRecords: map[string]string{
		"SCHILY.xattr." + capability: "\x01\x00\x00\x02", "SCHILY.xattr.user.note": "n",
	}}, "ping").add(tar.Header{Name: "usr/bin/x", PAXRecords: map[string]string{"SCHILY.xattr.user.note": "n"}}, "x").tree(t)
	set := assemble(t, tree, spec(t, stone+"files: [usr]"))
	want := []string{
		"apk package stone: usr/bin/ping has capabilities",
		"deb package stone: usr/bin/ping loses its extended attributes: dpkg cannot hold them",
		"deb package stone: usr/bin/x loses its extended attributes: dpkg cannot hold them",
	}
	if diff := cmp.Diff(want, set.Notes); diff != "" {
		t.Error(diff)
	}
	dir := t.TempDir()
	if _, err := set.Write(context.Background(), dir, 1); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "stone-1.2-r3.v3.apk"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := apk.ReadV3(f, apk.V3Unchecked())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]apk.Xattr{}
	for _, e := range p.Entries {
		if e.Kind == apk.RegularFile {
			got[e.Path] = e.Xattrs
		}
	}
	wantAttributes := map[string][]apk.Xattr{
		"usr/bin/ping": {{Name: capability, Value: "\x01\x00\x00\x02"}, {Name: "user.note", Value: "n"}}, "usr/bin/x": {{Name: "user.note", Value: "n"}},
	}
	if diff := cmp.Diff(wantAttributes, got); diff != "" {
		t.Error(diff)
	}
}
