package deb

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A ChangelogEntry is one version's entry of a debian/changelog.
type ChangelogEntry struct {
	Source        string
	Version       string
	Distributions []string
	Urgency       string
	Changes       string // the text between header and trailer, without blank lines around it
	Maintainer    string // "Name <address>"
	Date          time.Time
	CVEs          []string // identifiers named in Changes, sorted, each once
}

// Bounds on a changelog.
const (
	maxChangelog        = 64 << 20 // bytes
	maxChangelogEntries = 100_000
)

// ParseChangelog parses a debian/changelog, newest entry first as it stands in
// the file. The first entry must be well formed, or the error is fault.Invalid
// and names the line; what follows may be of forms long out of use, and reading
// stops without an error where it can no longer be understood.
func ParseChangelog(text []byte) ([]ChangelogEntry, error) {
	if len(text) > maxChangelog {
		return nil, fault.New(fault.Invalid, "the changelog is larger than %d bytes", maxChangelog)
	}
	lines := strings.Split(string(text), "\n")
	var entries []ChangelogEntry
	for at := 0; len(entries) < maxChangelogEntries; {
		for at < len(lines) && strings.TrimSpace(lines[at]) == "" {
			at++
		}
		if at == len(lines) {
			break
		}
		entry, next, err := parseEntry(lines, at)
		if err != nil {
			if len(entries) > 0 {
				break
			}
			return nil, err
		}
		entries = append(entries, entry)
		at = next
	}
	if len(entries) == 0 {
		return nil, fault.New(fault.Invalid, "the changelog has no entry")
	}
	return entries, nil
}

// parseEntry parses the entry that begins at lines[at], and returns the index of
// the line after it.
func parseEntry(lines []string, at int) (ChangelogEntry, int, error) {
	e, err := parseEntryHeader(lines[at])
	if err != nil {
		return e, 0, err.At("", at+1)
	}
	for i := at + 1; i < len(lines); i++ {
		line := strings.TrimRight(lines[i], " \t\r")
		switch {
		case strings.HasPrefix(line, " -- "):
			if err := e.parseTrailer(line[4:]); err != nil {
				return e, 0, err.At("", i+1)
			}
			e.Changes = strings.Trim(strings.Join(lines[at+1:i], "\n"), "\n")
			e.CVEs = namedCVEs(e.Changes)
			return e, i + 1, nil
		case line != "" && line[0] != ' ' && line[0] != '\t':
			return e, 0, fault.New(fault.Invalid, "changelog entry %s has no trailer before the next begins", e.Version).At("", i+1)
		}
	}
	return e, 0, fault.New(fault.Invalid, "changelog entry %s has no trailer", e.Version).At("", len(lines))
}

// parseEntryHeader parses "name (version) distributions; urgency=…".
func parseEntryHeader(line string) (ChangelogEntry, *fault.Error) {
	bad := func(why string) (ChangelogEntry, *fault.Error) {
		return ChangelogEntry{}, fault.New(fault.Invalid, "changelog header %q %s", clip(line), why)
	}
	name, rest, ok := strings.Cut(line, " (")
	if !ok || !isPackageName(name) {
		return bad("does not begin with a package name and a version in parentheses")
	}
	version, rest, ok := strings.Cut(rest, ")")
	if !ok {
		return bad("does not begin with a package name and a version in parentheses")
	}
	if err := ValidateVersion(version); err != nil {
		return bad("has no valid version")
	}
	suites, options, ok := strings.Cut(rest, ";")
	if !ok || strings.TrimSpace(suites) == "" {
		return bad("names no distribution")
	}
	e := ChangelogEntry{Source: name, Version: version, Distributions: strings.Fields(suites)}
	for option := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(option), "=")
		if strings.EqualFold(key, "urgency") {
			e.Urgency = strings.ToLower(value)
		}
	}
	return e, nil
}

// parseTrailer parses "Name <address>  date".
func (e *ChangelogEntry) parseTrailer(s string) *fault.Error {
	end := strings.LastIndex(s, ">")
	if end < 0 || !strings.Contains(s[:end], "<") {
		return fault.New(fault.Invalid, "changelog trailer %q names no maintainer", clip(s))
	}
	date := strings.TrimSpace(s[end+1:])
	if i := strings.IndexByte(date, '('); i > 0 { // a comment on the time zone
		date = strings.TrimSpace(date[:i])
	}
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", strings.Join(strings.Fields(date), " "))
	if err != nil {
		return fault.New(fault.Invalid, "changelog trailer %q has no valid date", clip(s))
	}
	e.Maintainer, e.Date = s[:end+1], t
	return nil
}

var cveForm = regexp.MustCompile(`\bCVE-[0-9]{4}-[0-9]{4,9}\b`)

// namedCVEs returns the CVE identifiers in a text, sorted, each once.
func namedCVEs(text string) []string {
	found := cveForm.FindAllString(text, -1)
	slices.Sort(found)
	return slices.Compact(found)
}
