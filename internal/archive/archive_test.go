package archive

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// versions returns "name version" of packages, sorted.
func versions(t *testing.T, pkgs []*deb.Package, err error) []string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, p := range pkgs {
		all = append(all, p.Name+" "+p.Version)
	}
	slices.Sort(all)
	return all
}

func TestUniverse(t *testing.T) {
	f := newFake(t)
	u, err := f.archive().Universe(t.Context(), amd64, day)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got []string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	all, err := u.Versions("tool")
	check("tool", versions(t, all, err), "tool 2.0")
	if uri := u.PoolURI(all[0]); uri != "mirror://debian/pool/main/t/tool/tool_2.0+x~1_all.deb" {
		t.Errorf("pool address %s", uri)
	}
	again, _ := u.Providers("virtual-three")
	if len(again) != 1 || again[0] != all[0] {
		t.Error("the same package is another pointer")
	}
	all, err = u.Versions("base")
	check("base", versions(t, all, err), "base 1.0", "base 1.1")
	all, err = u.Essential()
	check("essential", versions(t, all, err), "base 1.0", "base 1.1")
	for _, name := range []string{"virtual", "virtual-two"} {
		all, err = u.Providers(name)
		check(name, versions(t, all, err), "tool 2.0")
	}
	for _, name := range []string{"foreign", "none", "", "zzz"} {
		all, err = u.Versions(name)
		check(name, versions(t, all, err))
	}
	indexes := u.Indexes()
	if len(indexes) != 2 || indexes[0].URI != "mirror://debian/dists/bookworm/InRelease" || indexes[0].Date != "2026-03-01T12:00:00Z" || !slices.Equal(indexes[0].Signers, []string{f.key.Fingerprint()}) {
		t.Errorf("indexes %+v", indexes)
	}
	if uri := u.PoolURI(&deb.Package{}); uri != "" {
		t.Errorf("a stranger has the address %s", uri)
	}
}

// TestRefused has every way in which an index may be bad. The next run, with the
// archive in order, works.
func TestRefused(t *testing.T) {
	const inRelease = "dists/bookworm/InRelease"
	tamper := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	gone := func([]byte) []byte { return nil }
	tests := []struct {
		name  string
		spoil func(t *testing.T, f *fake)
		now   time.Time
		kind  fault.Kind
		says  string
	}{
		{"stranger's key", func(t *testing.T, f *fake) {
			f.publish(suite{Name: "bookworm", Packages: packages, Signer: newKey(t, "stranger")})
		}, day, fault.Denied, "signature"},
		{"tampered release", func(t *testing.T, f *fake) { f.Edit(inRelease, tamper("Codename: bookworm", "Codename: bookwurm")) }, day, fault.Denied, "signature"},
		{"unsigned", func(t *testing.T, f *fake) {
			f.Edit(inRelease, func([]byte) []byte { return []byte("Codename: bookworm\n") })
		}, day, fault.Denied, "signature"},
		{"expired", func(t *testing.T, f *fake) {
			f.publish(suite{Name: "bookworm", Packages: packages, ValidUntil: day.Add(time.Hour)})
		}, day.Add(2 * time.Hour), fault.Denied, "valid until 2026-03-01T13:00:00Z"},
		{"from the future", func(t *testing.T, f *fake) {}, day.Add(-time.Hour), fault.Denied, "future"},
		{"another suite", func(t *testing.T, f *fake) {
			f.publish(suite{Name: "bullseye", Packages: packages})
			other := f.File("dists/bullseye/InRelease")
			f.Edit(inRelease, func([]byte) []byte { return other })
		}, day, fault.Denied, "bullseye"},
		{"no release", func(t *testing.T, f *fake) { f.Edit(inRelease, gone) }, day, fault.NotFound, inRelease},
		{"server down", func(t *testing.T, f *fake) { f.SetDown(true) }, day, fault.Unavailable, "InRelease"},
		{"tampered index", func(t *testing.T, f *fake) {
			f.Edit("dists/bookworm/main/binary-amd64/", func(b []byte) []byte { return append(bytes.Clone(b[:len(b)-1]), b[len(b)-1]^1) })
		}, day, fault.Invalid, "Packages"},
		{"no index", func(t *testing.T, f *fake) { f.Edit("dists/bookworm/main/binary-amd64/", gone) }, day, fault.NotFound, "Packages"},
		{"truncated index", func(t *testing.T, f *fake) {
			f.Edit("dists/bookworm/main/binary-amd64/", func(b []byte) []byte { return b[:len(b)/2] })
		}, day, fault.Invalid, "Packages"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			tt.spoil(t, f)
			_, err := f.archive().Universe(t.Context(), amd64, tt.now)
			checkFault(t, err, tt.kind, tt.says)
			f.SetDown(false)
			f.publish(suite{Name: "bookworm", Packages: packages})
			if _, err := f.archive().Universe(t.Context(), amd64, day); err != nil {
				t.Errorf("the next run: %v", err)
			}
		})
	}
}

func checkFault(t *testing.T, err error, kind fault.Kind, says string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Remedy == "" {
		t.Fatalf("got %v (%s), want %s with a remedy", err, fault.KindOf(err), kind)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("the error lacks %q: %v", says, err)
	}
}

func TestUnpackedDigest(t *testing.T) {
	f := newFake(t)
	bad := archivetest.Gzip(t, strings.Replace(packages, "Version: 1.0", "Version: 9.9", 1))
	rel := &deb.Release{Codename: "bookworm", Date: day, Architectures: []string{"amd64"}, Files: []ashlar.File{
		{Name: "main/binary-amd64/Packages", Digest: ashlar.DigestOf([]byte(packages)), Size: int64(len(packages))},
		{Name: "main/binary-amd64/Packages.gz", Digest: ashlar.DigestOf(bad), Size: int64(len(bad))},
	}}
	signed, err := f.key.ClearSign(rel.Encode(), day)
	if err != nil {
		t.Fatal(err)
	}
	f.Put("dists/bookworm/InRelease", signed)
	f.Put("dists/bookworm/main/binary-amd64/Packages.gz", bad)
	_, err = f.archive().Universe(t.Context(), amd64, day)
	checkFault(t, err, fault.Invalid, "unpacked index")
}

func TestNoByHash(t *testing.T) {
	f := newFake(t)
	f.Edit("by-hash", func([]byte) []byte { return nil })
	if _, err := f.archive().Universe(t.Context(), amd64, day); err != nil {
		t.Error(err)
	}
	if n := f.Times("dists/bookworm/main/binary-amd64/Packages.gz"); n != 1 {
		t.Errorf("asked %d times by name", n)
	}
}

func TestMaxAge(t *testing.T) {
	f := newFake(t)
	at := func(d time.Duration, want int) {
		t.Helper()
		if _, err := f.archive().Universe(t.Context(), amd64, day.Add(d)); err != nil {
			t.Fatal(err)
		}
		if n := f.Times("dists/bookworm/InRelease"); n != want {
			t.Errorf("after %v asked %d times, want %d", d, n, want)
		}
	}
	at(0, 1)
	at(59*time.Minute, 1)
	at(61*time.Minute, 2)
	at(30*time.Minute, 3) // the clock went back: ask
	if _, err := f.archive(func(c *Config) { c.MaxAge = -1 }).Universe(t.Context(), amd64, day.Add(31*time.Minute)); err != nil {
		t.Fatal(err)
	}
	if n := f.Times("dists/bookworm/InRelease"); n != 4 {
		t.Errorf("with no age allowed asked %d times", n)
	}
}

func TestOffline(t *testing.T) {
	f := newFake(t)
	if _, err := f.archive().Universe(t.Context(), amd64, day); err != nil {
		t.Fatal(err)
	}
	f.SetDown(true)
	offline := func(c *Config) { c.Fetcher.Offline = true }
	for _, change := range []func(*Config){func(*Config) {}, offline} {
		if _, err := f.archive(change).Universe(t.Context(), amd64, day.AddDate(0, 0, 3)); err != nil {
			t.Errorf("three days later: %v", err)
		}
		_, err := f.archive(change).Universe(t.Context(), amd64, day.AddDate(0, 0, 8))
		checkFault(t, err, fault.Denied, "valid until")
	}
	allow := func(c *Config) { c.AllowExpired = true }
	if _, err := f.archive(offline, allow).Universe(t.Context(), amd64, day.AddDate(0, 0, 8)); err != nil {
		t.Errorf("with expired indexes allowed: %v", err)
	}
}

func TestNeverBackInTime(t *testing.T) {
	f := newFake(t)
	a := f.archive()
	if _, err := a.Universe(t.Context(), amd64, day); err != nil {
		t.Fatal(err)
	}
	f.publish(suite{Name: "bookworm", Packages: strings.ReplaceAll(packages, "2.0", "1.9"), Date: day.Add(-time.Hour)})
	for _, again := range []*Archive{a, f.archive()} {
		u, err := again.Universe(t.Context(), amd64, day.Add(2*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if all, err := u.Versions("tool"); err != nil || len(all) != 1 || all[0].Version != "2.0" {
			t.Errorf("went back to %v, %v", all, err)
		}
	}
	f.publish(suite{Name: "bookworm", Packages: strings.ReplaceAll(packages, "2.0", "2.1"), Date: day.Add(3 * time.Hour)})
	u, err := a.Universe(t.Context(), amd64, day.Add(4*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if all, err := u.Versions("tool"); err != nil || len(all) != 2 {
		t.Errorf("after an update %v, %v", all, err)
	}
}

// TestUniverseOf goes back to indexes that were pinned, though newer ones are
// there and the old have expired.
func TestUniverseOf(t *testing.T) {
	f := newFake(t)
	a := f.archive()
	u, err := a.Universe(t.Context(), amd64, day)
	if err != nil {
		t.Fatal(err)
	}
	pinned := append(u.Indexes(), ashlar.Index{URI: "mirror://debian/dists/trixie/InRelease", Digest: ashlar.DigestOf(nil)})
	later := day.AddDate(0, 0, 20)
	f.publish(suite{Name: "bookworm", Packages: strings.ReplaceAll(packages, "2.0", "2.1"), Date: later})
	f.publish(suite{Name: "bookworm-security", Date: later})
	if u, err = a.Universe(t.Context(), amd64, later); err != nil {
		t.Fatal(err)
	}
	all, err := u.Versions("tool")
	if got := versions(t, all, err); !slices.Equal(got, []string{"tool 2.1"}) {
		t.Fatalf("now %v", got)
	}
	f.SetDown(true)
	for _, again := range []*Archive{a, f.archive()} {
		u, err := again.UniverseOf(t.Context(), amd64, pinned, later)
		if err != nil {
			t.Fatal(err)
		}
		all, err := u.Versions("tool")
		if got := versions(t, all, err); !slices.Equal(got, []string{"tool 2.0"}) {
			t.Errorf("then %v", got)
		}
		if diff := cmp.Diff(pinned[:2], u.Indexes()); diff != "" {
			t.Error(diff)
		}
	}
	_, err = a.UniverseOf(t.Context(), amd64, pinned[1:], later)
	checkKind(t, err, fault.NotFound, "no index of this suite is pinned")
	elsewhere := slices.Clone(pinned)
	elsewhere[0].Digest = ashlar.DigestOf([]byte("elsewhere"))
	_, err = a.UniverseOf(t.Context(), amd64, elsewhere, later)
	checkKind(t, err, fault.NotFound, "not kept here")
	blobOf := filepath.Join(f.dir, "blobs", "sha256", pinned[0].Digest.Hex())
	if err := os.Chmod(blobOf, 0o644); err != nil {
		t.Fatal(err)
	}
	spoil(t, blobOf, func(b []byte) []byte { return append(b, '\n') })
	_, err = f.archive().UniverseOf(t.Context(), amd64, pinned, later)
	checkFault(t, err, fault.Denied, "altered")
}

// checkKind checks an error that another one takes the place of, so that it needs
// no remedy.
func checkKind(t *testing.T, err error, kind fault.Kind, says string) {
	t.Helper()
	if !fault.Is(err, kind) || !strings.Contains(err.Error(), says) {
		t.Errorf("got %v (%s), want %s: %s", err, fault.KindOf(err), kind, says)
	}
}

func TestDamagedCache(t *testing.T) {
	flip := func(b []byte) []byte {
		b[len(b)/2] ^= 1
		return b
	}
	tests := []struct {
		name, suffix string
		spoil        func([]byte) []byte
	}{
		{"table flipped", ".table", flip},
		{"table cut", ".table", func(b []byte) []byte { return b[:len(b)/2] }},
		{"table empty", ".table", func([]byte) []byte { return nil }},
		{"text cut", "", func(b []byte) []byte { return b[:len(b)/2] }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake(t)
			if _, err := f.archive().Universe(t.Context(), amd64, day); err != nil {
				t.Fatal(err)
			}
			p := filepath.Join(f.dir, "indexes", textsDir, ashlar.DigestOf([]byte(packages)).Hex()+tt.suffix)
			spoil(t, p, tt.spoil)
			f.SetDown(true)
			u, err := f.archive().Universe(t.Context(), amd64, day)
			if err != nil {
				t.Fatal(err)
			}
			if all, err := u.Versions("base"); err != nil || len(all) != 2 {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
	t.Run("text flipped", func(t *testing.T) {
		f := newFake(t)
		if _, err := f.archive().Universe(t.Context(), amd64, day); err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(f.dir, "indexes", textsDir, ashlar.DigestOf([]byte(packages)).Hex())
		spoil(t, p, func(b []byte) []byte { b[len("Package: base\nVersion: ")] = '7'; return b })
		a := f.archive()
		u, err := a.Universe(t.Context(), amd64, day)
		if err != nil {
			t.Fatal(err)
		}
		_, err = u.Versions("base")
		checkFault(t, err, fault.Unavailable, "damaged")
		u, err = a.Universe(t.Context(), amd64, day)
		if err != nil {
			t.Fatal(err)
		}
		all, err := u.Versions("base")
		if got := versions(t, all, err); !slices.Equal(got, []string{"base 1.0", "base 1.1"}) {
			t.Errorf("the next run: %v", got)
		}
	})
}

func spoil(t *testing.T, p string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, change(b), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestPrune(t *testing.T) {
	f := newFake(t)
	if _, err := f.archive().Universe(t.Context(), amd64, day); err != nil {
		t.Fatal(err)
	}
	later := day.AddDate(0, 1, 0)
	changed := strings.ReplaceAll(packages, "2.0", "2.1")
	f.publish(suite{Name: "bookworm", Packages: changed, Date: later})
	f.publish(suite{Name: "bookworm-security", Packages: security, Date: later})
	if _, err := f.archive().Universe(t.Context(), amd64, later); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{packages: false, changed: true, security: true} {
		p := filepath.Join(f.dir, "indexes", textsDir, ashlar.DigestOf([]byte(text)).Hex())
		if _, err := os.Stat(p + ".table"); (err == nil) != want {
			t.Errorf("table there: %v, want %v", err == nil, want)
		}
	}
}

func TestKeyringMissing(t *testing.T) {
	f := newFake(t)
	_, err := f.archive(func(c *Config) { c.Keyrings = []string{"/nonexistent/keyring.gpg"} }).Universe(t.Context(), amd64, day)
	checkFault(t, err, fault.Denied, "/nonexistent/keyring.gpg")
}

func TestSuites(t *testing.T) {
	a := Open(Config{Suites: map[ashlar.Distro][]Suite{"debian-13": {{"debian", "trixie", []string{"main"}}}, "other-1": {{"x", "../up", nil}}}})
	for name, want := range map[string]string{
		"bookworm": "bookworm, bookworm-updates, bookworm-security", "bookworm-security": "bookworm-security", "trixie": "trixie",
		"trixie-security": "", "bookworm-backports": "", "noble": "", "../up": "", "": "",
	} {
		suites, err := a.named(name)
		if want == "" {
			if err == nil {
				if _, err = a.Suites("other-1"); err == nil || name != "../up" {
					t.Errorf("%q: %v", name, suites)
				}
			}
			continue
		}
		if err != nil || suiteNames(suites) != want {
			t.Errorf("%q: %v, %v", name, suites, err)
		}
	}
	if _, err := a.Suites("alpine-3.24"); !fault.Is(err, fault.NotFound) {
		t.Errorf("alpine: %v", err)
	}
	if _, err := a.Suites("other-1"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a suite that climbs: %v", err)
	}
}
