package deb

import (
	"cmp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A listForm says what a list of files with digests may hold.
type listForm struct {
	digits int               // of the digest
	name   func(string) bool // whether a name is acceptable
	most   int               // number of entries
}

// A fileEntry is one line of a list of files with digests.
type fileEntry struct {
	hash string
	size int64
	name string
	line int
}

// parseFileList parses a field of lines "digest size name", each name there once.
func parseFileList(p Paragraph, field string, form listForm) ([]fileEntry, error) {
	value := p.Get(field)
	if n := strings.Count(value, "\n"); n > form.most {
		return nil, fault.New(fault.Invalid, "%s lists more than %d files", field, form.most).At("", p.Line(field))
	}
	var entries []fileEntry
	seen := map[string]bool{}
	line := p.Line(field)
	for l := range strings.SplitSeq(value, "\n") {
		if words := strings.Fields(l); len(words) > 0 {
			e, err := parseFileEntry(words, form)
			if err == nil && seen[e.name] {
				err = fault.New(fault.Invalid, "%s is listed twice", e.name)
			}
			if err != nil {
				return nil, fault.Within(err, "%s", field).At("", line)
			}
			e.line = line
			seen[e.name] = true
			entries = append(entries, e)
		}
		line++
	}
	return entries, nil
}

func parseFileEntry(words []string, form listForm) (fileEntry, error) {
	if len(words) != 3 || len(words[0]) != form.digits {
		return fileEntry{}, fault.New(fault.Invalid, "%q is not of the form digest, size, name", clip(strings.Join(words, " ")))
	}
	size, err := parseSize(words[1])
	if err != nil {
		return fileEntry{}, err
	}
	if !form.name(words[2]) {
		return fileEntry{}, fault.New(fault.Invalid, "%q is not a name that is allowed here", clip(words[2]))
	}
	return fileEntry{hash: words[0], size: size, name: words[2]}, nil
}

// toFiles makes files of entries whose digests are SHA-256, sorted by name.
func toFiles(entries []fileEntry) ([]ashlar.File, error) {
	files := make([]ashlar.File, 0, len(entries))
	for _, e := range entries {
		digest, err := parseDigest(e.hash)
		if err != nil {
			return nil, fault.Within(err, "file %s", e.name).At("", e.line)
		}
		files = append(files, ashlar.File{Name: e.name, Digest: digest, Size: e.size})
	}
	slices.SortFunc(files, func(a, b ashlar.File) int { return cmp.Compare(a.Name, b.Name) })
	return files, nil
}

// findFile looks a name up in files sorted by name.
func findFile(files []ashlar.File, name string) (ashlar.File, bool) {
	i, ok := slices.BinarySearchFunc(files, name, func(f ashlar.File, name string) int { return cmp.Compare(f.Name, name) })
	if !ok {
		return ashlar.File{}, false
	}
	return files[i], true
}
