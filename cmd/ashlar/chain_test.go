package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/attest"
)

// TestChain takes one source package the whole way: patched, built, tested,
// gated, attested, published, verified, tampered with and rebuilt.
func TestChain(t *testing.T) {
	h := warm(t)
	patch, err := os.ReadFile("testdata/fix-greeting.patch")
	if err != nil {
		t.Fatal(err)
	}
	def := h.define(t, definition{
		name: "chain", include: "vars: {GREETING: politely}\n", local: map[string]string{"fix.patch": string(patch)},
		pipeline: unpackHello + `- uses: patch@v1
  work-dir: /build/reproducible-path/hello
  with: {patches: [/local/fix.patch]}
- uses: dpkg/bump@v1
  work-dir: /build/reproducible-path/hello
  with: {version: 1.0+cut12u1, changelog: ["Greet more ${GREETING}."]}
` + buildStep,
	})
	built := h.run(t, 0, "build", def)
	for _, want := range []string{"built in", "tests passed", "gate passed", "SLSA Build L3", "hello-ashlar_1.0+cut12u1_amd64.deb", "hello-ashlar-dbgsym_", "hello-ashlar-doc_", ".buildinfo", ".changes", ".dsc"} {
		if !strings.Contains(built.stdout, want) {
			t.Errorf("build does not say %q:\n%s", want, built.stdout)
		}
	}
	if again := h.run(t, 0, "build", def); !strings.Contains(again.stdout, "unchanged") {
		t.Errorf("a second build was not known already:\n%s", again.stdout)
	}
	deb := h.publishChain(t, def)
	t.Run("verify", func(t *testing.T) { h.verifyChain(t, deb) })
	t.Run("tamper", func(t *testing.T) { h.tamperChain(t, deb) })
	t.Run("rebuild", func(t *testing.T) {
		if err := os.RemoveAll(filepath.Dir(filepath.Dir(def))); err != nil { // the definition and all beside it
			t.Fatal(err)
		}
		o := h.run(t, 0, "rebuild", "--allow-unauthenticated", "--vary-hostname", "elsewhere", "--vary-uid", "4242",
			"--vary-umask", "077", "--vary-locale", "C", "--vary-parallel", "1", deb)
		if !strings.Contains(o.stdout, "IDENTICAL") {
			t.Errorf("rebuild says:\n%s", o.stdout)
		}
	})
}

// publishChain publishes what was built and returns the path of its .deb in the
// repository.
func (h *house) publishChain(t *testing.T, def string) string {
	t.Helper()
	refused := h.run(t, 7, "publish", def).complaint(t)
	if !strings.Contains(refused, "unauthenticated source: hello-ashlar_1.0.dsc") {
		t.Errorf("publishing a source that nobody vouches for: %s", refused)
	}
	if _, err := os.Stat(filepath.Join(h.state, "repo/deb")); !errors.Is(err, fs.ErrNotExist) && os.Getenv(keepState) == "" {
		t.Errorf("a refused publication left something: %v", err)
	}
	h.run(t, 0, "publish", "--allow-unauthenticated", def)
	var deb string
	seen := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(h.state, "repo"), func(path string, d fs.DirEntry, err error) error {
		seen[d.Name()] = true
		if d.Name() == "hello-ashlar_1.0+cut12u1_amd64.deb" {
			deb = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"InRelease", "Release.gpg", "Packages.xz", "Sources.xz", "by-hash", "repository.asc", "attestation.pub", "hello-ashlar_1.0+cut12u1_amd64.deb.provenance.sigstore.json"} {
		if !seen[name] {
			t.Errorf("the repository has no %s", name)
		}
	}
	if deb == "" {
		t.Fatal("the package is not in the repository")
	}
	return deb
}

func (h *house) verifyChain(t *testing.T, deb string) {
	if o := h.run(t, 7, "verify", deb); !strings.Contains(o.stdout, "REFUSED") || !strings.Contains(o.stdout, "unauthenticated source") {
		t.Errorf("verify under the usual policy:\n%s", o.stdout)
	}
	if o := h.run(t, 0, "verify", "--allow-unauthenticated", deb); !strings.Contains(o.stdout, "VERIFIED") {
		t.Errorf("verify:\n%s", o.stdout)
	}
	var reports []attest.Report
	o := h.run(t, 0, "verify", "--allow-unauthenticated", "--json", deb)
	if err := json.Unmarshal([]byte(o.stdout), &reports); err != nil || len(reports) != 1 || !reports[0].Verified || reports[0].Level != 3 {
		t.Errorf("verify --json: %v\n%s", err, o.stdout)
	}
}

// tamperChain changes one byte of a copy of the package, and then of a bundle.
func (h *house) tamperChain(t *testing.T, deb string) {
	dir := t.TempDir()
	copied := filepath.Join(dir, filepath.Base(deb))
	beside, err := filepath.Glob(deb + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range beside {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file == deb {
			b[len(b)/2] ^= 1
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o := h.run(t, 5, "verify", "--allow-unauthenticated", copied)
	if !strings.Contains(o.stdout, "REFUSED") {
		t.Errorf("verify of a tampered file:\n%s", o.stdout)
	}
	o.complaint(t)
	h.run(t, 5, "rebuild", "--allow-unauthenticated", copied)
}
