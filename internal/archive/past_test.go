package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// later is when the archive has newer indexes than those of day.
var later = day.AddDate(0, 0, 2)

// tool is a package of the archive on day, and newTool the one after it.
var tool = ashlar.RootPackage{
	Name: "tool", Version: "2.0", Arch: "all", URI: "mirror://debian/pool/main/t/tool/tool_2.0+x~1_all.deb",
	Digest: ashlar.Digest("sha256:" + strings.Repeat("2", 64)), Size: 20,
}

// superseded returns a fake whose suites were read on day, the indexes of that day,
// and the .dsc of tool 2.0 in the store. The fake then has newer indexes, without
// what it had.
func superseded(t *testing.T) (*fake, []ashlar.Index, ashlar.Material) {
	t.Helper()
	f := newFake(t)
	dsc := dscText("x")
	dsc = bytes.Replace(dsc, []byte("Version: 9"), []byte("Version: 2.0"), 1)
	f.publish(suite{Name: "bookworm", Packages: packages, Sources: sourceStanza("tool", "2.0", string(dsc), "")})
	a := f.archive()
	u, err := a.Universe(t.Context(), amd64, day)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sources(t.Context(), "bookworm", "tool", day); err != nil {
		t.Fatal(err)
	}
	m := ashlar.Material{Name: "tool_2.0.dsc", URI: "mirror://debian/pool/main/tool/tool_2.0.dsc", Digest: put(t, a, dsc), Size: int64(len(dsc))}
	f.publish(suite{Name: "bookworm", Date: later, Packages: "Package: base\nVersion: 1.2\nArchitecture: amd64\nFilename: pool/base_1.2_amd64.deb\nSize: 1\nSHA256: " + strings.Repeat("5", 64) + "\n",
		Sources: sourceStanza("tool", "2.1", "newer dsc", "")})
	f.publish(suite{Name: "bookworm-security", Date: later, ValidUntil: later.AddDate(0, 0, 7)})
	f.Edit("by-hash", func([]byte) []byte { return nil })
	return f, u.Indexes(), m
}

func put(t *testing.T, a *Archive, b []byte) ashlar.Digest {
	t.Helper()
	file, err := a.cfg.Fetcher.Store.Put(t.Context(), bytes.NewReader(b), "")
	if err != nil {
		t.Fatal(err)
	}
	return file.Digest
}

func past(t *testing.T, a *Archive, indexes []ashlar.Index, today bool) *Past {
	t.Helper()
	p, err := a.Past(t.Context(), indexes, later, today)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lists fails the test unless a past lists a package, or does not.
func lists(t *testing.T, p *Past, pkg ashlar.RootPackage, want bool) {
	t.Helper()
	if got, err := p.Lists(t.Context(), amd64, pkg); err != nil || got != want {
		t.Errorf("%s %s listed: %v, %v", pkg.Name, pkg.Version, got, err)
	}
}

// TestPastOfKeptIndexes: what was listed once is found for good, whatever the archive
// has now, and without asking it.
func TestPastOfKeptIndexes(t *testing.T) {
	f, indexes, dsc := superseded(t)
	asked := f.Asked()
	f.SetDown(true)
	for _, today := range []bool{false, true} {
		p := past(t, f.archive(func(c *Config) { c.Fetcher.Offline = true }), indexes, today)
		lists(t, p, tool, true)
		refs, err := p.Sources(t.Context(), "bookworm", "tool", []ashlar.Material{{Digest: put(t, f.archive(), []byte("no dsc"))}, dsc})
		if err != nil || len(refs) != 1 || refs[0].Anchor().Kind != ashlar.AnchoredByIndex || refs[0].Materials()[0] != dsc {
			t.Errorf("sources: %+v, %v", refs, err)
		}
		anchor, err := p.AnchorDsc(t.Context(), "debian-12", dsc, true)
		if want := (ashlar.Anchor{Kind: ashlar.AnchoredByIndex, By: indexes[0].URI, Signers: indexes[0].Signers}); err != nil || !cmp.Equal(anchor, want) {
			t.Errorf("anchor: %+v, %v", anchor, err)
		}
		if diff := cmp.Diff(indexes, p.Indexes()); diff != "" {
			t.Error(diff)
		}
	}
	if n := f.Asked(); n != asked {
		t.Errorf("asked the archive %d times", n-asked)
	}
	other := tool
	other.URI = "mirror://debian/pool/updates/main/t/tool/tool_2.0_all.deb"
	for _, change := range []func(p *ashlar.RootPackage){
		func(p *ashlar.RootPackage) { p.Digest = ashlar.DigestOf(nil) }, func(p *ashlar.RootPackage) { p.Size++ },
		func(p *ashlar.RootPackage) { p.Version = "2.1" }, func(p *ashlar.RootPackage) { p.Arch = "amd64" },
		func(p *ashlar.RootPackage) { p.URI += "x" }, func(p *ashlar.RootPackage) { p.Name = "base" },
	} {
		forged := tool
		change(&forged)
		lists(t, past(t, f.archive(), indexes, false), forged, false)
	}
}

// TestPastOfToday: what no kept index lists is looked up in today's, which are then
// among what the answers rest on.
func TestPastOfToday(t *testing.T) {
	f, indexes, dsc := superseded(t)
	p := past(t, f.archive(), nil, true)
	base := ashlar.RootPackage{Name: "base", Version: "1.2", Arch: "amd64", URI: "mirror://debian/pool/base_1.2_amd64.deb", Digest: ashlar.Digest("sha256:" + strings.Repeat("5", 64)), Size: 1}
	lists(t, p, base, true)
	lists(t, p, base, true)
	lists(t, p, tool, false)
	if x := p.Indexes(); len(x) != 1 || x[0].URI != indexes[0].URI || x[0].Date != "2026-03-03T12:00:00Z" {
		t.Errorf("rests on %+v", x)
	}
	lists(t, past(t, f.archive(), nil, false), base, false)
	if anchor, err := p.AnchorDsc(t.Context(), "debian-12", dsc, true); err != nil || anchor.Kind != ashlar.Unauthenticated {
		t.Errorf("anchor: %+v, %v", anchor, err)
	}
	newer := ashlar.Material{Name: "tool_2.1.dsc", Digest: put(t, f.archive(), []byte("newer dsc"))}
	for claimed, want := range map[bool]ashlar.AnchorKind{true: ashlar.AnchoredByIndex, false: ashlar.Unauthenticated} {
		if anchor, err := past(t, f.archive(), nil, true).AnchorDsc(t.Context(), "debian-12", newer, claimed); err != nil || anchor.Kind != want {
			t.Errorf("claimed %v: %+v, %v", claimed, anchor, err)
		}
	}
}

// TestPastUnlisted: a source that no index lists is taken for what its .dsc says, and
// only its signature vouches for it.
func TestPastUnlisted(t *testing.T) {
	f, _, dsc := superseded(t)
	maintainer := newKey(t, "maintainer")
	ring := archivetest.WriteKeyring(t, filepath.Join(f.dir, "maintainers.asc"), maintainer)
	a := f.archive(func(c *Config) { c.MaintainerKeyrings = []string{ring} })
	text := bytes.Replace(dscText("x"), []byte("Version: 9"), []byte("Version: 1:2.0"), 1)
	signedText, err := maintainer.ClearSign(text, day)
	if err != nil {
		t.Fatal(err)
	}
	signed := dsc
	signed.Digest = put(t, a, signedText)
	renamed, elsewhere := dsc, dsc
	renamed.Name = "tool_3.0.dsc"
	elsewhere.URI = "https://example.org/tool_2.0.dsc"
	for name, c := range map[string]struct {
		dsc  ashlar.Material
		want []ashlar.AnchorKind
	}{
		"unsigned":             {dsc, []ashlar.AnchorKind{ashlar.Unauthenticated}},
		"signed":               {signed, []ashlar.AnchorKind{ashlar.AnchoredBySignature}},
		"under another name":   {renamed, nil},
		"not from the archive": {elsewhere, nil},
	} {
		refs, err := past(t, a, nil, true).Sources(t.Context(), "bookworm", "tool", []ashlar.Material{c.dsc})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got []ashlar.AnchorKind
		for _, r := range refs {
			got = append(got, r.Anchor().Kind)
			if m := r.Materials(); len(m) != 2 || m[0].URI != c.dsc.URI || m[1].URI != "mirror://debian/pool/main/tool/tool_9.tar.gz" {
				t.Errorf("%s: %+v", name, m)
			}
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestPastLeavesOut has every way in which a lock's index may be no evidence.
func TestPastLeavesOut(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(t *testing.T, f *fake, x *ashlar.Index)
	}{
		{"not kept", func(_ *testing.T, _ *fake, x *ashlar.Index) { x.Digest = ashlar.DigestOf([]byte("gone")) }},
		{"altered in the store", func(t *testing.T, f *fake, x *ashlar.Index) {
			path := filepath.Join(f.dir, "blobs", "sha256", x.Digest.Hex())
			newer := f.File("dists/bookworm/InRelease") // signed, but another
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, newer, 0o644); err != nil {
				t.Fatal(err)
			}
		}},
		{"of a stranger", func(t *testing.T, f *fake, x *ashlar.Index) {
			files := suite{Name: "bookworm", Date: day, Packages: packages, Signer: newKey(t, "stranger")}.Files(t)
			for name, b := range files {
				if d := put(t, f.archive(), b); name == "InRelease" {
					x.Digest = d
				}
			}
		}},
		{"unsigned", func(t *testing.T, f *fake, x *ashlar.Index) {
			x.Digest = put(t, f.archive(), []byte("Codename: bookworm\n"))
		}},
		{"from the future", func(t *testing.T, f *fake, x *ashlar.Index) {
			files := suite{Name: "bookworm", Date: later.AddDate(0, 0, 1), Packages: packages, Signer: f.key}.Files(t)
			x.Digest = put(t, f.archive(), files["InRelease"])
		}},
		{"of another suite", func(_ *testing.T, _ *fake, x *ashlar.Index) {
			x.URI = "mirror://debian/dists/bookworm-security/InRelease"
		}},
		{"of no suite", func(_ *testing.T, _ *fake, x *ashlar.Index) { x.URI = "mirror://debian/dists/sid/InRelease" }},
		{"of another archive", func(_ *testing.T, _ *fake, x *ashlar.Index) { x.URI = "mirror://other/dists/bookworm/InRelease" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, indexes, _ := superseded(t)
			tt.spoil(t, f, &indexes[0])
			p := past(t, f.archive(), indexes[:1], true)
			if x := p.Indexes(); len(x) > 0 {
				t.Errorf("rests on %+v", x)
			}
			lists(t, p, tool, false)
		})
	}
}

// TestPastUnread: an index whose bytes are not kept is asked for, and that it cannot
// be had just now is not taken for an answer.
func TestPastUnread(t *testing.T) {
	f, indexes, dsc := superseded(t)
	text := filepath.Join(f.dir, "indexes", textsDir)
	if err := os.RemoveAll(text); err != nil {
		t.Fatal(err)
	}
	packed := archivetest.Gzip(t, packages)
	if err := os.Remove(filepath.Join(f.dir, "blobs", "sha256", ashlar.DigestOf(packed).Hex())); err != nil {
		t.Fatal(err)
	}
	lists(t, past(t, f.archive(), indexes, true), tool, false) // the archive has it no more
	f.SetDown(true)
	_, err := past(t, f.archive(), indexes, true).Lists(t.Context(), amd64, tool)
	checkFault(t, err, fault.Unavailable, "main/binary-amd64/Packages")
	f.SetDown(false)
	f.Put("dists/bookworm/main/binary-amd64/by-hash/SHA256/"+ashlar.DigestOf(packed).Hex(), packed)
	lists(t, past(t, f.archive(), indexes, true), tool, true)

	f.SetDown(true)
	if err := os.Remove(filepath.Join(f.dir, "indexes", "suites", "debian_bookworm.json")); err != nil {
		t.Fatal(err)
	}
	_, err = past(t, f.archive(), nil, true).Lists(t.Context(), amd64, tool)
	checkFault(t, err, fault.Unavailable, "tool 2.0 is in no kept index")
	_, err = past(t, f.archive(), nil, true).Sources(t.Context(), "bookworm", "tool", []ashlar.Material{dsc})
	checkFault(t, err, fault.Unavailable, "tool_2.0.dsc is in no kept index")
}

func TestTrust(t *testing.T) {
	f := newFake(t)
	first := f.archive().Trust()
	if again := f.archive().Trust(); again != first {
		t.Error("the same trust has two digests")
	}
	if other := f.archive(func(c *Config) { c.Suites = nil }).Trust(); other == first {
		t.Error("other suites, the same trust")
	}
	if other := f.archive(func(c *Config) { c.MaintainerKeyrings = []string{f.ring} }).Trust(); other == first {
		t.Error("another keyring, the same trust")
	}
	archivetest.WriteKeyring(t, f.ring, newKey(t, "other"))
	if other := f.archive().Trust(); other == first {
		t.Error("other keys, the same trust")
	}
}
