package archive

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestSources(t *testing.T) {
	f := newFake(t)
	a := f.archive()
	for name, want := range map[string][]string{
		"bookworm":          {"2.0+deb1 bookworm-security", "2.0 bookworm", "2.0 bookworm-security", "1.0 bookworm"},
		"bookworm-security": {"2.0+deb1 bookworm-security", "2.0 bookworm-security"},
	} {
		refs, err := a.Sources(t.Context(), name, "tool", day)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range refs {
			got = append(got, r.Package.Version+" "+r.Suite.Name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		m := refs[0].Materials()
		if len(m) != 2 || m[0].URI != "mirror://debian/pool/main/tool/tool_2.0+deb1.dsc" || m[0].Digest != ashlar.DigestOf([]byte("security dsc")) {
			t.Errorf("files %+v", m)
		}
		if an := refs[0].Anchor(); an.Kind != ashlar.AnchoredByIndex || an.By != "mirror://debian/dists/bookworm-security/InRelease" || len(an.Signers) != 1 {
			t.Errorf("anchor %+v", an)
		}
	}
	_, err := a.Sources(t.Context(), "bookworm", "none", day)
	checkFault(t, err, fault.NotFound, `"none"`)
}

// dscText returns a .dsc that lists one file.
func dscText(file string) []byte {
	return fmt.Appendf(nil, "Format: 3.0 (native)\nSource: tool\nVersion: 9\nChecksums-Sha256:\n %s %d tool_9.tar.gz\n",
		ashlar.DigestOf([]byte(file)).Hex(), len(file))
}

func TestAnchorDsc(t *testing.T) {
	f := newFake(t)
	maintainer := newKey(t, "maintainer")
	ring := archivetest.WriteKeyring(t, filepath.Join(f.dir, "maintainers.asc"), maintainer)
	a := f.archive(func(c *Config) { c.MaintainerKeyrings = []string{ring} })
	put := func(b []byte) ashlar.Digest {
		t.Helper()
		file, err := a.cfg.Fetcher.Store.Put(t.Context(), bytes.NewReader(b), "")
		if err != nil {
			t.Fatal(err)
		}
		return file.Digest
	}
	signed, err := maintainer.ClearSign(dscText("x"), day)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := newKey(t, "stranger").ClearSign(dscText("x"), day)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		dsc  []byte
		want ashlar.Anchor
	}{
		{"by index", []byte("new dsc"), ashlar.Anchor{Kind: ashlar.AnchoredByIndex, By: "mirror://debian/dists/bookworm/InRelease", Signers: []string{f.key.Fingerprint()}}},
		{"by signature", signed, ashlar.Anchor{Kind: ashlar.AnchoredBySignature, Signers: []string{maintainer.Fingerprint()}}},
		{"by a stranger", stranger, ashlar.Anchor{Kind: ashlar.Unauthenticated}},
		{"tampered", bytes.Replace(signed, []byte("Version: 9"), []byte("Version: 8"), 1), ashlar.Anchor{Kind: ashlar.Unauthenticated}},
		{"unsigned", dscText("x"), ashlar.Anchor{Kind: ashlar.Unauthenticated}},
	}
	for _, tt := range tests {
		got, err := a.AnchorDsc(t.Context(), "debian-12", put(tt.dsc), day)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestCheckDsc(t *testing.T) {
	s := blob.NewMemory()
	put := func(name string, b []byte) ashlar.Material {
		t.Helper()
		f, err := s.Put(t.Context(), bytes.NewReader(b), "")
		if err != nil {
			t.Fatal(err)
		}
		return ashlar.Material{Name: name, URI: "mirror://debian/pool/" + name, Digest: f.Digest, Size: f.Size}
	}
	dsc := put("tool_9.dsc", dscText("good"))
	good, bad := put("tool_9.tar.gz", []byte("good")), put("tool_9.tar.gz", []byte("evil"))
	unsized := good
	unsized.Size = 0
	tests := []struct {
		name  string
		dsc   ashlar.Material
		files []ashlar.Material
		says  string // "" means success
	}{
		{"good", dsc, []ashlar.Material{good, put("other", nil)}, ""},
		{"size unknown", dsc, []ashlar.Material{unsized}, ""},
		{"missing", dsc, []ashlar.Material{dsc}, "not among the files"},
		{"other content", dsc, []ashlar.Material{bad}, "same version"},
		{"no dsc", put("x.dsc", []byte("nonsense")), nil, "x.dsc"},
		{"listed twice", put("y.dsc", append(dscText("good"), dscText("good")[len(dscText("good"))-82:]...)), []ashlar.Material{good}, "y.dsc"},
	}
	for _, tt := range tests {
		pkg, err := CheckDsc(t.Context(), s, tt.dsc, tt.files)
		if tt.says == "" {
			if err != nil || pkg.Name != "tool" {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
