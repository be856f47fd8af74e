package deb

import (
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Package is the description of a binary package, from an index or from a
// .deb's own control file. Filename, Size and SHA256 are known from an index
// only.
type Package struct {
	Name          string
	Version       string
	Arch          ashlar.Arch // "all" for a package that fits every architecture
	Source        string      // name of the source package
	SourceVersion string
	MultiArch     string // "same", "foreign", "allowed", "no" or ""
	Essential     bool
	Protected     bool
	Priority      string
	Section       string
	InstalledSize int64 // in KiB, 0 if unknown

	Filename string // path below the archive's base
	Size     int64  // in bytes
	SHA256   ashlar.Digest

	PreDepends []Dependency
	Depends    []Dependency
	Recommends []Dependency
	Suggests   []Dependency
	Conflicts  []Dependency // every Dependency here has one alternative
	Breaks     []Dependency // likewise
	Replaces   []Dependency // likewise
	Provides   []Relation
}

// ParsePackage reads the description of a binary package from its paragraph.
// Errors are fault.Invalid and name the package and the field's line.
func ParsePackage(p Paragraph) (*Package, error) {
	var b packageBuilder
	for i := range p.Fields {
		b.field(p.Fields[i].Name, p.Fields[i].Value, p.Fields[i].Line)
	}
	return b.finish()
}

// ParsePackageText reads the description of a binary package from the bytes of
// its stanza, such as Stanzas yields. It is faster than going through a
// Paragraph, and does not look for a field that is there twice (the last one
// counts); the text is copied.
func ParsePackageText(stanza []byte) (*Package, error) {
	var b packageBuilder
	text := string(stanza)
	for line := 1; text != ""; {
		first := strings.IndexByte(text, '\n')
		if first < 0 {
			first = len(text)
		}
		if first == 0 { // trailing blank line
			text, line = text[1:], line+1
			continue
		}
		f, size, err := parseField(text, first)
		if err != nil {
			return nil, err.At("", line)
		}
		b.field(f.Name, f.Value, line)
		line += strings.Count(text[:size], "\n")
		text = text[size:]
	}
	return b.finish()
}

// packageBuilder fills a Package field by field and keeps the first error.
type packageBuilder struct {
	pkg Package
	err *fault.Error
}

func (b *packageBuilder) field(name, value string, line int) {
	var buf [24]byte
	if len(name) > len(buf) {
		return // longer than all that matter
	}
	key := lowerName(buf[:], name)
	if b.text(string(key), value) {
		return
	}
	var err error
	p := &b.pkg
	switch string(key) {
	case "size":
		p.Size, err = parseSize(value)
	case "installed-size":
		p.InstalledSize, err = parseSize(value)
	case "sha256":
		p.SHA256, err = parseDigest(value)
	case "pre-depends":
		p.PreDepends, err = ParseDependencies(value)
	case "depends":
		p.Depends, err = ParseDependencies(value)
	case "recommends":
		p.Recommends, err = ParseDependencies(value)
	case "suggests":
		p.Suggests, err = ParseDependencies(value)
	case "conflicts":
		p.Conflicts, err = parseSingles(value)
	case "breaks":
		p.Breaks, err = parseSingles(value)
	case "replaces":
		p.Replaces, err = parseSingles(value)
	case "provides":
		p.Provides, err = parseProvides(value)
	}
	if err != nil && b.err == nil {
		b.err = fault.Within(err, "field %s", name).At("", line)
	}
}

// lowerName writes a field name in lower case to buf. Going through a buffer on
// the stack spares an allocation per field, which counts for whole indexes.
func lowerName(buf []byte, name string) []byte {
	n := copy(buf, name)
	for i, c := range buf[:n] {
		if c >= 'A' && c <= 'Z' {
			buf[i] = c + 'a' - 'A'
		}
	}
	return buf[:n]
}

// text sets the field, named in lower case, if it is one of plain text, and
// reports whether it was.
func (b *packageBuilder) text(name, value string) bool {
	p := &b.pkg
	switch name {
	case "package":
		p.Name = value
	case "version":
		p.Version = value
	case "architecture":
		p.Arch = ashlar.Arch(value)
	case "source":
		p.Source, p.SourceVersion = splitSource(value)
	case "multi-arch":
		p.MultiArch = value
	case "essential":
		p.Essential = value == "yes"
	case "protected":
		p.Protected = value == "yes"
	case "priority":
		p.Priority = value
	case "section":
		p.Section = value
	case "filename":
		p.Filename = value
	default:
		return false
	}
	return true
}

// finish checks what every package must have.
func (b *packageBuilder) finish() (*Package, error) {
	p := &b.pkg
	switch {
	case b.err != nil:
		return nil, fault.Within(b.err, "package %s", clip(p.Name))
	case !isPackageName(p.Name):
		return nil, fault.New(fault.Invalid, "%q is not a package name", clip(p.Name))
	case !isArchName(string(p.Arch)):
		return nil, fault.New(fault.Invalid, "package %s: %q is not an architecture", p.Name, clip(string(p.Arch)))
	case p.Filename != "" && !isPlainPath(p.Filename):
		return nil, fault.New(fault.Invalid, "package %s: %q is not a path inside an archive", p.Name, clip(p.Filename))
	}
	if err := ValidateVersion(p.Version); err != nil {
		return nil, fault.Within(err, "package %s", p.Name)
	}
	if p.Source == "" {
		p.Source = p.Name
	}
	if p.SourceVersion == "" {
		p.SourceVersion = p.Version
	}
	return p, nil
}

// splitSource takes "name (version)" apart.
func splitSource(s string) (name, version string) {
	name, rest, ok := strings.Cut(s, "(")
	if ok {
		version = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), ")"))
	}
	return strings.TrimSpace(name), version
}

// parseSingles parses a field whose relations have no alternatives.
func parseSingles(s string) ([]Dependency, error) {
	deps, err := ParseDependencies(s)
	for _, d := range deps {
		if len(d) > 1 {
			return nil, fault.New(fault.Invalid, "relation %q has alternatives where none are allowed", clip(d.String()))
		}
	}
	return deps, err
}

func parseProvides(s string) ([]Relation, error) {
	deps, err := parseSingles(s)
	if err != nil || len(deps) == 0 {
		return nil, err
	}
	provides := make([]Relation, len(deps))
	for i, d := range deps {
		provides[i] = d[0]
		if d[0].Op != "" && d[0].Op != "=" {
			return nil, fault.New(fault.Invalid, "%q: only = is allowed in Provides", clip(d.String()))
		}
	}
	return provides, nil
}

func parseSize(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0, fault.New(fault.Invalid, "%q is not a size", clip(s))
	}
	return n, nil
}

func parseDigest(s string) (ashlar.Digest, error) {
	d, err := ashlar.DigestFromHex(s)
	if err != nil {
		return "", fault.New(fault.Invalid, "%q is not a SHA-256 digest", clip(s))
	}
	return d, nil
}

func isArchName(s string) bool {
	return s != "" && len(s) <= 64 && only(s, "-") && s[0] != '-'
}

// isPlainPath reports whether s is a relative path that stays below its base.
func isPlainPath(s string) bool {
	if len(s) > 4096 || strings.ContainsAny(s, "\x00\n\\") {
		return false
	}
	s = strings.TrimPrefix(s, "./")
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}
