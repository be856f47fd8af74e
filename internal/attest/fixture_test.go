package attest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
	"github.com/ashlar-project/ashlar/internal/sign"
)

var started = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// A testBuild is a finished build with its store and the signer's desk, for tests to
// spoil.
type testBuild struct {
	store Store
	desk  *Desk
	e     *Evidence
}

func (b *testBuild) put(t testing.TB, name string, content []byte) ashlar.File {
	t.Helper()
	f := ashlar.File{Name: name, Digest: ashlar.DigestOf(content), Size: int64(len(content))}
	if err := os.WriteFile(b.path(f.Digest), content, 0o644); err != nil {
		t.Fatal(err)
	}
	return f
}

func (b *testBuild) path(d ashlar.Digest) string {
	return filepath.Join(string(b.store), "blobs", "sha256", d.Hex())
}

func (b *testBuild) material(t testing.TB, name, uri string) ashlar.Material {
	t.Helper()
	f := b.put(t, name, []byte("content of "+name))
	return ashlar.Material{Name: name, URI: uri, Digest: f.Digest, Size: f.Size}
}

// oneStep is a definition of one step, withNetwork one whose step may reach the
// network, and withBare one that has a file that nobody vouches for.
const (
	oneFile = "image: example/pkg-a\ncontents:\n  builds:\n    - name: a deb\n      contents:\n        files:\n" +
		"          - url: debsrc://bookworm/aa\n" +
		"          - {url: \"debsrc://trixie/aa#debian/patches/CVE-2026-1.patch\", path: /p/}\n"
	bareFile    = "          - {url: https://example.org/bare.tar.gz, path: /bare/}\n"
	steps       = "      pipeline:\n        - name: dpkg/build\n          runs: dpkg-buildpackage\n"
	oneStep     = oneFile + steps
	withNetwork = oneStep + "          privileged: true\n"
	withBare    = oneFile + bareFile + steps
)

// bare makes the build one of withBare.
func (b *testBuild) bare(t testing.TB) *ashlar.Source {
	t.Helper()
	b.e.Definition.Content = []byte(withBare)
	sources := &b.e.Lock.Inputs.Builds[0].Sources
	*sources = append(*sources, ashlar.Source{
		Material: b.material(t, "bare.tar.gz", "https://example.org/bare.tar.gz"), Path: "/bare/bare.tar.gz",
		Anchor: ashlar.Anchor{Kind: ashlar.Unauthenticated},
	})
	return &(*sources)[len(*sources)-1]
}

// newBuild makes a build of the source package "a" with one .deb, its debug
// package and one for the installer, out of a Debian source with a patch by
// reference.
func newBuild(t testing.TB) *testBuild {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	b := &testBuild{store: Store(dir)}
	b.desk = testDesk(b.store, filepath.Join(dir, "indexes"))
	definition := []byte(oneStep)
	lock := b.lock(t, definition)
	b.e = &Evidence{
		Definition: Definition{
			Path: "package/deb/main/a/debian-12/1.yaml", Content: definition,
			Catalog: Catalog{URI: "git+https://example.org/catalog", Commit: "0123456789012345678901234567890123456789"},
		},
		Lock: lock, Result: b.result(t), Invocation: "run-1", Now: started.Add(time.Hour),
		Gate: &ashlar.Verdict{Passed: true, Checks: []ashlar.Check{
			{Name: "whole source set", Subject: "a", Outcome: ashlar.CheckPassed},
			{Name: "install", Subject: "a", Outcome: ashlar.CheckPassed},
		}},
		Builder: Builder{ID: BuilderL3, Program: ashlar.File{Name: "ashlar", Digest: ashlar.DigestOf([]byte("program"))}, Version: "v0"},
	}
	b.relock(t)
	return b
}

// relock makes lock and result those of the definition as it is now.
func (b *testBuild) relock(t testing.TB) {
	t.Helper()
	b.e.Lock.Inputs.Definition.Digest = ashlar.DigestOf(b.e.Definition.Content)
	plan, err := b.e.plan(context.Background(), b.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	b.e.Result.Key, b.e.Result.Steps = plan.Key(), nil
	for _, p := range plan.Builds {
		for i := range p.Steps {
			s := &p.Steps[i]
			b.e.Result.Steps = append(b.e.Result.Steps, ashlar.StepResult{Build: p.Name, Name: s.Name, Uses: s.Uses, Digest: s.Digest(), Network: s.Network})
		}
	}
	digest, err := b.e.Lock.Digest()
	if err != nil {
		t.Fatal(err)
	}
	b.e.Result.Lock = digest
}

// testDesk returns the signer's desk at a store of newBuild, where the keyring lies
// beside the blobs. The desk keeps what it unpacked in a cache folder.
func testDesk(store Store, cache string) *Desk {
	return NewDesk(store, ashlar.File{}, "v0", archive.Config{
		Dir: cache, Keyrings: []string{filepath.Join(string(store), "keyring.asc")}, MaintainerKeyrings: []string{},
		Suites: map[ashlar.Distro][]archive.Suite{
			"debian-12": {{Alias: "debian", Name: "bookworm", Components: []string{"main"}}},
			"debian-13": {{Alias: "debian", Name: "trixie", Components: []string{"main"}}},
		},
	})
}

// dsc returns the .dsc of version v of the source package aa.
func dsc(v, file string, content []byte) []byte {
	return fmt.Appendf(nil, "Format: 3.0 (quilt)\nSource: aa\nVersion: %s\nChecksums-Sha256:\n %s %d %s\n", v, ashlar.DigestOf(content).Hex(), len(content), file)
}

// lock makes the lock of the definition, and the signed archive that it is from.
func (b *testBuild) lock(t testing.TB, definition []byte) *ashlar.Lock {
	t.Helper()
	fix := "fix\n"
	patched := []byte(archivetest.Gzip(t, string(tarball(t, "debian/patches/CVE-2026-1.patch", fix))))
	files := map[string][]byte{"aa_1-1.tar.gz": []byte("all of it"), "aa_2-1.debian.tar.gz": patched, "CVE-2026-1.patch": []byte(fix)}
	files["aa_1-1.dsc"] = dsc("1-1", "aa_1-1.tar.gz", files["aa_1-1.tar.gz"])
	files["aa_2-1.dsc"] = dsc("2-1", "aa_2-1.debian.tar.gz", patched)
	of := func(name, uri string) ashlar.Material {
		f := b.put(t, name, files[name])
		return ashlar.Material{Name: name, URI: uri + name, Digest: f.Digest, Size: f.Size}
	}
	key := archivetest.NewKey(t, "archive", started)
	archivetest.WriteKeyring(t, filepath.Join(string(b.store), "keyring.asc"), key)
	essential := ashlar.Layer{Name: "essential"}
	bookworm := archivetest.Suite{Name: "bookworm", Date: started, Signer: key}
	for _, name := range []string{"dpkg", "libc6"} {
		stanza, file := archivetest.PackageStanza(name, "1:1+b1", "amd64", []byte("content of "+name), "")
		bookworm.Packages += stanza
		m := b.material(t, name, archive.Suite{Alias: "debian"}.URI(file))
		essential.Packages = append(essential.Packages, ashlar.RootPackage{Name: name, Version: "1:1+b1", Arch: "amd64", URI: m.URI, Digest: m.Digest, Size: m.Size})
	}
	stanza, dir := archivetest.SourceStanza("aa", "1-1", "", map[string][]byte{"aa_1-1.dsc": files["aa_1-1.dsc"], "aa_1-1.tar.gz": files["aa_1-1.tar.gz"]})
	bookworm.Sources = stanza
	trixie := archivetest.Suite{Name: "trixie", Date: started, Signer: key}
	trixie.Sources, _ = archivetest.SourceStanza("aa", "2-1", "", map[string][]byte{"aa_2-1.dsc": files["aa_2-1.dsc"], "aa_2-1.debian.tar.gz": patched})
	pool := "mirror://debian/" + dir + "/"
	source := func(m ashlar.Material, path, version string, suite ashlar.Index) ashlar.Source {
		anchor := ashlar.Anchor{Kind: ashlar.AnchoredByIndex, By: suite.URI, Signers: suite.Signers}
		return ashlar.Source{Material: m, Path: path, Anchor: anchor, Package: "aa", Version: version}
	}
	indexes := []ashlar.Index{b.publish(t, bookworm), b.publish(t, trixie)}
	patch := source(of("CVE-2026-1.patch", ""), "/p/CVE-2026-1.patch", "2-1", indexes[1])
	patch.URI = "debsrc://trixie/aa@2-1#debian/patches/CVE-2026-1.patch"
	patch.From = []ashlar.Material{of("aa_2-1.dsc", pool), of("aa_2-1.debian.tar.gz", pool)}
	path := "package/deb/main/a/debian-12/1.yaml"
	return &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{
		Definition: ashlar.Material{Name: "1.yaml", URI: "catalog:" + path, Digest: ashlar.DigestOf(definition)},
		Target:     ashlar.Target{Distro: "debian-12", Arch: "amd64"},
		Vars:       map[string]string{"source.name": "aa", "source.version": "1-1", "source.upstream-version": "1", "source.dsc": "aa_1-1.dsc"},
		Indexes:    indexes,
		Builds: []ashlar.BuildInputs{{Name: "a deb", Root: ashlar.Root{Layers: []ashlar.Layer{essential}}, Sources: []ashlar.Source{
			source(of("aa_1-1.dsc", pool), ashlar.SourceDir+"/aa_1-1.dsc", "1-1", indexes[0]),
			source(of("aa_1-1.tar.gz", pool), ashlar.SourceDir+"/aa_1-1.tar.gz", "1-1", indexes[0]),
			patch,
		}}},
	}}
}

// publish puts a suite into the store, as one that was fetched, and returns its index.
func (b *testBuild) publish(t testing.TB, s archivetest.Suite) ashlar.Index {
	t.Helper()
	x := ashlar.Index{URI: "mirror://debian/dists/" + s.Name + "/InRelease", Date: s.Date.Format(time.RFC3339), Signers: []string{s.Signer.Fingerprint()}}
	for name, content := range s.Files(t) {
		if f := b.put(t, name, content); name == "InRelease" {
			x.Digest = f.Digest
		}
	}
	return x
}

func (b *testBuild) result(t testing.TB) *ashlar.Result {
	t.Helper()
	return &ashlar.Result{
		Target: ashlar.Target{Distro: "debian-12", Arch: "amd64"},
		Files: []ashlar.File{
			b.put(t, "a-dbgsym_1-1+cut12u1_amd64.deb", debFile(t, "a-dbgsym", "2:1-1+cut12u1")),
			b.put(t, mainDsc, []byte("Format: 3.0 (quilt)\n")),
			b.put(t, "a_1-1+cut12u1_amd64.buildinfo", []byte("Format: 1.0\n")),
			b.put(t, mainDeb, debFile(t, "a", "2:1-1+cut12u1")),
			b.put(t, mainUdeb, debFile(t, "b-udeb", "2:1-1+cut12u1")),
		},
		Log:    b.put(t, "build.log", []byte("ok\n")),
		Tests:  ashlar.TestResult{Outcome: ashlar.TestsPassed, Passed: 12},
		Engine: "buildkit v0", Started: started, Finished: started.Add(time.Minute),
	}
}

// debFile makes a small .deb.
func debFile(t testing.TB, name, version string) []byte {
	t.Helper()
	return debWith(t, name, version, tarball(t, "./x", "x"))
}

// debWith makes a .deb with a data archive.
func debWith(t testing.TB, name, version string, data []byte) []byte {
	t.Helper()
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n", name, version)
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")}, {"control.tar", tarball(t, "./control", control)}, {"data.tar", data},
	} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		b.Write(m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// linkTo makes an archive of a symbolic link.
func linkTo(t testing.TB, name, to string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarball(t testing.TB, name, content string) []byte {
	t.Helper()
	var b bytes.Buffer

	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// localSigner returns a signer in this process and the trust in its key.
func localSigner(t testing.TB, b *testBuild) (*sign.Conn, Trust) {
	t.Helper()
	keys, err := sign.Generate("Test", "test@example.org", started)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sign.Local(context.Background(), keys, Handlers(b.desk))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	trust, err := TrustKey(c.Public().Attestation)
	if err != nil {
		t.Fatal(err)
	}
	return c, trust
}
