package attest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A hostileCase is something that a build, or who runs it, may try.
type hostileCase struct {
	name  string
	spoil func(t *testing.T, b *testBuild)
	want  string
}

func otherContent(t *testing.T, b *testBuild, d ashlar.Digest) {
	t.Helper()
	if err := os.WriteFile(b.path(d), []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mainFile is the record of the main .deb.
func mainFile(b *testBuild) *ashlar.File { return &b.e.Result.Files[3] }

// afterTheFact changes files once the build is over.
var afterTheFact = []hostileCase{
	{"a .deb changed after the build", func(t *testing.T, b *testBuild) { otherContent(t, b, mainFile(b).Digest) }, "was changed after"},
	{"a log changed after the build", func(t *testing.T, b *testBuild) { otherContent(t, b, b.e.Result.Log.Digest) }, "was changed after"},
	{"another size", func(_ *testing.T, b *testBuild) { mainFile(b).Size++ }, "was changed after"},
	{"another digest", func(_ *testing.T, b *testBuild) { mainFile(b).Digest = ashlar.DigestOf([]byte("evil")) }, "cannot be read"},
	{"no digest", func(_ *testing.T, b *testBuild) { mainFile(b).Digest = "sha256:../../etc/passwd" }, "is not a digest"},
	{"a source changed", func(t *testing.T, b *testBuild) {
		m := b.e.Lock.Inputs.Builds[0].Sources[0]
		otherContent(t, b, m.Digest)
	}, "was changed after"},
	{"a second digest for an address", func(t *testing.T, b *testBuild) {
		second := b.e.Lock.Inputs.Builds[0].Sources[0]
		second.Digest, second.Path = ashlar.DigestOf([]byte("never seen")), "/x"
		b.e.Lock.Inputs.Builds[0].Sources = append(b.e.Lock.Inputs.Builds[0].Sources, second)
		b.relock(t)
	}, "cannot be read"},
	{"an index changed", func(t *testing.T, b *testBuild) { otherContent(t, b, b.e.Lock.Inputs.Indexes[0].Digest) }, "was changed after"},
	{"an index of the gate changed", func(t *testing.T, b *testBuild) {
		x := ashlar.Index{URI: "mirror://debian/dists/bookworm/InRelease", Digest: b.put(t, "", []byte("newer")).Digest}
		b.e.Gate.Indexes = []ashlar.Index{x}
		otherContent(t, b, x.Digest)
	}, "was changed after"},
	{"a fetched tree that is nowhere", func(t *testing.T, b *testBuild) {
		b.e.Lock.Fetched = []ashlar.Fetched{{Name: "modules", Key: ashlar.DigestOf(nil), Digest: ashlar.DigestOf([]byte("tree"))}}
		b.relock(t)
	}, "cannot be read"},
	{"a build-root package gone", func(_ *testing.T, b *testBuild) {
		os.Remove(b.path(b.e.Lock.Inputs.Builds[0].Root.Layers[0].Packages[0].Digest))
	}, "cannot be read"},
}

// names lead out of the folder, or take the place of something else.
var names = []hostileCase{
	{"an output outside of the folder", func(_ *testing.T, b *testBuild) { mainFile(b).Name = "../" + mainFile(b).Name }, "plain file name"},
	{"an absolute output", func(_ *testing.T, b *testBuild) { mainFile(b).Name = "/etc/passwd" }, "plain file name"},
	{"a log outside of the folder", func(_ *testing.T, b *testBuild) { b.e.Result.Log.Name = "../log" }, "plain file name"},
	{"a name with a line feed", func(_ *testing.T, b *testBuild) { mainFile(b).Name = "a\nb.deb" }, "plain file name"},
	{"an output twice", func(_ *testing.T, b *testBuild) { b.e.Result.Files = append(b.e.Result.Files, *mainFile(b)) }, "twice"},
	{"a forged provenance", func(t *testing.T, b *testBuild) {
		b.e.Result.Files = append(b.e.Result.Files, b.put(t, BundleName(mainDeb, "provenance"), []byte("{}")))
	}, "statement of its own"},
	{"a link to a key", func(t *testing.T, b *testBuild) {
		secret := filepath.Join(t.TempDir(), "key")
		content, err := os.ReadFile(b.path(mainFile(b).Digest))
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(secret, content, 0o600)
		os.Remove(b.path(mainFile(b).Digest))
		if err := os.Symlink(secret, b.path(mainFile(b).Digest)); err != nil {
			t.Fatal(err)
		}
	}, "cannot be read"},
	{"a pipe", func(t *testing.T, b *testBuild) {
		os.Remove(b.path(mainFile(b).Digest))
		if err := exec.Command("mkfifo", b.path(mainFile(b).Digest)).Run(); err != nil {
			t.Fatal(err)
		}
	}, "cannot be read"},
	{"a .deb under another's name", func(t *testing.T, b *testBuild) { *mainFile(b) = b.put(t, mainDeb, debFile(t, "openssl", "9")) }, "holds openssl"},
	{"a .udeb under another's name", func(t *testing.T, b *testBuild) {
		b.e.Result.Files[4] = b.put(t, mainUdeb, debFile(t, "openssl", "9"))
	}, "holds openssl_9_amd64.udeb"},
	{"a .udeb that is none", func(t *testing.T, b *testBuild) { b.e.Result.Files[4] = b.put(t, mainUdeb, []byte("evil")) }, mainUdeb},
	{"a .deb that is none", func(t *testing.T, b *testBuild) { *mainFile(b) = b.put(t, mainDeb, []byte("evil")) }, mainDeb},
}

// contradictions are evidence of which one part belies another.
var contradictions = []hostileCase{
	{"another lock", func(_ *testing.T, b *testBuild) { b.e.Lock.Inputs.Notes = []string{"x"} }, "another lock"},
	{"another definition", func(_ *testing.T, b *testBuild) { b.e.Definition.Content = []byte("image: x\n") }, "is not the one"},
	{"another path", func(_ *testing.T, b *testBuild) { b.e.Definition.Path = "package/x.yaml" }, "the evidence of"},
	{"another target", func(_ *testing.T, b *testBuild) { b.e.Result.Target.Arch = "arm64" }, "the lock for"},
	{"no .deb", func(_ *testing.T, b *testBuild) { b.e.Result.Files = b.e.Result.Files[1:3] }, "no .deb"},
	{"no lock", func(_ *testing.T, b *testBuild) { b.e.Lock = nil }, "without a lock"},
	{"another plan", func(_ *testing.T, b *testBuild) { b.e.Result.Key = ashlar.DigestOf([]byte("plan")) }, "lead to"},
	{"a hidden network", func(t *testing.T, b *testBuild) {
		b.e.Definition.Content = []byte(withNetwork)
		b.relock(t)
		b.e.Result.Steps[1].Network = false
	}, `the step "dpkg/build" of the build "a deb"`},
	{"a step left out", func(_ *testing.T, b *testBuild) { b.e.Result.Steps = b.e.Result.Steps[:1] }, "as it was planned"},
	{"a step too many", func(_ *testing.T, b *testBuild) {
		b.e.Result.Steps = append(b.e.Result.Steps, ashlar.StepResult{Name: "scan", Uses: "runs"})
	}, `"scan", which was not planned`},
	{"another step", func(_ *testing.T, b *testBuild) { b.e.Result.Steps[1].Digest = ashlar.DigestOf(nil) }, "as it was planned"},
	{"another variable", func(t *testing.T, b *testBuild) {
		b.e.Definition.Content = []byte(oneStep + "vars:\n  COLOUR: red\n")
		b.e.Lock.Inputs.Vars["COLOUR"] = "red"
		b.relock(t)
		b.e.Lock.Inputs.Vars["COLOUR"] = "blue"
		b.e.Result.Lock, _ = b.e.Lock.Digest()
	}, "variable COLOUR"},
	{"another lock format", func(t *testing.T, b *testBuild) { b.e.Lock.Format++; b.relock(t) }, "format 2"},
	{"an index without a digest", func(t *testing.T, b *testBuild) { b.e.Lock.Inputs.Indexes[0].Digest = "sha256:0"; b.relock(t) }, "is not a digest"},
	{"a password in an address", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.URI = "https://u:secret@example.org/r" }, "address of the catalog"},
	{"a user in an address", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.URI = "https://ghp_secret@example.org/r" }, "address of the catalog"},
	{"a query in an address", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.URI = "https://example.org/r?t=secret" }, "address of the catalog"},
	{"a fragment of an address", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.URI = "https://example.org/r#secret" }, "address of the catalog"},
	{"an address with a malformed password", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.URI = "https://u:secret%zz@example.org/r" }, "address of the catalog"},
	{"a path for an address", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.URI = "git@example.org:secret" }, "address of the catalog"},
	{"a short commit", func(_ *testing.T, b *testBuild) { b.e.Definition.Catalog.Commit = "0123" }, "full commit"},
}

// TestSignerRefuses is what a hostile build can try at this layer.
func TestSignerRefuses(t *testing.T) {
	for _, c := range slices.Concat(afterTheFact, names, contradictions) {
		t.Run(c.name, func(t *testing.T) {
			b := newBuild(t)
			signer, _ := localSigner(t, b.store)
			c.spoil(t, b)
			bundles, err := Sign(t.Context(), signer, b.e)
			if bundles != nil || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %d bundles, %v; want %q", len(bundles), err, c.want)
			}
		})
	}
}

// TestUnreadIndex: a lock from elsewhere names an index that is not in the store,
// and the statements say so.
func TestUnreadIndex(t *testing.T) {
	b := newBuild(t)
	b.e.Gate.Indexes = []ashlar.Index{{URI: "mirror://debian/dists/bookworm/InRelease", Digest: ashlar.DigestOf([]byte("gone"))}}
	count := func() map[string]int {
		prepared, err := Prepare(t.Context(), b.e, b.store)
		if err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, p := range prepared {
			if p.Subject.Name == mainDeb {
				n[p.Name] = strings.Count(string(p.Statement), trustUnread)
			}
		}
		return n
	}
	provenance, test := BundleName(mainDeb, kindProvenance), BundleName(mainDeb, kindTest)
	if n := count(); n[provenance] != 0 || n[test] != 1 {
		t.Errorf("one index of the gate is gone: %v", n)
	}
	os.Remove(b.path(b.e.Lock.Inputs.Indexes[0].Digest))
	if n := count(); n[provenance] != 1 || n[test] != 1 {
		t.Errorf("the lock's is gone too: %v", n)
	}
}

// TestIncludes: what a definition includes is read by its digest and planned with
// it, it is named among the materials, and a lock that leaves it out, or names
// another file, is refused.
func TestIncludes(t *testing.T) {
	const common = "package/deb/common.yaml"
	b := newBuild(t)
	b.e.Definition.Content = []byte("image: example/pkg-a\nincludes:\n  - " + common + "\n")
	included := []byte(strings.TrimPrefix(oneStep, "image: example/pkg-a\n"))
	pin := func(uri string, content []byte) ashlar.Material {
		f := b.put(t, "common.yaml", content)
		return ashlar.Material{Name: f.Name, URI: uri, Digest: f.Digest, Size: f.Size}
	}
	good := pin("catalog:"+common, included)
	b.e.Lock.Inputs.Includes = []ashlar.Material{good}
	b.relock(t)
	prepared, err := Prepare(t.Context(), b.e, b.store)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(prepared[0].Statement), `"catalog:`+common+`"`) || !strings.Contains(string(prepared[0].Statement), rolePart) {
		t.Errorf("the provenance does not name %s", common)
	}
	for name, includes := range map[string][]ashlar.Material{
		"another text":     {pin("catalog:"+common, append([]byte("vars: {X: y}\n"), included...))},
		"no text":          nil,
		"one more":         {good, pin("catalog:other.yaml", included)},
		"a file outside":   {pin("catalog:../"+common, included)},
		"no catalog's":     {pin("https://example.org/"+common, included)},
		"too large":        {pin("catalog:"+common, append(bytes.Repeat([]byte("# \n"), maxText/3), included...))},
		"not in the store": {{Name: "common.yaml", URI: "catalog:" + common, Digest: ashlar.DigestOf([]byte("gone"))}},
	} {
		b.e.Lock.Inputs.Includes = includes
		digest, err := b.e.Lock.Digest()
		if err != nil {
			t.Fatal(err)
		}
		b.e.Result.Lock = digest
		if _, err := Prepare(t.Context(), b.e, b.store); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	b.e.Lock.Inputs.Includes = []ashlar.Material{good}
	b.relock(t)
	if err := os.WriteFile(b.path(good.Digest), append(included, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), b.e, b.store); !fault.Is(err, fault.Denied) {
		t.Errorf("an altered text: %v", err)
	}
}

// TestBuildRenamed: the name of a build is no part of the key, so an older result
// may have another; the statement has that of the definition.
func TestBuildRenamed(t *testing.T) {
	b := newBuild(t)
	b.e.Result.Steps[1].Build = "old name"
	if err := b.e.replan(t.Context(), b.store); err != nil || b.e.Result.Steps[1].Build != "a deb" {
		t.Errorf("%q, %v", b.e.Result.Steps[1].Build, err)
	}
}
