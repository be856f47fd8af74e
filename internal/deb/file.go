package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a binary package.
const (
	maxControlTar   = 64 << 20 // bytes, unpacked
	maxControlFiles = 1000
	maxControl      = 4 << 20  // bytes of the control file
	maxDataTar      = 16 << 30 // bytes, unpacked
	maxEntries      = 1_000_000
	maxPath         = 4096
)

// A File is an opened Debian binary package.
type File struct {
	Control      Paragraph
	ControlFiles []ControlFile // in the order of the archive, "control" included

	r    io.ReaderAt
	data member
}

// A ControlFile is a file of a package's control archive: a maintainer script,
// a list of conffiles, and so on.
type ControlFile struct {
	Name string // plain name, such as "postinst"
	Mode int64  // permission bits
	Data []byte
}

// Open reads the control archive of a .deb of the given size in bytes. Errors of
// form are fault.Invalid. The File reads from r as long as it is used.
func Open(r io.ReaderAt, size int64) (*File, error) {
	control, data, err := debMembers(r, size)
	if err != nil {
		return nil, err
	}
	f := &File{r: r, data: data}
	if err := f.readControl(control); err != nil {
		return nil, err
	}
	return f, nil
}

// readControl fills in what the control archive holds.
func (f *File) readControl(m member) error {
	total := 0
	err := walkTar(m.name, m.section(f.r), maxControlTar, func(h *tar.Header, r io.Reader) error {
		switch {
		case h.Typeflag == tar.TypeDir:
			return nil
		case h.Typeflag != tar.TypeReg || !isFileName(h.Name):
			return notDeb("control archive: %q is not a plain file", clip(h.Name))
		case len(f.ControlFiles) == maxControlFiles:
			return notDeb("control archive: more than %d files", maxControlFiles)
		case h.Size > int64(maxControlTar-total):
			return notDeb("control archive: it is too large")
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		total += len(data)
		f.ControlFiles = append(f.ControlFiles, ControlFile{Name: h.Name, Mode: h.Mode & 0o777, Data: data})
		return nil
	})
	if err != nil {
		return err
	}
	text, ok := f.ControlFile("control")
	if !ok {
		return notDeb("control archive: no control file")
	}
	f.Control, err = ParseParagraph(text)
	return err
}

// ControlFile returns the content of a control file, and whether there is one of
// that name.
func (f *File) ControlFile(name string) ([]byte, bool) {
	for _, c := range f.ControlFiles {
		if c.Name == name {
			return c.Data, true
		}
	}
	return nil, false
}

// Package returns the description of the package from its control file.
func (f *File) Package() (*Package, error) { return ParsePackage(f.Control) }

// Walk calls fn for every entry of the data archive, in its order. The header's
// Name is the clean path below the root, "." for the root itself; so is Linkname
// of a hard link, which always names an earlier regular file. Only directories,
// regular files, symbolic and hard links occur. Walk refuses, with a
// fault.Invalid error: paths that leave the root, other kinds of file, sparse
// files, a path that is there twice. An error of fn stops it and is returned.
func (f *File) Walk(fn func(h *tar.Header, r io.Reader) error) error {
	return walkTar(f.data.name, f.data.section(f.r), maxDataTar, fn)
}

// walkTar reads a compressed archive under the rules of Walk.
func walkTar(name string, r io.Reader, max int64, fn func(*tar.Header, io.Reader) error) error {
	plain, err := compress.NewReader(name, r, max)
	if err != nil {
		return err
	}
	defer plain.Close()
	return walkPlain(name, plain, fn)
}

// walkPlain is walkTar for an archive that is being decompressed.
func walkPlain(name string, plain io.Reader, fn func(*tar.Header, io.Reader) error) error {
	t := tar.NewReader(plain)
	seen := map[string]byte{}
	for {
		h, err := t.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, plain) // a broken end is broken too
			return err
		}
		if err != nil {
			return tarError(name, err)
		}
		if err := checkEntry(h, seen); err != nil {
			return err.At(name, 0)
		}
		if err := fn(h, &tarContent{name, t}); err != nil {
			return err
		}
	}
}

// checkEntry cleans the names of a header and refuses what must not be there.
func checkEntry(h *tar.Header, seen map[string]byte) *fault.Error {
	var ok bool
	if h.Name, ok = cleanPath(h.Name); !ok {
		return fault.New(fault.Invalid, "the archive has a path that leaves its root or is malformed: %q", clip(h.Name))
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > maxPath || strings.ContainsAny(h.Linkname, "\x00\n") {
			return fault.New(fault.Invalid, "%s: the symbolic link has a malformed target", h.Name)
		}
	case tar.TypeLink:
		if h.Linkname, ok = cleanPath(h.Linkname); !ok || seen[h.Linkname] != tar.TypeReg {
			return fault.New(fault.Invalid, "%s: the hard link names no earlier file of the archive", h.Name)
		}
	default:
		return fault.New(fault.Invalid, "%s: a kind of file (%q) that packages must not have", h.Name, h.Typeflag)
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fault.New(fault.Invalid, "%s: sparse files are not allowed", h.Name)
		}
	}
	before, twice := seen[h.Name]
	switch {
	case twice && (before != tar.TypeDir || h.Typeflag != tar.TypeDir):
		return fault.New(fault.Invalid, "%s: it is there twice", h.Name)
	case len(seen) == maxEntries:
		return fault.New(fault.Invalid, "the archive has more than %d entries", maxEntries)
	}
	seen[h.Name] = h.Typeflag
	return nil
}

// cleanPath returns the path of an archive entry without "./" before and "/"
// after it, and whether it is well formed and stays below the root.
func cleanPath(s string) (string, bool) {
	c := strings.TrimSuffix(s, "/")
	for strings.HasPrefix(c, "./") {
		c = c[2:]
	}
	if c == "." || c == "" && strings.HasPrefix(s, ".") {
		return ".", true
	}
	if len(c) > maxPath || strings.ContainsAny(c, "\x00\n") {
		return s, false
	}
	for part := range strings.SplitSeq(c, "/") {
		if part == "" || part == "." || part == ".." {
			return s, false
		}
	}
	return c, true
}

// tarContent words the errors of reading an entry's content.
type tarContent struct {
	name string
	t    *tar.Reader
}

func (c *tarContent) Read(p []byte) (int, error) {
	n, err := c.t.Read(p)
	if err != nil && err != io.EOF {
		err = tarError(c.name, err)
	}
	return n, err
}

// tarError keeps errors that have a kind, and blames the archive for its own.
func tarError(name string, err error) error {
	if fault.KindOf(err) != fault.Internal {
		return err
	}
	for _, own := range []error{io.ErrUnexpectedEOF, tar.ErrHeader, tar.ErrFieldTooLong, tar.ErrInsecurePath} {
		if errors.Is(err, own) {
			return fault.New(fault.Invalid, "the archive is malformed or cut short: %w", err).At(name, 0)
		}
	}
	return err
}

// ReadControl returns the text of the control file of a .deb and reads no more
// than it must, which makes it the way to index many packages. It checks the
// outer form of the .deb but neither its data nor what follows the control file;
// Open and Walk do.
func ReadControl(r io.ReaderAt, size int64) ([]byte, error) {
	control, _, err := debMembers(r, size)
	if err != nil {
		return nil, err
	}
	plain, err := compress.NewReader(control.name, control.section(r), maxControlTar)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	t := tar.NewReader(plain)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return nil, notDeb("control archive: no control file")
		}
		if err != nil {
			return nil, tarError(control.name, err)
		}
		if name, ok := cleanPath(h.Name); !ok || name != "control" || h.Typeflag != tar.TypeReg {
			continue
		}
		if h.Size > maxControl {
			return nil, notDeb("control archive: the control file is larger than %d bytes", maxControl)
		}
		b := bytes.NewBuffer(make([]byte, 0, h.Size+bytes.MinRead))
		if _, err := b.ReadFrom(t); err != nil {
			return nil, tarError(control.name, err)
		}
		return b.Bytes(), nil
	}
}
