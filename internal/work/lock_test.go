package work

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/source"
)

var lockDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const helloDefinition = `image: example/pkg-hello
variant: runtime
tags: ["1"]
platforms: [linux/amd64]
contents:
  builds:
    - name: hello deb
      contents:
        packages: [libz]
        files:
          - {url: "debsrc://bookworm/hello", path: "${source.dir}/"}
          - {url: "https://files.example.org/bare.tar.gz", path: /bare/}
      paths:
        - {type: file, path: /local/fix.patch, source: package/hello/fix.patch}
      pipeline:
        - runs: "true"
`

// A lockHouse is an archive, and a catalog with one definition of a source of it.
type lockHouse struct {
	*archivetest.Server
	t    *testing.T
	key  *pgp.Key
	ring string
	ref  Ref
	now  time.Time

	notes []string // that the shops reported
}

func newLockHouse(t *testing.T) *lockHouse {
	t.Helper()
	root := t.TempDir()
	h := &lockHouse{Server: archivetest.NewServer(t), t: t, now: lockDay, ref: Ref{Root: root, Path: "package/hello/debian-12/1.yaml"}}
	h.key = archivetest.NewKey(t, "archive", lockDay)
	h.ring = archivetest.WriteKeyring(t, filepath.Join(t.TempDir(), "keyring.asc"), h.key)
	h.write(h.ref.Path, helloDefinition)
	h.write("package/hello/fix.patch", "fix\n")
	h.Put("bare.tar.gz", []byte("bare"))
	h.release(lockDay, "2.0", "1.0-1")
	return h
}

// write writes a file of the catalog.
func (h *lockHouse) write(name, content string) {
	h.t.Helper()
	file := filepath.Join(h.ref.Root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
		h.t.Fatal(err)
	}
}

// release publishes bookworm with a version of libz and one of hello.
func (h *lockHouse) release(date time.Time, libz, hello string) {
	h.t.Helper()
	s := archivetest.Suite{Name: "bookworm", Date: date, ValidUntil: date.AddDate(0, 0, 7), Signer: h.key}
	for _, p := range []struct{ name, version, more string }{
		{"base-passwd", "1", "Essential: yes\n"}, {"build-essential", "1", ""}, {"debhelper", "1", ""}, {"fakeroot", "1", ""}, {"dpkg-dev", "1", ""}, {"libz", libz, ""},
	} {
		content := []byte(p.name + " " + p.version)
		stanza, file := archivetest.PackageStanza(p.name, p.version, "amd64", content, p.more)
		s.Packages += stanza
		h.Put(file, content)
	}
	files := helloSource(hello, "all of "+hello)
	stanza, dir := archivetest.SourceStanza("hello", hello, "", files)
	s.Sources = stanza
	for name, content := range files {
		h.Put(dir+"/"+name, content)
	}
	h.Publish(s)
}

// helloSource returns the files of a version of hello.
func helloSource(version, content string) map[string][]byte {
	tar := "hello_" + version + ".tar.gz"
	dsc := "Format: 3.0 (native)\nSource: hello\nVersion: " + version + "\nChecksums-Sha256:\n " +
		ashlar.DigestOf([]byte(content)).Hex() + " " + string(rune('0'+len(content)/10)) + string(rune('0'+len(content)%10)) + " " + tar + "\n"
	return map[string][]byte{"hello_" + version + ".dsc": []byte(dsc), tar: []byte(content)}
}

// shop opens a shop in a folder, as a new process on some machine.
func (h *lockHouse) shop(dir string, offline bool) *Shop {
	h.t.Helper()
	mirrors := &source.Mirrors{
		Aliases:  map[string][]string{"debian": {h.URL}},
		Prefixes: []source.Prefix{{Prefix: "https://files.example.org/", To: []string{h.URL}, Only: true}},
	}
	s, err := Open(Config{
		Dir: dir, Mirrors: mirrors, Offline: offline, MaxAge: time.Hour, Now: func() time.Time { return h.now },
		Report: func(e Event) {
			if e.State == Noted {
				h.notes = append(h.notes, e.Detail)
			}
		},
	})
	if err != nil {
		h.t.Fatal(err)
	}
	s.Fetcher.Retry = source.Retry{Attempts: 1, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	s.Archive = archive.Open(archive.Config{
		Fetcher: s.Fetcher, Dir: s.path("indexes"), MaxAge: time.Hour, Keyrings: []string{h.ring}, MaintainerKeyrings: []string{},
		Suites: map[ashlar.Distro][]archive.Suite{"debian-12": {{Alias: "debian", Name: "bookworm", Components: []string{"main"}}}},
	})
	return s
}

// commit makes the lock on a machine and commits it beside the definition.
func (h *lockHouse) commit(s *Shop) *ashlar.Lock {
	h.t.Helper()
	lock, err := s.WriteLock(h.t.Context(), h.ref, "amd64")
	if err != nil {
		h.t.Fatal(err)
	}
	h.notes = nil
	return lock
}

// forge changes the committed lock.
func (h *lockHouse) forge(change func(l *ashlar.Lock)) {
	h.t.Helper()
	file := h.ref.LockFile("amd64")
	b, err := os.ReadFile(file)
	if err != nil {
		h.t.Fatal(err)
	}
	lock, err := ashlar.DecodeLock(b)
	if err != nil {
		h.t.Fatal(err)
	}
	change(lock)
	if b, err = lock.Encode(); err == nil {
		err = os.WriteFile(file, b, 0o644)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// put puts bytes into the store of a shop, as a definition of somebody else may.
func (h *lockHouse) put(s *Shop, content []byte) (ashlar.Digest, int64) {
	h.t.Helper()
	f, err := s.Store.Put(h.t.Context(), bytes.NewReader(content), "")
	if err != nil {
		h.t.Fatal(err)
	}
	return f.Digest, f.Size
}

// used fails the test unless the shop plans by the lock.
func (h *lockHouse) used(s *Shop, want *ashlar.Lock) {
	h.t.Helper()
	p, err := s.Plan(h.t.Context(), h.ref, BuildOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	if diff := cmp.Diff(want, p.Lock); diff != "" {
		h.t.Errorf("-want +used\n%s", diff)
	}
	if len(h.notes) > 0 {
		h.t.Errorf("noted %q", h.notes)
	}
}

// refused fails the test unless the shop refuses the committed lock with an error that
// names it and says what to do.
func (h *lockHouse) refused(s *Shop, kind fault.Kind, says string) {
	h.t.Helper()
	_, err := s.Plan(h.t.Context(), h.ref, BuildOptions{})
	if !fault.Is(err, kind) {
		h.t.Fatalf("kind %q, want %q: %v", fault.KindOf(err), kind, err)
	}
	for _, want := range []string{h.ref.LockFile("amd64") + ": ", "not to be trusted", says, "ashlar lock " + h.ref.File(), "--relock"} {
		if !strings.Contains(err.Error(), want) {
			h.t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if _, err := s.Plan(h.t.Context(), h.ref, BuildOptions{Relock: true}); err != nil {
		h.t.Errorf("made again: %v", err)
	}
}

// TestCommittedLock: a good lock is used, on the machine that made it and on another,
// now and, where its indexes are kept, when the archive is gone or has newer ones.
func TestCommittedLock(t *testing.T) {
	h := newLockHouse(t)
	dir := t.TempDir()
	lock := h.commit(h.shop(dir, false))
	h.used(h.shop(dir, true), lock)
	h.used(h.shop(t.TempDir(), false), lock)
	asked := h.Asked()
	h.now = lockDay.AddDate(0, 0, 3)
	h.release(h.now, "2.1", "1.0-2")
	if err := os.RemoveAll(filepath.Join(dir, "verified")); err != nil {
		t.Fatal(err)
	}
	for _, offline := range []bool{false, true} {
		h.used(h.shop(dir, offline), lock)
	}
	h.now = lockDay.AddDate(1, 0, 0) // long after the index was valid
	h.used(h.shop(dir, true), lock)
	if n := h.Asked(); n != asked {
		t.Errorf("the archive was asked %d times", n-asked)
	}
}

// TestCommittedLockElsewhere: on a machine that has none of the lock's indexes, today's
// decide.
func TestCommittedLockElsewhere(t *testing.T) {
	h := newLockHouse(t)
	lock := h.commit(h.shop(t.TempDir(), false))
	old := lock.Inputs.Indexes[0].Digest

	h.now = lockDay.AddDate(0, 0, 3)
	h.release(h.now, "2.0", "1.0-1") // the same packages, another index
	p, err := h.shop(t.TempDir(), false).Plan(t.Context(), h.ref, BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if x := p.Lock.Inputs.Indexes; len(x) != 1 || x[0].Digest == old || x[0].Date != "2026-03-04T12:00:00Z" {
		t.Errorf("rests on %+v", x)
	}
	p.Lock.Inputs.Indexes = lock.Inputs.Indexes
	if diff := cmp.Diff(lock, p.Lock); diff != "" {
		t.Error(diff)
	}
	h.release(h.now, "2.1", "1.0-1") // libz of the lock is in the pool, but listed no more
	h.refused(h.shop(t.TempDir(), false), fault.Denied, "libz 2.0 (mirror://debian/pool/main/l/libz/libz_2.0_amd64.deb")
	h.SetDown(true)
	if _, err := h.shop(t.TempDir(), true).Plan(t.Context(), h.ref, BuildOptions{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("offline without anything: %v", err)
	}
}

// TestSupersededSource: a source that no index at hand lists is built, but nobody
// vouches for it any more, and policy does not let it be published.
func TestSupersededSource(t *testing.T) {
	h := newLockHouse(t)
	h.commit(h.shop(t.TempDir(), false))
	h.now = lockDay.AddDate(0, 0, 3)
	h.release(h.now, "2.0", "1.0-2")
	p, err := h.shop(t.TempDir(), false).Plan(t.Context(), h.ref, BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := anchors(p.Lock); got["hello_1.0-1.dsc"] != ashlar.Unauthenticated || got["hello_1.0-1.tar.gz"] != ashlar.Unauthenticated {
		t.Errorf("anchors %v", got)
	}
	unpublishable(t, p.Lock, "hello_1.0-1.dsc")
	if !slices.ContainsFunc(h.notes, func(n string) bool { return strings.Contains(n, `hello_1.0-1.dsc: the lock says "signed-index"`) }) {
		t.Errorf("noted %q", h.notes)
	}
}

func anchors(l *ashlar.Lock) map[string]ashlar.AnchorKind {
	all := map[string]ashlar.AnchorKind{}
	for _, s := range l.Inputs.Builds[0].Sources {
		all[s.Name] = s.Anchor.Kind
	}
	return all
}

// unpublishable checks that the default policy names a source that nobody vouches for.
func unpublishable(t *testing.T, l *ashlar.Lock, name string) {
	t.Helper()
	err := attest.DefaultPolicy().CheckPublish(&attest.Evidence{Lock: l, Result: &ashlar.Result{}})
	if !fault.Is(err, fault.Policy) || !strings.Contains(err.Error(), "unauthenticated source: ") || !strings.Contains(err.Error(), name) {
		t.Errorf("policy says: %v", err)
	}
}

// TestForgedLock: a committed lock that claims what is not so is refused, although all
// that it pins is in the store.
func TestForgedLock(t *testing.T) {
	for _, c := range []struct {
		name  string
		forge func(h *lockHouse, s *Shop, l *ashlar.Lock)
		kind  fault.Kind
		says  string
	}{
		{"source", func(h *lockHouse, s *Shop, l *ashlar.Lock) {
			src := &l.Inputs.Builds[0].Sources[1]
			src.Digest, src.Size = h.put(s, []byte("evil"))
		}, fault.Conflict, "hello_1.0-1.tar.gz"},
		{"source that is nowhere", func(h *lockHouse, s *Shop, l *ashlar.Lock) {
			l.Inputs.Builds[0].Sources[1].Digest = ashlar.DigestOf([]byte("evil"))
		}, fault.Invalid, "hello_1.0-1.tar.gz"},
		{"root package", func(h *lockHouse, s *Shop, l *ashlar.Lock) {
			p := &l.Inputs.Builds[0].Root.Layers[0].Packages[0]
			p.Digest, p.Size = h.put(s, []byte("evil"))
		}, fault.Denied, "base-passwd 1"},
		{"one more root package", func(h *lockHouse, s *Shop, l *ashlar.Lock) {
			p := ashlar.RootPackage{Name: "evil", Version: "1", Arch: "amd64", URI: "mirror://debian/pool/main/e/evil/evil_1_amd64.deb"}
			p.Digest, p.Size = h.put(s, []byte("evil"))
			layer := &l.Inputs.Builds[0].Root.Layers[0]
			layer.Packages = append(layer.Packages, p)
		}, fault.Denied, "evil 1"},
		{"place", func(h *lockHouse, s *Shop, l *ashlar.Lock) { l.Inputs.Builds[0].Sources[2].Path = "/usr/bin/dpkg" }, fault.Conflict, "/usr/bin/dpkg"},
		{"file less", func(h *lockHouse, s *Shop, l *ashlar.Lock) {
			src := &l.Inputs.Builds[0].Sources
			*src = slices.Delete(*src, 2, 3)
		}, fault.Conflict, "https://files.example.org/bare.tar.gz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newLockHouse(t)
			dir := t.TempDir()
			h.commit(h.shop(dir, false))
			s := h.shop(dir, false)
			h.forge(func(l *ashlar.Lock) { c.forge(h, s, l) })
			h.refused(s, c.kind, c.says)
		})
	}
}

// TestRaisedAnchor: a lock that says that an index vouches for what nobody does is used
// without that claim.
func TestRaisedAnchor(t *testing.T) {
	h := newLockHouse(t)
	dir := t.TempDir()
	lock := h.commit(h.shop(dir, false))
	h.forge(func(l *ashlar.Lock) {
		l.Inputs.Builds[0].Sources[2].Anchor = l.Inputs.Builds[0].Sources[0].Anchor
		l.Inputs.Notes = nil
	})
	for range 2 { // the second time from memory
		p, err := h.shop(dir, false).Plan(t.Context(), h.ref, BuildOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lock.Inputs.Builds, p.Lock.Inputs.Builds); diff != "" {
			t.Error(diff)
		}
		unpublishable(t, p.Lock, "bare.tar.gz")
	}
	if len(h.notes) != 2 {
		t.Errorf("noted %q", h.notes)
	}
}

// TestStaleLock: a lock of another state of the catalog is not used, and nobody is
// accused.
func TestStaleLock(t *testing.T) {
	for name, change := range map[string]func(h *lockHouse){
		"another file beside it": func(h *lockHouse) { h.write("package/hello/fix.patch", "better fix\n") },
		"another definition":     func(h *lockHouse) { h.write(h.ref.Path, helloDefinition+"# changed\n") },
	} {
		t.Run(name, func(t *testing.T) {
			h := newLockHouse(t)
			dir := t.TempDir()
			old := h.commit(h.shop(dir, false))
			change(h)
			p, err := h.shop(dir, false).Plan(t.Context(), h.ref, BuildOptions{})
			if err != nil || cmp.Equal(p.Lock, old) {
				t.Errorf("the old lock is used: %v", err)
			}
			if len(h.notes) == 0 || !strings.Contains(h.notes[0], "is not used") {
				t.Errorf("noted %q", h.notes)
			}
		})
	}
}

// TestForgedKeptLock: a lock that an earlier run kept is made again if it is not right.
func TestForgedKeptLock(t *testing.T) {
	h := newLockHouse(t)
	s := h.shop(t.TempDir(), false)
	p, err := s.Plan(t.Context(), h.ref, BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	forged := *p.Lock
	forged.Inputs.Builds = slices.Clone(forged.Inputs.Builds)
	forged.Inputs.Builds[0].Sources = forged.Inputs.Builds[0].Sources[:2]
	b, err := forged.Encode()
	if err == nil {
		err = os.WriteFile(s.path("locks", h.ref.slug("amd64")+".json"), b, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.notes = nil
	again, err := s.Plan(t.Context(), h.ref, BuildOptions{})
	if err != nil || !cmp.Equal(again.Lock, p.Lock) {
		t.Errorf("%v\n%s", err, cmp.Diff(p.Lock, again.Lock))
	}
	if len(h.notes) == 0 || !strings.Contains(h.notes[0], "is not used") {
		t.Errorf("noted %q", h.notes)
	}
}

// TestVerifiedOnce: what was verified is not looked up again, until the keys are
// others or a month is over.
func TestVerifiedOnce(t *testing.T) {
	h := newLockHouse(t)
	dir := t.TempDir()
	lock := h.commit(h.shop(dir, false))
	h.SetDown(true)
	forget := func() {
		t.Helper()
		for _, x := range lock.Inputs.Indexes {
			if err := os.Remove(filepath.Join(dir, "blobs", "sha256", x.Digest.Hex())); err != nil {
				t.Fatal(err)
			}
		}
	}
	forget()
	h.used(h.shop(dir, true), lock)
	h.now = lockDay.AddDate(0, 0, 31) // it should be verified again, and cannot be
	h.used(h.shop(dir, true), lock)
	archivetest.WriteKeyring(t, h.ring, archivetest.NewKey(t, "other", lockDay))
	if _, err := h.shop(dir, true).Plan(t.Context(), h.ref, BuildOptions{}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with other keys: %v", err)
	}
	archivetest.WriteKeyring(t, h.ring, h.key)
	h.SetDown(false)
	h.release(h.now, "2.0", "1.0-1")
	p, err := h.shop(dir, false).Plan(t.Context(), h.ref, BuildOptions{})
	if err != nil || p.Lock.Inputs.Indexes[0].Date != "2026-04-01T12:00:00Z" {
		t.Errorf("a month later: %v", err)
	}
}
