package apk

import (
	"cmp"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A version is number{.number}{letter}{_suffix{number}}{~hash}{-r number}, as in
// "1.2.3a_rc4_p5~0fe3-r6". It is compared part by part; this file follows
// apk 3, which is stricter than apk 2 in what it takes for a version.

// A partKind is a kind of part of a version. Where two versions go on with
// different kinds, the one with the smaller kind is newer, except that a suffix
// such as _alpha makes a version older than anything.
type partKind uint8

const (
	firstNumber partKind = iota
	nextNumber
	letter
	suffix
	suffixNumber
	commitHash
	revision
	theEnd
	malformed
)

// suffixes are in ascending order; those before "" make a version older.
var suffixes = []string{"alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"}

const noSuffix = 4

// A part is one part of a version.
type part struct {
	kind partKind
	text string // digits of a number, a letter, digits of a hash
	rank int    // of a suffix
}

// A parts takes a version apart.
type parts struct {
	part
	rest string
}

// split returns a cursor at the first part of a version.
func split(version string) parts {
	p := parts{rest: version}
	p.number(firstNumber)
	return p
}

// next goes on to the next part. It must not be called at the end or on a
// malformed part.
func (p *parts) next() {
	if p.rest == "" {
		p.part = part{kind: theEnd}
		return
	}
	c := p.rest[0]
	switch {
	case c >= 'a' && c <= 'z' && p.kind <= nextNumber:
		p.part, p.rest = part{kind: letter, text: p.rest[:1]}, p.rest[1:]
	case c == '.' && p.kind <= nextNumber:
		p.rest = p.rest[1:]
		p.number(nextNumber)
	case isDigit(c) && p.kind == suffix:
		p.number(suffixNumber)
	case c == '_' && p.kind <= suffixNumber:
		p.suffix()
	case c == '~' && p.kind < commitHash:
		n := 1 + span(p.rest[1:], isHex)
		p.part, p.rest = part{kind: commitHash, text: p.rest[1:n]}, p.rest[n:]
		if n == 1 {
			p.kind = malformed
		}
	case strings.HasPrefix(p.rest, "-r") && p.kind < revision:
		p.rest = p.rest[2:]
		p.number(revision)
	default:
		p.kind = malformed
	}
}

// number takes digits, of which there must be one.
func (p *parts) number(kind partKind) {
	n := span(p.rest, isDigit)
	p.part, p.rest = part{kind: kind, text: p.rest[:n]}, p.rest[n:]
	if n == 0 {
		p.kind = malformed
	}
}

// suffix takes "_" and one of the known words.
func (p *parts) suffix() {
	n := 1 + span(p.rest[1:], func(c byte) bool { return c >= 'a' && c <= 'z' })
	word := p.rest[1:n]
	p.part, p.rest = part{kind: malformed}, p.rest[n:]
	for i, s := range suffixes {
		if s == word && s != "" {
			p.part = part{kind: suffix, rank: i}
		}
	}
}

// CompareVersions orders two versions as apk 3 does: negative if a is older,
// zero if they are equal, positive if a is newer. It is a total preorder on all
// strings: what is no version is compared up to where it stops being one.
func CompareVersions(a, b string) int {
	if a == b {
		return 0
	}
	x, y := split(a), split(b)
	for x.kind == y.kind && x.kind < theEnd {
		if c := x.compare(y.part); c != 0 {
			return c
		}
		x.next()
		y.next()
	}
	return x.against(y.part)
}

// compare orders two parts of the same kind.
func (p part) compare(q part) int {
	switch p.kind {
	case nextNumber:
		if p.text[0] == '0' || q.text[0] == '0' {
			return strings.Compare(p.text, q.text) // 1.05 is older than 1.1
		}
		return compareNumbers(p.text, q.text)
	case firstNumber, suffixNumber, revision:
		return compareNumbers(p.text, q.text)
	case suffix:
		return cmp.Compare(p.rank, q.rank)
	}
	return strings.Compare(p.text, q.text)
}

// against orders two versions that were equal up to here by the kinds of what
// follows.
func (p part) against(q part) int {
	switch {
	case p.kind == q.kind:
		return 0
	case p.kind == suffix && p.rank < noSuffix:
		return -1
	case q.kind == suffix && q.rank < noSuffix:
		return 1
	}
	return cmp.Compare(q.kind, p.kind)
}

// holds reports whether a version stands to the wanted one in one of the ways
// of the Match, which is neither 0 nor Identified.
func (m Match) holds(version, wanted string) bool {
	c := CompareVersions(version, wanted)
	if m&Fuzzy != 0 && beginsWith(version, wanted) {
		c = 0
		m |= Equal
	}
	switch {
	case c < 0:
		return m&Less != 0
	case c > 0:
		return m&Greater != 0
	}
	return m&Equal != 0
}

// beginsWith reports whether the first parts of a version are those of prefix.
func beginsWith(version, prefix string) bool {
	x, y := split(version), split(prefix)
	for x.kind == y.kind && x.kind < theEnd {
		if x.compare(y.part) != 0 {
			return false
		}
		x.next()
		y.next()
	}
	return y.kind == theEnd
}

// maxNumber bounds the digits of a number in a version: apk 2 takes no more, and
// in apk 3 larger numbers wrap.
const maxNumber = 17

// ValidateVersion returns a fault.Invalid error that says what is wrong with a
// version, or nil if apk 3 takes it. apk 2 takes it too unless it has a "~" with
// the hash of a commit.
func ValidateVersion(s string) error {
	bad := func(format string, args ...any) error {
		return fault.Within(invalid(format, args...), "version %q", clip(s)).
			Fix("versions are like 1.2.3a_rc4_p5-r6")
	}
	if len(s) > maxVersion {
		return bad("more than %d bytes", maxVersion)
	}
	p := split(s)
	for p.kind < theEnd {
		if p.kind != commitHash && len(p.text) > maxNumber {
			return bad("a number of more than %d digits", maxNumber)
		}
		before := p.rest
		p.next()
		if p.kind == malformed {
			return bad("%q cannot stand where it does", clip(before))
		}
	}
	if p.kind == malformed {
		return bad("it does not begin with a number")
	}
	return nil
}

// maxVersion bounds the length of a version, in bytes.
const maxVersion = 128

// compareNumbers compares decimal numbers of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

// span returns how many bytes s begins with that are in a class.
func span(s string, class func(byte) bool) int {
	n := 0
	for n < len(s) && class(s[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || c >= 'a' && c <= 'f' }
func isAlnum(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// only reports whether s consists of letters, digits and the extra characters.
func only(s, extra string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

// nameChars are what a package name may hold besides letters and digits.
const nameChars = "+-._"

// SplitName takes "name-version" apart, as the file of a package is named
// without its ".apk": the version is what follows the last "-" before a digit.
// Errors are fault.Invalid.
func SplitName(s string) (name, version string, err error) {
	for i := len(s) - 2; i > 0; i-- {
		if s[i] == '-' && isDigit(s[i+1]) {
			return s[:i], s[i+1:], nil
		}
	}
	return "", "", fault.New(fault.Invalid, "%q is not of the form name-version", clip(s))
}
