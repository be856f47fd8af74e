// Package ashlar holds the nouns of the project: what a digest, a target, a
// lock, a build result and a package are. It imports only the standard library
// and does no I/O; every other package speaks in these words.
package ashlar

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

// A Digest is the SHA-256 of some bytes, written "sha256:" and 64 lower-case
// hexadecimal digits, the form that OCI and BuildKit use.
type Digest string

var digestForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// DigestFromHex returns the digest with the given 64 hexadecimal digits, in
// either case, or an error if they are not that.
func DigestFromHex(s string) (Digest, error) {
	d := Digest("sha256:" + strings.ToLower(s))
	return d, d.Validate()
}

// Validate reports whether d has the form of a SHA-256 digest.
func (d Digest) Validate() error {
	if !digestForm.MatchString(string(d)) {
		return fmt.Errorf("%q is not a digest of the form sha256:<64 hexadecimal digits>", string(d))
	}
	return nil
}

// Hex returns the 64 hexadecimal digits of d without the "sha256:".
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// Short returns the first 12 hexadecimal digits of d, for people to read.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

// A Distro names a distribution and its release, as the catalog's folders do:
// "debian-12", "alpine-3.24".
type Distro string

// codenames are the suites of the Debian releases that Ashlar builds for.
var codenames = map[string]string{"11": "bullseye", "12": "bookworm", "13": "trixie", "14": "forky"}

// Split returns the distribution ("debian") and its release ("12").
func (d Distro) Split() (name, release string) {
	name, release, _ = strings.Cut(string(d), "-")
	return name, release
}

// Codename returns the suite of a Debian release, "bookworm" for debian-12, or
// "" for a distribution that has none.
func (d Distro) Codename() string {
	name, release := d.Split()
	if name != "debian" {
		return ""
	}
	return codenames[release]
}

// DistroOfCodename returns the distro of a Debian suite name, ignoring what
// follows the first hyphen: "bookworm-security" is debian-12. It returns "" for
// a suite it does not know.
func DistroOfCodename(suite string) Distro {
	base, _, _ := strings.Cut(suite, "-")
	for release, name := range codenames {
		if name == base {
			return Distro("debian-" + release)
		}
	}
	return ""
}

// An Arch is a processor architecture in Debian's words: "amd64", "arm64".
type Arch string

// Alpine returns the architecture in Alpine's words, "x86_64" for amd64. What
// Debian and Alpine call alike, or Alpine does not know, stays as it is.
func (a Arch) Alpine() string {
	switch a {
	case "amd64":
		return "x86_64"
	case "arm64":
		return "aarch64"
	case "i386":
		return "x86"
	case "armhf":
		return "armv7"
	case "ppc64el":
		return "ppc64le"
	}
	return string(a)
}

// A Tier is a level of service. Tiers are configuration; these are the defaults.
type Tier string

// The default tiers, from open to paid.
const (
	Community  Tier = "community"
	Select     Tier = "select"
	Enterprise Tier = "enterprise"
)

// A File is a named piece of content.
type File struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
	Size   int64  `json:"size"` // in bytes
}

// ApkV3Suffix ends the name of an apk of the third generation, which has the name
// of the second's otherwise.
const ApkV3Suffix = ".v3.apk"

// A Target is what a definition is built for.
type Target struct {
	Distro Distro `json:"distro"`
	Arch   Arch   `json:"arch"`
}

// String returns "debian-12/amd64".
func (t Target) String() string { return string(t.Distro) + "/" + string(t.Arch) }
