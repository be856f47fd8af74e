package world

import (
	"archive/tar"
	"bytes"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// database lays the files by which apk knows what is installed. They have the form
// of apk 3.0, which 2.14 reads, too.
func (i *installer) database() error {
	packages := i.sortedPackages()
	scripts, err := scriptArchive(packages)
	if err != nil {
		return err
	}
	var installed, triggers, world []byte
	for _, p := range packages {
		installed = p.appendTo(installed)
		if len(p.info.Triggers) > 0 {
			triggers = append(triggers, p.identity().String()+" "+strings.Join(p.info.Triggers, " ")+"\n"...)
		}
	}
	for _, w := range i.Solution.World {
		world = append(world, w.String()+"\n"...)
	}
	if len(world) == 0 {
		world = []byte("\n")
	}
	for _, f := range []struct {
		path string
		b    []byte
	}{
		{"etc/apk/arch", []byte(i.Solution.Arch + "\n")},
		{"etc/apk/world", world},
		{"lib/apk/db/installed", installed},
		{"lib/apk/db/scripts.tar", scripts},
		{"lib/apk/db/triggers", triggers},
	} {
		if err := i.lay(f.path, f.b); err != nil {
			return err
		}
	}
	return nil
}

// appendTo appends what the database says of a package: what the index says, what
// only the package says, and its files by folder.
func (p *installed) appendTo(b []byte) []byte {
	e := apk.IndexEntry{Info: *p.Info, Identity: p.identity(), Size: p.Size}
	b = e.AppendTo(b)
	b = b[:len(b)-1] // the empty line that ends an entry
	line := func(letter byte, s string) {
		b = append(append(append(b, letter, ':'), s...), '\n')
	}
	if len(p.Tags) > 0 {
		line('g', strings.Join(p.Tags, " "))
	}
	if len(p.info.Replaces) > 0 {
		line('r', apk.FormatDependencies(p.info.Replaces))
	}
	if p.info.ReplacesPriority != 0 {
		line('q', strconv.Itoa(p.info.ReplacesPriority))
	}
	if p.Tag != "" {
		line('s', p.Tag)
	}
	if p.v3() && p.InstalledSize > 0 {
		line('f', "S") // digests of files are parts of SHA-256
	}
	for _, in := range p.instances {
		line('F', in.path)
		if in.access != usualFolder {
			line('M', in.access.String())
		}
		slices.SortFunc(in.files, func(a, b *owned) int { return strings.Compare(a.name, b.name) })
		for _, f := range in.files {
			if f.lost {
				continue
			}
			line('R', f.name)
			if f.access != usualFile {
				line('a', f.access.String())
			}
			if f.digest.kind != noDigest {
				line('Z', apk.Identity(f.digest.sum).String())
			}
		}
	}
	return append(b, '\n')
}

// String returns the access rights as the database has them.
func (a access) String() string {
	b := strconv.AppendUint(nil, uint64(a.user), 10)
	b = strconv.AppendUint(append(b, ':'), uint64(a.group), 10)
	b = strconv.AppendUint(append(b, ':'), uint64(a.mode), 8)
	if a.hasXattrs {
		b = append(append(b, ':'), apk.Identity(a.xattrs).String()...)
	}
	return string(b)
}

// scriptArchive returns the tar in which apk keeps all scripts for later.
func scriptArchive(packages []*installed) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, p := range packages {
		for _, s := range p.scripts {
			h := tar.Header{
				Name: path.Base(storedName(p.Package, s.name)), Size: int64(len(s.body)), Mode: 0o755, Typeflag: tar.TypeReg,
				ModTime: time.Unix(p.BuildTime, 0), Uname: "root", Gname: "root", Format: tar.FormatGNU,
			}
			if err := w.WriteHeader(&h); err != nil {
				return nil, err
			}
			if _, err := w.Write(s.body); err != nil {
				return nil, err
			}
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
