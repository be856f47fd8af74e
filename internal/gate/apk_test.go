package gate

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pack"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// A tiny is a package of one file.
type tiny struct {
	name, depends string
	path, content string
	v2, v3        string // what each generation has otherwise, as "depends x", "file content", "version v", "none"
}

// put packs a tiny and puts what there is of it into the store.
func (p tiny) put(t *testing.T, s blob.Store) (files []ashlar.File) {
	t.Helper()
	for suffix, other := range map[string]string{".apk": p.v2, ashlar.ApkV3Suffix: p.v3} {
		q, version := p, "1-r0"
		switch key, value, _ := strings.Cut(other, " "); key {
		case "none":
			continue
		case "depends":
			q.depends = value
		case "file":
			q.content = value
		case "version":
			version = value
		}
		words, err := apk.ParseDependencies(q.depends)
		if err != nil {
			t.Fatal(err)
		}
		info := apk.Info{Name: q.name, Version: version, Arch: "x86_64", Description: "x", License: "MIT", Origin: q.name, Depends: words}
		content := []apk.File{{
			Entry: apk.Entry{Path: "usr", Kind: apk.Directory, Mode: 0o755, User: "root", Group: "root"},
		}, {
			Entry: apk.Entry{Path: "usr/bin", Kind: apk.Directory, Mode: 0o755, User: "root", Group: "root"},
		}, {
			Entry: apk.Entry{Path: "usr/bin/" + q.path, Mode: 0o755, User: "root", Group: "root", Size: int64(len(q.content))},
			Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(q.content)), nil },
		}}
		var b bytes.Buffer
		if suffix == ".apk" {
			_, err = apk.WriteV2(&b, &apk.V2Spec{Info: info, Files: content})
		} else {
			_, err = apk.WriteV3(&b, &apk.V3Spec{Info: info, Files: content, Compression: adb.Deflate})
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := s.Put(t.Context(), &b, "")
		if err != nil {
			t.Fatal(err)
		}
		f.Name = q.name + "-" + version + suffix
		files = append(files, f)
	}
	return files
}

// script returns a package of a script.
func script(name, depends string) tiny {
	return tiny{name: name, depends: depends, path: name, content: "#!/bin/sh\n"}
}

// judgeSet lets the gate look at a set, with others of the factory's.
func judgeSet(t *testing.T, exceptions string, set, others []tiny) (*ashlar.Verdict, string, error) {
	t.Helper()
	s := blob.NewMemory()
	c := &APKCase{Target: ashlar.Target{Distro: "musl-1", Arch: "amd64"}, Scratch: t.TempDir()}
	for _, p := range set {
		c.Set = append(c.Set, p.put(t, s)...)
	}
	for _, p := range others {
		for _, f := range p.put(t, s) {
			if strings.HasSuffix(f.Name, ashlar.ApkV3Suffix) {
				continue
			}
			own, err := resolve.ReadOwn(t.Context(), s, f)
			if err != nil {
				t.Fatal(err)
			}
			c.Others = append(c.Others, *own)
		}
	}
	var err error
	if c.Exceptions, err = pack.ParseExceptions(catalog.Pos{}, exceptions); err != nil {
		t.Fatal(err)
	}
	v := &ashlar.Verdict{Passed: true}
	err = JudgeAPK(t.Context(), &build.Runner{Store: s}, c, v)
	return v, c.Scratch, err
}

// summary returns a line for each check, without what it says.
func summary(v *ashlar.Verdict) []string {
	var list []string
	for _, c := range v.Checks {
		list = append(list, c.Name+" "+c.Subject+" "+c.Outcome)
	}
	return list
}

// says returns what the checks say that did not pass, or all if all passed.
func says(v *ashlar.Verdict) string {
	var b strings.Builder
	for _, c := range v.Checks {
		if v.Passed || c.Outcome != ashlar.CheckPassed {
			b.WriteString(c.Detail + "\n")
		}
	}
	return b.String()
}

// programs returns one for musl, and the same at a fixed address. Neither asks for a
// loader, so the gate need not try one.
func programs() (hardened, old string) {
	spec := elftest.Program()
	spec.Interpreter = ""
	hardened = string(elftest.Build(spec))
	spec.Shared = false
	return hardened, string(elftest.Build(spec))
}

func TestJudgeAPK(t *testing.T) {
	hardened, old := programs()
	const pairs = "both generations musl-1/amd64 "
	for _, c := range []struct {
		name       string
		set        []tiny
		others     []tiny
		exceptions string
		want       []string
		says       []string
	}{
		{name: "a set", set: []tiny{script("stone", "libstone"), script("libstone", "")},
			want: []string{pairs + "passed", "hardening stone passed", "hardening libstone passed", "install stone passed", "install libstone passed"},
			says: []string{"all 2 packages are there as v2 and as v3", "2 files with 2 packages", "1 files with 1 packages"}},
		{name: "with another of the factory's", set: []tiny{script("stone", "libstone")}, others: []tiny{script("libstone", "")},
			want: []string{pairs + "passed", "hardening stone passed", "install stone passed"}, says: []string{"2 files with 2 packages"}},
		{name: "an earlier one of the set does not count", set: []tiny{script("stone", "libstone"), {name: "libstone", path: "libstone", content: "x", v2: "version 2-r0", v3: "version 2-r0"}},
			others: []tiny{script("libstone", "no-such-thing"), script("stone", "no-such-thing")},
			want:   []string{pairs + "passed", "hardening stone passed", "hardening libstone passed", "install stone passed", "install libstone passed"}},
		{name: "no v3", set: []tiny{{name: "stone", path: "x", v3: "none"}}, want: []string{pairs + "failed", "hardening stone passed"}, says: []string{"1 packages of v2 and 0 of v3"}},
		{name: "no v2", set: []tiny{{name: "stone", path: "x", v2: "none"}}, want: []string{pairs + "failed"}, says: []string{"0 packages of v2 and 1 of v3"}},
		{name: "another version", set: []tiny{{name: "stone", path: "x", v3: "version 2-r0"}}, want: []string{pairs + "failed", "hardening stone passed"}, says: []string{"stone-1-r0.apk is not there in v3"}},
		{name: "another content", set: []tiny{{name: "stone", path: "x", content: "x", v3: "file y"}}, want: []string{pairs + "failed", "hardening stone passed"}, says: []string{"do not hold the same: usr/bin/x"}},
		{name: "another dependency", set: []tiny{{name: "stone", path: "x", v3: "depends musl"}}, want: []string{pairs + "failed", "hardening stone passed"}, says: []string{"do not say the same", "depends musl"}},
		{name: "a dependency that nothing fulfils", set: []tiny{script("stone", "no-such-thing")},
			want: []string{pairs + "passed", "hardening stone passed", "install stone failed"}, says: []string{"no-such-thing"}},
		{name: "a conflict with what it needs", set: []tiny{script("stone", "libstone"), script("libstone", "!stone")},
			want: []string{pairs + "passed", "hardening stone passed", "hardening libstone passed", "install stone failed", "install libstone passed"}, says: []string{"stone"}},
		{name: "a file of another", set: []tiny{{name: "stone", path: "x", content: "1", depends: "libstone"}, {name: "libstone", path: "x", content: "2"}},
			want: []string{pairs + "passed", "hardening stone passed", "hardening libstone passed", "install stone failed", "install libstone passed"}, says: []string{"usr/bin/x"}},
		{name: "a hardened program", set: []tiny{{name: "stone", path: "x", content: hardened}},
			want: []string{pairs + "passed", "hardening stone passed", "install stone passed"}, says: []string{"1 programs and libraries"}},
		{name: "one at a fixed address", set: []tiny{{name: "stone", path: "x", content: old}}, want: []string{pairs + "passed", "hardening stone failed"}, says: []string{"usr/bin/x: "}},
		{name: "one that may be", set: []tiny{{name: "stone", path: "x", content: old}}, exceptions: "pie usr/bin/*  it was so in the old days",
			want: []string{pairs + "passed", "hardening stone passed", "install stone passed"}, says: []string{"excused: usr/bin/x (pie: it was so in the old days)"}},
		{name: "another that may be", set: []tiny{{name: "stone", path: "x", content: old}}, exceptions: "pie usr/bin/y  it was so in the old days", want: []string{pairs + "passed", "hardening stone failed"}},
		{name: "a program cut short", set: []tiny{{name: "stone", path: "x", content: hardened[:80]}}, want: []string{pairs + "passed", "hardening stone failed"}, says: []string{"usr/bin/x: "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, scratch, err := judgeSet(t, c.exceptions, c.set, c.others)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, summary(v)); diff != "" {
				t.Errorf("%s\n%s", diff, says(v))
			}
			if v.Passed == strings.Contains(strings.Join(c.want, "\n"), "failed") {
				t.Errorf("passed is %v", v.Passed)
			}
			for _, part := range c.says {
				if !strings.Contains(says(v), part) {
					t.Errorf("the verdict does not say %q:\n%s", part, says(v))
				}
			}
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestJudgeAPKErrors: what is no package, or not there, is no verdict.
func TestJudgeAPKErrors(t *testing.T) {
	s := blob.NewMemory()
	for name, c := range map[string]struct {
		content string
		kind    fault.Kind
	}{"noise": {"noise", fault.Invalid}, "too short": {"x", fault.Invalid}, "v3 without end": {"ADBd", fault.Invalid}, "gone": {"", fault.NotFound}} {
		f := ashlar.File{Name: "stone-1-r0.apk", Digest: ashlar.DigestOf([]byte("gone"))}
		if c.content != "" {
			stored, err := s.Put(t.Context(), strings.NewReader(c.content), "")
			if err != nil {
				t.Fatal(err)
			}
			f.Digest, f.Size = stored.Digest, stored.Size
		}
		v := &ashlar.Verdict{Passed: true}
		err := JudgeAPK(t.Context(), &build.Runner{Store: s}, &APKCase{Set: []ashlar.File{f}}, v)
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), f.Name) || len(v.Checks) > 0 {
			t.Errorf("%s: %v, %v", name, err, v.Checks)
		}
	}
}

// TestLoadable: the loader is asked about programs that name one, and about
// libraries where it looks for them.
func TestLoadable(t *testing.T) {
	p := &apkPackage{elf: nil}
	if got := p.loadable(); got != nil {
		t.Errorf("of nothing: %v", got)
	}
	read := func(path string, spec elftest.Spec) {
		err := p.take(&apk.Entry{Path: path, Kind: apk.RegularFile}, bytes.NewReader(elftest.Build(spec)))
		if err != nil {
			t.Fatal(err)
		}
	}
	p, static := newPackage(ashlar.File{}), elftest.Program()
	static.Interpreter = ""
	read("usr/bin/program", elftest.Program("libz.so.1"))
	read("usr/bin/static", static)
	read("usr/lib/libz.so.1", elftest.Library("libz.so.1"))
	read("lib/libc.so", elftest.Library("libc.so"))
	read("usr/lib/plugins/x.so", elftest.Library("x.so"))
	read("usr/lib/nameless.so", elftest.Library(""))
	if diff := cmp.Diff([]string{"lib/libc.so", "usr/bin/program", "usr/lib/libz.so.1"}, p.loadable()); diff != "" {
		t.Error(diff)
	}
}
