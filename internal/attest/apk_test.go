package attest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// apkKeys are keys for packages, made once.
var apkKeys = sync.OnceValues(func() (apk.Signer, crypto.Signer) {
	v2, err2 := rsa.GenerateKey(rand.Reader, 2048)
	v3, err3 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err2, err3); err != nil {
		panic(err)
	}
	return apk.Signer{KeyName: "test.rsa.pub", Key: v2}, v3
})

// apkFile makes a package of a generation with one file, not signed.
func apkFile(t testing.TB, v3 bool, info apk.Info, content string) []byte {
	t.Helper()
	info.Version, info.Description = "1-r0", "x"
	files := []apk.File{{
		Entry: apk.Entry{Path: "x", Mode: 0o644, User: "root", Group: "root", Size: int64(len(content))},
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}}
	var b bytes.Buffer
	var err error
	if v3 {
		_, err = apk.WriteV3(&b, &apk.V3Spec{Info: info, Files: files, Compression: adb.Deflate})
	} else {
		_, err = apk.WriteV2(&b, &apk.V2Spec{Info: info, Files: files})
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// signedApk returns a package with signatures.
func signedApk(t testing.TB, plain []byte) []byte {
	t.Helper()
	v2, v3 := apkKeys()
	sigs, err := apk.SignPackage(bytes.NewReader(plain), []apk.Signer{v2}, []crypto.Signer{v3})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sigs.Attach(&b, bytes.NewReader(plain), int64(len(plain))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// publishedName returns the name that the file of a package must have.
func publishedName(t testing.TB, b []byte) string {
	t.Helper()
	p, err := openApk(&memory{bytes.NewReader(b)})
	if err != nil {
		t.Fatal(err)
	}
	return p.file
}

// memory is content in memory.
type memory struct{ *bytes.Reader }

func (*memory) Close() error { return nil }

// stoneInfo describes the package of the tests.
var stoneInfo = apk.Info{Name: "stone", Arch: "x86_64", Origin: "stone", License: "MIT OR Apache-2.0"}

// zlibPassed is what a summary says of the package that the tests' one is built with.
var zlibPassed = intoto.VSA{VerificationResult: intoto.TestPassed, ResourceURI: "pkg:apk/ashlar/zlib-dev@1-r0?arch=x86_64&distro=musl-1"}

const apkDefinition = "package/apk/main/a/musl-1/1.yaml"

// newAPKBuild is newBuild for the musl world: it made a package of both generations,
// with a package of our own in its root that a signer vouches for.
func newAPKBuild(t testing.TB) (*testBuild, *sign.Keys) {
	t.Helper()
	b := newBuild(t)
	keys, err := sign.Generate("Test", "test@example.org", started)
	if err != nil {
		t.Fatal(err)
	}
	musl := ashlar.Target{Distro: "musl-1", Arch: "amd64"}
	b.e.Definition.Path = apkDefinition
	b.e.Definition.Content = []byte(strings.Replace(oneStep, "        files:\n",
		"        repositories: ['deb mirror://debian bookworm main', '@musl ashlar://musl-1/main']\n        packages: [zlib-dev@musl]\n        files:\n", 1))
	in := &b.e.Lock.Inputs
	in.Definition.URI, in.Target, b.e.Result.Target = "catalog:"+apkDefinition, musl, musl
	own := b.put(t, "zlib-dev-1-r0.apk", signedApk(t, apkFile(t, false, apk.Info{Name: "zlib-dev", Arch: "x86_64", License: "Zlib"}, "z")))
	in.Builds[0].Root.Sysroot = &ashlar.Sysroot{Path: ashlar.SysrootDir, Packages: []ashlar.RootPackage{
		{Name: "zlib-dev", Version: "1-r0", Arch: "amd64", URI: "ashlar://musl-1/main/zlib-dev-1-r0.apk", Digest: own.Digest, Size: own.Size},
	}}
	b.e.Summaries = map[ashlar.Digest][]byte{own.Digest: summaryOf(t, keys.Attestation, own, zlibPassed)}
	b.e.Result.Files = nil
	for _, v3 := range []bool{false, true} {
		b.made(t, apkFile(t, v3, stoneInfo, "x"))
	}
	b.relock(t)
	return b, keys
}

// made adds a package to the result: as it was built, and signed.
func (b *testBuild) made(t testing.TB, plain []byte) {
	t.Helper()
	name := publishedName(t, plain)
	b.e.Result.Files = append(b.e.Result.Files, b.put(t, name, signedApk(t, plain)))
	b.e.Result.Unsigned = append(b.e.Result.Unsigned, b.put(t, name, plain))
}

// summaryOf returns a bundle with a summary about a file.
func summaryOf(t testing.TB, by sign.Signer, f ashlar.File, v intoto.VSA) []byte {
	t.Helper()
	return statementOf(t, by, f, intoto.PredicateVSA, v)
}

func statementOf(t testing.TB, by sign.Signer, f ashlar.File, predicate string, v any) []byte {
	t.Helper()
	s, err := intoto.NewStatement(predicate, v, f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := sign.Bundle(t.Context(), by, raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// signWith has a signer with the given keys make the statements.
func (b *testBuild) signWith(t testing.TB, keys *sign.Keys) (map[string][]byte, error) {
	t.Helper()
	c, err := sign.Local(t.Context(), keys, Handlers(b.desk))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return Sign(t.Context(), c, b.e)
}

// TestAPKStatements: statements about packages for apk say what they must.
func TestAPKStatements(t *testing.T) {
	b, keys := newAPKBuild(t)
	bundles, err := b.signWith(t, keys)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := TrustKey(pub.Attestation)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range b.e.Result.Files {
		if report, err := b.verifyFile(t, f.Name, bundles, trust, DefaultPolicy()); err != nil || !report.Verified {
			t.Errorf("%s: %v", f.Name, err)
		}
		p, err := OpenProvenance(bytes.NewReader(bundles[BundleName(f.Name, "provenance")]))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := p.Unsigned[f.Name], b.e.Result.Unsigned[i].Digest; got != want || len(p.Unsigned) != 2 {
			t.Errorf("%s was %s before it was signed, says the provenance; it was %s", f.Name, got, want)
		}
		text := payload(t, bundles[BundleName(f.Name, "provenance")])
		for _, want := range []string{`"buildType":"` + BuildTypeApk + `"`, "pkg:apk/ashlar/zlib-dev@1-r0?arch=x86_64\\u0026distro=musl-1", "pkg:deb/debian/dpkg@1:1%2Bb1?arch=amd64\\u0026distro=debian-12"} {
			if !strings.Contains(text, want) && !strings.Contains(text, strings.ReplaceAll(want, "\\u0026", "&")) {
				t.Errorf("the provenance of %s does not say %q", f.Name, want)
			}
		}
		spdx := payload(t, bundles[BundleName(f.Name, kindSPDX)])
		for _, want := range []string{`"licenseDeclared":"MIT OR Apache-2.0"`, "pkg:apk/ashlar/stone@1-r0?arch=x86_64", "distro=musl-1", "pkg:deb/debian/aa@1-1?arch=source", "distro=debian-12"} {
			if !strings.Contains(spdx, want) {
				t.Errorf("the SPDX document of %s does not say %q:\n%s", f.Name, want, spdx)
			}
		}
		if vsa := payload(t, bundles[BundleName(f.Name, "vsa")]); !strings.Contains(vsa, "pkg:apk/ashlar/stone@1-r0") {
			t.Errorf("the summary of %s says:\n%s", f.Name, vsa)
		}
	}
}

// payload returns the statement in a bundle.
func payload(t *testing.T, bundle []byte) string {
	t.Helper()
	b, err := intoto.DecodeBundle(bundle)
	if err != nil {
		t.Fatal(err)
	}
	return string(b.DSSEEnvelope.Payload)
}

// apkHostile is what a builder may try with packages for apk.
var apkHostile = []hostileCase{
	{"another package was built", func(t *testing.T, b *testBuild) {
		b.e.Result.Unsigned[0] = b.put(t, b.e.Result.Files[0].Name, apkFile(t, false, stoneInfo, "evil"))
	}, "more than its signatures differ"},
	{"another package of v3 was built", func(t *testing.T, b *testBuild) {
		b.e.Result.Unsigned[1] = b.put(t, b.e.Result.Files[1].Name, apkFile(t, true, stoneInfo, "evil"))
	}, "more than its signatures differ"},
	{"the other generation was built", func(_ *testing.T, b *testBuild) {
		u := b.e.Result.Unsigned
		u[0].Digest, u[0].Size = u[1].Digest, u[1].Size
	}, "more than its signatures differ"},
	{"nothing was built", func(t *testing.T, b *testBuild) {
		b.e.Result.Unsigned[0] = b.put(t, b.e.Result.Files[0].Name, []byte("evil"))
	}, "well-formed"},
	{"what was built is gone", func(_ *testing.T, b *testBuild) { b.e.Result.Unsigned[0].Digest = ashlar.DigestOf([]byte("gone")) }, "cannot be read"},
	{"what was built was changed", func(t *testing.T, b *testBuild) { otherContent(t, b, b.e.Result.Unsigned[1].Digest) }, "was changed after"},
	{"one more was built", func(_ *testing.T, b *testBuild) {
		more := b.e.Result.Unsigned[0]
		more.Name = "more-1-r0.apk"
		b.e.Result.Unsigned = append(b.e.Result.Unsigned, more)
	}, "more-1-r0.apk"},
	{"a file under another name", func(_ *testing.T, b *testBuild) {
		b.e.Result.Files[0].Name, b.e.Result.Unsigned[0].Name = "openssl-3-r0.apk", "openssl-3-r0.apk"
	}, "openssl-3-r0.apk and holds stone-1-r0.apk"},
	{"a file of v3 under the name of v2", func(_ *testing.T, b *testBuild) {
		b.e.Result.Files, b.e.Result.Unsigned = b.e.Result.Files[1:], b.e.Result.Unsigned[1:]
		b.e.Result.Files[0].Name, b.e.Result.Unsigned[0].Name = "stone-1-r0.apk", "stone-1-r0.apk"
	}, "stone-1-r0.apk and holds stone-1-r0."},
	{"a signed file that was changed", func(t *testing.T, b *testBuild) { otherContent(t, b, b.e.Result.Files[0].Digest) }, "was changed after"},
	{"a signed file whose data is not what it says", func(t *testing.T, b *testBuild) {
		plain := apkFile(t, false, stoneInfo, "x")
		other := apkFile(t, false, stoneInfo, "evil")
		from, err := apk.ReadV2(bytes.NewReader(plain))
		if err != nil {
			t.Fatal(err)
		}
		of, err := apk.ReadV2(bytes.NewReader(other))
		if err != nil {
			t.Fatal(err)
		}
		b.e.Result.Files[0] = b.put(t, "stone-1-r0.apk", append(slices.Clone(plain[:from.DataOffset]), other[of.DataOffset:]...))
	}, "stone-1-r0.apk"},
	{"no summary", func(_ *testing.T, b *testBuild) { b.e.Summaries = nil }, "no summary of earlier checks is to be trusted"},
	{"a package of our own that was changed", func(t *testing.T, b *testBuild) {
		otherContent(t, b, b.e.Lock.Inputs.Builds[0].Root.Sysroot.Packages[0].Digest)
	}, "was changed after"},
	{"another package of our own", func(t *testing.T, b *testBuild) {
		p := &b.e.Lock.Inputs.Builds[0].Root.Sysroot.Packages[0]
		evil := b.put(t, "zlib-dev-1-r0.apk", apkFile(t, false, apk.Info{Name: "zlib-dev", Arch: "x86_64"}, "evil"))
		p.Digest, p.Size = evil.Digest, evil.Size
	}, "no summary of earlier checks is to be trusted"},
	{"another package of our own, with the summary of the first", func(t *testing.T, b *testBuild) {
		p := &b.e.Lock.Inputs.Builds[0].Root.Sysroot.Packages[0]
		evil := b.put(t, "zlib-dev-1-r0.apk", apkFile(t, false, apk.Info{Name: "zlib-dev", Arch: "x86_64"}, "evil"))
		b.e.Summaries[evil.Digest] = b.e.Summaries[p.Digest]
		p.Digest, p.Size = evil.Digest, evil.Size
	}, "no summary of earlier checks is to be trusted"},
	{"no package of our own", func(_ *testing.T, b *testBuild) { b.e.Lock.Inputs.Builds[0].Root.Sysroot = nil }, "zlib-dev"},
}

func TestSignerRefusesAPKs(t *testing.T) {
	for _, c := range apkHostile {
		t.Run(c.name, func(t *testing.T) {
			b, keys := newAPKBuild(t)
			c.spoil(t, b)
			b.relock(t)
			bundles, err := b.signWith(t, keys)
			if bundles != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %d bundles, %v; want %q", len(bundles), err, c.want)
			}
		})
	}
	t.Run("a summary by a stranger", func(t *testing.T) {
		b, _ := newAPKBuild(t)
		_, others := newAPKBuild(t)
		if bundles, err := b.signWith(t, others); bundles != nil || err == nil || !strings.Contains(err.Error(), "it is signed by the key") {
			t.Errorf("%v", err)
		}
	})
}

func TestVouch(t *testing.T) {
	keys, err := sign.Generate("Test", "test@example.org", started)
	if err != nil {
		t.Fatal(err)
	}
	other, err := sign.Generate("Test", "test@example.org", started)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	trust, err := TrustKey(pub.Attestation)
	if err != nil {
		t.Fatal(err)
	}
	is := ashlar.File{Name: "zlib-dev-1-r0.apk", Digest: ashlar.DigestOf([]byte("x"))}
	not := ashlar.File{Name: "zlib-dev-1-r0.apk", Digest: ashlar.DigestOf([]byte("y"))}
	passed := zlibPassed
	of := func(purl string) []byte {
		return summaryOf(t, keys.Attestation, is, intoto.VSA{VerificationResult: intoto.TestPassed, ResourceURI: purl})
	}
	good := summaryOf(t, keys.Attestation, is, passed)
	for name, c := range map[string]struct {
		summary []byte
		says    string // "" if it is to be trusted
	}{
		"a summary":              {good, ""},
		"a wrong key":            {summaryOf(t, other.Attestation, is, passed), "it is signed by the key"},
		"a wrong digest":         {summaryOf(t, keys.Attestation, not, passed), not.Digest.Hex()},
		"no summary":             {statementOf(t, keys.Attestation, is, intoto.PredicateTest, intoto.TestResult{Result: intoto.TestPassed}), intoto.PredicateTest},
		"a summary that is none": {statementOf(t, keys.Attestation, is, intoto.PredicateVSA, map[string]int{"verificationResult": 1}), "no summary"},
		"one that failed":        {summaryOf(t, keys.Attestation, is, intoto.VSA{VerificationResult: "FAILED"}), `it says "FAILED"`},
		"one that says nothing":  {summaryOf(t, keys.Attestation, is, intoto.VSA{}), `it says ""`},
		"one that was changed":   {swapped(t, good, summaryOf(t, keys.Attestation, not, passed)), "no summary"},
		"one for all machines":   {of("pkg:apk/ashlar/zlib-dev@1-r0?arch=noarch&distro=musl-1"), ""},
		"one for others":         {of("pkg:apk/ashlar/zlib-dev@1-r0?arch=aarch64&distro=musl-1"), "it is about pkg:apk/ashlar/zlib-dev@1-r0?arch=aarch64"},
		"one of another world":   {of("pkg:apk/ashlar/zlib-dev@1-r0?arch=x86_64&distro=musl-2"), "it is about pkg:apk/ashlar/zlib-dev"},
		"one of another version": {of("pkg:apk/ashlar/zlib-dev@2-r0?arch=x86_64&distro=musl-1"), "it is about pkg:apk/ashlar/zlib-dev@2-r0"},
		"noise":                  {[]byte("noise"), "no summary"},
		"nothing":                {nil, "no summary"},
	} {
		err := trust.Vouch(ashlar.RootPackage{Name: "zlib-dev", Version: "1-r0", Arch: "amd64", URI: "ashlar://musl-1/main/zlib-dev-1-r0.apk", Digest: is.Digest}, c.summary)
		if c.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// swapped returns the bundle of one statement with the signature of another.
func swapped(t *testing.T, of, with []byte) []byte {
	t.Helper()
	a, err1 := intoto.DecodeBundle(of)
	b, err2 := intoto.DecodeBundle(with)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	a.DSSEEnvelope.Signatures = b.DSSEEnvelope.Signatures
	raw, err := a.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestAPKLicense: an expression of SPDX's is taken as it is, from the package that has
// it alone.
func TestAPKLicense(t *testing.T) {
	for declared, want := range map[string]string{
		"MIT": "MIT", "GPL-2.0-or-later WITH GCC-exception-3.1": "GPL-2.0-or-later WITH GCC-exception-3.1", "(MIT OR Zlib) AND BSD-3-Clause": "(MIT OR Zlib) AND BSD-3-Clause",
		"": "NOASSERTION", "custom; see \"COPYING\"": "NOASSERTION", "MIT  Zlib": "NOASSERTION",
	} {
		b, _ := newAPKBuild(t)
		b.e.Result.Files, b.e.Result.Unsigned = nil, nil
		info := stoneInfo
		info.License = declared
		b.made(t, apkFile(t, false, info, "x"))
		b.e.Result.Files = append(b.e.Result.Files, b.put(t, "stone_1-1_amd64.deb", debFile(t, "stone", "1-1")))
		got := map[string]string{}
		for _, p := range b.prepared(t) {
			if p.Name != BundleName(p.Subject.Name, kindSPDX) {
				continue
			}
			var s struct {
				Predicate struct {
					Packages []struct{ LicenseDeclared string }
				}
			}
			if err := json.Unmarshal(p.Statement, &s); err != nil {
				t.Fatal(err)
			}
			got[p.Subject.Name] = s.Predicate.Packages[0].LicenseDeclared
		}
		if diff := cmp.Diff(map[string]string{"stone-1-r0.apk": want, "stone_1-1_amd64.deb": "NOASSERTION"}, got); diff != "" {
			t.Errorf("%q: %s", declared, diff)
		}
	}
}

// prepared returns the statements about a build whose own packages are its key's.
func (b *testBuild) prepared(t *testing.T) []Prepared {
	t.Helper()
	keys, err := sign.Generate("Test", "test@example.org", started)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	if b.e.trust, err = TrustKey(pub.Attestation); err != nil {
		t.Fatal(err)
	}
	for d := range b.e.Summaries {
		b.e.Summaries[d] = summaryOf(t, keys.Attestation, ashlar.File{Name: "x", Digest: d}, zlibPassed)
	}
	prepared, err := Prepare(t.Context(), b.e, b.desk)
	if err != nil {
		t.Fatal(err)
	}
	return prepared
}
