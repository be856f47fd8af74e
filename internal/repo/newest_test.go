package repo

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// TestBackInTime lets somebody who can write the folder put an older state of a
// suite back, which we signed ourselves. It must not be signed again, nor gone on
// from, until it is mended as the error says.
func TestBackInTime(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dist, old string){
		"old InRelease": func(t *testing.T, dist, old string) {
			overwrite(t, filepath.Join(dist, "InRelease"), []byte(old))
		},
		"no InRelease": func(t *testing.T, dist, _ string) {
			if err := os.Remove(filepath.Join(dist, "InRelease")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			memory := t.TempDir()
			r := newTestRepo(t, func(c *Config) { c.Newest = shelf.Memory(memory) })
			r.publishAt(t, day, simple("one", "1"), simple("two", "1"))
			old := r.index(t, "InRelease")
			newest := r.publishAt(t, day.Add(time.Hour), simple("one", "2")).Snapshot
			if _, err := r.ResignAll(context.Background(), day.Add(2*time.Hour)); err != nil {
				t.Fatal(err)
			}
			dist := filepath.Join(r.Root(), bookworm)
			spoil(t, dist, old)
			checkRefused := func(err error) {
				t.Helper()
				if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), newest) || !strings.Contains(err.Error(), "ashlar resign") {
					t.Errorf("got %v (%s)", err, fault.KindOf(err))
				}
			}
			_, err := r.tryPublish(t, day.Add(3*time.Hour), simple("two", "2"))
			checkRefused(err)
			if name == "old InRelease" { // a suite without one is not there to be signed
				_, err = r.ResignAll(context.Background(), day.Add(3*time.Hour))
				checkRefused(err)
			}

			snapshot := filepath.Join(r.Root(), "deb/community/snapshot", newest, "dists/bookworm")
			if err := os.RemoveAll(dist); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dist, os.DirFS(snapshot)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.ResignAll(context.Background(), day.Add(4*time.Hour)); err != nil {
				t.Errorf("after the remedy: %v", err)
			}
			r.publishAt(t, day.Add(5*time.Hour), simple("two", "2"))
			checkRepo(t, r)
		})
	}
}

// TestBackOnPurpose goes on from an older state when what was remembered is
// deleted, and remembers again from then.
func TestBackOnPurpose(t *testing.T) {
	memory := t.TempDir()
	r := newTestRepo(t, func(c *Config) { c.Newest = shelf.Memory(memory) })
	r.publishAt(t, day, simple("one", "1"))
	backup := t.TempDir()
	if err := os.CopyFS(backup, os.DirFS(filepath.Join(r.Root(), bookworm))); err != nil {
		t.Fatal(err)
	}
	r.publishAt(t, day.Add(time.Hour), simple("one", "2"))
	if err := os.RemoveAll(filepath.Join(r.Root(), bookworm)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(r.Root(), bookworm), os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(memory, "community", "bookworm")); err != nil {
		t.Fatal(err)
	}
	r.publishAt(t, day.Add(2*time.Hour), simple("one", "3"))
	checkRepo(t, r)
	overwrite(t, filepath.Join(memory, "community", "bookworm"), []byte("yesterday"))
	if _, err := r.tryPublish(t, day.Add(3*time.Hour), simple("one", "4")); !fault.Is(err, fault.Invalid) {
		t.Errorf("with a damaged memory: %v", err)
	}
}

// TestLinkedSuites publishes beside a suite that somebody forged: a snapshot must
// not lead to what is not ours.
func TestLinkedSuites(t *testing.T) {
	r := newTestRepo(t, nil)
	set := simple("one", "1").build(t, r.store, "amd64")
	if _, err := r.Publish(context.Background(), ashlar.Community, "sid", []SourceSet{set}, day); err != nil {
		t.Fatal(err)
	}
	r.publishAt(t, day.Add(time.Hour), simple("one", "1"))
	overwrite(t, filepath.Join(r.Root(), "deb/community/dists/sid/InRelease"), clear(t, newSigner(t, day.AddDate(0, 0, -1)).keys[0], forge(t, r)))
	before := r.index(t, "InRelease")
	_, err := r.tryPublish(t, day.Add(2*time.Hour), simple("two", "1"))
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), filepath.Join("sid", "InRelease")) {
		t.Errorf("got %v", err)
	}
	if r.index(t, "InRelease") != before {
		t.Error("it went live")
	}
	if _, err := os.Stat(filepath.Join(r.Root(), ".state/deb/community/work")); err != nil && !os.IsNotExist(err) {
		t.Error(err)
	}
	if left, err := fs.Glob(os.DirFS(r.Root()), "deb/community/snapshot/*"); err != nil || len(left) != 2 {
		t.Errorf("snapshots %v, %v", left, err)
	}
}
