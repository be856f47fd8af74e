package repo

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
)

// An entry is one stanza of an index, with the blank line after it.
type entry struct {
	name []byte // the value of Package, by which an index is sorted
	body []byte
}

// field returns the value of a field of the stanza.
func (e entry) field(name string) []byte { return deb.StanzaField(e.body, name) }

// source returns the name of the source package that a stanza of Packages comes
// from.
func (e entry) source() []byte {
	s := e.field("Source")
	if s == nil {
		return e.name
	}
	if i := bytes.IndexByte(s, ' '); i >= 0 {
		s = s[:i]
	}
	return s
}

// sourceVersion returns the version of that source package.
func (e entry) sourceVersion() string {
	if _, v, ok := strings.Cut(string(e.field("Source")), "("); ok {
		return strings.TrimSuffix(v, ")")
	}
	return string(e.field("Version"))
}

// compare orders entries by name, then by version, then by their bytes.
func (e entry) compare(o entry) int {
	if c := bytes.Compare(e.name, o.name); c != 0 {
		return c
	}
	return cmp.Or(
		deb.Compare(string(e.field("Version")), string(o.field("Version"))),
		bytes.Compare(e.body, o.body))
}

// entries yields the stanzas of an index in the form that merge makes.
func entries(plain []byte) iter.Seq[entry] {
	return func(yield func(entry) bool) {
		for len(plain) > 0 {
			size := bytes.Index(plain, []byte("\n\n")) + 2
			if size < 2 {
				size = len(plain)
			}
			e := entry{body: plain[:size:size]}
			e.name = e.field("Package")
			if !yield(e) {
				return
			}
			plain = plain[size:]
		}
	}
}

// merge returns the index with the added entries and without those that drop
// says yes to. What is there twice byte for byte is kept once.
func merge(plain []byte, drop func(entry) bool, added []entry) *compress.Text {
	slices.SortFunc(added, entry.compare)
	size := len(plain)
	for _, e := range added {
		size += len(e.body)
	}
	before := &compress.Text{Plain: plain}
	t := &compress.Text{Plain: make([]byte, 0, size), Before: before}
	var last entry
	put := func(e entry) {
		if !bytes.Equal(last.body, e.body) {
			t.Add(e.name, e.body)
		}
		last = e
	}
	for e := range entries(plain) {
		before.Mark(e.name, len(e.body))
		if drop(e) {
			continue
		}
		for len(added) > 0 && added[0].compare(e) < 0 {
			put(added[0])
			added = added[1:]
		}
		put(e)
	}
	for _, e := range added {
		put(e)
	}
	return t
}

// A place says that a package has a file at a path, as a line of Contents does.
type place struct {
	path  string
	owner string // "section/name"
}

// contentsColumn is where the owners begin in a line of Contents if the path is
// short enough.
const contentsColumn = 60

// mergeContents returns the Contents index with the added places and without
// those of the packages in dropped.
func mergeContents(plain []byte, dropped map[string]bool, added []place) *compress.Text {
	slices.SortFunc(added, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(a.owner, b.owner))
	})
	before := &compress.Text{Plain: plain}
	t := &compress.Text{Plain: make([]byte, 0, len(plain)+96*len(added)), Before: before}
	for len(plain) > 0 {
		size := bytes.IndexByte(plain, '\n') + 1
		if size < 1 {
			size = len(plain)
		}
		line := plain[:size]
		plain = plain[size:]
		path, owners := splitContents(line)
		before.Mark(path, size)
		for len(added) > 0 && added[0].path < string(path) {
			added = putPlaces(t, nil, added)
		}
		shared := len(added) > 0 && added[0].path == string(path)
		kept, all := keepOwners(owners, dropped)
		switch {
		case shared:
			added = putPlaces(t, kept, added)
		case all:
			t.Add(path, line)
		case len(kept) > 0:
			putLine(t, string(path), kept)
		}
	}
	for len(added) > 0 {
		added = putPlaces(t, nil, added)
	}
	return t
}

// splitContents takes a line of Contents apart. A path may hold blanks, the
// owners do not.
func splitContents(line []byte) (path, owners []byte) {
	line = bytes.TrimSuffix(line, []byte{'\n'})
	i := bytes.LastIndexByte(line, ' ') + 1
	return bytes.TrimRight(line[:i], " "), line[i:]
}

// keepOwners returns the owners whose package is not dropped. If all are kept it
// says so without making the list, unless there is a use for it.
func keepOwners(owners []byte, dropped map[string]bool) (kept []string, all bool) {
	all = true
	for o := range bytes.SplitSeq(owners, []byte{','}) {
		if dropped[string(o[bytes.LastIndexByte(o, '/')+1:])] {
			all = false
		} else {
			kept = append(kept, string(o))
		}
	}
	return kept, all
}

// putPlaces writes the line for the path of the first added place, with the
// other owners of it, and returns the places of the paths after it.
func putPlaces(t *compress.Text, owners []string, added []place) []place {
	path := added[0].path
	for len(added) > 0 && added[0].path == path {
		owners = append(owners, added[0].owner)
		added = added[1:]
	}
	putLine(t, path, owners)
	return added
}

func putLine(t *compress.Text, path string, owners []string) {
	slices.Sort(owners)
	line := []byte(path)
	for {
		line = append(line, ' ')
		if len(line) >= contentsColumn {
			break
		}
	}
	for i, o := range slices.Compact(owners) {
		if i > 0 {
			line = append(line, ',')
		}
		line = append(line, o...)
	}
	t.Add([]byte(path), append(line, '\n'))
}
