package deb

import (
	"bytes"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A SourcePackage is the description of a source package, from a .dsc or from a
// Sources index. An index lists the .dsc itself among the files; a .dsc does not.
type SourcePackage struct {
	Name            string
	Version         string
	Format          string // "3.0 (quilt)", "1.0", …
	Directory       string // path below the archive's base; from an index only
	Binary          []string
	Architecture    []string
	Maintainer      string
	Testsuite       string
	ExtraSourceOnly bool // kept by the archive only because something was built using it

	Files []ashlar.File // sorted by name

	BuildDepends        []Dependency
	BuildDependsArch    []Dependency
	BuildDependsIndep   []Dependency
	BuildConflicts      []Dependency
	BuildConflictsArch  []Dependency
	BuildConflictsIndep []Dependency
}

// Dsc returns the .dsc among the files, and whether there is one.
func (s *SourcePackage) Dsc() (ashlar.File, bool) {
	i := slices.IndexFunc(s.Files, func(f ashlar.File) bool { return strings.HasSuffix(f.Name, ".dsc") })
	if i < 0 {
		return ashlar.File{}, false
	}
	return s.Files[i], true
}

// DscName returns the file name that archives give the .dsc of the package,
// "bzip2_1.0.8-5.dsc": without the version's epoch.
func (s *SourcePackage) DscName() string {
	version := s.Version
	if _, after, ok := strings.Cut(version, ":"); ok {
		version = after
	}
	return s.Name + "_" + version + ".dsc"
}

// ParseSource reads the description of a source package from its paragraph in a
// Sources index or a .dsc. It refuses, with a fault.Invalid error that names the
// line: a file that is listed twice or has a path in its name, a missing or
// malformed SHA-256, lists that do not name the same files with the same sizes.
func ParseSource(p Paragraph) (*SourcePackage, error) {
	s := &SourcePackage{
		Name:            p.Get("Package"),
		Version:         p.Get("Version"),
		Format:          p.Get("Format"),
		Directory:       p.Get("Directory"),
		Binary:          splitList(p.Get("Binary")),
		Architecture:    strings.Fields(p.Get("Architecture")),
		Maintainer:      p.Get("Maintainer"),
		Testsuite:       p.Get("Testsuite"),
		ExtraSourceOnly: p.Get("Extra-Source-Only") == "yes",
	}
	if s.Name == "" { // an index says Package, a .dsc says Source
		s.Name = p.Get("Source")
	}
	if !isPackageName(s.Name) {
		return nil, fault.New(fault.Invalid, "%q is not the name of a source package", clip(s.Name)).At("", p.Line("Source"))
	}
	if err := ValidateVersion(s.Version); err != nil {
		return nil, fault.Within(err, "source %s", s.Name).At("", p.Line("Version"))
	}
	if s.Directory != "" && !isPlainPath(s.Directory) {
		return nil, fault.New(fault.Invalid, "source %s: %q is not a path inside an archive", s.Name, clip(s.Directory)).At("", p.Line("Directory"))
	}
	if err := s.relations(p); err != nil {
		return nil, err
	}
	files, err := sourceFiles(p)
	if err != nil {
		return nil, fault.Within(err, "source %s", s.Name)
	}
	s.Files = files
	return s, nil
}

// relations fills in the build relations.
func (s *SourcePackage) relations(p Paragraph) error {
	for _, f := range []struct {
		name string
		to   *[]Dependency
	}{
		{"Build-Depends", &s.BuildDepends},
		{"Build-Depends-Arch", &s.BuildDependsArch},
		{"Build-Depends-Indep", &s.BuildDependsIndep},
		{"Build-Conflicts", &s.BuildConflicts},
		{"Build-Conflicts-Arch", &s.BuildConflictsArch},
		{"Build-Conflicts-Indep", &s.BuildConflictsIndep},
	} {
		deps, err := ParseDependencies(p.Get(f.name))
		if err != nil {
			return fault.Within(err, "source %s: field %s", s.Name, f.name).At("", p.Line(f.name))
		}
		*f.to = deps
	}
	return nil
}

// sourceFiles reads the SHA-256 list and holds the other lists against it.
func sourceFiles(p Paragraph) ([]ashlar.File, error) {
	if !p.Has("Checksums-Sha256") {
		return nil, fault.New(fault.Invalid, "no Checksums-Sha256, so nothing says which files belong to it").
			At("", p.Line("Files")).Fix("use a source package that lists SHA-256 digests")
	}
	sums, err := parseFileList(p, "Checksums-Sha256", sourceList(64))
	if err != nil {
		return nil, err
	}
	files, err := toFiles(sums)
	if err != nil {
		return nil, err
	}
	for _, other := range []struct {
		field  string
		digits int
	}{{"Files", 32}, {"Checksums-Sha1", 40}, {"Checksums-Sha512", 128}} {
		if !p.Has(other.field) {
			continue
		}
		if err := sameFiles(p, other.field, other.digits, files); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// sameFiles checks that a field lists the given files with the same sizes.
func sameFiles(p Paragraph, field string, digits int, files []ashlar.File) error {
	entries, err := parseFileList(p, field, sourceList(digits))
	if err != nil {
		return err
	}
	if len(entries) != len(files) {
		return fault.New(fault.Invalid, "%s lists %d files, Checksums-Sha256 %d", field, len(entries), len(files)).At("", p.Line(field))
	}
	for _, e := range entries {
		f, ok := findFile(files, e.name)
		switch {
		case !ok:
			return fault.New(fault.Invalid, "%s lists %s, Checksums-Sha256 does not", field, e.name).At("", e.line)
		case f.Size != e.size:
			return fault.New(fault.Invalid, "%s gives %s %d bytes, Checksums-Sha256 %d", field, e.name, e.size, f.Size).At("", e.line)
		}
	}
	return nil
}

// sourceList is the form of a list of the files of a source package.
func sourceList(digits int) listForm {
	return listForm{digits: digits, name: isFileName, most: 2000}
}

// ParseDsc parses the text of a .dsc file, signature removed. On top of what
// ParseSource refuses, it refuses a text of several paragraphs, an unknown
// format, an empty list of files, and files that do not bear the package's name.
func ParseDsc(text []byte) (*SourcePackage, error) {
	if bytes.HasPrefix(text, []byte("-----BEGIN PGP")) {
		return nil, fault.New(fault.Internal, "the signature of the .dsc was not removed before parsing it")
	}
	p, err := ParseParagraph(text)
	if err != nil {
		return nil, err
	}
	s, err := ParseSource(p)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"1.0", "3.0 (native)", "3.0 (quilt)"}, s.Format) {
		return nil, fault.New(fault.Invalid, "source %s: format %q is not one of 1.0, 3.0 (native), 3.0 (quilt)", s.Name, clip(s.Format)).
			At("", p.Line("Format"))
	}
	if len(s.Files) == 0 {
		return nil, fault.New(fault.Invalid, "source %s: it lists no files", s.Name).At("", p.Line("Files"))
	}
	for _, f := range s.Files {
		if !strings.HasPrefix(f.Name, s.Name+"_") {
			return nil, fault.New(fault.Invalid, "source %s: file %s belongs to another package", s.Name, f.Name).At("", p.Line("Files"))
		}
	}
	return s, nil
}

// isFileName reports whether s is a name that can lie in a folder: no path in it.
func isFileName(s string) bool {
	return s != "" && len(s) <= 255 && only(s, "+-._~:%,=@") && s[0] != '.' && s[0] != '-'
}

// splitList splits a comma separated list.
func splitList(s string) []string {
	var list []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}
