package attest

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sign"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const mainDeb = "a_1-1+cut12u1_amd64.deb"

// TestPrepareGolden shows the statements about one .deb.
func TestPrepareGolden(t *testing.T) {
	b := newBuild(t)
	prepared, err := Prepare(t.Context(), b.e, b.store)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prepared {
		if p.Subject.Name != mainDeb {
			continue
		}
		var got bytes.Buffer
		if err := json.Indent(&got, p.Statement, "", "  "); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
		path := filepath.Join("testdata", strings.TrimSuffix(p.Name, bundleSuffix)+".json")
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	again, err := Prepare(t.Context(), b.e, b.store)
	if err != nil || !cmp.Equal(again, prepared) {
		t.Errorf("preparing twice differs: %v", err)
	}
}

// A hostileCase is something that a build, or who runs it, may try.
type hostileCase struct {
	name  string
	spoil func(t *testing.T, b *build)
	want  string
}

func otherContent(t *testing.T, b *build, d ashlar.Digest) {
	t.Helper()
	if err := os.WriteFile(b.path(d), []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// mainFile is the record of the main .deb.
func mainFile(b *build) *ashlar.File { return &b.e.Result.Files[3] }

// afterTheFact changes files once the build is over.
var afterTheFact = []hostileCase{
	{"a .deb changed after the build", func(t *testing.T, b *build) { otherContent(t, b, mainFile(b).Digest) }, "was changed after"},
	{"a log changed after the build", func(t *testing.T, b *build) { otherContent(t, b, b.e.Result.Log.Digest) }, "was changed after"},
	{"another size", func(_ *testing.T, b *build) { mainFile(b).Size++ }, "was changed after"},
	{"another digest", func(_ *testing.T, b *build) { mainFile(b).Digest = ashlar.DigestOf([]byte("evil")) }, "cannot be read"},
	{"no digest", func(_ *testing.T, b *build) { mainFile(b).Digest = "sha256:../../etc/passwd" }, "is not a digest"},
	{"a source changed", func(t *testing.T, b *build) {
		m := b.e.Lock.Inputs.Builds[0].Sources[0]
		otherContent(t, b, m.Digest)
	}, "was changed after"},
	{"a build-root package gone", func(_ *testing.T, b *build) {
		os.Remove(b.path(b.e.Lock.Inputs.Builds[0].Root.Layers[0].Packages[0].Digest))
	}, "cannot be read"},
}

// names lead out of the folder, or take the place of something else.
var names = []hostileCase{
	{"an output outside of the folder", func(_ *testing.T, b *build) { mainFile(b).Name = "../" + mainFile(b).Name }, "plain file name"},
	{"an absolute output", func(_ *testing.T, b *build) { mainFile(b).Name = "/etc/passwd" }, "plain file name"},
	{"a log outside of the folder", func(_ *testing.T, b *build) { b.e.Result.Log.Name = "../log" }, "plain file name"},
	{"a name with a line feed", func(_ *testing.T, b *build) { mainFile(b).Name = "a\nb.deb" }, "plain file name"},
	{"an output twice", func(_ *testing.T, b *build) { b.e.Result.Files = append(b.e.Result.Files, *mainFile(b)) }, "twice"},
	{"a forged provenance", func(t *testing.T, b *build) {
		b.e.Result.Files = append(b.e.Result.Files, b.put(t, BundleName(mainDeb, "provenance"), []byte("{}")))
	}, "statement of its own"},
	{"a link to a key", func(t *testing.T, b *build) {
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
	{"a pipe", func(t *testing.T, b *build) {
		os.Remove(b.path(mainFile(b).Digest))
		if err := exec.Command("mkfifo", b.path(mainFile(b).Digest)).Run(); err != nil {
			t.Fatal(err)
		}
	}, "cannot be read"},
	{"a .deb under another's name", func(t *testing.T, b *build) { *mainFile(b) = b.put(t, mainDeb, debFile(t, "openssl", "9")) }, "holds openssl"},
	{"a .deb that is none", func(t *testing.T, b *build) { *mainFile(b) = b.put(t, mainDeb, []byte("evil")) }, mainDeb},
}

// contradictions are evidence of which one part belies another.
var contradictions = []hostileCase{
	{"another lock", func(_ *testing.T, b *build) { b.e.Lock.Inputs.Notes = []string{"x"} }, "another lock"},
	{"another definition", func(_ *testing.T, b *build) { b.e.Definition.Content = []byte("image: x\n") }, "is not the one"},
	{"another path", func(_ *testing.T, b *build) { b.e.Definition.Path = "package/x.yaml" }, "the evidence of"},
	{"another target", func(_ *testing.T, b *build) { b.e.Result.Target.Arch = "arm64" }, "the lock for"},
	{"no .deb", func(_ *testing.T, b *build) { b.e.Result.Files = b.e.Result.Files[1:3] }, "no .deb"},
	{"no lock", func(_ *testing.T, b *build) { b.e.Lock = nil }, "without a lock"},
	{"a short commit", func(_ *testing.T, b *build) { b.e.Definition.Catalog.Commit = "0123" }, "full commit"},
}

// TestSignerRefuses is what a hostile build can try at this layer.
func TestSignerRefuses(t *testing.T) {
	for _, c := range slices.Concat(afterTheFact, names, contradictions) {
		t.Run(c.name, func(t *testing.T) {
			b := newBuild(t)
			signer, _ := localSigner(t, b.store)
			c.spoil(t, b)
			bundles, err := Sign(t.Context(), signer, b.e)
			if bundles != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bundles, %v; want %q", len(bundles), err, c.want)
			}
		})
	}
}

func TestSignNames(t *testing.T) {
	b := newBuild(t)
	signer, _ := localSigner(t, b.store)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, kind := range []string{"provenance", "spdx", "test", "vsa"} {
		want = append(want, BundleName(mainDeb, kind), BundleName("a-dbgsym_1-1+cut12u1_amd64.deb", kind))
	}
	want = append(want, "a_1-1+cut12u1.dsc.provenance.sigstore.json", "a_1-1+cut12u1.dsc.test.sigstore.json")
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(bundles))); diff != "" {
		t.Error(diff)
	}
}

// TestLevel: the caller's word about the level does not count.
func TestLevel(t *testing.T) {
	b := newBuild(t)
	signer, trust := localSigner(t, b.store)
	b.e.Builder.ID = BuilderL3
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := b.verify(t, bundles, trust, DefaultPolicy()); err != nil || r.Level != 2 {
		t.Errorf("level %d, %v: a signer of the same user must claim level 2", r.Level, err)
	}
}

func (b *build) verify(t testing.TB, bundles map[string][]byte, trust Trust, policy Policy) (*Report, error) {
	t.Helper()
	f, err := os.Open(b.path(b.e.Result.Files[3].Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var own [][]byte
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		if strings.HasPrefix(name, mainDeb) {
			own = append(own, bundles[name])
		}
	}
	return Verify(t.Context(), VerifyRequest{Name: mainDeb, File: f, Bundles: own, Trust: trust, Policy: policy})
}

func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *build)
		policy Policy
		kind   fault.Kind
		want   string
	}{
		{"good", func(*build) {}, DefaultPolicy(), "", ""},
		{"level 3 wanted", func(*build) {}, Policy{MinLevel: 3}, fault.Policy, "level 2"},
		{"unauthenticated source", func(b *build) {
			b.e.Lock.Inputs.Builds[0].Sources[0].Anchor = ashlar.Anchor{Kind: ashlar.Unauthenticated}
		}, DefaultPolicy(), fault.Policy, "unauthenticated source: a_1-1.dsc"},
		{"unauthenticated source allowed", func(b *build) {
			b.e.Lock.Inputs.Builds[0].Sources[0].Anchor = ashlar.Anchor{Kind: ashlar.Unauthenticated}
		}, Policy{AllowUnauthenticated: true}, "", ""},
		{"unknown kind of anchor", func(b *build) {
			b.e.Lock.Inputs.Builds[0].Sources[0].Anchor = ashlar.Anchor{Kind: "trust me"}
		}, DefaultPolicy(), fault.Policy, "unauthenticated source"},
		{"network", func(b *build) { b.e.Result.Steps[0].Network = true }, DefaultPolicy(), fault.Policy, "with network: a deb: dpkg/build"},
		{"network allowed", func(b *build) { b.e.Result.Steps[0].Network = true }, Policy{AllowNetwork: true}, "", ""},
		{"gate failed", func(b *build) {
			b.e.Gate.Add(ashlar.Check{Name: "upgrade", Subject: "a", Outcome: ashlar.CheckFailed, Detail: "conflict"})
		}, DefaultPolicy(), fault.Policy, "gate: upgrade a: conflict"},
		{"gate did not run", func(b *build) { b.e.Gate = nil }, DefaultPolicy(), fault.Policy, "the gate did not run"},
		{"gate did not run, allowed", func(b *build) { b.e.Gate = nil }, Policy{AllowUngated: true}, "", ""},
		{"tests failed", func(b *build) { b.e.Result.Tests.Failed = 1 }, DefaultPolicy(), fault.Policy, "1 failed"},
		{"tests skipped", func(b *build) {
			b.e.Result.Tests = ashlar.TestResult{Outcome: ashlar.TestsSkipped, Reason: "nocheck"}
		}, DefaultPolicy(), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuild(t)
			c.change(b)
			b.relock(t)
			signer, trust := localSigner(t, b.store)
			bundles, err := Sign(t.Context(), signer, b.e)
			if err != nil {
				t.Fatal(err)
			}
			r, err := b.verify(t, bundles, trust, c.policy)
			if c.kind == "" && (err != nil || !r.Verified) {
				t.Fatalf("%v", err)
			}
			if c.kind != "" && (!fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) || r.Verified) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			b.e.Builder.ID = r.Builder
			publish := c.policy.CheckPublish(b.e)
			if (publish == nil) != (err == nil) || publish != nil && !fault.Is(publish, fault.Policy) {
				t.Errorf("CheckPublish says %v, Verify %v", publish, err)
			}
			if _, ok := bundles[BundleName(mainDeb, kindVSA)]; ok != (DefaultPolicy().CheckPublish(b.e) == nil) {
				t.Errorf("there is a summary: %v", ok)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	b := newBuild(t)
	signer, trust := localSigner(t, b.store)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	other, otherTrust := localSigner(t, b.store)
	foreign, err := Sign(t.Context(), other, b.e)
	if err != nil {
		t.Fatal(err)
	}
	only := func(kinds ...string) map[string][]byte {
		m := map[string][]byte{}
		for _, k := range kinds {
			m[BundleName(mainDeb, k)] = bundles[BundleName(mainDeb, k)]
		}
		return m
	}
	level3 := Trust{Keys: []TrustedKey{{Public: trust.Keys[0].Public, Builders: []string{BuilderL3}}}}
	edited := only("provenance")
	edited[BundleName(mainDeb, "provenance")] = bytes.Replace(edited[BundleName(mainDeb, "provenance")], []byte(`"payload":"e`), []byte(`"payload":"f`), 1)
	misplaced := map[string][]byte{mainDeb + ".x": bundles["a-dbgsym_1-1+cut12u1_amd64.deb.provenance.sigstore.json"]}
	double := only("provenance")
	double[mainDeb+".again"] = double[BundleName(mainDeb, "provenance")]
	for _, c := range []struct {
		name    string
		bundles map[string][]byte
		trust   Trust
		want    string
	}{
		{"no bundle", nil, trust, "signed provenance"},
		{"only tests", only("test"), trust, "signed provenance"},
		{"nobody trusted", bundles, Trust{}, "not trusted"},
		{"another key trusted", bundles, otherTrust, "not trusted"},
		{"another's bundles", foreign, trust, "not trusted"},
		{"edited", edited, trust, "signature is not by"},
		{"about another file", misplaced, trust, "it is about a-dbgsym"},
		{"two of a kind", double, trust, "another statement"},
		{"trash", map[string][]byte{mainDeb + ".x": []byte("{")}, trust, "bundle"},
		{"key of another level", bundles, level3, "may sign for the builder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := b.verify(t, c.bundles, c.trust, DefaultPolicy())
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.want) || r.Verified {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestVerifyTampered(t *testing.T) {
	b := newBuild(t)
	signer, trust := localSigner(t, b.store)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	only := map[string][]byte{mainDeb: bundles[BundleName(mainDeb, "provenance")]}
	r, err := Verify(t.Context(), VerifyRequest{
		Name: mainDeb, File: strings.NewReader("tampered"), Trust: trust, Policy: DefaultPolicy(),
		Bundles: [][]byte{only[mainDeb]},
	})
	if !fault.Is(err, fault.Denied) || r.Verified || !strings.Contains(err.Error(), "this file has SHA-256") {
		t.Errorf("a tampered file: %v", err)
	}
	if _, err := b.verify(t, only, trust, DefaultPolicy()); !fault.Is(err, fault.Policy) {
		t.Errorf("without test results: %v", err)
	}
	if _, err := b.verify(t, only, trust, Policy{AllowUngated: true}); err != nil {
		t.Errorf("without test results, allowed: %v", err)
	}
}

// signed returns a trusted statement that the test shaped.
func signed(t *testing.T, keys *sign.Keys, b *build, change func(p *intoto.Provenance)) []byte {
	t.Helper()
	p, err := b.e.provenance()
	if err != nil {
		t.Fatal(err)
	}
	change(p)
	s, err := intoto.NewStatement(intoto.PredicateProvenance, p, b.e.Result.Files[3])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := sign.Bundle(t.Context(), keys.Attestation, raw)
	if err != nil {
		t.Fatal(err)
	}
	out, err := bundle.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestVerifyForm: what a trusted key signed is still held to the build type.
func TestVerifyForm(t *testing.T) {
	b := newBuild(t)
	keys, err := sign.Generate("Test", "", started)
	if err != nil {
		t.Fatal(err)
	}
	public, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := TrustKey(public.Attestation)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(p *intoto.Provenance)
		want   string
	}{
		{"nothing", func(*intoto.Provenance) {}, ""},
		{"unknown external parameter", func(p *intoto.Provenance) {
			d := &p.BuildDefinition
			d.ExternalParameters = append([]byte(`{"shell":"evil",`), d.ExternalParameters[1:]...)
		}, "unknown field"},
		{"other build type", func(p *intoto.Provenance) { p.BuildDefinition.BuildType = "https://example.org/x" }, "build type"},
		{"other builder", func(p *intoto.Provenance) { p.RunDetails.Builder.ID = "https://example.org/x" }, "may sign for"},
		{"dependency left out", func(p *intoto.Provenance) {
			p.BuildDefinition.ResolvedDependencies = p.BuildDefinition.ResolvedDependencies[:5]
		}, "leave out"},
		{"dependency without digest", func(p *intoto.Provenance) { p.BuildDefinition.ResolvedDependencies[3].Digest = nil }, "no digest"},
		{"definition changed", func(p *intoto.Provenance) {
			d := &p.BuildDefinition
			d.ExternalParameters = bytes.Replace(d.ExternalParameters, []byte("pkg-a"), []byte("pkg-b"), 1)
		}, "does not have the digest"},
		{"target changed", func(p *intoto.Provenance) {
			d := &p.BuildDefinition
			d.ExternalParameters = bytes.Replace(d.ExternalParameters, []byte("amd64"), []byte("arm64"), 1)
		}, "another target"},
		{"network hidden", func(p *intoto.Provenance) {
			d := &p.BuildDefinition
			d.InternalParameters = bytes.Replace(d.InternalParameters, []byte(`"took":`), []byte(`"network":true,"took":`), 1)
		}, "reached the network"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bundle := signed(t, keys, b, c.change)
			r, err := b.verify(t, map[string][]byte{mainDeb: bundle}, trust, Policy{AllowUngated: true})
			if c.want == "" {
				if err != nil || r.Level != 3 {
					t.Fatalf("level %d, %v", r.Level, err)
				}
				return
			}
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// TestReadProvenance: what is needed to build again comes back whole.
func TestReadProvenance(t *testing.T) {
	b := newBuild(t)
	p, err := b.e.provenance()
	if err != nil {
		t.Fatal(err)
	}
	s, err := intoto.NewStatement(intoto.PredicateProvenance, p, b.e.Result.Files[3])
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadProvenance(s)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b.e.Lock, r.Internal.Lock); diff != "" {
		t.Error(diff)
	}
	if r.External.Definition.Content != string(b.e.Definition.Content) || r.Internal.Plan != b.e.Result.Key {
		t.Errorf("%+v", r.External)
	}
}

func TestPURL(t *testing.T) {
	got := purl("debian", "libstdc++6", "1:2.0~rc1-1+b1", "amd64", "debian-12")
	if want := "pkg:deb/debian/libstdc%2B%2B6@1:2.0~rc1-1%2Bb1?arch=amd64&distro=debian-12"; got != want {
		t.Errorf("got %s", got)
	}
}

func FuzzReadProvenance(f *testing.F) {
	b := newBuild(f)
	p, err := b.e.provenance()
	if err != nil {
		f.Fatal(err)
	}
	s, err := intoto.NewStatement(intoto.PredicateProvenance, p, b.e.Result.Files[3])
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(s.Predicate))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := &intoto.Statement{Type: intoto.StatementType, PredicateType: intoto.PredicateProvenance, Predicate: raw}
		r, err := ReadProvenance(s)
		if err != nil {
			return
		}
		_ = r.consistent()
		_ = r.binaries()
		_ = DefaultPolicy().judge(judged{lock: r.Internal.Lock, network: r.Internal.Network})
	})
}
