package source

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxSources bounds the size in bytes of one file of apt's configuration.
const maxSources = 1 << 20

// An aptEntry is what one line or stanza of apt's sources says, as far as it
// matters here.
type aptEntry struct {
	uris   []string
	suites []string
}

// MirrorsFromApt returns the aliases debian and debian-security with the
// addresses that this machine's apt uses, read from /etc/apt. An alias that apt
// does not use is missing.
func MirrorsFromApt() (*Mirrors, error) {
	return mirrorsFromApt(os.DirFS("/etc/apt"))
}

// mirrorsFromApt reads sources.list and sources.list.d below fsys.
func mirrorsFromApt(fsys fs.FS) (*Mirrors, error) {
	names := []string{"sources.list"}
	for _, pattern := range []string{"sources.list.d/*.list", "sources.list.d/*.sources"} {
		more, err := fs.Glob(fsys, pattern)
		if err != nil {
			return nil, fault.New(fault.Internal, "%w", err)
		}
		names = append(names, more...)
	}
	m := &Mirrors{Aliases: map[string][]string{}}
	for _, name := range names {
		b, err := fs.ReadFile(fsys, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // what this user cannot read is not for this user
		}
		if err != nil || len(b) > maxSources {
			return nil, fault.New(fault.Invalid, "cannot read apt's sources: %w", errors.Join(err, tooLong(b))).At(path.Join("/etc/apt", name), 0)
		}
		for _, e := range parseApt(name, b) {
			m.addApt(e)
		}
	}
	m.addSibling()
	return m, nil
}

func tooLong(b []byte) error {
	if len(b) > maxSources {
		return errors.New("the file is too long")
	}
	return nil
}

// addApt gives the URIs of an entry to the alias that they are of.
func (m *Mirrors) addApt(e aptEntry) {
	for _, uri := range e.uris {
		u, err := url.Parse(uri)
		if err != nil || !slices.Contains([]string{"http", "https", "file"}, u.Scheme) || (u.Host == "" && u.Scheme != "file") {
			continue
		}
		name := aliasOf(u, e.suites)
		base := strings.TrimRight(uri, "/") + "/"
		if name != "" && !slices.Contains(m.Aliases[name], base) {
			m.Aliases[name] = append(m.Aliases[name], base)
		}
	}
}

// aliasOf says which alias a URI of apt's sources is a base of, "" for none.
func aliasOf(u *url.URL, suites []string) string {
	switch path.Base(u.Path) {
	case "debian":
		return "debian"
	case "debian-security":
		return "debian-security"
	}
	security := func(s string) bool { return strings.HasSuffix(s, "-security") || strings.HasSuffix(s, "/updates") }
	if strings.HasPrefix(u.Hostname(), "security.") && len(suites) > 0 && !slices.ContainsFunc(suites, func(s string) bool { return !security(s) }) {
		return "debian-security"
	}
	return ""
}

// addSibling guesses the missing one of the two archives beside the other, where
// mirrors usually have it.
func (m *Mirrors) addSibling() {
	if len(m.Aliases["debian-security"]) > 0 {
		return
	}
	for _, base := range m.Aliases["debian"] {
		if s, ok := strings.CutSuffix(base, "/debian/"); ok {
			m.Aliases["debian-security"] = append(m.Aliases["debian-security"], s+"/debian-security/")
		}
	}
}

// parseApt reads a file of either form of apt's sources, told apart by its name.
// What it does not understand it leaves out: apt itself reports that.
func parseApt(name string, b []byte) []aptEntry {
	if strings.HasSuffix(name, ".sources") {
		return parseDeb822Sources(b)
	}
	return parseOneLineSources(b)
}

// parseOneLineSources reads "deb [options] uri suite component…" lines.
func parseOneLineSources(b []byte) []aptEntry {
	var all []aptEntry
	lines := lineScanner(b)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		kind, rest, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
		if kind != "deb" && kind != "deb-src" {
			continue
		}
		rest = strings.TrimSpace(rest)
		if strings.HasPrefix(rest, "[") {
			_, after, ok := strings.Cut(rest, "]")
			if !ok {
				continue
			}
			rest = after
		}
		if f := strings.Fields(rest); len(f) >= 2 {
			all = append(all, aptEntry{uris: f[:1], suites: f[1:2]})
		}
	}
	return all
}

// parseDeb822Sources reads stanzas of "Field: value" lines.
func parseDeb822Sources(b []byte) []aptEntry {
	var all []aptEntry
	fields := map[string]string{}
	last := ""
	flush := func() {
		enabled := strings.ToLower(strings.TrimSpace(fields["enabled"]))
		if off := slices.Contains([]string{"no", "false", "off", "0", "without", "disable"}, enabled); !off && fields["uris"] != "" {
			all = append(all, aptEntry{strings.Fields(fields["uris"]), strings.Fields(fields["suites"])})
		}
		clear(fields)
		last = ""
	}
	lines := lineScanner(b)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			if last != "" {
				fields[last] += " " + line
			}
		default:
			key, value, ok := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(key))
			if !ok {
				last = ""
				continue
			}
			fields[last] = value
		}
	}
	flush()
	return all
}

func lineScanner(b []byte) *bufio.Scanner {
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, maxSources+1)
	return s
}
