package resolve

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// SourceEpoch names the variable of a lock that says when the source of a build
// was last changed, in seconds since 1970. It is the time that packages which a
// definition packs itself carry; dpkg takes the same from the changelog.
const SourceEpoch = "source.epoch"

// epoch returns the time of a source package's newest change, "" where no build
// of the definition wants to know, or the source is none of Debian's.
func (l *locker) epoch(ctx context.Context, ref *archive.SourceRef) (string, error) {
	packs := slices.ContainsFunc(l.def.Builds, func(b catalog.Build) bool {
		return slices.ContainsFunc(b.Pipeline, func(s catalog.Step) bool { return catalog.Packs(s.Uses) })
	})
	if ref == nil || !packs || l.PlanOnly {
		return "", nil
	}
	text, err := l.changelog(ctx, ref)
	if err != nil {
		return "", err
	}
	entries, err := deb.ParseChangelog(text)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(entries[0].Date.Unix(), 10), nil
}

// changelog returns the changelog of a source package, of a package that keeps all its
// changes in one diff what that adds.
func (l *locker) changelog(ctx context.Context, ref *archive.SourceRef) ([]byte, error) {
	d := DebSrc{Suite: ref.Suite.Name, Name: ref.Package.Name, Version: ref.Package.Version, File: "debian/changelog"}
	var from []ashlar.Material
	diff := -1
	for _, m := range ref.Materials() {
		isDiff := strings.HasSuffix(m.Name, ".diff.gz")
		if !isDiff && !holds(m.Name, d.File) {
			continue
		}
		if _, err := l.Fetcher.Fetch(ctx, requestOf(m)); err != nil {
			return nil, err
		}
		if isDiff {
			diff = len(from)
		}
		from = append(from, m)
	}
	if diff < 0 {
		return extract(ctx, l.Store, d, from)
	}
	f, err := l.Store.Open(ctx, from[diff].Digest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := compress.NewReader(from[diff].Name, f, maxDiff)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := addedFile(r, d.File)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%w", err).At(from[diff].Name, 0)
	}
	return text, nil
}

// maxDiff bounds the diff of a source package, in bytes.
const maxDiff = 256 << 20

// addedFile returns the file that a unified diff adds at a path below the folder that
// it is for. The error is fault.NotFound if it adds none.
func addedFile(r io.Reader, name string) ([]byte, error) {
	var text []byte
	within := false
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxPatch)
	for lines.Scan() {
		line := lines.Bytes()
		if header, is := bytes.CutPrefix(line, []byte("+++ ")); is {
			path, _, _ := bytes.Cut(header, []byte("\t"))
			_, below, _ := bytes.Cut(path, []byte("/"))
			within = string(below) == name
		} else if within && len(line) > 0 && line[0] == '+' && len(text) < maxPatch {
			text = append(append(text, line[1:]...), '\n')
		} else if within && bytes.HasPrefix(line, []byte("--- ")) {
			within = false
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	if text == nil {
		return nil, fault.New(fault.NotFound, "it adds no %s", name)
	}
	return text, nil
}
