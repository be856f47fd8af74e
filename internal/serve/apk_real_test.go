package serve

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// These tests run real clients over HTTP: apk 2.14, which ASHLAR_APK2 names, and
// apk 3.0, which ASHLAR_APK3 names; without they are skipped. To install they need
// root. The newer one reads both kinds of index.

// A realClient is an apk with an empty root.
type realClient struct {
	program, root, keys string
	line                string // prefix of the line for a repository
	server              *httptest.Server
	mu                  sync.Mutex
	seen                []string // "GET path status", and " since" if the request was conditional
}

// eachClient runs a test with each client there is, by each kind of index.
func eachClient(t *testing.T, test func(t *testing.T, s *apkSite, c *realClient)) {
	for _, kind := range []struct{ name, variable, line string }{
		{"apk 2, v2", "ASHLAR_APK2", ""}, {"apk 3, v2", "ASHLAR_APK3", ""}, {"apk 3, v3", "ASHLAR_APK3", "v3 "},
	} {
		t.Run(kind.name, func(t *testing.T) {
			program := os.Getenv(kind.variable)
			switch {
			case program == "":
				t.Skipf("%s names no apk", kind.variable)
			case os.Geteuid() != 0:
				t.Skip("only root can install packages")
			}
			s := newAPKSite(t)
			test(t, s, newClient(t, s, program, kind.line))
		})
	}
}

func newClient(t *testing.T, s *apkSite, program, line string) *realClient {
	t.Helper()
	dir := t.TempDir()
	c := &realClient{program: program, root: dir + "/root", keys: dir + "/keys", line: line}
	for _, d := range []string{c.root + "/etc/apk", c.root + "/var/cache/apk", c.keys} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &counter{ResponseWriter: w}
		since := ""
		if r.Header.Get("If-Modified-Since") != "" {
			since = " since"
		}
		s.ServeHTTP(n, r)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.seen = append(c.seen, fmt.Sprintf("%s %s %d%s", r.Method, r.URL.Path, n.status, since))
	}))
	t.Cleanup(c.server.Close)
	c.use(t, "")
	return c
}

// use makes the client use the repository, or a snapshot of it.
func (c *realClient) use(t *testing.T, below string) {
	t.Helper()
	line := c.line + c.server.URL + "/apk/musl-1/community" + below + "\n"
	if err := os.WriteFile(c.root+"/etc/apk/repositories", []byte(line), 0o644); err != nil {
		t.Fatal(err)
	}
}

// trust gives the client the public keys for apk of keys, as it gets them from the
// server, and takes all others away.
func (c *realClient) trust(t *testing.T, keys *sign.Keys) {
	t.Helper()
	old, err := filepath.Glob(c.keys + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	pub, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range pub.APK {
		if err := os.WriteFile(filepath.Join(c.keys, k.Name), k.PEM, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// run runs the client and returns what it says.
func (c *realClient) run(args ...string) (string, error) {
	common := []string{"--root", c.root, "--keys-dir", c.keys, "--arch", "x86_64", "--no-progress"}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, append(common, args...)...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is run for what is to succeed.
func (c *realClient) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.run(args...)
	if err != nil {
		t.Fatalf("apk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// add installs packages.
func (c *realClient) add(names ...string) (string, error) {
	return c.run(append([]string{"add", "--initdb", "--no-scripts", "--update-cache"}, names...)...)
}

// refused wants the client to refuse to add the package one, saying one of words.
func (c *realClient) refused(t *testing.T, words ...string) {
	t.Helper()
	out, err := c.add("one")
	said := slices.ContainsFunc(words, func(w string) bool { return strings.Contains(out, w) })
	if _, serr := os.Stat(c.root + "/opt/one"); err == nil || !said || serr == nil {
		t.Errorf("%v, want an error that says one of %q:\n%s", err, words, out)
	}
}

// asked returns what the client has asked for since the last call.
func (c *realClient) asked() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen := c.seen
	c.seen = nil
	return seen
}

// index returns the name of the index that the client reads.
func (c *realClient) index() string {
	if c.line != "" {
		return "Packages.adb"
	}
	return "APKINDEX.tar.gz"
}

// installed wants the file of a package to be there in a version.
func (c *realClient) installed(t *testing.T, name, version string) {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(c.root, "opt", name)); err != nil || string(b) != name+" "+version+"\n" {
		t.Errorf("%s is %q, %v", name, b, err)
	}
}

func TestRealAPK(t *testing.T) {
	eachClient(t, func(t *testing.T, s *apkSite, c *realClient) {
		needs, err := apk.ParseDependencies("two>=1")
		if err != nil {
			t.Fatal(err)
		}
		one, every := package1("one", "1-r100"), package1("every", "1-r100")
		one.Depends, every.Arch = needs, "noarch"
		first := s.publish(t, day, one, package1("two", "1-r100"), every)
		c.trust(t, s.keys)
		if out, err := c.add("one", "every"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, name := range []string{"one", "two", "every"} {
			c.installed(t, name, "1-r100")
		}
		// A client of v3 gets packages of v3, whose names have their hash in them.
		for _, ask := range c.asked() {
			v3 := strings.Count(filepath.Base(ask), ".") == 2
			if strings.Contains(ask, ".apk ") && v3 != (c.line != "") || !strings.HasSuffix(ask, " 200") {
				t.Errorf("it asked %s", ask)
			}
		}
		one.Version = "1-r101"
		s.publish(t, day.Add(time.Hour), one)
		c.must(t, "upgrade", "--no-scripts", "--update-cache")
		c.installed(t, "one", "1-r101")
		// The snapshot of before still has what it had.
		old := newClient(t, s, c.program, c.line)
		old.trust(t, s.keys)
		old.use(t, "/snapshot/"+first.Snapshot)
		if out, err := old.add("one"); err != nil {
			t.Errorf("from a snapshot: %v\n%s", err, out)
		}
		old.installed(t, "one", "1-r100")
		// A moment between two snapshots leads to the older one.
		between := newClient(t, s, c.program, c.line)
		between.trust(t, s.keys)
		between.use(t, "/snapshot/20260504T123456Z")
		if out, err := between.add("one"); err != nil {
			t.Errorf("from a moment: %v\n%s", err, out)
		}
		between.installed(t, "one", "1-r100")
		// What is withdrawn is offered no more.
		if _, err := s.apk.Withdraw(t.Context(), musl, []string{"every"}, "test", day.Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		if out, err := newTrusting(t, s, c).add("every"); err == nil {
			t.Errorf("what was withdrawn is installed:\n%s", out)
		}
	})
}

// newTrusting returns another client of the same kind that trusts the repository.
func newTrusting(t *testing.T, s *apkSite, c *realClient) *realClient {
	t.Helper()
	other := newClient(t, s, c.program, c.line)
	other.trust(t, s.keys)
	return other
}

// TestRealV2Only has packages of v2 alone, which the index of v3 lists as well.
func TestRealV2Only(t *testing.T) {
	eachClient(t, func(t *testing.T, s *apkSite, c *realClient) {
		set := s.set(t, package1("one", "1-r100"))
		set.Packages = set.Packages[:1]
		if _, err := s.apk.Publish(t.Context(), musl, []apkrepo.SourceSet{set}, day); err != nil {
			t.Fatal(err)
		}
		c.trust(t, s.keys)
		if out, err := c.add("one"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c.installed(t, "one", "1-r100")
	})
}

// TestRealRefuses changes what is served; the clients must refuse it.
func TestRealRefuses(t *testing.T) {
	eachClient(t, func(t *testing.T, s *apkSite, c *realClient) {
		s.publish(t, day, package1("one", "1-r100"))
		dir := filepath.Join(s.root, "apk/musl-1/community/x86_64")
		packages, err := filepath.Glob(dir + "/*.apk")
		if err != nil || len(packages) != 2 {
			t.Fatal(packages, err)
		}
		replace := func(name string, b []byte) {
			t.Helper()
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		read := func(name string) []byte {
			t.Helper()
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		t.Run("foreign key", func(t *testing.T) {
			other := newClient(t, s, c.program, c.line)
			other.trust(t, apkTestKeys()[2])
			other.refused(t, "UNTRUSTED", "untrusted")
		})
		t.Run("changed package", func(t *testing.T) {
			for _, name := range packages {
				good := read(name)
				bad := slices.Clone(good)
				bad[len(bad)-20] ^= 1
				replace(name, bad)
				defer replace(name, good)
			}
			newTrusting(t, s, c).refused(t, "BAD", "integrity", "inconsistent", "IO ERROR", "I/O", "error")
		})
		t.Run("another package of that name", func(t *testing.T) {
			other := newAPKSite(t)
			info := package1("one", "1-r100")
			info.Description = "another"
			other.publish(t, day, info)
			for _, name := range packages {
				theirs, err := filepath.Glob(filepath.Join(other.root, "apk/musl-1/community/x86_64/*.apk"))
				if err != nil {
					t.Fatal(err)
				}
				for _, their := range theirs {
					if strings.Count(filepath.Base(their), ".") == strings.Count(filepath.Base(name), ".") {
						good := read(name)
						replace(name, read(their))
						defer replace(name, good)
					}
				}
			}
			newTrusting(t, s, c).refused(t, "BAD", "integrity")
		})
		index := filepath.Join(s.root, "apk/musl-1/community/live/now/x86_64", c.index())
		good := read(index)
		t.Run("unsigned index", func(t *testing.T) {
			defer replace(index, good)
			unsigned, err := apk.ReadV2Raw(read(filepath.Join(dir, "APKINDEX.tar.gz")), nil)
			if err != nil {
				t.Fatal(err)
			}
			b := unsigned.Unsigned()
			if c.line != "" {
				x, err := apk.ReadV3Raw(strings.NewReader(string(good)), apk.V3Unchecked())
				if err != nil {
					t.Fatal(err)
				}
				if b, err = x.Plain(); err != nil {
					t.Fatal(err)
				}
			}
			replace(index, b)
			newTrusting(t, s, c).refused(t, "UNTRUSTED", "untrusted", "BAD")
		})
		t.Run("changed index", func(t *testing.T) {
			defer replace(index, good)
			bad := slices.Clone(good)
			bad[len(bad)/2] ^= 1
			replace(index, bad)
			newTrusting(t, s, c).refused(t, "BAD", "bad", "UNTRUSTED", "integrity", "inconsistent", "error", "ERROR")
		})
		t.Run("nothing changed", func(t *testing.T) {
			if out, err := newTrusting(t, s, c).add("one"); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	})
}

// TestRealNotModified has a client ask again when its index is old.
func TestRealNotModified(t *testing.T) {
	eachClient(t, func(t *testing.T, s *apkSite, c *realClient) {
		s.publish(t, day, package1("one", "1-r100"))
		c.trust(t, s.keys)
		if out, err := c.add("one"); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		c.asked()
		cached, err := filepath.Glob(c.root + "/var/cache/apk/APKINDEX.*")
		if err != nil || len(cached) != 1 {
			t.Fatal(cached, err)
		}
		ask := func(at time.Time) string {
			t.Helper()
			if err := os.Chtimes(cached[0], at, at); err != nil {
				t.Fatal(err)
			}
			c.must(t, "--cache-max-age", "1", "add", "--no-scripts", "one")
			for _, a := range c.asked() {
				if strings.Contains(a, c.index()) {
					return a[strings.LastIndex(a, c.index())+len(c.index())+1:]
				}
			}
			return ""
		}
		if got := ask(day.Add(time.Hour)); got != "304 since" {
			t.Errorf("an hour after the publication: %q", got)
		}
		// A clock that runs ahead, or a request while something was published.
		if got := ask(day.Add(time.Minute)); got != "200 since" {
			t.Errorf("a minute after the publication: %q", got)
		}
		s.publish(t, day.Add(2*time.Hour), package1("one", "2-r100"))
		if got := ask(day.Add(time.Hour)); got != "200 since" {
			t.Errorf("after another publication: %q", got)
		}
		c.must(t, "upgrade", "--no-scripts")
		c.installed(t, "one", "2-r100")
	})
}

// TestRealRotation changes keys: while both sign, clients with the old ones and
// clients with the new ones work; afterwards only those with the new ones.
func TestRealRotation(t *testing.T) {
	eachClient(t, func(t *testing.T, s *apkSite, c *realClient) {
		s.publish(t, day, package1("one", "1-r100"))
		c.trust(t, apkTestKeys()[0])
		if out, err := c.add("one"); err != nil {
			t.Fatalf("with the old keys: %v\n%s", err, out)
		}
		c.asked()
		s.signWith(t, rotating())
		if _, err := s.apk.ResignAll(t.Context(), day.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		s.publish(t, day.Add(2*time.Hour), package1("two", "1-r100"))
		for name, keys := range map[string]*sign.Keys{"old": apkTestKeys()[0], "new": apkTestKeys()[1]} {
			other := newClient(t, s, c.program, c.line)
			other.trust(t, keys)
			if out, err := other.add("one", "two"); err != nil {
				t.Errorf("while both sign, with the %s keys: %v\n%s", name, err, out)
			}
		}
		// The client from before takes the new keys and goes on.
		c.trust(t, apkTestKeys()[1])
		if out, err := c.add("two"); err != nil {
			t.Errorf("a client that changes its keys: %v\n%s", err, out)
		}
		next := *apkTestKeys()[0]
		next.APK = apkTestKeys()[1].APK
		s.signWith(t, &next)
		if _, err := s.apk.ResignAll(t.Context(), day.Add(3*time.Hour)); err != nil {
			t.Fatal(err)
		}
		for name, keys := range map[string]*sign.Keys{"old": apkTestKeys()[0], "new": apkTestKeys()[1]} {
			other := newClient(t, s, c.program, c.line)
			other.trust(t, keys)
			if out, err := other.add("one", "two"); (err == nil) != (name == "new") {
				t.Errorf("after the rotation, with the %s keys: %v\n%s", name, err, out)
			}
		}
	})
}
