// Package pack makes packages of a file tree and a description of them: the work
// of the definition step dhi/build-pkg, of which one definition gives packages of
// Debian and of Alpine. It runs outside of the sandbox, on a tree that a build
// left and that is therefore taken to be hostile.
//
// ParseSpec reads the description, ReadTree the tree, Assemble decides what goes
// into which package and what each of them needs and provides, and Write packs
// them. docs/build-pkg.md says what each key of the step means.
package pack

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Step is the name of the step in a definition, without its version.
const Step = "dhi/build-pkg"

// A Format is a format of packages.
type Format string

// The formats of packages.
const (
	APK Format = "apk"
	Deb Format = "deb"
)

// A Spec is what one step asks for.
type Spec struct {
	catalog.Pos
	Name    string // of the main package, and of the origin of all
	Version string // without the release
	Release string // a number: 1.2 and 3 become 1.2-r3 for apk and 1.2-3 for dpkg
	License string
	URL     string
	Formats []Format // sorted

	// Root is the folder, relative to the root of the tree, that the paths of
	// rules begin at; "" for the root of the tree itself.
	Root string
	// Packages are the main package, unless there is nothing in it, and then the
	// others in the order in which they are written.
	Packages []Package
	// Options change how dependencies are found, see docs/build-pkg.md.
	Options []string

	Section          string // of Debian's packages
	Priority         string // likewise, "optional" or another word
	ProviderPriority int    // of apk's main package, 0 for none
}

// A Package is one package of a spec.
type Package struct {
	catalog.Pos
	Name        string
	Description string // one line
	Formats     []Format
	Rules       []Rule // nil if its files are found otherwise
	AnyArch     bool   // it fits every architecture
	// Config is the content of a file that describes how an image is to be set up
	// for the package, nil for none. A package with it has that file alone.
	Config []byte

	split *split // what is taken out of the main package, nil for nothing
	apk   apkRelations
	deb   debRelations
}

// A Rule says that a package has a file, or a folder with all that is in it.
type Rule struct {
	catalog.Pos
	Path   string // where it is installed, below the root; "" for the root
	Source string // where it is in the tree, likewise
	// UID and GID are the owner of the file and of all that is below it, -1 to
	// leave that as it is in the tree.
	UID, GID int
	Mode     int64 // of the file or folder itself, -1 to leave it
}

// with are the parameters of the step.
type with struct {
	catalog.Pos
	Name        string        `yaml:"name,required"`
	Version     string        `yaml:"version,required"`
	Rel         string        `yaml:"rel,required"`
	Description string        `yaml:"description,required"`
	License     string        `yaml:"license"`
	URL         string        `yaml:"url"`
	Files       []catalog.Raw `yaml:"files"`
	Subpackages []subWith     `yaml:"subpackages"`
	Formats     []string      `yaml:"formats" enum:"apk|deb"`
	Depends     catalog.Raw   `yaml:"depends"`
	Provides    catalog.Raw   `yaml:"provides"`
	Replaces    catalog.Raw   `yaml:"replaces"`
	Conflicts   catalog.Raw   `yaml:"conflicts"`
	Priority    string        `yaml:"priority"`
	Section     string        `yaml:"section"`
	Root        string        `yaml:"root"`
	APK         apkWith       `yaml:"apk"`
	Deb         formatWith    `yaml:"deb"`
	OCIConfig   catalog.Raw   `yaml:"oci-config"`
}

// subWith are the parameters of another package.
type subWith struct {
	catalog.Pos
	Name        string        `yaml:"name,required"`
	Description string        `yaml:"description"`
	Files       []catalog.Raw `yaml:"files"`
	Depends     catalog.Raw   `yaml:"depends"`
}

// formatWith are what one format has in addition.
type formatWith struct {
	catalog.Pos
	Depends  catalog.Raw `yaml:"depends"`
	Provides catalog.Raw `yaml:"provides"`
	Replaces catalog.Raw `yaml:"replaces"`
}

// apkWith has options and subpackages as the step abuild/apk writes them.
type apkWith struct {
	formatWith  `yaml:",inline"`
	Options     catalog.Raw `yaml:"options"`
	Subpackages catalog.Raw `yaml:"subpackages"`
}

// knownOptions are the options of abuild that have a meaning here.
var knownOptions = []string{"!tracedeps", "ldpath-recursive", "sover-namecheck"}

// ParseSpec reads the parameters of a dhi/build-pkg step, of an expanded
// definition. Errors are fault.Invalid and name the file, the line and, for an
// unknown key, the nearest known one. What only one format's tools may refuse,
// such as a version, is refused by Assemble.
func ParseSpec(s catalog.Step) (*Spec, error) {
	var w with
	if err := catalog.DecodeWith(s, &w); err != nil {
		return nil, err
	}
	if w.Line == 0 {
		w.Pos = s.Pos
	}
	spec := &Spec{Pos: w.Pos, Name: w.Name, Version: w.Version, Release: w.Rel, License: w.License, URL: w.URL, Section: w.Section}
	if !isName(w.Name) {
		return nil, errorAt(w.Pos, "%q is not a name for a package", w.Name).Fix("use lower-case letters, digits and +-. and begin with a letter or digit")
	}
	if n, err := strconv.ParseUint(w.Rel, 10, 31); err != nil || strconv.FormatUint(n, 10) != w.Rel {
		return nil, errorAt(w.Pos, "rel is %q, which is no number", w.Rel).Fix("begin with 0 and count")
	}
	if err := spec.formats(&w); err != nil {
		return nil, err
	}
	var err error
	if spec.Root, err = root(w.Pos, w.Root); err != nil {
		return nil, err
	}
	if spec.Options, err = options(w.APK.Options); err != nil {
		return nil, err
	}
	if err := spec.priorities(&w); err != nil {
		return nil, err
	}
	if err := spec.packages(&w, s.Uses); err != nil {
		return nil, err
	}
	return spec, spec.checkNames()
}

// formats sets the formats; none named means all.
func (s *Spec) formats(w *with) error {
	for _, f := range w.Formats {
		if slices.Contains(s.Formats, Format(f)) {
			return errorAt(w.Pos, "format %s is there twice", f)
		}
		s.Formats = append(s.Formats, Format(f))
	}
	if w.Formats == nil {
		s.Formats = []Format{APK, Deb}
	}
	if len(s.Formats) == 0 {
		return errorAt(w.Pos, "formats is empty").Fix("name apk, deb or both, or leave it out for both")
	}
	slices.Sort(s.Formats)
	return nil
}

// root returns the folder that a step names as the root, relative to where a
// definition assembles its files.
func root(at catalog.Pos, s string) (string, error) {
	for _, target := range []string{ashlar.TargetDir, "${" + catalog.TargetDir + "}"} {
		if rest, ok := strings.CutPrefix(s, target); ok && (rest == "" || rest[0] == '/') {
			if dir, ok := cleanPath(rest); ok {
				return dir, nil
			}
		}
	}
	if s == "" {
		return "", nil
	}
	return "", errorAt(at, "root %q is not below ${target.dir}", s).Fix("only what is below ${target.dir} can be packed")
}

// options reads abuild's options.
func options(r catalog.Raw) ([]string, error) {
	list, err := texts(r)
	if err != nil {
		return nil, err
	}
	var options []string
	for _, o := range list {
		for word := range strings.FieldsSeq(o.text) {
			if !slices.Contains(knownOptions, word) {
				return nil, errorAt(o.Pos, "option %q has no meaning here", word).Fix("known are %s", strings.Join(knownOptions, ", "))
			}
			options = append(options, word)
		}
	}
	return options, nil
}

// debPriorities are Debian's priorities.
var debPriorities = []string{"required", "important", "standard", "optional", "extra"}

// priorities reads priority, which is one of two things: a word is Debian's, a
// number orders packages that provide the same for apk.
func (s *Spec) priorities(w *with) error {
	s.Priority = "optional"
	n, err := strconv.ParseUint(w.Priority, 10, 16)
	switch {
	case w.Priority == "":
	case err == nil:
		s.ProviderPriority = int(n)
	case slices.Contains(debPriorities, w.Priority):
		s.Priority = w.Priority
	default:
		return errorAt(w.Pos, "priority %q is neither a number up to 65535 nor one of Debian's", w.Priority).
			Fix("Debian's are %s", strings.Join(debPriorities, ", "))
	}
	if strings.ContainsAny(w.Section, " \t\n") {
		return errorAt(w.Pos, "section %q has a blank in it", w.Section)
	}
	return nil
}

// packages sets the packages.
func (s *Spec) packages(w *with, uses string) error {
	main := Package{Pos: w.Pos, Name: w.Name, Description: oneLine(w.Description), Formats: s.Formats}
	var err error
	if main.Rules, err = rules(w.Files, uses); err != nil {
		return err
	}
	if err := main.relate(s, w); err != nil {
		return err
	}
	var others []Package
	for i := range w.Subpackages {
		p, err := s.subpackage(&w.Subpackages[i], &main, uses)
		if err != nil {
			return err
		}
		others = append(others, *p)
	}
	asked, err := s.asked(w.APK.Subpackages, &main)
	if err != nil {
		return err
	}
	others = append(others, asked...)
	if p, err := s.config(w.OCIConfig, &main); err != nil {
		return err
	} else if p != nil {
		others = append(others, *p)
	}
	// Without files of its own there is a main package if others take what they
	// want and it has the rest, or if it only stands for what it depends on.
	splits := slices.ContainsFunc(others, func(p Package) bool { return p.split != nil })
	if main.Rules != nil || splits || len(main.apk.depends)+len(main.deb.depends) > 0 {
		s.Packages = append(s.Packages, main)
	}
	s.Packages = append(s.Packages, others...)
	if len(s.Packages) == 0 {
		return errorAt(w.Pos, "there are no files to pack").Fix("list them under files")
	}
	return nil
}

// subpackage reads a package beside the main one.
func (s *Spec) subpackage(w *subWith, main *Package, uses string) (*Package, error) {
	p := &Package{Pos: w.Pos, Name: w.Name, Description: oneLine(w.Description), Formats: s.Formats}
	var err error
	if p.Rules, err = rules(w.Files, uses); err != nil {
		return nil, err
	}
	if p.Rules == nil {
		if p.split = splitOf(w.Name); p.split == nil {
			return nil, errorAt(w.Pos, "package %s takes no files", w.Name).
				Fix("list its files, or give it a name that ends in one of %s", strings.Join(splitSuffixes(), ", "))
		}
	}
	p.describe(main)
	return p, p.relateSub(s, w)
}

// describe says of a package what follows from what it takes, and gives it a
// description like the main package's if it has none.
func (p *Package) describe(main *Package) {
	p.AnyArch = p.split != nil && p.split.anyArch
	if p.Description != "" {
		return
	}
	p.Description = main.Description
	if p.split != nil {
		p.Description += " (" + p.split.what + ")"
	}
}

// asked reads the packages that are wanted for apk only, written as in an
// APKBUILD: "$pkgname-dev $pkgname-doc".
func (s *Spec) asked(r catalog.Raw, main *Package) ([]Package, error) {
	list, err := texts(r)
	if err != nil {
		return nil, err
	}
	var packages []Package
	for _, t := range list {
		for word := range strings.FieldsSeq(t.text) {
			p := Package{Pos: t.Pos, Name: strings.ReplaceAll(word, "$pkgname", s.Name), Formats: []Format{APK}}
			if p.split = splitOf(p.Name); p.split == nil {
				return nil, errorAt(t.Pos, "nothing is known of what package %q takes", word).
					Fix("list it under subpackages with its files; by its name it could end in one of %s", strings.Join(splitSuffixes(), ", "))
			}
			p.describe(main)
			if slices.Contains(s.Formats, APK) {
				packages = append(packages, p)
			}
		}
	}
	return packages, nil
}

// checkNames wants all names of packages to be names, each there once.
func (s *Spec) checkNames() error {
	seen := map[string]bool{}
	for _, p := range s.Packages {
		switch {
		case !isName(p.Name):
			return errorAt(p.Pos, "%q is not a name for a package", p.Name).Fix("use lower-case letters, digits and +-. and begin with a letter or digit")
		case seen[p.Name]:
			return errorAt(p.Pos, "package %s is there twice", p.Name)
		}
		seen[p.Name] = true
	}
	return nil
}

// isName reports whether s may be the name of a package in either format.
func isName(s string) bool {
	if len(s) < 2 || len(s) > 128 || strings.IndexByte("+-._", s[0]) >= 0 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("+-.", c) < 0 {
			return false
		}
	}
	return true
}

// oneLine returns the words of s with single blanks between them.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// cleanPath returns a path without slashes at its ends, "" for the root, and
// whether it stays below the root.
func cleanPath(s string) (string, bool) {
	s = strings.Trim(s, "/")
	if s == "" || s == "." {
		return "", true
	}
	clean := path.Clean(s)
	if len(clean) > maxPath || clean == ".." || strings.HasPrefix(clean, "../") || clean != strings.TrimPrefix(s, "./") || strings.ContainsAny(clean, "\x00\n") {
		return "", false
	}
	return clean, true
}

// errorAt is an error of the definition at a place.
func errorAt(p catalog.Pos, format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...).At(p.File, p.Line)
}
