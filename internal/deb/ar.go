package deb

import (
	"io"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

const (
	arMagic      = "!<arch>\n"
	arHeaderSize = 60
	maxMembers   = 16
)

// A member is one member of an ar archive.
type member struct {
	name   string
	offset int64
	size   int64
}

// section returns the content of the member.
func (m member) section(r io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(r, m.offset, m.size)
}

// notDeb says why a file is no Debian binary package.
func notDeb(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "not a well-formed .deb: "+format, args...)
}

// readMember reads the member header at an offset, and returns the offset of the
// next. It returns io.EOF at the end of the archive.
func readMember(r io.ReaderAt, at, size int64) (m member, next int64, err error) {
	if at >= size {
		return m, 0, io.EOF
	}
	var h [arHeaderSize]byte
	if size-at < arHeaderSize {
		return m, 0, notDeb("%d bytes of something after the last member", size-at)
	}
	if err := readFullAt(r, h[:], at); err != nil {
		return m, 0, err
	}
	if h[58] != '`' || h[59] != '\n' {
		return m, 0, notDeb("no member header at byte %d", at)
	}
	m.name = strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	m.offset = at + arHeaderSize
	m.size, err = strconv.ParseInt(strings.TrimRight(string(h[48:58]), " "), 10, 64)
	switch {
	case err != nil || m.size < 0:
		return m, 0, notDeb("member %q has no valid size", clip(m.name))
	case m.size > size-m.offset:
		return m, 0, notDeb("member %q is cut short", clip(m.name))
	case m.name == "" || !only(m.name, "-._"):
		return m, 0, notDeb("%q is not a member name", clip(m.name))
	}
	return m, m.offset + m.size + m.size&1, nil
}

// readFullAt fills p from an offset.
func readFullAt(r io.ReaderAt, p []byte, at int64) error {
	if n, err := r.ReadAt(p, at); n < len(p) {
		if err == io.EOF {
			return notDeb("it is cut short")
		}
		return err
	}
	return nil
}

// debMembers finds the members of a .deb: debian-binary of format 2, then one
// control.tar and one data.tar, in that order. Members whose name begins with an
// underscore are allowed for by the format and passed over; anything else is
// refused.
func debMembers(r io.ReaderAt, size int64) (control, data member, err error) {
	next, err := checkDebFormat(r, size)
	if err != nil {
		return control, data, err
	}
	for n := 0; ; n++ {
		m, after, err := readMember(r, next, size)
		switch {
		case err == io.EOF && data.name == "":
			return control, data, notDeb("no control.tar and data.tar in it")
		case err == io.EOF:
			return control, data, nil
		case err != nil:
			return control, data, err
		case n == maxMembers:
			return control, data, notDeb("more than %d members", maxMembers)
		case strings.HasPrefix(m.name, "_"):
		case control.name == "" && isTarMember(m.name, "control.tar"):
			control = m
		case control.name != "" && data.name == "" && isTarMember(m.name, "data.tar"):
			data = m
		default:
			return control, data, notDeb("member %s is not expected where it stands", m.name)
		}
		next = after
	}
}

// checkDebFormat reads debian-binary and returns the offset after it.
func checkDebFormat(r io.ReaderAt, size int64) (next int64, err error) {
	var magic [len(arMagic)]byte
	if size < int64(len(magic)) {
		return 0, notDeb("it is cut short")
	}
	if err := readFullAt(r, magic[:], 0); err != nil {
		return 0, err
	}
	if string(magic[:]) != arMagic {
		return 0, notDeb("it is no ar archive")
	}
	m, next, err := readMember(r, int64(len(magic)), size)
	if err == io.EOF || err == nil && (m.name != "debian-binary" || m.size < 4 || m.size > 64) {
		return 0, notDeb("it does not begin with debian-binary")
	}
	if err != nil {
		return 0, err
	}
	version := make([]byte, m.size)
	if err := readFullAt(r, version, m.offset); err != nil {
		return 0, err
	}
	if !strings.HasPrefix(string(version), "2.") || !strings.Contains(string(version), "\n") {
		return 0, notDeb("format %q is not 2.x", clip(strings.TrimSpace(string(version))))
	}
	return next, nil
}

// isTarMember reports whether name is stem in one of the compressions of dpkg.
func isTarMember(name, stem string) bool {
	suffix, ok := strings.CutPrefix(name, stem)
	switch suffix {
	case "", ".gz", ".xz", ".zst", ".bz2", ".lzma":
		return ok
	}
	return false
}
