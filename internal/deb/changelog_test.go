package deb

import (
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

const changelogText = `
hello (1:2.0-1+deb12u1) bookworm-security unstable; urgency=HIGH, binary-only=yes

  * CVE-2026-12345: fix an overflow (CVE-2026-0001,
    CVE-2026-12345).

  [ B ]
  * More.

 -- A "x" <a@example.org>  Sat, 06 Sep 2025 10:11:02 +0200

hello (1:2.0-1) unstable; urgency=low

  * First.

 -- B <b@example.org>  Mon,  1 Sep 2025 10:11:02 +0000 (UTC)

Old Changelog:
anything
`

func TestParseChangelog(t *testing.T) {
	got, err := ParseChangelog([]byte(changelogText))
	if err != nil {
		t.Fatal(err)
	}
	want := []ChangelogEntry{
		{Source: "hello", Version: "1:2.0-1+deb12u1", Distributions: []string{"bookworm-security", "unstable"}, Urgency: "high",
			Changes:    "  * CVE-2026-12345: fix an overflow (CVE-2026-0001,\n    CVE-2026-12345).\n\n  [ B ]\n  * More.",
			Maintainer: `A "x" <a@example.org>`, Date: time.Date(2025, 9, 6, 8, 11, 2, 0, time.UTC),
			CVEs: []string{"CVE-2026-0001", "CVE-2026-12345"}},
		{Source: "hello", Version: "1:2.0-1", Distributions: []string{"unstable"}, Urgency: "low", Changes: "  * First.",
			Maintainer: "B <b@example.org>", Date: time.Date(2025, 9, 1, 10, 11, 2, 0, time.UTC)},
	}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); d != "" {
		t.Error(d)
	}
}

func TestBadChangelog(t *testing.T) {
	const trailer = "\n -- A <a@example.org>  Sat, 06 Sep 2025 10:11:02 +0200\n"
	for text, want := range map[string]string{
		"":                                     "no entry",
		"hello\n":                              "file:1: changelog header",
		"hello (1\n":                           "changelog header",
		"hello (a/b) x; urgency=low":           "no valid version",
		"../hello (1) x; urgency=low":          "does not begin",
		"hello (1); urgency=low":               "names no distribution",
		"hello (1) x" + trailer:                "names no distribution",
		"hello (1) x; urgency=low\n\n  * X.\n": "has no trailer",
		"hello (1) x; urgency=low\n\n  * X.\n\nhello (0) x; urgency=low\n" + trailer:         "file:5: changelog entry 1 has no trailer before",
		"hello (1) x; urgency=low\n\n -- A  Sat, 06 Sep 2025 10:11:02 +0200\n":               "file:3: changelog trailer",
		"hello (1) x; urgency=low\n\n -- A <a@example.org>  yesterday\n":                     "no valid date",
		"hello (1) x; urgency=low\n\n -- A <a@example.org>  Sat, 46 Sep 2025 10:11:02 +0200": "no valid date",
		strings.Repeat("\n", maxChangelog+1):                                                 "larger than",
	} {
		_, err := ParseChangelog([]byte(text))
		checkError(t, err, want)
	}
}

func FuzzParseChangelog(f *testing.F) {
	f.Add(changelogText)
	f.Add("a (1) x;\n -- <>  Sat, 06 Sep 2025 10:11:02 +0200")
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := ParseChangelog([]byte(text))
		switch {
		case err != nil && !fault.Is(err, fault.Invalid):
			t.Errorf("%v is not an invalid error", err)
		case err == nil && len(entries) == 0:
			t.Error("neither an entry nor an error")
		}
	})
}
