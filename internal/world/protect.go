package world

import (
	"path"
	"strings"
)

// A protection is a pattern of paths, taken apart as the folders are that it may
// be about.
type protection struct {
	pattern string // relative to a folder
	on      bool   // files are protected; else they are not although a folder above is
}

// defaultProtections are those that apk has by itself. The differences between
// their kinds matter to "apk audit" only.
var defaultProtections = []string{"+etc", "@etc/init.d", "!etc/apk"}

// parseProtections reads lines as they are in files of etc/apk/protected_paths.d.
func parseProtections(lines []string) []protection {
	var all []protection
	for _, line := range lines {
		if line = strings.TrimSuffix(line, "\n"); line == "" || line[0] == '#' {
			continue
		}
		p := protection{on: line[0] != '-'}
		if strings.IndexByte("-+@!", line[0]) >= 0 {
			line = line[1:]
		}
		p.pattern = strings.Trim(line, "/")
		all = append(all, p)
	}
	return all
}

// protect returns what the protections of a folder mean for a folder in it:
// whether its files are protected, and the protections for folders in that.
func protect(all []protection, name string, inherited bool) (on bool, below []protection) {
	on = inherited
	for _, p := range all {
		first, rest, deeper := strings.Cut(p.pattern, "/")
		if !matches(first, name) {
			continue
		}
		if deeper {
			below = append(below, protection{rest, p.on})
		} else {
			on = p.on
		}
	}
	return on, below
}

// matches reports whether a path matches a pattern of the shell, in which no
// wildcard stands for a slash. A malformed pattern matches itself.
func matches(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), name)
	return ok || err != nil && pattern == name
}
