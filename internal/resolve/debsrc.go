package resolve

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// debsrcScheme begins the addresses of Debian source packages.
const debsrcScheme = "debsrc://"

// A DebSrc is a Debian source package named by suite,
// debsrc://SUITE/NAME[@VERSION][#FILE].
type DebSrc struct {
	Suite, Name string
	Version     string // "" means the highest that the pool has
	File        string // path of a file inside the source package, "" means all of it
}

var debsrcForm = regexp.MustCompile(`^([a-z][a-z0-9-]*)/([a-z0-9][a-z0-9+.-]+)(?:@([^#/]+))?(?:#(.+))?$`)

// IsDebSrc reports whether an address is of the debsrc scheme.
func IsDebSrc(uri string) bool { return strings.HasPrefix(uri, debsrcScheme) }

// ParseDebSrc reads a debsrc address. The error is fault.Invalid.
func ParseDebSrc(uri string) (DebSrc, error) {
	rest, _ := strings.CutPrefix(uri, debsrcScheme)
	m := debsrcForm.FindStringSubmatch(rest)
	if m == nil || !IsDebSrc(uri) {
		return DebSrc{}, fault.New(fault.Invalid, "%q does not name a Debian source", uri).
			Fix("write debsrc://SUITE/NAME, with @VERSION for one version and #debian/patches/FILE for one file")
	}
	d := DebSrc{Suite: m[1], Name: m[2], Version: m[3], File: m[4]}
	if d.Version != "" {
		if err := deb.ValidateVersion(d.Version); err != nil {
			return DebSrc{}, fault.New(fault.Invalid, "%s: %w", uri, err)
		}
	}
	if slices.Contains(strings.Split(d.File, "/"), "..") || strings.HasPrefix(d.File, "/") {
		return DebSrc{}, fault.New(fault.Invalid, "%s: %q is not a path inside the source", uri, d.File)
	}
	return d, nil
}

// String returns the address.
func (d DebSrc) String() string {
	s := debsrcScheme + d.Suite + "/" + d.Name
	if d.Version != "" {
		s += "@" + d.Version
	}
	if d.File != "" {
		s += "#" + d.File
	}
	return s
}

// find returns the version of a source package to use: the highest that the
// index has and whose wanted files are in the store or can be fetched. With
// PlanOnly the pool is asked, but nothing is fetched. A version passed over
// leaves a note.
func (l *locker) find(ctx context.Context, d DebSrc, want func(name string) bool) (*archive.SourceRef, error) {
	key := d.String()
	if ref, ok := l.found[key]; ok {
		return ref, nil
	}
	refs, err := l.refs(ctx, d)
	if err != nil {
		return nil, err
	}
	var missing []string
	for i := range refs {
		ref := &refs[i]
		gone, err := l.bring(ctx, ref, want)
		if err != nil {
			return nil, err
		}
		if gone == "" {
			l.found[key] = ref
			l.index(ref.Index)
			for _, m := range missing {
				l.note("%s: %s; version %s is taken", key, m, ref.Package.Version)
			}
			return ref, nil
		}
		missing = append(missing, fmt.Sprintf("version %s of %s is in the index, but the pool does not have %s", ref.Package.Version, ref.Suite.Name, gone))
	}
	return nil, fault.New(fault.Unavailable, "%s: %s", key, strings.Join(missing, "; ")).
		Fix("name another suite or version, or try again when the mirror is complete")
}

// refs returns the versions that an address admits, highest first.
func (l *locker) refs(ctx context.Context, d DebSrc) ([]archive.SourceRef, error) {
	if l.pins != nil {
		return l.pins.sources(ctx, d)
	}
	all, err := l.Archive.Sources(ctx, d.Suite, d.Name, l.Now)
	if err != nil {
		return nil, err
	}
	refs := slices.DeleteFunc(slices.Clone(all), func(r archive.SourceRef) bool {
		return d.Version != "" && deb.Compare(r.Package.Version, d.Version) != 0
	})
	if len(refs) == 0 {
		var have []string
		for _, r := range all {
			have = append(have, r.Package.Version)
		}
		return nil, fault.New(fault.NotFound, "no version %s of source package %s in %s", d.Version, d.Name, d.Suite).
			Fix("use one that it has: %s", strings.Join(slices.Compact(have), ", "))
	}
	return refs, nil
}

// bring makes sure that the wanted files of a source package can be had, and
// returns the name of the first one that the pool does not have, "" if it has all.
func (l *locker) bring(ctx context.Context, ref *archive.SourceRef, want func(name string) bool) (gone string, err error) {
	if l.pins != nil {
		return "", nil // what the lock pins is there, and nothing else matters
	}
	if _, ok := ref.Package.Dsc(); !ok {
		return "its .dsc", nil
	}
	for _, m := range ref.Materials() {
		if !want(m.Name) {
			continue
		}
		if _, err := l.Store.Stat(ctx, m.Digest); err == nil {
			continue
		}
		if l.PlanOnly {
			there, err := l.Fetcher.Exists(ctx, m.URI)
			if err != nil {
				return "", err
			}
			if !there {
				return m.Name, nil
			}
			continue
		}
		_, err := l.Fetcher.Fetch(ctx, requestOf(m))
		switch {
		case fault.Is(err, fault.NotFound):
			return m.Name, nil
		case err != nil:
			return "", err
		}
	}
	return "", nil
}
