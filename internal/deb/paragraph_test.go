package deb

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestReader(t *testing.T) {
	const text = "# a comment\n\n\nA: 1\nb:2 \n#inside\nC:\n one\n#between\n .\n\ttwo\n\n \nD: x: y\n"
	r := NewReader(strings.NewReader(text))
	var got []Paragraph
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p)
	}
	want := []Paragraph{
		{},
		{Fields: []Field{{"A", "1", 4}, {"b", "2", 5}, {"C", "\n one\n .\n\ttwo", 7}}},
		{Fields: []Field{{"D", "x: y", 14}}},
	}
	want[0].Fields = []Field{}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestParagraphEdits(t *testing.T) {
	p, err := ParseParagraph([]byte("Package: a\nVersion: 1\nDescription: x\n y\n"))
	if err != nil {
		t.Fatal(err)
	}
	p.Set("VERSION", "2")
	p.Set("Extra", "\n list")
	p.Delete("package")
	if got, want := p.String(), "Version: 2\nDescription: x\n y\nExtra:\n list\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if p.Has("Package") || p.Line("Description") != 3 {
		t.Errorf("after the edits: %+v", p)
	}
}

func TestBadParagraphs(t *testing.T) {
	for text, want := range map[string]string{
		"A: 1\nA: 2\n":                         "2: field A is there twice",
		"A: 1\na: 2\n":                         "twice",
		" x\n":                                 "continues no field",
		"A: 1\nrubbish\n":                      "2: \"rubbish\" is not a field",
		": x\n":                                "not a field",
		"A b: x\n":                             "not a field",
		"":                                     "no control paragraph",
		"\n\n":                                 "no control paragraph",
		"A: 1\n\nB: 2\n":                       "more than one",
		"A: " + strings.Repeat("x", 17<<20):    "larger than",
		strings.Repeat("A:\n", 1):              "",
		manyFields(1001):                       "more than 1000 fields",
		"A: 1\r\nB: 2\r\n":                     "",
		"-A: 1\n":                              "not a field",
		"-----BEGIN PGP SIGNED MESSAGE-----\n": "not a field",
	} {
		_, err := ParseParagraph([]byte(text))
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", clip(text), err)
			}
			continue
		}
		checkError(t, err, want)
	}
}

func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("F" + strings.Repeat("x", i) + ": 1\n")
	}
	return b.String()
}

func TestStanzas(t *testing.T) {
	text := []byte("\nPackage: a\nProvides: x,\n y\n\n\nPackage: b\nProvides:\n")
	var got []string
	for at, s := range Stanzas(text) {
		if !bytes.Equal(text[at:at+len(s)], s) {
			t.Errorf("offset %d is not that of %q", at, s)
		}
		got = append(got, string(StanzaField(s, "Package"))+"|"+string(StanzaField(s, "Provides"))+"|"+string(StanzaField(s, "None")))
	}
	if d := cmp.Diff([]string{"a|x,\n y|", "b||"}, got); d != "" {
		t.Error(d)
	}
}

func FuzzReader(f *testing.F) {
	f.Add("A: 1\nB:\n x\n .\n\nC: 2")
	f.Add("# c\nA:\n#x\n y\n")
	f.Add("\r\n\r\nA:\r\n b\r\n")
	f.Add(" \n\t\nA::\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := NewReader(strings.NewReader(text))
		for {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				if !fault.Is(err, fault.Invalid) {
					t.Errorf("%v is not an invalid error", err)
				}
				break
			}
			if len(p.Fields) == 0 {
				continue // comments only
			}
			again, err := ParseParagraph(p.AppendTo(nil))
			if err != nil {
				t.Fatalf("%q does not parse as what it was written for: %v", p.String(), err)
			}
			for i := range again.Fields {
				again.Fields[i].Line = p.Fields[i].Line
			}
			if d := cmp.Diff(p, again); d != "" {
				t.Error(d)
			}
		}
		for at, s := range Stanzas([]byte(text)) {
			if at+len(s) > len(text) {
				t.Errorf("stanza at %d with %d bytes", at, len(s))
			}
			StanzaField(s, "A")
			_, _ = ParsePackageText(s)
		}
	})
}
