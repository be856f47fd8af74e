package repo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// packageVersions returns "name version" of every stanza of an index.
func packageVersions(index string) []string {
	var list []string
	for e := range entries([]byte(index)) {
		list = append(list, string(e.name)+" "+string(e.field("Version")))
	}
	return list
}

func TestPublish(t *testing.T) {
	r := newTestRepo(t, nil)
	bzip2 := testSource{name: "bzip2", version: "1.0.8-5+cut12u1", packages: []testPackage{
		{name: "bzip2", arch: "amd64", fields: "Depends: libbz2-1.0 (= 1.0.8-5+cut12u1)\n", files: map[string]string{"./usr/bin/bzip2": "x", "./usr/share/common": "x"}},
		{name: "libbz2-1.0", arch: "amd64", files: map[string]string{"./usr/lib/libbz2.so.1": "x", "./usr/share/common": "x"}},
		{name: "bzip2-doc", arch: "all"},
		{name: "libbz2-1.0-udeb", arch: "amd64", udeb: true},
	}}
	done := r.publishAt(t, day, bzip2, simple("zlib", "1:1.2-1+cut12u1"))
	if done.Snapshot != "20260504T120000Z" {
		t.Errorf("snapshot %s", done.Snapshot)
	}
	want := []string{"bzip2 1.0.8-5+cut12u1", "bzip2-doc 1.0.8-5+cut12u1", "libbz2-1.0 1.0.8-5+cut12u1", "zlib 1:1.2-1+cut12u1"}
	if diff := cmp.Diff(want, packageVersions(r.index(t, "main/binary-amd64/Packages"))); diff != "" {
		t.Errorf("Packages (-want +got):\n%s", diff)
	}
	if got := packageVersions(r.index(t, "main/debian-installer/binary-amd64/Packages")); len(got) != 1 {
		t.Errorf("packages for the installer: %v", got)
	}
	contents := "usr/bin/bzip2                                               utils/bzip2\n" +
		"usr/lib/libbz2.so.1                                         utils/libbz2-1.0\n" +
		"usr/share/common                                            utils/bzip2,utils/libbz2-1.0\n" +
		"usr/share/doc/zlib/copyright                                utils/zlib\n"
	if diff := cmp.Diff(contents, r.index(t, "main/Contents-amd64")); diff != "" {
		t.Errorf("Contents (-want +got):\n%s", diff)
	}

	bzip2.version = "1.0.8-5+cut12u2"
	bzip2.packages = bzip2.packages[1:]
	bzip2.packages[0].files = map[string]string{"./usr/lib/libbz2.so.2": "x"}
	r.publishAt(t, day.Add(time.Hour), bzip2)
	want = []string{"bzip2-doc 1.0.8-5+cut12u2", "libbz2-1.0 1.0.8-5+cut12u2", "zlib 1:1.2-1+cut12u1"}
	if diff := cmp.Diff(want, packageVersions(r.index(t, "main/binary-amd64/Packages"))); diff != "" {
		t.Errorf("Packages after an update (-want +got):\n%s", diff)
	}
	contents = "usr/lib/libbz2.so.2                                         utils/libbz2-1.0\n" +
		"usr/share/doc/zlib/copyright                                utils/zlib\n"
	if diff := cmp.Diff(contents, r.index(t, "main/Contents-amd64")); diff != "" {
		t.Errorf("Contents after an update (-want +got):\n%s", diff)
	}
	if n := strings.Count(r.index(t, "main/i18n/Translation-en"), "Package: "); n != 3 {
		t.Errorf("%d long descriptions, want 3", n)
	}
	checkRepo(t, r)
}

// TestSameBytes holds the history of an index against making it at once.
func TestSameBytes(t *testing.T) {
	a, b := newTestRepo(t, nil), newTestRepo(t, nil)
	var sources []testSource
	for i := range 210 {
		s := simple(fmt.Sprintf("pkg%03d", i*37%210), "1")
		s.packages[0].description = fmt.Sprint(i) + strings.Repeat("\n another line of the long description", 40)
		s.packages[0].fields = "Depends: " + strings.Repeat("libexample1 (>= 1.2.3), ", 60) + "libc6\n"
		sources = append(sources, s)
	}
	a.publishAt(t, day, sources...)
	b.publishAt(t, day, sources[:150]...)
	b.publishAt(t, day.Add(time.Hour), sources[150:180]...)
	b.publishAt(t, day.Add(2*time.Hour), sources[180:]...)
	for _, name := range []string{"main/binary-amd64/Packages", "main/source/Sources", "main/i18n/Translation-en", "main/Contents-amd64"} {
		for _, form := range forms(name) {
			if a.index(t, name+form) != b.index(t, name+form) {
				t.Errorf("%s%s depends on the history", name, form)
			}
		}
	}
	checkRepo(t, a)
	checkRepo(t, b)
}

// checkRepo holds everything that a Release lists against what is there, with
// the real decompressors, and every package against the pool.
func checkRepo(t *testing.T, r *testRepo) {
	t.Helper()
	root := filepath.Join(r.Root(), "deb/community")
	live, err := readState(filepath.Join(root, "dists/bookworm"))
	if err != nil {
		t.Fatal(err)
	}
	if live.release == nil {
		return
	}
	checkState(t, root, live)
	ids, err := r.Snapshots(ashlar.Community)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		s, err := readState(filepath.Join(root, "snapshot", id, "dists/bookworm"))
		if err != nil {
			t.Fatal(err)
		}
		if !s.release.ValidUntil.IsZero() {
			t.Errorf("snapshot %s expires", id)
		}
		checkState(t, filepath.Join(root, "snapshot", id), s)
	}
	if i := len(ids) - 1; live.snapshot > ids[i] {
		t.Errorf("the live suite names snapshot %s, the newest is %s", live.snapshot, ids[i])
	}
}

func checkState(t *testing.T, root string, s *state) {
	t.Helper()
	for _, f := range s.release.Files {
		data, err := s.read(f.Name)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if filepath.Ext(f.Name) == "" {
			continue
		}
		z, err := compress.NewReader(f.Name, bytes.NewReader(data), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := io.ReadAll(z)
		if err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		z.Close()
		want, err := s.read(strings.TrimSuffix(f.Name, filepath.Ext(f.Name)))
		if err != nil || string(plain) != string(want) {
			t.Errorf("%s is not what its plain form is: %v", f.Name, err)
		}
	}
	packages, err := s.read("main/binary-amd64/Packages")
	if err != nil {
		t.Fatal(err)
	}
	for e := range entries(packages) {
		digest, err := ashlar.DigestFromHex(string(e.field("SHA256")))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(root, string(e.field("Filename")))
		if err := shelf.SameContent(name, ashlar.File{Name: name, Digest: digest}); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	two := testSource{name: "two", version: "2", packages: []testPackage{{name: "two", arch: "amd64"}, {name: "two-data", arch: "all"}}}
	without := func(suffix string) func(SourceSet) SourceSet {
		return func(s SourceSet) SourceSet {
			var kept []ashlar.File
			for _, f := range s.Files {
				if !strings.HasSuffix(f.Name, suffix) {
					kept = append(kept, f)
				}
			}
			s.Files = kept
			return s
		}
	}
	rename := func(s SourceSet) SourceSet {
		s.Files[0].Name = "../" + s.Files[0].Name
		return s
	}
	keep := func(s SourceSet) SourceSet { return s }
	tests := []struct {
		name   string
		source testSource
		change func(SourceSet) SourceSet
		kind   fault.Kind
		says   string
	}{
		{"a binary is missing", two, without("_all.deb"), fault.Policy, "missing two-data"},
		{"a source file is missing", two, without(".tar.gz"), fault.Policy, "missing two_2.tar.gz"},
		{"the buildinfo is missing", two, without(".buildinfo"), fault.Policy, "missing two_2_amd64.buildinfo"},
		{"no .dsc", two, without(".dsc"), fault.Policy, "missing"},
		{"no .changes", two, without(".changes"), fault.Policy, "no .changes"},
		{"path in a name", two, rename, fault.Invalid, "not a name"},
		{"older", simple("live", "0.9"), keep, fault.Conflict, "older than 1.0"},
		{"same version, other bytes", testSource{name: "live", version: "1.0", packages: []testPackage{{name: "live", arch: "amd64", description: "changed"}}},
			keep, fault.Conflict, "never changes"},
		{"package of another source", testSource{name: "thief", version: "9", packages: []testPackage{{name: "live", arch: "amd64"}}},
			keep, fault.Conflict, "made by source live and by source thief"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newTestRepo(t, nil)
			r.publishAt(t, day, simple("live", "1.0"))
			before := r.index(t, "InRelease")
			set := test.change(test.source.build(t, r.store, "amd64"))
			_, err := r.Publish(context.Background(), ashlar.Community, "bookworm", []SourceSet{set}, day.Add(time.Hour))
			if !fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error %v, want one of kind %q that says %q", err, test.kind, test.says)
			}
			if r.index(t, "InRelease") != before {
				t.Error("the live suite changed")
			}
		})
	}
}

func TestPublishTwice(t *testing.T) {
	r := newTestRepo(t, nil)
	first := r.publishAt(t, day, simple("one", "1"))
	again := r.publishAt(t, day.Add(time.Hour), simple("one", "1"))
	if len(again.Changed) > 0 || again.Snapshot != first.Snapshot {
		t.Errorf("publishing the same again did %+v", again)
	}
}

// TestDates publishes faster than the clock of seconds runs.
func TestDates(t *testing.T) {
	r := newTestRepo(t, nil)
	var last time.Time
	for i := range 5 {
		done := r.publishAt(t, day, simple("one", fmt.Sprint(i)))
		if !done.Date.After(last) {
			t.Errorf("publish %d is dated %s, the one before %s", i, done.Date, last)
		}
		last = done.Date
	}
	if _, err := r.tryPublish(t, day.Add(-time.Hour), simple("one", "9")); !fault.Is(err, fault.Unavailable) {
		t.Errorf("with a clock that went back: %v", err)
	}
}

func TestArchitectures(t *testing.T) {
	r := newTestRepo(t, nil)
	src := testSource{name: "multi", version: "1", packages: []testPackage{{name: "multi", arch: "amd64"}, {name: "multi-data", arch: "all"}}}
	r.publishAt(t, day, src)
	src.packages[0].arch = "arm64"
	set := src.build(t, r.store, "arm64")
	if _, err := r.Publish(context.Background(), ashlar.Community, "bookworm", []SourceSet{set}, day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		got := packageVersions(r.index(t, "main/binary-"+arch+"/Packages"))
		if diff := cmp.Diff([]string{"multi 1", "multi-data 1"}, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", arch, diff)
		}
	}
	src = testSource{name: "other", version: "1", packages: []testPackage{{name: "other-data", arch: "all"}}}
	r.publishAt(t, day.Add(2*time.Hour), src)
	if got := packageVersions(r.index(t, "main/binary-arm64/Packages")); len(got) != 3 {
		t.Errorf("a package for all is not in every index: %v", got)
	}
	checkRepo(t, r)
}

func TestResign(t *testing.T) {
	r := newTestRepo(t, nil)
	r.publishAt(t, day, simple("one", "1"))
	for _, step := range []struct {
		days int
		want int
	}{{1, 0}, {3, 0}, {4, 1}, {5, 0}, {9, 1}} {
		now := day.AddDate(0, 0, step.days)
		done, err := r.Resign(context.Background(), now)
		if err != nil {
			t.Fatal(err)
		}
		if len(done) != step.want {
			t.Errorf("day %d: signed %v again, want %d", step.days, done, step.want)
		}
		text, _, err := r.signer.keys[0].Keyring().VerifyClearSigned([]byte(r.index(t, "InRelease")), now)
		if err != nil {
			t.Fatalf("day %d: %v\n%s", step.days, err, text)
		}
	}
	list, err := r.Suites()
	if err != nil || len(list) != 1 || list[0].Snapshot != "20260504T120000Z" {
		t.Errorf("suites %+v, %v", list, err)
	}
	checkRepo(t, r)
}

func TestKeep(t *testing.T) {
	r := newTestRepo(t, nil)
	source := put(t, r.store, "one_1.tar.gz", []byte("source"))
	lock := &ashlar.Lock{Format: ashlar.LockFormat}
	lock.Inputs.Definition = ashlar.Material{Name: "1.yaml", URI: "catalog:1.yaml", Digest: put(t, r.store, "", []byte("definition")).Digest}
	lock.Inputs.Builds = []ashlar.BuildInputs{{Sources: []ashlar.Source{{Material: ashlar.Material{
		Name: source.Name, URI: "mirror://debian/pool/main/o/one/one_1.tar.gz", Digest: source.Digest, Size: source.Size}}}}}
	set := simple("one", "1").build(t, r.store, "amd64")
	set.Lock = lock
	if _, err := r.Publish(context.Background(), ashlar.Community, "bookworm", []SourceSet{set}, day); err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(r.Root(), shelf.SourcePath(source.Digest)))
	if err != nil || string(kept) != "source" {
		t.Errorf("kept source: %q, %v", kept, err)
	}
	id, err := lock.Digest()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(r.Root(), shelf.LockPath(lockDir(ashlar.Community), id)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ashlar.DecodeLock(b); err != nil {
		t.Error(err)
	}
	lock.Inputs.Definition.Digest = ashlar.DigestOf([]byte("never stored"))
	if _, err := r.Publish(context.Background(), ashlar.Community, "bookworm", []SourceSet{set}, day); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "catalog:1.yaml") {
		t.Errorf("keeping what is not there: %v", err)
	}
}
