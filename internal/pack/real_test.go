package pack

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The tests named TestReal… install what is written with the real tools: apk 2.14
// and 3.0, named by the variables ASHLAR_APK2 and ASHLAR_APK3, and the machine's
// dpkg. They are skipped without, and where the user is not root.

// run runs a program and returns what it says.
func run(t testing.TB, argv ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

// mustRun is run for a call that is to succeed.
func mustRun(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := run(t, argv...)
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return out
}

// A site is a repository of apk and an empty root to install from it to.
type site struct {
	apk, root, keys, repo string
	key                   *rsa.PrivateKey
}

func newSite(t *testing.T, program string) *site {
	t.Helper()
	if program == "" {
		t.Skip("no apk is named")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can install packages")
	}
	dir := t.TempDir()
	s := &site{apk: program, root: dir + "/root", keys: dir + "/keys", repo: dir + "/repo"}
	for _, d := range []string{s.root, s.keys, s.repo + "/x86_64"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if s.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	if err := os.WriteFile(s.keys+"/test.rsa.pub", public, 0o644); err != nil {
		t.Fatal(err)
	}
	return s
}

// write writes the packages of sets into the repository.
func (s *site) write(t *testing.T, sets ...*Set) {
	t.Helper()
	for _, set := range sets {
		if _, err := set.Write(context.Background(), s.repo+"/x86_64", 2); err != nil {
			t.Fatal(err)
		}
	}
}

// packages opens the packages in the repository whose name ends so.
func (s *site) packages(t *testing.T, read func(name string, f *os.File, size int64), keep func(string) bool) {
	t.Helper()
	names, err := filepath.Glob(s.repo + "/x86_64/*.apk")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !keep(name) {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		read(name, f, info.Size())
		f.Close()
	}
}

// indexV2 makes the signed index of the v2 packages.
func (s *site) indexV2(t *testing.T) {
	t.Helper()
	x := apk.Index{Description: "test"}
	s.packages(t, func(name string, f *os.File, size int64) {
		p, err := apk.ReadV2(f)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		x.Entries = append(x.Entries, p.IndexEntry(size))
	}, func(name string) bool { return !strings.HasSuffix(name, ".v3.apk") })
	x.SetArch("x86_64")
	b, err := x.EncodeV2(sourceTime, 0, apk.Signer{KeyName: "test.rsa.pub", Key: s.key})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.repo+"/x86_64/APKINDEX.tar.gz", b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// indexV3 makes the signed index of the v3 packages.
func (s *site) indexV3(t *testing.T) {
	t.Helper()
	x := &apk.V3Index{Description: "test", PkgnameSpec: "${name}-${version}.v3.apk"}
	s.packages(t, func(name string, f *os.File, size int64) {
		p, err := apk.ReadV3(f, apk.V3Unchecked())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		x.Entries = append(x.Entries, p.IndexEntry(size))
	}, func(name string) bool { return strings.HasSuffix(name, ".v3.apk") })
	var b bytes.Buffer
	if err := apk.WriteV3Index(&b, x, adb.Deflate, s.key); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.repo+"/x86_64/Packages.adb", b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// add installs packages into the root from a repository or an index.
func (s *site) add(t *testing.T, repository string, names ...string) (string, error) {
	t.Helper()
	return run(t, append([]string{s.apk, "--root", s.root, "--keys-dir", s.keys, "--arch", "x86_64", "--repositories-file", "/dev/null",
		"--repository", repository, "--no-cache", "--no-network", "add", "--initdb", "--no-scripts"}, names...)...)
}

// town is a set with a program, its library and what developers need, and one with
// a C library.
func town(t *testing.T) []*Set {
	tree := newTar().file("usr/lib/libstone.so.1.2.3", so("libstone.so.1", "", musl)).link("usr/lib/libstone.so.1", "libstone.so.1.2.3").
		link("usr/lib/libstone.so", "libstone.so.1.2.3").file("usr/include/stone.h", "int stone(void);\n").
		file("usr/lib/pkgconfig/stone.pc", "Name: stone\nDescription: x\nVersion: 1.2-rc1\n").
		program("usr/bin/stone", so("", "$ORIGIN", "libstone.so.1", musl)).file("usr/share/man/man1/stone.1.gz", "x").
		hardLink("usr/bin/rock", "usr/bin/stone").file("usr/share/stone/big", strings.Repeat("stone", 500_000)).
		file("etc/stone.conf", "x").tree(t)
	stones := spec(t, strings.Replace(stone, "1.2", "1.2_rc1", 1)+"formats: [apk]\npriority: '7'\nprovides: boulder=$pkg_full_version\n"+
		"replaces: oldstone\nsubpackages: [{name: stone-dev}, {name: stone-libs}, {name: stone-doc}]\noci-config: {environment: {A: b}}\n")
	libc := spec(t, "name: musl\nversion: 1\nrel: 0\ndescription: C library\nlicense: MIT\nurl: https://example.org\nformats: [apk]\nfiles: [lib]\n")
	libcTree := newTar().program("lib/ld-musl-x86_64.so.1", so(musl, "")).link("lib/"+musl, "ld-musl-x86_64.so.1").tree(t)
	pkgconfig := spec(t, "name: pkgconfig\nversion: 1\nrel: 0\ndescription: x\nlicense: MIT\nurl: https://example.org\nformats: [apk]\nfiles: [usr]\n")
	return []*Set{
		assemble(t, tree, stones), assemble(t, libcTree, libc),
		assemble(t, newTar().program("usr/bin/pkg-config", "#!/bin/sh\n").tree(t), pkgconfig),
	}
}

// apk installs the packages by their index, finds what they depend on and every
// file as it was packed.
func TestRealAPK(t *testing.T) {
	for _, c := range []struct {
		name, variable string
		v3             bool
	}{{"v2 with apk 2", "ASHLAR_APK2", false}, {"v2 with apk 3", "ASHLAR_APK3", false}, {"v3 with apk 3", "ASHLAR_APK3", true}} {
		t.Run(c.name, func(t *testing.T) {
			s := newSite(t, os.Getenv(c.variable))
			sets := town(t)
			s.write(t, sets...)
			repository := s.repo
			if c.v3 {
				s.indexV3(t)
				repository = s.repo + "/x86_64/Packages.adb"
			} else {
				s.indexV2(t)
			}
			if out, err := s.add(t, repository, "stone", "stone-dev", "stone-oci-config"); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			installed := mustRun(t, s.apk, "--root", s.root, "info")
			for _, name := range []string{"stone", "stone-dev", "stone-libs", "stone-oci-config", "musl", "pkgconfig"} {
				if !strings.Contains("\n"+installed, "\n"+name+"\n") {
					t.Errorf("%s is not installed:\n%s", name, installed)
				}
			}
			for _, b := range sets[0].Packages {
				if b.Name != "stone-doc" {
					checkInstalled(t, sets[0], b, s.root)
				}
			}
			if out := mustRun(t, s.apk, "--root", s.root, "audit", "--system", "/usr", "/lib"); strings.Contains(out, "usr/") {
				t.Errorf("audit: %s", out)
			}
		})
	}
}

// checkInstalled wants all files of a package in a root as they are in the tree.
func checkInstalled(t *testing.T, s *Set, b *Binary, root string) {
	t.Helper()
	for _, f := range b.files {
		name := filepath.Join(root, f.path)
		info, err := os.Lstat(name)
		if err != nil {
			t.Error(err)
			continue
		}
		switch f.node.kind {
		case symlink:
			if to, err := os.Readlink(name); err != nil || to != f.node.target {
				t.Errorf("%s points to %s, %v", f.path, to, err)
			}
		case regular:
			want, err := io.ReadAll(s.tree.open(f.node.content))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) || info.ModTime().Unix() != sourceTime {
				t.Errorf("%s: %d bytes of %d, %v, %v", f.path, len(got), len(want), info.ModTime(), err)
			}
			if int64(info.Mode().Perm()) != f.mode&0o777 {
				t.Errorf("%s has mode %v", f.path, info.Mode())
			}
		}
	}
}

// apk's own tools take the packages too, and index them as we do.
func TestRealAPKTools(t *testing.T) {
	s := newSite(t, os.Getenv("ASHLAR_APK3"))
	s.write(t, town(t)...)
	s.packages(t, func(name string, _ *os.File, _ int64) {
		mustRun(t, s.apk, "--allow-untrusted", "verify", name)
	}, func(string) bool { return true })
	out := filepath.Join(s.repo, "theirs.adb")
	files, _ := filepath.Glob(s.repo + "/x86_64/*.apk")
	var v3 []string
	for _, f := range files {
		if strings.HasSuffix(f, ".v3.apk") {
			v3 = append(v3, f)
		}
	}
	mustRun(t, append([]string{s.apk, "--allow-untrusted", "mkndx", "--output", out}, v3...)...)
	if dump := mustRun(t, s.apk, "--allow-untrusted", "adbdump", out); !strings.Contains(dump, "so:libstone.so.1=1.2.3") || !strings.Contains(dump, "pc:stone=1.2_rc1") {
		t.Errorf("%s", dump)
	}
}

// dpkgRoot returns the options for an empty root.
func dpkgRoot(t *testing.T) (root string, dpkg []string) {
	t.Helper()
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("there is no dpkg")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can install packages")
	}
	root = filepath.Join(t.TempDir(), "root")
	for _, d := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "var/lib/dpkg/status"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return root, []string{"dpkg", "--root", root, "--log=/dev/null", "--force-architecture"}
}

// dpkg reads and installs the packages, finds every file as it was packed, and
// does not install two alternatives beside each other.
func TestRealDpkg(t *testing.T) {
	root, dpkg := dpkgRoot(t)
	dir := t.TempDir()
	set, _ := writeMonument(t, dir, 2)
	deb := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"stone_1.2-3_amd64.deb", "stone-doc_1.2-3_all.deb", "stone-oci-config_1.2-3_all.deb"} {
		mustRun(t, "dpkg-deb", "-I", deb(name))
		mustRun(t, "dpkg-deb", "-c", deb(name))
		mustRun(t, append(dpkg, "-i", deb(name))...)
		pkg, _, _ := strings.Cut(name, "_")
		if out := mustRun(t, "dpkg", "--root", root, "--verify", pkg); out != "" {
			t.Errorf("verify says %s", out)
		}
		checkInstalled(t, set, set.binary(t, Deb, pkg), root)
	}
	if out := mustRun(t, "dpkg", "--root", root, "-s", "stone"); !strings.Contains(out, "/etc/stone/conf") || !strings.Contains(out, "Status: install ok installed") {
		t.Errorf("%s", out)
	}
	if out, err := run(t, append(dpkg, "-i", deb("stone-dev_1.2-3_amd64.deb"))...); err == nil || !strings.Contains(out, "conflicts with stone") {
		t.Errorf("the alternative: %v\n%s", err, out)
	}
}

// apt swaps one alternative for the other.
func TestRealApt(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("there is no apt")
	}
	root, dpkg := dpkgRoot(t)
	dir := t.TempDir()
	writeMonument(t, dir, 2)
	apt := func(file string) string {
		return mustRun(t, "apt-get", "-o", "Dir::State::status="+root+"/var/lib/dpkg/status", "-o", "Dir::State::lists="+t.TempDir(),
			"-o", "Dir::Cache="+t.TempDir(), "-o", "Dir::Etc::sourcelist=/dev/null", "-o", "Dir::Etc::sourceparts=/dev/null",
			"-o", "APT::Architecture=amd64", "-o", "APT::Sandbox::User=root", "-y", "--simulate", "install", filepath.Join(dir, file))
	}
	if out := apt("stone_1.2-3_amd64.deb"); !strings.Contains(out, "Inst stone (1.2-3") {
		t.Errorf("%s", out)
	}
	mustRun(t, append(dpkg, "-i", filepath.Join(dir, "stone_1.2-3_amd64.deb"))...)
	if out := apt("stone-dev_1.2-3_amd64.deb"); !strings.Contains(out, "Remv stone [") || !strings.Contains(out, "Inst stone-dev") {
		t.Errorf("%s", out)
	}
}

const someC = `#ifdef LIBRARY
#include <string.h>
int stone(const char *s) { char b[64]; strncpy(b, s, sizeof b - 1); b[63] = 0; return strlen(b); }
#else
int stone(const char *s);
int main(int argc, char **argv) { return stone(argv[0]) == argc; }
#endif
`

// What a real compiler makes is scanned and checked as its flags say.
func TestRealCompiler(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc")
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/x.c", []byte(someC), 0o644); err != nil {
		t.Fatal(err)
	}
	const hard = "-fstack-protector-strong -Wl,-z,relro,-z,now"
	compile := func(flags, out string) string {
		t.Helper()
		args := append(strings.Fields(flags), "-O1", "-o", filepath.Join(dir, out), dir+"/x.c")
		if strings.HasPrefix(out, "stone") {
			args = append(args, dir+"/libstone.so.4")
		}
		mustRun(t, append([]string{gcc}, args...)...)
		b, err := os.ReadFile(filepath.Join(dir, out))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	library := compile("-DLIBRARY -shared -fPIC -Wl,-soname,libstone.so.4 "+hard, "libstone.so.4")
	s := spec(t, stone+"files: [usr]")
	o := testOptions()
	o.Exceptions = []Exception{{Checks: []elfCheck{CheckLoader}, Pattern: "usr/", Reason: "only a test"}}
	set, err := Assemble(newTar().file("usr/lib/libstone.so.4.5", library).program("usr/bin/stone", compile("-fPIE -pie "+hard, "stone")).tree(t), s, o)
	if err != nil {
		t.Fatal(err)
	}
	provides, depends := set.binary(t, APK, "stone").words()
	if provides != "cmd:stone=1.2-r3 so:libstone.so.4=4.5" || depends != "so:libc.so.6" {
		t.Errorf("provides %s, depends on %s", provides, depends)
	}
	for flags, want := range map[string]string{
		"-fno-pie -no-pie " + hard:                  "[pie]",
		"-fPIE -pie -Wl,-z,relro,-z,lazy":           "[relro]",
		"-fPIE -pie -Wl,-z,execstack " + hard:       "[stack]",
		"-fPIE -pie -Wl,-rpath,/home/build " + hard: "[rpath]",
	} {
		_, err := Assemble(newTar().file("usr/lib/libstone.so.4.5", library).program("usr/bin/stone", compile(flags, "stone-soft")).tree(t), s, o)
		checkError(t, err, fault.Policy, "usr/bin/stone: ", want)
	}
}

// A program of Go as go build makes it is good enough without any reason.
func TestRealGo(t *testing.T) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Skip(err)
	}
	set, err := Assemble(newTar().program("usr/bin/x", string(program)).tree(t), spec(t, stone+"files: [usr]\nformats: [deb]"), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if list := set.binary(t, Deb, "stone").ELF; len(list) != 1 || list[0].Compiler != "go" {
		t.Errorf("%+v", list)
	}
}
