package pack

import (
	"debug/elf"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Options are what packages say that neither the tree nor the definition does.
type Options struct {
	Arch       ashlar.Arch // "amd64" or "arm64"
	Time       int64       // of every file and of the build, in Unix seconds: SOURCE_DATE_EPOCH
	Maintainer string      // "Name <address>"
	Commit     string      // of the definition, 40 hexadecimal digits, or ""
	// Users and Groups name owners by their number. Root is 0 in any case. The
	// packages of apk 3 cannot have an owner without a name.
	Users, Groups map[int]string
	// Provided reports whether a name such as "so:libz.so.1" or "pc:zlib" is
	// provided by a package outside of the set. What is needed and not provided is
	// an error then; if Provided is nil everything is taken to be there.
	Provided func(name string) bool
	// Exceptions let files fall short of hardening.
	Exceptions []Exception
}

// A Set is the packages of one spec, ready to be written. It reads from its tree
// as long as it is used.
type Set struct {
	Packages []*Binary // in the order of the spec, each format for itself
	// Notes are remarks for people: what is odd but no mistake.
	Notes []string

	spec    *Spec
	tree    *Tree
	options Options
}

// A Binary is one package of one format.
type Binary struct {
	Name    string
	Version string // with the release, in the format's form
	Format  Format
	Arch    string    // in the format's words: "x86_64", "noarch", "amd64", "all"
	ELF     []ELFFile // its programs and libraries, by path

	from  *Package
	files []*file // by path
	apk   apk.Info
	deb   deb.Paragraph
}

// An ELFFile is what was found out about a program or a library.
type ELFFile struct {
	Path string
	*elfcheck.File
	// Excused are the reasons for which it may fall short, by check.
	Excused map[elfcheck.Check]string
}

// machines are the architectures that packages are made for.
var machines = map[ashlar.Arch]struct {
	machine elf.Machine
	apk     string
}{
	"amd64": {elf.EM_X86_64, "x86_64"},
	"arm64": {elf.EM_AARCH64, "aarch64"},
}

// Assemble decides what goes into which package, checks it, and finds out what
// the packages need and provide. It is a function of its arguments. Errors are
// fault.Invalid for a description that does not fit the tree or that a format's
// tools would refuse, and fault.Policy for a file that falls short of hardening
// without a reason.
func Assemble(t *Tree, spec *Spec, o Options) (*Set, error) {
	m, ok := machines[o.Arch]
	if !ok {
		return nil, fault.New(fault.Invalid, "packages for %q are not made", o.Arch).Fix("known are amd64 and arm64")
	}
	if o.Maintainer == "" {
		return nil, fault.New(fault.Invalid, "packages need a maintainer").Fix("give a name and an address")
	}
	set := &Set{spec: spec, tree: t, options: o}
	for _, f := range spec.Formats {
		sets, err := t.take(spec, f)
		if err != nil {
			return nil, err
		}
		for i := range spec.Packages {
			p := &spec.Packages[i]
			if !slices.Contains(p.Formats, f) {
				continue
			}
			b := &Binary{Name: p.Name, Version: spec.FullVersion(f), Format: f, Arch: m.apk, from: p}
			switch {
			case f == APK && p.AnyArch:
				b.Arch = "noarch"
			case f == Deb && p.AnyArch:
				b.Arch = "all"
			case f == Deb:
				b.Arch = string(o.Arch)
			}
			if err := set.addGenerated(b, sets[p.Name]); err != nil {
				return nil, err
			}
			b.files = sets[p.Name].sorted()
			set.Packages = append(set.Packages, b)
		}
	}
	if err := set.checkELF(m.machine); err != nil {
		return nil, err
	}
	return set, set.describe(m.machine)
}

// addGenerated adds the files that are not in the tree.
func (s *Set) addGenerated(b *Binary, files fileSet) error {
	if b.from.Config != nil {
		if err := s.add(files, "opt/docker/config/"+s.spec.Name+".yaml", b.from.Config); err != nil {
			return err
		}
	}
	// Debian's packages say their licence in a file, as they have no field for it.
	name := "usr/share/doc/" + b.Name + "/copyright"
	if b.Format == Deb && s.spec.License != "" && files[name] == nil {
		return s.add(files, name, copyright(s.spec))
	}
	return nil
}

// add adds a file and the folders that it is in.
func (s *Set) add(files fileSet, name string, text []byte) error {
	c, err := s.tree.store(strings.NewReader(string(text)), int64(len(text)))
	if err != nil {
		return err
	}
	files[name] = &file{path: name, mode: 0o644, node: &node{path: name, kind: regular, mode: 0o644, content: c}}
	return s.tree.addFolders(s.spec, files)
}

// copyright returns a copyright file in Debian's machine-readable form. All that
// is known is the licence as a whole.
func copyright(s *Spec) []byte {
	var b strings.Builder
	b.WriteString("Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n")
	b.WriteString("Upstream-Name: " + s.Name + "\n")
	if s.URL != "" {
		b.WriteString("Source: " + s.URL + "\n")
	}
	b.WriteString("License: " + oneLine(s.License) + "\n")
	return []byte(b.String())
}

// describe finds out what the packages need and provide and writes it down.
func (s *Set) describe(m elf.Machine) error {
	found, err := s.scan(m)
	if err != nil {
		return err
	}
	for _, b := range s.Packages {
		if b.Format == APK {
			err = s.describeAPK(b, found[b])
		} else {
			err = s.describeDeb(b, found[b])
		}
		if err != nil {
			e := fault.Within(err, "for %s", b.Format)
			if e.File == "" {
				e.At(b.from.File, b.from.Line)
			}
			return e
		}
	}
	s.note()
	return nil
}

// note remarks on files that get more rights than who starts them, and on what a
// format cannot hold.
func (s *Set) note() {
	for _, b := range s.Packages {
		for _, f := range b.files {
			where := string(b.Format) + " package " + b.Name + ": " + clip(f.path)
			if f.node.kind == regular && f.mode&0o6000 != 0 {
				s.Notes = append(s.Notes, where+" has mode 0"+strconv.FormatInt(f.mode, 8)+": it runs with the rights of its owner or group")
			}
			if f.node.kind == directory && f.mode&0o6000 != 0 && b.Format == APK {
				s.Notes = append(s.Notes, where+" has mode 0"+strconv.FormatInt(f.mode, 8)+": apk 3 makes folders without setuid and setgid, apk 2 with")
			}
			switch {
			case len(f.node.xattrs) == 0:
			case b.Format == Deb:
				s.Notes = append(s.Notes, where+" loses its extended attributes: dpkg cannot hold them")
			case f.node.xattrs[capability] != "":
				s.Notes = append(s.Notes, where+" has capabilities")
			}
		}
	}
}

// owner returns the names of a file's owner, in decimal digits where there is no
// name.
func (s *Set) owner(f *file) (user, group string) {
	name := func(names map[int]string, id int) string {
		switch name, ok := names[id]; {
		case ok:
			return name
		case id == 0:
			return "root"
		}
		return strconv.Itoa(id)
	}
	return name(s.options.Users, f.uid), name(s.options.Groups, f.gid)
}

// links returns, of each file that is another name of one before it in the same
// package, the path of that one. Names that are not to be alike in everything are
// files of their own.
func links(files []*file) map[*file]*file {
	first := map[*content]*file{}
	links := map[*file]*file{}
	for _, f := range files {
		if f.node.kind != regular {
			continue
		}
		switch g, ok := first[f.node.content]; {
		case !ok:
			first[f.node.content] = f
		case f.mode == g.mode && f.uid == g.uid && f.gid == g.gid:
			links[f] = g
		}
	}
	return links
}
