package source

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestMirrorsFromApt(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tests := []struct {
		name string
		fs   fstest.MapFS
		want map[string][]string
	}{
		{"none", fstest.MapFS{}, map[string][]string{}},
		{"one line", fstest.MapFS{"sources.list": file(`# deb http://comment.example.org/debian bookworm main
deb [arch=amd64 signed-by=/x] http://a.example.org/debian bookworm main # trailing
deb-src	https://b.example.org/debian/	bookworm main contrib
deb cdrom:[Debian]/ bookworm main
deb http://a.example.org/debian-security bookworm-security main
deb http://other.example.org/linux/ubuntu noble main
`)}, map[string][]string{
			"debian":          {"http://a.example.org/debian/", "https://b.example.org/debian/"},
			"debian-security": {"http://a.example.org/debian-security/"},
		}},
		{"deb822", fstest.MapFS{"sources.list.d/debian.sources": file(`# a comment
Types: deb deb-src
# http://comment.example.org/debian
URIs: http://a.example.org/debian
 https://b.example.org/x/debian/
Suites: bookworm bookworm-updates
Components: main

Types: deb
uris: http://security.example.org/
Suites: bookworm-security

Enabled: no
URIs: http://off.example.org/debian
Suites: bookworm
`), "sources.list.d/ignored.sources.save": file("URIs: http://c.example.org/debian\n")}, map[string][]string{
			"debian":          {"http://a.example.org/debian/", "https://b.example.org/x/debian/"},
			"debian-security": {"http://security.example.org/"},
		}},
		{"sibling", fstest.MapFS{"sources.list.d/x.list": file("deb http://a.example.org/debian bookworm main\n")}, map[string][]string{
			"debian":          {"http://a.example.org/debian/"},
			"debian-security": {"http://a.example.org/debian-security/"},
		}},
		{"local", fstest.MapFS{"sources.list": file("deb file:///media/debian bookworm main\ndeb copy:/x/debian bookworm main\n")}, map[string][]string{
			"debian":          {"file:///media/debian/"},
			"debian-security": {"file:///media/debian-security/"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := mirrorsFromApt(tt.fs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, m.Aliases); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAlias(t *testing.T) {
	m := &Mirrors{Aliases: map[string][]string{
		"debian": {"http://a.example.org/debian/", "file:///media/debian/"}, "sub": {"https://a.example.org/debian/sub/"},
	}}
	for in, want := range map[string]string{
		"http://a.example.org/debian/pool/x":           "mirror://debian/pool/x",
		"https://a.example.org/debian/pool/x":          "mirror://debian/pool/x",
		"https://a.example.org/debian/sub/x":           "mirror://sub/x",
		"https://a.example.org/debian-security/pool/x": "https://a.example.org/debian-security/pool/x",
		"https://b.example.org/debian/pool/x":          "https://b.example.org/debian/pool/x",
		"mirror://debian/pool/x":                       "mirror://debian/pool/x",
		"https://x.debian.org/debian/pool/x":           "mirror://debian/pool/x",
		"https://x.debian.org/debian-security/pool/x":  "mirror://debian-security/pool/x",
		"https://notdebian.org/debian/pool/x":          "https://notdebian.org/debian/pool/x",
	} {
		if got := m.Alias(in); got != want {
			t.Errorf("alias of %s is %s, want %s", in, got, want)
		}
	}
}

func TestCandidates(t *testing.T) {
	m := &Mirrors{
		Aliases: map[string][]string{
			"debian":          {"http://a.example.org/debian/", "http://b.example.org/debian/"},
			"debian-security": {"http://s.example.org/security/"},
		},
		Prefixes: []Prefix{
			{Prefix: "https://up.example.org/", To: []string{"https://m1.example.org/up/", "file:///media/up/"}},
			{Prefix: "https://up.example.org/only/", To: []string{"mirror://debian/only/"}, Only: true},
		},
	}
	tests := []struct {
		uri      string
		verified bool
		want     []string
	}{
		{"mirror://debian/pool/main/x", false, []string{"http://a.example.org/debian/pool/main/x", "http://b.example.org/debian/pool/main/x"}},
		{"mirror://debian/pool/main/x", true, []string{"http://a.example.org/debian/pool/main/x", "http://b.example.org/debian/pool/main/x", "http://s.example.org/security/pool/updates/main/x"}},
		{"mirror://debian-security/pool/updates/main/x", true, []string{"http://s.example.org/security/pool/updates/main/x", "http://a.example.org/debian/pool/main/x", "http://b.example.org/debian/pool/main/x"}},
		{"mirror://debian/x", false, []string{"http://a.example.org/debian/x", "http://b.example.org/debian/x"}},
		{"https://up.example.org/x", false, []string{"https://m1.example.org/up/x", "file:///media/up/x", "https://up.example.org/x"}},
		{"https://up.example.org/only/x", false, []string{"http://a.example.org/debian/only/x", "http://b.example.org/debian/only/x"}},
		{"https://c.example.org/debian/pool/x", true, []string{"http://a.example.org/debian/pool/x", "http://b.example.org/debian/pool/x", "https://c.example.org/debian/pool/x"}},
		{"https://c.example.org/debian/pool/x", false, []string{"https://c.example.org/debian/pool/x"}},
	}
	for _, tt := range tests {
		got, err := m.candidates(tt.uri, tt.verified)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", tt.uri, err, diff)
		}
	}
	if _, err := m.candidates("mirror://nope/x", false); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "nope") {
		t.Errorf("unknown alias: %v", err)
	}
}

func TestParseMirrors(t *testing.T) {
	m, err := ParseMirrors("mirrors.json", []byte(`{"aliases": {"debian": ["https://a.example.org/debian"]}, "prefixes": [{"prefix": "https://b.example.org/", "to": ["file:///b/"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	merged := m.Merge(&Mirrors{Aliases: map[string][]string{"debian": {"x"}, "debian-security": {"y"}}})
	want := map[string][]string{"debian": {"https://a.example.org/debian/"}, "debian-security": {"y"}}
	if diff := cmp.Diff(want, merged.Aliases); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "{", `{"alias": {}}`, `{"aliases": {"A/": ["https://x"]}}`, `{"aliases": {"a": []}}`, `{"aliases": {"a": ["ftp://x"]}}`,
		`{"prefixes": [{"prefix": "x", "to": ["https://y"]}]}`, `{"prefixes": [{"prefix": "https://x", "to": []}]}`, `{"prefixes": [{"prefix": "https://x", "to": ["y"]}]}`} {
		if _, err := ParseMirrors("mirrors.json", []byte(bad)); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "mirrors.json") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func FuzzApt(f *testing.F) {
	f.Add("deb [a=b] http://a.example.org/debian bookworm main\n", "URIs: http://a.example.org/debian\nSuites: x\n y\n\nURIs:\n")
	f.Add("deb [ deb", ": \n x\n#\nEnabled: no\nURIs: a b\n")
	f.Fuzz(func(t *testing.T, list, sources string) {
		m, err := mirrorsFromApt(fstest.MapFS{"sources.list": {Data: []byte(list)}, "sources.list.d/x.sources": {Data: []byte(sources)}})
		if err != nil {
			return
		}
		if err := m.check(); err != nil {
			t.Errorf("apt's sources gave bad mirrors: %v", err)
		}
	})
}
