package resolve

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// testEvidence is what the indexes of a test world say.
type testEvidence struct{ *testWorld }

func (e testEvidence) Sources(ctx context.Context, suite, name string, dscs []ashlar.Material) ([]archive.SourceRef, error) {
	var found []archive.SourceRef
	for _, r := range e.arch.refs[suite] {
		f, ok := r.Package.Dsc()
		if ok && r.Package.Name == name && slices.ContainsFunc(dscs, func(m ashlar.Material) bool { return m.Digest == f.Digest }) {
			found = append(found, r)
		}
	}
	return found, nil
}

func (e testEvidence) AnchorDsc(ctx context.Context, d ashlar.Distro, dsc ashlar.Material, _ bool) (ashlar.Anchor, error) {
	return e.arch.AnchorDsc(ctx, d, dsc.Digest, testNow)
}

func (e testEvidence) Lists(_ context.Context, _ ashlar.Target, p ashlar.RootPackage) (bool, error) {
	all, err := e.Universe.Versions(p.Name)
	for _, have := range all {
		if p == (ashlar.RootPackage{Name: have.Name, Version: have.Version, Arch: have.Arch, URI: e.PackageURI(have), Digest: have.SHA256, Size: have.Size}) {
			return true, err
		}
	}
	return false, err
}

func (e testEvidence) Indexes() []ashlar.Index {
	all := []ashlar.Index{testIndex("bookworm")}
	if len(e.arch.refs["trixie"]) > 0 {
		all = append(all, testIndex("trixie"))
	}
	return all
}

// verifyChanged makes the lock of a definition, brings its files into the store of
// another world, changes it, and verifies it there.
func verifyChanged(t *testing.T, i int, change func(t *testing.T, w *testWorld, l *ashlar.Lock)) (was, is *ashlar.Lock, err error) {
	t.Helper()
	tt := lockTests[i]
	def := testDefinition(t, tt.contents, tt.rest, tt.beside)
	made := newTestWorld(t)
	if tt.world != nil {
		tt.world(t, made)
	}
	lock, err := Lock(t.Context(), def, made.World)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestWorld(t)
	if tt.world != nil {
		tt.world(t, w)
	}
	if err := Check(t.Context(), lock, def, w.World); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(t, w, lock)
	}
	is, err = verifyIn(t, w, lock, def)
	return lock, is, err
}

func verifyIn(t *testing.T, w *testWorld, lock *ashlar.Lock, def *catalog.Expanded) (*ashlar.Lock, error) {
	t.Helper()
	world := w.World
	world.Universe, world.Archive, world.PackageURI = nil, nil, nil // only evidence counts
	return Verify(t.Context(), lock, def, world, testEvidence{w})
}

// TestVerify: every lock that was made is found as it was made.
func TestVerify(t *testing.T) {
	for i, tt := range lockTests {
		t.Run(tt.name, func(t *testing.T) {
			was, is, err := verifyChanged(t, i, nil)
			if err != nil {
				t.Fatal(err)
			}
			was.Inputs.Indexes, is.Inputs.Indexes = nil, nil // the fake has them all
			if diff := cmp.Diff(was, is); diff != "" {
				t.Errorf("-made +verified\n%s", diff)
			}
		})
	}
}

// lockTest returns the place of a definition among lockTests.
func lockTest(t *testing.T, name string) int {
	t.Helper()
	for i := range lockTests {
		if lockTests[i].name == name {
			return i
		}
	}
	t.Fatalf("no definition %q", name)
	return 0
}

// put puts content that the lock may claim into the store of a world.
func (w *testWorld) put(t *testing.T, content string) (ashlar.Digest, int64) {
	t.Helper()
	f, err := w.Store.Put(t.Context(), bytes.NewReader([]byte(content)), "")
	if err != nil {
		t.Fatal(err)
	}
	return f.Digest, f.Size
}

// sources are those of a lock's only build.
func sources(l *ashlar.Lock) []ashlar.Source { return l.Inputs.Builds[0].Sources }

// forged puts other bytes in the place of a lock's source.
func forged(i int) func(*testing.T, *testWorld, *ashlar.Lock) {
	return func(t *testing.T, w *testWorld, l *ashlar.Lock) {
		s := &sources(l)[i]
		s.Digest, s.Size = w.put(t, "evil")
	}
}

// forgeries are locks that claim what their definition does not lead to.
var forgeries = []struct {
	name, of string
	change   func(t *testing.T, w *testWorld, l *ashlar.Lock)
	kind     fault.Kind
	says     string
}{
	{"a source's bytes", "debsrc", forged(1), fault.Conflict, "hello_2.0-1.debian.tar.gz"},
	{"the .dsc", "debsrc", forged(0), fault.Conflict, "pins no debsrc://bookworm/hello"},
	{"a file with a checksum", "files", forged(0), fault.Conflict, "https://example.org/plain.tar.gz"},
	{"a file of a checksum list", "files", forged(1), fault.Conflict, "https://example.org/listed.tar.gz"},
	{"a tree of git", "files", forged(3), fault.Conflict, "git+https://example.org/repo.git"},
	{"a patch by reference", "patch by reference", forged(3), fault.Conflict, "CVE-1.patch"},
	{"what a patch is taken from", "patch by reference", func(t *testing.T, w *testWorld, l *ashlar.Lock) {
		m := &sources(l)[3].From[1]
		m.Digest, m.Size = w.put(t, "evil")
	}, fault.Conflict, "CVE-1.patch"},
	{"a file of a .dsc by address", "dsc by address", forged(1), fault.Invalid, "hello_2.0-1.debian.tar.gz"},
	{"a file beside the definition", "beside", forged(3), fault.Conflict, "catalog:package/deb/main/hello/patch/a.patch"},
	{"the address", "debsrc", func(_ *testing.T, w *testWorld, l *ashlar.Lock) {
		s := &sources(l)[2]
		s.URI = "https://example.org/" + s.Name
	}, fault.Conflict, "https://example.org/"},
	{"the path", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { sources(l)[2].Path = "/usr/bin/dpkg" }, fault.Conflict, "/usr/bin/dpkg"},
	{"the mode", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { sources(l)[2].Mode = "4755" }, fault.Conflict, "4755"},
	{"the owner", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { sources(l)[2].GID = 7 }, fault.Conflict, "owner 0:7"},
	{"a file as a tree", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { sources(l)[2].Tree = true }, fault.Conflict, "the tree mirror:"},
	{"the order", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
		sources(l)[1], sources(l)[2] = sources(l)[2], sources(l)[1]
	}, fault.Conflict, "file 2"},
	{"one more file", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
		more := sources(l)[0]
		more.Path = "/x"
		l.Inputs.Builds[0].Sources = append(sources(l), more)
	}, fault.Conflict, "the lock places"},
	{"one file less", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Builds[0].Sources = sources(l)[:2] }, fault.Conflict, "the definition places"},
	{"the package that a file is of", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { sources(l)[2].Package = "openssl" }, fault.Conflict, "says otherwise"},
	{"a variable of the source", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Vars["source.version"] = "9" }, fault.Conflict, "variable source.version"},
	{"a variable of the definition", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Vars["COLOUR"] = "blue" }, fault.Conflict, "variable COLOUR"},
	{"one more variable", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Vars["builds.0.source.name"] = "x" }, fault.Conflict, "variable builds.0.source.name"},
	{"the name of the build", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Builds[0].Name = "x" }, fault.Conflict, `"x"`},
	{"the path of the definition", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) { l.Inputs.Definition.URI = "catalog:x.yaml" }, fault.Conflict, "catalog:x.yaml"},
	{"a package of the root", "debsrc", func(t *testing.T, w *testWorld, l *ashlar.Lock) {
		p := &l.Inputs.Builds[0].Root.Layers[0].Packages[0]
		p.Digest, p.Size = w.put(t, "evil")
	}, fault.Denied, "base-passwd 1"},
	{"one more package of the root", "debsrc", func(t *testing.T, w *testWorld, l *ashlar.Lock) {
		layer := &l.Inputs.Builds[0].Root.Layers[0]
		p := ashlar.RootPackage{Name: "evil", Version: "1", Arch: "amd64", URI: "https://example.org/evil.deb"}
		p.Digest, p.Size = w.put(t, "evil")
		layer.Packages = append(layer.Packages, p)
	}, fault.Denied, "evil 1 (https://example.org/evil.deb"},
	{"the version of a package of the root", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
		l.Inputs.Builds[0].Root.Layers[0].Packages[0].Version = "2"
	}, fault.Denied, "base-passwd 2"},
	{"the address of a package of the root", "debsrc", func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
		l.Inputs.Builds[0].Root.Layers[0].Packages[0].URI = "mirror://debian/elsewhere.deb"
	}, fault.Denied, "elsewhere.deb"},
}

// TestVerifyRefuses: what the definition does not lead to is not built, even if its
// bytes are in the store.
func TestVerifyRefuses(t *testing.T) {
	for _, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			_, _, err := verifyChanged(t, lockTest(t, f.of), f.change)
			if !fault.Is(err, f.kind) || !strings.Contains(err.Error(), f.says) {
				t.Errorf("kind %q, want %q with %q: %v", fault.KindOf(err), f.kind, f.says, err)
			}
		})
	}
	t.Run("a fetched tree", func(t *testing.T) {
		_, _, err := verifyChanged(t, 0, func(t *testing.T, w *testWorld, l *ashlar.Lock) {
			l.Fetched = []ashlar.Fetched{{Name: "modules", Key: ashlar.DigestOf(nil), Digest: ashlar.DigestOf(nil)}}
		})
		if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "modules") {
			t.Error(err)
		}
	})
}

// TestVerifyAnchors: who vouches for a source is worked out, and what the lock claims
// does not count.
func TestVerifyAnchors(t *testing.T) {
	raise := func(_ *testing.T, _ *testWorld, l *ashlar.Lock) {
		for i := range sources(l) {
			sources(l)[i].Anchor = ashlar.Anchor{Kind: ashlar.AnchoredByIndex, By: "mirror://debian/dists/bookworm/InRelease", Signers: []string{"ABCD"}}
		}
	}
	for _, c := range []struct {
		of     string
		change func(t *testing.T, w *testWorld, l *ashlar.Lock)
		want   []ashlar.AnchorKind
		notes  int
	}{
		{"files", raise, []ashlar.AnchorKind{ashlar.AnchoredByChecksum, ashlar.AnchoredByChecksum, ashlar.Unauthenticated, ashlar.AnchoredByCommit}, 6},
		{"unknown dsc without build-depends", raise, []ashlar.AnchorKind{ashlar.Unauthenticated, ashlar.Unauthenticated, ashlar.Unauthenticated}, 7},
		{"beside", raise, []ashlar.AnchorKind{ashlar.AnchoredByIndex, ashlar.AnchoredByIndex, ashlar.AnchoredByIndex, ashlar.AnchoredLocally, ashlar.AnchoredLocally, ashlar.AnchoredLocally}, 3},
		{"dsc by address", func(_ *testing.T, w *testWorld, _ *ashlar.Lock) { w.arch.refs["bookworm"] = nil },
			[]ashlar.AnchorKind{ashlar.Unauthenticated, ashlar.Unauthenticated, ashlar.Unauthenticated}, 7},
	} {
		t.Run(c.of, func(t *testing.T) {
			_, is, err := verifyChanged(t, lockTest(t, c.of), c.change)
			if err != nil {
				t.Fatal(err)
			}
			var got []ashlar.AnchorKind
			for _, s := range sources(is) {
				got = append(got, s.Anchor.Kind)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if len(is.Inputs.Notes) != c.notes {
				t.Errorf("%d notes, want %d: %q", len(is.Inputs.Notes), c.notes, is.Inputs.Notes)
			}
		})
	}
}

// TestDscUnderAnotherName: a .dsc without a checksum is what its name says, or it is
// nobody's: an index has every package of the distribution.
func TestDscUnderAnotherName(t *testing.T) {
	w := newTestWorld(t)
	dsc := w.pool.files["mirror://debian/pool/main/h/hello/hello_2.0-1.dsc"]
	for name, c := range map[string]struct {
		file, checksum string
		want           ashlar.AnchorKind
	}{
		"its own name":          {"hello_2.0-1.dsc", "", ashlar.AnchoredByIndex},
		"another name":          {"openssl_3.0-1.dsc", "", ashlar.Unauthenticated},
		"another, but checksum": {"openssl_3.0-1.dsc", ", checksum: '" + string(ashlar.DigestOf(dsc)) + "'", ashlar.AnchoredByIndex},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestWorld(t)
			w.pool.files["https://example.org/"+c.file] = dsc
			files := strings.Replace(dscFiles("mirror://debian/pool/main/h/hello/"),
				`{url: "mirror://debian/pool/main/h/hello/hello_2.0-1.dsc", path: "${source.dir}/hello_2.0-1.dsc"`,
				`{url: "https://example.org/`+c.file+`", path: "${source.dir}/`+c.file+`"`+c.checksum, 1)
			def := testDefinition(t, files, "", nil)
			lock, err := Lock(t.Context(), def, w.World)
			if err != nil {
				t.Fatal(err)
			}
			if got := sources(lock)[0].Anchor.Kind; got != c.want {
				t.Errorf("made: %s, want %s", got, c.want)
			}
			is, err := verifyIn(t, w, lock, def)
			if err != nil {
				t.Fatal(err)
			}
			if got := sources(is)[0].Anchor.Kind; got != c.want {
				t.Errorf("verified: %s, want %s", got, c.want)
			}
		})
	}
}
