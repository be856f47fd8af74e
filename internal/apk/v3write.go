package apk

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// v3IDSize is the size of the unique id of a package, in bytes.
const v3IDSize = 20

// A V3Spec says what to pack into a v3 package. Info, Scripts and Files are those
// of a V2Spec.
type V3Spec struct {
	Info    Info // InstalledSize is not looked at, Packager has no place
	Scripts Scripts
	// Files are sorted before they are packed. Every folder must be listed; the
	// root may be. A file whose SHA256 is set is read once, others twice.
	Files []File
	// Signers sign the package, all of them; none leaves it unsigned. See adb.Sign
	// for the kinds of key.
	Signers []crypto.Signer
	// Compression is of the package as a whole. apk's own choice is adb.Deflate.
	Compression adb.Compression
}

// A V3Packed describes a package that was written.
type V3Packed struct {
	Info Info              // with InstalledSize
	Hash [sha256.Size]byte // of what describes the package, by which an index names it
	Size int64             // bytes of the package
}

// WriteV3 packs and writes a package to w. The same spec always gives the same
// bytes as far as the signers do. What apk would refuse or misread is
// fault.Invalid before anything is written: see Info.Check, CheckEntries and
// Scripts.Check; and an owner that is a number, for which v3 has no place. Content
// that is not of the size that it was said to be is fault.Invalid too, and
// fault.Conflict if it has changed. Of a Commit with "-dirty" nothing is packed,
// for v3 cannot say that.
func WriteV3(w io.Writer, spec *V3Spec) (*V3Packed, error) {
	p := &V3Packed{Info: spec.Info}
	files, err := p.prepare(spec)
	if err != nil {
		return nil, err
	}
	for i := range files {
		if err := addSHA256(&files[i]); err != nil {
			return nil, fault.Within(err, "package %s: %s", spec.Info.Name, clip(files[i].Path))
		}
	}
	payload, err := v3Payload(&p.Info, &spec.Scripts, files)
	if err != nil {
		return nil, err
	}
	sigs, err := adb.Sign(v3SchemaPackage, payload, spec.Signers...)
	if err != nil {
		return nil, err
	}
	count := &counter{w: w}
	out, err := adb.NewWriter(count, spec.Compression, v3SchemaPackage, payload, sigs)
	if err != nil {
		return nil, err
	}
	if err := writeV3Data(out, files); err != nil {
		return nil, fault.Within(err, "package %s", spec.Info.Name)
	}
	if err := out.Close(); err != nil {
		return nil, err
	}
	p.Hash, p.Size = sha256.Sum256(payload), count.n
	return p, nil
}

// prepare checks all parts of a package, sums up its size and returns its files
// in the order of v3.
func (p *V3Packed) prepare(spec *V3Spec) ([]File, error) {
	if err := p.Info.Check(); err != nil {
		return nil, err
	}
	if err := spec.Scripts.Check(p.Info.Triggers); err != nil {
		return nil, fault.Within(err, "package %s", p.Info.Name)
	}
	files := slices.Clone(spec.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	entries := make([]Entry, len(files))
	p.Info.InstalledSize = 0
	for i := range files {
		entries[i] = files[i].Entry
		p.Info.InstalledSize += files[i].Size
		if err := checkV3Owner(&entries[i]); err != nil {
			return nil, fault.Within(err, "package %s", p.Info.Name)
		}
	}
	if p.Info.InstalledSize == 0 && (len(files) > 0 || !spec.Scripts.Empty()) {
		p.Info.InstalledSize = 1 // of 0 apk would extract nothing
	}
	if err := CheckEntries(entries); err != nil {
		return nil, fault.Within(err, "package %s", p.Info.Name)
	}
	return v3Order(files), nil
}

// checkV3Owner wants names of owners. apk looks them up on the machine that it
// installs on, and gives a file to nobody if it does not find one.
func checkV3Owner(e *Entry) error {
	for _, name := range []string{e.User, e.Group} {
		if name != "" && span(name, isDigit) == len(name) {
			return invalid("%s: its owner %s:%s is a number, which v3 packages cannot have", clip(e.Path), clip(e.User), clip(e.Group)).
				Fix("name the user and the group")
		}
	}
	return nil
}

// v3Payload returns what describes a package. Its values are made in the order in
// which apk's own mkpkg makes them, so that the same package has the same bytes.
func v3Payload(info *Info, scripts *Scripts, files []File) ([]byte, error) {
	b := adb.NewBuilder()
	slots := newV3Info(b, info)
	folders := v3Folders(b, files)
	slots[v3InstalledSize] = b.Int(uint64(info.InstalledSize))
	id, at := b.Reserve(v3IDSize)
	slots[v3Hashes] = id
	payload, err := b.Payload(b.Object(slots.value(b), b.Object(folders...), v3Scripts(b, scripts),
		v3Strings(b, info.Triggers), v3Number(b, int64(info.ReplacesPriority))))
	if err != nil {
		return nil, fault.Within(err, "package %s", info.Name)
	}
	if len(payload) > maxV3Package {
		return nil, invalid("package %s: names and other facts of its files take %d bytes, at most %d are allowed",
			info.Name, len(payload), maxV3Package)
	}
	sum := sha256.Sum256(payload) // with zeros in the place of the id
	copy(payload[at:at+v3IDSize], sum[:])
	return payload, nil
}

// v3Scripts returns the value of the scripts.
func v3Scripts(b *adb.Builder, s *Scripts) adb.Value {
	var values [v3ScriptSlots]adb.Value
	for i, data := range v3ScriptsBySlot(s) {
		values[i] = b.Blob(*data)
	}
	return b.Object(values[:]...)
}

// addSHA256 sets the SHA-256 of a regular file that has none.
func addSHA256(f *File) error {
	if f.Kind != RegularFile || f.SHA256 != [sha256.Size]byte{} {
		return nil
	}
	if f.Size == 0 {
		f.SHA256 = sha256.Sum256(nil)
		return nil
	}
	if f.Open == nil {
		return fault.New(fault.Internal, "no content is given")
	}
	c, err := f.Open()
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(c, f.Size+1))
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	if n != f.Size {
		return invalid("its content is not of the %d bytes that it should have", f.Size)
	}
	h.Sum(f.SHA256[:0])
	return nil
}

// writeV3Data writes the contents of regular files, which are in the order of v3.
func writeV3Data(out *adb.Writer, files []File) error {
	var head [8]byte // numbers of the folder and of the file in it, from 1
	dir, file := uint32(0), uint32(0)
	for i := range files {
		f := &files[i]
		if f.Kind == Directory {
			dir, file = dir+1, 0
			continue
		}
		file++
		if f.Kind != RegularFile || f.Size == 0 {
			continue
		}
		binary.LittleEndian.PutUint32(head[:], dir)
		binary.LittleEndian.PutUint32(head[4:], file)
		if err := writeV3File(out, head[:], f); err != nil {
			return fault.Within(err, "%s", clip(f.Path))
		}
	}
	return nil
}

// writeV3File writes the content of a file.
func writeV3File(out *adb.Writer, head []byte, f *File) error {
	if f.Open == nil {
		return fault.New(fault.Internal, "no content is given")
	}
	c, err := f.Open()
	if err != nil {
		return err
	}
	h := sha256.New()
	err = out.Data(head, f.Size, io.TeeReader(c, h))
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	if [sha256.Size]byte(h.Sum(nil)) != f.SHA256 {
		return fault.New(fault.Conflict, "its content changed while it was packed")
	}
	return nil
}
