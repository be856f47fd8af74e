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
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
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
	{"an index gone", func(_ *testing.T, b *testBuild) { os.Remove(b.path(b.e.Lock.Inputs.Indexes[0].Digest)) }, "cannot be read"},
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
	{"no package", func(_ *testing.T, b *testBuild) { b.e.Result.Files = b.e.Result.Files[1:3] }, "holds no package"},
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

// pinned are the sources of a build's lock.
func pinned(b *testBuild) []ashlar.Source { return b.e.Lock.Inputs.Builds[0].Sources }

// claims are locks that say more than what can be looked up. What they pin is in the
// store, and result and plan are of them.
var claims = []hostileCase{
	{"an anchor raised", func(t *testing.T, b *testBuild) { b.bare(t).Anchor = pinned(b)[0].Anchor }, "says that signed-index"},
	{"a checksum that the definition does not have", func(t *testing.T, b *testBuild) {
		b.bare(t).Anchor = ashlar.Anchor{Kind: ashlar.AnchoredByChecksum}
	}, "says that checksum vouches for bare.tar.gz; the signer finds unauthenticated"},
	{"an unknown kind of anchor", func(t *testing.T, b *testBuild) { b.bare(t).Anchor.Kind = "trust me" }, "trust me"},
	{"an anchor by somebody else", func(_ *testing.T, b *testBuild) { pinned(b)[0].Anchor.Signers = []string{"FFFF"} }, "says that signed-index"},
	{"another .dsc", func(t *testing.T, b *testBuild) {
		evil := b.put(t, "aa_1-1.tar.gz", []byte("evil"))
		own := b.put(t, "aa_1-1.dsc", dsc("1-1", "aa_1-1.tar.gz", []byte("evil")))
		pinned(b)[0].Digest, pinned(b)[0].Size = own.Digest, own.Size
		pinned(b)[1].Digest, pinned(b)[1].Size = evil.Digest, evil.Size
	}, "the signer finds unauthenticated"},
	{"another upstream archive", func(t *testing.T, b *testBuild) {
		evil := b.put(t, "aa_1-1.tar.gz", []byte("evil"))
		pinned(b)[1].Digest, pinned(b)[1].Size = evil.Digest, evil.Size
	}, "file 2 is"},
	{"another patch", func(t *testing.T, b *testBuild) {
		evil := b.put(t, "CVE-2026-1.patch", []byte("evil"))
		pinned(b)[2].Digest, pinned(b)[2].Size = evil.Digest, evil.Size
	}, "file 3 is"},
	{"a source in another place", func(_ *testing.T, b *testBuild) { pinned(b)[1].Path = "/usr/bin/dpkg" }, "/usr/bin/dpkg"},
	{"another source version", func(_ *testing.T, b *testBuild) { b.e.Lock.Inputs.Vars["source.version"] = "9-9" }, "variable source.version"},
	{"a root package that no index lists", func(t *testing.T, b *testBuild) {
		m := b.material(t, "evil", "mirror://debian/pool/main/e/evil/evil_1_amd64.deb")
		layer := &b.e.Lock.Inputs.Builds[0].Root.Layers[0]
		layer.Packages = append(layer.Packages, ashlar.RootPackage{Name: "evil", Version: "1", Arch: "amd64", URI: m.URI, Digest: m.Digest, Size: m.Size})
	}, "no signed index lists 1 of the lock's build-root packages: evil 1"},
	{"other bytes of a root package", func(t *testing.T, b *testBuild) {
		f := b.put(t, "dpkg", []byte("evil"))
		p := &b.e.Lock.Inputs.Builds[0].Root.Layers[0].Packages[0]
		p.Digest, p.Size = f.Digest, f.Size
	}, "build-root packages: dpkg 1:1+b1"},
	{"a script for dpkg", func(_ *testing.T, b *testBuild) {
		b.e.Lock.Inputs.Builds[0].Root.Layers[0].Order = []ashlar.Run{{Do: "touch /owned; unpack"}}
	}, "not what dpkg is called for"},
	{"an index of a stranger", func(t *testing.T, b *testBuild) {
		stranger := archivetest.Suite{Name: "bookworm", Date: started, Signer: archivetest.NewKey(t, "stranger", started)}
		b.e.Lock.Inputs.Indexes[0] = b.publish(t, stranger)
	}, "no signed index lists 2"},
	{"an index with another date", func(_ *testing.T, b *testBuild) { b.e.Lock.Inputs.Indexes[0].Date = "2030-01-01T00:00:00Z" }, "signatures or dates"},
	{"an index that says nothing", func(t *testing.T, b *testBuild) {
		b.e.Lock.Inputs.Indexes = append(b.e.Lock.Inputs.Indexes, ashlar.Index{URI: "https://example.org/InRelease", Digest: b.put(t, "", []byte("x")).Digest})
	}, "signatures or dates"},
	{"an index put in the place of another", func(t *testing.T, b *testBuild) {
		evil := archivetest.Suite{Name: "bookworm", Date: started, Signer: archivetest.NewKey(t, "stranger", started)}
		otherContent(t, b, b.e.Lock.Inputs.Indexes[0].Digest)
		os.WriteFile(b.path(b.e.Lock.Inputs.Indexes[0].Digest), evil.Files(t)["InRelease"], 0o644)
	}, "was changed after"},
	{"a fetched tree", func(t *testing.T, b *testBuild) {
		b.e.Lock.Fetched = []ashlar.Fetched{{Name: "modules", Key: ashlar.DigestOf(nil), Digest: b.put(t, "", []byte("tree")).Digest}}
	}, "fetched tree modules"},
}

// TestSignerChecksLocks: locks that claim too much are refused, whatever the builder
// made of them.
func TestSignerChecksLocks(t *testing.T) {
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			b := newBuild(t)
			signer, _ := localSigner(t, b)
			c.spoil(t, b)
			b.relock(t)
			bundles, err := Sign(t.Context(), signer, b.e)
			if bundles != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bundles, %v; want %q", len(bundles), err, c.want)
			}
		})
	}
}

// TestSignerBelievesTheBuilder: what the signer cannot look up, it takes from the lock,
// but only in the place where the definition has it.
func TestSignerBelievesTheBuilder(t *testing.T) {
	const commit = "0123456789012345678901234567890123456789"
	b := newBuild(t)
	b.e.Definition.Content = []byte(oneFile +
		"          - {url: https://example.org/listed.tar.gz, checksum: https://example.org/SHA256SUMS, path: /listed/}\n" +
		"          - {url: https://deb.example.org/debian/pool/x.tar.gz, path: /x.tar.gz}\n" +
		"          - {url: git+https://example.org/r.git, checksum: " + commit + ", path: /r}\n" +
		"      paths:\n        - {type: directory, path: /local, source: local}\n" + steps)
	add := func(m ashlar.Material, path string, a ashlar.Anchor) *ashlar.Source {
		in := &b.e.Lock.Inputs.Builds[0]
		in.Sources = append(in.Sources, ashlar.Source{Material: m, Path: path, Anchor: a})
		return &in.Sources[len(in.Sources)-1]
	}
	add(b.material(t, "listed.tar.gz", "https://example.org/listed.tar.gz"), "/listed/listed.tar.gz", ashlar.Anchor{Kind: ashlar.AnchoredByChecksum, By: "https://example.org/SHA256SUMS"})
	add(b.material(t, "x.tar.gz", "mirror://debian/pool/x.tar.gz"), "/x.tar.gz", ashlar.Anchor{Kind: ashlar.Unauthenticated})
	git := b.material(t, "r-0123.tar", "git+https://example.org/r.git#"+commit)
	add(git, "/r/", ashlar.Anchor{Kind: ashlar.AnchoredByCommit, By: git.URI}).Tree = true
	for _, name := range []string{"a/b", "a-b"} { // as a walk through the folder finds them
		add(b.material(t, name[strings.LastIndex(name, "/")+1:], "catalog:local/"+name), "/local/"+name, ashlar.Anchor{Kind: ashlar.AnchoredLocally})
	}
	b.relock(t)
	if _, err := Prepare(t.Context(), b.e, b.desk); err != nil {
		t.Error(err)
	}
	git.URI = "git+https://example.org/r.git#" + strings.Repeat("0", 40)
	pinned(b)[5].URI = git.URI
	b.relock(t)
	if _, err := Prepare(t.Context(), b.e, b.desk); err == nil || !strings.Contains(err.Error(), "names no tree") {
		t.Errorf("another commit: %v", err)
	}
}

// TestSignerRefuses is what a hostile build can try at this layer.
func TestSignerRefuses(t *testing.T) {
	for _, c := range slices.Concat(afterTheFact, names, contradictions) {
		t.Run(c.name, func(t *testing.T) {
			b := newBuild(t)
			signer, _ := localSigner(t, b)
			c.spoil(t, b)
			bundles, err := Sign(t.Context(), signer, b.e)
			if bundles != nil || err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %d bundles, %v; want %q", len(bundles), err, c.want)
			}
		})
	}
}

// TestUnreadIndex: the gate names an index that is not in the store, and the
// statements say so.
func TestUnreadIndex(t *testing.T) {
	b := newBuild(t)
	b.e.Gate.Indexes = []ashlar.Index{{URI: "mirror://debian/dists/bookworm/InRelease", Digest: ashlar.DigestOf([]byte("gone"))}}
	prepared, err := Prepare(t.Context(), b.e, b.desk)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepared {
		want := 0
		if strings.Contains(p.Name, "."+kindTest+".") {
			want = 1
		}
		if n := strings.Count(string(p.Statement), trustUnread); n != want {
			t.Errorf("%s says %d times that the signer did not read an index", p.Name, n)
		}
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
	prepared, err := Prepare(t.Context(), b.e, b.desk)
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
		if _, err := Prepare(t.Context(), b.e, b.desk); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	b.e.Lock.Inputs.Includes = []ashlar.Material{good}
	b.relock(t)
	if err := os.WriteFile(b.path(good.Digest), append(included, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(t.Context(), b.e, b.desk); !fault.Is(err, fault.Denied) {
		t.Errorf("an altered text: %v", err)
	}
}

// TestBuildRenamed: the name of a build is no part of the key, so an older result
// may have another; the statement has that of the definition.
func TestBuildRenamed(t *testing.T) {
	b := newBuild(t)
	b.e.Result.Steps[1].Build = "old name"
	if err := b.e.replan(t.Context(), b.desk); err != nil || b.e.Result.Steps[1].Build != "a deb" {
		t.Errorf("%q, %v", b.e.Result.Steps[1].Build, err)
	}
}
