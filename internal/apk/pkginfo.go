package apk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxPkgInfo bounds the size of a .PKGINFO, in bytes.
const maxPkgInfo = 8 << 20

// ParsePkgInfo reads a .PKGINFO: lines of the form "key = value", with "#"
// before comments. Like apk it passes over other lines and over keys that it
// does not know. The digest is that of the compressed data part. Errors are
// fault.Invalid and have a line: a value that cannot be right, a key that is
// there twice and must not, no name, no version or no digest.
func ParsePkgInfo(b []byte) (Info, [sha256.Size]byte, error) {
	p := infoParser{seen: map[string]bool{}}
	if len(b) > maxPkgInfo {
		return Info{}, p.dataHash, invalid("a .PKGINFO of more than %d bytes", maxPkgInfo)
	}
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		if key, value, ok := strings.Cut(line, " = "); ok {
			if err := p.field(key, value); err != nil {
				return Info{}, p.dataHash, fault.Within(err, "%s", clip(key)).At("", number)
			}
		}
	}
	for _, key := range []string{"pkgname", "pkgver", "datahash"} {
		if !p.seen[key] {
			return Info{}, p.dataHash, invalid("it has no %s", key)
		}
	}
	return p.info, p.dataHash, nil
}

// An infoParser fills an Info line by line.
type infoParser struct {
	info     Info
	dataHash [sha256.Size]byte
	seen     map[string]bool
}

// field takes one line.
func (p *infoParser) field(key, value string) (err error) {
	i := &p.info
	switch key {
	case "depend":
		i.Depends, err = appendDependencies(i.Depends, value)
	case "provides":
		i.Provides, err = appendDependencies(i.Provides, value)
	case "replaces":
		i.Replaces, err = appendDependencies(i.Replaces, value)
	case "install_if":
		i.InstallIf, err = appendDependencies(i.InstallIf, value)
	default:
		err = p.single(key, value)
	}
	return err
}

// single takes a line of which there is one at most.
func (p *infoParser) single(key, value string) error {
	i := &p.info
	var text *string
	var number *int64
	switch key {
	case "pkgname":
		text = &i.Name
	case "pkgver":
		text = &i.Version
	case "pkgdesc":
		text = &i.Description
	case "url":
		text = &i.URL
	case "packager":
		text = &i.Packager
	case "arch":
		text = &i.Arch
	case "origin":
		text = &i.Origin
	case "commit":
		text = &i.Commit
	case "maintainer":
		text = &i.Maintainer
	case "license":
		text = &i.License
	case "builddate":
		number = &i.BuildTime
	case "size":
		number = &i.InstalledSize
	case "replaces_priority", "provider_priority", "triggers", "datahash":
	default:
		return nil
	}
	if p.seen[key] && key != "license" { // melange once wrote several, of which apk takes the last
		return invalid("it is there twice")
	}
	p.seen[key] = true
	if text != nil {
		*text = value
		return nil
	}
	return p.other(key, value, number)
}

// other takes a line whose value is not just a text.
func (p *infoParser) other(key, value string, number *int64) (err error) {
	switch key {
	case "replaces_priority":
		p.info.ReplacesPriority, err = parsePriority(value)
	case "provider_priority":
		p.info.ProviderPriority, err = parsePriority(value)
	case "triggers":
		p.info.Triggers = words(value)
	case "datahash":
		if n, err := hex.Decode(p.dataHash[:], []byte(value[:min(len(value), 2*sha256.Size)])); err != nil || n != sha256.Size || len(value) != 2*n {
			return invalid("%q is not a SHA-256", clip(value))
		}
	default:
		*number, err = parseNumber(value)
	}
	return err
}

// appendDependencies parses words and appends them.
func appendDependencies(deps []Dependency, s string) ([]Dependency, error) {
	more, err := ParseDependencies(s)
	switch {
	case err != nil:
		return nil, err
	case len(deps)+len(more) > maxWords:
		return nil, invalid("more than %d words", maxWords)
	}
	return append(deps, more...), nil
}

// words returns what single or several spaces separate, nil if there is nothing.
func words(s string) []string {
	list := strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
	if len(list) == 0 {
		return nil
	}
	return list
}

// parseNumber reads a number that is not negative; none at all is 0.
func parseNumber(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || !isDigit(s[0]) {
		return 0, invalid("%q is not a number", clip(s))
	}
	return n, nil
}

func parsePriority(s string) (int, error) {
	n, err := parseNumber(s)
	if err == nil && n > maxPriority {
		err = invalid("%q is larger than %d", clip(s), maxPriority)
	}
	return int(n), err
}

// FormatPkgInfo returns the .PKGINFO of a package whose compressed data part has
// the given digest, with keys in the order of abuild. Recommends, Tags and Layer
// have no place in it. The Info is taken to pass Check.
func FormatPkgInfo(i *Info, dataHash [sha256.Size]byte) []byte {
	var b bytes.Buffer
	line := func(key, value string) {
		b.WriteString(key)
		b.WriteString(" = ")
		b.WriteString(value)
		b.WriteByte('\n')
	}
	some := func(key, value string) {
		if value != "" {
			line(key, value)
		}
	}
	each := func(key string, deps []Dependency) {
		for _, d := range deps {
			line(key, d.String())
		}
	}
	line("pkgname", i.Name)
	line("pkgver", i.Version)
	line("pkgdesc", i.Description)
	line("url", i.URL)
	line("builddate", strconv.FormatInt(i.BuildTime, 10))
	some("packager", i.Packager)
	line("size", strconv.FormatInt(i.InstalledSize, 10))
	line("arch", i.Arch)
	some("origin", i.Origin)
	some("commit", i.Commit)
	some("maintainer", i.Maintainer)
	if i.ReplacesPriority != 0 {
		line("replaces_priority", strconv.Itoa(i.ReplacesPriority))
	}
	if i.ProviderPriority != 0 {
		line("provider_priority", strconv.Itoa(i.ProviderPriority))
	}
	line("license", i.License)
	each("replaces", i.Replaces)
	each("depend", i.Depends)
	each("provides", i.Provides)
	some("triggers", strings.Join(i.Triggers, " "))
	some("install_if", FormatDependencies(i.InstallIf))
	line("datahash", hex.EncodeToString(dataHash[:]))
	return b.Bytes()
}
