package resolve

import (
	"bytes"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

// maxPatch bounds a file taken out of a source package, in bytes.
const maxPatch = 32 << 20

// sources pins what a build's files and paths bring in, in the order in which
// they are written.
func (l *locker) sources(ctx context.Context, b *catalog.Build) ([]ashlar.Source, error) {
	var list []ashlar.Source
	for i := range b.Files {
		f := &b.Files[i]
		more, err := l.fetchFile(ctx, f)
		if err != nil {
			return nil, at(err, f.Pos)
		}
		for _, s := range more {
			s.Mode, s.UID, s.GID = string(f.Mode), f.UID, f.GID
			list = append(list, s)
		}
	}
	beside, err := l.paths(ctx, b)
	return append(list, beside...), err
}

// paths pins the files beside the definition that a build's paths bring in.
func (l *locker) paths(ctx context.Context, b *catalog.Build) ([]ashlar.Source, error) {
	var list []ashlar.Source
	for i := range b.Paths {
		p := &b.Paths[i]
		more, err := l.localPath(ctx, p)
		if err != nil {
			return nil, at(err, p.Pos)
		}
		list = append(list, more...)
	}
	return list, nil
}

// fetchFile pins one entry of files.
func (l *locker) fetchFile(ctx context.Context, f *catalog.FetchFile) ([]ashlar.Source, error) {
	switch {
	case f.SecretID != "":
		return nil, fault.New(fault.Invalid, "files with a secret-id are not supported").Fix("fetch from an address that needs no secret")
	case len(f.Includes) > 0 || len(f.Excludes) > 0:
		return nil, fault.New(fault.Invalid, "files with includes or excludes are not supported yet").Fix("fetch the whole and take it apart in a step")
	case IsDebSrc(f.URL):
		d, err := ParseDebSrc(f.URL)
		switch {
		case err != nil:
			return nil, err
		case d.File != "":
			return l.patchFrom(ctx, d, f.Path)
		}
		return l.wholeSource(ctx, d, f.Path)
	case strings.HasPrefix(f.URL, "git+"):
		return l.gitTree(ctx, f)
	}
	return l.plainFile(ctx, f)
}

// wholeSource pins all files of a Debian source package.
func (l *locker) wholeSource(ctx context.Context, d DebSrc, dir string) ([]ashlar.Source, error) {
	ref, err := l.find(ctx, d, all)
	if err != nil {
		return nil, err
	}
	if err := l.checkListed(ctx, ref); err != nil {
		return nil, err
	}
	if dir != "" {
		dir = strings.TrimRight(dir, "/") + "/"
	}
	var list []ashlar.Source
	for _, m := range ref.Materials() {
		s := sourceOf(ref, m)
		s.Path = placeAt(dir, m.Name)
		list = append(list, s)
	}
	return list, nil
}

// sourceOf returns a file of a source package, anchored by the index that lists
// the package.
func sourceOf(ref *archive.SourceRef, m ashlar.Material) ashlar.Source {
	return ashlar.Source{Material: m, Anchor: ref.Anchor(), Package: ref.Package.Name, Version: ref.Package.Version}
}

// placeAt returns the path inside the build of a file called name. A path that
// ends in a slash is a folder, "" the folder of sources.
func placeAt(p, name string) string {
	if p == "" {
		p = ashlar.SourceDir + "/"
	}
	if strings.HasSuffix(p, "/") {
		return path.Join(p, name)
	}
	return p
}

// patchFrom pins a single file out of a Debian source package. The file goes
// into the store; the lock names what it was taken from.
func (l *locker) patchFrom(ctx context.Context, d DebSrc, to string) ([]ashlar.Source, error) {
	isNeeded := func(name string) bool { return strings.HasSuffix(name, ".dsc") || holds(name, d.File) }
	ref, err := l.find(ctx, d, isNeeded)
	if err != nil {
		return nil, err
	}
	var from []ashlar.Material
	for _, m := range ref.Materials() {
		if !isNeeded(m.Name) {
			continue
		}
		if _, err := l.Fetcher.Fetch(ctx, requestOf(m)); err != nil {
			return nil, err
		}
		from = append(from, m)
	}
	pinned := d
	pinned.Version = ref.Package.Version
	content, err := extract(ctx, l.Store, pinned, from)
	if err != nil {
		return nil, err
	}
	file, err := l.keep(ctx, bytes.NewReader(content), "")
	if err != nil {
		return nil, err
	}
	s := sourceOf(ref, ashlar.Material{Name: path.Base(d.File), URI: pinned.String(), Digest: file.Digest, Size: file.Size})
	s.Path, s.From = placeAt(to, s.Name), from
	return []ashlar.Source{s}, nil
}

// holds reports whether an archive of a source package is one that may hold the
// file: debian/… is in the .debian.tar of a quilt package, or in the only tar of
// a native one; anything else in an upstream tar.
func holds(archive, file string) bool {
	base, isTar, _ := strings.Cut(archive, ".tar.")
	if isTar == "" || strings.HasSuffix(archive, ".asc") {
		return false
	}
	native := !strings.HasSuffix(base, ".debian") && !strings.Contains(base, ".orig")
	if strings.HasPrefix(file, "debian/") {
		return strings.HasSuffix(base, ".debian") || native
	}
	return strings.HasSuffix(base, ".orig") || native
}

// extract returns the content of the file that d names, out of the pinned archives.
func extract(ctx context.Context, s blob.Store, d DebSrc, from []ashlar.Material) ([]byte, error) {
	for _, m := range from {
		if holds(m.Name, d.File) {
			return extractFrom(ctx, s, d, m)
		}
	}
	return nil, fault.New(fault.Invalid, "%s: the source package has no archive that could hold the file; it may keep all its changes in one .diff.gz", d).
		Fix("name a suite whose source package has format 3.0")
}

// extractFrom looks for the file as written and, in upstream and native tars,
// below the folder that such tars have at the top.
func extractFrom(ctx context.Context, s blob.Store, d DebSrc, m ashlar.Material) ([]byte, error) {
	version := deb.SplitVersion(d.Version)
	full := version.Upstream
	if version.Revision != "" {
		full += "-" + version.Revision
	}
	names := []string{d.File, d.Name + "-" + version.Upstream + "/" + d.File, d.Name + "-" + full + "/" + d.File, d.Name + "/" + d.File}
	if strings.Contains(m.Name, ".debian.tar.") {
		names = names[:1]
	}
	var err error
	for _, name := range slices.Compact(names) {
		var content []byte
		content, err = extractNamed(ctx, s, m, name)
		if !fault.Is(err, fault.NotFound) {
			return content, err
		}
	}
	return nil, fault.New(fault.NotFound, "%s: %w", d, err).Fix("look at the names in debian/patches of that version")
}

func extractNamed(ctx context.Context, s blob.Store, m ashlar.Material, name string) ([]byte, error) {
	b, err := s.Open(ctx, m.Digest)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return deb.ExtractFile(m.Name, b, name, maxPatch)
}

// gitTree pins one commit of a repository.
func (l *locker) gitTree(ctx context.Context, f *catalog.FetchFile) ([]ashlar.Source, error) {
	m, err := l.Fetcher.Git(ctx, f.URL, f.Checksum)
	if err != nil {
		return nil, err
	}
	dir := f.Path
	if dir == "" {
		dir = ashlar.SourceDir
	}
	return []ashlar.Source{{
		Material: m, Path: strings.TrimRight(dir, "/") + "/", Tree: true,
		Anchor: ashlar.Anchor{Kind: ashlar.AnchoredByCommit, By: m.URI},
	}}, nil
}

// plainFile pins a file at an address. Without any checksum it is pinned as it
// is found now, and nothing vouches for it.
func (l *locker) plainFile(ctx context.Context, f *catalog.FetchFile) ([]ashlar.Source, error) {
	req := source.Request{URI: f.URL}
	anchor := ashlar.Anchor{Kind: ashlar.Unauthenticated}
	switch {
	case f.Checksum == "":
		l.note("%s has no checksum: it is pinned as it was found", f.URL)
		req.Digest = l.pins.bare(l.Fetcher.Alias(f.URL))
	case strings.Contains(f.Checksum, "://"):
		digest, list, err := l.Fetcher.FetchChecksum(ctx, f.Checksum, source.FileName(f.URL))
		if err != nil {
			return nil, err
		}
		req.Digest = digest
		anchor = ashlar.Anchor{Kind: ashlar.AnchoredByChecksum, By: list.URI}
	default:
		req.Digest = ashlar.Digest(f.Checksum)
		if err := req.Digest.Validate(); err != nil {
			return nil, fault.New(fault.Invalid, "checksum: %w", err).Fix("write sha256:<64 hexadecimal digits>, or the address of a checksum file")
		}
		anchor = ashlar.Anchor{Kind: ashlar.AnchoredByChecksum}
	}
	m, err := l.Fetcher.Fetch(ctx, req)
	if err != nil {
		return nil, err
	}
	return []ashlar.Source{{Material: m, Path: placeAt(f.Path, m.Name), Anchor: anchor}}, nil
}

// localPath pins the files beside the definition that an entry of paths names.
func (l *locker) localPath(ctx context.Context, p *catalog.PathEntry) ([]ashlar.Source, error) {
	if p.Source == "" || (p.Type != catalog.PlainFile && p.Type != catalog.Directory) {
		return nil, nil
	}
	from := strings.TrimRight(p.Source, "/")
	files := []string{from}
	if p.Type == catalog.Directory {
		var err error
		if files, err = l.Beside.Files(from); err != nil {
			return nil, err
		}
	}
	var list []ashlar.Source
	for _, name := range files {
		m, err := l.local(ctx, name)
		if err != nil {
			return nil, err
		}
		s := ashlar.Source{Material: m, Path: placeAt(p.Path, m.Name), UID: p.UID, GID: p.GID,
			Anchor: ashlar.Anchor{Kind: ashlar.AnchoredLocally}}
		if p.Type == catalog.Directory {
			s.Path = path.Join(p.Path, strings.TrimPrefix(name, from))
		} else {
			s.Mode = string(p.Mode)
		}
		list = append(list, s)
	}
	return list, nil
}

// localScheme begins the addresses of files beside definitions.
const localScheme = "catalog:"

// local pins a file of the catalog.
func (l *locker) local(ctx context.Context, name string) (ashlar.Material, error) {
	f, err := l.Beside.Open(name)
	if err != nil {
		return ashlar.Material{}, err
	}
	defer f.Close()
	file, err := l.keep(ctx, f, l.parsed(name))
	if err != nil {
		return ashlar.Material{}, err
	}
	return ashlar.Material{Name: path.Base(name), URI: localScheme + name, Digest: file.Digest, Size: file.Size}, nil
}

// parsed returns the digest of a file of the catalog that is part of the
// definition, for the very bytes that were parsed must be pinned; "" for others.
func (l *locker) parsed(name string) ashlar.Digest {
	if name == l.def.Definition.Path {
		return l.def.Definition.Digest
	}
	for _, f := range l.def.Definition.Includes {
		if f.Name == name {
			return f.Digest
		}
	}
	return ""
}

// requestOf asks for a pinned file again.
func requestOf(m ashlar.Material) source.Request {
	return source.Request{URI: m.URI, Name: m.Name, Digest: m.Digest, Size: m.Size}
}
