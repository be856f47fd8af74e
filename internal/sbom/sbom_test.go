package sbom

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func TestDebPURL(t *testing.T) {
	for _, c := range []struct{ vendor, name, version, arch, distro, want string }{
		{"debian", "curl", "7.50.3-1", "i386", "jessie", "pkg:deb/debian/curl@7.50.3-1?arch=i386&distro=jessie"},
		{"debian", "attr", "1:2.4.47-2", "source", "", "pkg:deb/debian/attr@1:2.4.47-2?arch=source"},
		{"debian", "attr", "1:2.4.47-2+b1", "amd64", "", "pkg:deb/debian/attr@1:2.4.47-2%2Bb1?arch=amd64"},
		{"Ashlar", "libstdc++6", "12~rc1", "", "debian-12", "pkg:deb/ashlar/libstdc%2B%2B6@12~rc1?distro=debian-12"},
		{"debian", "a/b?c#d@e %", "", "", "", "pkg:deb/debian/a%2Fb%3Fc%23d%40e%20%25"},
	} {
		if got := DebPURL(c.vendor, c.name, c.version, c.arch, c.distro); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestApkPURL(t *testing.T) {
	for _, c := range []struct{ name, version, arch, want string }{
		{"curl", "7.83.0-r0", "x86_64", "pkg:apk/ashlar/curl@7.83.0-r0?arch=x86_64&distro=musl-1"},
		{"libstdc++", "1_rc1-r2", "noarch", "pkg:apk/ashlar/libstdc%2B%2B@1_rc1-r2?arch=noarch&distro=musl-1"},
	} {
		if got := ApkPURL(VendorAshlar, c.name, c.version, c.arch, "musl-1"); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func sampleInput() Input {
	digest := func(s string) ashlar.Digest { return ashlar.DigestOf([]byte(s)) }
	return Input{
		Name: "bzip2_1.0.8-5+cut12u1_amd64.deb", Namespace: "https://example.org/spdx/", Tool: "ashlar-1.0",
		Created: time.Date(2026, 11, 23, 12, 0, 0, 5, time.FixedZone("", 3600)),
		Packages: []Package{{Name: "bzip2", Version: "1.0.8-5+cut12u1", FileName: "bzip2_1.0.8-5+cut12u1_amd64.deb",
			Digest: digest("deb"), PURL: DebPURL(VendorAshlar, "bzip2", "1.0.8-5+cut12u1", "amd64", "debian-12"),
			Licenses: Licenses{
				Declared: []string{"BSD-variant", "GPL-2", "GPL-2+ with Font exception or Apache-2.0+, and public-domain"},
				Texts:    map[string]string{"bsd-variant": "Redistribution is permitted.\n\nProvided that …", "public-domain": "No rights."},
			}}},
		Sources: []Package{
			{Name: "bzip2_1.0.8-5.dsc", Version: "1.0.8-5", URI: "mirror://debian/pool/main/b/bzip2/bzip2_1.0.8-5.dsc", Digest: digest("dsc"),
				PURL: DebPURL(VendorDebian, "bzip2", "1.0.8-5", "source", "debian-12")},
			{Name: "bzip2-1.0.8.tar.gz", URI: "https://example.org/bzip2-1.0.8.tar.gz", Digest: digest("orig")},
		},
		Patches: []Package{{Name: "CVE-2026-1.patch", Digest: digest("patch")}, {Name: "CVE-2026-1.patch", Digest: digest("second patch")}},
	}
}

func TestSPDXGolden(t *testing.T) {
	got, err := SPDX(sampleInput())
	if err != nil {
		t.Fatal(err)
	}
	again, err := SPDX(sampleInput())
	if err != nil || !bytes.Equal(got, again) {
		t.Errorf("the same input gives other bytes, or %v", err)
	}
	golden := filepath.Join("testdata", "bzip2.spdx.json")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs; -update writes it anew:\n%s", golden, d)
	}
}

// TestSPDXShape checks what the specification demands of every document.
func TestSPDXShape(t *testing.T) {
	b, err := SPDX(sampleInput())
	if err != nil {
		t.Fatal(err)
	}
	var d document
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		t.Fatal(err)
	}
	if d.SPDXVersion != "SPDX-2.3" || d.DataLicense != "CC0-1.0" || d.ID != "SPDXRef-DOCUMENT" || d.Creation.Created != "2026-11-23T11:00:00Z" {
		t.Errorf("head of the document: %+v", d)
	}
	if !regexp.MustCompile(`^https://example\.org/spdx/[^#/ ]+-[0-9a-f]{64}$`).MatchString(d.Namespace) {
		t.Errorf("namespace %s", d.Namespace)
	}
	ids := map[string]bool{d.ID: true}
	form := regexp.MustCompile(`^SPDXRef-[A-Za-z0-9.-]+$`)
	for _, p := range d.Packages {
		if ids[p.ID] || !form.MatchString(p.ID) {
			t.Errorf("identifier %s is there twice or malformed", p.ID)
		}
		ids[p.ID] = true
		if p.Name == "" || p.DownloadLocation == "" || p.FilesAnalyzed || p.LicenseDeclared == "" || p.Copyright == "" || len(p.Checksums) != 1 {
			t.Errorf("package lacks something: %+v", p)
		}
	}
	count := map[string]int{}
	for _, r := range d.Relationships {
		count[r.Type]++
		if !ids[r.From] || !ids[r.To] {
			t.Errorf("relationship with something that is not there: %+v", r)
		}
	}
	want := map[string]int{"DESCRIBES": 1, "GENERATED_FROM": 4, "PATCH_APPLIED": 2}
	if d := cmp.Diff(want, count); d != "" {
		t.Error(d)
	}
}

func TestSPDXRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Input){
		"name":      func(in *Input) { in.Name = "" },
		"namespace": func(in *Input) { in.Namespace = "" },
		"tool":      func(in *Input) { in.Tool = "" },
		"package":   func(in *Input) { in.Packages = nil },
		"digest":    func(in *Input) { in.Patches[0].Digest = "sha256:x" },
		"unnamed":   func(in *Input) { in.Sources[0].Name = "" },
	} {
		in := sampleInput()
		spoil(&in)
		if _, err := SPDX(in); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want an invalid error", name, err)
		}
	}
}

func TestNamespaceNamesContent(t *testing.T) {
	in := sampleInput()
	a, err := SPDX(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Sources[0].Version = "1.0.8-6"
	b, err := SPDX(in)
	if err != nil {
		t.Fatal(err)
	}
	line := func(doc []byte) string {
		for l := range strings.Lines(string(doc)) {
			if strings.Contains(l, "documentNamespace") {
				return l
			}
		}
		return ""
	}
	if line(a) == line(b) {
		t.Error("two contents have one namespace")
	}
}
