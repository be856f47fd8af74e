package apkrepo

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

func TestPublish(t *testing.T) {
	r := newTestRepo(t)
	first := r.publishAt(t, day, simple("one", "1.0-r100"), simple("two", "1.0-r100"), testPackage{name: "every", version: "1-r100", arch: noarch})
	want := &Published{Target: musl, Date: day, Snapshot: "20260504T120000Z", Sequence: day.Unix(), Changed: []string{x86}}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"every 1-r100", "one 1.0-r100", "two 1.0-r100"}, r.listed(t, day)); diff != "" {
		t.Error(diff)
	}
	before := r.tree(t, snapshotDir)

	// A new version takes the place of the old one, whose files stay.
	second := r.publishAt(t, day.Add(time.Hour), simple("one", "1.0-r101"), simple("three", "2-r100"))
	if diff := cmp.Diff([]string{"every 1-r100", "one 1.0-r101", "three 2-r100", "two 1.0-r100"}, r.listed(t, day.Add(time.Hour))); diff != "" {
		t.Error(diff)
	}
	r.read(t, x86, "one-1.0-r100.apk")

	// The snapshot of before is as it was.
	after := r.tree(t, snapshotDir)
	for name, was := range before {
		if after[name] != was {
			t.Errorf("snapshot file %s changed", name)
		}
	}
	v2, v3 := r.checkAt(t, day, snapshotDir, first.Snapshot, x86)
	if len(v2) != 3 || !slices.Equal(v2, v3) {
		t.Errorf("the first snapshot lists %v and %v", v2, v3)
	}
	if ids, err := r.Snapshots(musl); err != nil || !slices.Equal(ids, []string{first.Snapshot, second.Snapshot}) {
		t.Errorf("snapshots %v, %v", ids, err)
	}
	if id, err := r.SnapshotAt(musl, "20260504T123000Z"); err != nil || id != first.Snapshot {
		t.Errorf("in between: %s, %v", id, err)
	}

	// The same again changes nothing.
	everything := r.tree(t)
	again := r.publishAt(t, day.Add(2*time.Hour), simple("one", "1.0-r101"))
	if len(again.Changed) > 0 || again.Snapshot != second.Snapshot || !again.Date.Equal(second.Date) {
		t.Errorf("publishing what is live: %+v", again)
	}
	if diff := cmp.Diff(everything, r.tree(t)); diff != "" {
		t.Error(diff)
	}
}

// TestFormats publishes packages in one format only.
func TestFormats(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, testPackage{name: "old", version: "1", formats: "v2"}, testPackage{name: "new", version: "1", formats: "v3"}, simple("both", "1"))
	v2, v3 := r.checkAt(t, day, x86)
	if !slices.Equal(v2, []string{"both 1", "old 1"}) || !slices.Equal(v3, []string{"both 1", "new 1", "old 1"}) {
		t.Errorf("%s lists %v, %s %v", IndexV2, v2, IndexV3, v3)
	}
	// A format that is added later is no other content.
	r.publishAt(t, day.Add(time.Minute), simple("old", "1"))
	if v2, v3 = r.checkAt(t, day.Add(time.Minute), x86); len(v2) != 2 || len(v3) != 3 {
		t.Errorf("%s lists %v, %s %v", IndexV2, v2, IndexV3, v3)
	}
	if rec, err := readRecord(r.path(setsDir, x86, "old", "1.json")); err != nil || len(rec.Packages) != 2 {
		t.Errorf("%+v, %v", rec, err)
	}
}

// TestArches publishes for one architecture after the other: each generation and
// each snapshot is whole.
func TestArches(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"))
	arm := r.set(t, testPackage{name: "one", version: "1", arch: "aarch64"})
	arm.Arch = "aarch64"
	done, err := r.Publish(t.Context(), musl, []SourceSet{arm}, day.Add(time.Minute))
	if err != nil || !slices.Equal(done.Changed, []string{"aarch64"}) {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, arch := range []string{x86, "aarch64"} {
		if v2, _ := r.checkAt(t, day.Add(time.Minute), arch); len(v2) != 1 {
			t.Errorf("%s lists %v", arch, v2)
		}
		if v2, _ := r.checkAt(t, day.Add(time.Minute), snapshotDir, done.Snapshot, arch); len(v2) != 1 {
			t.Errorf("%s of the snapshot lists %v", arch, v2)
		}
	}
	list, err := r.Live()
	if err != nil || len(list) != 2 || list[0].String() != "musl-1/community/aarch64" || list[1].Sequence >= list[0].Sequence {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestPublishRefuses(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1-r200"), simple("two", "1-r100"))
	two := func(name, origin string) testPackage { return testPackage{name: name, version: "2", origin: origin} }
	foreign := *r
	foreign.keys = testKeys()[2]
	change := func(s SourceSet, f func(*SourceSet)) SourceSet {
		f(&s)
		return s
	}
	for _, c := range []struct {
		name string
		set  SourceSet
		kind fault.Kind
		want string
	}{
		{"an older version", r.set(t, simple("one", "1-r199")), fault.Conflict, "does not sort above 1-r200"},
		{"another form of the version", r.set(t, simple("one", "1-r0200")), fault.Conflict, "does not sort above"},
		{"other content", r.set(t, testPackage{name: "one", version: "1-r200", content: "other"}), fault.Conflict, "never changes"},
		{"other content in v3", r.set(t, testPackage{name: "one", version: "1-r200", content: "other", formats: "v3"}), fault.Conflict, "never changes"},
		{"a package of another source", r.set(t, two("one", "other")), fault.Conflict, "source one and by source other"},
		{"a file name of another source", r.set(t, testPackage{name: "two", version: "1-r100", origin: "other", content: "other"}), fault.Conflict, "source two and by source other"},
		{"two sources", r.set(t, two("a", "x"), two("b", "y")), fault.Policy, "comes from source y"},
		{"two versions", r.set(t, testPackage{name: "a", version: "1", origin: "x"}, two("b", "x")), fault.Policy, "comes from source x 2"},
		{"two formats by half", r.set(t, two("a", "x"), testPackage{name: "b", version: "2", origin: "x", formats: "v2"}), fault.Policy, "only 1 in format v3"},
		{"forms that differ", change(r.set(t, testPackage{name: "a", version: "1", formats: "v2"}), func(s *SourceSet) {
			s.Packages = append(s.Packages, r.build(t, testPackage{name: "a", version: "1", depends: "b", formats: "v3"})...)
		}), fault.Policy, "dependencies"},
		{"another architecture", r.set(t, testPackage{name: "a", version: "1", arch: "aarch64"}), fault.Policy, "it is for aarch64"},
		{"foreign key, v2", foreign.set(t, testPackage{name: "a", version: "1", formats: "v2"}), fault.Denied, "no key that is trusted"},
		{"foreign key, v3", foreign.set(t, testPackage{name: "a", version: "1", formats: "v3"}), fault.Denied, "no trusted key"},
		{"another file name", change(r.set(t, simple("a", "1")), func(s *SourceSet) { s.Packages[0].Name = "b-1.apk" }), fault.Invalid, "should be called a-1.apk"},
		{"a path", change(r.set(t, simple("a", "1")), func(s *SourceSet) { s.Packages[0].Name = "../a-1.apk" }), fault.Invalid, "is not a name"},
		{"twice", change(r.set(t, simple("a", "1")), func(s *SourceSet) { s.Packages = append(s.Packages, s.Packages[0]) }), fault.Invalid, "twice"},
		{"another size", change(r.set(t, simple("a", "1")), func(s *SourceSet) { s.Packages[0].Size++ }), fault.Denied, "stored content"},
		{"no package", SourceSet{Arch: x86}, fault.Policy, "no package"},
		{"no architecture", SourceSet{Arch: "live"}, fault.Invalid, "not an architecture"},
		{"a statement about nothing", change(r.set(t, simple("a", "1")), func(s *SourceSet) { s.Bundles = []ashlar.File{{Name: "b.json"}} }), fault.Invalid, "no statement about"},
	} {
		before := r.tree(t)
		_, err := r.Publish(t.Context(), musl, []SourceSet{c.set}, day.Add(time.Hour))
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(before, r.tree(t)); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
	twice := r.sets(t, simple("a", "1"), simple("a", "2"))
	if _, err := r.Publish(t.Context(), musl, twice, day.Add(time.Hour)); !fault.Is(err, fault.Invalid) {
		t.Errorf("one source twice: %v", err)
	}
	if _, err := r.Publish(t.Context(), Target{"../musl", "community"}, nil, day); !fault.Is(err, fault.Invalid) {
		t.Errorf("a path for a distribution: %v", err)
	}
	clash := []SourceSet{r.set(t, two("a", "x")), r.set(t, two("a", "y"))}
	if _, err := r.Publish(t.Context(), musl, clash, day.Add(time.Hour)); !fault.Is(err, fault.Conflict) {
		t.Errorf("one package of two new sources: %v", err)
	}
}

// TestWhole wants all packages of a live source set to be there when it is
// published again, and lets a new version leave some out.
func TestWhole(t *testing.T) {
	r := newTestRepo(t)
	of := func(name, version string) testPackage {
		return testPackage{name: name, version: version, origin: "src"}
	}
	full := r.set(t, of("src", "1"), of("src-doc", "1"))
	if _, err := r.Publish(t.Context(), musl, []SourceSet{full}, day); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Publish(t.Context(), musl, []SourceSet{r.set(t, of("src", "1"))}, day.Add(time.Minute)); !fault.Is(err, fault.Policy) || !strings.Contains(err.Error(), "missing src-doc") {
		t.Errorf("half of it: %v", err)
	}
	if _, err := r.Publish(t.Context(), musl, []SourceSet{r.set(t, of("src", "2"))}, day.Add(2*time.Minute)); err != nil {
		t.Error(err)
	}
	if got := r.listed(t, day.Add(2*time.Minute)); !slices.Equal(got, []string{"src 2"}) {
		t.Errorf("listed: %v", got)
	}
}

func TestWithdraw(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"), simple("two", "1"))
	done, err := r.Withdraw(t.Context(), musl, []string{"one"}, "it eats files", day.Add(time.Hour))
	if err != nil || done.Snapshot != "20260504T130000Z" {
		t.Fatalf("%+v, %v", done, err)
	}
	if got := r.listed(t, day.Add(time.Hour)); !slices.Equal(got, []string{"two 1"}) {
		t.Errorf("listed: %v", got)
	}
	r.read(t, x86, "one-1.apk")
	if rec, err := readRecord(r.path(setsDir, x86, "one", "1.json")); err != nil || rec.Withdrawn != "it eats files" {
		t.Errorf("%+v, %v", rec, err)
	}
	if _, err := r.Withdraw(t.Context(), musl, []string{"one"}, "again", day.Add(2*time.Hour)); !fault.Is(err, fault.NotFound) {
		t.Errorf("what is not live: %v", err)
	}
	if _, err := r.Withdraw(t.Context(), musl, []string{"two"}, "", day.Add(2*time.Hour)); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a reason: %v", err)
	}
	if _, err := r.Publish(t.Context(), musl, r.sets(t, testPackage{name: "one", version: "1", content: "mended"}), day.Add(2*time.Hour)); !fault.Is(err, fault.Conflict) {
		t.Errorf("other content under the version that was withdrawn: %v", err)
	}
	if _, err := r.Withdraw(t.Context(), musl, []string{"two"}, "all of it", day.Add(3*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := r.listed(t, day.Add(3*time.Hour)); len(got) > 0 {
		t.Errorf("listed: %v", got)
	}
	r.publishAt(t, day.Add(4*time.Hour), simple("one", "2"))
	if got := r.listed(t, day.Add(4*time.Hour)); !slices.Equal(got, []string{"one 2"}) {
		t.Errorf("listed: %v", got)
	}
}

// TestKept keeps the lock with what it names, and statements beside packages.
func TestKept(t *testing.T) {
	r := newTestRepo(t)
	set := r.set(t, simple("one", "1"))
	source := r.store.put(t, "one.tar.gz", []byte("source"))
	set.Lock = &ashlar.Lock{Format: ashlar.LockFormat}
	set.Lock.Inputs.Definition = ashlar.Material{Name: "1.yaml", URI: "catalog:1.yaml", Digest: r.store.put(t, "", []byte("definition")).Digest}
	set.Lock.Inputs.Builds = []ashlar.BuildInputs{{Sources: []ashlar.Source{{Material: ashlar.Material{Name: source.Name, URI: "https://example.org/one.tar.gz", Digest: source.Digest, Size: source.Size}}}}}
	bundle := "one-1.apk.provenance.sigstore.json"
	for _, content := range []string{"{}", `{"again":1}`} {
		set.Bundles = []ashlar.File{r.store.put(t, bundle, []byte(content))}
		if _, err := r.Publish(t.Context(), musl, []SourceSet{set}, day); err != nil {
			t.Fatal(err)
		}
		if got := r.read(t, x86, bundle); string(got) != content {
			t.Errorf("the statement is %s", got)
		}
	}
	id, err := set.Lock.Digest()
	if err != nil {
		t.Fatal(err)
	}
	r.read(t, locksDir, id.Hex()+".json")
	if b := r.read(t, "../../../sources/sha256", source.Digest.Hex()); string(b) != "source" {
		t.Errorf("the source is %q", b)
	}
	if rec, err := readRecord(r.path(setsDir, x86, "one", "1.json")); err != nil || rec.Lock != id {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestResign(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"))
	before := r.tree(t, x86)
	if done, err := r.Resign(t.Context(), day.AddDate(0, 0, 3)); err != nil || len(done) > 0 {
		t.Errorf("in good time: %v, %v", done, err)
	}
	done, err := r.Resign(t.Context(), day.AddDate(0, 0, 4))
	if err != nil || !slices.Equal(done, []string{"musl-1/community/x86_64"}) {
		t.Fatalf("%v, %v", done, err)
	}
	index, err := os.Stat(r.path(x86, IndexV2))
	if err != nil || !index.ModTime().Equal(day) {
		t.Errorf("the index is of %v, %v", index.ModTime(), err)
	}
	if diff := cmp.Diff(before, r.tree(t, x86)); diff != "" {
		t.Error(diff)
	}
	if got := r.listed(t, day.AddDate(0, 0, 10)); !slices.Equal(got, []string{"one 1"}) {
		t.Errorf("listed: %v", got)
	}
	// New keys: the indexes change, and clients ask for them.
	r.signWith(t, both())
	at := day.AddDate(0, 0, 5)
	if _, err := r.ResignAll(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	if index, err = os.Stat(r.path(x86, IndexV2)); err != nil || !index.ModTime().Equal(at) {
		t.Errorf("the index is of %v, %v", index.ModTime(), err)
	}
	for i := range 2 {
		keys := *testKeys()[i]
		keys.Attestation = testKeys()[0].Attestation
		r.cfg.Keys = keysOf(t, &keys)
		if got := r.listed(t, at); !slices.Equal(got, []string{"one 1"}) {
			t.Errorf("by keys %d alone: %v", i, got)
		}
	}
	if list, err := r.Live(); err != nil || list[0].Snapshot != "20260504T120000Z" {
		t.Errorf("%+v, %v", list, err)
	}
	if gens, err := os.ReadDir(r.path(liveDir)); err != nil || len(gens) != 3 { // now, before, and the link
		t.Errorf("generations %v, %v", gens, err)
	}
}

func TestCheck(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"))
	old := map[string][]byte{IndexV2: r.read(t, x86, IndexV2), IndexV3: r.read(t, x86, IndexV3)}
	oldStatement := r.read(t, x86, Statement)
	r.publishAt(t, day.Add(time.Hour), simple("one", "2"))
	fresh := func() CheckRequest {
		return CheckRequest{
			Statement: r.read(t, x86, Statement), Keys: r.cfg.Keys, Now: day.AddDate(0, 0, 1), Repository: musl.String(), Arch: x86,
			Indexes: map[string][]byte{IndexV2: r.read(t, x86, IndexV2), IndexV3: r.read(t, x86, IndexV3)}, Seen: day.Unix(),
		}
	}
	state, err := Check(fresh())
	want := &intoto.APKIndex{
		Repository: "musl-1/community", Arch: x86, Snapshot: "20260504T130000Z", Sequence: day.Add(time.Hour).Unix(),
		Issued: day.Add(time.Hour), Expires: day.Add(time.Hour).AddDate(0, 0, 7),
	}
	if diff := cmp.Diff(want, state); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for _, c := range []struct {
		name   string
		change func(*CheckRequest)
		kind   fault.Kind
	}{
		{"an old v2 index", func(q *CheckRequest) { q.Indexes[IndexV2] = old[IndexV2] }, fault.Denied},
		{"an old v3 index", func(q *CheckRequest) { q.Indexes[IndexV3] = old[IndexV3] }, fault.Denied},
		{"all of it old", func(q *CheckRequest) { q.Indexes, q.Statement, q.Seen = old, oldStatement, want.Sequence }, fault.Denied},
		{"expired", func(q *CheckRequest) { q.Now = day.AddDate(0, 0, 8) }, fault.Unavailable},
		{"another repository", func(q *CheckRequest) { q.Repository = "musl-1/select" }, fault.Denied},
		{"another architecture", func(q *CheckRequest) { q.Arch = "aarch64" }, fault.Denied},
		{"foreign keys", func(q *CheckRequest) { q.Keys = keysOf(t, testKeys()[2]) }, fault.Denied},
		{"foreign keys for indexes", func(q *CheckRequest) { q.Keys.V2, q.Keys.V3 = nil, nil }, fault.Denied},
		{"a foreign v3 key", func(q *CheckRequest) { q.Keys.V3 = keysOf(t, testKeys()[2]).V3 }, fault.Denied},
		{"no index", func(q *CheckRequest) { q.Indexes = nil }, fault.Invalid},
		{"something else", func(q *CheckRequest) { q.Indexes["x"] = nil }, fault.Invalid},
		{"no statement", func(q *CheckRequest) { q.Statement = nil }, fault.Invalid},
		{"a long statement", func(q *CheckRequest) { q.Statement = make([]byte, maxStatement+1) }, fault.Invalid},
	} {
		q := fresh()
		c.change(&q)
		if _, err := Check(q); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestKeys(t *testing.T) {
	r := newTestRepo(t)
	publish := func(keys *Keys, at time.Time) map[string]string {
		pub, err := r.keys.Public()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.PublishKeys(t.Context(), pub.APK, at); err != nil {
			t.Fatal(err)
		}
		return r.tree(t, "../../../"+KeysDir)
	}
	one := publish(&r.cfg.Keys, day)
	if len(one) != 3 {
		t.Errorf("keys: %v", one)
	}
	if diff := cmp.Diff(one, publish(&r.cfg.Keys, day.Add(time.Hour))); diff != "" {
		t.Errorf("the same keys again: %s", diff)
	}
	r.signWith(t, both())
	if two := publish(&r.cfg.Keys, day); len(two) != 5 {
		t.Errorf("keys: %v", two)
	}
	files := map[string][]byte{}
	for name := range publish(&r.cfg.Keys, day) {
		if name != KeyList {
			files[name] = r.read(t, "../../../"+KeysDir, name)
		}
	}
	list := r.read(t, "../../../"+KeysDir, KeyList)
	if listed, err := CheckKeys(list, files, r.cfg.Keys.Statements); err != nil || len(listed.Keys) != 4 {
		t.Errorf("%+v, %v", listed, err)
	}
	files["ashlar-00000000.rsa.pub"] = []byte("foreign")
	if _, err := CheckKeys(list, files, r.cfg.Keys.Statements); !fault.Is(err, fault.Denied) {
		t.Errorf("a foreign key: %v", err)
	}
	if _, err := CheckKeys(list, nil, keysOf(t, testKeys()[2]).Statements); !fault.Is(err, fault.Denied) {
		t.Errorf("a foreign list: %v", err)
	}
	r.signWith(t, testKeys()[0])
	if three := publish(&r.cfg.Keys, day); len(three) != 3 {
		t.Errorf("an old key stays: %v", slices.Sorted(maps.Keys(three)))
	}
}

// TestClock publishes twice in a second, and after the clock went back.
func TestClock(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"))
	if done := r.publishAt(t, day, simple("two", "1")); done.Snapshot != "20260504T120001Z" {
		t.Errorf("in the same second: %+v", done)
	}
	if _, err := r.Publish(context.Background(), musl, r.sets(t, simple("three", "1")), day.Add(-time.Hour)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an hour before: %v", err)
	}
}
