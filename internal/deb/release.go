package deb

import (
	"fmt"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Release is the signed table of contents of a suite of an archive.
type Release struct {
	Origin       string
	Label        string
	Suite        string
	Codename     string
	Version      string
	Description  string // one line
	Date         time.Time
	ValidUntil   time.Time // zero if it never expires
	NotAutomatic bool
	// ButAutomaticUpgrades lets apt upgrade to a NotAutomatic suite what was
	// once installed from it.
	ButAutomaticUpgrades bool
	AcquireByHash        bool
	Architectures        []string
	Components           []string
	// NoSupportForArchAll is "Packages" if the indexes of each architecture hold
	// the packages of architecture "all" too.
	NoSupportForArchAll string
	SignedBy            []string // fingerprints that the next Release must be signed by
	Snapshots           string   // URL template of past states

	Files []ashlar.File // the indexes, by SHA-256; names are paths below the Release, sorted
}

// maxIndexes bounds the files that a Release lists.
const maxIndexes = 200_000

// ParseRelease parses a Release file, or an InRelease without its signature. It
// needs a Date and a SHA256 list; other digests are passed over.
func ParseRelease(text []byte) (*Release, error) {
	p, err := ParseParagraph(text)
	if err != nil {
		return nil, err
	}
	r := &Release{
		Origin: p.Get("Origin"), Label: p.Get("Label"), Suite: p.Get("Suite"), Codename: p.Get("Codename"),
		Version: p.Get("Version"), Description: p.Get("Description"),
		NotAutomatic:         p.Get("NotAutomatic") == "yes",
		ButAutomaticUpgrades: p.Get("ButAutomaticUpgrades") == "yes",
		AcquireByHash:        p.Get("Acquire-By-Hash") == "yes",
		Architectures:        strings.Fields(p.Get("Architectures")),
		Components:           strings.Fields(p.Get("Components")),
		NoSupportForArchAll:  p.Get("No-Support-for-Architecture-all"),
		SignedBy:             splitList(p.Get("Signed-By")),
		Snapshots:            p.Get("Snapshots"),
	}
	if r.Date, err = parseDate(p, "Date"); err != nil {
		return nil, err
	}
	if p.Has("Valid-Until") {
		if r.ValidUntil, err = parseDate(p, "Valid-Until"); err != nil {
			return nil, err
		}
	}
	if !p.Has("SHA256") {
		return nil, fault.New(fault.Invalid, "the Release lists no SHA-256 digests").At("", p.Line("SHA256")).
			Fix("use an archive that signs SHA-256 digests")
	}
	entries, err := parseFileList(p, "SHA256", listForm{digits: 64, name: isPlainPath, most: maxIndexes})
	if err != nil {
		return nil, err
	}
	r.Files, err = toFiles(entries)
	return r, err
}

// releaseDates are the forms of a date that archives write.
var releaseDates = []string{"Mon, 2 Jan 2006 15:04:05 MST", "Mon, 2 Jan 2006 15:04:05 -0700"}

// parseDate parses a date in UTC.
func parseDate(p Paragraph, field string) (time.Time, error) {
	value := p.Get(field)
	for _, form := range releaseDates {
		t, err := time.Parse(form, value)
		if zone, offset := t.Zone(); err == nil && (offset != 0 || zone == "UTC" || zone == "GMT" || zone == "") {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault.New(fault.Invalid, "%s: %q is not a date in UTC", field, clip(value)).At("", p.Line(field))
}

// File returns the index of a name such as "main/binary-amd64/Packages.xz", and
// whether the Release lists it.
func (r *Release) File(name string) (ashlar.File, bool) { return findFile(r.Files, name) }

// Expired reports whether the Release is no longer valid at a time.
func (r *Release) Expired(now time.Time) bool {
	return !r.ValidUntil.IsZero() && now.After(r.ValidUntil)
}

// Encode returns the text of the Release, fields and files in a fixed order.
func (r *Release) Encode() []byte {
	var p Paragraph
	add := func(name, value string) {
		if value != "" {
			p.Set(name, value)
		}
	}
	flag := func(name string, on bool) {
		if on {
			p.Set(name, "yes")
		}
	}
	add("Origin", r.Origin)
	add("Label", r.Label)
	add("Suite", r.Suite)
	add("Version", r.Version)
	add("Codename", r.Codename)
	add("Date", formatDate(r.Date))
	if !r.ValidUntil.IsZero() {
		add("Valid-Until", formatDate(r.ValidUntil))
	}
	flag("NotAutomatic", r.NotAutomatic)
	flag("ButAutomaticUpgrades", r.ButAutomaticUpgrades)
	flag("Acquire-By-Hash", r.AcquireByHash)
	add("No-Support-for-Architecture-all", r.NoSupportForArchAll)
	add("Architectures", strings.Join(r.Architectures, " "))
	add("Components", strings.Join(r.Components, " "))
	add("Description", r.Description)
	add("Signed-By", strings.Join(r.SignedBy, ", "))
	add("Snapshots", r.Snapshots)
	p.Set("SHA256", formatFiles(r.Files))
	return p.AppendTo(nil)
}

func formatDate(t time.Time) string { return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC") }

// formatFiles returns a list of files as the value of a field.
func formatFiles(files []ashlar.File) string {
	var b strings.Builder
	for _, f := range files {
		fmt.Fprintf(&b, "\n %s %8d %s", f.Digest.Hex(), f.Size, f.Name)
	}
	return b.String()
}
