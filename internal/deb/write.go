package deb

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A WriteSpec says what to pack into a .deb.
type WriteSpec struct {
	// Control is the control file. Its Installed-Size is set by Write.
	Control Paragraph
	// Scripts are further files of the control archive: maintainer scripts,
	// triggers and so on, but neither control nor md5sums nor conffiles.
	Scripts []ControlFile
	// Conffiles are the paths, below the root, of the configuration files. Each is
	// a regular file of the package.
	Conffiles []string
	// Files are sorted before they are packed. Every folder must be listed but the
	// root.
	Files []PackFile
	// ModTime is the time of every file, in Unix seconds.
	ModTime int64
	// Spool holds the compressed files until their digests are known, which stand
	// before them in the package: an empty temporary file.
	Spool io.ReadWriteSeeker
}

// A PackFile is a file to be packed, with its content.
type PackFile struct {
	Path        string // below the root, with slashes between its parts and none at the ends
	Type        byte   // tar.TypeReg, TypeDir, TypeSymlink or TypeLink
	Mode        int64  // permission bits with setuid, setgid and sticky
	UID, GID    int
	User, Group string // names of the owner, "" if only the numbers are known
	Size        int64  // in bytes, of a regular file
	// Target is where a symbolic link points, or the Path of the regular file,
	// before it in order, of which a hard link is another name.
	Target string
	// Open returns the content of a regular file, of exactly Size bytes. It is
	// called once.
	Open func() (io.ReadCloser, error)
}

// Write packs and writes a .deb of format 2.0 to w, with both archives in gzip,
// as dpkg-deb lays it out. The same spec always gives the same bytes. What dpkg
// would refuse or misread is a fault.Invalid error.
func Write(w io.Writer, spec *WriteSpec) error {
	if _, err := ParsePackage(spec.Control); err != nil {
		return err
	}
	p := packer{files: slices.Clone(spec.Files), time: time.Unix(spec.ModTime, 0).UTC(), sums: map[string]string{}}
	slices.SortFunc(p.files, func(a, b PackFile) int { return cmp.Compare(a.Path, b.Path) })
	if err := p.check(spec.Conffiles); err != nil {
		return fault.Within(err, "package %s", clip(spec.Control.Get("Package")))
	}
	counter := &counter{w: spec.Spool}
	if err := p.data(counter); err != nil {
		return fault.Within(err, "package %s", clip(spec.Control.Get("Package")))
	}
	control, err := p.control(spec)
	if err != nil {
		return err
	}
	if _, err := spec.Spool.Seek(0, io.SeekStart); err != nil {
		return err
	}
	a := arWriter{w: w, time: spec.ModTime}
	a.magic()
	a.member("debian-binary", 4, strings.NewReader("2.0\n"))
	a.member("control.tar.gz", int64(len(control)), bytes.NewReader(control))
	a.member("data.tar.gz", counter.n, spec.Spool)
	return a.err
}

// counter counts what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// A packer writes the archives of a package.
type packer struct {
	files []PackFile
	time  time.Time
	sums  map[string]string // MD5 of regular files, in hexadecimal digits
}

// check checks the files against one another.
func (p *packer) check(conffiles []string) error {
	types := make(map[string]byte, len(p.files))
	for i := range p.files {
		f := &p.files[i]
		if err := f.check(types); err != nil {
			return err
		}
		types[f.Path] = f.Type
	}
	for _, c := range conffiles {
		if types[c] != tar.TypeReg {
			return fault.New(fault.Invalid, "conffile %q is not a file of the package", clip(c))
		}
	}
	return nil
}

// check checks one file; before are the types of those before it.
func (f *PackFile) check(before map[string]byte) error {
	bad := func(format string, args ...any) error {
		return fault.Within(fault.New(fault.Invalid, format, args...), "%s", clip(f.Path))
	}
	if clean, ok := cleanPath(f.Path); !ok || clean != f.Path || clean == "." {
		return bad("it is not the path of a file in a package")
	}
	if _, twice := before[f.Path]; twice {
		return bad("it is there twice")
	}
	if at := strings.LastIndexByte(f.Path, '/'); at >= 0 && before[f.Path[:at]] != tar.TypeDir {
		return bad("the folder it is in is not listed")
	}
	switch f.Type {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink:
		if f.Target == "" || len(f.Target) > maxPath || strings.ContainsAny(f.Target, "\x00\n") {
			return bad("the symbolic link has a malformed target")
		}
	case tar.TypeLink:
		if before[f.Target] != tar.TypeReg {
			return bad("the hard link names no earlier file")
		}
	default:
		return bad("a kind of file (%q) that packages must not have", f.Type)
	}
	if f.Size < 0 || f.Size > 0 && f.Type != tar.TypeReg || f.Mode&^0o7777 != 0 || f.UID < 0 || f.GID < 0 {
		return bad("its size, mode or owner is out of range")
	}
	return nil
}

// data writes the data archive.
func (p *packer) data(w io.Writer) error {
	z := compress.NewGzipWriter(w)
	t := tar.NewWriter(z)
	root := PackFile{Type: tar.TypeDir, Mode: 0o755, User: "root", Group: "root"}
	if err := t.WriteHeader(p.header(&root)); err != nil {
		return err
	}
	for i := range p.files {
		if err := p.file(t, &p.files[i]); err != nil {
			return fault.Within(err, "%s", clip(p.files[i].Path))
		}
	}
	return errors.Join(t.Close(), z.Close())
}

// header returns the header of a file, in the form of old GNU tar, which dpkg
// reads for long names.
func (p *packer) header(f *PackFile) *tar.Header {
	h := &tar.Header{
		Format: tar.FormatGNU, Typeflag: f.Type, Name: "./" + f.Path, Mode: f.Mode, Uid: f.UID, Gid: f.GID,
		Uname: f.User, Gname: f.Group, Size: f.Size, ModTime: p.time,
	}
	switch f.Type {
	case tar.TypeDir:
		h.Name = strings.TrimSuffix(h.Name, "/") + "/"
	case tar.TypeSymlink:
		h.Linkname = f.Target
	case tar.TypeLink:
		h.Linkname = "./" + f.Target
	}
	return h
}

// file writes one file and remembers its digest.
func (p *packer) file(t *tar.Writer, f *PackFile) error {
	if err := t.WriteHeader(p.header(f)); err != nil {
		return fault.New(fault.Invalid, "it cannot be packed: %w", err)
	}
	switch f.Type {
	case tar.TypeLink:
		p.sums[f.Path] = p.sums[f.Target]
	case tar.TypeReg:
		sum := md5.New()
		if f.Size > 0 {
			if err := copyExactly(io.MultiWriter(t, sum), f); err != nil {
				return err
			}
		}
		p.sums[f.Path] = hex.EncodeToString(sum.Sum(nil))
	}
	return nil
}

// copyExactly writes the content of a file and wants it to be of its size.
func copyExactly(w io.Writer, f *PackFile) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, io.LimitReader(r, f.Size+1))
	if err == nil && n != f.Size || errors.Is(err, tar.ErrWriteTooLong) {
		return fault.New(fault.Invalid, "its content is not of the %d bytes that it should have", f.Size)
	}
	return err
}

// control returns the control archive.
func (p *packer) control(spec *WriteSpec) ([]byte, error) {
	files := []ControlFile{{Name: "control", Mode: 0o644, Data: p.controlFile(spec.Control)}}
	if len(spec.Conffiles) > 0 {
		var b []byte
		for _, c := range slices.Sorted(slices.Values(spec.Conffiles)) {
			b = append(append(append(b, '/'), c...), '\n')
		}
		files = append(files, ControlFile{Name: "conffiles", Mode: 0o644, Data: b})
	}
	if sums := p.md5sums(spec.Conffiles); len(sums) > 0 {
		files = append(files, ControlFile{Name: "md5sums", Mode: 0o644, Data: sums})
	}
	files = append(files, spec.Scripts...)
	slices.SortFunc(files, func(a, b ControlFile) int { return cmp.Compare(a.Name, b.Name) })
	var b bytes.Buffer
	z := compress.NewGzipWriter(&b)
	t := tar.NewWriter(z)
	root := PackFile{Type: tar.TypeDir, Mode: 0o755, User: "root", Group: "root"}
	if err := t.WriteHeader(p.header(&root)); err != nil {
		return nil, err
	}
	for i, f := range files {
		if !isFileName(f.Name) || i > 0 && f.Name == files[i-1].Name {
			return nil, fault.New(fault.Invalid, "control archive: %q is no name for a file, or there twice", clip(f.Name))
		}
		entry := PackFile{Path: f.Name, Type: tar.TypeReg, Mode: f.Mode, User: "root", Group: "root", Size: int64(len(f.Data))}
		if err := t.WriteHeader(p.header(&entry)); err != nil {
			return nil, err
		}
		if _, err := t.Write(f.Data); err != nil {
			return nil, err
		}
	}
	err := errors.Join(t.Close(), z.Close())
	return b.Bytes(), err
}

// controlFile returns the control file with Installed-Size after the maintainer,
// where dpkg has it: the kibibytes of each file, and one for everything else.
func (p *packer) controlFile(c Paragraph) []byte {
	var kib int64
	for i := range p.files {
		switch f := &p.files[i]; f.Type {
		case tar.TypeReg:
			kib += (f.Size + 1023) / 1024
		case tar.TypeDir, tar.TypeSymlink:
			kib++
		}
	}
	size := Field{Name: "Installed-Size", Value: strconv.FormatInt(kib, 10)}
	var with Paragraph
	at := max(c.index("Maintainer"), c.index("Architecture"))
	for i, f := range c.Fields {
		if !strings.EqualFold(f.Name, size.Name) {
			with.Fields = append(with.Fields, f)
		}
		if i == at {
			with.Fields = append(with.Fields, size)
		}
	}
	return with.AppendTo(nil)
}

// md5sums returns the file of that name: a line for each file that dpkg does not
// know a digest of anyway.
func (p *packer) md5sums(conffiles []string) []byte {
	var b []byte
	for i := range p.files {
		name := p.files[i].Path
		if sum, ok := p.sums[name]; ok && !slices.Contains(conffiles, name) {
			b = fmt.Appendf(b, "%s  %s\n", sum, name)
		}
	}
	return b
}

// An arWriter writes an ar archive and keeps the first error.
type arWriter struct {
	w    io.Writer
	time int64
	err  error
}

func (a *arWriter) magic() { a.copy(strings.NewReader(arMagic), int64(len(arMagic))) }

// member writes a member of the given size in bytes.
func (a *arWriter) member(name string, size int64, r io.Reader) {
	header := fmt.Sprintf("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, a.time, 0, 0, "100644", size)
	if a.err == nil && (len(header) != arHeaderSize || size > 9_999_999_999) {
		a.err = fault.New(fault.Invalid, "member %s is too large for a .deb", name)
	}
	a.copy(strings.NewReader(header), arHeaderSize)
	a.copy(r, size)
	if size%2 != 0 {
		a.copy(strings.NewReader("\n"), 1)
	}
}

// copy writes exactly n bytes of r.
func (a *arWriter) copy(r io.Reader, n int64) {
	if a.err == nil {
		_, a.err = io.CopyN(a.w, r, n)
	}
}
