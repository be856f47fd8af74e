package apk

import (
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestCheckInfo(t *testing.T) {
	good := helloInfo()
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*Info)
		want   string
	}{
		{"empty name", func(i *Info) { i.Name = "" }, "not a package name"},
		{"name", func(i *Info) { i.Name = "a/b" }, "not a package name"},
		{"name with a dot first", func(i *Info) { i.Name = ".a" }, "not a package name"},
		{"version", func(i *Info) { i.Version = "1.0-1" }, "cannot stand"},
		{"long name", func(i *Info) { i.Name = strings.Repeat("a", 250) }, "too long for a file name"},
		{"architecture", func(i *Info) { i.Arch = "" }, "not an architecture"},
		{"path for an architecture", func(i *Info) { i.Arch = "../x" }, "not an architecture"},
		{"line break", func(i *Info) { i.Description = "a\nprovides = evil" }, "description has a line break"},
		{"long description", func(i *Info) { i.Description = strings.Repeat("x", 1900) }, "more than 1850 bytes"},
		{"commit", func(i *Info) { i.Commit = "v1.2" }, "40 hexadecimal digits"},
		{"dirty commit", func(i *Info) { i.Commit += "-dirty" }, ""},
		{"time", func(i *Info) { i.BuildTime = -1 }, "before 1970"},
		{"size", func(i *Info) { i.InstalledSize = -1 }, "negative"},
		{"priority", func(i *Info) { i.ProviderPriority = 65536 }, "priority"},
		{"layer", func(i *Info) { i.Layer = 2 }, "layer"},
		{"version from a library", func(i *Info) { i.Provides = deps("pc:jemalloc=5.3.0_") }, `hello: provides: dependency "pc:jemalloc=5.3.0_"`},
		{"another one", func(i *Info) { i.Depends = deps("pc:librtmp=v2.4") }, `depends: dependency "pc:librtmp=v2.4"`},
		{"provides a range", func(i *Info) { i.Provides = deps("a>1") }, "only ="},
		{"provides a conflict", func(i *Info) { i.Provides = deps("!a") }, "conflict"},
		{"replaces a conflict", func(i *Info) { i.Replaces = deps("!a") }, "conflict"},
		{"pinned", func(i *Info) { i.InstallIf = deps("a@edge") }, "pinned"},
		{"long list", func(i *Info) { i.Depends = deps(strings.Repeat("abcdefghij ", 12000)) }, "longer than"},
		{"tag", func(i *Info) { i.Tags = []string{"a b"} }, "tag"},
		{"good tag", func(i *Info) { i.Tags = []string{"alpine:x=1,[y]"} }, ""},
		{"trigger", func(i *Info) { i.Triggers = []string{"usr/share"} }, "not an absolute path"},
		{"trigger with a blank", func(i *Info) { i.Triggers = []string{"/a b"} }, "not an absolute path"},
		{"trigger for changes", func(i *Info) { i.Triggers = []string{"+/usr"} }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			i := helloInfo()
			c.change(&i)
			checkError(t, i.Check(), fault.Invalid, c.want)
		})
	}
}

func TestCheckScripts(t *testing.T) {
	trigger := []string{"/usr"}
	for _, c := range []struct {
		scripts  Scripts
		triggers []string
		want     string
	}{
		{Scripts{}, nil, ""},
		{Scripts{Trigger: []byte("#!/bin/sh\n")}, trigger, ""},
		{Scripts{Trigger: []byte("#!/bin/sh\n")}, nil, "need each other"},
		{Scripts{}, trigger, "need each other"},
		{Scripts{PreInstall: []byte("echo\n")}, nil, "pre-install does not begin with #!"},
		{Scripts{PostDeinstall: []byte{}}, nil, "post-deinstall does not begin"},
		{Scripts{PostUpgrade: append([]byte("#!"), make([]byte, maxScript)...)}, nil, "larger than"},
	} {
		checkError(t, c.scripts.Check(c.triggers), fault.Invalid, c.want)
	}
	if (&Scripts{}).Empty() != true || (&Scripts{Trigger: []byte("x")}).Empty() {
		t.Error("Empty is wrong")
	}
}

func TestCheckEntries(t *testing.T) {
	dir, reg := entry(Directory, "a", "").Entry, file("a/b", 0o644, "x").Entry
	with := func(e Entry, change func(*Entry)) Entry {
		change(&e)
		return e
	}
	for _, c := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"good", []Entry{dir, reg}, ""},
		{"root", []Entry{with(dir, func(e *Entry) { e.Path = "" }), dir, reg}, ""},
		{"root is a file", []Entry{with(reg, func(e *Entry) { e.Path = "" })}, "the root is"},
		{"order", []Entry{dir, with(reg, func(e *Entry) { e.Path = "c" }), reg}, "not in order"},
		{"twice", []Entry{dir, dir}, "twice"},
		{"no folder", []Entry{reg}, "does not come before"},
		{"file for a folder", []Entry{with(reg, func(e *Entry) { e.Path = "a" }), reg}, "does not come before"},
		{"up", []Entry{with(reg, func(e *Entry) { e.Path = "../x" })}, "dot"},
		{"up inside", []Entry{dir, with(reg, func(e *Entry) { e.Path = "a/../x" })}, "leaves its root"},
		{"absolute", []Entry{with(reg, func(e *Entry) { e.Path = "/etc/passwd" })}, "begin with a name"},
		{"hidden", []Entry{with(reg, func(e *Entry) { e.Path = ".profile" })}, "begins with a dot"},
		{"line break", []Entry{with(reg, func(e *Entry) { e.Path = "a\nb" })}, "control character"},
		{"long part", []Entry{with(reg, func(e *Entry) { e.Path = strings.Repeat("a", 256) })}, "malformed"},
		{"mode", []Entry{with(dir, func(e *Entry) { e.Mode = 0o40755 })}, "no permissions"},
		{"owner", []Entry{with(dir, func(e *Entry) { e.User = "" })}, "not an owner"},
		{"long owner", []Entry{with(dir, func(e *Entry) { e.Group = strings.Repeat("g", 32) })}, "not an owner"},
		{"folder with content", []Entry{with(dir, func(e *Entry) { e.Size = 1 })}, "of 1 bytes"},
		{"negative", []Entry{dir, with(reg, func(e *Entry) { e.Size = -1 })}, "of -1 bytes"},
		{"too large", []Entry{dir, with(reg, func(e *Entry) { e.Size = 8 << 30 })}, "bytes"},
		{"time", []Entry{with(dir, func(e *Entry) { e.ModTime = -1 })}, "time"},
		{"device number", []Entry{with(dir, func(e *Entry) { e.Minor = 1 })}, "device number"},
		{"device", []Entry{with(dir, func(e *Entry) { e.Kind, e.Major, e.Minor = CharDevice, 1, 3 })}, ""},
		{"kind", []Entry{with(dir, func(e *Entry) { e.Kind = 77 })}, "unknown kind"},
		{"target", []Entry{with(dir, func(e *Entry) { e.Target = "x" })}, "with a target"},
		{"empty link", []Entry{with(dir, func(e *Entry) { e.Kind = Symlink })}, "malformed target"},
		{"link to later", []Entry{dir, with(reg, func(e *Entry) { e.Path, e.Kind, e.Size, e.Target = "a/a", HardLink, 0, "a/b" }), reg}, "no earlier"},
		{"link to a folder", []Entry{dir, with(reg, func(e *Entry) { e.Kind, e.Size, e.Target = HardLink, 0, "a" })}, "no earlier"},
		{"link of another mode", []Entry{dir, reg, with(reg, func(e *Entry) { e.Path, e.Kind, e.Size, e.Mode, e.Target = "a/c", HardLink, 0, 0o4755, "a/b" })}, "another owner, mode"},
		{"link", []Entry{dir, reg, with(reg, func(e *Entry) { e.Path, e.Kind, e.Size, e.Target = "a/c", HardLink, 0, "a/b" })}, ""},
		{"xattr order", []Entry{with(dir, func(e *Entry) { e.Xattrs = []Xattr{{"user.b", ""}, {"user.a", ""}} })}, "not in order"},
		{"xattr name", []Entry{with(dir, func(e *Entry) { e.Xattrs = []Xattr{{"a=b", ""}} })}, "malformed"},
	} {
		t.Run(c.name, func(t *testing.T) { checkError(t, CheckEntries(c.entries), fault.Invalid, c.want) })
	}
}

func TestPkgInfo(t *testing.T) {
	info := helloInfo()
	info.InstalledSize = 12345
	hash := [32]byte{1, 2, 3}
	text := FormatPkgInfo(&info, hash)
	golden(t, "hello.pkginfo", text)
	got, gotHash, err := ParsePkgInfo(text)
	if err != nil || gotHash != hash {
		t.Fatalf("%v, %x", err, gotHash)
	}
	if d := cmp.Diff(info, got); d != "" {
		t.Error(d)
	}
	for _, c := range []struct{ name, text, want string }{
		{"minimal", minimal, ""},
		{"comments and others", "# x = y\n\nnonsense\nfuture = 1\n" + minimal, ""},
		{"several dependencies in a line", minimal + "depend = a b\ndepend = c\n", ""},
		{"several licences", minimal + "license = a\nlicense = b\n", ""},
		{"no number", minimal + "size = \n", ""},
		{"no name", strings.Replace(minimal, "pkgname", "x", 1), "no pkgname"},
		{"no version", strings.Replace(minimal, "pkgver", "x", 1), "no pkgver"},
		{"no digest", strings.Replace(minimal, "datahash", "x", 1), "no datahash"},
		{"short digest", strings.Replace(minimal, "00\n", "\n", 1), "not a SHA-256"},
		{"long digest", strings.Replace(minimal, "00\n", "0000\n", 1), "not a SHA-256"},
		{"digest in other letters", strings.Replace(minimal, "00\n", "0x\n", 1), "not a SHA-256"},
		{"twice", minimal + "pkgver = 2\n", "x:4: pkgver: it is there twice"},
		{"size", minimal + "size = 1k\n", "not a number"},
		{"negative", minimal + "builddate = -1\n", "not a number"},
		{"overflow", minimal + "builddate = 99999999999999999999\n", "not a number"},
		{"priority", minimal + "provider_priority = 70000\n", "larger than"},
		{"dependency", minimal + "depend = a=\n", "x:4: depend: dependency"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := ParsePkgInfo([]byte(c.text))
			checkError(t, InFile(err, "x"), fault.Invalid, c.want)
		})
	}
}

var minimal = "pkgname = a\npkgver = 1\ndatahash = " + strings.Repeat("00", 32) + "\n"

func FuzzPkgInfo(f *testing.F) {
	info := helloInfo()
	f.Add(FormatPkgInfo(&info, [32]byte{}))
	f.Add([]byte(minimal + "depend = a b=1\ntriggers = /a  /b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, hash, err := ParsePkgInfo(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		if i.Check() != nil {
			return
		}
		again, hash2, err := ParsePkgInfo(FormatPkgInfo(&i, hash))
		if d := cmp.Diff(i, again); err != nil || d != "" || hash != hash2 {
			t.Errorf("it changes when it is written and read: %v\n%s", err, d)
		}
	})
}

func TestIdentity(t *testing.T) {
	id := Identity{0xda, 0x39, 0xa3, 0xee, 0x5e, 0x6b, 0x4b, 0x0d, 0x32, 0x55, 0xbf, 0xef, 0x95, 0x60, 0x18, 0x90, 0xaf, 0xd8, 0x07, 0x09}
	if s := id.String(); s != "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk=" {
		t.Errorf("written %s", s)
	}
	for _, s := range []string{id.String(), "X1da39a3ee5e6b4b0d3255bfef95601890afd80709"} {
		if got, err := ParseIdentity(s); err != nil || got != id {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "Q1", "X1", "Q12jmj7l5rSw0yVb/vlWAYkK/YBwk", "Q12jmj7l5rSw0yVb/vlWAYkK/YBwl=", "Q2" + strings.Repeat("A", 43) + "=",
		"X1da39", "Q1" + strings.Repeat("\n", 28), "X1" + strings.Repeat("g", 40)} {
		if _, err := ParseIdentity(s); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
