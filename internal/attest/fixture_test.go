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
	"github.com/ashlar-project/ashlar/internal/sign"
)

var started = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// A testBuild is a finished build with its store, for tests to spoil.
type testBuild struct {
	store Store
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

// oneStep is a definition of one step, and withNetwork one whose step may reach
// the network.
const (
	oneStep     = "image: example/pkg-a\ncontents:\n  builds:\n    - name: a deb\n      pipeline:\n        - name: dpkg/build\n          runs: dpkg-buildpackage\n"
	withNetwork = oneStep + "          privileged: true\n"
)

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
	plan, err := b.e.plan(t.Context(), b.store)
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

func (b *testBuild) lock(t testing.TB, definition []byte) *ashlar.Lock {
	t.Helper()
	path := "package/deb/main/a/debian-12/1.yaml"
	signed := ashlar.Anchor{Kind: ashlar.AnchoredByIndex, By: "mirror://debian/dists/bookworm/main/source/Sources.xz", Signers: []string{"AAAA"}}
	root := ashlar.Root{Layers: []ashlar.Layer{{Name: "essential"}}}
	for _, name := range []string{"dpkg", "libc6"} {
		m := b.material(t, name, "mirror://debian/pool/main/"+name+"_1+b1_amd64.deb")
		root.Layers[0].Packages = append(root.Layers[0].Packages, ashlar.RootPackage{
			Name: name, Version: "1:1+b1", Arch: "amd64", URI: m.URI, Digest: m.Digest, Size: m.Size,
		})
	}
	return &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{
		Definition: ashlar.Material{Name: path, URI: "catalog:" + path, Digest: ashlar.DigestOf(definition)},
		Target:     ashlar.Target{Distro: "debian-12", Arch: "amd64"},
		Vars:       map[string]string{"source.version": "1-1"},
		Indexes:    []ashlar.Index{{URI: "mirror://debian/dists/bookworm/InRelease", Digest: b.put(t, "InRelease", []byte("in")).Digest, Signers: []string{"AAAA"}}},
		Builds: []ashlar.BuildInputs{{Name: "a deb", Root: root, Sources: []ashlar.Source{
			{Material: b.material(t, "a_1-1.dsc", "mirror://debian/pool/main/a/a_1-1.dsc"), Path: "/build/", Anchor: signed, Package: "a", Version: "1-1"},
			{Material: b.material(t, "CVE-2026-1.patch", "debsrc://trixie/a#debian/patches/CVE-2026-1.patch"), Path: "/p/", Anchor: signed,
				From: []ashlar.Material{b.material(t, "a_2-1.debian.tar.xz", "mirror://debian/pool/main/a/a_2-1.debian.tar.xz")}},
		}}},
	}}
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
func localSigner(t testing.TB, store Store) (*sign.Conn, Trust) {
	t.Helper()
	keys, err := sign.Generate("Test", "test@example.org", started)
	if err != nil {
		t.Fatal(err)
	}
	c, err := sign.Local(context.Background(), keys, Handlers(store, ashlar.File{}, "v0"))
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
