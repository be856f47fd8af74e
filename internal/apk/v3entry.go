package apk

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/adb"
)

// v3Kinds are the kinds of file as the upper bits of a Unix mode. A hard link is
// a regular file that has a target.
var v3Kinds = [...]uint16{RegularFile: 0o100000, Directory: 0o040000, Symlink: 0o120000, HardLink: 0o100000,
	CharDevice: 0o020000, BlockDevice: 0o060000, FIFO: 0o010000}

// v3Place returns where a file stands in a v3 package: folders are in the order
// of their paths, and in each are its files in the order of their names. The name
// of a folder itself is "".
func v3Place(e *Entry) (dir, name string) {
	if e.Kind == Directory {
		return e.Path, ""
	}
	at := strings.LastIndexByte(e.Path, '/')
	return e.Path[:max(at, 0)], e.Path[at+1:]
}

func compareV3(x, y *Entry) int {
	xDir, xName := v3Place(x)
	yDir, yName := v3Place(y)
	return cmp.Or(strings.Compare(xDir, yDir), strings.Compare(xName, yName))
}

// v3Order returns the files, which have passed CheckEntries, in the order of a v3
// package, with the root before them. Of the names of one file the first holds
// the content there, which need not be the one that holds it here.
func v3Order(files []File) []File {
	if len(files) == 0 {
		return nil
	}
	ordered := make([]File, 0, len(files)+1)
	if files[0].Path != "" {
		ordered = append(ordered, File{Entry: Entry{Kind: Directory, Mode: 0o755, User: "root", Group: "root"}})
	}
	ordered = append(ordered, files...)
	moveContents(ordered)
	slices.SortFunc(ordered, func(x, y File) int { return compareV3(&x.Entry, &y.Entry) })
	return ordered
}

// moveContents gives the content of a file with several names to the first of
// them in the order of a v3 package.
func moveContents(files []File) {
	type names struct{ holder, first int }
	groups := map[string]*names{} // by the path that holds the content now
	for i := range files {
		if files[i].Kind == HardLink {
			groups[files[i].Target] = &names{}
		}
	}
	for i := range files {
		f := &files[i]
		if g, ok := groups[f.Path]; ok {
			g.holder, g.first = i, i
		}
		if f.Kind != HardLink {
			continue
		}
		g := groups[f.Target]
		if compareV3(&f.Entry, &files[g.first].Entry) < 0 {
			g.first = i
		}
	}
	for i := range files {
		if f := &files[i]; f.Kind == HardLink {
			f.Target = files[groups[f.Target].first].Path
		}
	}
	for _, g := range groups {
		if from, to := &files[g.holder], &files[g.first]; from != to {
			to.Kind, to.Target, to.Size, to.SHA256, to.Open = RegularFile, "", from.Size, from.SHA256, from.Open
			from.Kind, from.Target, from.Size, from.Open = HardLink, to.Path, 0, nil
		}
	}
}

// v3Folders returns the values of the folders of a package with the files in
// them. The files are in its order and have their SHA-256.
func v3Folders(b *adb.Builder, files []File) []adb.Value {
	linked := map[string]*Entry{} // files with several names
	for i := range files {
		if files[i].Kind == HardLink {
			linked[files[i].Target] = nil
		}
	}
	var dirs, inside []adb.Value
	for i := 0; i < len(files); {
		dir := &files[i].Entry
		inside = inside[:0]
		for i++; i < len(files) && files[i].Kind != Directory; i++ {
			e := &files[i].Entry
			if _, ok := linked[e.Path]; ok {
				linked[e.Path] = e
				b.Blob(v3Target(HardLink, e.Path)) // apk has it before the file, too
			}
			inside = append(inside, v3File(b, e, linked[e.Target]))
		}
		name, acl := b.String(dir.Path), v3ACL(b, dir)
		dirs = append(dirs, b.Object(name, acl, b.Object(inside...)))
	}
	return dirs
}

// v3File returns the value of a file; of a hard link, file is what it links to.
func v3File(b *adb.Builder, e, file *Entry) adb.Value {
	_, base := v3Place(e)
	name := b.String(base)
	var hash, target adb.Value
	size := e.Size
	switch e.Kind {
	case RegularFile:
		hash = b.Blob(e.SHA256[:])
	case HardLink:
		hash = b.Blob(file.SHA256[:])
		target = b.Blob(v3Target(HardLink, e.Target))
		size = file.Size
	case Symlink:
		target = b.Blob(v3Target(Symlink, e.Target))
		size = int64(len(e.Target))
	default:
		number := binary.LittleEndian.AppendUint64(nil, deviceNumber(e.Major, e.Minor))
		target = b.Blob(v3Target(e.Kind, string(number)))
	}
	time := b.Int(uint64(e.ModTime))
	length := b.Int(uint64(size))
	return b.Object(name, v3ACL(b, e), length, time, hash, target)
}

// v3Target returns a target: what kind of file has it, and what it is.
func v3Target(k Kind, target string) []byte {
	return append(binary.LittleEndian.AppendUint16(nil, v3Kinds[k]), target...)
}

// v3ACL returns the value of the access rights of a file.
func v3ACL(b *adb.Builder, e *Entry) adb.Value {
	mode, user, group := b.Int(uint64(e.Mode)), b.String(e.User), b.String(e.Group)
	var xattrs []adb.Value
	for _, x := range e.Xattrs {
		xattrs = append(xattrs, b.String(x.Name+"\x00"+x.Value))
	}
	return b.Object(mode, user, group, b.Array(xattrs...))
}

// deviceNumber returns a device's number as Linux keeps it in 64 bits.
func deviceNumber(major, minor uint32) uint64 {
	return uint64(minor&0xff) | uint64(major&0xfff)<<8 | uint64(minor&^0xff)<<12 | uint64(major&^0xfff)<<32
}

// splitDevice is the inverse of deviceNumber.
func splitDevice(n uint64) (major, minor uint32) {
	return uint32(n>>8)&0xfff | uint32(n>>32)&^0xfff, uint32(n)&0xff | uint32(n>>12)&^0xff
}

// A pathReader reads the folders and files of a package.
type pathReader struct {
	entries []Entry
	kinds   map[string]Kind // of all but folders
}

// readV3Paths returns the files of a package in its order: each folder, and then
// the files in it. Unlike a packed description it may lack folders that have
// nothing special. Whatever could lead out of the root is a fault.Invalid error.
func readV3Paths(list adb.Object) ([]Entry, error) {
	p := pathReader{kinds: map[string]Kind{}}
	last := ""
	for i := 1; i <= list.Len(); i++ {
		o := list.Object(i)
		dir := o.String(v3DirName)
		if i > 1 && dir <= last {
			return nil, invalid("folder %q is there twice or not in order", clip(dir))
		}
		last = dir
		if err := p.folder(dir, o); err != nil {
			return nil, err
		}
	}
	return p.entries, p.checkFolders()
}

// folder reads a folder and the files in it.
func (p *pathReader) folder(path string, o adb.Object) error {
	e := Entry{Path: path, Kind: Directory}
	if err := p.add(&e, o.Object(v3DirACL)); err != nil {
		return err
	}
	if path != "" {
		path += "/"
	}
	last := ""
	return v3Nodes(o.Object(v3DirFiles), func(o adb.Object) error {
		name := o.String(v3FileName)
		switch {
		case name == "" || strings.Contains(name, "/"):
			return invalid("%q is not the name of a file", clip(name))
		case name <= last:
			return invalid("file %q is there twice or not in order", clip(path+name))
		}
		last = name
		return p.file(path+name, o)
	})
}

// file reads a file.
func (p *pathReader) file(path string, o adb.Object) error {
	e := Entry{Path: path, ModTime: o.Int63(v3FileTime)}
	if target := o.Bytes(v3FileTarget); target != nil {
		if why := e.setTarget(target, p.kinds); why != "" {
			return invalid("%s: %s", clip(path), why)
		}
	} else {
		e.Size = o.Int63(v3FileLength)
	}
	if e.Kind == RegularFile || e.Kind == HardLink {
		if hash := o.Bytes(v3FileHash); copy(e.SHA256[:], hash) < len(e.SHA256) || len(hash) > len(e.SHA256) {
			return invalid("%s: it has no SHA-256", clip(path))
		}
	}
	p.kinds[path] = e.Kind
	return p.add(&e, o.Object(v3FileACL))
}

// setTarget sets the kind and what depends on it; why says what is wrong.
func (e *Entry) setTarget(b []byte, kinds map[string]Kind) (why string) {
	if len(b) < 2 {
		return "its target is too short"
	}
	mode, rest := binary.LittleEndian.Uint16(b), b[2:]
	switch mode {
	case v3Kinds[HardLink]:
		e.Kind, e.Target = HardLink, string(rest)
		if kind, ok := kinds[e.Target]; !ok || kind != RegularFile {
			return "the hard link names no earlier regular file"
		}
	case v3Kinds[Symlink]:
		e.Kind, e.Target = Symlink, string(rest)
		if e.Target == "" || len(e.Target) > maxPath || strings.Contains(e.Target, "\x00") {
			return "the symbolic link has a malformed target"
		}
	case v3Kinds[CharDevice], v3Kinds[BlockDevice], v3Kinds[FIFO]:
		e.Kind = Kind(slices.Index(v3Kinds[:], mode))
		if len(rest) != 8 {
			return "its device number is malformed"
		}
		if e.Kind != FIFO {
			e.Major, e.Minor = splitDevice(binary.LittleEndian.Uint64(rest))
		}
	default:
		return "a kind of file that packages must not have"
	}
	return ""
}

// add checks the path of an entry, reads its access rights and keeps it.
func (p *pathReader) add(e *Entry, acl adb.Object) error {
	switch why := checkV3Path(e.Path); {
	case e.Path == "" && e.Kind == Directory:
	case why != "":
		return invalid("path %q %s", clip(e.Path), why)
	}
	if len(p.entries) == maxEntries {
		return invalid("more than %d files", maxEntries)
	}
	mode := acl.Int(v3Mode)
	e.Mode, e.User, e.Group = uint32(mode&maxMode), acl.String(v3User), acl.String(v3Group)
	switch {
	case mode > maxMode:
		return invalid("%s: mode %o has bits that are no permissions", clip(e.Path), mode)
	case e.User == "" || e.Group == "" || len(e.User)+len(e.Group) > maxFileName || hasControl(e.User+e.Group):
		return invalid("%s: %q is not an owner", clip(e.Path), clip(e.User+":"+e.Group))
	}
	if err := e.readXattrs(acl.Object(v3Xattrs)); err != nil {
		return err
	}
	p.entries = append(p.entries, *e)
	return nil
}

// readXattrs reads the extended attributes.
func (e *Entry) readXattrs(list adb.Object) error {
	if list.Len() > maxXattrs {
		return invalid("%s: more than %d extended attributes", clip(e.Path), maxXattrs)
	}
	for i := 1; i <= list.Len(); i++ {
		name, value, ok := strings.Cut(list.String(i), "\x00")
		if !ok || name == "" || len(name) > maxFileName || hasControl(name) || len(value) > maxXattr {
			return invalid("%s: extended attribute %q is malformed", clip(e.Path), clip(name))
		}
		e.Xattrs = append(e.Xattrs, Xattr{Name: name, Value: value})
	}
	slices.SortFunc(e.Xattrs, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(e.Xattrs); i++ {
		if e.Xattrs[i].Name == e.Xattrs[i-1].Name {
			return invalid("%s: extended attribute %q is there twice", clip(e.Path), clip(e.Xattrs[i].Name))
		}
	}
	return nil
}

// checkV3Path says what is wrong with the path of a file, "" if nothing is. Other
// than in v2 it may begin with a dot.
func checkV3Path(p string) string {
	switch {
	case len(p) > maxPath:
		return "is too long"
	case hasControl(p):
		return "has a control character in it"
	}
	return checkParts(p)
}

// checkFolders wants all that has something in it to be a folder: through a
// symbolic link it would be somewhere else.
func (p *pathReader) checkFolders() error {
	for i := range p.entries {
		path := p.entries[i].Path
		if p.entries[i].Kind != Directory {
			continue
		}
		for at := 1; at <= len(path); at++ {
			if at < len(path) && path[at] != '/' {
				continue
			}
			if kind, ok := p.kinds[path[:at]]; ok {
				return invalid("folder %q is, or is in, a %s of the package", clip(path), kind)
			}
		}
	}
	return nil
}
