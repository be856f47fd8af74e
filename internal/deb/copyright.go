package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a copyright file, and on the search for it.
const (
	maxCopyright    = 4 << 20 // bytes
	maxStanzas      = 10_000
	maxDeclarations = 500
	maxSynopsis     = 500     // bytes
	maxCopyrightTar = 4 << 30 // bytes of the data archive, unpacked
)

// copyrightFormats are the addresses that both mean version 1.0 of the
// machine-readable format.
var copyrightFormats = []string{
	"https://www.debian.org/doc/packaging-manuals/copyright-format/1.0",
	"http://www.debian.org/doc/packaging-manuals/copyright-format/1.0",
}

// A Copyright is what a machine-readable debian/copyright says of licenses.
type Copyright struct {
	// Licenses are the synopses of its Files stanzas, "GPL-2+ or Artistic-2.0",
	// each once, in their order.
	Licenses []string
	// Texts are the license texts by the synopsis that they stand below, in lower
	// case: of a name alone, or of a whole expression. A name that has several texts
	// has them one after the other.
	Texts map[string]string
}

// ParseCopyright reads a debian/copyright of the machine-readable format, version
// 1.0. The error for any other text is fault.Invalid.
func ParseCopyright(text []byte) (*Copyright, error) {
	if len(text) > maxCopyright {
		return nil, fault.New(fault.Invalid, "copyright: larger than %d bytes", maxCopyright)
	}
	r := NewReader(bytes.NewReader(text))
	header, err := r.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if !slices.Contains(copyrightFormats, strings.TrimSuffix(header.Get("Format"), "/")) {
		return nil, fault.New(fault.Invalid, "copyright: it is not in version 1.0 of the machine-readable format")
	}
	c := &Copyright{Texts: map[string]string{}}
	texts := map[string][]string{}
	for n := 0; ; n++ {
		p, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			for name, list := range texts {
				c.Texts[name] = strings.Join(list, "\n\n")
			}
			return c, nil
		case err != nil:
			return nil, err
		case n == maxStanzas:
			return nil, fault.New(fault.Invalid, "copyright: more than %d stanzas", maxStanzas)
		}
		if err := c.add(p, texts); err != nil {
			return nil, err
		}
	}
}

// add takes a Files or a stand-alone License stanza into account. Texts gets the
// license text that it has.
func (c *Copyright) add(p Paragraph, texts map[string][]string) error {
	if !p.Has("License") {
		return nil
	}
	synopsis, text, _ := strings.Cut(p.Get("License"), "\n")
	if len(synopsis) > maxSynopsis {
		return fault.New(fault.Invalid, "copyright: a synopsis of more than %d bytes", maxSynopsis).At("", p.Line("License"))
	}
	synopsis = strings.Join(strings.Fields(synopsis), " ")
	key := strings.ToLower(synopsis)
	if text = unfold(text); text != "" && !slices.Contains(texts[key], text) {
		texts[key] = append(texts[key], text)
	}
	if !p.Has("Files") || slices.Contains(c.Licenses, synopsis) {
		return nil
	}
	if len(c.Licenses) == maxDeclarations {
		return fault.New(fault.Invalid, "copyright: more than %d licenses", maxDeclarations).At("", p.Line("License"))
	}
	c.Licenses = append(c.Licenses, synopsis)
	return nil
}

// unfold returns formatted text without the blank before each line, and without
// the dot that stands for an empty one.
func unfold(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(strings.TrimPrefix(line, " "), " \t\r\n")
		if line == "." {
			line = ""
		}
		lines = append(lines, line)
	}
	return strings.Trim(strings.Join(lines, "\n"), "\n")
}

// Copyright returns the copyright file of the package, nil if it has none of its
// own. If its documentation is that of another package, as a link says, of is the
// name of that.
func (f *File) Copyright() (text []byte, of string, err error) {
	folder := "usr/share/doc/" + f.Control.Get("Package")
	found := errors.New("found")
	err = walkTar(f.data.name, f.data.section(f.r), maxCopyrightTar, func(h *tar.Header, r io.Reader) error {
		switch {
		case h.Name == folder && h.Typeflag == tar.TypeSymlink:
			of = strings.TrimSuffix(h.Linkname, "/")
		case h.Name != folder+"/copyright":
			return nil
		case h.Typeflag == tar.TypeSymlink:
			of = path.Dir(strings.TrimPrefix(h.Linkname, "../"))
		case h.Typeflag != tar.TypeReg || h.Size > maxCopyright:
			return found
		default:
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			text = b
		}
		return found
	})
	if err != nil && !errors.Is(err, found) {
		return nil, "", err
	}
	if !isFileName(of) {
		of = ""
	}
	return text, of, nil
}
