package attest

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
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

// Files of the build that fixtures make.
const (
	mainDeb  = "a_1-1+cut12u1_amd64.deb"
	mainDsc  = "a_1-1+cut12u1.dsc"
	mainUdeb = "b-udeb_1-1+cut12u1_amd64.udeb"
)

// unplanned writes names for the digests that come from what internal/build
// plans, which is not what the golden files are about, and for those of the fixture's
// key and what it signed, which are others each time.
func unplanned(b *testBuild, prepared []Prepared) *strings.Replacer {
	old := []string{string(b.e.Result.Key), "sha256:PLAN"}
	for _, x := range b.e.Lock.Inputs.Indexes {
		old = append(old, x.Digest.Hex(), "INDEX", x.Signers[0], "SIGNER")
	}
	for i, s := range b.e.Result.Steps {
		old = append(old, string(s.Digest), fmt.Sprintf("sha256:STEP-%d", i))
	}
	for _, p := range prepared {
		old = append(old, ashlar.DigestOf(p.Statement).Hex(), "STATEMENT")
	}
	return strings.NewReplacer(old...)
}

// TestPrepareGolden shows the statements about one .deb.
func TestPrepareGolden(t *testing.T) {
	b := newBuild(t)
	prepared, err := Prepare(t.Context(), b.e, b.desk)
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
		text := unplanned(b, prepared).Replace(got.String())
		path := filepath.Join("testdata", strings.TrimSuffix(p.Name, bundleSuffix)+".json")
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), text); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	again, err := Prepare(t.Context(), b.e, b.desk)
	if err != nil || !cmp.Equal(again, prepared) {
		t.Errorf("preparing twice differs: %v", err)
	}
}

func TestSignNames(t *testing.T) {
	b := newBuild(t)
	signer, _ := localSigner(t, b)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, kind := range []string{"provenance", "spdx", "test", "vsa"} {
		want = append(want, BundleName(mainDeb, kind), BundleName("a-dbgsym_1-1+cut12u1_amd64.deb", kind), BundleName(mainUdeb, kind))
	}
	want = append(want, BundleName(mainDsc, "provenance"), BundleName(mainDsc, "test"))
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(bundles))); diff != "" {
		t.Error(diff)
	}
}

// TestLevel: the caller's word about the level does not count.
func TestLevel(t *testing.T) {
	b := newBuild(t)
	signer, trust := localSigner(t, b)
	b.e.Builder.ID = BuilderL3
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := b.verify(t, bundles, trust, DefaultPolicy()); err != nil || r.Level != 2 {
		t.Errorf("level %d, %v: a signer of the same user must claim level 2", r.Level, err)
	}
}

func (b *testBuild) verify(t testing.TB, bundles map[string][]byte, trust Trust, policy Policy) (*Report, error) {
	t.Helper()
	return b.verifyFile(t, mainDeb, bundles, trust, policy)
}

// verifyFile verifies an output with those of the bundles that are about it.
func (b *testBuild) verifyFile(t testing.TB, file string, bundles map[string][]byte, trust Trust, policy Policy) (*Report, error) {
	t.Helper()
	i := slices.IndexFunc(b.e.Result.Files, func(f ashlar.File) bool { return f.Name == file })
	f, err := os.Open(b.path(b.e.Result.Files[i].Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var own [][]byte
	for _, name := range slices.Sorted(maps.Keys(bundles)) {
		if strings.HasPrefix(name, file+".") {
			own = append(own, bundles[name])
		}
	}
	return Verify(t.Context(), VerifyRequest{Name: file, File: f, Bundles: own, Trust: trust, Policy: policy})
}

func TestVerify(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b *testBuild)
		policy Policy
		kind   fault.Kind
		want   string
	}{
		{"good", func(*testBuild) {}, DefaultPolicy(), "", ""},
		{"level 3 wanted", func(*testBuild) {}, Policy{MinLevel: 3}, fault.Policy, "level 2"},
		{"unauthenticated source", func(b *testBuild) { b.bare(t) }, DefaultPolicy(), fault.Policy, "unauthenticated source: bare.tar.gz"},
		{"unauthenticated source allowed", func(b *testBuild) { b.bare(t) }, Policy{AllowUnauthenticated: true}, "", ""},
		{"network", func(b *testBuild) { b.e.Definition.Content = []byte(withNetwork) }, DefaultPolicy(), fault.Policy, "with network: a deb: dpkg/build"},
		{"network allowed", func(b *testBuild) { b.e.Definition.Content = []byte(withNetwork) }, Policy{AllowNetwork: true}, "", ""},
		{"gate failed", func(b *testBuild) {
			b.e.Gate.Add(ashlar.Check{Name: "upgrade", Subject: "a", Outcome: ashlar.CheckFailed, Detail: "conflict"})
		}, DefaultPolicy(), fault.Policy, "gate: upgrade a: conflict"},
		{"gate did not run", func(b *testBuild) { b.e.Gate = nil }, DefaultPolicy(), fault.Policy, "the gate did not run"},
		{"gate did not run, allowed", func(b *testBuild) { b.e.Gate = nil }, Policy{AllowUngated: true}, "", ""},
		{"tests failed", func(b *testBuild) { b.e.Result.Tests.Failed = 1 }, DefaultPolicy(), fault.Policy, "1 failed"},
		{"tests skipped", func(b *testBuild) {
			b.e.Result.Tests = ashlar.TestResult{Outcome: ashlar.TestsSkipped, Reason: "nocheck"}
		}, DefaultPolicy(), "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBuild(t)
			c.change(b)
			b.relock(t)
			signer, trust := localSigner(t, b)
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
	signer, trust := localSigner(t, b)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	other, otherTrust := localSigner(t, b)
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

// TestAnotherKey: every kind of file is refused with the statements of a key that
// is not trusted, also if they bear the name of one that is.
func TestAnotherKey(t *testing.T) {
	b := newBuild(t)
	signer, trust := localSigner(t, b)
	other, _ := localSigner(t, b)
	own, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := Sign(t.Context(), other, b.e)
	if err != nil {
		t.Fatal(err)
	}
	renamed := map[string][]byte{}
	for name, bundle := range foreign {
		renamed[name] = bytes.Replace(bundle, []byte(other.Public().KeyID), []byte(signer.Public().KeyID), 1)
	}
	for _, file := range []string{mainDeb, mainDsc, mainUdeb} {
		if r, err := b.verifyFile(t, file, own, trust, DefaultPolicy()); err != nil || !r.Verified {
			t.Errorf("%s with its own statements: %v", file, err)
		}
		for want, bundles := range map[string]map[string][]byte{"not trusted": foreign, "signature is not by": renamed} {
			r, err := b.verifyFile(t, file, bundles, trust, DefaultPolicy())
			if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), want) || r.Verified {
				t.Errorf("%s: got %v, want %q", file, err, want)
			}
		}
	}
}

func TestVerifyTampered(t *testing.T) {
	b := newBuild(t)
	signer, trust := localSigner(t, b)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	only := map[string][]byte{mainDeb + ".x": bundles[BundleName(mainDeb, "provenance")]}
	r, err := Verify(t.Context(), VerifyRequest{
		Name: mainDeb, File: strings.NewReader("tampered"), Trust: trust, Policy: DefaultPolicy(),
		Bundles: [][]byte{only[mainDeb+".x"]},
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
func signed(t *testing.T, keys *sign.Keys, b *testBuild, change func(p *intoto.Provenance)) []byte {
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
			r, err := b.verify(t, map[string][]byte{mainDeb + ".x": bundle}, trust, Policy{AllowUngated: true})
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

// TestLeftOut: an upgrade that could not be tried forbids nothing, and both the
// statement and who verifies say that it was not.
func TestLeftOut(t *testing.T) {
	b := newBuild(t)
	b.e.Gate.Add(ashlar.Check{Name: "upgrade", Subject: "a", Outcome: ashlar.CheckLeftOut, Detail: "the archive has 3"})
	if !b.e.Gate.Passed {
		t.Error("the verdict does not pass")
	}
	signer, trust := localSigner(t, b)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.verify(t, bundles, trust, DefaultPolicy())
	if err != nil {
		t.Fatal(err)
	}
	const said = "upgrade a left out: the archive has 3"
	if test := b.e.testResult(); test.Result != intoto.TestWarned || !slices.Contains(test.WarnedTests, testGate+said) {
		t.Errorf("the statement is %+v", test)
	}
	if !slices.ContainsFunc(r.Claims, func(c Claim) bool { return c.OK && c.Detail == "2 checks passed; "+said }) {
		t.Errorf("the report is %+v", r.Claims)
	}
	b.e.Gate.Add(ashlar.Check{Name: "install", Subject: "a", Outcome: "perhaps"})
	if b.e.Gate.Passed || b.e.testResult().Result != intoto.TestFailed {
		t.Error("an outcome that is not known passes")
	}
}

// TestLicenses: the SBOM declares what the copyright file inside the package says,
// or that of the package whose documentation it shares.
func TestLicenses(t *testing.T) {
	b := newBuild(t)
	copyright := "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: GPL-2+ or Expat\n\nFiles: x\nLicense: own\n words\n"
	with := map[string][]byte{
		mainDeb:                          debWith(t, "a", "2:1-1+cut12u1", tarball(t, "./usr/share/doc/a/copyright", copyright)),
		"a-dbgsym_1-1+cut12u1_amd64.deb": debWith(t, "a-dbgsym", "2:1-1+cut12u1", linkTo(t, "./usr/share/doc/a-dbgsym", "a")),
	}
	for i, f := range b.e.Result.Files {
		if content, ok := with[f.Name]; ok {
			b.e.Result.Files[i] = b.put(t, f.Name, content)
		}
	}
	prepared, err := Prepare(t.Context(), b.e, b.desk)
	if err != nil {
		t.Fatal(err)
	}
	type said struct{ Declared, Text string }
	got := map[string]said{}
	for _, p := range prepared {
		if p.Name != BundleName(p.Subject.Name, kindSPDX) {
			continue
		}
		var s struct {
			Predicate struct {
				Packages []struct {
					LicenseDeclared, LicenseConcluded string
				}
				Extracted []struct{ ExtractedText string } `json:"hasExtractedLicensingInfos"`
			}
		}
		if err := json.Unmarshal(p.Statement, &s); err != nil {
			t.Fatal(err)
		}
		first := s.Predicate.Packages[0]
		if first.LicenseConcluded != "NOASSERTION" {
			t.Errorf("%s: concluded %s", p.Subject.Name, first.LicenseConcluded)
		}
		one := said{Declared: first.LicenseDeclared}
		for _, e := range s.Predicate.Extracted {
			one.Text += e.ExtractedText
		}
		got[p.Subject.Name] = one
	}
	declared := said{"(GPL-2.0-or-later OR MIT) AND LicenseRef-debian-own", "words"}
	want := map[string]said{mainDeb: declared, "a-dbgsym_1-1+cut12u1_amd64.deb": declared, mainUdeb: {Declared: "NOASSERTION"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
