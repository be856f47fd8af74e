package apk

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on an index.
const (
	maxIndexEntries = 1_000_000
	maxDescription  = 160 // bytes; apk passes over a longer one
)

// An Index is the content of an APKINDEX: what a repository of v2 packages has.
type Index struct {
	Description string // of the repository, at most 160 bytes
	Entries     []IndexEntry
}

// An IndexEntry is what an index says of a package. Of its Info an index holds
// neither Packager, Replaces, ReplacesPriority and Triggers nor what only v3 has.
type IndexEntry struct {
	Info
	Identity Identity
	Size     int64 // bytes of the package
	// Extra are fields of one lower-case letter that apk does not know and passes
	// over, in the order of the index: a place for fields of one's own.
	Extra []ExtraField
	// Unusable says why apk refuses to install the package, "" if it does not:
	// a field of an upper-case letter that it does not know, or a malformed value.
	Unusable string
}

// An ExtraField is a field of an index entry that has no meaning to apk.
type ExtraField struct {
	Letter byte
	Value  string
}

// FileName returns the name of the package's file in its repository.
func (e *IndexEntry) FileName() string { return e.Name + "-" + e.Version + ".apk" }

// IndexEntry returns what an index says of the package, which has the given size
// in bytes.
func (p *V2Package) IndexEntry(size int64) IndexEntry {
	return indexEntry(&p.Info, p.Identity, size)
}

// IndexEntry returns what an index says of the package.
func (p *V2Packed) IndexEntry() IndexEntry { return indexEntry(&p.Info, p.Identity, p.Size) }

// indexEntry makes an entry and leaves out what an index does not hold.
func indexEntry(i *Info, id Identity, size int64) IndexEntry {
	e := IndexEntry{Info: *i, Identity: id, Size: size}
	e.Packager, e.Replaces, e.ReplacesPriority, e.Triggers = "", nil, 0, nil
	e.Recommends, e.Tags, e.Layer = nil, nil, 0
	return e
}

// SetArch makes the index one of the folder of an architecture, such as "x86_64":
// packages for every machine ("noarch") get that architecture. Clients fetch a
// package from the folder that its entry names, so a repository that keeps them
// with the others needs it, as all do.
func (x *Index) SetArch(arch string) {
	for i := range x.Entries {
		if x.Entries[i].Arch == "noarch" {
			x.Entries[i].Arch = arch
		}
	}
}

// Sort sorts the entries by name, then by ascending version.
func (x *Index) Sort() {
	sorted := make([]IndexEntry, len(x.Entries))
	for i, e := range x.sorted() {
		sorted[i] = *e
	}
	x.Entries = sorted
}

// sorted returns the entries by name, then by ascending version.
func (x *Index) sorted() []*IndexEntry {
	entries := x.all()
	slices.SortFunc(entries, func(a, b *IndexEntry) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return cmp.Or(CompareVersions(a.Version, b.Version), strings.Compare(a.Version, b.Version))
	})
	return entries
}

// Check returns a fault.Invalid error if a client would misread the index: a
// package that does not pass Info.Check, two of the same name and version, a
// description that is too long.
func (x *Index) Check() error { return x.check(x.sorted()) }

// check is Check for the sorted entries.
func (x *Index) check(sorted []*IndexEntry) error {
	if len(x.Description) > maxDescription || hasControl(x.Description) {
		return invalid("the description of the index is longer than %d bytes or has a line break", maxDescription)
	}
	if len(sorted) > maxIndexEntries {
		return invalid("an index of more than %d packages", maxIndexEntries)
	}
	for i, e := range sorted {
		if err := e.check(); err != nil {
			return err
		}
		if i > 0 && sorted[i-1].Name == e.Name && sorted[i-1].Version == e.Version {
			return invalid("%s is in the index twice", e.FileName()).Fix("publish one of them under another version")
		}
	}
	return nil
}

// check checks one entry.
func (e *IndexEntry) check() error {
	switch {
	case e.Unusable != "":
		return invalid("package %s cannot be used: %s", clip(e.Name), e.Unusable)
	case e.Size <= 0:
		return invalid("package %s: a file of %d bytes", clip(e.Name), e.Size)
	}
	for _, f := range e.Extra {
		if f.Letter < 'a' || f.Letter > 'z' || strings.IndexByte(knownFields, f.Letter) >= 0 || hasControl(f.Value) || len(f.Value) > maxLine {
			return invalid("package %s: %q cannot be a field of one's own", clip(e.Name), f.Letter)
		}
	}
	return e.Info.Check()
}

// knownFields are the letters that mean something to apk, in the order in which
// it writes them; the rest are those of its list of what is installed.
const knownFields = "CPVASITULomtckDpi" + "FMRZrqasfg"

// AppendTo appends the entry as it is in an APKINDEX, and at the beginning of an
// entry in the list of what is installed, with the empty line after it.
func (e *IndexEntry) AppendTo(b []byte) []byte {
	text := func(letter byte, s string) {
		b = append(append(append(b, letter, ':'), s...), '\n')
	}
	some := func(letter byte, s string) {
		if s != "" {
			text(letter, s)
		}
	}
	number := func(letter byte, n int64) {
		b = append(strconv.AppendInt(append(b, letter, ':'), n, 10), '\n')
	}
	b = append(e.Identity.appendTo(append(b, "C:"...)), '\n')
	text('P', e.Name)
	text('V', e.Version)
	some('A', e.Arch)
	number('S', e.Size)
	number('I', e.InstalledSize)
	text('T', e.Description)
	text('U', e.URL)
	text('L', e.License)
	some('o', e.Origin)
	some('m', e.Maintainer)
	if e.BuildTime != 0 {
		number('t', e.BuildTime)
	}
	some('c', e.Commit)
	if e.ProviderPriority != 0 {
		number('k', int64(e.ProviderPriority))
	}
	for _, list := range []struct {
		letter byte
		deps   []Dependency
	}{{'D', e.Depends}, {'p', e.Provides}, {'i', e.InstallIf}} {
		if len(list.deps) > 0 {
			b = append(appendDeps(append(b, list.letter, ':'), list.deps), '\n')
		}
	}
	for _, f := range e.Extra {
		text(f.Letter, f.Value)
	}
	return append(b, '\n')
}

// Encode returns the content of the file APKINDEX, the entries in their order.
func (x *Index) Encode() []byte { return encode(x.all()) }

// all returns the entries in their order.
func (x *Index) all() []*IndexEntry {
	entries := make([]*IndexEntry, len(x.Entries))
	for i := range x.Entries {
		entries[i] = &x.Entries[i]
	}
	return entries
}

// encode returns the content of the file APKINDEX.
func encode(entries []*IndexEntry) []byte {
	b := make([]byte, 0, 512*len(entries))
	for _, e := range entries {
		b = e.AppendTo(b)
	}
	return b
}

// ParseIndex reads the content of a file APKINDEX. Like apk it takes what it does
// not know: see Extra and Unusable. Errors are fault.Invalid and have a line: a
// line that is no field, an entry without name or version.
func ParseIndex(b []byte) ([]IndexEntry, error) {
	text := string(b)
	p := indexParser{entries: make([]IndexEntry, 0, min(strings.Count(text, "\n\n")+1, maxIndexEntries))}
	for number := 1; text != ""; number++ {
		line := text
		if end := strings.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = ""
		}
		if err := p.line(line); err != nil {
			return nil, fault.Within(err, "package %s", clip(p.entry.Name)).At("", number)
		}
	}
	if err := p.line(""); err != nil {
		return nil, fault.Within(err, "package %s", clip(p.entry.Name))
	}
	return p.entries, nil
}

// An indexParser fills entries line by line.
type indexParser struct {
	entries []IndexEntry
	entry   IndexEntry
	begun   bool
}

// line takes one line.
func (p *indexParser) line(line string) error {
	if line == "" {
		return p.finish()
	}
	if len(line) < 2 || line[1] != ':' {
		return invalid("%q is not a field", clip(line))
	}
	p.begun = true
	letter, value := line[0], line[2:]
	if err := p.entry.field(letter, value); err != nil && p.entry.Unusable == "" {
		p.entry.Unusable = "field " + string(rune(letter)) + ": " + err.Error()
	}
	return nil
}

// finish ends an entry.
func (p *indexParser) finish() error {
	if !p.begun {
		return nil
	}
	e := &p.entry
	switch {
	case e.Name == "" || e.Version == "":
		return invalid("it has no name or no version")
	case len(p.entries) == maxIndexEntries:
		return invalid("more than %d packages", maxIndexEntries)
	case e.Identity == Identity{} && e.Unusable == "":
		e.Unusable = "it has no identity"
	}
	p.entries = append(p.entries, *e)
	p.entry, p.begun = IndexEntry{}, false
	return nil
}

// field takes one field of an entry. An error makes the package unusable.
func (e *IndexEntry) field(letter byte, value string) (err error) {
	switch letter {
	case 'C':
		e.Identity, err = ParseIdentity(value)
	case 'P':
		e.Name = value
	case 'V':
		e.Version = value
	case 'A':
		e.Arch = value
	case 'T':
		e.Description = value
	case 'U':
		e.URL = value
	case 'L':
		e.License = value
	case 'o':
		e.Origin = value
	case 'm':
		e.Maintainer = value
	case 'c':
		e.Commit = value
	case 'S':
		e.Size, err = parseNumber(value)
	case 'I':
		e.InstalledSize, err = parseNumber(value)
	case 't':
		e.BuildTime, err = parseNumber(value)
	case 'k':
		e.ProviderPriority, err = parsePriority(value)
	case 'D':
		e.Depends, err = appendDependencies(e.Depends, value)
	case 'p':
		e.Provides, err = appendDependencies(e.Provides, value)
	case 'i':
		e.InstallIf, err = appendDependencies(e.InstallIf, value)
	default:
		return e.unknown(letter, value)
	}
	return err
}

// unknown takes a field that apk does not know.
func (e *IndexEntry) unknown(letter byte, value string) error {
	switch {
	case strings.IndexByte(knownFields, letter) >= 0:
		return nil // of the list of what is installed; apk passes over it
	case letter < 'a' || letter > 'z':
		return invalid("it is unknown, and of a kind that must be known")
	case len(e.Extra) < 26:
		e.Extra = append(e.Extra, ExtraField{letter, value})
	}
	return nil
}
