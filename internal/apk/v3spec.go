package apk

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// defaultV3Spec is how a client names files by itself if it knows the index by
// its own address. By the address of its repository, "${arch}/" is before it.
const defaultV3Spec = "${name}-${version}.apk"

// The variables of a pkgname-spec.
const (
	specName = 1 + iota
	specVersion
	specArch
	specHash
)

var specVariables = map[string]int{"name": specName, "version": specVersion, "arch": specArch, "hash": specHash}

// maxSpecPath bounds what a pkgname-spec comes to, in bytes; apk has a buffer of
// 1024 when it checks one.
const maxSpecPath = 1000

// A v3Spec is a pkgname-spec taken apart.
type v3Spec []specPart

// A specPart is a piece of text, and the variable after it if there is one.
type specPart struct {
	text     string
	variable int // 0 for none
	limit    int // bytes of the variable at most, -1 for all
}

// parseV3Spec takes a pkgname-spec apart and checks that apk takes it and that
// what it comes to is a path below the folder of the index.
func parseV3Spec(spec string) (v3Spec, error) {
	bad := func(format string, args ...any) *fault.Error {
		return fault.Within(invalid(format, args...), "pkgname-spec %q", clip(spec)).
			Fix("make it like %s or ${name}-${version}.${hash:8}.apk", defaultV3Spec)
	}
	base := spec[strings.LastIndexByte(spec, '/')+1:]
	after, ok := strings.CutPrefix(base, "${name}")
	switch {
	case !ok || after == "" || strings.IndexByte("_-.", after[0]) < 0:
		return nil, bad("the name of a file must begin with ${name} and one of -_.")
	case len(spec) > maxSpecPath/2 || strings.Contains(spec, "://") || strings.HasPrefix(spec, "/") || hasControl(spec):
		return nil, bad("it is not a path below the folder of the index")
	}
	var parts v3Spec
	for rest := spec; rest != ""; {
		text, variable, found := strings.Cut(rest, "${")
		p := specPart{text: text, limit: -1}
		rest = ""
		if found {
			variable, rest, found = strings.Cut(variable, "}")
			name, limit, limited := strings.Cut(variable, ":")
			p.variable = specVariables[name]
			if !found || p.variable == 0 {
				return nil, bad("it has something after $ that is not name, version, arch or hash in braces")
			}
			if limited {
				n, err := strconv.ParseUint(limit, 10, 8)
				if err != nil || n == 0 {
					return nil, bad("%q is no number of characters", clip(limit))
				}
				p.limit = int(n)
			}
		}
		if !only(p.text, nameChars+"/~@:=,") {
			return nil, bad("it has characters that are not for names of files")
		}
		parts = append(parts, p)
	}
	probe := V3IndexEntry{Info: Info{Name: "n", Version: "1", Arch: "a"}, Hash: make([]byte, sha256.Size)}
	if why := checkV3Path(string(parts.expand(nil, &probe))); why != "" {
		return nil, bad("it %s", why)
	}
	return parts, nil
}

// expand appends what the spec comes to for a package.
func (s v3Spec) expand(to []byte, p *V3IndexEntry) []byte {
	for _, part := range s {
		to = append(to, part.text...)
		at := len(to)
		switch part.variable {
		case specName:
			to = append(to, p.Name...)
		case specVersion:
			to = append(to, p.Version...)
		case specArch:
			to = append(to, p.Arch...)
		case specHash:
			to = hex.AppendEncode(to, p.Hash)
		}
		if part.limit >= 0 && len(to) > at+part.limit {
			to = to[:at+part.limit]
		}
	}
	return to
}

// PublishedV3 is the pkgname-spec, without a folder, of packages of v3 that Ashlar
// publishes: the beginning of the hash keeps them apart from packages of v2.
const PublishedV3 = "${name}-${version}.${hash:8}.apk"

// V3FileName returns the path, relative to the folder of the index, where a
// client of an index with the given pkgname-spec looks for the file of a package:
// the spec with name, version, arch and hash in place of ${name}, ${version},
// ${arch} and ${hash}; ${hash:8} stands for the first eight of its hexadecimal
// digits. "" stands for ${name}-${version}.apk. A spec that apk does not take, or
// that leads out of the folder, is a fault.Invalid error.
func V3FileName(spec string, p *V3IndexEntry) (string, error) {
	if spec == "" {
		spec = defaultV3Spec
	}
	parts, err := parseV3Spec(spec)
	if err != nil {
		return "", err
	}
	name := string(parts.expand(nil, p))
	if why := checkV3Path(name); why != "" || len(name) > maxSpecPath {
		return "", invalid("package %s: the name of its file, %q, leaves the folder of the index or is too long", clip(p.Name), clip(name))
	}
	return name, nil
}
