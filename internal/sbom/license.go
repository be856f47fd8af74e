package sbom

import (
	"regexp"
	"slices"
	"strings"
)

// Licenses are what a Debian copyright file declares.
type Licenses struct {
	// Declared are license expressions in Debian's words, "GPL-2+ or Artistic-2.0",
	// which all apply. None means that nothing is known.
	Declared []string
	// Texts are license texts by the name, or the whole expression, in lower case.
	Texts map[string]string
	// Expression is one in SPDX's own words, which counts in place of Declared.
	Expression string
}

// maxExpression bounds a license expression, in bytes.
const maxExpression = 4096

// expressionForm is the form of an SPDX license expression.
var expressionForm = regexp.MustCompile(`^[A-Za-z0-9.+:()-]+( [A-Za-z0-9.+:()-]+)*$`)

// plain are the short names of Debian's copyright format, in lower case, that have
// no version, and the SPDX identifiers of the very same licenses. Names that may
// mean several, such as MIT, are not among them.
var plain = map[string]string{
	"bsd-2-clause": "BSD-2-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd-4-clause": "BSD-4-Clause",
	"isc": "ISC", "expat": "MIT", "zlib": "Zlib", "0bsd": "0BSD", "mit-0": "MIT-0", "unlicense": "Unlicense",
}

// A family is a license with versions. Versions maps those of Debian, without
// ".0" at the end, to SPDX identifiers; "" is what no version means.
type family struct {
	versions map[string]string
	gnu      bool // "or later" is part of the identifier
	suffix   string
}

var families = map[string]family{
	"gpl":         {versions: map[string]string{"": "GPL-1.0", "1": "GPL-1.0", "2": "GPL-2.0", "3": "GPL-3.0"}, gnu: true},
	"lgpl":        {versions: map[string]string{"": "LGPL-2.0", "2": "LGPL-2.0", "2.1": "LGPL-2.1", "3": "LGPL-3.0"}, gnu: true},
	"agpl":        {versions: map[string]string{"1": "AGPL-1.0", "3": "AGPL-3.0"}, gnu: true},
	"gfdl":        {versions: map[string]string{"1.1": "GFDL-1.1", "1.2": "GFDL-1.2", "1.3": "GFDL-1.3"}, gnu: true},
	"gfdl-niv":    {versions: map[string]string{"1.1": "GFDL-1.1", "1.2": "GFDL-1.2", "1.3": "GFDL-1.3"}, gnu: true, suffix: "-no-invariants"},
	"apache":      {versions: map[string]string{"": "Apache-1.0", "1": "Apache-1.0", "1.1": "Apache-1.1", "2": "Apache-2.0"}},
	"artistic":    {versions: map[string]string{"2": "Artistic-2.0"}},
	"cc0":         {versions: map[string]string{"": "CC0-1.0", "1": "CC0-1.0"}},
	"cc-by":       creativeCommons("CC-BY"),
	"cc-by-sa":    creativeCommons("CC-BY-SA"),
	"cc-by-nd":    creativeCommons("CC-BY-ND"),
	"cc-by-nc":    creativeCommons("CC-BY-NC"),
	"cc-by-nc-sa": creativeCommons("CC-BY-NC-SA"),
	"cc-by-nc-nd": creativeCommons("CC-BY-NC-ND"),
	"cddl":        {versions: map[string]string{"": "CDDL-1.0", "1": "CDDL-1.0", "1.1": "CDDL-1.1"}},
	"cpl":         {versions: map[string]string{"": "CPL-1.0", "1": "CPL-1.0"}},
	"efl":         {versions: map[string]string{"": "EFL-1.0", "1": "EFL-1.0", "2": "EFL-2.0"}},
	"lppl":        {versions: map[string]string{"": "LPPL-1.0", "1": "LPPL-1.0", "1.1": "LPPL-1.1", "1.2": "LPPL-1.2", "1.3a": "LPPL-1.3a", "1.3c": "LPPL-1.3c"}},
	"mpl":         {versions: map[string]string{"1": "MPL-1.0", "1.1": "MPL-1.1", "2": "MPL-2.0"}},
	"python":      {versions: map[string]string{"": "Python-2.0", "2": "Python-2.0"}},
	"qpl":         {versions: map[string]string{"": "QPL-1.0", "1": "QPL-1.0"}},
	"zope":        {versions: map[string]string{"1.1": "ZPL-1.1", "2": "ZPL-2.0", "2.1": "ZPL-2.1"}},
	"bsl":         {versions: map[string]string{"1": "BSL-1.0"}},
	"epl":         {versions: map[string]string{"1": "EPL-1.0", "2": "EPL-2.0"}},
	"eupl":        {versions: map[string]string{"1": "EUPL-1.0", "1.1": "EUPL-1.1", "1.2": "EUPL-1.2"}},
	"ofl":         {versions: map[string]string{"1": "OFL-1.0", "1.1": "OFL-1.1"}},
}

func creativeCommons(name string) family {
	f := family{versions: map[string]string{"": name + "-1.0"}}
	for version, full := range map[string]string{"1": "1.0", "2": "2.0", "2.5": "2.5", "3": "3.0", "4": "4.0"} {
		f.versions[version] = name + "-" + full
	}
	return f
}

var versionForm = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*[a-c]?$`)

// identifier returns the SPDX identifier of the license with a short name of
// Debian's, and whether there is one that means the very same.
func identifier(name string) (string, bool) {
	name, later := strings.CutSuffix(strings.ToLower(name), "+")
	if id, ok := plain[name]; ok {
		return id, !later
	}
	kind, version := name, ""
	if i := strings.LastIndexByte(name, '-'); i > 0 && versionForm.MatchString(name[i+1:]) {
		kind, version = name[:i], name[i+1:]
	}
	for strings.HasSuffix(version, ".0") {
		version = strings.TrimSuffix(version, ".0")
	}
	f := families[kind]
	id, ok := f.versions[version]
	switch {
	case !ok:
		return "", false
	case f.gnu && later:
		id += f.suffix + "-or-later"
	case f.gnu:
		id += f.suffix + "-only"
	case later:
		id += "+"
	}
	return id, true
}

// licensed says a license in SPDX's words: by its identifier, with the one
// exception that has a fixed text in both worlds, or by a reference to the text.
func (b *builder) licensed(name string, l Licenses, whole string) string {
	base, exception, _ := strings.Cut(name, " with ")
	id, ok := identifier(base)
	switch {
	case ok && exception == "":
		return id
	case ok && strings.EqualFold(exception, "Font exception") && strings.HasPrefix(id, "GPL-"):
		return id + " WITH Font-exception-2.0"
	}
	return b.extracted(name, l, whole)
}

// An extractedLicense is a license that SPDX has no identifier for.
type extractedLicense struct {
	ID   string `json:"licenseId"`
	Text string `json:"extractedText"`
	Name string `json:"name"`
}

// extracted returns the reference to a license that only its text describes.
func (b *builder) extracted(name string, l Licenses, whole string) string {
	text := l.Texts[strings.ToLower(name)]
	if text == "" {
		text = l.Texts[strings.ToLower(whole)]
	}
	if name == "" {
		name = "unnamed"
	}
	if text == "" {
		text = "The copyright file names the license " + name + " and has no text of it."
	}
	for _, e := range b.licenses {
		if e.Name == name && e.Text == text {
			return e.ID
		}
	}
	short := word(name)
	id := b.unused("LicenseRef-debian-" + short[:min(len(short), 100)])
	b.licenses = append(b.licenses, extractedLicense{id, text, name})
	b.textSize += len(text)
	return id
}

// Bounds on what a document says of licenses without an identifier.
const (
	maxExtracted = 1000
	maxTexts     = 4 << 20 // bytes of all texts
)

// declared returns the SPDX expression of what is declared, NOASSERTION for
// nothing or too much.
func (b *builder) declared(l Licenses) string {
	if len(l.Expression) < maxExpression && expressionForm.MatchString(l.Expression) {
		return l.Expression
	}
	var all []string
	before := len(b.licenses)
	for _, synopsis := range l.Declared {
		if e := b.expression(synopsis, l); !slices.Contains(all, e) {
			all = append(all, e)
		}
		if len(b.licenses) > maxExtracted || b.textSize > maxTexts {
			b.licenses = b.licenses[:before]
			return nothingSaid
		}
	}
	if len(all) == 0 {
		return nothingSaid
	}
	return join(all, " AND ")
}

// join joins expressions. Of SPDX's operators AND goes before OR.
func join(parts []string, operator string) string {
	for i, p := range parts {
		if len(parts) > 1 && operator == " AND " && strings.Contains(p, " OR ") {
			parts[i] = "(" + p + ")"
		}
	}
	return strings.Join(parts, operator)
}

// conjunctions are those of Debian's expressions, the one that goes last first:
// "and" goes before "or", unless there is a comma before it.
var conjunctions = []struct {
	form     *regexp.Regexp
	operator string
}{
	{regexp.MustCompile(`(?i), or `), " OR "}, {regexp.MustCompile(`(?i), and `), " AND "},
	{regexp.MustCompile(`(?i) or `), " OR "}, {regexp.MustCompile(`(?i) and `), " AND "},
}

var (
	anyConjunction = regexp.MustCompile(`(?i),? (and|or) `)
	nameForm       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+_:-]*( with [A-Za-z0-9.+_: -]+ exception)?$`)
)

// expression says a synopsis in SPDX's words. One that is not of the form of an
// expression is a single license with a name of its own.
func (b *builder) expression(synopsis string, l Licenses) string {
	for _, name := range anyConjunction.Split(synopsis, -1) {
		if !nameForm.MatchString(name) {
			return b.extracted(synopsis, l, synopsis)
		}
	}
	return b.translate(synopsis, 0, l, synopsis)
}

// translate says a part of a synopsis, which has no conjunction before the given
// one in it.
func (b *builder) translate(part string, at int, l Licenses, whole string) string {
	if at == len(conjunctions) {
		return b.licensed(part, l, whole)
	}
	parts := conjunctions[at].form.Split(part, -1)
	for i := range parts {
		parts[i] = b.translate(parts[i], at+1, l, whole)
	}
	return join(parts, conjunctions[at].operator)
}
