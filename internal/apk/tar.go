package apk

import (
	"bytes"
	"encoding/hex"
	"io"
	"slices"
	"strconv"
	"strings"
)

// The tar of apk is ustar with PAX records. This reader understands of it what
// apk does and refuses what apk would understand otherwise or pass over, so that
// it never sees other files than apk: GNU names, binary numbers, sparse files.
// PAX records that apk does not know count for nothing here either.

const (
	tarBlock = 512
	maxPax   = 1 << 20 // bytes of the records of one entry
)

// The letters for kinds of entry in a tar, in the order of the kinds, and that
// of an extended header.
const (
	tarLetters = "0521346"
	tarPax     = 'x'
)

// A tarReader reads the entries of a tar one after the other.
type tarReader struct {
	r     io.Reader
	left  int64 // content of the current entry that is still to be read
	pad   int64 // and the padding behind it
	ended bool  // a block of zeros has been seen
	block [tarBlock]byte
	pax   []byte
}

// A tarEntry is an entry with what is of no interest later.
type tarEntry struct {
	Entry
	hasSHA1 bool
}

// next returns the next entry, or io.EOF when there are no more bytes at all.
// Path is as it stands in the tar, without the slash at the end of a folder's.
func (t *tarReader) next() (*tarEntry, error) {
	if err := t.skip(); err != nil {
		return nil, err
	}
	var records []byte
	for {
		zero, err := t.readBlock()
		switch {
		case records != nil && (zero || err == io.EOF):
			return nil, invalid("tar: an extended header without an entry")
		case err != nil:
			return nil, err
		case zero:
			return nil, t.finish()
		}
		if t.block[156] != tarPax {
			return t.entry(records)
		}
		if records != nil {
			return nil, invalid("tar: two extended headers for one entry")
		}
		if records, err = t.readPax(); err != nil {
			return nil, err
		}
	}
}

// skip passes over what is left of the current entry.
func (t *tarReader) skip() error {
	n := t.left + t.pad
	t.left, t.pad = 0, 0
	if n == 0 {
		return nil
	}
	got, err := io.CopyN(io.Discard, t.r, n)
	if err == io.EOF || got < n && err == nil {
		return invalid("tar: cut short")
	}
	return err
}

// readBlock fills the block, checks its form and reports whether it is all zero.
// At the end it returns io.EOF.
func (t *tarReader) readBlock() (zero bool, err error) {
	switch _, err := io.ReadFull(t.r, t.block[:]); err {
	case nil:
	case io.ErrUnexpectedEOF:
		return false, invalid("tar: cut short")
	default:
		return false, err
	}
	if t.block == [tarBlock]byte{} {
		return true, nil
	}
	if magic := string(t.block[257:265]); magic != "ustar\x0000" && magic != "ustar  \x00" {
		return false, invalid("tar: an entry is not in ustar format")
	}
	sum, ok := octal(t.block[148:156])
	if !ok || sum != checksum(&t.block) {
		return false, invalid("tar: a header has a wrong checksum")
	}
	return false, nil
}

// finish reads the zeros after the last entry to the very end.
func (t *tarReader) finish() error {
	t.ended = true
	for n := 1; ; n++ {
		switch zero, err := t.readBlock(); {
		case err == io.EOF && n < 2:
			return invalid("tar: only one block of zeros at the end")
		case err != nil:
			return err
		case !zero:
			return invalid("tar: an entry after the end")
		}
	}
}

// readPax reads the records of an extended header.
func (t *tarReader) readPax() ([]byte, error) {
	size, ok := octal(t.block[124:136])
	if !ok || size == 0 || size > maxPax {
		return nil, invalid("tar: an extended header of a size that cannot be right")
	}
	n := int(size+tarBlock-1) &^ (tarBlock - 1)
	t.pax = slices.Grow(t.pax[:0], n)[:n]
	switch _, err := io.ReadFull(t.r, t.pax); err {
	case nil:
		return t.pax[:size], nil
	case io.EOF, io.ErrUnexpectedEOF:
		return nil, invalid("tar: cut short")
	default:
		return nil, err
	}
}

// entry makes an entry of the block and the records before it.
func (t *tarReader) entry(records []byte) (*tarEntry, error) {
	b := &t.block
	kind := Kind(strings.IndexByte(tarLetters, b[156])) // out of range if there is none
	if int(kind) >= len(tarLetters) {
		return nil, invalid("tar: %q: a kind of entry (%q) that packages must not have", clip(text(b[:100])), b[156])
	}
	if b[345] != 0 && b[263] == ' ' {
		return nil, invalid("tar: a name in old GNU format")
	}
	e := &tarEntry{Entry: Entry{Path: text(b[:100]), Kind: kind}}
	if b[345] != 0 {
		e.Path = text(b[345:500]) + "/" + e.Path
	}
	if kind == Symlink || kind == HardLink {
		e.Target = text(b[157:257])
	}
	var major, minor, uid, gid, mode int64
	for _, f := range []struct {
		field []byte
		value *int64
	}{
		{b[100:108], &mode}, {b[108:116], &uid}, {b[116:124], &gid}, {b[124:136], &e.Size},
		{b[136:148], &e.ModTime}, {b[329:337], &major}, {b[337:345], &minor},
	} {
		var ok bool
		if *f.value, ok = octal(f.field); !ok {
			return nil, invalid("tar: %q: a number that is not octal", clip(e.Path))
		}
	}
	e.Mode = uint32(mode & maxMode)
	e.User, e.Group = owner(text(b[265:297]), uid), owner(text(b[297:329]), gid)
	if kind == CharDevice || kind == BlockDevice {
		e.Major, e.Minor = uint32(major), uint32(minor)
	}
	if err := e.addRecords(records); err != nil {
		return nil, err
	}
	if kind == Directory {
		e.Path = strings.TrimRight(e.Path, "/")
	}
	t.left, t.pad = e.Size, -e.Size&(tarBlock-1)
	return e, nil
}

// owner returns the name of a user or group, or its number if it has none.
func owner(name string, id int64) string {
	switch {
	case name != "":
		return name
	case id == 0:
		return "root"
	}
	return strconv.FormatInt(id, 10)
}

// addRecords applies the records that apk knows.
func (e *tarEntry) addRecords(b []byte) error {
	bad := func() error { return invalid("tar: %q: malformed extended header", clip(e.Path)) }
	var seen []string
	for len(b) > 0 {
		digits := bytes.IndexByte(b[:min(len(b), 10)], ' ')
		if digits < 1 {
			return bad()
		}
		n, err := strconv.Atoi(string(b[:digits]))
		if err != nil || n <= digits+1 || n > len(b) || b[n-1] != '\n' {
			return bad()
		}
		key, value, ok := strings.Cut(string(b[digits+1:n-1]), "=")
		if !ok || key == "" || slices.Contains(seen, key) || len(seen) > maxXattrs+20 {
			return bad()
		}
		seen, b = append(seen, key), b[n:]
		if !e.addRecord(key, value) {
			return bad()
		}
	}
	slices.SortFunc(e.Xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

const (
	paxSHA1  = "APK-TOOLS.checksum.SHA1"
	paxXattr = "SCHILY.xattr."
)

// addRecord applies one record and reports whether it is well formed.
func (e *tarEntry) addRecord(key, value string) bool {
	switch {
	case key == "path":
		e.Path = value
		return !strings.Contains(value, "\x00")
	case key == "linkpath":
		if e.Kind == Symlink || e.Kind == HardLink {
			e.Target = value
		}
		return !strings.Contains(value, "\x00")
	case key == paxSHA1:
		n, err := hex.Decode(e.SHA1[:], []byte(value[:min(len(value), 2*len(e.SHA1))]))
		e.hasSHA1 = true
		return err == nil && n == len(e.SHA1) && len(value) == 2*n
	case strings.HasPrefix(key, paxXattr):
		e.Xattrs = append(e.Xattrs, Xattr{Name: key[len(paxXattr):], Value: value})
	}
	return true
}

// Read reads content of the current entry.
func (t *tarReader) Read(p []byte) (int, error) {
	if t.left == 0 {
		return 0, io.EOF
	}
	n, err := t.r.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	if err == io.EOF {
		if err = nil; t.left > 0 {
			err = invalid("tar: cut short")
		}
	}
	return n, err
}

// text returns a field up to its first zero byte.
func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// octal reads a number that zero bytes or blanks end, as apk does.
func octal(field []byte) (n int64, ok bool) {
	i := 0
	for i < len(field) && field[i] >= '0' && field[i] <= '7' {
		n = n<<3 | int64(field[i]-'0') // twelve digits at most
		i++
	}
	for _, c := range field[i:] {
		if c != 0 && c != ' ' {
			return 0, false
		}
	}
	return n, true
}

// checksum returns the sum of a header's bytes, its own field taken as blanks.
func checksum(b *[tarBlock]byte) int64 {
	var sum int64
	for i, c := range b {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return sum
}

// appendHeader appends the header of an entry, with an extended one before it
// where it is needed. The entry has been checked.
func appendHeader(b []byte, e *Entry, checksums bool) []byte {
	path, name := e.Path, e.Path
	if e.Kind == Directory {
		name += "/"
	}
	var records []byte
	if len(name) > 100 {
		records = appendRecord(records, "path", path)
	}
	if len(e.Target) > 100 {
		records = appendRecord(records, "linkpath", e.Target)
	}
	if checksums && (e.Kind == RegularFile || e.Kind == Symlink) {
		records = appendRecord(records, paxSHA1, hex.EncodeToString(e.SHA1[:]))
	}
	for _, x := range e.Xattrs {
		records = appendRecord(records, paxXattr+x.Name, x.Value)
	}
	if len(records) > 0 {
		b = appendBlock(b, "././@PaxHeader", tarPax, &Entry{Size: int64(len(records)), Mode: 0o644, User: "root", Group: "root"})
		b = append(b, records...)
		b = append(b, make([]byte, -len(records)&(tarBlock-1))...)
	}
	return appendBlock(b, name, tarLetters[e.Kind], e)
}

// appendRecord appends a record with its length, which counts its own digits.
func appendRecord(b []byte, key, value string) []byte {
	n := len(key) + len(value) + len(" =\n")
	total := n + len(strconv.Itoa(n))
	total = n + len(strconv.Itoa(total))
	b = strconv.AppendInt(b, int64(total), 10)
	b = append(b, ' ')
	b = append(b, key...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, '\n')
}

// appendBlock appends one header block.
func appendBlock(out []byte, name string, letter byte, e *Entry) []byte {
	var b [tarBlock]byte
	copy(b[:100], name)
	putOctal(b[100:108], int64(e.Mode))
	putOctal(b[108:116], ownerNumber(e.User))
	putOctal(b[116:124], ownerNumber(e.Group))
	putOctal(b[124:136], e.Size)
	putOctal(b[136:148], e.ModTime)
	b[156] = letter
	copy(b[157:257], e.Target)
	copy(b[257:265], "ustar\x0000")
	copy(b[265:296], e.User)
	copy(b[297:328], e.Group)
	putOctal(b[329:337], int64(e.Major))
	putOctal(b[337:345], int64(e.Minor))
	putOctal(b[148:155], checksum(&b))
	b[155] = ' '
	return append(out, b[:]...)
}

// ownerNumber is the number that stands beside an owner's name, for machines
// that do not know the name: never root's for another owner.
func ownerNumber(name string) int64 {
	if name == "root" {
		return 0
	}
	if id, err := strconv.ParseUint(name, 10, 20); err == nil {
		return int64(id)
	}
	return 65534
}

// putOctal fills a field with octal digits and a zero byte.
func putOctal(field []byte, n int64) {
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = '0' + byte(n&7)
		n >>= 3
	}
}
