package pack

import (
	"archive/tar"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// describeAPK sets what a package of apk says of itself, and checks it and its
// files.
func (s *Set) describeAPK(b *Binary, found *scanned) error {
	provides, depends, err := found.words(b)
	if err != nil {
		return err
	}
	p := b.from
	info := apk.Info{
		Name: b.Name, Version: b.Version, Description: p.Description, Arch: b.Arch, License: oneLine(s.spec.License),
		Origin: s.spec.Name, Maintainer: s.options.Maintainer, URL: s.spec.URL, Commit: s.options.Commit, BuildTime: s.options.Time,
		Provides: merge(p.apk.provides, provides), Depends: merge(p.apk.depends, depends), Replaces: p.apk.replaces,
	}
	if b.Name == s.spec.Name {
		info.ProviderPriority = s.spec.ProviderPriority
	}
	if p.split != nil {
		base := strings.TrimSuffix(b.Name, p.split.suffix)
		if p.split.with != "" && s.has(APK, base) {
			info.InstallIf = []apk.Dependency{{Name: p.split.with}, {Name: base, Match: apk.Equal, Version: b.Version}}
		}
		if dev := strings.TrimSuffix(base, "-libs") + "-dev"; p.split.suffix == "-static" && s.has(APK, dev) {
			info.Depends = merge(info.Depends, []apk.Dependency{{Name: dev}})
		}
	}
	b.apk = info
	if err := info.Check(); err != nil {
		return remedy(err, "correct it, or limit formats to deb")
	}
	if err := forBoth(&info); err != nil {
		return err
	}
	entries := make([]apk.Entry, 0, len(b.files))
	for _, f := range s.apkFiles(b) {
		entries = append(entries, f.Entry)
	}
	if err := apk.CheckEntries(entries); err != nil {
		return fault.Within(err, "package %s", b.Name)
	}
	return s.namedOwners(b)
}

// forBoth wants all versions to be of the form that both generations of apk know,
// since a package is written for both.
func forBoth(info *apk.Info) error {
	for _, d := range slices.Concat([]apk.Dependency{{Name: info.Name, Version: info.Version}}, info.Depends, info.Provides, info.Replaces) {
		if strings.Contains(d.Version, "~") {
			return fault.New(fault.Invalid, "package %s: version %q of %s has a ~, which apk 2 does not take", info.Name, d.Version, d.Name).
				Fix("versions are like 1.2.3a_rc4_p5-r6")
		}
	}
	return nil
}

// remedy adds a remedy to an error that has none.
func remedy(err error, format string, args ...any) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Remedy != "" {
		return err
	}
	return e.Fix(format, args...)
}

// namedOwners wants every owner to have a name, which apk 3 has no numbers for.
func (s *Set) namedOwners(b *Binary) error {
	for _, f := range b.files {
		user, group := s.owner(f)
		if strings.Trim(user, "0123456789") == "" || strings.Trim(group, "0123456789") == "" {
			return errorAt(f.pos(s.spec), "package %s: the owner of %s is %s:%s, and packages of apk 3 hold no numbers", b.Name, clip(f.path), user, group).
				Fix("name the user and the group under accounts, or give the file to root")
		}
	}
	return nil
}

// merge returns the words of both lists, what names the same in the first one
// being left out of the second.
func merge(first, second []apk.Dependency) []apk.Dependency {
	list := slices.Clone(first)
	for _, d := range second {
		if !slices.ContainsFunc(first, func(e apk.Dependency) bool { return e.Name == d.Name && !e.Conflict }) {
			list = append(list, d)
		}
	}
	return list
}

// has reports whether there is a package of that format and name.
func (s *Set) has(f Format, name string) bool {
	return slices.ContainsFunc(s.Packages, func(b *Binary) bool { return b.Format == f && b.Name == name })
}

// apkFiles returns the files of a package for apk.
func (s *Set) apkFiles(b *Binary) []apk.File {
	linked := links(b.files)
	files := make([]apk.File, 0, len(b.files))
	for _, f := range b.files {
		a := apk.File{Entry: apk.Entry{Path: f.path, Mode: uint32(f.mode), ModTime: s.options.Time}}
		a.User, a.Group = s.owner(f)
		switch f.node.kind {
		case directory:
			a.Kind = apk.Directory
		case symlink:
			a.Kind, a.Target, a.Mode = apk.Symlink, f.node.target, 0o777
		case regular:
			if to := linked[f]; to != nil {
				a.Kind, a.Target = apk.HardLink, to.path
				break
			}
			a.Size, a.SHA256 = f.node.size, f.node.sha256
			a.Open = s.opener(f)
		}
		for name, value := range f.node.xattrs {
			a.Xattrs = append(a.Xattrs, apk.Xattr{Name: name, Value: value})
		}
		slices.SortFunc(a.Xattrs, func(x, y apk.Xattr) int { return strings.Compare(x.Name, y.Name) })
		files = append(files, a)
	}
	return files
}

// opener returns a function that opens the content of a file.
func (s *Set) opener(f *file) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(s.tree.open(f.node.content)), nil }
}

// describeDeb sets what a package of Debian says of itself, and checks it.
func (s *Set) describeDeb(b *Binary, found *scanned) error {
	p := b.from
	if err := deb.ValidateVersion(b.Version); err != nil {
		return remedy(fault.Within(err, "package %s", b.Name), "versions are like 1.2.3~rc4 and have no other characters than .+~-; or limit formats to apk")
	}
	depends, conflicts, replaces := slices.Clone(p.deb.depends), slices.Clone(p.deb.conflicts), slices.Clone(p.deb.replaces)
	for _, other := range s.Packages {
		name := deb.Relation{Name: other.Name}
		switch {
		case other.Format != Deb:
		case found.siblings[other.Name]:
			depends = append(depends, deb.Dependency{{Name: other.Name, Op: "=", Version: b.Version}})
		case s.before(other, b) && overlap(other, b):
			// dpkg refuses two packages with one file: they replace each other.
			conflicts, replaces = append(conflicts, deb.Dependency{name}), append(replaces, deb.Dependency{name})
		}
	}
	c := deb.Paragraph{}
	set := func(name, value string) {
		if value != "" {
			c.Set(name, value)
		}
	}
	set("Package", b.Name)
	if s.spec.Name != b.Name {
		set("Source", s.spec.Name)
	}
	set("Version", b.Version)
	set("Architecture", b.Arch)
	set("Maintainer", s.options.Maintainer)
	set("Depends", deb.FormatDependencies(depends))
	set("Conflicts", deb.FormatDependencies(conflicts))
	set("Replaces", deb.FormatDependencies(replaces))
	set("Provides", deb.FormatDependencies(p.deb.provides))
	set("Section", section(s.spec.Section))
	set("Priority", s.spec.Priority)
	set("Homepage", s.spec.URL)
	set("Description", p.Description)
	b.deb = c
	if strings.ContainsAny(s.spec.URL+s.options.Maintainer, "\n\r") {
		return fault.New(fault.Invalid, "package %s: its address or its maintainer has a line break", b.Name).Fix("write each on one line")
	}
	if _, err := deb.ParsePackage(c); err != nil {
		return remedy(err, "correct it, or limit formats to apk")
	}
	return nil
}

// section returns the section of a package of which nothing is said.
func section(s string) string {
	if s == "" {
		return "misc"
	}
	return s
}

// before reports whether a package comes before another in the set.
func (s *Set) before(a, b *Binary) bool {
	return slices.Index(s.Packages, a) < slices.Index(s.Packages, b)
}

// overlap reports whether two packages have a file at the same path.
func overlap(a, b *Binary) bool {
	have := map[string]bool{}
	for _, f := range a.files {
		have[f.path] = f.node.kind != directory
	}
	return slices.ContainsFunc(b.files, func(f *file) bool { return f.node.kind != directory && have[f.path] })
}

// debFiles returns the files of a package for dpkg, and those that a user may
// change: all below etc, as debhelper has it.
func (s *Set) debFiles(b *Binary) (files []deb.PackFile, conffiles []string) {
	linked := links(b.files)
	for _, f := range b.files {
		d := deb.PackFile{Path: f.path, Mode: f.mode, UID: f.uid, GID: f.gid}
		if d.User, d.Group = s.owner(f); strings.Trim(d.User, "0123456789") == "" {
			d.User = ""
		}
		if strings.Trim(d.Group, "0123456789") == "" {
			d.Group = ""
		}
		switch f.node.kind {
		case directory:
			d.Type = tar.TypeDir
		case symlink:
			d.Type, d.Target, d.Mode = tar.TypeSymlink, f.node.target, 0o777
		case regular:
			if to := linked[f]; to != nil {
				d.Type, d.Target = tar.TypeLink, to.path
				break
			}
			d.Type, d.Size, d.Open = tar.TypeReg, f.node.size, s.opener(f)
			if strings.HasPrefix(f.path, "etc/") {
				conffiles = append(conffiles, f.path)
			}
		}
		files = append(files, d)
	}
	return files, conffiles
}
