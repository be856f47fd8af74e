package resolve

import (
	"context"
	"slices"
	"strconv"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
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
	d := DebSrc{Suite: ref.Suite.Name, Name: ref.Package.Name, Version: ref.Package.Version, File: "debian/changelog"}
	var from []ashlar.Material
	for _, m := range ref.Materials() {
		if !holds(m.Name, d.File) {
			continue
		}
		if _, err := l.Fetcher.Fetch(ctx, requestOf(m)); err != nil {
			return "", err
		}
		from = append(from, m)
	}
	text, err := extract(ctx, l.Store, d, from)
	if err != nil {
		return "", err
	}
	entries, err := deb.ParseChangelog(text)
	if err != nil {
		return "", err
	}
	return strconv.FormatInt(entries[0].Date.Unix(), 10), nil
}
