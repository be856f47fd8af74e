package apk

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests run a real apk, named by the variables ASHLAR_APK2 (2.14) and
// ASHLAR_APK3 (3.0), and are skipped without. To install they need root.

// realAPK runs a test with each real apk that there is.
func realAPK(t *testing.T, test func(t *testing.T, apk string)) {
	for _, variable := range []string{"ASHLAR_APK2", "ASHLAR_APK3"} {
		t.Run(variable, func(t *testing.T) {
			apk := os.Getenv(variable)
			if apk == "" {
				t.Skipf("%s names no apk", variable)
			}
			test(t, apk)
		})
	}
}

// A site is a repository and an empty root to install from it to.
type site struct {
	apk, root, keys, repo string
}

func newSite(t *testing.T, apk string) *site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can install packages")
	}
	dir := t.TempDir()
	s := &site{apk: apk, root: dir + "/root", keys: dir + "/keys", repo: dir + "/repo"}
	for _, d := range []string{s.root, s.keys, s.repo + "/x86_64"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// trust puts the key of a signer into the keys of the site.
func (s *site) trust(t *testing.T, n int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.keys, signer(n).KeyName), publicPEM(t, n), 0o644); err != nil {
		t.Fatal(err)
	}
}

// publish writes packages and their index.
func (s *site) publish(t *testing.T, signers []Signer, specs ...*V2Spec) {
	t.Helper()
	x := Index{Description: "test"}
	for _, spec := range specs {
		b, packed := pack(t, spec)
		e := packed.IndexEntry()
		x.Entries = append(x.Entries, e)
		s.write(t, e.FileName(), b)
	}
	x.SetArch("x86_64")
	b, err := x.EncodeV2(buildTime, 0, signers...)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "APKINDEX.tar.gz", b)
}

func (s *site) write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.repo, "x86_64", name), b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// run runs apk on the root of the site and returns what it says.
func (s *site) run(args ...string) (string, error) {
	common := []string{"--root", s.root, "--keys-dir", s.keys, "--arch", "x86_64", "--repositories-file", "/dev/null",
		"--repository", s.repo, "--no-cache", "--no-network"}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, s.apk, append(common, args...)...).CombinedOutput()
	return string(out), err
}

// add installs packages into the empty root.
func (s *site) add(names ...string) (string, error) {
	return s.run(append([]string{"add", "--initdb", "--no-scripts"}, names...)...)
}

// installable is the sample package with dependencies that can be met.
func installable(signers ...Signer) *V2Spec {
	spec := helloSpec(signers...)
	spec.Info.Depends, spec.Info.InstallIf = deps("world>=1 !goodbye cmd:world"), nil
	spec.Files = append(spec.Files, entry(Directory, "dev", ""), entry(FIFO, "dev/pipe", ""))
	return spec
}

func world() *V2Spec {
	return &V2Spec{
		Info:  Info{Name: "world", Version: "1.0_git20240101-r0", Arch: "noarch", Provides: deps("cmd:world=1.0-r0")},
		Files: []File{file("world", 0o644, "round\n")},
	}
}

func TestRealV2Install(t *testing.T) {
	realAPK(t, func(t *testing.T, apk string) {
		s := newSite(t, apk)
		s.trust(t, 1) // the second of two signatures is enough
		spec := installable()
		s.publish(t, []Signer{signer(0), signer(1)}, spec, world())
		if out, err := s.add("hello"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		checkInstalled(t, s.root, spec.Files)
		// apk finds every file as its checksum says, until one is changed. (It is not
		// to look into dev: apk 3.0 waits for somebody to write to the pipe there.)
		if out, err := s.run("audit", "--system", "/usr", "/etc"); err != nil || strings.Contains(out, "usr/") {
			t.Errorf("audit: %v\n%s", err, out)
		}
		if err := os.WriteFile(s.root+"/usr/share/hello/big", []byte("other"), 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := s.run("audit", "--system", "/usr", "/etc"); err != nil || !strings.Contains(out, "U usr/share/hello/big") {
			t.Errorf("audit of a changed file: %v\n%s", err, out)
		}
		installed, err := os.ReadFile(s.root + "/lib/apk/db/installed")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"P:hello\n", "V:1.2.3_rc1-r4\n", "D:world>=1 !goodbye cmd:world\n", "p:cmd:hello=1.2.3_rc1-r4 greeter\n", "r:oldhello<2\n", "q:5\n", "k:10\n"} {
			if !bytes.Contains(installed, []byte(line)) {
				t.Errorf("the list of what is installed has no %q", line)
			}
		}
		triggers, err := os.ReadFile(s.root + "/lib/apk/db/triggers")
		if err != nil || !bytes.HasSuffix(triggers, []byte(" /usr/share/hello/* /etc/hello\n")) {
			t.Errorf("triggers %q, %v", triggers, err)
		}
	})
}

// checkInstalled wants the files to be there as they were packed.
func checkInstalled(t *testing.T, root string, files []File) {
	t.Helper()
	inodes := map[string]uint64{}
	for _, f := range files {
		path := filepath.Join(root, f.Path)
		info, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
			continue
		}
		stat := info.Sys().(*syscall.Stat_t)
		inodes[f.Path] = stat.Ino
		if f.Kind != Symlink && stat.Mode&maxMode != f.Mode {
			t.Errorf("%s has mode %o, want %o", f.Path, stat.Mode&maxMode, f.Mode)
		}
		switch f.Kind {
		case RegularFile:
			if got, err := os.ReadFile(path); err != nil || string(got) != contentOf(t, f) {
				t.Errorf("%s: %d bytes, %v", f.Path, len(got), err)
			}
			if info.ModTime().Unix() != f.ModTime {
				t.Errorf("%s is of %v", f.Path, info.ModTime())
			}
		case Symlink:
			if got, err := os.Readlink(path); err != nil || got != f.Target {
				t.Errorf("%s points to %s, %v", f.Path, got, err)
			}
		case HardLink:
			if inodes[f.Target] != stat.Ino {
				t.Errorf("%s is no link to %s", f.Path, f.Target)
			}
		case FIFO:
			if info.Mode()&fs.ModeNamedPipe == 0 {
				t.Errorf("%s is a %v", f.Path, info.Mode())
			}
		}
	}
}

func contentOf(t *testing.T, f File) string {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What must be refused is refused, and by us too.
func TestRealV2Refuses(t *testing.T) {
	realAPK(t, func(t *testing.T, apk string) {
		for _, c := range []struct {
			name   string
			damage func(*testing.T, *site)
			want   []string // one of them
		}{
			{"nothing", func(*testing.T, *site) {}, nil},
			{"foreign key", func(t *testing.T, s *site) { s.publish(t, []Signer{signer(2)}, installable(), world()) }, []string{"UNTRUSTED"}},
			{"unsigned index", func(t *testing.T, s *site) { s.publish(t, nil, installable(), world()) }, []string{"UNTRUSTED", "BAD signature"}},
			{"changed index", func(t *testing.T, s *site) { s.change(t, "APKINDEX.tar.gz", 1) }, []string{"BAD signature", "bad signature"}},
			{"changed control", func(t *testing.T, s *site) { s.change(t, "hello-1.2.3_rc1-r4.apk", 0) }, []string{"BAD signature", "integrity error"}},
			{"changed data", func(t *testing.T, s *site) { s.change(t, "hello-1.2.3_rc1-r4.apk", 1) }, []string{"BAD signature", "integrity error"}},
			{"another package of that name", func(t *testing.T, s *site) {
				other := installable()
				other.Info.Description = "another"
				b, _ := pack(t, other)
				s.write(t, "hello-1.2.3_rc1-r4.apk", b)
			}, []string{"BAD", "integrity"}},
		} {
			t.Run(c.name, func(t *testing.T) {
				s := newSite(t, apk)
				s.trust(t, 0)
				s.publish(t, []Signer{signer(0)}, installable(), world())
				c.damage(t, s)
				out, err := s.add("hello")
				if c.want == nil {
					if err != nil {
						t.Errorf("%v\n%s", err, out)
					}
					return
				}
				said := false
				for _, w := range c.want {
					said = said || strings.Contains(out, w)
				}
				if err == nil || !said {
					t.Errorf("%v, want an error that says one of %q:\n%s", err, c.want, out)
				}
			})
		}
	})
}

// change makes a file of the repository another one without breaking its form:
// it flips a bit in the name of the system in the header of a gzip member.
func (s *site) change(t *testing.T, name string, member int) {
	t.Helper()
	path := filepath.Join(s.repo, "x86_64", name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	src := openSource(bytes.NewReader(b))
	defer src.release()
	for range member {
		if _, err := src.readMember(1 << 20); err != nil {
			t.Fatal(err)
		}
	}
	b[src.at+9] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// A package that is given as a file is trusted by its own signatures.
func TestRealV2File(t *testing.T) {
	realAPK(t, func(t *testing.T, apk string) {
		for n, trusted := range map[int]bool{0: true, 1: true, 2: false} {
			s := newSite(t, apk)
			s.trust(t, n)
			b, packed := pack(t, &V2Spec{Info: Info{Name: "alone", Version: "1", Arch: "x86_64"}, Files: []File{file("alone", 0o644, "x")}, Signers: []Signer{signer(0), signer(1)}})
			e := packed.IndexEntry()
			s.write(t, e.FileName(), b)
			out, err := s.add(filepath.Join(s.repo, "x86_64", e.FileName()))
			if trusted && err != nil || !trusted && (err == nil || !strings.Contains(out, "UNTRUSTED")) {
				t.Errorf("key %d: %v\n%s", n, err, out)
			}
			if out, err := exec.Command(apk, "--keys-dir", s.keys, "verify", filepath.Join(s.repo, "x86_64", e.FileName())).CombinedOutput(); (err == nil) != trusted {
				t.Errorf("verify with key %d: %v\n%s", n, err, out)
			}
		}
	})
}

// apk makes the same index of our packages as we do.
func TestRealV2Index(t *testing.T) {
	realAPK(t, func(t *testing.T, apk string) {
		s := newSite(t, apk)
		s.publish(t, nil, installable(), world())
		files, err := filepath.Glob(s.repo + "/x86_64/*.apk")
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "index")
		cmd := exec.Command(apk, append([]string{"--allow-untrusted", "index", "--rewrite-arch", "x86_64", "-d", "test", "-o", out}, files...)...)
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
		theirs, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := os.ReadFile(s.repo + "/x86_64/APKINDEX.tar.gz")
		if err != nil {
			t.Fatal(err)
		}
		x, err := ParseV2Index(theirs, nil)
		if err != nil {
			t.Fatal(err)
		}
		y, err := ParseV2Index(ours, nil)
		if err != nil || !bytes.Equal(x.Encode(), y.Encode()) || x.Description != y.Description {
			t.Errorf("%v\ntheirs\n%s\nours\n%s", err, x.Encode(), y.Encode())
		}
	})
}

// randomVersion returns what is a version, mostly.
func randomVersion(r *rand.Rand) string {
	numbers := []string{"0", "1", "2", "9", "10", "01", "010", "100", "20240101"}
	number := func() string { return numbers[r.IntN(len(numbers))] }
	v := number()
	for r.IntN(3) > 0 {
		v += "." + number()
	}
	if r.IntN(4) == 0 {
		v += string(rune('a' + r.IntN(3)))
	}
	for r.IntN(3) == 0 {
		if v += "_" + suffixes[r.IntN(len(suffixes))]; r.IntN(2) == 0 {
			v += number()
		}
	}
	if r.IntN(8) == 0 {
		v += "~0" + fmt.Sprintf("%x", r.IntN(100))
	}
	if r.IntN(3) == 0 {
		v += "-r" + number()
	}
	return v
}

// Random versions are valid and ordered as apk 3 says. (apk 2 differs: it knows
// no hash after "~", and takes "1.00" for older than "1.0".)
func TestRealVersions(t *testing.T) {
	apk := os.Getenv("ASHLAR_APK3")
	if apk == "" {
		t.Skip("ASHLAR_APK3 names no apk")
	}
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		a, b := randomVersion(r), randomVersion(r)
		if r.IntN(2) == 0 {
			b = a[:r.IntN(len(a))+1] + b[r.IntN(len(b)):]
		}
		out, err := exec.Command(apk, "version", "-t", a, b).Output()
		valid := ValidateVersion(a) == nil && ValidateVersion(b) == nil
		if (err == nil) != valid {
			t.Errorf("%s and %s: apk says %v, we say that they are valid: %t", a, b, err, valid)
		}
		want := map[int]string{-1: "<", 0: "=", 1: ">"}[sign3(CompareVersions(a, b))]
		if err == nil && strings.TrimSpace(string(out)) != want {
			t.Errorf("%s and %s: apk says %q, we %q", a, b, out, want)
		}
	}
}
