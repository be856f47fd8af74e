package apkrepo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
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
// Whatever is there then must be a whole repository with either the old or the new
// content, the same in both indexes, and publishing again must bring the new.
func TestCrash(t *testing.T) {
	oldest := []testPackage{simple("one", "1"), simple("two", "1")}
	update := []testPackage{simple("one", "2"), simple("three", "1")}
	before, after := []string{"one 1", "two 1"}, []string{"one 2", "three 1", "two 1"}
	steps := 0
	for crashed := true; crashed; steps++ {
		r := newTestRepo(t)
		r.publishAt(t, day, oldest...)
		sets := r.sets(t, update...)
		r.cfg.Hook = crashAfter(steps)
		_, err := r.Publish(t.Context(), musl, sets, day.Add(time.Hour))
		if crashed = errors.Is(err, errCrash); err != nil && !crashed {
			t.Fatal(err)
		}
		r.cfg.Hook = nil
		if live := r.listed(t, day.Add(time.Hour)); !slices.Equal(live, before) && !slices.Equal(live, after) {
			t.Errorf("stopped before change %d, the repository has %v", steps, live)
		}
		// Others may come first, and then what was stopped.
		r.publishAt(t, day.Add(2*time.Hour), simple("four", "1"))
		if live := r.listed(t, day.Add(2*time.Hour)); !slices.Contains(live, "four 1") {
			t.Errorf("stopped before change %d, the next publish gave %v", steps, live)
		}
		r.publishAt(t, day.Add(3*time.Hour), update...)
		if live := r.listed(t, day.Add(3*time.Hour)); !slices.Equal(live, []string{"four 1", "one 2", "three 1", "two 1"}) {
			t.Errorf("stopped before change %d and published again: %v", steps, live)
		}
		if t.Failed() {
			return
		}
	}
	if steps < 20 {
		t.Errorf("only %d changes were seen", steps)
	}
}

// TestCrashFirst does the same with a repository that does not exist yet, and with
// signing again by new keys.
func TestCrashFirst(t *testing.T) {
	for steps, crashed := 0, true; crashed; steps++ {
		r := newTestRepo(t)
		r.cfg.Hook = crashAfter(steps)
		_, err := r.Publish(t.Context(), musl, r.sets(t, simple("one", "1")), day)
		if crashed = errors.Is(err, errCrash); err != nil && !crashed {
			t.Fatal(err)
		}
		r.cfg.Hook = nil
		if _, err := r.Live(); err != nil {
			t.Errorf("stopped before change %d: %v", steps, err)
		}
		r.publishAt(t, day.Add(time.Minute), simple("one", "1"))
		if live := r.listed(t, day.Add(time.Minute)); len(live) != 1 {
			t.Errorf("stopped before change %d: %v", steps, live)
		}
	}
	for steps, crashed := 0, true; crashed; steps++ {
		r := newTestRepo(t)
		r.publishAt(t, day, simple("one", "1"))
		r.signWith(t, both())
		r.cfg.Hook = crashAfter(steps)
		_, err := r.ResignAll(t.Context(), day.AddDate(0, 0, 6))
		crashed = errors.Is(err, errCrash)
		r.cfg.Hook = nil
		r.listed(t, day.AddDate(0, 0, 6))
		if _, err := r.ResignAll(t.Context(), day.AddDate(0, 0, 6).Add(time.Hour)); err != nil {
			t.Errorf("stopped before change %d: %v", steps, err)
		}
		if live := r.listed(t, day.AddDate(0, 0, 12)); len(live) != 1 {
			t.Errorf("stopped before change %d: %v", steps, live)
		}
	}
}

// TestTorn finds an empty file where a power cut left one, under the name of a
// package that was never published.
func TestTorn(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"))
	set := r.set(t, simple("two", "1"))
	for _, f := range set.Packages {
		if err := os.WriteFile(r.path(x86, f.Name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Publish(t.Context(), musl, []SourceSet{set}, day.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if live := r.listed(t, day.Add(time.Hour)); len(live) != 2 {
		t.Errorf("listed: %v", live)
	}
	// A file that was published is another thing.
	overwrite(t, r.path(x86, "one-1.apk"), nil)
	other := testPackage{name: "one", version: "1", origin: "other", content: "other"}
	if _, err := r.Withdraw(t.Context(), musl, []string{"one"}, "test", day.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Publish(t.Context(), musl, r.sets(t, other), day.Add(3*time.Hour)); !fault.Is(err, fault.Conflict) {
		t.Errorf("another source takes the name of a published file: %v", err)
	}
}

// TestForged lets somebody who can write the folder, but has no key, change what
// is live. It must not be built upon.
func TestForged(t *testing.T) {
	for name, forge := range map[string]func(t *testing.T, r *testRepo){
		"another index": func(t *testing.T, r *testRepo) {
			other := newTestRepo(t)
			other.publishAt(t, day, simple("evil", "1"))
			overwrite(t, r.path(liveDir, current, x86, IndexV2), other.read(t, x86, IndexV2))
		},
		"index and statement by a foreign key": func(t *testing.T, r *testRepo) {
			other := newTestRepo(t)
			other.signWith(t, testKeys()[2])
			other.publishAt(t, day, simple("evil", "1"))
			for _, name := range indexFiles {
				overwrite(t, r.path(liveDir, current, x86, name), other.read(t, x86, name))
			}
		},
		"those of another tier": func(t *testing.T, r *testRepo) {
			if _, err := r.Publish(t.Context(), Target{"musl-1", "select"}, r.sets(t, simple("secret", "1")), day); err != nil {
				t.Fatal(err)
			}
			for _, name := range indexFiles {
				overwrite(t, r.path(liveDir, current, x86, name), r.read(t, "../select", x86, name))
			}
		},
		"a statement with another payload": func(t *testing.T, r *testRepo) {
			at := r.path(liveDir, current, x86, Statement)
			b := strings.Replace(string(r.read(t, x86, Statement)), "payload\":\"ey", "payload\":\"eX", 1)
			overwrite(t, at, []byte(b))
		},
		"no statement": func(t *testing.T, r *testRepo) {
			if err := os.Remove(r.path(liveDir, current, x86, Statement)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRepo(t)
			r.publishAt(t, day, simple("one", "1"))
			forge(t, r)
			if _, err := r.Publish(t.Context(), musl, r.sets(t, simple("two", "1")), day.Add(time.Hour)); !fault.Is(err, fault.Denied) {
				t.Errorf("publishing upon it: %v", err)
			}
			if done, err := r.ResignAll(t.Context(), day.Add(time.Hour)); !fault.Is(err, fault.Denied) || slices.Contains(done, "musl-1/community/x86_64") {
				t.Errorf("signing it again: %v, %v", done, err)
			}
			if _, err := r.Withdraw(t.Context(), musl, []string{"one"}, "test", day.Add(time.Hour)); !fault.Is(err, fault.Denied) {
				t.Errorf("withdrawing from it: %v", err)
			}
		})
	}
}

// TestWriters lets several writers publish at once.
func TestWriters(t *testing.T) {
	r := newTestRepo(t)
	const n = 6
	var packages []testPackage
	for i := range n {
		packages = append(packages, simple(fmt.Sprintf("pkg%d", i), "1"))
	}
	sets := r.sets(t, packages...)
	errs := make(chan error, n)
	for i := range n {
		go func() {
			other := &Repo{cfg: r.cfg, cache: map[string]*live{}}
			_, err := other.Publish(t.Context(), musl, sets[i:i+1], day)
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if live := r.listed(t, day.Add(time.Minute)); len(live) != n {
		t.Errorf("after %d writers the repository has %v", n, live)
	}
}

// TestOpenToOthers wants every file and folder that is served to be open to
// another user, whatever the umask is.
func TestOpenToOthers(t *testing.T) {
	r := newTestRepo(t)
	r.publishAt(t, day, simple("one", "1"))
	err := filepath.WalkDir(r.path(), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() == fs.ModeSymlink {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if want := map[bool]fs.FileMode{true: 0o755, false: 0o644}[e.IsDir()]; info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
