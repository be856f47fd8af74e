package resolve

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// ownRepo is the repository of the tests' own packages.
const ownRepo = "ashlar://musl-1/main"

// ownPackage makes a package of the second generation and puts it into the store: its name
// and version, and what it depends on.
func (w *testWorld) ownPackage(t *testing.T, name, version, depends string) ashlar.File {
	t.Helper()
	words, err := apk.ParseDependencies(depends)
	if err != nil {
		t.Fatal(err)
	}
	content := name + " " + version
	var b bytes.Buffer
	_, err = apk.WriteV2(&b, &apk.V2Spec{
		Info: apk.Info{Name: name, Version: version, Arch: "x86_64", Origin: name, Description: name, License: "MIT", Depends: words},
		Files: []apk.File{{
			Entry: apk.Entry{Path: name, Mode: 0o644, User: "root", Group: "root", Size: int64(len(content))},
			Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := w.Store.Put(t.Context(), &b, "")
	if err != nil {
		t.Fatal(err)
	}
	f.Name = name + "-" + version + ".apk"
	return f
}

// ownPackages gives a world packages that the factory built: zlib-dev needs zlib and
// musl-dev, and broken what nobody has.
func (w *testWorld) ownPackages(t *testing.T) {
	t.Helper()
	var files []ashlar.File
	for _, p := range [][3]string{
		{"zlib-dev", "1.3-r1", "zlib=1.3-r1 musl-dev>=1.2"}, {"zlib", "1.3-r1", ""}, {"zlib", "1.4-r0", ""},
		{"musl-dev", "1.2.5-r0", ""}, {"musl-dev", "1.1-r0", ""}, {"broken", "1-r0", "no-such-thing"}, {"cmake", "3-r0", ""},
	} {
		files = append(files, w.ownPackage(t, p[0], p[1], p[2]))
	}
	w.Own = func(ctx context.Context, target ashlar.Target) ([]OwnPackage, error) {
		if target != (ashlar.Target{Distro: "musl-1", Arch: "amd64"}) {
			return nil, nil
		}
		var all []OwnPackage
		for _, f := range files {
			p, err := ReadOwn(ctx, w.Store, f)
			if err != nil {
				return nil, err
			}
			all = append(all, *p)
		}
		return all, nil
	}
	w.Vouch = func(_ context.Context, p ashlar.RootPackage) error {
		for _, f := range files {
			if f.Digest == p.Digest {
				return nil
			}
		}
		return fault.New(fault.Denied, "%s was never built", p.Name)
	}
}

// sysrootBuild is a build with packages of our own beside Debian's.
func sysrootBuild(packages string) string {
	return "        repositories: ['deb mirror://debian bookworm main', '@musl " + ownRepo + "']\n        packages: [check, " + packages + "]\n"
}

func TestParseRepositories(t *testing.T) {
	parse := func(lines ...string) (*repositories, error) {
		return parseRepositories(&catalog.Build{Contents: catalog.Contents{Repositories: lines}, Pos: catalog.Pos{File: "1.yaml", Line: 7}})
	}
	for _, c := range []struct {
		name  string
		lines []string
		want  repositories
	}{
		{"none", nil, repositories{own: map[string]string{}}},
		{"a release", []string{"deb mirror://debian bookworm main"}, repositories{debian: "debian-12", own: map[string]string{}}},
		{"a release twice, with blanks", []string{" deb  mirror://debian  trixie main", "deb mirror://debian trixie main "}, repositories{debian: "debian-13", own: map[string]string{}}},
		{"our own", []string{"@musl " + ownRepo + "/", "deb mirror://debian bookworm main", "@other ashlar://musl-2/main"},
			repositories{debian: "debian-12", own: map[string]string{"musl": ownRepo, "other": "ashlar://musl-2/main"}}},
	} {
		got, err := parse(c.lines...)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if diff := cmp.Diff(c.want, *got, cmp.AllowUnexported(repositories{})); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	for _, c := range []struct{ name, lines, want string }{
		{"empty", " ", "not supported yet"},
		{"another mirror", "deb mirror://other bookworm main", "not supported yet"},
		{"an address", "deb https://deb.debian.org/debian bookworm main", "not supported yet"},
		{"another component", "deb mirror://debian bookworm non-free", "not supported yet"},
		{"two components", "deb mirror://debian bookworm main contrib", "not supported yet"},
		{"options of apt", "deb [trusted=yes] mirror://debian bookworm main", "not supported yet"},
		{"sources", "deb-src mirror://debian bookworm main", "not supported yet"},
		{"a release that is none", "deb mirror://debian woodworm main", `no Debian release is called "woodworm"`},
		{"a suite beside a release", "deb mirror://debian bookworm-security main", `no Debian release is called "bookworm-security"`},
		{"a release by its use", "deb mirror://debian stable main", `no Debian release is called "stable"`},
		{"two releases", "deb mirror://debian bookworm main|deb mirror://debian trixie main", "both debian-12 and debian-13"},
		{"no tag", ownRepo, "not supported yet"},
		{"an empty tag", "@ " + ownRepo, "not supported yet"},
		{"another scheme", "@musl https://example.org/musl-1/main", "not supported yet"},
		{"more words", "@musl " + ownRepo + " x", "not supported yet"},
		{"one tag, two repositories", "@musl " + ownRepo + "|@musl ashlar://musl-2/main", "@musl stands for both"},
	} {
		_, err := parse(strings.Split(c.lines, "|")...)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "1.yaml:7") {
			t.Errorf("%s: %v, want one that says %q at its place", c.name, err, c.want)
		}
	}
}

func TestRootTarget(t *testing.T) {
	musl := ashlar.Target{Distro: "musl-1", Arch: "amd64"}
	for _, c := range []struct {
		name   string
		builds []string // the repositories of each
		want   ashlar.Distro
		says   string
	}{
		{"no build", nil, "musl-1", ""},
		{"no repository", []string{""}, "musl-1", ""},
		{"one", []string{"deb mirror://debian bookworm main"}, "debian-12", ""},
		{"all the same", []string{"deb mirror://debian bookworm main", "", "deb mirror://debian bookworm main"}, "debian-12", ""},
		{"two releases", []string{"deb mirror://debian bookworm main", "deb mirror://debian trixie main"}, "", "both debian-12 and debian-13"},
		{"malformed", []string{"deb x"}, "", "not supported yet"},
	} {
		def := &catalog.Expanded{Target: musl}
		for _, line := range c.builds {
			b := catalog.Build{Pos: catalog.Pos{File: "1.yaml", Line: 3}}
			if line != "" {
				b.Repositories = []string{line}
			}
			def.Builds = append(def.Builds, b)
		}
		got, err := RootTarget(def)
		switch {
		case c.says != "":
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "1.yaml:3") {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil || got != (ashlar.Target{Distro: c.want, Arch: "amd64"}):
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

// lockWith makes the lock of a build with packages of our own.
func lockWith(t *testing.T, packages string) (*testWorld, *catalog.Expanded, *ashlar.Lock, error) {
	t.Helper()
	w := newTestWorld(t)
	w.ownPackages(t)
	def := testDefinition(t, sysrootBuild(packages), buildStep, nil)
	lock, err := Lock(t.Context(), def, w.World)
	return w, def, lock, err
}

func TestLockSysroot(t *testing.T) {
	for _, c := range []struct {
		packages string
		want     []string
	}{
		{"'zlib-dev@musl'", []string{"zlib-1.3-r1", "musl-dev-1.2.5-r0", "zlib-dev-1.3-r1"}},
		{"'zlib@musl', cmake@musl", []string{"cmake-3-r0", "zlib-1.4-r0"}},
		{"'zlib@musl<1.4'", []string{"zlib-1.3-r1"}},
		{"libz-dev", nil},
	} {
		w, _, lock, err := lockWith(t, c.packages)
		if err != nil {
			t.Errorf("%s: %v", c.packages, err)
			continue
		}
		var want *ashlar.Sysroot
		for _, name := range c.want {
			if want == nil {
				want = &ashlar.Sysroot{Path: ashlar.SysrootDir}
			}
			n, v, err := apk.SplitName(name)
			if err != nil {
				t.Fatal(err)
			}
			deps := map[string]string{"zlib-dev": "zlib=1.3-r1 musl-dev>=1.2"}[n]
			f := w.ownPackage(t, n, v, deps)
			want.Packages = append(want.Packages, ashlar.RootPackage{Name: n, Version: v, Arch: "amd64", URI: ownRepo + "/" + name + ".apk", Digest: f.Digest, Size: f.Size})
		}
		if diff := cmp.Diff(want, lock.Inputs.Builds[0].Root.Sysroot); diff != "" {
			t.Errorf("%s: %s", c.packages, diff)
		}
		for _, p := range lock.Inputs.Builds[0].Root.Packages() {
			if p.Name == "zlib-dev" || p.Name == "cmake" {
				t.Errorf("%s: %s is in Debian's part of the root", c.packages, p.Name)
			}
		}
	}
}

func TestLockSysrootErrors(t *testing.T) {
	for _, c := range []struct {
		name, packages string
		own            bool
		kind           fault.Kind
		want           []string
	}{
		{"what nobody built", "nothing-dev@musl", true, fault.Conflict, []string{"1.yaml:8", "nothing-dev", "build the packages that it wants first"}},
		{"a version that nobody built", "'zlib@musl>2'", true, fault.Conflict, []string{"1.yaml:8", "zlib"}},
		{"what needs what nobody built", "broken@musl", true, fault.Conflict, []string{"no-such-thing"}},
		{"another tag", "zlib@other", true, fault.Invalid, []string{"zlib@other"}},
		{"a malformed word", "'zlib@musl>='", true, fault.Invalid, []string{"1.yaml:8"}},
		{"a factory that has none", "zlib@musl", false, fault.NotFound, []string{"1.yaml:8", "no repository " + ownRepo}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTestWorld(t)
			if c.own {
				w.ownPackages(t)
			}
			_, err := Lock(t.Context(), testDefinition(t, sysrootBuild(c.packages), buildStep, nil), w.World)
			if !fault.Is(err, c.kind) {
				t.Errorf("kind %q, want %q", fault.KindOf(err), c.kind)
			}
			for _, part := range c.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("%v\ndoes not say %q", err, part)
				}
			}
		})
	}
	for _, uri := range []string{"ashlar://", "ashlar://musl-1", "ashlar://musl-1/testing", "ashlar://musl-1/main/x", "ashlar:///main"} {
		w := newTestWorld(t)
		w.ownPackages(t)
		_, err := Lock(t.Context(), testDefinition(t, strings.Replace(sysrootBuild("zlib@musl"), ownRepo, uri, 1), buildStep, nil), w.World)
		if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "write ashlar://DISTRO/main") {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// TestLockSysrootSame: the order in which packages were built changes no lock.
func TestLockSysrootSame(t *testing.T) {
	var first []byte
	for turn := range 4 {
		w := newTestWorld(t)
		w.ownPackages(t)
		own := w.Own
		w.Own = func(ctx context.Context, target ashlar.Target) ([]OwnPackage, error) {
			all, err := own(ctx, target)
			return append(all[turn:], all[:turn]...), err
		}
		def := testDefinition(t, sysrootBuild("'zlib-dev@musl', cmake@musl"), buildStep, nil)
		got := encodeLock(t, def, w)
		if first == nil {
			first = got
		}
		if diff := cmp.Diff(string(first), string(got)); diff != "" {
			t.Fatalf("two locks differ:\n%s", diff)
		}
	}
}

// TestSourceEpoch: a definition that packs knows when its source was last changed.
func TestSourceEpoch(t *testing.T) {
	const packs = "      pipeline:\n        - uses: dhi/build-pkg:0\n"
	const good = "hello (1:2.0-2) bookworm; urgency=low\n\n  * x\n\n -- A B <a@example.org>  Fri, 02 Jan 2026 03:04:05 +0100\n"
	for _, c := range []struct {
		name, changelog, contents, rest, want string
		kind                                  fault.Kind
		says                                  string
	}{
		{"a definition that packs", good, debsrcBuild, packs, "1767319445", "", ""},
		{"one that does not", "", debsrcBuild, buildStep, "", "", ""},
		{"no source of Debian's", "", "        packages: [check]\n", packs, "", "", ""},
		{"no changelog", "", debsrcBuild, packs, "", fault.NotFound, "debian/changelog"},
		{"a changelog that is none", "hello\n", debsrcBuild, packs, "", fault.Invalid, "changelog"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newTestWorld(t)
			if c.changelog != "" {
				w.changelog = c.changelog
				w.addSource(t, "bookworm", "hello", "1:2.0-2", "Build-Depends: libz-dev")
			}
			def := testDefinition(t, c.contents, c.rest, nil)
			lock, err := Lock(t.Context(), def, w.World)
			if c.says != "" {
				if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "1.yaml:") {
					t.Errorf("%v is %s", err, fault.KindOf(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, has := lock.Inputs.Vars[SourceEpoch]; got != c.want || has != (c.want != "") {
				t.Errorf("source.epoch is %q, want %q", got, c.want)
			}
			if _, err := verifyIn(t, w, lock, def); err != nil {
				t.Errorf("verify: %v", err)
			}
			if c.want == "" {
				return
			}
			lock.Inputs.Vars[SourceEpoch] = "1"
			if _, err := verifyIn(t, w, lock, def); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), SourceEpoch) {
				t.Errorf("another time: %v", err)
			}
		})
	}
}

// TestVerifySysroot verifies locks that claim another sysroot than their definition
// leads to, or one that nobody vouches for.
func TestVerifySysroot(t *testing.T) {
	packages := func(l *ashlar.Lock) *[]ashlar.RootPackage { return &l.Inputs.Builds[0].Root.Sysroot.Packages }
	for _, c := range []struct {
		name   string
		change func(t *testing.T, w *testWorld, l *ashlar.Lock)
		kind   fault.Kind
		says   string
	}{
		{"as it was made", nil, "", ""},
		{"none", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Builds[0].Root.Sysroot = nil }, fault.Conflict, "zlib-dev"},
		{"a package less", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { *packages(l) = (*packages(l))[1:] }, fault.Conflict, "wants zlib=1.3-r1"},
		{"a package more", func(t *testing.T, w *testWorld, l *ashlar.Lock) {
			f := w.ownPackage(t, "cmake", "3-r0", "")
			*packages(l) = append(*packages(l), ashlar.RootPackage{Name: "cmake", Version: "3-r0", Arch: "amd64", URI: ownRepo + "/" + f.Name, Digest: f.Digest, Size: f.Size})
		}, fault.Conflict, "another sysroot"},
		{"another order", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
			p := *packages(l)
			p[0], p[1] = p[1], p[0]
		}, fault.Conflict, "another sysroot"},
		{"another path", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Builds[0].Root.Sysroot.Path = "/usr" }, fault.Conflict, "another sysroot"},
		{"another name", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { (*packages(l))[0].Name = "musl-dev" }, fault.Conflict, "another sysroot"},
		{"another version", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { (*packages(l))[0].Version = "9-r0" }, fault.Conflict, "another sysroot"},
		{"another architecture", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { (*packages(l))[0].Arch = "arm64" }, fault.Conflict, "another sysroot"},
		{"another repository", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
			(*packages(l))[0].URI = "ashlar://musl-2/main/zlib-1.3-r1.apk"
		}, fault.Conflict, "wants zlib=1.3-r1"},
		{"another file name", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { (*packages(l))[0].URI = ownRepo + "/zlib-1.4-r0.apk" }, fault.Denied, "and holds zlib-1.3-r1.apk"},
		{"a file elsewhere", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
			(*packages(l))[0].URI = ownRepo + "/../../zlib-1.3-r1.apk"
		}, fault.Denied, "and holds zlib-1.3-r1.apk"},
		{"another digest", func(t *testing.T, w *testWorld, l *ashlar.Lock) {
			(*packages(l))[0].Digest, (*packages(l))[0].Size = w.put(t, "evil")
		}, fault.Invalid, "zlib-1.3-r1.apk"},
		{"a digest of nothing", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
			(*packages(l))[0].Digest = ashlar.DigestOf([]byte("x"))
		}, fault.NotFound, ""},
		{"the same package with other bytes", func(t *testing.T, w *testWorld, l *ashlar.Lock) {
			p := &(*packages(l))[0]
			f := w.ownPackage(t, "zlib", "1.3-r1", "!busybox")
			p.Digest, p.Size = f.Digest, f.Size
		}, fault.Denied, "was never built"},
		{"nobody who vouches", func(_ *testing.T, w *testWorld, _ *ashlar.Lock) { w.Vouch = nil }, fault.Denied, "nobody vouches for " + ownRepo + "/zlib-1.3-r1.apk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, def, lock, err := lockWith(t, "'zlib-dev@musl'")
			if err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(t, w, lock)
			}
			w.Own = func(context.Context, ashlar.Target) ([]OwnPackage, error) { panic("only the lock counts") }
			is, err := verifyIn(t, w, lock, def)
			if c.kind == "" {
				if diff := cmp.Diff(lock.Inputs.Builds, is.Inputs.Builds); err != nil || diff != "" {
					t.Errorf("%v\n%s", err, diff)
				}
				return
			}
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("kind %q, want %q with %q: %v", fault.KindOf(err), c.kind, c.says, err)
			}
		})
	}
}

// TestCheckSysroot brings the packages of a sysroot, and names those that are gone.
func TestCheckSysroot(t *testing.T) {
	w, def, lock, err := lockWith(t, "'zlib-dev@musl'")
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(t.Context(), lock, def, w.World); err != nil {
		t.Error(err)
	}
	other := newTestWorld(t)
	if err := Check(t.Context(), lock, def, other.World); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), ownRepo+"/zlib-dev-1.3-r1.apk") {
		t.Errorf("in another store: %v", err)
	}
	for _, uri := range other.pool.asked {
		if strings.HasPrefix(uri, ownScheme) {
			t.Errorf("somebody was asked for %s", uri)
		}
	}
}
