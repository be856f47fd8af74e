package main

import (
	"bytes"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/work"
)

// forgedChanges makes a .changes that lists a file, as a shell script.
const forgedChanges = `    sum=$(sha256sum "$f" | cut -d' ' -f1)
    printf 'Checksums-Sha256:\n %s 1 %s\n' "$sum" "$f" > forged_1.0_all.changes
    echo "TRIED to hand over $f"
`

// forgeries are pipelines that try to have something else attested than what
// they made, or to speak in the name of the signer.
var forgeries = []struct {
	name, pipeline string
	code           int
	says           string
}{
	{"statement among the outputs", pack(hello, helloDoc) + `- runs: |
    f=hello-ashlar.tar.provenance.sigstore.json
    echo '{"verificationMaterial":{}}' > $f
` + forgedChanges, 5, "tried to make a statement of its own"},
	{"name with a path", pack(hello, helloDoc) + `- runs: |
    f='..%2fetc.tar.xz'; echo x > "$f"
` + forgedChanges, 5, "output file"},
	{"package that links to the host", `- runs: |
    ln -s /etc/shadow hello-ashlar_1.0_all.deb
    ln -s ../../../../../../etc/shadow hello-ashlar-doc_1.0_all.deb
    echo TRIED to link
`, 1, "no .deb"},
	{"folder that links to the host", `- runs: |
    cd / && rm -rf /build/reproducible-path && ln -s /etc /build/reproducible-path
    echo TRIED to link a folder
`, 1, "something else than a folder"},
	{"package under another's name", pack(hello, helloDoc) + `- runs: |
    mv hello-ashlar_1.0_all.deb openssl_3.0.99-1_all.deb
    echo TRIED to rename
`, 5, "openssl_3.0.99-1_all.deb and holds hello-ashlar_1.0_all.deb"},
	{"no package at all", `- runs: |
    for p in hello-ashlar hello-ashlar-doc; do head -c 4096 /dev/urandom > ${p}_1.0_all.deb; done
    echo TRIED to hand over noise
`, 2, "hello-ashlar"},
}

// TestForgery lets steps forge outputs and statements.
func TestForgery(t *testing.T) {
	h := warm(t)
	shadow, err := os.ReadFile("/etc/shadow")
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range forgeries {
		t.Run(f.name, func(t *testing.T) {
			name := "forge-" + string(rune('a'+i))
			pipeline := strings.ReplaceAll(f.pipeline, "${p}_", "\"$p\"_") // ${…} is the catalog's own
			o := h.run(t, f.code, "build", "--fresh", h.define(t, definition{name: name, pipeline: pipeline}))
			if got := o.complaint(t); !strings.Contains(got, f.says) {
				t.Errorf("the error is: %s", got)
			}
			if log, err := os.ReadFile(h.kept("logs", name)); err == nil && !strings.Contains(f.pipeline, "pack") && !bytes.Contains(log, []byte("TRIED")) {
				t.Errorf("the step did not try:\n%s", log)
			}
			blob := filepath.Join(h.state, "blobs", "sha256", ashlar.DigestOf(shadow).Hex())
			if _, err := os.Lstat(blob); err == nil {
				t.Error("a file of the host came into the store")
			}
			h.tidy(t)
		})
	}
	h.works(t)
}

// TestForgedEvidence writes a provenance beside the package and lies in the
// .buildinfo: the build succeeds, and the signed statements know nothing of it.
func TestForgedEvidence(t *testing.T) {
	h := warm(t)
	def := h.define(t, definition{name: "liar", pipeline: pack(hello, helloDoc) + `- name: lie
  runs: |
    echo '{"predicate":{"builder":{"id":"https://example.org/forged"}}}' > hello-ashlar_1.0_all.deb.provenance.sigstore.json
    printf 'Source: hello-ashlar\nVersion: 1.0\nBuild-Origin: https://example.org/forged\nChecksums-Sha256:\n %064d 1 hello-ashlar_1.0_all.deb\n' 0 > hello-ashlar_1.0_all.buildinfo
    ls
`})
	var results []built
	o := h.run(t, 0, "build", "--fresh", "--json", def)
	if err := json.Unmarshal([]byte(o.stdout), &results); err != nil || len(results) != 1 {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	log, err := os.ReadFile(h.kept("logs", "liar"))
	if err != nil || !bytes.Contains(log, []byte("hello-ashlar_1.0_all.deb.provenance.sigstore.json")) {
		t.Errorf("the step did not try: %v\n%s", err, log)
	}
	dir := filepath.Join(h.state, "results", results[0].Key.Hex(), "bundles")
	bundle, err := os.Open(filepath.Join(dir, "hello-ashlar_1.0_all.deb.provenance.sigstore.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer bundle.Close()
	p, err := attest.OpenProvenance(bundle)
	if err != nil {
		t.Fatal(err)
	}
	if p.Builder != attest.BuilderL3 {
		t.Errorf("the builder is %s", p.Builder)
	}
	h.copyOut(t, results[0], dir)
}

// copyOut puts a package and its statements into a folder, as a user has them,
// and verifies it there.
func (h *house) copyOut(t *testing.T, b built, bundles string) {
	t.Helper()
	out := t.TempDir()
	if err := os.CopyFS(out, os.DirFS(bundles)); err != nil {
		t.Fatal(err)
	}
	for _, f := range b.Files {
		content, err := os.ReadFile(filepath.Join(h.state, "blobs", "sha256", f.Digest.Hex()))
		if err == nil {
			err = os.WriteFile(filepath.Join(out, f.Name), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	h.run(t, 0, "verify", "--allow-unauthenticated", filepath.Join(out, "hello-ashlar_1.0_all.deb"))
}

// inside opens the house's shop in this process.
func (h *house) inside(t *testing.T) *work.Shop {
	t.Helper()
	a := &app{out: io.Discard, err: io.Discard, now: time.Now}
	a.flags.state, a.flags.maxAge, a.flags.quiet = h.state, 6*time.Hour, true
	s, err := a.shop()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// overwrite replaces a file of the store, as somebody who can write there would,
// until the test ends.
func (h *house) overwrite(t *testing.T, d ashlar.Digest, content []byte) {
	t.Helper()
	path := filepath.Join(h.state, "blobs", "sha256", d.Hex())
	before, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, content, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0o644); err != nil {
			t.Error(err)
		}
	})
}

// TestChangedAfterBuild changes a package in the store between the gate and the
// signer.
func TestChangedAfterBuild(t *testing.T) {
	h := warm(t)
	a := &app{now: time.Now}
	ref := a.ref(h.define(t, definition{name: "changed", pipeline: pack(hello, helloDoc)}))
	s := h.inside(t)
	r, _, err := s.Build(t.Context(), ref, work.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	d := r.Result.Debs()[0].Digest // the same in every run
	changed := false
	s.Report = func(e work.Event) {
		if e.Stage == "attest" && e.State == work.Begun {
			h.overwrite(t, d, []byte("!<arch>\nsomething else"))
			changed = true
		}
	}
	_, _, err = s.Build(t.Context(), ref, work.BuildOptions{Fresh: true})
	if !changed {
		t.Fatal("the package was not changed: the build made another one this time")
	}
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "was changed after it was recorded") {
		t.Errorf("the signer says: %v", err)
	}
}

// TestChangedResult points a kept result to other bytes before it is published:
// once those of the package alone, once everything that names it as well, as
// somebody would who can write the state folder and has no key.
func TestChangedResult(t *testing.T) {
	h := warm(t)
	def := h.define(t, definition{name: "swapped", pipeline: buildHello})
	for _, consistent := range []bool{false, true} {
		var results []built
		o := h.run(t, 0, "build", "--json", def)
		if err := json.Unmarshal([]byte(o.stdout), &results); err != nil || len(results) != 1 {
			t.Fatalf("%v\n%s", err, o.stdout)
		}
		record := filepath.Join(h.state, "results", results[0].Key.Hex(), "result.json")
		t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(record)) })
		var res ashlar.Result
		b, err := os.ReadFile(record)
		if err == nil {
			err = json.Unmarshal(b, &res)
		}
		if err != nil {
			t.Fatal(err)
		}
		h.swapPackage(t, &res, consistent)
		if b, err = json.Marshal(&res); err == nil {
			err = os.WriteFile(record, b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		got := h.run(t, 5, "publish", "--allow-unauthenticated", def).complaint(t)
		if want := "not verified"; !strings.Contains(got, want) {
			t.Errorf("publish does not say %q:\n%s", want, got)
		}
		if err := os.RemoveAll(filepath.Dir(record)); err != nil {
			t.Fatal(err)
		}
	}
}

// swapPackage puts another package in the place of the first one of a result, and
// if it is to be consistent another .changes that names it.
func (h *house) swapPackage(t *testing.T, res *ashlar.Result, consistent bool) {
	t.Helper()
	s := h.inside(t)
	put := func(f *ashlar.File, b []byte) {
		stored, err := s.Store.Put(t.Context(), bytes.NewReader(b), "")
		if err != nil {
			t.Fatal(err)
		}
		f.Digest, f.Size = stored.Digest, stored.Size
	}
	file := func(suffix string) *ashlar.File {
		return &res.Files[slices.IndexFunc(res.Files, func(f ashlar.File) bool { return strings.HasSuffix(f.Name, suffix) })]
	}
	read := func(f *ashlar.File) []byte {
		b, err := os.ReadFile(filepath.Join(h.state, "blobs", "sha256", f.Digest.Hex()))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	deb, changes := file(".deb"), file(".changes")
	good := read(deb)
	evil := bytes.Clone(good)
	evil[len(evil)-1] ^= 1
	put(deb, evil)
	if !consistent {
		return
	}
	text := read(changes)
	for _, sum := range []func([]byte) string{
		func(b []byte) string { return fmt.Sprintf("%x", md5.Sum(b)) },
		func(b []byte) string { return fmt.Sprintf("%x", sha1.Sum(b)) },
		func(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) },
	} {
		if !bytes.Contains(text, []byte(sum(good))) {
			t.Fatalf("the .changes does not have %s", sum(good))
		}
		text = bytes.ReplaceAll(text, []byte(sum(good)), []byte(sum(evil)))
	}
	put(changes, text)
}
