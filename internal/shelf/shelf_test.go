package shelf

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var day = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// A linkStore is a blob store from which files can be linked, a farStore one from
// which they cannot.
type linkStore struct{ farStore }

type farStore string

func (s farStore) at(d ashlar.Digest) string { return filepath.Join(string(s), d.Hex()) }

func (s linkStore) Path(d ashlar.Digest) string { return s.at(d) }

func (s farStore) Open(_ context.Context, d ashlar.Digest) (blob.Blob, error) {
	return OpenFile(s.at(d))
}

func (s farStore) put(t *testing.T, name, content string) ashlar.File {
	t.Helper()
	f := ashlar.File{Name: name, Digest: ashlar.DigestOf([]byte(content)), Size: int64(len(content))}
	if err := os.WriteFile(s.at(f.Digest), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

// spoil gives the blob of a file other content.
func (s farStore) spoil(t *testing.T, f ashlar.File) {
	t.Helper()
	if err := os.WriteFile(s.at(f.Digest), []byte("spoilt"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writing runs f on a new folder and returns it.
func writing(t *testing.T, f func(d *durable.Batch) error) (root string, err error) {
	t.Helper()
	root = filepath.Join(t.TempDir(), "repo")
	return root, Write(t.Context(), root, "apk/test", nil, f)
}

func TestBring(t *testing.T) {
	far := farStore(t.TempDir())
	for name, store := range map[string]Blobs{"linked": linkStore{far}, "copied": far} {
		t.Run(name, func(t *testing.T) {
			f, other := far.put(t, "a", "content"), far.put(t, "a", "other content")
			root, err := writing(t, func(d *durable.Batch) error {
				return errors.Join(d.Mkdir("x"), Bring(t.Context(), d, store, f, "x/a"), Bring(t.Context(), d, store, other, "x/a"))
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := SameContent(filepath.Join(root, "x/a"), other); err != nil {
				t.Error(err)
			}
			if err := SameContent(filepath.Join(root, "x/a"), f); !fault.Is(err, fault.Conflict) {
				t.Errorf("other content: %v", err)
			}
			if err := SameContent(filepath.Join(root, "x/b"), f); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("no file: %v", err)
			}
		})
	}
	f := far.put(t, "a", "content")
	far.spoil(t, f)
	root, err := writing(t, func(d *durable.Batch) error { return Bring(t.Context(), d, far, f, "a") })
	if _, serr := os.Stat(filepath.Join(root, "a")); !fault.Is(err, fault.Denied) || serr == nil {
		t.Errorf("a damaged blob: %v, %v", err, serr)
	}
	if _, err := OpenVerified(t.Context(), far, f); !fault.Is(err, fault.Denied) {
		t.Errorf("a damaged blob, read: %v", err)
	}
}

func TestWrite(t *testing.T) {
	root, err := writing(t, func(d *durable.Batch) error { return d.Put("a", []byte("left behind")) })
	if err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(root, WorkDir("apk/test")))
	if err != nil || len(left) != 1 {
		t.Fatalf("%v, %v", left, err)
	}
	for want, failure := range map[fault.Kind]error{fault.Unavailable: unix.ENOSPC, fault.Denied: unix.EACCES, fault.Policy: fault.New(fault.Policy, "no")} {
		err := Write(t.Context(), root, "apk/test", nil, func(d *durable.Batch) error {
			if left, err := os.ReadDir(d.Path(WorkDir("apk/test"))); err != nil || len(left) > 0 {
				t.Errorf("work in progress of the writer before: %v, %v", left, err)
			}
			return failure
		})
		if !fault.Is(err, want) {
			t.Errorf("%v became %v", failure, err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	err = Write(t.Context(), root, "apk/test", nil, func(*durable.Batch) error {
		cancel()
		return Write(over, root, "apk/test", nil, func(*durable.Batch) error { return nil })
	})
	if !fault.Is(err, fault.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("a second writer: %v", err)
	}
}

func TestKeep(t *testing.T) {
	store := linkStore{farStore(t.TempDir())}
	source, definition := store.put(t, "a.tar.gz", "source"), store.put(t, "1.yaml", "definition")
	lock := &ashlar.Lock{Format: ashlar.LockFormat}
	lock.Inputs.Definition = ashlar.Material{Name: "1.yaml", URI: "catalog:1.yaml", Digest: definition.Digest}
	lock.Inputs.Builds = []ashlar.BuildInputs{{Sources: []ashlar.Source{{Material: ashlar.Material{
		Name: source.Name, URI: "https://example.org/a.tar.gz", Digest: source.Digest, Size: source.Size}}}}}
	materials := lock.Materials()
	if len(materials) == 0 {
		t.Fatal("the lock names nothing")
	}
	keep := func(d *durable.Batch) error {
		ids, err := Keep(t.Context(), d, store, "locks", []*ashlar.Lock{nil, lock, lock})
		if err != nil {
			return err
		}
		if len(ids) != 1 {
			t.Errorf("digests %v", ids)
		}
		return d.Sync()
	}
	root, err := writing(t, keep)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range materials {
		if err := SameContent(filepath.Join(root, SourcePath(m.Digest)), ashlar.File{Digest: m.Digest}); err != nil {
			t.Error(err)
		}
	}
	data, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := SameContent(filepath.Join(root, LockPath("locks", ashlar.DigestOf(data))), ashlar.File{Digest: ashlar.DigestOf(data)}); err != nil {
		t.Error(err)
	}
	store.spoil(t, source)
	if _, err := writing(t, keep); !fault.Is(err, fault.Denied) {
		t.Errorf("a damaged source: %v", err)
	}
	if err := os.Remove(store.at(source.Digest)); err != nil {
		t.Fatal(err)
	}
	if _, err := writing(t, keep); !fault.Is(err, fault.NotFound) {
		t.Errorf("a missing source: %v", err)
	}
}

func TestNextDate(t *testing.T) {
	for _, c := range []struct {
		name      string
		last      time.Time
		snapshots []string
		want      time.Time // zero for an error
	}{
		{"the first", time.Time{}, nil, day},
		{"later", day.Add(-time.Hour), []string{"20260504T115959Z"}, day},
		{"in the same second", day, nil, day.Add(time.Second)},
		{"a snapshot of the same second", time.Time{}, []string{"20260504T120000Z"}, day.Add(time.Second)},
		{"a clock that goes back", day.Add(time.Hour), nil, time.Time{}},
	} {
		got, err := NextDate(c.last, c.snapshots, day.Add(time.Millisecond))
		if c.want.IsZero() {
			if !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s: %v, %v", c.name, got, err)
			}
		} else if err != nil || !got.Equal(c.want) {
			t.Errorf("%s: %v, %v", c.name, got, err)
		}
	}
}

func TestSnapshots(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"20260504T120000Z", "20260503T120000Z", "trash", "20261301T120000Z"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	ids, err := SnapshotIDs(dir)
	if diff := cmp.Diff([]string{"20260503T120000Z", "20260504T120000Z"}, ids); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for at, want := range map[string]string{
		"20260504T120000Z": "20260504T120000Z", "20260504T115959Z": "20260503T120000Z", "20270101T000000Z": "20260504T120000Z", "20260101T000000Z": "",
	} {
		if got, err := SnapshotAt(ids, at); got != want || (err != nil) != (want == "") {
			t.Errorf("at %s: %s, %v", at, got, err)
		}
	}
	if ids, err := SnapshotIDs(dir + "/none"); ids != nil || err != nil {
		t.Errorf("%v, %v", ids, err)
	}
}

func TestCheckWord(t *testing.T) {
	for word, good := range map[string]bool{"musl-1": true, "community": true, "": false, "..": false, "a/b": false, "A": false, "a b": false, "-a": false} {
		if err := CheckWord("a tier", word); (err == nil) != good {
			t.Errorf("%q: %v", word, err)
		}
	}
}
