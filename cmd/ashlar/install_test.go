package main

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/sandbox"
)

// An alpine is a folder with a repository for apk, and the folder of its key.
type alpine struct{ repo, keys string }

// A part is a package of it: what it says, its files by path, and its scripts.
type part struct {
	apk.Info
	apk.Scripts
	files map[string]string
}

// newAlpine makes a repository of both generations with one key.
func newAlpine(t *testing.T, v3 bool, parts ...part) *alpine {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	a := &alpine{t.TempDir(), t.TempDir()}
	put := func(name string, b []byte) {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put(a.keys+"/test.rsa.pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	var v2 apk.Index
	var third apk.V3Index
	for i := range parts {
		p := &parts[i]
		p.Arch, p.BuildTime = "x86_64", 1_700_000_000
		var b bytes.Buffer
		if v3 {
			packed, err := apk.WriteV3(&b, &apk.V3Spec{Info: p.Info, Scripts: p.Scripts, Files: p.list(), Compression: adb.Deflate})
			if err != nil {
				t.Fatal(err)
			}
			third.Entries = append(third.Entries, packed.IndexEntry())
		} else {
			packed, err := apk.WriteV2(&b, &apk.V2Spec{Info: p.Info, Scripts: p.Scripts, Files: p.list()})
			if err != nil {
				t.Fatal(err)
			}
			v2.Entries = append(v2.Entries, packed.IndexEntry())
		}
		put(filepath.Join(a.repo, "x86_64", p.Name+"-"+p.Version+".apk"), b.Bytes())
	}
	var b bytes.Buffer
	if v3 {
		err = apk.WriteV3Index(&b, &third, adb.Deflate, key)
		put(a.repo+"/x86_64/Packages.adb", b.Bytes())
	} else {
		var index []byte
		index, err = v2.EncodeV2(1_700_000_000, 0, apk.Signer{KeyName: "test.rsa.pub", Key: key})
		put(a.repo+"/x86_64/APKINDEX.tar.gz", index)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// list returns the files with the folders they are in.
func (p *part) list() []apk.File {
	var list []apk.File
	seen := map[string]bool{".": true}
	for name, text := range p.files {
		var above []apk.File
		for dir := filepath.Dir(name); !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			above = append([]apk.File{{Entry: apk.Entry{Path: dir, Kind: apk.Directory, Mode: 0o755, User: "root", Group: "root"}}}, above...)
		}
		mode := uint32(0o644)
		if strings.Contains(name, "bin/") || strings.Contains(name, "lib") {
			mode = 0o755
		}
		list = append(append(list, above...), apk.File{
			Entry: apk.Entry{Path: name, Mode: mode, User: "root", Group: "root", Size: int64(len(text))},
			Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
		})
	}
	return list
}

// greeter returns packages that want one another, with a shell, a script before and
// one after the files, and a trigger.
func greeter(t *testing.T) []part {
	t.Helper()
	files := map[string]string{}
	copied := func(from, at string) {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Skip(err)
		}
		files[at] = string(b)
	}
	copied("/bin/dash", "bin/sh")
	if out, err := exec.Command("ldd", "/bin/dash").Output(); err == nil {
		for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllSubmatch(out, -1) {
			copied(string(m[1]), strings.TrimPrefix(string(m[1]), "/"))
		}
	}
	deps := func(words string) []apk.Dependency {
		d, err := apk.ParseDependencies(words)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return []part{
		{Info: apk.Info{Name: "sh", Version: "1-r0", Provides: deps("cmd:sh=1-r0")}, files: files},
		{Info: apk.Info{Name: "base", Version: "1-r0"}, files: map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/group": "root:x:0:\n"}},
		{
			Info: apk.Info{Name: "greeter", Version: "2-r0", Depends: deps("base cmd:sh"), Triggers: []string{"/usr/share/*"}},
			Scripts: apk.Scripts{
				PreInstall:  []byte("#!/bin/sh\necho greeter:x:77:77::/:/bin/sh >>/etc/passwd\necho pre $1 >/log\n"),
				PostInstall: []byte("#!/bin/sh\necho post $1 >>/log\n"), Trigger: []byte("#!/bin/sh\necho trigger $1 >>/log\n"),
			},
			files: map[string]string{"usr/share/greeter/text": "hello\n"},
		},
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can install packages")
	}
}

// Packages of both generations come from a folder and over HTTP, with their scripts
// left or run.
func TestInstall(t *testing.T) {
	needRoot(t)
	h := &house{state: t.TempDir()}
	for _, v3 := range []bool{false, true} {
		site := newAlpine(t, v3, greeter(t)...)
		server := httptest.NewServer(http.FileServer(http.Dir(site.repo)))
		defer server.Close()
		dir := filepath.Join(t.TempDir(), "root")
		o := h.run(t, 0, "install", "--json", "--root", dir, "--keys", site.keys, "--repository", server.URL, "greeter>=2")
		var got installedRoot
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Packages) != 3 || got.Packages[2] != (installedPackage{"greeter", "2-r0", server.URL}) {
			t.Errorf("packages %+v", got.Packages)
		}
		if d := cmp.Diff([]string{"greeter-2-r0.pre-install", "greeter-2-r0.post-install", "greeter-2-r0.trigger"}, got.NotRun); d != "" {
			t.Error(d)
		}
		line := server.URL + "\n"
		if v3 {
			line = "v3 " + line
		}
		for name, want := range map[string]string{"usr/share/greeter/text": "hello\n", "etc/apk/world": "greeter>=2\n", "etc/apk/repositories": line, "etc/apk/arch": "x86_64\n"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
				t.Errorf("%s is %q, %v", name, b, err)
			}
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("the root is %v, %v", info.Mode(), err)
		}

		if testing.Short() || sandbox.Check() != nil {
			continue
		}
		dir = t.TempDir() // is there already
		o = h.run(t, 0, "install", "--scripts", "--root", dir, "--keys", site.keys, "--repository", site.repo, "greeter")
		if !strings.Contains(o.stdout, "3 packages") || strings.Contains(o.stdout, "were not run") || !strings.Contains(o.stdout, "1 repositories are folders") {
			t.Errorf("it says:\n%s", o.stdout)
		}
		if b, err := os.ReadFile(dir + "/log"); err != nil || string(b) != "pre 2-r0\npost 2-r0\ntrigger /usr/share/greeter\n" {
			t.Errorf("the scripts wrote %q, %v", b, err)
		}
		for _, name := range []string{"dev", "proc", "lib/apk/exec"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				t.Errorf("%s is there", name)
			}
		}
	}
}

// What is wrong is refused, and nothing stays: no root, no part of one.
func TestInstallRefuses(t *testing.T) {
	needRoot(t)
	h := &house{state: t.TempDir()}
	failing := part{Info: apk.Info{Name: "failing", Version: "1", Depends: []apk.Dependency{{Name: "sh"}}}, Scripts: apk.Scripts{PostInstall: []byte("#!/bin/sh\necho it cannot be; exit 3\n")}, files: map[string]string{"usr/x": "x"}}
	site := newAlpine(t, false, append(greeter(t), failing)...)
	other := newAlpine(t, false, greeter(t)...)
	broken := newAlpine(t, false, part{Info: apk.Info{Name: "one", Version: "1"}, files: map[string]string{"one": "1"}}, part{Info: apk.Info{Name: "two", Version: "1"}, files: map[string]string{"two": strings.Repeat("2", 9000)}})
	if err := os.Rename(broken.repo+"/x86_64/two-1.apk", broken.repo+"/x86_64/one-1.apk"); err != nil {
		t.Fatal(err)
	}
	over := httptest.NewServer(http.FileServer(http.Dir(broken.repo)))
	defer over.Close()
	full := t.TempDir()
	if err := os.WriteFile(full+"/file", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		code int
		says string
		args []string
	}{
		{"another key", 5, "does not hold", []string{"--keys", other.keys, "--repository", site.repo, "greeter"}},
		{"no keys", 3, "no public keys", []string{"--keys", full, "--repository", site.repo, "greeter"}},
		{"no repository", 3, "repository", []string{"--keys", site.keys, "--repository", full, "greeter"}},
		{"two places", 2, "is not a repository", []string{"--keys", site.keys, "--repository", "a b", "greeter"}},
		{"no such package", 4, "which no repository has", []string{"--keys", site.keys, "--repository", site.repo, "nothing"}},
		{"no such tag", 2, "no repository has the tag", []string{"--keys", site.keys, "--repository", site.repo, "greeter@edge"}},
		{"twice", 2, "asked for twice", []string{"--keys", site.keys, "--repository", site.repo, "greeter", "greeter>1"}},
		{"another package", 5, "bytes, but the index says", []string{"--keys", broken.keys, "--repository", broken.repo, "one"}},
		{"another package over HTTP", 5, "bytes, but the index says", []string{"--keys", broken.keys, "--repository", over.URL, "one"}},
		{"a package that is not there", 3, "it is not there", []string{"--keys", broken.keys, "--repository", over.URL, "two"}},
		{"a script that fails", 1, "it cannot be", []string{"--scripts", "--keys", site.keys, "--repository", site.repo, "failing"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.args[0] == "--scripts" && (testing.Short() || sandbox.Check() != nil) {
				t.Skip("it runs runc")
			}
			top := t.TempDir()
			o := h.run(t, c.code, append([]string{"install", "--root", top + "/root"}, c.args...)...)
			if got := o.complaint(t); !strings.Contains(got, c.says) {
				t.Errorf("it says %s, want %q", got, c.says)
			}
			if left, err := os.ReadDir(top); err != nil || len(left) > 0 {
				t.Errorf("it left %v, %v", left, err)
			}
		})
	}
	h.run(t, 4, "install", "--root", full, "--keys", site.keys, "--repository", site.repo, "greeter")
	h.run(t, 3, "install", "--root", full+"/no/root", "--keys", site.keys, "--repository", site.repo, "greeter")
	if _, err := os.Stat(full + "/file"); err != nil {
		t.Error(err)
	}
}

// A real apk takes the root for its own, whichever way it came to be.
func TestInstallForRealAPK(t *testing.T) {
	needRoot(t)
	program := os.Getenv("ASHLAR_APK3")
	if program == "" {
		t.Skip("ASHLAR_APK3 names no apk")
	}
	site := newAlpine(t, false, greeter(t)...)
	server := httptest.NewServer(http.FileServer(http.Dir(site.repo)))
	defer server.Close()
	h := &house{state: t.TempDir()}
	dir := filepath.Join(t.TempDir(), "root")
	h.run(t, 0, "install", "--root", dir, "--keys", site.keys, "--repository", server.URL, "base", "sh")
	out, err := exec.Command(program, "--root", dir, "--no-cache", "--no-scripts", "add", "greeter").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("(1/1) Installing greeter (2-r0)")) {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(dir + "/usr/share/greeter/text"); errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// What this program publishes for apk it installs, from either index.
func TestInstallPublished(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // the signer is another user
			t.Fatal(err)
		}
	}
	h := &house{state: filepath.Join(dir, "state")}
	h.run(t, 0, "key", "init")
	a := &app{out: io.Discard, err: io.Discard, now: time.Now, flags: flags{state: h.state, quiet: true}}
	s, err := a.shop()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	signed, err := s.SignAPK(t.Context(), unsignedAPK(t, s, "1.0-r100"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PublishAPK(t.Context(), apkrepo.Target{Distro: "musl-1", Tier: ashlar.Community}, []apkrepo.SourceSet{{Arch: "x86_64", Packages: signed}}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Join(h.state, "repo"))))
	defer server.Close()
	for _, where := range []string{h.state + "/repo/apk/musl-1/community", "v3 " + h.state + "/repo/apk/musl-1/community", server.URL + "/apk/musl-1/community", "v3 " + server.URL + "/apk/musl-1/community"} {
		root := filepath.Join(t.TempDir(), "root")
		h.run(t, 0, "install", "--root", root, "--keys", h.state+"/repo/keys", "--repository", where, "hello")
		if b, err := os.ReadFile(root + "/hello"); err != nil || string(b) != "hello 1.0-r100\n" {
			t.Errorf("%s: %q, %v", where, b, err)
		}
	}
}
