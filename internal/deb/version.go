package deb

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Version is a Debian version number in its three parts.
type Version struct {
	Epoch    string // digits, "" if none is written
	Upstream string
	Revision string // "" for a native package
}

// SplitVersion takes a version number apart without checking it. A part before
// the first colon that is not a number stays in Upstream.
func SplitVersion(s string) Version {
	var v Version
	if epoch, rest, ok := strings.Cut(s, ":"); ok && isNumber(epoch) {
		v.Epoch, s = epoch, rest
	}
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		v.Upstream, v.Revision = s[:i], s[i+1:]
		return v
	}
	v.Upstream = s
	return v
}

// String returns the version number as it is written.
func (v Version) String() string {
	s := v.Upstream
	if v.Epoch != "" {
		s = v.Epoch + ":" + s
	}
	if v.Revision != "" {
		s += "-" + v.Revision
	}
	return s
}

// Compare orders two version numbers as dpkg does: negative if a is older than
// b, zero if they are equal, positive if a is newer. It is a total order even on
// strings that are no valid versions.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	x, y := SplitVersion(a), SplitVersion(b)
	if c := compareNumbers(x.Epoch, y.Epoch); c != 0 {
		return c
	}
	if c := compareParts(x.Upstream, y.Upstream); c != 0 {
		return c
	}
	return compareParts(x.Revision, y.Revision)
}

// compareParts compares two upstream versions or two revisions: stretches of
// other characters and stretches of digits in turn, from the left.
func compareParts(a, b string) int {
	for a != "" || b != "" {
		for (a != "" && !isDigit(a[0])) || (b != "" && !isDigit(b[0])) {
			if c := cmp.Compare(weight(a), weight(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:] // equal weights: both have a character
		}
		na, nb := digits(a), digits(b)
		if c := compareNumbers(a[:na], b[:nb]); c != 0 {
			return c
		}
		a, b = a[na:], b[nb:]
	}
	return 0
}

// weight ranks the first character of s: a tilde sorts before the end, the end
// and digits before letters, letters before everything else.
func weight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// compareNumbers compares decimal numbers of any length; "" counts as zero.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// digits returns how many digits s begins with.
func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isNumber(s string) bool {
	return s != "" && digits(s) == len(s)
}

// ValidateVersion returns a fault.Invalid error that says what is wrong with a
// version number by Debian policy, or nil.
func ValidateVersion(s string) error {
	bad := func(why string) error {
		return fault.New(fault.Invalid, "version %q %s", clip(s), why)
	}
	epoch, rest, hasEpoch := strings.Cut(s, ":")
	if hasEpoch {
		if n, err := strconv.ParseInt(epoch, 10, 32); err != nil || n < 0 || !isNumber(epoch) {
			return bad("has an epoch that is not a number")
		}
	} else {
		rest = s
	}
	v := SplitVersion("0:" + rest)
	switch {
	case len(s) > maxVersion:
		return bad("is too long")
	case v.Upstream == "":
		return bad("is empty")
	case !isDigit(v.Upstream[0]):
		return bad("does not begin with a digit")
	case strings.Contains(rest, "-") && v.Revision == "":
		return bad("ends in an empty revision")
	case !only(v.Upstream, "-+.~:") || !only(v.Revision, "+.~"):
		return bad("has a character that versions must not have")
	}
	return nil
}

// maxVersion bounds the length of a version number.
const maxVersion = 512

// only reports whether s consists of letters, digits and the extra characters.
func only(s, extra string) bool {
	for i := range len(s) {
		if c := s[i]; !isDigit(c) && !isLetter(c) && strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return true
}

// clip shortens hostile text for an error message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}

// VendorVersion returns the version of a rebuild of Debian's version base: the
// n-th of a vendor for a release, "1.0-1+deb12u1" becoming
// "1.0-1+deb12u1+cut12u1" for vendor "cut", release "12" and n 1.
//
// By dpkg's order it is newer than base, its binary rebuilds (base+b9) and its
// backports (base~bpo12+1), newer than a lower n, older than the same for a
// higher release, and older than what Debian publishes next: another upstream
// version, another revision (1.0-2), a non-maintainer upload (1.0-1.1, 1.0+nmu1),
// the next stable update (1.0-1+deb12u2; and 1.0-1+deb12u1 if base is 1.0-1).
//
// This holds because "b" < "cut" < "deb" < "nmu" and "+" < ".", so it needs care
// outside of these forms: a next version that goes on from base with a letter
// (1.0-1ubuntu1), with "+" and a letter before the vendor's (1.0-1+bar1), or, if
// base ends in a letter, with a digit (1.0+dfsg1 after 1.0+dfsg), counts as
// older. Who publishes must compare with what is there, not rely on the form.
func VendorVersion(base, vendor, release string, n int) string {
	return base + "+" + vendor + release + "u" + strconv.Itoa(n)
}
