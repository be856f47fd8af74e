package build

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// apkFile is a file of a package; content is that of a regular file, or the target
// of a link.
func apkFile(kind apk.Kind, name, content string) apk.File {
	f := apk.File{Entry: apk.Entry{Path: name, Kind: kind, Mode: 0o644, User: "root", Group: "root", ModTime: 1700000000}}
	switch kind {
	case apk.RegularFile:
		f.Size = int64(len(content))
		f.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }
	case apk.Directory:
		f.Mode = 0o700
	default:
		f.Target = content
	}
	return f
}

// apkOf puts a package into a store. The folders of its files need not be listed.
func apkOf(t *testing.T, s blob.Store, info apk.Info, files ...apk.File) ashlar.RootPackage {
	t.Helper()
	listed := map[string]bool{}
	var all []apk.File
	for _, f := range files {
		parts := strings.Split(f.Path, "/")
		for i := 1; i < len(parts); i++ {
			if dir := strings.Join(parts[:i], "/"); !listed[dir] {
				listed[dir] = true
				all = append(all, apkFile(apk.Directory, dir, ""))
			}
		}
		listed[f.Path] = true
		all = append(all, f)
	}
	info.Version, info.Arch, info.Description, info.License = "1-r0", "x86_64", "x", "MIT"
	var b bytes.Buffer
	if _, err := apk.WriteV2(&b, &apk.V2Spec{Info: info, Files: all}); err != nil {
		t.Fatal(err)
	}
	f, err := s.Put(t.Context(), &b, "")
	if err != nil {
		t.Fatal(err)
	}
	return ashlar.RootPackage{Name: info.Name, Version: info.Version, Arch: "amd64", Digest: f.Digest, Size: f.Size}
}

// layerOf writes the layer of packages.
func layerOf(t *testing.T, s blob.Store, packages ...ashlar.RootPackage) ([]byte, error) {
	t.Helper()
	var files []opener
	for _, p := range packages {
		files = append(files, func() (blob.Blob, error) { return s.Open(t.Context(), p.Digest) })
	}
	var b bytes.Buffer
	err := writeSysroot(&b, files)
	return b.Bytes(), err
}

// entriesOf returns a line for each entry of a tar archive.
func entriesOf(t *testing.T, b []byte) []string {
	t.Helper()
	var list []string
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		content, err2 := io.ReadAll(r)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		list = append(list, strings.TrimRight(fmt.Sprintf("%c %o %s %s%s", h.Typeflag, h.Mode, h.Name, h.Linkname, content), " "))
	}
}

func TestSysrootLayer(t *testing.T) {
	s := blob.NewMemory()
	long := "usr/share/" + strings.Repeat("long/", 40) + "ä"
	first := apkOf(t, s, apk.Info{Name: "first"}, apkFile(apk.RegularFile, "lib/libz.so.1.3", "first"),
		apkFile(apk.Symlink, "lib/libz.so", "libz.so.1.3"), apkFile(apk.Symlink, "etc", "/run/etc"),
		apkFile(apk.RegularFile, "usr/bin/a", "a"), apkFile(apk.HardLink, "usr/bin/b", "usr/bin/a"))
	second := apkOf(t, s, apk.Info{Name: "second"}, apkFile(apk.RegularFile, "lib/libz.so", "second"), apkFile(apk.Directory, "usr/include", ""),
		apkFile(apk.RegularFile, long, "x"))
	got, err := layerOf(t, s, first, second)
	if err != nil {
		t.Fatal(err)
	}
	var folders []string
	for i, part := range strings.SplitAfter(strings.TrimPrefix(long, "usr/"), "/") {
		if i == 41 {
			break
		}
		last := "usr/"
		if i > 0 {
			last = strings.TrimPrefix(folders[i-1], "5 755 ")
		}
		folders = append(folders, "5 755 "+last+part)
	}
	want := append([]string{
		"2 644 etc /run/etc", "5 755 lib/", "2 644 lib/libz.so libz.so.1.3", "0 644 lib/libz.so.1.3 first",
		"5 755 usr/", "5 755 usr/bin/", "0 644 usr/bin/a a", "1 644 usr/bin/b usr/bin/a",
		"0 644 lib/libz.so second", "5 755 usr/include/",
	}, append(folders, "0 644 "+long+" x")...)
	if diff := cmp.Diff(want, entriesOf(t, got)); diff != "" {
		t.Error(diff)
	}
	if again, err := layerOf(t, s, first, second); err != nil || !bytes.Equal(got, again) {
		t.Errorf("written again it is another: %v", err)
	}
	if _, err := layerOf(t, s); err != nil {
		t.Errorf("of nothing: %v", err)
	}
}

// TestSysrootLayerRefuses: packages whose files are in one another's way, what is no
// file, and what is no package.
func TestSysrootLayerRefuses(t *testing.T) {
	s := blob.NewMemory()
	noise, err := s.Put(t.Context(), strings.NewReader("noise"), "")
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string, files ...apk.File) ashlar.RootPackage {
		return apkOf(t, s, apk.Info{Name: name}, files...)
	}
	for _, c := range []struct {
		name     string
		packages []ashlar.RootPackage
		kind     fault.Kind
		says     string
	}{
		{"a link in the place of a folder", []ashlar.RootPackage{of("a", apkFile(apk.RegularFile, "lib/a", "a")), of("b", apkFile(apk.Symlink, "lib", "/etc")), of("c", apkFile(apk.RegularFile, "lib/c", "c"))},
			fault.Invalid, "lib: one package has a folder there"},
		{"a folder in the place of a link", []ashlar.RootPackage{of("a", apkFile(apk.Symlink, "lib", "usr/lib")), of("b", apkFile(apk.RegularFile, "lib/b", "b"))}, fault.Invalid, "lib: one package has a folder there"},
		{"a folder in the place of a file", []ashlar.RootPackage{of("a", apkFile(apk.RegularFile, "x", "x")), of("b", apkFile(apk.Directory, "x", ""))}, fault.Invalid, "x: one package has a folder there"},
		{"a file in the place of a folder", []ashlar.RootPackage{of("a", apkFile(apk.Directory, "x", "")), of("b", apkFile(apk.RegularFile, "x", "x"))}, fault.Invalid, "x: one package has a folder there"},
		{"a device", []ashlar.RootPackage{of("a", apkFile(apk.CharDevice, "dev/x", ""))}, fault.Invalid, "dev/x: a device"},
		{"a pipe", []ashlar.RootPackage{of("a", apkFile(apk.FIFO, "dev/x", ""))}, fault.Invalid, "dev/x: a device"},
		{"no package", []ashlar.RootPackage{{Digest: noise.Digest}}, fault.Invalid, ""},
		{"nothing", []ashlar.RootPackage{{Digest: ashlar.DigestOf([]byte("gone"))}}, fault.NotFound, ""},
	} {
		if _, err := layerOf(t, s, c.packages...); !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v is %s, want %s with %q", c.name, err, fault.KindOf(err), c.kind, c.says)
		}
	}
}

// TestSysroot mounts a sysroot, and makes its layer once.
func TestSysroot(t *testing.T) {
	s := blob.NewMemory()
	r := &Runner{Store: s, Memo: t.TempDir()}
	root := &ashlar.Sysroot{Path: ashlar.SysrootDir, Packages: []ashlar.RootPackage{apkOf(t, s, apk.Info{Name: "a"}, apkFile(apk.RegularFile, "lib/a", "a"))}}
	for range 2 {
		mounts, err := r.sysroot(t.Context(), "amd64", root)
		if err != nil || len(mounts) != 1 || mounts[0].Path != ashlar.SysrootDir || !mounts[0].ReadOnly {
			t.Fatalf("%+v, %v", mounts, err)
		}
	}
	memo, err := os.ReadDir(r.Memo)
	if err != nil || len(memo) != 1 {
		t.Errorf("remembered %v, %v", memo, err)
	}
	for _, none := range []*ashlar.Sysroot{nil, {Path: "/x"}} {
		if mounts, err := r.sysroot(t.Context(), "amd64", none); mounts != nil || err != nil {
			t.Errorf("of nothing: %v, %v", mounts, err)
		}
	}
	root.Packages[0].Digest = ashlar.DigestOf([]byte("gone"))
	if _, err := r.sysroot(t.Context(), "amd64", root); !fault.Is(err, fault.NotFound) {
		t.Errorf("of what is gone: %v", err)
	}
}

// runScript runs a script as a step does.
func runScript(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("/bin/sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// TestConditions: a script of a definition says under which conditions it was run,
// if they are not the usual ones and its shell is one.
func TestConditions(t *testing.T) {
	vary := Variation{Umask: "077"}
	for _, c := range []struct {
		shell string
		vary  Variation
		says  bool
	}{
		{"bash", vary, true}, {"sh -eu", vary, true}, {"/bin/dash", vary, true}, {"/usr/bin/python3", vary, false}, {"sh", Variation{}, false}, {"sh", Variation{Parallel: 3}, false},
	} {
		s := Step{Shell: c.shell, Uses: "runs", Script: "umask"}
		args := s.varied(c.vary)
		script := args[len(args)-1]
		if !c.says {
			if script != s.Script {
				t.Errorf("%s: %q", c.shell, script)
			}
			continue
		}
		out := runScript(t, "export LC_ALL=C OMP_NUM_THREADS=3\n"+script)
		said, rest, _ := strings.Cut(out, "\n")
		for _, want := range []string{FoundConditions, " umask=0077 ", " nproc=3 ", " date=2", " locale=C", " host="} {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q does not say %q", c.shell, said, want)
			}
		}
		if strings.TrimSpace(rest) != "0077" {
			t.Errorf("%s: the umask is %s", c.shell, rest)
		}
	}
	s := Step{Shell: "sh", Uses: "dpkg/build@v1", Script: "umask"}
	if args := s.varied(vary); args[len(args)-1] != s.Script {
		t.Errorf("a step of the program's own: %q", args)
	}
}
