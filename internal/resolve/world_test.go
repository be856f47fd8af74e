package resolve

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

// testNow is the time of all tests that need one.
var testNow = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// testPool is a fetcher that has its files in memory.
type testPool struct {
	store blob.Store
	mu    sync.Mutex
	files map[string][]byte // by URI
	asked []string          // URIs that were fetched, not found in the store
}

func (p *testPool) Fetch(ctx context.Context, req source.Request) (ashlar.Material, error) {
	m := ashlar.Material{Name: req.Name, URI: req.URI, Digest: req.Digest}
	if m.Name == "" {
		m.Name = source.FileName(req.URI)
	}
	if size, err := p.store.Stat(ctx, req.Digest); req.Digest != "" && err == nil {
		m.Size = size
		return m, nil
	}
	p.mu.Lock()
	content, ok := p.files[req.URI]
	p.asked = append(p.asked, req.URI)
	p.mu.Unlock()
	if !ok {
		return m, fault.New(fault.NotFound, "no %s", req.URI)
	}
	f, err := p.store.Put(ctx, bytes.NewReader(content), req.Digest)
	m.Digest, m.Size = f.Digest, f.Size
	return m, err
}

func (p *testPool) FetchChecksum(ctx context.Context, uri, name string) (ashlar.Digest, ashlar.Material, error) {
	m, err := p.Fetch(ctx, source.Request{URI: uri})
	if err != nil {
		return "", m, err
	}
	d, err := source.ParseChecksums(uri, p.files[uri], name)
	return d, m, err
}

func (p *testPool) Git(ctx context.Context, uri, commit string) (ashlar.Material, error) {
	return p.Fetch(ctx, source.Request{URI: uri})
}

func (p *testPool) Exists(_ context.Context, uri string) (bool, error) {
	_, ok := p.files[uri]
	return ok, nil
}

func (p *testPool) Alias(uri string) string { return uri }

// testArchive is an archive that has its sources in memory, by suite.
type testArchive struct {
	refs map[string][]archive.SourceRef
}

func (a *testArchive) Sources(_ context.Context, suite, name string, _ time.Time) ([]archive.SourceRef, error) {
	var found []archive.SourceRef
	for _, r := range a.refs[suite] {
		if r.Package.Name == name {
			found = append(found, r)
		}
	}
	if len(found) == 0 {
		return nil, fault.New(fault.NotFound, "no source package %q in %s", name, suite)
	}
	return found, nil
}

func (a *testArchive) AnchorDsc(_ context.Context, d ashlar.Distro, dsc ashlar.Digest, _ time.Time) (ashlar.Anchor, error) {
	for _, r := range a.refs[d.Codename()] {
		if f, ok := r.Package.Dsc(); ok && f.Digest == dsc {
			return r.Anchor(), nil
		}
	}
	return ashlar.Anchor{Kind: ashlar.Unauthenticated}, nil
}

// testWorld is a small archive: two releases, a few packages, and their pool.
type testWorld struct {
	World
	pool *testPool
	arch *testArchive

	changelog string // of the sources that are added, "" for none
}

const testPackages = `base-passwd 1; Essential: yes
libc6 2
build-essential 1; Depends: gcc
gcc 12
debhelper 13; Provides: debhelper-compat (= 13)
fakeroot 1
dpkg-dev 1
libz-dev 3; Depends: libz (= 3)
libz 3
libz-dev 2; Depends: libz (= 2)
libz 2
check 1
texinfo 1`

func newTestWorld(t *testing.T) *testWorld {
	t.Helper()
	store := blob.NewMemory()
	w := &testWorld{pool: &testPool{store: store, files: map[string][]byte{}}, arch: &testArchive{refs: map[string][]archive.SourceRef{}}}
	u := universe(t, testPackages)
	w.World = World{
		Universe: u, Indexes: []ashlar.Index{testIndex("bookworm")}, Archive: w.arch, Fetcher: w.pool, Store: store, Now: testNow,
		PackageURI: func(p *deb.Package) string { return "mirror://debian/" + p.Filename },
	}
	for _, versions := range u.versions {
		for _, p := range versions {
			content := []byte(p.Name + " " + p.Version)
			p.Filename = "pool/" + p.Name + "_" + p.Version + "_amd64.deb"
			p.SHA256, p.Size = ashlar.DigestOf(content), int64(len(content))
			w.pool.files["mirror://debian/"+p.Filename] = content
		}
	}
	w.addSource(t, "bookworm", "hello", "1:2.0-1", "Build-Depends: debhelper-compat (= 13), libz-dev, check <!nocheck>\nBuild-Depends-Indep: texinfo")
	w.addSource(t, "trixie", "hello", "1:2.1-3", "Build-Depends: debhelper-compat (= 13)")
	return w
}

func testIndex(suite string) ashlar.Index {
	return ashlar.Index{URI: "mirror://debian/dists/" + suite + "/InRelease", Digest: ashlar.DigestOf([]byte(suite)), Date: "2026-01-01T00:00:00Z", Signers: []string{"ABCD"}}
}

// addSource puts a source package into the index of a suite and into the pool.
func (w *testWorld) addSource(t *testing.T, suite, name, version, relations string) {
	t.Helper()
	v := deb.SplitVersion(version)
	full := name + "_" + v.Upstream + "-" + v.Revision
	packaging := map[string]string{"debian/patches/CVE-1.patch": "fix of " + version, "debian/rules": "x"}
	if w.changelog != "" {
		packaging["debian/changelog"] = w.changelog
	}
	files := map[string][]byte{
		name + "_" + v.Upstream + ".orig.tar.gz": testTar(t, map[string]string{name + "-" + v.Upstream + "/README": "upstream " + v.Upstream}),
		full + ".debian.tar.gz":                  testTar(t, packaging),
	}
	list := func(digest func([]byte) string) string {
		var b strings.Builder
		for _, n := range []string{full + ".debian.tar.gz", name + "_" + v.Upstream + ".orig.tar.gz"} {
			fmt.Fprintf(&b, "\n %s %d %s", digest(files[n]), len(files[n]), n)
		}
		return b.String()
	}
	hex := func(b []byte) string { return ashlar.DigestOf(b).Hex() }
	dsc := "Format: 3.0 (quilt)\nSource: " + name + "\nBinary: " + name + "\nVersion: " + version + "\n" + relations +
		"\nChecksums-Sha256:" + list(hex) + "\nFiles:" + list(func(b []byte) string { return hex(b)[:32] }) + "\n"
	files[full+".dsc"] = []byte(dsc)
	src, err := deb.ParseDsc([]byte(dsc))
	if err != nil {
		t.Fatal(err)
	}
	src.Directory = "pool/main/" + name[:1] + "/" + name
	src.Files = append(src.Files, ashlar.File{Name: full + ".dsc", Digest: ashlar.DigestOf([]byte(dsc)), Size: int64(len(dsc))})
	ref := archive.SourceRef{Package: src, Suite: archive.Suite{Alias: "debian", Name: suite}, Index: testIndex(suite)}
	w.arch.refs[suite] = append([]archive.SourceRef{ref}, w.arch.refs[suite]...)
	for n, content := range files {
		w.pool.files["mirror://debian/"+src.Directory+"/"+n] = content
	}
}

func testTar(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	var names []string
	for n := range files {
		names = append(names, n)
	}
	for _, n := range sortedStrings(names) {
		if err := w.WriteHeader(&tar.Header{Name: n, Mode: 0o644, Size: int64(len(files[n])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(files[n])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// testDefinition expands a definition whose only build has the given lines
// below contents (at 8 blanks) and, after them, the rest of the build.
func testDefinition(t *testing.T, contents, rest string, beside map[string]string) *catalog.Expanded {
	t.Helper()
	text := "image: ashlar/pkg-hello\nvariant: runtime\ntags: ['1']\nplatforms: [linux/amd64]\nvars: {COLOUR: red}\ncontents:\n  builds:\n" +
		"    - name: hello deb\n      contents:\n" + contents + rest
	const name = "package/deb/main/hello/debian-12/1.yaml"
	root := t.TempDir()
	files := map[string]string{name: text}
	for n, content := range beside {
		files[n] = content
	}
	for n, content := range files {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(n)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, n), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	def, err := catalog.Load(root, name)
	if err != nil {
		t.Fatal(err)
	}
	expanded, err := def.Expand(ashlar.Target{Distro: "debian-12", Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	return expanded
}
