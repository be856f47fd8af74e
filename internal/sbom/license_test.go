package sbom

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestIdentifier(t *testing.T) {
	for name, want := range map[string]string{
		"GPL-2": "GPL-2.0-only", "GPL-2+": "GPL-2.0-or-later", "gpl-2.0+": "GPL-2.0-or-later", "GPL-3.0.0": "GPL-3.0-only", "GPL": "GPL-1.0-only", "GPL+": "GPL-1.0-or-later",
		"LGPL-2.1+": "LGPL-2.1-or-later", "LGPL-2": "LGPL-2.0-only", "AGPL-3+": "AGPL-3.0-or-later",
		"GFDL-1.3": "GFDL-1.3-only", "GFDL-NIV-1.3+": "GFDL-1.3-no-invariants-or-later",
		"Expat": "MIT", "BSD-3-clause": "BSD-3-Clause", "BSD-3-Clause": "BSD-3-Clause", "ISC": "ISC", "Zlib": "Zlib",
		"Apache-2.0": "Apache-2.0", "Apache-2": "Apache-2.0", "apache-2.0+": "Apache-2.0+", "Artistic-2.0": "Artistic-2.0",
		"CC0-1.0": "CC0-1.0", "CC0": "CC0-1.0", "CC-BY-SA-3.0": "CC-BY-SA-3.0", "CC-BY-4.0": "CC-BY-4.0", "MPL-2.0": "MPL-2.0", "LPPL-1.3c+": "LPPL-1.3c+",
		// What may mean several licenses, or none that SPDX knows.
		"MIT": "", "BSD": "", "BSD-3-clause+": "", "Artistic": "", "Artistic-1": "", "Perl": "", "W3C": "", "MPL": "", "GPL-4": "", "GPL-2.1": "",
		"GFDL": "", "GFDL-1.3+-no-invariant": "", "public-domain": "", "other": "", "": "", "+": "", "-2": "", "GPL-": "", "GPL-2++": "",
	} {
		got, ok := identifier(name)
		if got = map[bool]string{true: got}[ok]; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestDeclared(t *testing.T) {
	for _, tt := range []struct {
		declared []string
		want     string
		refs     []string // names of the licenses with a text
	}{
		{nil, "NOASSERTION", nil},
		{[]string{"GPL-2+"}, "GPL-2.0-or-later", nil},
		{[]string{"GPL-2+", "gpl-2.0+", "Expat"}, "GPL-2.0-or-later AND MIT", nil},
		{[]string{"GPL-2+ or Expat"}, "GPL-2.0-or-later OR MIT", nil},
		{[]string{"GPL-2+ or Expat", "ISC"}, "(GPL-2.0-or-later OR MIT) AND ISC", nil},
		{[]string{"GPL-2 or ISC and Zlib"}, "GPL-2.0-only OR ISC AND Zlib", nil},
		{[]string{"GPL-2 or ISC, and Zlib"}, "(GPL-2.0-only OR ISC) AND Zlib", nil},
		{[]string{"GPL-2, or ISC and Zlib"}, "GPL-2.0-only OR ISC AND Zlib", nil},
		{[]string{"GPL-2 OR ISC AND Zlib"}, "GPL-2.0-only OR ISC AND Zlib", nil},
		{[]string{"GPL-2+ with Font exception"}, "GPL-2.0-or-later WITH Font-exception-2.0", nil},
		{[]string{"GPL-2+ with OpenSSL exception and ISC"}, "LicenseRef-debian-GPL-2--with-OpenSSL-exception AND ISC", []string{"GPL-2+ with OpenSSL exception"}},
		{[]string{"public-domain", "MIT", "public-domain and ISC"}, "LicenseRef-debian-public-domain AND LicenseRef-debian-MIT AND LicenseRef-debian-public-domain AND ISC", []string{"public-domain", "MIT"}},
		{[]string{"own license"}, "LicenseRef-debian-own-license", []string{"own license"}},
		{[]string{"GPL-2 | Artistic"}, "LicenseRef-debian-GPL-2---Artistic", []string{"GPL-2 | Artistic"}},
		{[]string{"a+b", "a-b"}, "LicenseRef-debian-a-b AND LicenseRef-debian-a-b.2", []string{"a+b", "a-b"}},
		{[]string{""}, "LicenseRef-debian-unnamed", []string{"unnamed"}},
		{[]string{"GPL-2 and"}, "LicenseRef-debian-GPL-2-and", []string{"GPL-2 and"}},
		{[]string{"é"}, "LicenseRef-debian--", []string{"é"}},
	} {
		b := builder{used: map[string]bool{}}
		if got := b.declared(Licenses{Declared: tt.declared}); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.declared, got, tt.want)
		}
		var refs []string
		for _, e := range b.licenses {
			refs = append(refs, e.Name)
			if e.Text == "" {
				t.Errorf("%q: %s has no text", tt.declared, e.ID)
			}
		}
		if diff := cmp.Diff(tt.refs, refs); diff != "" {
			t.Errorf("%q: %s", tt.declared, diff)
		}
	}
}

// TestExtracted: a license of its own has the text under its name, else that of
// the expression that it is part of.
func TestExtracted(t *testing.T) {
	b := builder{used: map[string]bool{}}
	b.declared(Licenses{
		Declared: []string{"own", "other and ISC", "third"},
		Texts:    map[string]string{"own": "text of own", "other and isc": "text of both"},
	})
	want := []extractedLicense{
		{"LicenseRef-debian-own", "text of own", "own"},
		{"LicenseRef-debian-other", "text of both", "other"},
		{"LicenseRef-debian-third", "The copyright file names the license third and has no text of it.", "third"},
	}
	if diff := cmp.Diff(want, b.licenses); diff != "" {
		t.Error(diff)
	}
}

// TestTooManyLicenses: of more than a document should carry nothing is said.
func TestTooManyLicenses(t *testing.T) {
	many := Licenses{}
	for i := range maxExtracted + 1 {
		many.Declared = append(many.Declared, "own-"+strconv.Itoa(i))
	}
	long := Licenses{Declared: []string{"a and b and c"}, Texts: map[string]string{"a and b and c": strings.Repeat("x", maxTexts/2)}}
	for name, l := range map[string]Licenses{"many": many, "long": long} {
		b := builder{used: map[string]bool{}}
		if got := b.declared(l); got != "NOASSERTION" || len(b.licenses) > 0 {
			t.Errorf("%s: %.100s, %d licenses", name, got, len(b.licenses))
		}
	}
}

var tokens = regexp.MustCompile(`^(AND|OR|WITH|[A-Za-z0-9.-]+\+?)$`)

// FuzzDeclared: whatever a copyright file declares becomes an expression of SPDX's
// form whose references are all there.
func FuzzDeclared(f *testing.F) {
	for _, seed := range []string{"GPL-2+ or Artistic, and BSD-3-clause", "GPL-2+ with Font exception", "a and b and c, or d", " or ", ", and ,or", "x (y) z", "\x00\xff", "MIT-0 and 0BSD"} {
		f.Add(seed, "ISC")
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		b := builder{used: map[string]bool{}}
		e := b.declared(Licenses{Declared: []string{one, two}})
		refs := map[string]bool{}
		for _, r := range b.licenses {
			refs[r.ID] = true
		}
		depth := 0
		for _, word := range strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(e)) {
			switch {
			case word == "(":
				depth++
			case word == ")":
				depth--
			case !tokens.MatchString(word), strings.HasPrefix(word, "LicenseRef-") && !refs[word]:
				t.Fatalf("%q and %q give %q: %q", one, two, e, word)
			}
			if depth < 0 {
				t.Fatalf("%q and %q give %q", one, two, e)
			}
		}
		if depth != 0 || e == "" {
			t.Fatalf("%q and %q give %q", one, two, e)
		}
	})
}
