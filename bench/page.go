package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"

	"github.com/ashlar-project/ashlar/internal/durable"
)

// A section is one figure as the page shows it.
type section struct {
	Name, Title string
	Text        string // what is compared, in words
	Rows        []row
	More        string // further text or tables below
	Made        string // command, date and machine
}

// A row is one measurement beside what was asked.
type row struct {
	Figure    string
	Asked     string
	Seen      string
	Yardstick string // what it was compared with, "" for nothing
	Ratio     string // "" without a yardstick
	Met       bool
}

// preamble begins the page.
const preamble = `# Benchmarks

What Ashlar promises to be fast or exact at, and what was seen. Every time is the median of several runs, with the
fastest and the slowest in brackets; a yardstick ran in turns with what it is compared to, and the ratio is the median of
the ratios of neighbouring runs. Ratios say more than times: times on a shared machine vary by half.

Each section is made by its own command, as root, on a quiet machine, after ` + "`make build`" + `; the command writes this page.
` + "`make bench`" + ` makes all of them. "Warm" and the two builds under different conditions want the definitions of the
catalog built before (` + "`make catalog`" + `), or build them.
`

// markdown returns the section between the marks by which it is found again.
func (s *section) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<!-- begin %s -->\n## %s\n\n%s\n\n", s.Name, s.Title, strings.TrimSpace(s.Text))
	if len(s.Rows) > 0 {
		b.WriteString("| figure | asked | seen | yardstick | ratio | met |\n|---|---|---|---|---|---|\n")
		for _, r := range s.Rows {
			met := "**no**"
			if r.Met {
				met = "yes"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.Figure, r.Asked, r.Seen, orDash(r.Yardstick), orDash(r.Ratio), met)
		}
		b.WriteByte('\n')
	}
	if more := strings.TrimSpace(s.More); more != "" {
		fmt.Fprintf(&b, "%s\n\n", more)
	}
	fmt.Fprintf(&b, "%s\n<!-- end %s -->\n", s.Made, s.Name)
	return b.String()
}

func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

var sectionForm = regexp.MustCompile(`(?ms)^<!-- begin (\w+) -->$.*?^<!-- end \w+ -->\n`)

// update returns the page with the section put in or replaced. Sections stand in
// the given order of their names; those that have no place in it are dropped.
func update(page []byte, s *section, order []string) []byte {
	known := map[string]string{}
	for _, m := range sectionForm.FindAllSubmatch(page, -1) {
		known[string(m[1])] = string(m[0])
	}
	known[s.Name] = s.markdown()
	var b bytes.Buffer
	b.WriteString(preamble)
	for _, name := range order {
		if text, ok := known[name]; ok {
			b.WriteString("\n" + text)
		}
	}
	return b.Bytes()
}

// write puts the section on the page.
func (l *lab) write(s *section) error {
	if l.page == "-" {
		_, err := os.Stdout.WriteString(s.markdown())
		return err
	}
	page, err := os.ReadFile(l.page)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.WriteFile(l.page, update(page, s, names(figures())), 0o644)
}
