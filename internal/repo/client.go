package repo

import (
	"bytes"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// SourcesFile returns the one file that makes apt use a suite: a deb822
// .sources file with the armoured public key in it. base is the public address
// of the repository's root.
func SourcesFile(tier ashlar.Tier, suite, base string, key []byte) ([]byte, error) {
	if err := checkNames(tier, suite); err != nil {
		return nil, err
	}
	return sourcesFile(tierDir(tier), suite, base, key)
}

// sourcesFile returns such a file for a folder below the root.
func sourcesFile(dir, suite, base string, key []byte) ([]byte, error) {
	base, err := baseURL(base)
	if err != nil {
		return nil, err
	}
	if _, err := pgp.ReadKeyring(bytes.NewReader(key)); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Types: deb deb-src\nURIs: %s/%s\nSuites: %s\nComponents: %s\nSigned-By:\n", base, dir, suite, component)
	for line := range strings.Lines(string(bytes.TrimSpace(key)) + "\n") {
		if line = strings.TrimSpace(line); line == "" {
			line = "."
		}
		b.WriteString(" " + line + "\n")
	}
	return b.Bytes(), nil
}

// baseURL checks the public address of a repository and returns it without a
// slash at the end.
func baseURL(s string) (string, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.RawQuery != "", u.Fragment != "", u.User != nil,
		strings.ContainsAny(s, " \t\r\n\"'<>[]@") && !strings.Contains(u.Host, "["):
	default:
		return strings.TrimRight(u.String(), "/"), nil
	}
	return "", fault.New(fault.Invalid, "%q is not an address for a repository", s).Fix("write it as https://host/path")
}

// A Preference is what apt does when both Ashlar and Debian have a package.
type Preference string

const (
	// PreferHardened takes Ashlar's version whenever there is one, even if
	// Debian's index has a newer one, but never goes back to an older version
	// than is installed.
	PreferHardened Preference = "hardened"
	// PreferNewest takes the higher version, whoever made it: apt's own rule.
	PreferNewest Preference = "newest"
)

// hardenedPriority is above 990, apt's priority for a suite chosen with
// --target-release, and below 1000, from which on apt goes back in versions.
const hardenedPriority = 995

// Preferences returns the apt preferences file for a mode, and the name that it
// should have in /etc/apt/preferences.d.
func Preferences(origin string, mode Preference) (name string, content []byte, err error) {
	priority, comment := 0, ""
	switch mode {
	case PreferHardened:
		priority = hardenedPriority
		comment = "Packages of this origin are installed even where another has a higher version.\n" +
			"# What is installed is never replaced by a lower version."
	case PreferNewest:
		priority = 500
		comment = "The highest version is installed, whatever its origin.\n" +
			"# A newer build of the distribution replaces one of this origin, with the fixes that only this one has."
	default:
		return "", nil, fault.New(fault.Invalid, "%q is not a mode of preferences", string(mode)).
			Fix("choose %q or %q", PreferHardened, PreferNewest)
	}
	if origin == "" || strings.ContainsAny(origin, "\n\r,\"") {
		return "", nil, fault.New(fault.Invalid, "%q is not the name of an origin", origin)
	}
	name = slug(origin) + "-prefer-" + string(mode) + ".pref"
	content = fmt.Appendf(nil, "# %s\nPackage: *\nPin: release o=%s\nPin-Priority: %d\n", comment, origin, priority)
	return name, content, nil
}

// slug returns a name in lower-case letters, digits and hyphens.
func slug(s string) string {
	return strings.Join(slices.Collect(strings.FieldsFuncSeq(strings.ToLower(s), func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9')
	})), "-")
}
