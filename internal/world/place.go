package world

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"io"
	"path"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A folder is a folder as packages name it, whatever its real path is.
type folder struct {
	path      string
	owner     *instance // of the package whose word on its access rights counts
	access    access    // that it has
	ours      bool      // it was made here, so it can be given others
	made      bool
	changed   bool // triggers look at it even if they want what has changed only
	protected bool // its files are
	below     []protection
	parent    *folder
}

// An instance is a folder as one package has it.
type instance struct {
	*folder
	real   string // its real path
	listed bool   // the package lists it, so real is known
	pkg    *installed
	access access
	files  []*owned
}

// An owned is a file as a package has it.
type owned struct {
	name   string // in its folder
	pkg    *installed
	access access
	digest digest
	lost   bool // another package has it now
}

// A digestKind says how the content of a file is digested.
type digestKind uint8

const (
	noDigest digestKind = iota
	bySHA1              // v2
	bySHA256            // v3; the first 20 bytes of it
)

// A digest is that of the content of a file, or of the target of a symbolic link.
// Of the kind noDigest it stands for a file that is not there; see Sink.
type digest struct {
	kind digestKind
	sum  [sha1.Size]byte
}

// A place says what becomes of a file of a package.
type place struct {
	real   string // where it is laid, "" if it is not
	link   string // the real path of the file that a hard link is to be a name of
	access access
}

// decide makes the folders of a package and says what becomes of each of its
// files.
func (i *installer) decide(p *installed, entries []apk.Entry) ([]place, error) {
	d := decider{installer: i, pkg: p, entries: entries, places: make([]place, len(entries)), numbers: make(map[string]int, len(entries))}
	for n := range entries {
		d.numbers[entries[n].Path] = n
		err := error(nil)
		if entries[n].Kind == apk.Directory {
			err = d.folder(&entries[n])
		} else {
			err = d.file(n)
		}
		if err != nil {
			return nil, err
		}
	}
	if d.newAccounts {
		i.accounts = nil
	}
	return d.places, nil
}

// A decider decides about one package.
type decider struct {
	*installer
	pkg         *installed
	entries     []apk.Entry
	places      []place
	numbers     map[string]int // of the entries, by their paths
	newAccounts bool           // it has a new etc/passwd or etc/group
}

// instance returns the folder as the package has it, which need not have come up
// before.
func (d *decider) instance(p string) *instance {
	in := d.pkg.byFolder[p]
	if in == nil {
		in = &instance{folder: d.folderAt(p), pkg: d.pkg, access: usualFolder}
		in.changed = true
		d.pkg.byFolder[p] = in
		d.pkg.instances = append(d.pkg.instances, in)
	}
	return in
}

// folderAt returns a folder, which need not be made yet.
func (i *installer) folderAt(p string) *folder {
	f := i.folders[p]
	if f != nil {
		return f
	}
	f = &folder{path: p}
	i.folders[p] = f
	i.byAge = append(i.byAge, f) // before those above it, as apk
	if p == "" {
		f.made, f.below = true, i.protected
		return f
	}
	f.parent = i.folderAt(parentOf(p))
	f.protected, f.below = protect(f.parent.below, path.Base(p), f.parent.protected)
	return f
}

// folder takes a folder.
func (d *decider) folder(e *apk.Entry) error {
	if e.Path == "" {
		return nil // v3 packages may list the root, but apk passes over it
	}
	d.report.Folders++
	in := d.instance(e.Path)
	in.access = d.accessOf(e)
	if owner := in.owner; owner == nil || overridesFolder(owner.pkg, d.pkg) {
		in.owner = in
	}
	if err := d.make(in.folder, e, in.owner.access); err != nil {
		return err
	}
	real, err := d.tree.folder(e.Path)
	in.real, in.listed = real, true
	if err == nil && in.ours && in.folder.access != in.owner.access {
		err = d.sink.chmod(real, in.folder.access, in.owner.access)
		in.folder.access = in.owner.access
	}
	return err
}

// make makes a folder with the folders above it, unless it is there.
func (i *installer) make(f *folder, e *apk.Entry, a access) error {
	if f.made {
		return nil
	}
	f.made, f.access = true, a
	above := apk.Entry{Path: f.parent.path, Kind: apk.Directory, ModTime: e.ModTime}
	if err := i.make(f.parent, &above, usualFolder); err != nil {
		return err
	}
	real, err := i.tree.place(f.path)
	if err != nil {
		return err
	}
	if _, ok := i.tree[real]; ok {
		_, err := i.tree.folder(f.path)
		return err
	}
	i.tree[real] = node{kind: apk.Directory}
	f.ours, err = i.sink.mkdir(real, e, a)
	return err
}

// file decides about what is no folder.
func (d *decider) file(n int) error {
	e := &d.entries[n]
	in := d.instance(parentOf(e.Path))
	if !in.listed && in.path != "" {
		return fault.New(fault.Invalid, "%s: the folder it is in is not listed", clip(e.Path)) // unreachable: package apk sees to it
	}
	before := d.files[e.Path]
	if before != nil {
		switch takes, err := overridesFile(before.pkg, d.pkg); {
		case err != nil:
			return fault.Within(err, "%s", clip(e.Path))
		case !takes:
			return nil
		}
	}
	mine := &owned{name: path.Base(e.Path), pkg: d.pkg, access: d.accessOf(e)}
	var err error
	if mine.digest, err = d.digestOf(e); err != nil {
		return err
	}
	d.places[n].access = mine.access
	real := join(in.real, mine.name)
	if in.protected {
		if real, err = d.spare(real, before, mine); err != nil {
			return err
		}
	}
	if in.path == "etc" && (mine.name == "passwd" || mine.name == "group") && real != "" {
		d.newAccounts = true
	}
	if before != nil {
		before.lost = true
	}
	d.files[e.Path] = mine
	in.files = append(in.files, mine)
	d.report.Files++
	d.report.Bytes += e.Size
	return d.settle(n, real)
}

// settle gives a file its place. A hard link to a file that is not laid gets the
// content itself.
func (d *decider) settle(n int, real string) error {
	e := &d.entries[n]
	if there, ok := d.tree[real]; ok && there.kind == apk.Directory && real != "" {
		return fault.New(fault.Conflict, "%s: there is a folder in its place", clip(e.Path))
	}
	switch {
	case real == "":
		return nil
	case e.Kind != apk.HardLink:
		d.tree[real] = node{kind: e.Kind, target: e.Target}
		d.places[n].real = real
		return nil
	}
	d.tree[real] = node{kind: apk.RegularFile}
	if target := &d.places[d.numbers[e.Target]]; target.real == "" {
		target.real = real
	} else {
		d.places[n].real, d.places[n].link = real, target.real
	}
	return nil
}

// spare returns where a protected file is to be laid: where it belongs, beside
// what is there with a suffix, or, if that has the same content, nowhere ("").
func (d *decider) spare(real string, before, mine *owned) (string, error) {
	if _, ok := d.tree[real]; !ok && !d.touched {
		return real, nil
	}
	if before != nil && before.digest.kind != noDigest {
		there, err := d.sink.digest(real, before.digest.kind)
		if err != nil || there == before.digest || there == (digest{}) {
			return real, err
		}
	}
	there, err := d.sink.digest(real, max(mine.digest.kind, bySHA1))
	switch {
	case err != nil || there == (digest{}):
		return real, err
	case there == mine.digest:
		return "", nil
	}
	d.report.Kept = append(d.report.Kept, real)
	return real + ".apk-new", nil
}

// accessOf returns the access rights of a file, its owner looked up in the root.
func (d *decider) accessOf(e *apk.Entry) access {
	if d.accounts == nil {
		d.accounts = &accounts{users: d.readAccounts("etc/passwd"), groups: d.readAccounts("etc/group")}
	}
	a := access{mode: e.Mode}
	var user, group bool
	a.user, user = lookUp(d.accounts.users, e.User, !d.pkg.v3())
	a.group, group = lookUp(d.accounts.groups, e.Group, !d.pkg.v3())
	if !user || !group {
		d.report.Strangers = append(d.report.Strangers, Stranger{e.Path, e.User, e.Group})
	}
	if len(e.Xattrs) > 0 {
		a.hasXattrs, a.xattrs = true, digestXattrs(e.Xattrs)
	}
	return a
}

// readAccounts reads etc/passwd or etc/group of the root; without one, or with one
// that cannot be read, nobody is known.
func (i *installer) readAccounts(p string) map[string]uint32 {
	b, err := i.sink.read(p, maxAccounts)
	if err != nil {
		return nil
	}
	return parseAccounts(b)
}

// digestOf returns the digest of a file by which apk knows it.
func (d *decider) digestOf(e *apk.Entry) (digest, error) {
	switch e.Kind {
	case apk.HardLink:
		target := d.files[e.Target]
		if target == nil || target.pkg != d.pkg {
			return digest{}, fault.New(fault.Conflict, "%s: it is a link to %s, which is another package's", clip(e.Path), clip(e.Target))
		}
		return target.digest, nil
	case apk.Symlink:
		if d.pkg.v3() {
			sum := sha256.Sum256([]byte(e.Target))
			return digest{bySHA256, [20]byte(sum[:20])}, nil
		}
		if e.SHA1 != [sha1.Size]byte{} {
			return digest{bySHA1, e.SHA1}, nil
		}
	case apk.RegularFile:
		if d.pkg.v3() {
			return digest{bySHA256, [20]byte(e.SHA256[:20])}, nil
		}
		if e.SHA1 == [sha1.Size]byte{} {
			return digest{}, fault.New(fault.Invalid, "%s: it has no checksum, so apk 3 would not take it", clip(e.Path))
		}
		return digest{bySHA1, e.SHA1}, nil
	}
	return digest{}, nil
}

// write lays the files of a package in their places.
func (i *installer) write(ctx context.Context, c Choice, l *loaded, places []place) error {
	lay := func(n int, e *apk.Entry, content content) error {
		if places[n].real == "" || e.Kind == apk.Directory {
			return nil
		}
		if err := i.sink.put(places[n].real, e, places[n].access, content, places[n].link); err != nil {
			return fault.Within(err, "%s", clip(e.Path))
		}
		return nil
	}
	if l.contents == nil && len(l.entries) > 0 {
		return i.writeAgain(ctx, c, l, lay)
	}
	for n := range l.entries {
		if err := lay(n, &l.entries[n], content{b: l.contents[n]}); err != nil {
			return err
		}
	}
	return nil
}

// writeAgain is write for a package whose contents were too large to be kept. It
// is read anew, and must still be the same.
func (i *installer) writeAgain(ctx context.Context, c Choice, l *loaded, lay func(int, *apk.Entry, content) error) error {
	head := func(*apk.Info, *apk.Scripts, int) {}
	return walk(ctx, c, i.Open, head, func(n int, e *apk.Entry, r io.Reader) error {
		if n >= len(l.entries) || e.Path != l.entries[n].Path || e.Kind != l.entries[n].Kind || e.Size != l.entries[n].Size {
			return fault.New(fault.Denied, "the file is not the one that was checked before")
		}
		return lay(n, &l.entries[n], content{r: r})
	})
}
