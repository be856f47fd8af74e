package repo

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

var errCrash = errors.New("the machine stopped")

// crashAfter returns a hook that lets n changes pass and then stops everything.
func crashAfter(n int) func(string, string) error {
	return func(string, string) error {
		if n--; n < 0 {
			return errCrash
		}
		return nil
	}
}

// TestCrash stops a publish before each of its changes on the disk in turn.
// Whatever is there then must be a consistent repository with either the old or
// the new content, and publishing again must bring the new.
func TestCrash(t *testing.T) {
	oldest := []testSource{simple("one", "1"), simple("two", "1")}
	update := []testSource{simple("one", "2"), simple("three", "1")}
	before, after := []string{"one 1", "two 1"}, []string{"one 2", "three 1", "two 1"}
	steps, stride := 0, 1
	if testing.Short() {
		stride = 7
	}
	for crashed := true; crashed; steps += stride {
		r := newTestRepo(t, nil)
		r.publishAt(t, day, oldest...)
		r.cfg.Hook = crashAfter(steps)
		_, err := r.tryPublish(t, day.Add(time.Hour), update...)
		if crashed = errors.Is(err, errCrash); err != nil && !crashed {
			t.Fatal(err)
		}
		r.cfg.Hook = nil
		checkRepo(t, r)
		live := livePackages(t, r)
		if !cmp.Equal(live, before) && !cmp.Equal(live, after) {
			t.Errorf("stopped before change %d, the suite has %v", steps, live)
		}
		r.publishAt(t, day.Add(2*time.Hour), update...)
		checkRepo(t, r)
		if diff := cmp.Diff(after, livePackages(t, r)); diff != "" {
			t.Errorf("stopped before change %d and published again (-want +got):\n%s", steps, diff)
		}
		if t.Failed() {
			return
		}
	}
	if steps < 50 {
		t.Errorf("only %d changes were seen", steps)
	}
}

// TestCrashFirst does the same with a repository that does not exist yet, and
// with signing again.
func TestCrashFirst(t *testing.T) {
	for steps, crashed := 0, true; crashed; steps += 3 {
		r := newTestRepo(t, func(c *Config) { c.Hook = crashAfter(steps) })
		_, err := r.tryPublish(t, day, simple("one", "1"))
		if crashed = errors.Is(err, errCrash); err != nil && !crashed {
			t.Fatal(err)
		}
		r.cfg.Hook = nil
		if _, err := r.Suites(); err != nil {
			t.Errorf("stopped before change %d: %v", steps, err)
		}
		r.publishAt(t, day.Add(time.Minute), simple("one", "1"))
		checkRepo(t, r)
	}
	for steps, crashed := 0, true; crashed; steps++ {
		r := newTestRepo(t, nil)
		r.publishAt(t, day, simple("one", "1"))
		r.cfg.Hook = crashAfter(steps)
		_, err := r.Resign(context.Background(), day.AddDate(0, 0, 6))
		crashed = errors.Is(err, errCrash)
		r.cfg.Hook = nil
		checkRepo(t, r)
		if _, err := r.Resign(context.Background(), day.AddDate(0, 0, 6).Add(time.Hour)); err != nil {
			t.Errorf("stopped before change %d: %v", steps, err)
		}
		if list, err := r.Suites(); err != nil || list[0].ValidUntil.Before(day.AddDate(0, 0, 12)) {
			t.Errorf("stopped before change %d and signed again: %+v, %v", steps, list, err)
		}
	}
}

// livePackages reads the live Packages index the way a client does: by the
// digest that the InRelease names, after its signature was checked.
func livePackages(t *testing.T, r *testRepo) []string {
	t.Helper()
	ring := r.signer.keys[0].Keyring()
	if _, _, err := ring.VerifyClearSigned([]byte(r.index(t, "InRelease")), day.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	live, err := readState(r.Root() + "/" + distDir(ashlar.Community, "bookworm"))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := live.read(packagesIndex("amd64"))
	if err != nil {
		t.Fatal(err)
	}
	return packageVersions(string(plain))
}

// TestWriters lets several writers publish at once.
func TestWriters(t *testing.T) {
	r := newTestRepo(t, nil)
	const n = 6
	sets := make([]SourceSet, n)
	for i := range sets {
		sets[i] = simple(fmt.Sprintf("pkg%d", i), "1").build(t, r.store, "amd64")
	}
	errs := make(chan error, n)
	for i := range sets {
		go func() {
			other := &Repo{cfg: r.cfg}
			_, err := other.Publish(context.Background(), ashlar.Community, "bookworm", sets[i:i+1], day)
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if live := livePackages(t, r); len(live) != n {
		t.Errorf("after %d writers the suite has %v", n, live)
	}
	checkRepo(t, r)

	unlock, err := durable.Lock(context.Background(), filepath.Join(r.Root(), shelf.LockFile("deb/community")))
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := r.Publish(ctx, ashlar.Community, "bookworm", nil, day); err == nil {
		t.Error("a writer did not wait for the other one")
	}
}
