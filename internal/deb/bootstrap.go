package deb

import (
	"archive/tar"
	"cmp"
	"io"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Blob is the content of a .deb that can be read at any place.
type Blob interface {
	io.ReaderAt
	io.Closer
	Size() int64 // in bytes
}

// An Opener opens a .deb. WriteBootstrap calls it twice.
type Opener func() (Blob, error)

// WriteBootstrap writes one tar stream, usable as an OCI layer, of the files of
// all the given packages, with merged /usr and an empty dpkg database: enough of
// a root for the real dpkg in it to unpack the same packages again, properly. No
// script is run and no package is registered. What no program needs for that,
// such as documentation, is left out: dpkg would only have to save and replace it.
//
// The bytes depend on the set of packages only, not on their order: packages
// are taken by name, entries in each one's own order, parents before children.
// What several packages ship comes from the first of them. Paths are resolved
// through the symbolic links written before, within the root, so that ./bin/x
// becomes usr/bin/x.
func WriteBootstrap(w io.Writer, debs []Opener) error {
	order, err := bootstrapOrder(debs)
	if err != nil {
		return err
	}
	b := &bootstrap{w: tar.NewWriter(w), made: map[string]node{}, files: map[string]string{}}
	if err := b.skeleton(order); err != nil {
		return err
	}
	if err := b.addPackages(order); err != nil {
		return err
	}
	return b.w.Close()
}

// A bootDeb is a package to put in.
type bootDeb struct {
	pkg  *Package
	open Opener
}

// bootstrapOrder sorts packages by name, then architecture.
func bootstrapOrder(debs []Opener) ([]bootDeb, error) {
	order := make([]bootDeb, 0, len(debs))
	for _, open := range debs {
		blob, err := open()
		if err != nil {
			return nil, err
		}
		control, err := ReadControl(blob, blob.Size())
		blob.Close()
		if err != nil {
			return nil, err
		}
		pkg, err := ParsePackageText(control)
		if err != nil {
			return nil, err
		}
		order = append(order, bootDeb{pkg, open})
	}
	slices.SortFunc(order, func(a, b bootDeb) int {
		return cmp.Or(cmp.Compare(a.pkg.Name, b.pkg.Name), cmp.Compare(a.pkg.Arch, b.pkg.Arch),
			Compare(a.pkg.Version, b.pkg.Version))
	})
	return order, nil
}

// bootstrap is the root as written so far.
type bootstrap struct {
	w    *tar.Writer
	made map[string]node
	// files tells for the current package where its files went, for hard links.
	files map[string]string
}

// A node is what is at a path of the root; its zero value is nothing.
type node struct {
	kind   byte   // tar.TypeDir, tar.TypeReg or tar.TypeSymlink
	target string // of a symbolic link
}

// mergedDirs are the folders of the root that are links into /usr.
var mergedDirs = []string{"bin", "lib", "sbin"}

// dpkgDirs are the folders that dpkg wants to find.
var dpkgDirs = []string{"alternatives", "info", "parts", "triggers", "updates"}

// skeleton writes the merged /usr and the empty dpkg database.
func (b *bootstrap) skeleton(debs []bootDeb) error {
	merged := mergedDirs
	if slices.ContainsFunc(debs, func(d bootDeb) bool { return d.pkg.Arch == "amd64" }) {
		merged = append(slices.Clone(merged), "lib64")
	}
	for _, dir := range merged {
		if err := b.mkdirs("usr/" + dir); err != nil {
			return err
		}
		if err := b.symlink(dir, "usr/"+dir, time.Unix(0, 0)); err != nil {
			return err
		}
	}
	for _, dir := range dpkgDirs {
		if err := b.mkdirs("var/lib/dpkg/" + dir); err != nil {
			return err
		}
	}
	for _, name := range []string{"available", "status"} {
		h := &tar.Header{Typeflag: tar.TypeReg, Mode: 0o644}
		if err := b.file("var/lib/dpkg/"+name, h, strings.NewReader("")); err != nil {
			return err
		}
	}
	return nil
}

// unpackAhead is how much of a package is decompressed before it is its turn, in
// bytes; as many packages as there are processors are being decompressed.
const unpackAhead = 32 << 20

// addPackages writes what the packages have, each in its turn.
func (b *bootstrap) addPackages(order []bootDeb) error {
	var begun []*unpacking
	defer func() {
		for _, u := range begun {
			u.close()
		}
	}()
	for len(order) > 0 || len(begun) > 0 {
		if len(order) > 0 && isIdlePackage(order[0].pkg.Name) {
			order = order[1:]
			continue
		}
		if len(order) > 0 && len(begun) < runtime.GOMAXPROCS(0) {
			u, err := order[0].begin()
			if err != nil {
				return fault.Within(err, "package %s", order[0].pkg.Name)
			}
			begun, order = append(begun, u), order[1:]
			continue
		}
		u := begun[0]
		b.files = map[string]string{}
		if err := walkPlain(u.name, u.plain, b.entry); err != nil {
			return fault.Within(err, "package %s", u.pkg.Name)
		}
		u.close()
		begun = begun[1:]
	}
	return nil
}

// unpacking is a package that is being decompressed.
type unpacking struct {
	pkg   *Package
	name  string // of its data archive
	blob  Blob
	plain io.ReadCloser
}

// begin starts to decompress a package.
func (d bootDeb) begin() (*unpacking, error) {
	blob, err := d.open()
	if err != nil {
		return nil, err
	}
	_, data, err := debMembers(blob, blob.Size())
	if err == nil {
		var plain io.ReadCloser
		if plain, err = compress.NewReader(data.name, data.section(blob), maxDataTar); err == nil {
			return &unpacking{d.pkg, data.name, blob, compress.Ahead(plain, unpackAhead)}, nil
		}
	}
	blob.Close()
	return nil, err
}

func (u *unpacking) close() {
	u.plain.Close()
	u.blob.Close()
}

// entry writes one entry of a package, unless its place is taken.
func (b *bootstrap) entry(h *tar.Header, r io.Reader) error {
	if h.Name == "." {
		return nil
	}
	if strings.HasPrefix(path.Base(h.Name), ".wh.") {
		return fault.New(fault.Invalid, "%s: in a layer, the name would delete a file", h.Name)
	}
	at, err := b.resolve(h.Name)
	if err != nil {
		return err
	}
	if len(b.made) > maxEntries {
		return fault.New(fault.Invalid, "more than %d files in all packages", maxEntries)
	}
	if isIdle(at) || h.Typeflag == tar.TypeLink && b.files[h.Linkname] == "" {
		return nil
	}
	if h.Typeflag == tar.TypeReg {
		b.files[h.Name] = at
	}
	if there := b.made[at].kind; there != 0 {
		// Links and folders go together; a folder and a file do not.
		clash := there == tar.TypeDir && (h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeLink) ||
			there == tar.TypeReg && h.Typeflag == tar.TypeDir
		if clash {
			return fault.New(fault.Invalid, "%s is a directory in one package and a file in another", at)
		}
		return nil
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return b.dir(at, h)
	case tar.TypeSymlink:
		return b.symlink(at, h.Linkname, h.ModTime)
	case tar.TypeLink:
		return b.hardlink(at, b.files[h.Linkname], h)
	}
	return b.file(at, h, r)
}

// isIdlePackage reports whether unpacking needs nothing of a package: it is a part
// of Perl beyond perl-base, or has time zones. They are among the largest.
func isIdlePackage(name string) bool {
	return name == "perl" || name == "tzdata" || strings.HasPrefix(name, "perl-modules-") || strings.HasPrefix(name, "libperl5.")
}

// idle are the patterns of folders with nothing that unpacking a package could
// need. Perl's scripts have perl-base until everything is unpacked.
var idle = []string{
	"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/zoneinfo",
	"usr/share/bash-completion", "usr/share/terminfo", "usr/lib/terminfo", "usr/share/perl", "usr/lib/*/perl", "usr/lib/*/gconv",
}

// isIdle reports whether a path of the root is one of those folders or below.
func isIdle(at string) bool {
	return slices.ContainsFunc(idle, func(dir string) bool {
		head := at
		for i, depth := 0, strings.Count(dir, "/"); i < len(at); i++ {
			if at[i] == '/' {
				if depth == 0 {
					head = at[:i]
					break
				}
				depth--
			}
		}
		ok, _ := path.Match(dir, head) // the patterns are well formed
		return ok
	})
}

// maxLinks bounds the symbolic links followed for one path.
const maxLinks = 40

// resolve returns where a path leads when the folders above its last element
// are looked up in the root so far, and makes those that are missing.
func (b *bootstrap) resolve(name string) (string, error) {
	dir, base := path.Split(name)
	rest := strings.Split(strings.TrimSuffix(dir, "/"), "/")
	at := ""
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = strings.TrimPrefix(path.Dir("/"+at), "/")
			continue
		}
		next := path.Join(at, part)
		switch there := b.made[next]; there.kind {
		case tar.TypeReg:
			return "", fault.New(fault.Invalid, "%s is below %s, which is a file", name, next)
		case tar.TypeSymlink:
			if links++; links > maxLinks {
				return "", fault.New(fault.Invalid, "%s is behind too many symbolic links", name)
			}
			if strings.HasPrefix(there.target, "/") {
				at = ""
			}
			rest = append(strings.Split(there.target, "/"), rest...)
		default:
			if err := b.mkdirs(next); err != nil {
				return "", err
			}
			at = next
		}
	}
	return path.Join(at, base), nil
}

// mkdirs makes a folder, and those above it, with plain metadata.
func (b *bootstrap) mkdirs(name string) error {
	if b.made[name].kind != 0 {
		return nil
	}
	if parent := path.Dir(name); parent != "." {
		if err := b.mkdirs(parent); err != nil {
			return err
		}
	}
	return b.dir(name, &tar.Header{Mode: 0o755})
}

func (b *bootstrap) dir(name string, h *tar.Header) error {
	b.made[name] = node{kind: tar.TypeDir}
	return b.w.WriteHeader(bootHeader(tar.TypeDir, name+"/", h))
}

func (b *bootstrap) symlink(name, target string, t time.Time) error {
	b.made[name] = node{tar.TypeSymlink, target}
	h := bootHeader(tar.TypeSymlink, name, &tar.Header{Mode: 0o777, ModTime: t})
	h.Linkname = target
	return b.w.WriteHeader(h)
}

func (b *bootstrap) hardlink(name, target string, h *tar.Header) error {
	b.made[name] = node{kind: tar.TypeReg}
	l := bootHeader(tar.TypeLink, name, h)
	l.Linkname = target
	return b.w.WriteHeader(l)
}

func (b *bootstrap) file(name string, h *tar.Header, r io.Reader) error {
	b.made[name] = node{kind: tar.TypeReg}
	f := bootHeader(tar.TypeReg, name, h)
	f.Size = h.Size
	if err := b.w.WriteHeader(f); err != nil {
		return err
	}
	_, err := io.Copy(b.w, r)
	return err
}

// bootHeader returns a header that has only what a root needs: numeric owners,
// permission bits, whole seconds within what every tar can hold.
func bootHeader(kind byte, name string, h *tar.Header) *tar.Header {
	seconds := int64(0)
	if !h.ModTime.IsZero() {
		seconds = min(max(h.ModTime.Unix(), 0), 1<<33-1)
	}
	return &tar.Header{
		Typeflag: kind,
		Name:     name,
		Mode:     h.Mode & 0o7777,
		Uid:      h.Uid,
		Gid:      h.Gid,
		ModTime:  time.Unix(seconds, 0),
	}
}
