package pack

import (
	"cmp"
	"debug/elf"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// scanned is what was found in a package, as words of apk.
type scanned struct {
	provides map[string]string // version by name, "" for none
	needs    map[string]bool   // words
	// siblings are the packages of the same spec that symbolic links lead to.
	siblings map[string]bool
}

// A scanner finds out what packages need and provide, by the rules of Alpine's
// abuild.
type scanner struct {
	set      *Set
	machine  elf.Machine
	packages []*Binary // of one format
	found    map[*Binary]*scanned
	byPath   map[string][]*Binary // which packages have a path
	// libraries are the folders whose libraries others may use: the standard ones
	// and those that a program of the set names in its RPATH.
	libraries map[string]bool
}

// scan scans all packages. Only symbolic links are of use to Debian's.
func (s *Set) scan(m elf.Machine) (map[*Binary]*scanned, error) {
	found := map[*Binary]*scanned{}
	for _, f := range s.spec.Formats {
		sc := &scanner{set: s, machine: m, found: found, byPath: map[string][]*Binary{}, libraries: map[string]bool{"lib": true, "usr/lib": true}}
		for _, b := range s.Packages {
			if b.Format != f {
				continue
			}
			sc.packages = append(sc.packages, b)
			found[b] = &scanned{provides: map[string]string{}, needs: map[string]bool{}, siblings: map[string]bool{}}
			for _, file := range b.files {
				sc.byPath[file.path] = append(sc.byPath[file.path], b)
			}
		}
		if slices.Contains(s.spec.Options, "!tracedeps") {
			continue
		}
		sc.links()
		if f == APK {
			if err := sc.all(); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// all finds all that apk wants to know. What is provided is known of all packages
// before what is needed is looked at.
func (sc *scanner) all() error {
	for _, b := range sc.packages {
		sc.paths(b)
	}
	for _, b := range sc.packages {
		sc.commands(b)
		if err := sc.python(b); err != nil {
			return err
		}
		if err := sc.providedLibraries(b); err != nil {
			return err
		}
	}
	pcs := map[*Binary][]*pcFile{}
	for _, b := range sc.packages {
		var err error
		if pcs[b], err = sc.pkgConfig(b); err != nil {
			return err
		}
	}
	for _, b := range sc.packages {
		if err := sc.neededLibraries(b); err != nil {
			return err
		}
		if err := sc.neededPkgConfig(b, pcs[b]); err != nil {
			return err
		}
	}
	return nil
}

// links finds the packages of the set that have what a symbolic link of another
// points to.
func (sc *scanner) links() {
	for _, b := range sc.packages {
		for _, f := range b.files {
			if f.node.kind != symlink {
				continue
			}
			target := f.node.target
			if !path.IsAbs(target) {
				target = path.Join("/", path.Dir(f.path), target)
			}
			// Where several have it nobody knows which one is meant.
			if have := sc.byPath[path.Clean(target)[1:]]; len(have) == 1 && have[0] != b {
				sc.found[b].siblings[have[0].Name] = true
			}
		}
	}
}

// native reports whether a file is a program or library for the machine.
func (sc *scanner) native(e *ELFFile) bool {
	return e.File != nil && e.Machine == sc.machine
}

// paths collects the folders that programs look for libraries in.
func (sc *scanner) paths(b *Binary) {
	for i := range b.ELF {
		e := &b.ELF[i]
		if !sc.native(e) {
			continue
		}
		for _, dir := range e.RPath {
			for _, origin := range []string{"$ORIGIN", "${ORIGIN}"} {
				if rest, ok := strings.CutPrefix(dir, origin); ok {
					dir = "/" + path.Dir(e.Path) + rest
				}
			}
			if path.IsAbs(dir) {
				sc.libraries[path.Clean(dir)[1:]] = true
			}
		}
	}
}

// isLibrary reports whether a name is that of a shared library.
func isLibrary(name string) bool {
	return strings.HasSuffix(name, ".so") || strings.HasSuffix(name, ".c32") || libraryVersion(name) != ""
}

// libraryVersion returns the version that the name of a library ends in, "1.3.1"
// of "libz.so.1.3.1", or "".
func libraryVersion(name string) string {
	if at := strings.LastIndex(name, ".so."); at >= 0 && at+4 < len(name) && name[at+4] >= '0' && name[at+4] <= '9' {
		return name[at+4:]
	}
	return ""
}

// isPublic reports whether a folder has libraries that others may use.
func (sc *scanner) isPublic(dir string) bool {
	if sc.libraries[dir] {
		return true
	}
	return slices.Contains(sc.set.spec.Options, "ldpath-recursive") &&
		slices.ContainsFunc(slices.Collect(maps.Keys(sc.libraries)), func(l string) bool { return strings.HasPrefix(dir, l+"/") })
}

// providedLibraries finds the libraries that a package provides, so:NAME=VERSION.
// The name is the library's own, the version that of the file's name.
func (sc *scanner) providedLibraries(b *Binary) error {
	if b.from.AnyArch {
		return nil
	}
	for i := range b.ELF {
		e := &b.ELF[i]
		if !sc.native(e) || !sc.isPublic(path.Dir(e.Path)) || e.Kind != elfcheck.Shared && e.SoName == "" {
			continue
		}
		base := path.Base(e.Path)
		name := cmp.Or(e.SoName, base)
		unversioned := strings.HasSuffix(base, ".so") && libraryVersion(name) != ""
		if !isLibrary(name) || unversioned && slices.Contains(sc.set.spec.Options, "sover-namecheck") {
			continue
		}
		if err := sc.provide(b, "so:"+name, cmp.Or(libraryVersion(base), "0"), e.Path); err != nil {
			return err
		}
	}
	return nil
}

// provide notes that a package provides a name, and refuses what apk's tools do
// not take, or one name in two versions; file is where it was found. A library may
// have several names, of which the longest version is the most exact.
func (sc *scanner) provide(b *Binary, name, version, file string) error {
	word := apk.Dependency{Name: name, Match: apk.Equal, Version: version}
	if err := word.Check(); err != nil {
		return fault.Within(err, "package %s: %s", b.Name, clip(file)).At(b.from.File, b.from.Line).
			Fix("rename it, or turn the search off with apk.options: !tracedeps")
	}
	provides := sc.found[b].provides
	switch old, ok := provides[name]; {
	case !ok || old == "0" || strings.HasPrefix(version, old+"."):
		provides[name] = version
	case version != old && version != "0" && !strings.HasPrefix(old, version+"."):
		return errorAt(b.from.Pos, "package %s: %s provides %s in version %s, and another file in version %s", b.Name, clip(file), name, version, old).
			Fix("keep one of the two")
	}
	return nil
}

// need notes that a package needs a name that it does not provide itself; file is
// where it was found.
func (sc *scanner) need(b *Binary, word, file string) error {
	d, err := apk.ParseDependency(word)
	if err == nil {
		err = d.Check()
	}
	if err != nil {
		return fault.Within(err, "package %s: %s", b.Name, clip(file)).At(b.from.File, b.from.Line).
			Fix("correct it, or turn the search off with apk.options: !tracedeps")
	}
	if _, own := sc.found[b].provides[d.Name]; !own {
		sc.found[b].needs[word] = true
	}
	return nil
}

// provided reports whether somebody provides a name: a package of the set, or one
// outside of it.
func (sc *scanner) provided(name string) bool {
	for _, b := range sc.packages {
		if _, ok := sc.found[b].provides[name]; ok {
			return true
		}
	}
	return sc.set.options.Provided == nil || sc.set.options.Provided(name)
}

// neededLibraries finds the libraries that a package needs, so:NAME. One that
// nobody provides may be in a folder of the package itself that is its own affair.
func (sc *scanner) neededLibraries(b *Binary) error {
	if b.from.AnyArch {
		return nil
	}
	private := map[string]bool{}
	for i := range b.ELF {
		if e := &b.ELF[i]; sc.native(e) {
			private[path.Base(e.Path)], private[e.SoName] = true, true
		}
	}
	for i := range b.ELF {
		e := &b.ELF[i]
		if !sc.native(e) {
			continue
		}
		for _, name := range e.Needed {
			switch {
			case sc.provided("so:" + name):
				if err := sc.need(b, "so:"+name, e.Path); err != nil {
					return err
				}
			case !private[name]:
				return errorAt(b.from.Pos, "package %s: %s needs the library %s, which no package provides", b.Name, clip(e.Path), clip(name)).
					Fix("build it with a library that is packaged, or pack the library with it")
			}
		}
	}
	return nil
}

// commandFolders are where commands are.
var commandFolders = []string{"bin", "sbin", "usr/bin", "usr/sbin"}

// commands finds the commands of a package, cmd:NAME. One that is hidden, or whose
// name apk does not take, is not provided.
func (sc *scanner) commands(b *Binary) {
	for _, f := range b.files {
		if !slices.Contains(commandFolders, path.Dir(f.path)) || f.node.kind != symlink && (f.node.kind != regular || f.mode&0o111 == 0) {
			continue
		}
		name := path.Base(f.path)
		word := apk.Dependency{Name: "cmd:" + name, Match: apk.Equal, Version: b.Version}
		if name[0] != '.' && word.Check() == nil {
			sc.found[b].provides[word.Name] = word.Version
		}
	}
}

// python finds the modules of a package, py3.13:NAME, and the Python 3 that they
// are for, of which there can be only one.
func (sc *scanner) python(b *Binary) error {
	version := ""
	for _, f := range b.files {
		rest, ok := strings.CutPrefix(f.path, "usr/lib/python")
		if !ok {
			continue
		}
		v, rest, _ := strings.Cut(rest, "/")
		module, in := strings.CutPrefix(rest, "site-packages")
		if !in || module != "" && module[0] != '/' {
			continue
		}
		if strings.HasPrefix(v, "3") {
			if version != "" && v != version {
				return errorAt(b.from.Pos, "package %s has modules of both Python %s and %s", b.Name, clip(version), clip(v)).Fix("make a package for each")
			}
			version = v
		}
		if name := moduleName(strings.TrimPrefix(module, "/"), f); name != "" {
			if word := (apk.Dependency{Name: "py" + v + ":" + name, Match: apk.Equal, Version: b.Version}); word.Check() == nil {
				sc.found[b].provides[word.Name] = b.Version
			}
		}
	}
	if version == "" || b.Name == "python3" || b.Name == "python"+version {
		return nil
	}
	return sc.need(b, "python3~"+version, "usr/lib/python"+version)
}

// moduleName returns the name of the module that a file below site-packages is: a
// file, or the first file of a folder. Others are "".
func moduleName(rest string, f *file) string {
	if f.node.kind == directory {
		return ""
	}
	if name, ok := strings.CutSuffix(rest, "/__init__.py"); ok && !strings.Contains(name, "/") {
		return name
	}
	if name, ok := strings.CutSuffix(rest, ".py"); ok && !strings.Contains(name, "/") {
		return name
	}
	return ""
}

// words returns the words of a scanned package, sorted.
func (s *scanned) words(b *Binary) (provides, depends []apk.Dependency, err error) {
	for name, version := range s.provides {
		provides = append(provides, apk.Dependency{Name: name, Match: apk.Equal, Version: version})
	}
	for word := range s.needs {
		d, err := apk.ParseDependency(word)
		if err != nil {
			return nil, nil, err
		}
		depends = append(depends, d)
	}
	for name := range s.siblings {
		depends = append(depends, apk.Dependency{Name: name, Match: apk.Equal, Version: b.Version})
	}
	byText := func(x, y apk.Dependency) int { return strings.Compare(x.String(), y.String()) }
	slices.SortFunc(provides, byText)
	slices.SortFunc(depends, byText)
	return provides, depends, nil
}
