package repo

import (
	"bytes"
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

	"github.com/ashlar-project/ashlar"
)

// A web is an ordinary static web server over a repository, which can be told to
// lie.
type web struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	lies  map[string][]byte // served in place of the file
}

func serveFiles(t *testing.T, root string) *web {
	t.Helper()
	w := &web{lies: map[string][]byte{}}
	files := http.FileServer(http.Dir(root))
	w.Server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, r.URL.Path)
		lie, ok := w.lies[r.URL.Path]
		w.mu.Unlock()
		if ok {
			rw.Write(lie)
			return
		}
		files.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.Close)
	return w
}

// tamper makes the server hand out a file of the repository with one bit flipped.
func (w *web) tamper(t *testing.T, root, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	w.lie(name, b)
}

// lie makes the server hand out other content for a path; nil is the truth again.
func (w *web) lie(name string, content []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.lies, "/"+name)
	if content != nil {
		w.lies["/"+name] = content
	}
}

// requests returns the paths that were asked for.
func (w *web) requests() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.asked)
}

// An aptRoot is a place where apt keeps its own state, apart from the machine's.
type aptRoot struct {
	t      *testing.T
	dir    string
	chroot string // where another release of Debian is, whose apt is run; "" for the machine's
}

func newApt(t *testing.T, more string) *aptRoot {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the real apt")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("no apt here")
	}
	return setUpApt(&aptRoot{t: t, dir: t.TempDir()}, more)
}

// setUpApt makes the folders and the configuration.
func setUpApt(a *aptRoot, more string) *aptRoot {
	t := a.t
	t.Helper()
	for _, d := range []string{"etc/apt/sources.list.d", "etc/apt/preferences.d", "etc/apt/trusted.gpg.d", "etc/apt/apt.conf.d", "var/lib/apt/lists/partial",
		"var/cache/apt/archives/partial", "var/lib/dpkg", "var/log/apt", "download"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	a.write("var/lib/dpkg/status", "")
	a.write("apt.conf", fmt.Sprintf(`Dir "%s";
Dir::State::status "%s/var/lib/dpkg/status";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Sandbox::User "root";
Acquire::Languages { "en"; };
Acquire::http::Proxy "DIRECT";
Acquire::Retries "0";
%s`, a.inside(), a.inside(), more))
	return a
}

func (a *aptRoot) write(name, content string) {
	a.t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), []byte(content), 0o644); err != nil {
		a.t.Fatal(err)
	}
}

// source makes apt use community/bookworm as served from base, or the snapshot
// with the id.
func (a *aptRoot) source(name, base, snapshot string, signer *testSigner) {
	a.t.Helper()
	file, err := SourcesFile(ashlar.Community, "bookworm", base, signer.armoured(a.t))
	if snapshot != "" {
		file, err = sourcesFile(snapshotDir(ashlar.Community, snapshot), "bookworm", base, signer.armoured(a.t))
	}
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("etc/apt/sources.list.d/"+name+".sources", string(file))
}

// inside returns the folder as apt sees it.
func (a *aptRoot) inside() string { return strings.TrimPrefix(a.dir, a.chroot) }

// run runs a program of apt and returns all it says.
func (a *aptRoot) run(program string, args ...string) (string, error) {
	c := exec.Command(program, args...)
	c.Dir = filepath.Join(a.dir, "download")
	if a.chroot != "" {
		c = exec.Command("chroot", append([]string{a.chroot, program}, args...)...)
	}
	c.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.inside(), "apt.conf"), "LC_ALL=C.UTF-8", "TMPDIR="+a.inside(), "http_proxy=", "no_proxy=*")
	out, err := c.CombinedOutput()
	return string(out), err
}

// must runs a program of apt that has to succeed and to say all that is wanted.
func (a *aptRoot) must(wants []string, program string, args ...string) string {
	a.t.Helper()
	out, err := a.run(program, args...)
	if err != nil {
		a.t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	for _, want := range wants {
		if !strings.Contains(out, want) {
			a.t.Errorf("%s %v does not say %q:\n%s", program, args, want, out)
		}
	}
	return out
}

// mustFail runs a program of apt that has to fail and say why.
func (a *aptRoot) mustFail(why string, program string, args ...string) {
	a.t.Helper()
	out, err := a.run(program, args...)
	if err == nil || !strings.Contains(out, why) {
		a.t.Errorf("%s %v: %v, want failure with %q:\n%s", program, args, err, why, out)
	}
}

// aptUpdate runs apt-get update so that warnings are errors.
var aptUpdate = []string{"update", "-o", "APT::Update::Error-Mode=any"}

// live returns a repository whose dates fit the machine's clock, which apt looks
// at, and its server.
func liveRepo(t *testing.T, change func(*Config)) (*testRepo, *web) {
	r := newTestRepo(t, change)
	r.signer.keys = newSigner(t, time.Now().Add(-24*365*time.Hour)).keys
	r.cfg.Keyring = r.signer.keys[0].Keyring()
	return r, serveFiles(t, r.Root())
}

var hello = testSource{name: "hello", version: "2.10-3+cut12u1", packages: []testPackage{
	{name: "hello", arch: "amd64", fields: "Depends: hello-data\n"}, {name: "hello-data", arch: "all"}}}

func TestApt(t *testing.T) {
	a := newApt(t, "")
	r, w := liveRepo(t, nil)
	now := time.Now()
	r.publishAt(t, now.Add(-time.Hour), hello)
	a.source("ashlar", w.URL, "", r.signer)
	a.must(nil, "apt-get", aptUpdate...)
	for _, asked := range w.requests() {
		if strings.Contains(asked, "/main/") && !strings.Contains(asked, "/by-hash/SHA256/") {
			t.Errorf("apt asked for %s, not by hash", asked)
		}
	}
	a.must([]string{"It does nothing.", "It is there to be listed.", "SHA256:"}, "apt-cache", "show", "hello")
	a.must([]string{"Inst hello-data (2.10-3+cut12u1 Ashlar community:bookworm [all])", "Inst hello (2.10-3+cut12u1 "}, "apt-get", "-s", "install", "hello")
	a.must(nil, "apt-get", "download", "hello")
	if _, err := os.Stat(filepath.Join(a.dir, "download/hello_2.10-3+cut12u1_amd64.deb")); err != nil {
		t.Error(err)
	}
	a.must(nil, "apt-get", "source", "--download-only", "hello")
	out := a.must(nil, "dpkg-deb", "-c", "hello_2.10-3+cut12u1_amd64.deb")
	if !strings.Contains(out, "./usr/share/doc/hello/copyright") {
		t.Errorf("dpkg-deb lists %s", out)
	}
	a.must([]string{"Hit:1"}, "apt-get", aptUpdate...) // nothing new: the server said 304

	next := hello
	next.version = "2.10-3+cut12u2"
	r.publishAt(t, now.Add(-time.Minute), next)
	a.must(nil, "apt-get", aptUpdate...)
	a.must([]string{"Candidate: 2.10-3+cut12u2"}, "apt-cache", "policy", "hello")
}

func TestAptRefuses(t *testing.T) {
	const dist = "deb/community/dists/bookworm/"
	tests := []struct {
		name string
		lie  func(t *testing.T, r *testRepo, w *web, a *aptRoot)
		why  string
		cmd  []string
	}{
		{"tampered package", func(t *testing.T, r *testRepo, w *web, a *aptRoot) {
			a.must(nil, "apt-get", aptUpdate...)
			w.tamper(t, r.Root(), "deb/community/pool/main/h/hello/hello_2.10-3+cut12u1_amd64.deb")
		}, "Hash Sum mismatch", []string{"download", "hello"}},
		{"tampered index", func(t *testing.T, r *testRepo, w *web, _ *aptRoot) {
			s, err := readState(filepath.Join(r.Root(), dist))
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []string{"", ".gz", ".xz"} {
				f, _ := s.file("main/binary-amd64/Packages" + form)
				w.tamper(t, r.Root(), dist+byHash(f))
				w.tamper(t, r.Root(), dist+f.Name)
			}
		}, "Hash Sum mismatch", aptUpdate},
		{"tampered InRelease", func(t *testing.T, r *testRepo, w *web, _ *aptRoot) {
			b := strings.Replace(r.index(t, "InRelease"), "Components: main", "Components: evil", 1)
			w.lie(dist+"InRelease", []byte(b))
		}, "BADSIG", aptUpdate},
		{"foreign key", func(t *testing.T, r *testRepo, w *web, a *aptRoot) {
			a.source("ashlar", w.URL, "", newSigner(t, time.Now().Add(-time.Hour)))
		}, "NO_PUBKEY", aptUpdate},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := newApt(t, "")
			r, w := liveRepo(t, nil)
			r.publishAt(t, time.Now().Add(-time.Hour), hello)
			a.source("ashlar", w.URL, "", r.signer)
			test.lie(t, r, w, a)
			a.mustFail(test.why, "apt-get", test.cmd...)
		})
	}
}

// TestAptTime shows what apt does as time goes by: it refuses what has expired,
// takes it again after it was signed again, never goes back to an older state,
// and uses a snapshot for ever.
func TestAptTime(t *testing.T) {
	a := newApt(t, "")
	r, w := liveRepo(t, nil)
	now := time.Now()
	old := r.publishAt(t, now.AddDate(0, 0, -30), hello)
	a.source("ashlar", w.URL, "", r.signer)
	a.mustFail("is expired", "apt-get", aptUpdate...)

	a.source("ashlar", w.URL, old.Snapshot, r.signer)
	a.must(nil, "apt-get", aptUpdate...)

	next := hello
	next.version = "2.10-3+cut12u2"
	r.publishAt(t, now.AddDate(0, 0, -2), hello, simple("other", "1"))
	replay := r.index(t, "InRelease")
	r.publishAt(t, now.Add(-time.Hour), next)
	a.source("ashlar", w.URL, "", r.signer)
	a.must(nil, "apt-get", aptUpdate...)
	w.lie("deb/community/dists/bookworm/InRelease", []byte(replay))
	a.must(nil, "apt-get", "update")
	a.must([]string{"Candidate: 2.10-3+cut12u2"}, "apt-cache", "policy", "hello")

	a.source("ashlar", w.URL, old.Snapshot, r.signer)
	a.must(nil, "apt-get", aptUpdate...)
	a.must([]string{"Candidate: 2.10-3+cut12u1"}, "apt-cache", "policy", "hello")
	a.must(nil, "apt-get", "download", "hello")

	w.lie("deb/community/dists/bookworm/InRelease", nil)
	r.cfg.Validity = time.Hour
	if _, err := r.Resign(context.Background(), now); err != nil {
		t.Fatal(err)
	}
	a.source("ashlar", w.URL, "", r.signer)
	a.must(nil, "apt-get", aptUpdate...)
}

// TestAptForms makes apt read each compressed form of an index of many chunks,
// and change from one signing key to the next by way of two signatures.
func TestAptForms(t *testing.T) {
	r, w := liveRepo(t, nil)
	var sources []testSource
	for i := range 120 {
		s := simple(fmt.Sprintf("pkg%03d", i), "1")
		s.packages[0].fields = "Depends: " + strings.Repeat("libexample1 (>= 1.2.3) | ", 90) + "libc6\n"
		sources = append(sources, s)
	}
	oldKey, newKey := r.signer, newSigner(t, time.Now().Add(-time.Hour))
	r.signer.keys = append(r.signer.keys, newKey.keys...)
	r.publishAt(t, time.Now().Add(-time.Hour), sources...)
	if n := len(gzipMembers([]byte(r.index(t, "main/binary-amd64/Packages.gz")))); n < 3 {
		t.Fatalf("the index has %d chunks, too few to test", n)
	}
	for _, form := range []string{"gz", "xz"} {
		for _, key := range []*testSigner{{oldKey.keys[:1]}, newKey} {
			a := newApt(t, `Acquire::CompressionTypes::Order { "`+form+`"; };`)
			a.source("ashlar", w.URL, "", key)
			a.must(nil, "apt-get", aptUpdate...)
			if n := len(strings.Fields(a.must(nil, "apt-cache", "pkgnames", "pkg"))); n != len(sources) {
				t.Errorf("apt sees %d packages in the %s form, want %d", n, form, len(sources))
			}
		}
	}
}

// TestAptSeesCrash lets the real apt look at what a crash leaves, at the points
// where names change.
func TestAptSeesCrash(t *testing.T) {
	next := hello
	next.version = "2.10-3+cut12u2"
	points := 0
	for steps, crashed := 0, true; crashed; steps++ {
		newApt(t, "") // skips where there is no apt
		r, w := liveRepo(t, nil)
		now := time.Now()
		r.publishAt(t, now.Add(-time.Hour), hello)
		rename, last := false, crashAfter(steps)
		r.cfg.Hook = func(op, name string) error {
			err := last(op, name)
			rename = rename || err != nil && op == "rename" && strings.Contains(name, "/dists/")
			return err
		}
		_, err := r.tryPublish(t, now.Add(-time.Minute), next)
		crashed = err != nil
		if crashed && !rename {
			continue // nothing that apt looks at has changed
		}
		points++
		a := newApt(t, "")
		a.source("ashlar", w.URL, "", r.signer)
		a.must(nil, "apt-get", aptUpdate...)
		a.must(nil, "apt-get", "download", "hello", "hello-data")
	}
	if points < 5 {
		t.Errorf("apt looked at %d points only", points)
	}
}

// TestPreferences publishes, as the distribution, an update that lacks our fix
// and has a higher version, and shows what each mode does.
func TestPreferences(t *testing.T) {
	ours, w := liveRepo(t, nil)
	debian, mirror := liveRepo(t, func(c *Config) { c.Origin = "Debian" })
	now := time.Now()
	ours.publishAt(t, now.Add(-2*time.Hour), simple("curl", "7.88.1-10+deb12u5+cut12u1"))
	debian.publishAt(t, now.Add(-2*time.Hour), simple("curl", "7.88.1-10+deb12u5"))

	const fixed, unfixed = "7.88.1-10+deb12u5+cut12u1", "7.88.1-10+deb12u6"
	tests := []struct {
		mode      Preference
		installed string
		candidate string
		upgrade   string // "" if apt does nothing
	}{
		{PreferHardened, fixed, fixed, ""},
		{PreferNewest, fixed, unfixed, unfixed},
		{PreferHardened, "7.88.1-10+deb12u5", fixed, fixed},
		{PreferHardened, unfixed, unfixed, ""}, // never goes back by itself
	}
	debian.publishAt(t, now.Add(-time.Hour), simple("curl", unfixed))
	for _, test := range tests {
		t.Run(string(test.mode)+" with "+test.installed, func(t *testing.T) {
			a := newApt(t, "")
			a.source("ashlar", w.URL, "", ours.signer)
			a.source("debian", mirror.URL, "", debian.signer)
			name, preferences, err := Preferences("Ashlar", test.mode)
			if err != nil {
				t.Fatal(err)
			}
			a.write("etc/apt/preferences.d/"+name, string(preferences))
			curl := simple("curl", test.installed)
			a.write("var/lib/dpkg/status", "Status: install ok installed\n"+curl.control(curl.packages[0])+"\n")
			a.must(nil, "apt-get", aptUpdate...)
			a.must([]string{"Candidate: " + test.candidate + "\n"}, "apt-cache", "policy", "curl")
			out := a.must(nil, "apt-get", "-s", "upgrade")
			if want := "Inst curl [" + test.installed + "] (" + test.upgrade + " "; strings.Contains(out, "Inst curl") != (test.upgrade != "") ||
				test.upgrade != "" && !strings.Contains(out, want) {
				t.Errorf("apt-get upgrade should go to %q:\n%s", test.upgrade, out)
			}
		})
	}
}

func TestClientFiles(t *testing.T) {
	signer := newSigner(t, day)
	for _, base := range []string{"", "example.org", "ftp://example.org", "https://", "https://a b", "https://example.org/?x", "https://u:p@example.org", "https://example.org/\nTrusted: yes"} {
		if f, err := SourcesFile(ashlar.Community, "bookworm", base, signer.armoured(t)); err == nil {
			t.Errorf("base %q gives\n%s", base, f)
		}
	}
	for _, suite := range []string{"", "../x", "a b", "a/b", "A"} {
		if f, err := SourcesFile(ashlar.Community, suite, "https://example.org", signer.armoured(t)); err == nil {
			t.Errorf("suite %q gives\n%s", suite, f)
		}
	}
	if _, err := SourcesFile(ashlar.Community, "bookworm", "https://example.org", []byte("no key")); err == nil {
		t.Error("no key, but no error")
	}
	got, err := SourcesFile(ashlar.Enterprise, "bookworm", "https://example.org/pkg/", signer.armoured(t))
	want := "Types: deb deb-src\nURIs: https://example.org/pkg/deb/enterprise\nSuites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n "
	if err != nil || !bytes.HasPrefix(got, []byte(want)) {
		t.Errorf("%v, got\n%s", err, got)
	}
	if _, _, err := Preferences("Ash\nPin-Priority: 1", PreferNewest); err == nil {
		t.Error("an origin of two lines was accepted")
	}
}

// TestSnapshotOption uses the Snapshot option of apt 3 and the Snapshots field of
// the Release. It needs a root with such an apt, which debootstrap makes of
// trixie, in ASHLAR_TRIXIE_ROOT.
func TestSnapshotOption(t *testing.T) {
	root := os.Getenv("ASHLAR_TRIXIE_ROOT")
	if root == "" {
		t.Skip("ASHLAR_TRIXIE_ROOT is not set")
	}
	dir, err := os.MkdirTemp(filepath.Join(root, "tmp"), "apt-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	a := setUpApt(&aptRoot{t: t, dir: dir, chroot: filepath.Clean(root)}, "")
	r, w := liveRepo(t, nil)
	r.cfg.BaseURL = w.URL
	now := time.Now()
	old := r.publishAt(t, now.AddDate(0, 0, -40), hello)
	next := hello
	next.version = "2.10-3+cut12u2"
	r.publishAt(t, now.Add(-time.Hour), next)
	file, err := SourcesFile(ashlar.Community, "bookworm", w.URL, r.signer.armoured(t))
	if err != nil {
		t.Fatal(err)
	}
	a.write("etc/apt/sources.list.d/ashlar.sources", string(file))
	a.must(nil, "apt-get", aptUpdate...)
	a.must([]string{"Candidate: 2.10-3+cut12u2"}, "apt-cache", "policy", "hello")
	a.write("etc/apt/sources.list.d/ashlar.sources", strings.Replace(string(file), "Components:", "Snapshot: "+old.Snapshot+"\nComponents:", 1))
	a.must(nil, "apt-get", aptUpdate...)
	a.must([]string{"Candidate: 2.10-3+cut12u1"}, "apt-cache", "policy", "hello")
	a.must([]string{"/snapshot/" + old.Snapshot}, "apt-get", "download", "--print-uris", "hello")
}
