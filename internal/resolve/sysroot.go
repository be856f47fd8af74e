package resolve

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/world"
)

// An OwnPackage is an apk package that this factory built.
type OwnPackage struct {
	world.Package
	Digest ashlar.Digest // of the file
}

// isTagged reports whether an entry of contents.packages is a package of an apk
// repository, "zlib-dev@musl".
func isTagged(entry string) bool { return strings.Contains(entry, "@") && !IsDebSrc(entry) }

// sysroot solves the packages of our own that a build wants beside Debian's; nil
// if there are none.
func (l *locker) sysroot(ctx context.Context, b *catalog.Build) (*ashlar.Sysroot, error) {
	repos, err := parseRepositories(b)
	if err != nil {
		return nil, err
	}
	req := world.Request{Arch: l.def.Target.Arch.Alpine()}
	for _, entry := range b.Packages {
		if !isTagged(entry) {
			continue
		}
		word, err := apk.ParseDependency(entry)
		if err != nil {
			return nil, at(err, b.Pos)
		}
		req.World = append(req.World, word)
	}
	if len(req.World) == 0 {
		return nil, nil
	}
	digests := map[string]ashlar.Digest{} // by identity
	for _, tag := range slices.Sorted(maps.Keys(repos.own)) {
		repo := world.Repository{Tag: tag}
		own, err := l.own(ctx, repos.own[tag])
		if err != nil {
			return nil, at(err, b.Pos)
		}
		for _, p := range own {
			repo.Packages = append(repo.Packages, p.Package)
			digests[string(p.Hash)] = p.Digest
		}
		req.Repositories = append(req.Repositories, repo)
	}
	solution, err := world.Solve(req)
	if err != nil {
		return nil, at(fault.New(fault.KindOf(err), "%w", err).Fix("build the packages that it wants first, or all: ashlar build catalog/package/apk"), b.Pos)
	}
	s := &ashlar.Sysroot{Path: ashlar.SysrootDir}
	for _, c := range solution.Install {
		s.Packages = append(s.Packages, ashlar.RootPackage{
			Name: c.Name, Version: c.Version, Arch: l.def.Target.Arch,
			URI: repos.own[c.Tag] + "/" + c.File, Digest: digests[string(c.Hash)], Size: c.Size,
		})
	}
	return s, nil
}

// OwnDistro returns the distribution that a package of our own at an address is for,
// "" if it is the address of something else.
func OwnDistro(uri string) ashlar.Distro {
	rest, is := strings.CutPrefix(uri, ownScheme)
	distro, _, _ := strings.Cut(rest, "/")
	if !is {
		return ""
	}
	return ashlar.Distro(distro)
}

// own returns the packages of a repository of our own.
func (l *locker) own(ctx context.Context, uri string) ([]OwnPackage, error) {
	distro := OwnDistro(uri)
	if l.Own == nil || distro == "" || uri != ownScheme+string(distro)+"/main" {
		return nil, fault.New(fault.NotFound, "there is no repository %s", uri).Fix("write %sDISTRO/main", ownScheme)
	}
	return l.Own(ctx, ashlar.Target{Distro: distro, Arch: l.def.Target.Arch})
}

// checkSysroot chooses the packages of a sysroot again, out of those that the lock
// pins alone, and checks that they are the same and that each was attested.
func (v *verifier) checkSysroot(ctx context.Context, b *catalog.Build, was *ashlar.Sysroot) error {
	v.Own = func(ctx context.Context, t ashlar.Target) ([]OwnPackage, error) { return v.pinnedOwn(ctx, t, was) }
	is, err := v.sysroot(ctx, b)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(was, is) {
		return conflict("build %q: its repositories and packages lead to another sysroot than the lock has", b.Name)
	}
	if was == nil {
		return nil
	}
	for _, p := range was.Packages {
		if v.Vouch == nil {
			return fault.New(fault.Denied, "nobody vouches for %s", p.URI)
		}
		if err := v.Vouch(ctx, p); err != nil {
			return fault.Within(err, "%s", p.URI)
		}
	}
	return nil
}

// pinnedOwn returns the packages of a repository of our own that a lock pins.
func (v *verifier) pinnedOwn(ctx context.Context, t ashlar.Target, s *ashlar.Sysroot) ([]OwnPackage, error) {
	if s == nil {
		return nil, nil
	}
	var list []OwnPackage
	for _, p := range s.Packages {
		file, is := strings.CutPrefix(p.URI, ownScheme+string(t.Distro)+"/main/")
		if !is {
			continue
		}
		own, err := ReadOwn(ctx, v.Store, ashlar.File{Name: file, Digest: p.Digest, Size: p.Size})
		if err != nil {
			return nil, err
		}
		list = append(list, *own)
	}
	return list, nil
}

// ReadOwn describes a package of the second generation as an index would. Errors
// are those of the store, fault.Invalid for what is no package, and fault.Denied for
// one under another name.
func ReadOwn(ctx context.Context, s blob.Store, f ashlar.File) (*OwnPackage, error) {
	content, err := s.Open(ctx, f.Digest)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	p, err := apk.ReadV2(content)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%w", err).At(f.Name, 0)
	}
	if want := p.Info.Name + "-" + p.Info.Version + ".apk"; f.Name != want {
		return nil, fault.New(fault.Denied, "the file is named %s and holds %s", f.Name, want)
	}
	return &OwnPackage{
		Package: world.Package{Info: &p.Info, Hash: p.Identity[:], Size: f.Size, File: f.Name},
		Digest:  f.Digest,
	}, nil
}
