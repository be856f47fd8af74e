package archive

import (
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

// newReal returns an archive on the machine's own apt mirror, its store and its
// cache in dir.
func newReal(t testing.TB, dir string) *Archive {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the machine's apt mirror")
	}
	m, err := source.MirrorsFromApt()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Aliases["debian"]) == 0 {
		t.Skip("this machine's apt has no Debian mirror")
	}
	store, err := blob.NewDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return Open(Config{Fetcher: &source.Fetcher{Mirrors: m, Store: store}, Dir: dir + "/indexes"})
}

func TestRealMirror(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for _, distro := range []ashlar.Distro{"debian-12", "debian-13"} {
		a := newReal(t, dir)
		u, err := a.Universe(t.Context(), ashlar.Target{Distro: distro, Arch: "amd64"}, now)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(u.Indexes()); n != 3 {
			t.Errorf("%s: %d indexes", distro, n)
		}
		essential, err := u.Essential()
		if err != nil || len(essential) < 15 {
			t.Errorf("%s: %d essential packages, %v", distro, len(essential), err)
		}
		providers, err := u.Providers("awk")
		if err != nil || len(providers) < 2 {
			t.Errorf("%s: %d packages provide awk, %v", distro, len(providers), err)
		}
		if m, ok := u.Material(essential[0]); !ok || m.Size == 0 {
			t.Errorf("%s: %s is not of the universe: %+v", distro, essential[0].Name, m)
		}
		refs, err := a.Sources(t.Context(), distro.Codename(), "bzip2", now)
		if err != nil || len(refs) == 0 {
			t.Fatal(err)
		}
		checkRealSource(t, a, distro, refs[0], now)
		offline := newReal(t, dir)
		offline.cfg.Fetcher.Offline = true
		if _, err := offline.Universe(t.Context(), ashlar.Target{Distro: distro, Arch: "amd64"}, now.Add(24*time.Hour)); err != nil {
			t.Errorf("offline: %v", err)
		}
	}
}

// checkRealSource fetches a source and anchors its .dsc.
func checkRealSource(t *testing.T, a *Archive, distro ashlar.Distro, ref SourceRef, now time.Time) {
	t.Helper()
	files := ref.Materials()
	var reqs []source.Request
	for _, f := range files {
		reqs = append(reqs, source.Request{URI: f.URI, Digest: f.Digest, Size: f.Size})
	}
	if _, err := a.cfg.Fetcher.FetchAll(t.Context(), reqs); fault.Is(err, fault.NotFound) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckDsc(t.Context(), a.cfg.Fetcher.Store, files[0], files); err != nil {
		t.Error(err)
	}
	anchor, err := a.AnchorDsc(t.Context(), distro, files[0].Digest, now)
	if err != nil || anchor.Kind != ashlar.AnchoredByIndex || len(anchor.Signers) == 0 {
		t.Errorf("anchor %+v, %v", anchor, err)
	}
}

// names returns n package names spread over an index.
func (u *Universe) sample(n int) []string {
	t := u.parts[0].table
	all := len(t.stanzas) / stanzaSize
	var names []string
	for i := range n {
		names = append(names, string(t.name(t.stanzas[i*all/n*stanzaSize:])))
	}
	return names
}

// BenchmarkWarm opens the cached indexes of trixie anew each time and looks up
// 500 packages.
func BenchmarkWarm(b *testing.B) {
	dir := b.TempDir()
	now := time.Now()
	target := ashlar.Target{Distro: "debian-13", Arch: "amd64"}
	first, err := newReal(b, dir).Universe(b.Context(), target, now)
	if err != nil {
		b.Fatal(err)
	}
	names := first.sample(500)
	for b.Loop() {
		u, err := newReal(b, dir).Universe(b.Context(), target, now)
		if err != nil {
			b.Fatal(err)
		}
		for _, name := range names {
			if all, err := u.Versions(name); err != nil || len(all) == 0 {
				b.Fatal(name, err)
			}
		}
	}
}

// BenchmarkCold unpacks the downloaded Packages of trixie and makes its table.
func BenchmarkCold(b *testing.B) {
	a := newReal(b, b.TempDir())
	now := time.Now()
	suites, err := a.Suites("debian-13")
	if err != nil {
		b.Fatal(err)
	}
	r, err := a.release(b.Context(), suites[0], now)
	if err != nil {
		b.Fatal(err)
	}
	plain, _ := r.content.File("main/binary-amd64/Packages")
	if _, _, err := a.fetchIndex(b.Context(), r, plain.Name); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := a.build(b.Context(), r, plain, binaries, now); err != nil {
			b.Fatal(err)
		}
	}
}

// TestRealIndexParses parses every package and source of trixie.
func TestRealIndexParses(t *testing.T) {
	a := newReal(t, t.TempDir())
	u, err := a.Universe(t.Context(), ashlar.Target{Distro: "debian-13", Arch: "amd64"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range u.parts {
		for n := range len(p.table.stanzas) / stanzaSize {
			if _, err := u.load(place{i, n}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(u.packages) < 60_000 {
		t.Errorf("%d packages", len(u.packages))
	}
}
