package abuild

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Distfile is a file that a recipe fetches.
type Distfile struct {
	Name   string // under which abuild looks for it in /var/cache/distfiles; one path element
	URL    string // http, https or ftp
	SHA512 string // 128 lower-case hexadecimal digits, from sha512sums
}

// recipe is the name that errors give to the file; the caller knows its path.
const recipe = "APKBUILD"

// fileName is what abuild allows in the name of a source.
var fileName = regexp.MustCompile(`^[A-Za-z0-9+@_~-][A-Za-z0-9+@_~.-]{0,254}$`)

var sha512Form = regexp.MustCompile(`^[0-9a-f]{128}$`)

// Distfiles returns the files that the recipe fetches, in the order of its
// source=; files that lie beside the recipe are not among them. It holds source=
// and sha512sums= together as abuild does before a build: each source has exactly
// one checksum. Where a value cannot be known without running the recipe, the
// error says which line and why.
func Distfiles(apkbuild []byte) ([]Distfile, error) {
	vars, err := interpret(apkbuild)
	if err != nil {
		return nil, err
	}
	source, err := vars.get("source")
	if err != nil {
		return nil, err
	}
	list, err := vars.get("sha512sums")
	if err != nil {
		return nil, err
	}
	sums, err := checksums(list)
	if err != nil {
		return nil, err
	}
	var files []Distfile
	seen := map[string]bool{}
	for _, entry := range strings.Fields(source.text) {
		f, err := distfile(entry, source.line)
		if err != nil {
			return nil, err
		}
		if seen[f.Name] {
			return nil, fault.New(fault.Invalid, "source= names %s twice", f.Name).At(recipe, source.line)
		}
		seen[f.Name] = true
		if f.SHA512 = sums[f.Name]; f.SHA512 == "" {
			return nil, fault.New(fault.Invalid, "sha512sums= has no line for %s of source=", f.Name).
				At(recipe, cmp.Or(list.line, source.line)).Fix("run abuild checksum on the recipe")
		}
		if f.URL != "" {
			files = append(files, f)
		}
	}
	for name := range sums {
		if !seen[name] {
			return nil, fault.New(fault.Invalid, "sha512sums= has a line for a file that source= does not name").
				At(recipe, list.line).Fix("run abuild checksum on the recipe")
		}
	}
	return files, nil
}

// distfile reads one entry of source=: an address, NAME::ADDRESS, or the name of
// a file beside the recipe, for which URL stays empty.
func distfile(entry string, line int) (Distfile, error) {
	name, rest, renamed := strings.Cut(entry, "::")
	address := name
	if renamed {
		address = rest
	}
	f := Distfile{Name: name[strings.LastIndexByte(name, '/')+1:]}
	if !fileName.MatchString(f.Name) {
		return f, fault.New(fault.Invalid, "source= has an entry whose file name %q is none", clip(f.Name)).
			At(recipe, line).Fix("write NAME::ADDRESS, the name of letters, digits and + @ _ ~ . -")
	}
	for _, scheme := range []string{"https://", "http://", "ftp://"} {
		if strings.HasPrefix(address, scheme) {
			f.URL = address
		}
	}
	return f, nil
}

// checksums reads the pairs of digest and name in sha512sums=.
func checksums(list value) (map[string]string, error) {
	words := strings.Fields(list.text)
	if len(words)%2 != 0 {
		return nil, fault.New(fault.Invalid, "sha512sums= is no list of pairs of digest and name").At(recipe, list.line)
	}
	sums := map[string]string{}
	for i := 0; i < len(words); i += 2 {
		digest, name := words[i], words[i+1]
		if !sha512Form.MatchString(digest) {
			return nil, fault.New(fault.Invalid, "sha512sums= has %q where a SHA-512 in 128 lower-case digits is wanted", clip(digest)).At(recipe, list.line)
		}
		if _, twice := sums[name]; twice {
			return nil, fault.New(fault.Invalid, "sha512sums= has two lines for %q", clip(name)).At(recipe, list.line)
		}
		sums[name] = digest
	}
	return sums, nil
}

// clip shortens text of a recipe for an error.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "…"
	}
	return s
}
