package source

import (
	"context"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxChecksums bounds the size in bytes of a checksum file.
const maxChecksums = 8 << 20

var (
	sumLine = regexp.MustCompile(`^\\?([0-9A-Fa-f]{32,128})[ \t]+\*?(\S.*)$`)
	bsdLine = regexp.MustCompile(`^([A-Za-z0-9-]+) ?\((.+)\) ?= ?([0-9A-Fa-f]{32,128})$`)
	bareSum = regexp.MustCompile(`^[0-9A-Fa-f]{64}$`)
)

// FetchChecksum fetches the checksum file at uri and returns the SHA-256 that it
// gives for the file name, and the checksum file itself, which is now in the
// store. The error names what the file has if it is not that.
func (f *Fetcher) FetchChecksum(ctx context.Context, uri, name string) (ashlar.Digest, ashlar.Material, error) {
	m, err := f.Fetch(ctx, Request{URI: uri, MaxSize: maxChecksums})
	if err != nil {
		return "", ashlar.Material{}, err
	}
	b, err := blob.ReadAll(ctx, f.Store, m.Digest, maxChecksums)
	if err != nil {
		return "", ashlar.Material{}, err
	}
	d, err := ParseChecksums(m.URI, b, name)
	return d, m, err
}

// ParseChecksums returns the SHA-256 that a checksum file gives for a file name.
// It reads the lines of sha256sum, those of BSD and OpenSSL ("SHA256 (name) =
// hex"), and a file that is one bare digest. A name with a folder before it
// matches when no line has the exact name. file names the checksum file in
// errors.
func ParseChecksums(file string, b []byte, name string) (ashlar.Digest, error) {
	if word := strings.TrimSpace(string(b[:min(len(b), 200)])); bareSum.MatchString(word) && len(b) <= 200 {
		return ashlar.DigestFromHex(word)
	}
	var exact, base []string
	var names []string
	other := false
	lines := lineScanner(b)
	for lines.Scan() {
		sum, of := checksumLine(strings.TrimSpace(lines.Text()))
		switch {
		case of == "":
			continue
		case len(sum) != 64:
			other = other || path.Base(of) == name
			continue
		case of == name:
			exact = append(exact, sum)
		case path.Base(of) == name:
			base = append(base, sum)
		}
		names = append(names, of)
	}
	if err := lines.Err(); err != nil {
		return "", fault.New(fault.Invalid, "checksum file: %w", err).At(file, 0).Fix("give the SHA-256 itself")
	}
	if len(exact) == 0 {
		exact = base
	}
	slices.Sort(exact)
	switch exact = slices.Compact(exact); {
	case len(exact) == 1:
		return ashlar.DigestFromHex(exact[0])
	case len(exact) > 1:
		return "", fault.New(fault.Invalid, "gives %d different digests for %q", len(exact), name).At(file, 0).Fix("give the SHA-256 itself")
	case other:
		return "", fault.New(fault.Invalid, "gives %q only in another hash than SHA-256", name).At(file, 0).Fix("give the SHA-256 itself")
	}
	return "", fault.New(fault.NotFound, "has no line for %q%s", name, listNames(names)).At(file, 0).
		Fix("point at the checksum file of this release, or give the SHA-256 itself")
}

// checksumLine returns digest and file name of a line, "" if it is another kind.
func checksumLine(line string) (sum, name string) {
	if m := bsdLine.FindStringSubmatch(line); m != nil {
		algorithm := strings.ReplaceAll(strings.ToUpper(m[1]), "-", "")
		if len(m[3]) == 64 && algorithm != "SHA256" && algorithm != "SHA2256" {
			return "other", m[2] // another hash of 256 bits
		}
		return strings.ToLower(m[3]), m[2]
	}
	if m := sumLine.FindStringSubmatch(line); m != nil {
		return strings.ToLower(m[1]), strings.TrimPrefix(m[2], "./")
	}
	return "", ""
}

// listNames says for an error which names a checksum file has.
func listNames(names []string) string {
	const most = 12
	switch {
	case len(names) == 0:
		return "; it has no SHA-256 line at all"
	case len(names) > most:
		return "; it has " + strings.Join(names[:most], ", ") + " and more"
	}
	return "; it has " + strings.Join(names, ", ")
}
