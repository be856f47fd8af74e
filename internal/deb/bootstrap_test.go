package deb

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A memory is a Blob of bytes.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func openers(debs ...[]byte) []Opener {
	list := make([]Opener, len(debs))
	for i, d := range debs {
		list[i] = func() (Blob, error) { return memory{bytes.NewReader(d)}, nil }
	}
	return list
}

// named makes a package of that name out of entries.
func named(t testing.TB, name, arch string, entries ...tarEntry) []byte {
	control := strings.NewReplacer("hello", name, "all", arch).Replace(helloControl)
	return makeAr(arMember{"debian-binary", "2.0\n"}, arMember{"control.tar", makeTar(t, tarEntry{name: "control", data: control})},
		arMember{"data.tar", makeTar(t, entries...)})
}

// bootstrapListing writes a root and lists it, and checks that parents come
// before children and nothing comes twice.
func bootstrapListing(t *testing.T, debs ...[]byte) ([]string, error) {
	t.Helper()
	var b bytes.Buffer
	if err := WriteBootstrap(&b, openers(debs...)); err != nil {
		return nil, err
	}
	var list []string
	dirs := map[string]bool{".": true}
	seen := map[string]bool{}
	r := tar.NewReader(&b)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if !dirs[filepath.Dir(name)] || seen[name] {
			t.Errorf("%s comes before its folder, or twice", name)
		}
		seen[name] = true
		dirs[name] = h.Typeflag == tar.TypeDir
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(name, "var") {
			list = append(list, strings.Join([]string{string(h.Typeflag), name, h.Linkname, string(content)}, "|"))
		}
	}
}

func TestBootstrap(t *testing.T) {
	a := named(t, "a", "amd64", tarEntry{name: "./bin/", kind: tar.TypeDir}, tarEntry{name: "./bin/x", data: "a"},
		tarEntry{name: "./bin/y", kind: tar.TypeLink, link: "./bin/x"}, tarEntry{name: "./lib64/ld.so", kind: tar.TypeSymlink, link: "/lib/ld"},
		tarEntry{name: "./opt/l", kind: tar.TypeSymlink, link: "../etc/real"}, tarEntry{name: "./opt/l/f", data: "f"})
	b := named(t, "b", "amd64", tarEntry{name: "./bin", kind: tar.TypeSymlink, link: "usr/bin"}, tarEntry{name: "./usr/bin/x", data: "b"},
		tarEntry{name: "./usr/bin/z", data: "z"}, tarEntry{name: "./usr/bin/w", kind: tar.TypeLink, link: "./usr/bin/x"},
		tarEntry{name: "./etc/up", kind: tar.TypeSymlink, link: "../../../.."}, tarEntry{name: "./etc/up/out", data: "inside"})
	want := []string{
		"5|usr||", "5|usr/bin||", "2|bin|usr/bin|", "5|usr/lib||", "2|lib|usr/lib|", "5|usr/sbin||", "2|sbin|usr/sbin|", "5|usr/lib64||", "2|lib64|usr/lib64|",
		"0|usr/bin/x||a", "1|usr/bin/y|usr/bin/x|", "2|usr/lib64/ld.so|/lib/ld|", "5|opt||", "2|opt/l|../etc/real|", "5|etc||", "5|etc/real||", "0|etc/real/f||f",
		"0|usr/bin/z||z", "1|usr/bin/w|usr/bin/x|", "2|etc/up|../../../..|", "0|out||inside",
	}
	for _, order := range [][][]byte{{a, b}, {b, a}} {
		got, err := bootstrapListing(t, order...)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	arm, err := bootstrapListing(t, named(t, "a", "arm64"))
	if err != nil || slices.Contains(arm, "2|lib64|usr/lib64|") {
		t.Errorf("arm64: %v, %v", arm, err)
	}
}

func TestBootstrapRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []tarEntry
		want    string
	}{
		{"out of the root", []tarEntry{{name: "../x"}}, "package a: "},
		{"whiteout", []tarEntry{{name: "etc/.wh.passwd"}}, "would delete a file"},
		{"below a file", []tarEntry{{name: "x"}, {name: "x/y"}}, "which is a file"},
		{"link loop", []tarEntry{{name: "x", kind: tar.TypeSymlink, link: "y"}, {name: "y", kind: tar.TypeSymlink, link: "x"}, {name: "x/f"}}, "too many symbolic links"},
		{"file over a folder", []tarEntry{{name: "usr/bin", data: "x"}}, "a directory in one package"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bootstrapListing(t, named(t, "a", "amd64", c.entries...))
			checkError(t, err, c.want)
		})
	}
}

// downloadEssential fetches the Essential packages of this machine's Debian and
// what they depend on.
func downloadEssential(t testing.TB) []string {
	t.Helper()
	options := aptOptions(t)
	dir := t.TempDir()
	var names []string
	for _, file := range indexTargets(t, options, "$(FILENAME)", "Created-By: Packages") {
		for _, s := range Stanzas(catIndex(t, file)) {
			if string(StanzaField(s, "Essential")) == "yes" {
				names = append(names, string(StanzaField(s, "Package")))
			}
		}
	}
	slices.Sort(names)
	write(t, filepath.Join(dir, "status"), "")
	argv := append(aptGet(options, "-s", "-o", "Dir::State::status="+filepath.Join(dir, "status"), "--no-install-recommends", "install"), slices.Compact(names)...)
	download := aptGet(options, "download")
	for line := range strings.Lines(string(apt(t, dir, argv...))) {
		if w := strings.Fields(line); len(w) > 2 && w[0] == "Inst" {
			download = append(download, w[1]+"="+strings.TrimLeft(w[2], "("))
		}
	}
	apt(t, dir, download...)
	files, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d packages were downloaded: %v", len(files), err)
	}
	return files
}

// A diskBlob is a Blob of a file.
type diskBlob struct {
	*os.File
	size int64
}

func (d diskBlob) Size() int64 { return d.size }

func openFile(name string) Opener {
	return func() (Blob, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		return diskBlob{f, info.Size()}, err
	}
}

// TestBootstrapRealRoot makes a root of real packages, and has its own dpkg
// unpack and configure them all again.
func TestBootstrapRealRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can change its root")
	}
	files := downloadEssential(t)
	var debs []Opener
	for _, f := range files {
		debs = append(debs, openFile(f))
	}
	var layer bytes.Buffer
	if err := WriteBootstrap(&layer, debs); err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	slices.Reverse(debs)
	if err := WriteBootstrap(&again, debs); err != nil || !bytes.Equal(layer.Bytes(), again.Bytes()) {
		t.Fatalf("the packages in another order give other bytes, or %v", err)
	}
	root := t.TempDir()
	untar := exec.Command("tar", "-x", "-p", "-C", root)
	untar.Stdin = &layer
	if out, err := untar.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	inRoot := func(script string) {
		t.Helper()
		cmd := exec.Command("chroot", root, "/bin/sh", "-ec", script)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", script, err, out[max(0, len(out)-3000):])
		}
	}
	inRoot("/bin/true && dpkg --version >/dev/null && test -z \"$(dpkg -l 2>/dev/null | grep ^ii)\"")
	if err := os.Mkdir(filepath.Join(root, "debs"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, "debs", name), string(b))
	}
	inRoot("dpkg --force-unsafe-io --force-depends --unpack /debs/base-passwd_*.deb && dpkg --force-depends --configure base-passwd" +
		" && dpkg --force-unsafe-io --force-depends --unpack /debs/*.deb && dpkg --configure -a && test -z \"$(dpkg --audit)\"")
	inRoot("dpkg --verify")
	if target, err := os.Readlink(filepath.Join(root, "bin")); err != nil || target != "usr/bin" {
		t.Errorf("/bin leads to %q, %v", target, err)
	}
}

func BenchmarkBootstrap(b *testing.B) {
	var debs []Opener
	for _, f := range downloadEssential(b) {
		debs = append(debs, openFile(f))
	}
	for b.Loop() {
		if err := WriteBootstrap(io.Discard, debs); err != nil {
			b.Fatal(err)
		}
	}
}
