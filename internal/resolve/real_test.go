package resolve

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

// realNow is the time of the tests on the machine's own mirror: the day's, for
// signed indexes expire.
var realNow = time.Now()

// realArchive returns an archive on the machine's own mirror. Its state is in a
// temporary folder, or in $ASHLAR_TEST_STATE to keep it from run to run.
func realArchive(t testing.TB) (*archive.Archive, *source.Fetcher) {
	if testing.Short() {
		t.Skip("needs the machine's package mirror")
	}
	dir := os.Getenv("ASHLAR_TEST_STATE")
	if dir == "" {
		dir = t.TempDir()
	}
	mirrors, err := source.MirrorsFromApt()
	if err != nil {
		t.Skip(err)
	}
	store, err := blob.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := &source.Fetcher{Mirrors: mirrors, Store: store}
	return archive.Open(archive.Config{Fetcher: f, Dir: filepath.Join(dir, "indexes"), MaxAge: 24 * time.Hour}), f
}

// TestRealLock plans every definition of the catalog on the machine's own
// mirror, twice, and wants the same bytes.
func TestRealLock(t *testing.T) {
	a, f := realArchive(t)
	root := filepath.Join("..", "..", "catalog")
	files, err := filepath.Glob(filepath.Join(root, "package/deb/main/*/*/*.yaml"))
	if err != nil || len(files) == 0 {
		t.Skip("no catalog")
	}
	for _, file := range files {
		rel, _ := filepath.Rel(root, file)
		t.Run(rel, func(t *testing.T) {
			def, err := catalog.Load(root, filepath.ToSlash(rel))
			if err != nil {
				t.Fatal(err)
			}
			expanded, err := def.Expand(ashlar.Target{Distro: def.Distro, Arch: "amd64"})
			if err != nil {
				t.Fatal(err)
			}
			first := lockBytes(t, a, f, expanded)
			if second := lockBytes(t, a, f, expanded); !bytes.Equal(first, second) {
				t.Error("two locks of the same definition differ")
			}
			if out := os.Getenv("ASHLAR_TEST_LOCKS"); out != "" {
				if err := os.WriteFile(filepath.Join(out, filepath.Base(filepath.Dir(filepath.Dir(file)))+"."+string(def.Distro)+".json"), first, 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func lockBytes(t *testing.T, a *archive.Archive, f *source.Fetcher, def *catalog.Expanded) []byte {
	t.Helper()
	ctx := context.Background()
	w, err := NewWorld(ctx, a, f, def.Target, realNow)
	if err != nil {
		t.Fatal(err)
	}
	w.PlanOnly = os.Getenv("ASHLAR_TEST_FETCH") == ""
	lock, err := Lock(ctx, def, w)
	switch {
	case fault.Is(err, fault.Unavailable), fault.Is(err, fault.Denied):
		t.Skipf("the mirror is not complete today: %v", err)
	case err != nil:
		t.Fatal(err)
	}
	b, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ashlar.DecodeLock(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// BenchmarkRoot solves a typical build root (curl's) on the real trixie index,
// with the tables of the archive opened but nothing looked up yet.
func BenchmarkRoot(b *testing.B) {
	a, _ := realArchive(b)
	ctx := context.Background()
	refs, err := a.Sources(ctx, "trixie", "curl", realNow)
	if err != nil {
		b.Fatal(err)
	}
	req := Request{Arch: "amd64"}
	req.AddSource(refs[0].Package, nil)
	target := ashlar.Target{Distro: "debian-13", Arch: "amd64"}
	for _, bench := range []struct {
		name  string
		fresh bool
	}{{"index-on-disk", true}, {"index-in-memory", false}} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if bench.fresh {
					b.StopTimer()
					a, _ = realArchive(b)
					b.StartTimer()
				}
				u, err := a.Universe(ctx, target, realNow)
				if err != nil {
					b.Fatal(err)
				}
				set, err := SolveRoot(u, req)
				if err != nil {
					b.Fatal(err)
				}
				set.Root("amd64", u.PoolURI)
			}
		})
	}
}
