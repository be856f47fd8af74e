package work

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/repo"
	"github.com/ashlar-project/ashlar/internal/sbom"
	"github.com/ashlar-project/ashlar/internal/sign"
)

var musl = ashlar.Target{Distro: "musl-1", Arch: "amd64"}

// keysOf are keys for all that is signed, made once.
var keysOf = sync.OnceValues(func() (*sign.Keys, error) {
	keys, err := sign.Generate("Test", "", lockDay)
	if err != nil {
		return nil, err
	}
	apks, err := sign.GenerateAPK()
	if err != nil {
		return nil, err
	}
	keys.APK = *apks
	return keys, nil
})

// muslShop opens a shop with keys.
func muslShop(t *testing.T) (*Shop, *sign.Keys) {
	t.Helper()
	s := shop(t)
	keys, err := keysOf()
	if err != nil {
		t.Fatal(err)
	}
	pub, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.MkdirAll(s.KeysDir(), 0o755), os.WriteFile(filepath.Join(s.KeysDir(), sign.AttestationPub), pub.Attestation, 0o644),
		os.WriteFile(filepath.Join(s.KeysDir(), sign.RepositoryPub), pub.Repository, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	s.Signer = func(ctx context.Context) (*sign.Conn, error) { return sign.Local(ctx, keys, nil) }
	return s, keys
}

// apks puts a package into the store as a build leaves it, in both generations.
func apks(t *testing.T, s *Shop, name, version string) []ashlar.File {
	t.Helper()
	info := apk.Info{Name: name, Version: version, Arch: "x86_64", Origin: name, Description: "x", License: "MIT"}
	files := []apk.File{{
		Entry: apk.Entry{Path: name, Mode: 0o644, User: "root", Group: "root", Size: 1},
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil },
	}}
	var v2, v3 bytes.Buffer
	_, err2 := apk.WriteV2(&v2, &apk.V2Spec{Info: info, Files: files})
	_, err3 := apk.WriteV3(&v3, &apk.V3Spec{Info: info, Files: files, Compression: adb.Deflate})
	if err := errors.Join(err2, err3); err != nil {
		t.Fatal(err)
	}
	var made []ashlar.File
	for suffix, b := range map[string]*bytes.Buffer{".apk": &v2, ashlar.ApkV3Suffix: &v3} {
		f, err := s.Store.Put(t.Context(), b, "")
		if err != nil {
			t.Fatal(err)
		}
		f.Name = name + "-" + version + suffix
		made = append(made, f)
	}
	slices.SortFunc(made, func(a, b ashlar.File) int { return strings.Compare(a.Name, b.Name) })
	return made
}

// keep keeps a record of a package and makes it the newest of its definition; edit
// changes it before.
func keep(t *testing.T, s *Shop, ref Ref, name, version string, edit func(*Record)) *Record {
	t.Helper()
	signed, err := s.signResult(t.Context(), &ashlar.Result{Key: ashlar.DigestOf([]byte(name + version)), Target: musl, Files: apks(t, s, name, version)})
	if err != nil {
		t.Fatal(err)
	}
	r := record(name + version)
	r.Result, r.Bundles = signed, map[string][]byte{}
	keys, err := keysOf()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range signed.Files {
		r.Bundles[attest.BundleName(f.Name, "vsa")] = vsaOf(t, keys, f, name, version)
	}
	if edit != nil {
		edit(r)
	}
	if err := errors.Join(s.save(r), s.setLatest(ref, "amd64", r.Result.Key)); err != nil {
		t.Fatal(err)
	}
	return r
}

// vsaOf returns a signed summary about a file.
func vsaOf(t *testing.T, keys *sign.Keys, f ashlar.File, name, version string) []byte {
	t.Helper()
	statement, err := intoto.NewStatement(intoto.PredicateVSA, intoto.VSA{
		VerificationResult: intoto.TestPassed, ResourceURI: sbom.ApkPURL(sbom.VendorAshlar, name, version, "x86_64", "musl-1"),
	}, f)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := statement.Encode()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := sign.Bundle(t.Context(), keys.Attestation, raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// definitionOf names a definition of a package in a catalog.
func definitionOf(root, name string) Ref {
	return Ref{Root: root, Path: "package/apk/main/" + name + "/musl-1/1.yaml"}
}

func TestIsV2(t *testing.T) {
	for name, want := range map[string]bool{
		"zlib-1.3-r1.apk": true, "zlib-dev-1.3_rc1-r10.apk": true, "font-7x13-1-r0.apk": true,
		"zlib-1.3-r1.v3.apk": false, "zlib-1.3-r1.0a1b2c3d.apk": false, "zlib-1.3-r1.12345678.apk": false,
		"zlib_1.3-1_amd64.deb": false, "zlib.apk": false, ".apk": false, "zlib-1.3-r1": false, "": false,
	} {
		if got := isV2(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}

// TestOwn: what a repository of our own stands for.
func TestOwn(t *testing.T) {
	s, _ := muslShop(t)
	ref := func(name string) Ref { return definitionOf("catalog", name) }
	keep(t, s, ref("zlib"), "zlib", "1.2-r0", nil)
	zlib := keep(t, s, ref("zlib"), "zlib", "1.3-r0", nil)
	curl := keep(t, s, ref("curl"), "curl", "8-r0", nil)
	keep(t, s, ref("refused"), "refused", "1-r0", func(r *Record) { r.Verdict.Passed = false })
	keep(t, s, ref("other"), "other", "1-r0", func(r *Record) { r.Result.Target.Distro = "musl-2" })
	keep(t, s, definitionOf("elsewhere/catalog", "stranger"), "stranger", "1-r0", nil)
	if err := s.setLatest(ref("gone"), "amd64", ashlar.DigestOf([]byte("gone"))); err != nil {
		t.Fatal(err)
	}
	got, err := s.own(t.Context(), ref("any"), musl)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got {
		names = append(names, p.File)
		if i := slices.IndexFunc(append(zlib.Result.Files, curl.Result.Files...), func(f ashlar.File) bool { return f.Digest == p.Digest && f.Name == p.File }); i < 0 {
			t.Errorf("%s is not a signed package of a record", p.File)
		}
	}
	if diff := cmp.Diff([]string{"curl-8-r0.apk", "zlib-1.3-r0.apk"}, names); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(s.path("blobs", "sha256", got[0].Digest.Hex())); err != nil {
		t.Fatal(err)
	}
	if _, err := s.own(t.Context(), ref("any"), musl); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "curl-8-r0.apk") {
		t.Errorf("a package that is gone: %v", err)
	}
}

// TestOwnNone: a shop that built nothing, in a folder with a difficult name.
func TestOwnNone(t *testing.T) {
	s, _ := muslShop(t)
	if got, err := s.own(t.Context(), definitionOf("catalog", "x"), musl); len(got) > 0 || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	s.Dir = filepath.Join(s.Dir, "a[b*")
	ref := definitionOf("catalog", "zlib")
	r := record("x")
	r.Result.Target, r.Result.Files = musl, nil
	if err := errors.Join(s.save(r), s.setLatest(ref, "amd64", r.Result.Key)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.own(t.Context(), ref, musl); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(s.recordDir(r.Result.Key)); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(s.recordDir(r.Result.Key), recordDefinition), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := s.own(t.Context(), ref, musl); err == nil {
		t.Error("a record that cannot be read is passed over")
	}
}

// TestVouch: a package is vouched for by the record that it is of.
func TestVouch(t *testing.T) {
	s, _ := muslShop(t)
	r := keep(t, s, definitionOf("catalog", "zlib"), "zlib", "1.3-r0", nil)
	bare := keep(t, s, definitionOf("catalog", "bare"), "bare", "1-r0", func(r *Record) { r.Bundles = nil })
	root := func(r *Record) ashlar.RootPackage {
		i := slices.IndexFunc(r.Result.Files, func(f ashlar.File) bool { return isV2(f.Name) })
		f := r.Result.Files[i]
		name, version, err := apk.SplitName(strings.TrimSuffix(f.Name, ".apk"))
		if err != nil {
			t.Fatal(err)
		}
		return ashlar.RootPackage{Name: name, Version: version, Arch: "amd64", URI: "ashlar://musl-1/main/" + f.Name, Digest: f.Digest}
	}
	good := root(r)
	elsewhere, unknown, unsigned := good, good, good
	elsewhere.URI = "ashlar://musl-1/main/../../../keys/attestation.key"
	unknown.Digest = ashlar.DigestOf([]byte("unknown"))
	unsigned.Digest = r.Result.Unsigned[slices.IndexFunc(r.Result.Unsigned, func(f ashlar.File) bool { return isV2(f.Name) })].Digest
	v3 := ashlar.RootPackage{URI: good.URI, Digest: r.Result.Files[slices.IndexFunc(r.Result.Files, func(f ashlar.File) bool { return !isV2(f.Name) })].Digest}
	for name, c := range map[string]struct {
		p  ashlar.RootPackage
		ok bool
	}{
		"ours": {good, true}, "another name": {elsewhere, false}, "unknown": {unknown, false}, "as it was before it was signed": {unsigned, false},
		"v3": {v3, false}, "without statements": {root(bare), false}, "no digest": {ashlar.RootPackage{URI: good.URI}, false},
	} {
		if err := s.vouch(t.Context(), c.p); (err == nil) != c.ok || !c.ok && !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	lock := record("x").Lock
	lock.Inputs.Builds = []ashlar.BuildInputs{{}, {Root: ashlar.Root{Sysroot: &ashlar.Sysroot{Packages: []ashlar.RootPackage{good, unknown, root(bare)}}}}}
	got, err := s.summaries(lock)
	want := map[ashlar.Digest][]byte{good.Digest: r.Bundles[attest.BundleName(filepath.Base(good.URI), "vsa")]}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if err := os.WriteFile(s.path("made", good.Digest.Hex()), []byte("sha256:../../x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.vouch(t.Context(), good); !fault.Is(err, fault.Denied) {
		t.Errorf("a note that leads elsewhere: %v", err)
	}
	other, err := sign.Generate("Other", "", lockDay)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := other.Public()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.KeysDir(), sign.AttestationPub), pub.Attestation, 0o644); err != nil {
		t.Fatal(err)
	}
	again := keep(t, s, definitionOf("catalog", "zlib"), "zlib", "1.3-r0", nil)
	if err := s.vouch(t.Context(), root(again)); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "signed by the key") {
		t.Errorf("after the key was replaced: %v", err)
	}
}

// TestSignResult signs what was judged, and nothing else changes.
func TestSignResult(t *testing.T) {
	s, _ := muslShop(t)
	deb := ashlar.File{Name: "m_1_amd64.deb", Digest: ashlar.DigestOf([]byte("deb")), Size: 3}
	plain := &ashlar.Result{Key: ashlar.DigestOf(nil), Files: []ashlar.File{deb}}
	if same, err := s.signResult(t.Context(), plain); err != nil || same != plain {
		t.Errorf("a result for apt alone: %v, %v", same, err)
	}
	both := &ashlar.Result{Key: ashlar.DigestOf(nil), Files: append(apks(t, s, "zlib", "1-r0"), deb)}
	before := slices.Clone(both.Files)
	got, err := s.signResult(t.Context(), both)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, both.Files); diff != "" || both.Unsigned != nil {
		t.Errorf("the result that was given is another now: %s", diff)
	}
	if got.Files[0] != deb || len(got.Files) != 3 || len(got.Unsigned) != 2 || got.Key != both.Key {
		t.Fatalf("%+v", got)
	}
	for i, f := range got.Files[1:] {
		u := got.Unsigned[i]
		if f.Name != u.Name || f.Digest == u.Digest || !slices.ContainsFunc(before, func(b ashlar.File) bool { return b.Digest == u.Digest && b.Size == u.Size }) {
			t.Errorf("%+v was %+v", f, u)
		}
		is, err1 := s.Store.Open(t.Context(), f.Digest)
		was, err2 := s.Store.Open(t.Context(), u.Digest)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if same, err := attest.SameContent(is, was); err != nil || !same || is.Size() != f.Size {
			t.Errorf("%s: the same %v, %v, %d bytes", f.Name, same, err, is.Size())
		}
		is.Close()
		was.Close()
	}
	again, err := s.signResult(t.Context(), both)
	if diff := cmp.Diff(got, again); err != nil || diff != "" {
		t.Errorf("signed again: %v\n%s", err, diff)
	}
	both.Files = []ashlar.File{{Name: "x-1-r0.apk", Digest: ashlar.DigestOf([]byte("gone")), Size: 4}}
	if _, err := s.signResult(t.Context(), both); err == nil {
		t.Error("what is gone is signed")
	}
}

// TestCompare compares what was built again with a package as it was before it was
// signed.
func TestCompare(t *testing.T) {
	s, _ := muslShop(t)
	made := apks(t, s, "zlib", "1-r0")
	res, err := s.signResult(t.Context(), &ashlar.Result{Files: made})
	if err != nil {
		t.Fatal(err)
	}
	p := &attest.ReadyProvenance{Unsigned: map[string]ashlar.Digest{}}
	for _, u := range res.Unsigned {
		p.Unsigned[u.Name] = u.Digest
	}
	other := apks(t, s, "zlib", "2-r0")
	for i, f := range res.Files {
		c := &Comparison{File: f.Name, Want: f.Digest}
		if err := s.compare(t.Context(), c, p, f.Name, made); err != nil || !c.Identical || c.Unsigned != c.Got || c.Got == c.Want || len(c.Siblings) != 1 {
			t.Errorf("%s: %+v, %v", f.Name, c, err)
		}
		if err := s.compare(t.Context(), &Comparison{File: f.Name}, p, f.Name, other); !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "made no "+f.Name) {
			t.Errorf("%s: %v", f.Name, err)
		}
		was := p.Unsigned[f.Name]
		p.Unsigned[f.Name] = ashlar.DigestOf([]byte("another"))
		c = &Comparison{File: f.Name, Want: f.Digest}
		if err := s.compare(t.Context(), c, p, f.Name, made); err != nil || c.Identical || c.Got == "" {
			t.Errorf("%s, which was another: %+v, %v", f.Name, c, err)
		}
		delete(p.Unsigned, f.Name)
		c = &Comparison{File: f.Name, Want: f.Digest}
		if err := s.compare(t.Context(), c, p, f.Name, []ashlar.File{res.Files[i]}); err != nil || !c.Identical || c.Unsigned != "" {
			t.Errorf("%s, which was not signed after: %+v, %v", f.Name, c, err)
		}
		p.Unsigned[f.Name] = was
	}
}

// TestSourceSets: what is for apk and what is for apt is published apart.
func TestSourceSets(t *testing.T) {
	s := shop(t)
	ref := definitionOf("catalog", "x")
	sets := func(distro ashlar.Distro, names ...string) (map[string][]repo.SourceSet, map[ashlar.Distro][]apkrepo.SourceSet, error) {
		r := record("x")
		r.Result.Target = ashlar.Target{Distro: distro, Arch: "arm64"}
		r.Result.Files, r.Bundles = nil, map[string][]byte{}
		for _, name := range names {
			r.Result.Files = append(r.Result.Files, ashlar.File{Name: name})
			for _, kind := range []string{"vsa", "provenance"} {
				r.Bundles[attest.BundleName(name, kind)] = []byte(name + kind)
			}
		}
		debs, apks := map[string][]repo.SourceSet{}, map[ashlar.Distro][]apkrepo.SourceSet{}
		return debs, apks, s.sourceSets(t.Context(), ref, r, debs, apks)
	}
	names := func(files []ashlar.File) (list []string) {
		for _, f := range files {
			list = append(list, f.Name)
		}
		return list
	}
	debs, apks, err := sets("musl-1", "x-1-r0.0a1b2c3d.apk", "x-1-r0.apk")
	if err != nil || len(debs) > 0 || len(apks["musl-1"]) != 1 {
		t.Fatalf("%v, %v, %v", debs, apks, err)
	}
	set := apks["musl-1"][0]
	if set.Arch != "aarch64" || set.Lock == nil || !slices.Equal(names(set.Packages), []string{"x-1-r0.0a1b2c3d.apk", "x-1-r0.apk"}) {
		t.Errorf("%+v", set)
	}
	want := []string{"x-1-r0.0a1b2c3d.apk.provenance.sigstore.json", "x-1-r0.0a1b2c3d.apk.vsa.sigstore.json", "x-1-r0.apk.provenance.sigstore.json", "x-1-r0.apk.vsa.sigstore.json"}
	if diff := cmp.Diff(want, names(set.Bundles)); diff != "" {
		t.Error(diff)
	}
	debs, apks, err = sets("debian-12", "x-1-r0.apk", "x_1_arm64.deb", "x_1_arm64.buildinfo")
	if err != nil || len(debs["bookworm"]) != 1 || len(apks["debian-12"]) != 1 {
		t.Fatalf("%v, %v, %v", debs, apks, err)
	}
	deb := debs["bookworm"][0]
	if !slices.Equal(names(deb.Files), []string{"x_1_arm64.deb", "x_1_arm64.buildinfo"}) || len(deb.Bundles) != 4 || len(apks["debian-12"][0].Bundles) != 2 {
		t.Errorf("%+v", deb)
	}
	for _, b := range deb.Bundles {
		if strings.Contains(b.Name, ".apk") {
			t.Errorf("for apt: %s", b.Name)
		}
	}
	if _, _, err := sets("musl-1", "x_1_arm64.deb"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "no Debian suite for musl-1") {
		t.Errorf("a .deb of another world: %v", err)
	}
}
