package repo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

const bookworm = "deb/community/dists/bookworm"

// overwrite gives a file of the repository other content, also where others link
// to the old.
func overwrite(tb testing.TB, name string, data []byte) {
	tb.Helper()
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		tb.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		tb.Fatal(err)
	}
}

// forge puts a package into the live suite and its snapshot, everywhere and with
// digests that fit, and returns the text of the Release that lists it.
func forge(tb testing.TB, r *testRepo) []byte {
	tb.Helper()
	s, err := readState(filepath.Join(r.Root(), bookworm))
	if err != nil {
		tb.Fatal(err)
	}
	name := packagesIndex("amd64")
	evil := []byte(r.index(tb, name) + "Package: evil\nVersion: 1\nArchitecture: amd64\nFilename: pool/evil.deb\nSize: 1\nSHA256: " +
		strings.Repeat("0", 64) + "\n\n")
	for i, f := range s.release.Files {
		if !strings.HasPrefix(f.Name, name) {
			continue
		}
		data := evil
		switch filepath.Ext(f.Name) {
		case ".gz":
			data, err = gzipText(&compress.Text{Plain: evil}, nil)
		case ".xz":
			data, err = xzText(&compress.Text{Plain: evil}, nil)
		}
		if err != nil {
			tb.Fatal(err)
		}
		f.Digest, f.Size = ashlar.DigestOf(data), int64(len(data))
		s.release.Files[i] = f
		for _, dir := range []string{bookworm, "deb/community/snapshot/" + s.snapshot + "/dists/bookworm"} {
			overwrite(tb, filepath.Join(r.Root(), dir, f.Name), data)
			overwrite(tb, filepath.Join(r.Root(), dir, byHash(f)), data)
		}
	}
	return encodeRelease(s.release, s.snapshot)
}

// clear signs a Release.
func clear(tb testing.TB, k *pgp.Key, text []byte) []byte {
	tb.Helper()
	b, err := k.ClearSign(text, day)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// TestForged lets somebody who can write the folder, but has no key, change what
// is live. It must not get our signature.
func TestForged(t *testing.T) {
	tests := map[string]func(t *testing.T, r *testRepo) []byte{
		"old signature": func(t *testing.T, r *testRepo) []byte {
			_, signature, _ := strings.Cut(r.index(t, "InRelease"), "-----BEGIN PGP SIGNATURE-----")
			text := forge(t, r)
			return []byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + string(text) + "-----BEGIN PGP SIGNATURE-----" + signature)
		},
		"foreign key": func(t *testing.T, r *testRepo) []byte {
			return clear(t, newSigner(t, day.AddDate(0, 0, -1)).keys[0], forge(t, r))
		},
		"other suite": func(t *testing.T, r *testRepo) []byte {
			set := simple("one", "1").build(t, r.store, "amd64")
			if _, err := r.Publish(context.Background(), ashlar.Community, "sid", []SourceSet{set}, day.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			return []byte(r.index(t, "../sid/InRelease"))
		},
		"other tier": func(t *testing.T, r *testRepo) []byte {
			set := simple("one", "1").build(t, r.store, "amd64")
			if _, err := r.Publish(context.Background(), "other", "bookworm", []SourceSet{set}, day); err != nil {
				t.Fatal(err)
			}
			return []byte(r.index(t, "../../../other/dists/bookworm/InRelease"))
		},
	}
	for name, forged := range tests {
		t.Run(name, func(t *testing.T) {
			r := newTestRepo(t, nil)
			r.publishAt(t, day, simple("one", "1"))
			in := string(forged(t, r))
			overwrite(t, filepath.Join(r.Root(), bookworm, "InRelease"), []byte(in))
			if _, err := r.tryPublish(t, day.Add(time.Hour), simple("two", "1")); !fault.Is(err, fault.Denied) {
				t.Errorf("publishing upon it: %v", err)
			}
			for name, resign := range map[string]func(context.Context, time.Time) ([]string, error){"Resign": r.Resign, "ResignAll": r.ResignAll} {
				_, err := resign(context.Background(), day.AddDate(0, 0, 6))
				if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "InRelease") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if r.index(t, "InRelease") != in {
				t.Error("the forged InRelease was replaced")
			}
		})
	}
}

// TestOwnState goes on from what is our own: signed long ago, with the key before
// the newest, or copied back from a snapshot.
func TestOwnState(t *testing.T) {
	r := newTestRepo(t, nil)
	r.publishAt(t, day, simple("one", "1"))
	next := newSigner(t, day.AddDate(0, 0, 1))
	r.cfg.Keyring = r.cfg.Keyring.Join(next.keys[0].Keyring())
	r.signer.keys = next.keys
	r.publishAt(t, day.AddDate(0, 0, 30), simple("two", "1"))
	r.cfg.Keyring = next.keys[0].Keyring()
	if done, err := r.Resign(context.Background(), day.AddDate(0, 0, 60)); err != nil || len(done) != 1 {
		t.Errorf("signed %v again, %v", done, err)
	}
	old := filepath.Join(r.Root(), "deb/community/snapshot/20260603T120000Z/dists/bookworm")
	if err := os.RemoveAll(filepath.Join(r.Root(), bookworm)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(r.Root(), bookworm), os.DirFS(old)); err != nil {
		t.Fatal(err)
	}
	if done, err := r.Resign(context.Background(), day.AddDate(0, 0, 60)); err != nil || len(done) != 1 {
		t.Errorf("signed %v again, %v", done, err)
	}
	checkRepo(t, r)
}

// TestResignOthers has one damaged suite; the others must be signed all the same.
func TestResignOthers(t *testing.T) {
	r := newTestRepo(t, nil)
	for i, suite := range []string{"alpha", "bookworm", "sid"} {
		if _, err := r.Publish(context.Background(), ashlar.Community, suite, nil, day.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	overwrite(t, filepath.Join(r.Root(), bookworm, "InRelease"), nil)
	done, err := r.Resign(context.Background(), day.AddDate(0, 0, 6))
	if err == nil || !strings.Contains(err.Error(), "community/bookworm") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"community/alpha", "community/sid"}, done); diff != "" {
		t.Errorf("signed again (-want +got):\n%s", diff)
	}
}

// withLock returns a set of one source with an attestation and a lock that names a
// source and a definition.
func withLock(tb testing.TB, r *testRepo) SourceSet {
	tb.Helper()
	set := simple("one", "1").build(tb, r.store, "amd64")
	set.Bundles = []ashlar.File{put(tb, r.store, "one_1_amd64.deb.sigstore.json", []byte("{}"))}
	f := put(tb, r.store, "one-patch", []byte("kept source"))
	set.Lock = &ashlar.Lock{Format: ashlar.LockFormat}
	set.Lock.Inputs.Definition = ashlar.Material{Name: "1.yaml", URI: "catalog:1.yaml", Digest: put(tb, r.store, "", []byte("definition")).Digest}
	set.Lock.Inputs.Builds = []ashlar.BuildInputs{{Sources: []ashlar.Source{{Material: ashlar.Material{
		Name: f.Name, URI: "mirror://debian/one-patch", Digest: f.Digest, Size: f.Size}}}}}
	return set
}

func (r *testRepo) publishSet(set SourceSet, now time.Time) error {
	_, err := r.Publish(context.Background(), ashlar.Community, "bookworm", []SourceSet{set}, now)
	return err
}

// TestDamagedStore changes one byte of each file in the store. It must not be
// published, and once the store is whole again it must be.
func TestDamagedStore(t *testing.T) {
	r := newTestRepo(t, nil)
	set := withLock(t, r)
	files := append(append([]ashlar.File{}, set.Files...), set.Bundles...)
	for _, m := range set.Lock.Materials() {
		files = append(files, ashlar.File{Name: m.Name, Digest: m.Digest})
	}
	for _, f := range files {
		good, err := os.ReadFile(r.store.Path(f.Digest))
		if err != nil {
			t.Fatal(err)
		}
		bad := bytes.Clone(good)
		bad[len(bad)/2] ^= 1
		overwrite(t, r.store.Path(f.Digest), bad)
		if err := r.publishSet(set, day); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), f.Name) {
			t.Errorf("%s damaged: %v", f.Name, err)
		}
		overwrite(t, r.store.Path(f.Digest), good)
	}
	if err := r.publishSet(set, day); err != nil {
		t.Error(err)
	}
	checkRepo(t, r)
}

// TestDamagedFolder finds other content where a file is to be put: what a power
// cut or an earlier version of this program left.
func TestDamagedFolder(t *testing.T) {
	for _, published := range []bool{false, true} {
		r := newTestRepo(t, nil)
		set := withLock(t, r)
		id, err := set.Lock.Digest()
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]ashlar.Digest{shelf.LockPath(lockDir(ashlar.Community), id): id}
		for _, f := range append(append([]ashlar.File{}, set.Files...), set.Bundles...) {
			want["deb/community/pool/main/o/one/"+f.Name] = f.Digest
		}
		for _, m := range set.Lock.Materials() {
			want[shelf.SourcePath(m.Digest)] = m.Digest
		}
		if published {
			if err := r.publishSet(set, day); err != nil {
				t.Fatal(err)
			}
		}
		for name := range want {
			overwrite(t, filepath.Join(r.Root(), name), nil)
		}
		if err := r.publishSet(set, day.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		for name, digest := range want {
			if err := shelf.SameContent(filepath.Join(r.Root(), name), ashlar.File{Name: name, Digest: digest}); err != nil {
				t.Errorf("published before: %v: %v", published, err)
			}
		}
		checkRepo(t, r)
	}
}

// TestDamagedIndex finds an empty index under the digest that the next one has.
func TestDamagedIndex(t *testing.T) {
	r, twin := newTestRepo(t, nil), newTestRepo(t, nil)
	r.publishAt(t, day, simple("one", "1"))
	twin.publishAt(t, day, simple("one", "1"), simple("two", "1"))
	s, err := readState(filepath.Join(twin.Root(), bookworm))
	if err != nil {
		t.Fatal(err)
	}
	f, _ := s.file(packagesIndex("amd64"))
	overwrite(t, filepath.Join(r.Root(), bookworm, byHash(f)), nil)
	r.publishAt(t, day.Add(time.Hour), simple("two", "1"))
	checkRepo(t, r)
}

func TestTwoSetsOneFile(t *testing.T) {
	r := newTestRepo(t, nil)
	one := simple("one", "1")
	sets := []SourceSet{one.build(t, r.store, "amd64")}
	one.packages[0].arch = "arm64"
	one.packages = append(one.packages, testPackage{name: "one-extra", arch: "arm64"}) // another .dsc
	sets = append(sets, one.build(t, r.store, "arm64"))
	_, err := r.Publish(context.Background(), ashlar.Community, "bookworm", sets, day)
	if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "one_1.dsc") {
		t.Errorf("error %v", err)
	}
}

// A farStore is a blob store on another disk, from which nothing can be linked.
type farStore struct{ dirStore dirStore }

func (s farStore) Open(ctx context.Context, d ashlar.Digest) (blob.Blob, error) {
	return s.dirStore.Open(ctx, d)
}

// TestTiers publishes to several tiers at once what they share.
func TestTiers(t *testing.T) {
	for _, far := range []bool{false, true} {
		r := newTestRepo(t, nil)
		if far {
			r.cfg.Blobs = farStore{r.store}
		}
		set := withLock(t, r)
		tiers := []ashlar.Tier{"a", "b", "c", "d", "e", "f"}
		errs := make(chan error, len(tiers))
		for _, tier := range tiers {
			go func() {
				_, err := r.Publish(context.Background(), tier, "bookworm", []SourceSet{set}, day)
				errs <- err
			}()
		}
		for range tiers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		for _, m := range set.Lock.Materials() {
			if err := shelf.SameContent(filepath.Join(r.Root(), shelf.SourcePath(m.Digest)), ashlar.File{Digest: m.Digest}); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestFieldCase publishes packages whose fields are written in lower case.
func TestFieldCase(t *testing.T) {
	r := newTestRepo(t, nil)
	odd := simple("odd", "1")
	odd.lower = true
	odd.packages = append(odd.packages, testPackage{name: "odd-data", arch: "all"})
	r.publishAt(t, day, odd, simple("one", "1"))
	odd.version = "2"
	r.publishAt(t, day.Add(time.Hour), odd)
	if diff := cmp.Diff([]string{"odd 2", "odd-data 2", "one 1"}, packageVersions(r.index(t, packagesIndex("amd64")))); diff != "" {
		t.Errorf("Packages (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"odd 2", "one 1"}, packageVersions(r.index(t, sourcesIndex))); diff != "" {
		t.Errorf("Sources (-want +got):\n%s", diff)
	}
	if _, err := r.tryPublish(t, day.Add(2*time.Hour), simple("odd", "1.5")); !fault.Is(err, fault.Conflict) {
		t.Errorf("an older version: %v", err)
	}
	checkRepo(t, r)
}

// TestHeader publishes with and without a public address.
func TestHeader(t *testing.T) {
	const snapshots = "https://example.org/deb/community/snapshot/@SNAPSHOTID@/"
	r := newTestRepo(t, func(c *Config) { c.BaseURL = "" })
	base, other := "https://example.org", "https://example.net"
	for i, step := range []struct {
		base, version, snapshots string
		changed                  bool
	}{
		{"", "1", "", true},
		{"", "1", "", false},
		{base, "1", snapshots, true},
		{base, "1", snapshots, false},
		{"", "1", snapshots, false},
		{"", "2", snapshots, true},
		{other, "2", strings.Replace(snapshots, base, other, 1), true},
	} {
		r.cfg.BaseURL = step.base
		now := day.Add(time.Duration(i) * time.Hour)
		done := r.publishAt(t, now, simple("one", step.version))
		if (len(done.Changed) > 0) != step.changed || (done.Snapshot == shelf.SnapshotID(now)) != step.changed {
			t.Errorf("step %d: %+v", i, done)
		}
		for _, name := range []string{"InRelease", "../../snapshot/" + done.Snapshot + "/dists/bookworm/InRelease"} {
			text, _, err := pgp.Unwrap([]byte(r.index(t, name)))
			if err != nil {
				t.Fatal(err)
			}
			if got := string(deb.StanzaField(text, "Snapshots")); got != step.snapshots {
				t.Errorf("step %d: %s says %q, want %q", i, name, got, step.snapshots)
			}
		}
	}
	checkRepo(t, r)
}
