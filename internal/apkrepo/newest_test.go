package apkrepo

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// backInTime are ways to make an older generation live again, for somebody who can
// write the folder.
var backInTime = map[string]func(t *testing.T, r *testRepo, old string){
	"an old generation": func(t *testing.T, r *testRepo, old string) {
		overwriteLink(t, r.path(liveDir, current), old)
	},
	"an old one under a new number": func(t *testing.T, r *testRepo, old string) {
		number := strconv.FormatInt(day.Add(90*time.Minute).Unix(), 10)
		if err := os.Rename(r.path(liveDir, old), r.path(liveDir, number)); err != nil {
			t.Fatal(err)
		}
		overwriteLink(t, r.path(liveDir, current), number)
	},
	"none": func(t *testing.T, r *testRepo, _ string) {
		if err := os.Remove(r.path(liveDir, current)); err != nil {
			t.Fatal(err)
		}
	},
}

// TestBackInTime lets somebody who can write the folder make an older generation
// live again, which the repository signed itself. It must not be signed again, nor
// gone on from, until it is mended as the error says.
func TestBackInTime(t *testing.T) {
	for name, spoil := range backInTime {
		t.Run(name, func(t *testing.T) {
			r := newTestRepo(t)
			r.cfg.Newest = shelf.Memory(t.TempDir())
			r.publishAt(t, day, simple("one", "1"), simple("two", "1"))
			arm := SourceSet{Arch: "aarch64", Packages: r.build(t, testPackage{name: "three", version: "1", arch: "aarch64"})}
			if _, err := r.Publish(t.Context(), musl, []SourceSet{arm}, day.Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			old := mustReadlink(t, r.path(liveDir, current))
			r.publishAt(t, day.Add(time.Hour), simple("one", "2"))
			newest := mustReadlink(t, r.path(liveDir, current))
			spoil(t, r, old)
			refused := func(err error) {
				t.Helper()
				if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "back in time") || !strings.Contains(err.Error(), newest) {
					t.Errorf("got %v (%s)", err, fault.KindOf(err))
				}
			}
			_, err := r.Publish(t.Context(), musl, r.sets(t, simple("two", "2")), day.Add(2*time.Hour))
			refused(err)
			arm.Packages = r.build(t, testPackage{name: "three", version: "2", arch: "aarch64"})
			_, err = r.Publish(t.Context(), musl, []SourceSet{arm}, day.Add(2*time.Hour)) // would take over what is live of x86_64
			refused(err)
			if name != "none" { // indexes that are not there are not signed
				_, err = r.ResignAll(t.Context(), day.Add(2*time.Hour))
				refused(err)
			}
			_ = os.Remove(r.path(liveDir, current))
			if err := os.Symlink(newest, r.path(liveDir, current)); err != nil {
				t.Fatal(err)
			}
			r.publishAt(t, day.Add(3*time.Hour), simple("two", "2"))
			r.listed(t, day.Add(3*time.Hour))
		})
	}
}

func overwriteLink(t *testing.T, name, to string) {
	t.Helper()
	if err := errors.Join(os.Remove(name), os.Symlink(to, name)); err != nil {
		t.Fatal(err)
	}
}

func mustReadlink(t *testing.T, name string) string {
	t.Helper()
	to, err := os.Readlink(name)
	if err != nil {
		t.Fatal(err)
	}
	return to
}
