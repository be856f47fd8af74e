package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

const copyrightHead = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nSource: https://example.org\nLicense: summary\n\n"

func TestParseCopyright(t *testing.T) {
	got, err := ParseCopyright([]byte(copyrightHead + `Files: *
Copyright: 2020 A
License: GPL-2+  or
 Expat
 .
 text of both

Files: debian/*
Copyright: 2021 B
License: GPL-2+

Files: x
License: GPL-2+

Files: y
License: public-domain
 because of this

Files: z
License: Public-Domain
 because of that

License: GPL-2+
 first line
  indented
 .
 last line
Comment: said elsewhere

Comment: only this
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Copyright{
		Licenses: []string{"GPL-2+ or", "GPL-2+", "public-domain", "Public-Domain"},
		Texts: map[string]string{
			"gpl-2+ or":     "Expat\n\ntext of both",
			"gpl-2+":        "first line\n indented\n\nlast line",
			"public-domain": "because of this\n\nbecause of that",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if c, err := ParseCopyright([]byte(strings.Replace(copyrightHead, "https://www.debian.org", "http://www.debian.org", 1))); err != nil || len(c.Licenses) > 0 {
		t.Errorf("a header alone: %+v, %v", c, err)
	}
}

func TestBadCopyright(t *testing.T) {
	for name, text := range map[string]string{
		"empty":              "",
		"free text":          "This package was debianized by A.\n\nIt is free.\n",
		"no format":          "Source: x\n\nFiles: *\nLicense: GPL-2\n",
		"later format":       strings.Replace(copyrightHead, "1.0", "2.0", 1),
		"field twice":        copyrightHead + "Files: *\nLicense: A\nLicense: B\n",
		"no field":           copyrightHead + "Files: *\nnothing\n",
		"too large":          copyrightHead + strings.Repeat("Comment: x\n\n", maxCopyright/12+1),
		"too many stanzas":   copyrightHead + strings.Repeat("Comment: x\n\n", maxStanzas+1),
		"too long a name":    copyrightHead + "Files: *\nLicense: " + strings.Repeat("x", maxSynopsis+1) + "\n",
		"too many different": copyrightHead + manyLicenses(maxDeclarations+1),
	} {
		if c, err := ParseCopyright([]byte(text)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if _, err := ParseCopyright([]byte(copyrightHead + manyLicenses(maxDeclarations))); err != nil {
		t.Error(err)
	}
}

func manyLicenses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "Files: %d\nLicense: L%d\n\n", i, i)
	}
	return b.String()
}

// TestRealCopyright reads what the packages of this machine say.
func TestRealCopyright(t *testing.T) {
	all, err := filepath.Glob("/usr/share/doc/*/copyright")
	if err != nil || len(all) == 0 {
		t.Skip("no package is installed here")
	}
	said, read := 0, 0
	for _, name := range all {
		b, err := os.ReadFile(name)
		if err != nil || !bytes.HasPrefix(b, []byte("Format: http")) || !bytes.Contains(b[:min(len(b), 200)], []byte("copyright-format/1.0")) {
			continue
		}
		said++
		c, err := ParseCopyright(b)
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		if len(c.Licenses) > 0 {
			read++
		}
	}
	t.Logf("%d of %d files that say they are machine-readable", read, said)
	if read*10 < said*9 {
		t.Errorf("only %d of %d files can be read", read, said)
	}
}

// TestCopyright looks for the copyright file of a package, or for the package that
// has it.
func TestCopyright(t *testing.T) {
	const doc = "./usr/share/doc/hello"
	link := func(name, to string) tarEntry { return tarEntry{name: name, kind: tar.TypeSymlink, link: to} }
	for _, tt := range []struct {
		name     string
		entries  []tarEntry
		text, of string
	}{
		{"its own", []tarEntry{{name: "./usr/share/doc/other/copyright", data: "other"}, {name: doc + "/copyright", data: "own"}}, "own", ""},
		{"none", []tarEntry{{name: "./usr/bin/hello", data: "x"}}, "", ""},
		{"folder of another", []tarEntry{link(doc, "libhello1")}, "", "libhello1"},
		{"file of another", []tarEntry{link(doc+"/copyright", "../libhello1/copyright")}, "", "libhello1"},
		{"link out", []tarEntry{link(doc, "../../../etc")}, "", ""},
		{"link to the root", []tarEntry{link(doc, "/")}, "", ""},
		{"file elsewhere", []tarEntry{link(doc+"/copyright", "/etc/passwd")}, "", ""},
		{"hard link", []tarEntry{{name: "./a", data: "x"}, {name: doc + "/copyright", kind: tar.TypeLink, link: "./a"}}, "", ""},
		{"too large", []tarEntry{{name: doc + "/copyright", data: strings.Repeat("x", maxCopyright+1)}}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := packed(t, tt.entries...)
			f, err := Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			text, of, err := f.Copyright()
			if err != nil || string(text) != tt.text || of != tt.of {
				t.Errorf("%q, %q, %v", text, of, err)
			}
		})
	}
	b := packed(t, tarEntry{name: "../x"})
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Copyright(); !fault.Is(err, fault.Invalid) {
		t.Errorf("a hostile archive: %v", err)
	}
}

func FuzzParseCopyright(f *testing.F) {
	f.Add([]byte(copyrightHead + "Files: *\nLicense: GPL-2+\n text\n\nLicense: GPL-2+\n .\n more\n"))
	f.Add([]byte(copyrightHead + "Files: *\nLicense:\n no name\n"))
	f.Add([]byte("free text\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCopyright(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Fatal(err)
			}
			return
		}
		if len(c.Licenses) > maxDeclarations {
			t.Fatalf("%d licenses", len(c.Licenses))
		}
		for key, text := range c.Texts {
			if key != strings.ToLower(key) || text == "" {
				t.Fatalf("%q: %q", key, text)
			}
		}
	})
}
