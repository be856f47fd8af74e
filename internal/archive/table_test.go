package archive

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
)

func TestTable(t *testing.T) {
	// Out of order on purpose, and without a newline at the end.
	text := []byte("Package: b\nVersion: 1\n\nPackage: a\nProvides: v (= 1), w:any\n\n\nPackage: b\nEssential: yes\nProvides: v")
	d := ashlar.DigestOf(text)
	b, err := buildTable(text, d, binaries)
	if err != nil {
		t.Fatal(err)
	}
	tab, size, err := decodeTable(b, d, binaries)
	if err != nil || size != int64(len(text)) {
		t.Fatal(size, err)
	}
	tab.text = bytes.NewReader(text)
	read := func(found []int) string {
		var all []string
		for _, i := range found {
			s, err := tab.stanza(i)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.TrimSpace(strings.ReplaceAll(string(s), "\n", ";")))
		}
		return strings.Join(all, "|")
	}
	for _, tt := range []struct{ got, want string }{
		{read(tab.byName("a")), "Package: a;Provides: v (= 1), w:any;"},
		{read(tab.byName("b")), "Package: b;Version: 1;|Package: b;Essential: yes;Provides: v"},
		{read(tab.byName("c")), ""},
		{read(tab.byKey("v")), "Package: a;Provides: v (= 1), w:any;|Package: b;Essential: yes;Provides: v"},
		{read(tab.byKey("w")), "Package: a;Provides: v (= 1), w:any;"},
		{read(tab.byKey(essentialKey)), "Package: b;Essential: yes;Provides: v"},
	} {
		if tt.got != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	if _, _, err := decodeTable(b, d, sources); err == nil {
		t.Error("a table of packages passed as one of sources")
	}
	if _, _, err := decodeTable(b, ashlar.DigestOf(nil), binaries); err == nil {
		t.Error("a table of another text passed")
	}
	for i := range b {
		c := slices.Clone(b)
		c[i] ^= 0x40
		if _, _, err := decodeTable(c, d, binaries); err == nil {
			t.Errorf("a table with byte %d changed passed", i)
		}
	}
	if _, err := buildTable([]byte("Version: 1\n"), d, binaries); err == nil {
		t.Error("a stanza without a name passed")
	}
}

// FuzzTable gives tables with a right checksum but any content.
func FuzzTable(f *testing.F) {
	text := []byte(packages)
	d := ashlar.DigestOf(text)
	b, err := buildTable(text, d, binaries)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:len(b)-sha256.Size], "tool")
	f.Add(b[:headerSize], "x")
	f.Fuzz(func(t *testing.T, body []byte, name string) {
		sum := sha256.Sum256(body)
		tab, _, err := decodeTable(append(slices.Clone(body), sum[:]...), d, binaries)
		if err != nil {
			return
		}
		tab.text = bytes.NewReader(text)
		for _, i := range append(tab.byName(name), tab.byKey(name)...) {
			tab.stanza(i)
		}
	})
}

// FuzzBuildTable makes tables of any text and finds every stanza again.
func FuzzBuildTable(f *testing.F) {
	f.Add([]byte(packages))
	f.Add([]byte("Package: a\nProvides: ,,(\n :\n\nPackage: a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := ashlar.DigestOf(text)
		b, err := buildTable(text, d, binaries)
		if err != nil {
			return
		}
		tab, _, err := decodeTable(b, d, binaries)
		if err != nil {
			t.Fatal(err)
		}
		tab.text = bytes.NewReader(text)
		for i := range len(tab.stanzas) / stanzaSize {
			s, err := tab.stanza(i)
			if err != nil {
				t.Fatal(err)
			}
			if name := scan(s, binaries).name; !slices.Contains(tab.byName(name), i) {
				t.Errorf("stanza %d is not found by its name %q", i, name)
			}
		}
	})
}
