package world

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// tarOf installs a world into a tar.
func (s *site) tarOf(t testing.TB, world string, in Installation, spool Spool) ([]byte, *Report, error) {
	t.Helper()
	s.fill(t, world, &in)
	var b bytes.Buffer
	report, err := Install(t.Context(), in, NewTar(&b, spool))
	return b.Bytes(), report, err
}

// installDir installs a world into a new folder.
func (s *site) installDir(t testing.TB, world string, in Installation) (string, *Report, error) {
	t.Helper()
	dir := t.TempDir()
	report, err := s.installTo(t, dir, world, in)
	return dir, report, err
}

// installTo installs a world into an empty folder.
func (s *site) installTo(t testing.TB, dir, world string, in Installation) (*Report, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	to, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	s.fill(t, world, &in)
	return Install(t.Context(), in, to)
}

// generations runs a test with packages of v2 and of v3.
func generations(t *testing.T, test func(t *testing.T, v3 bool)) {
	for _, v3 := range []bool{false, true} {
		t.Run(fmt.Sprintf("v3=%t", v3), func(t *testing.T) { test(t, v3) })
	}
}

// The same installation gives the same tar: whatever the number of workers is, and
// whether there is a spool.
func TestTarIsDeterministic(t *testing.T) {
	generations(t, func(t *testing.T, v3 bool) {
		for _, m := range samples() {
			if m.scripts || m.notV3 && v3 {
				continue
			}
			s := publish(t, v3, m.packages)
			config := s.configOf(t, &m)
			want, _, err := s.tarOf(t, m.world, Installation{Config: config, Workers: 1}, nil)
			if err != nil {
				t.Fatalf("%s: %v", m.name, err)
			}
			spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
			if err != nil {
				t.Fatal(err)
			}
			defer spool.Close()
			for _, to := range []Spool{nil, spool} {
				got, _, err := s.tarOf(t, m.world, Installation{Config: config, Workers: 7}, to)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes, want %d, %v", m.name, len(got), len(want), err)
				}
			}
			checkTar(t, want)
		}
	})
}

// checkTar wants every path once, in order, below the root, with its folder before
// it, and hard links to come after what they name.
func checkTar(t testing.TB, b []byte) {
	t.Helper()
	seen := map[string]byte{"": tar.TypeDir}
	last := ""
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(h.Name, "/")
		if name <= last || !filepath.IsLocal(name) {
			t.Errorf("%q after %q", name, last)
		}
		if seen[parentOf(name)] != tar.TypeDir {
			t.Errorf("%q is in no folder", name)
		}
		if h.Typeflag == tar.TypeLink && seen[h.Linkname] != tar.TypeReg {
			t.Errorf("%q is a link to %q", name, h.Linkname)
		}
		last, seen[name] = name, h.Typeflag
	}
}

// What is not as it should be is refused, and nothing stays.
func TestInstallRefuses(t *testing.T) {
	shared := []*pkg{mk("one").file("usr/both", "1"), mk("two").file("usr/both", "2")}
	for _, c := range []struct {
		name     string
		packages []*pkg
		world    string
		change   func(in *Installation)
		kind     fault.Kind
		want     string
	}{
		{"a file of two packages", shared, "one two", nil, fault.Conflict, "package two-1.0-r0: usr/both: package one-1.0-r0 has this file, too"},
		{"a file where a folder is", []*pkg{mk("one").file("usr/a/b", "1"), mk("two").file("usr/a", "2")}, "one two", nil, fault.Conflict, "there is a folder in its place"},
		{"a folder where a file is", []*pkg{mk("one").file("usr/a", "1"), mk("two").file("usr/a/b", "2")}, "one two", nil, fault.Conflict, "usr/a is a regular file, where a folder should be"},
		{"a link into nowhere", []*pkg{mk("one").add(special(apk.Symlink, "usr", "gone")), mk("two").file("usr/b", "2")}, "one two", nil, fault.Conflict, "is not there"},
		{"links in a circle", []*pkg{mk("one").add(special(apk.Symlink, "usr", "var"), special(apk.Symlink, "var", "usr")), mk("two").file("usr/b", "2")}, "one two", nil, fault.Conflict, "too many symbolic links"},
		{"a folder for the database is a file", []*pkg{mk("one").file("lib/apk", "1")}, "one", nil, fault.Conflict, "lib/apk is a regular file"},
		{"a file of the database is a folder", []*pkg{mk("one").file("lib/apk/db/installed/x", "1")}, "one", nil, fault.Conflict, "apk needs a file there"},
		{"another file", shared, "one", func(in *Installation) {
			open := in.Open
			in.Open = func(ctx context.Context, c Choice) (io.ReadCloser, error) {
				c.File = strings.Replace(c.File, "one", "two", 1)
				return open(ctx, c)
			}
		}, fault.Denied, "package one-1.0-r0"},
		{"no file", shared, "one", func(in *Installation) {
			in.Open = func(context.Context, Choice) (io.ReadCloser, error) {
				return nil, fault.New(fault.NotFound, "no such file")
			}
		}, fault.NotFound, "package one-1.0-r0: no such file"},
		{"a file that ends", shared, "one", func(in *Installation) { in.Open = cut(in.Open, 250) }, fault.Invalid, "cut short"},
		{"a changed file", shared, "one", func(in *Installation) { in.Open = flip(in.Open) }, "", "package one-1.0-r0"},
		{"another name", shared, "one", func(in *Installation) {
			in.Solution = renamed(in.Solution)
		}, fault.Denied, "the file is the package"},
		{"a path out of etc/apk", shared, "one", func(in *Installation) { in.Config = map[string][]byte{"../passwd": nil} }, fault.Invalid, "is not a path below etc/apk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			generations(t, func(t *testing.T, v3 bool) {
				s := publish(t, v3, c.packages)
				for _, to := range sinks(t) {
					in := Installation{}
					s.fill(t, c.world, &in)
					if c.change != nil {
						c.change(&in)
					}
					_, err := Install(t.Context(), in, to.Sink)
					if c.kind != "" && !fault.Is(err, c.kind) || err == nil || !strings.Contains(err.Error(), c.want) {
						t.Errorf("%v, want an error of kind %q with %q", err, c.kind, c.want)
					}
					if left := to.left(); len(left) > 0 {
						t.Errorf("it left %q", left)
					}
				}
			})
		})
	}
}

// A testSink is a sink, and says what is in it.
type testSink struct {
	Sink
	left func() []string
}

// sinks returns a sink of each kind that this user can use.
func sinks(t *testing.T) []testSink {
	t.Helper()
	var b bytes.Buffer
	all := []testSink{{NewTar(&b, nil), func() []string {
		if b.Len() > 0 {
			return []string{fmt.Sprintf("a tar of %d bytes", b.Len())}
		}
		return nil
	}}}
	if os.Geteuid() != 0 {
		return all
	}
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	to, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, testSink{to, func() []string {
		files, err := filepath.Glob(dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		return files
	}})
}

// cut opens files that end too soon.
func cut(open opener, size int64) opener {
	return func(ctx context.Context, c Choice) (io.ReadCloser, error) {
		r, err := open(ctx, c)
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, size), r}, err
	}
}

// flip opens files of which a bit near the end is another.
func flip(open opener) opener {
	return func(ctx context.Context, c Choice) (io.ReadCloser, error) {
		r, err := open(ctx, c)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		b[len(b)-20] ^= 4
		return io.NopCloser(bytes.NewReader(b)), err
	}
}

// renamed returns a solution whose index lies about a name.
func renamed(s *Solution) *Solution {
	lie := *s
	lie.Install = slices.Clone(s.Install)
	info := *lie.Install[0].Info
	info.Name = "liar"
	lie.Install[0].Package = &Package{Info: &info, Hash: lie.Install[0].Hash, Size: 1, File: lie.Install[0].File}
	return &lie
}

// Without a Runner the report has the scripts in apk's order, and the owners that
// they might have made.
func TestReport(t *testing.T) {
	generations(t, func(t *testing.T, v3 bool) {
		a := mk("a", "triggers /usr/*").add(ownedBy(dirEntry("usr", 0o755), "maker", "root"))
		a.PreInstall, a.PostInstall, a.PreUpgrade = []byte("#!/bin/pre"), []byte("#!/bin/post"), []byte("#!/bin/up")
		b := mk("b=2", "depends a").file("usr/b/c", "content").file("etc/conf", "mine").file("etc/same", "same")
		b.PostInstall = []byte("#!/bin/b")
		s := publish(t, v3, []*pkg{a, b})
		config := s.config(t)
		config["x"] = nil
		_, report, err := s.tarOf(t, "b", Installation{Config: config}, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := &Report{
			Skipped: []Script{
				{"a", "1.0-r0", PreInstall, []byte("#!/bin/pre"), []string{"1.0-r0"}},
				{"a", "1.0-r0", PostInstall, []byte("#!/bin/post"), []string{"1.0-r0"}},
				{"b", "2", PostInstall, []byte("#!/bin/b"), []string{"2"}},
				{"a", "1.0-r0", Trigger, logging("trigger", "a"), []string{"/usr/b"}},
			},
			Strangers: []Stranger{{"usr", "maker", "root"}},
			Files:     3, Folders: 4, Bytes: 15,
		}
		if d := cmp.Diff(want, report); d != "" {
			t.Error(d)
		}
		script := report.Skipped[3]
		if script.Name() != "a-1.0-r0.trigger" || script.Arg0() != "lib/apk/exec/a-1.0-r0.trigger" || !slices.Contains(script.Env(), "APK_PACKAGE=a") {
			t.Errorf("%s %s %s", script.Name(), script.Arg0(), script.Env())
		}
	})
}

// A runner fails at a certain script.
type runner struct {
	fail ScriptKind
	ran  []string
}

func (r *runner) Run(_ context.Context, s Script) error {
	r.ran = append(r.ran, s.Name())
	if s.Kind == r.fail {
		return errors.New("exit status 1")
	}
	return nil
}

// A script that fails ends the installation, and nothing stays.
func TestScriptFails(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can install packages")
	}
	a := mk("a", "triggers /usr").file("usr/a", "a")
	a.PreInstall, a.PostInstall = []byte("#!/bin/pre"), []byte("#!/bin/post")
	s := publish(t, false, []*pkg{a})
	for kind, scripts := range map[ScriptKind]int{PreInstall: 1, PostInstall: 2, Trigger: 3} {
		r := &runner{fail: kind}
		dir, _, err := s.installDir(t, "a", Installation{Scripts: r})
		if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "the script a-1.0-r0."+string(kind)+": exit status 1") || len(r.ran) != scripts {
			t.Errorf("%s: %v after %q", kind, err, r.ran)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("%s: it left %v, %v", kind, files, err)
		}
	}
	if _, err := Install(t.Context(), Installation{Scripts: &runner{}, Solution: &Solution{}, Open: s.open}, NewTar(io.Discard, nil)); !fault.Is(err, fault.Invalid) {
		t.Errorf("scripts in a tar: %v", err)
	}
}

// A folder must be empty.
func TestNewDir(t *testing.T) {
	dir := t.TempDir()
	save(t, dir+"/x", nil)
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if _, err := NewDir(root); !fault.Is(err, fault.Conflict) {
		t.Error(err)
	}
}

// An installation ends when its context does.
func TestInstallEnds(t *testing.T) {
	s := publish(t, false, []*pkg{mk("a").file("usr/a", "a")})
	in := Installation{}
	s.fill(t, "a", &in)
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Install(ctx, in, NewTar(io.Discard, nil)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An example of a whole, from an index to a layer of an image.
func ExampleInstall() {
	// A package, its repository and the index of that, as somebody else made them.
	var file bytes.Buffer
	packed, err := apk.WriteV2(&file, &apk.V2Spec{
		Info:  apk.Info{Name: "hello", Version: "1.0-r0", Arch: "x86_64", BuildTime: buildTime},
		Files: []apk.File{dirEntry("usr", 0o755), regular("usr/hello", 0o755, "hello\n")},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	index := apk.Index{Entries: []apk.IndexEntry{packed.IndexEntry()}}

	solution, err := Solve(Request{
		Arch:         "x86_64",
		Repositories: []Repository{{Packages: FromIndex(&index)}},
		World:        []apk.Dependency{{Name: "hello"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var layer bytes.Buffer
	report, err := Install(context.Background(), Installation{
		Solution: solution,
		Open: func(context.Context, Choice) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(file.Bytes())), nil
		},
		Config: map[string][]byte{"repositories": []byte("https://packages.example.org/\n")},
		Time:   buildTime,
	}, NewTar(&layer, nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Files, "file,", len(report.Skipped), "scripts to run")
	for r := tar.NewReader(&layer); ; {
		h, err := r.Next()
		if err != nil {
			break
		}
		fmt.Println(h.FileInfo().Mode(), h.Name)
	}
	// Output:
	// 1 file, 0 scripts to run
	// drwxr-xr-x etc/
	// drwxr-xr-x etc/apk/
	// -rw-r--r-- etc/apk/arch
	// -rw-r--r-- etc/apk/repositories
	// -rw-r--r-- etc/apk/world
	// drwxr-xr-x lib/
	// drwxr-xr-x lib/apk/
	// drwxr-xr-x lib/apk/db/
	// -rw-r--r-- lib/apk/db/installed
	// -rw-r--r-- lib/apk/db/scripts.tar
	// -rw-r--r-- lib/apk/db/triggers
	// drwxr-xr-x usr/
	// -rwxr-xr-x usr/hello
}
