package archive

import (
	"context"
	"encoding/json"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Past answers what signed indexes of another day list: those that a lock names
// by digest and whose bytes are kept, and after them today's. A kept index is
// believed if its signature holds now; that it is no longer valid as today's is no
// matter, since it is asked what the archive once had, not what it has. Its methods
// may not be called concurrently.
type Past struct {
	archive *Archive
	now     time.Time
	today   bool            // ask today's indexes too
	kept    []*release      // verified, in the order of the lock
	used    []ashlar.Index  // today's that listed something that no kept one did
	packs   map[bool]packed // of the target asked for last, by whether of today
	unread  error           // why a kept index could not be read
}

// packed is a universe, and whom it is of.
type packed struct {
	target   ashlar.Target
	universe *Universe
}

// Past returns the past that a lock's indexes stand for. One that is not kept, that
// is of no configured suite, or whose signature does not hold now is left out. With
// today, what the others do not list is looked up in today's indexes.
func (a *Archive) Past(ctx context.Context, indexes []ashlar.Index, now time.Time, today bool) (*Past, error) {
	p := &Past{archive: a, now: now, today: today, packs: map[bool]packed{}}
	for _, x := range indexes {
		s, ok := a.suiteOf(x.URI)
		if !ok || p.has(x) {
			continue
		}
		r, err := a.authentic(ctx, s, x.Digest, now)
		switch {
		case fault.Is(err, fault.NotFound), fault.Is(err, fault.Invalid), fault.Is(err, fault.Denied):
			continue
		case err != nil:
			return nil, err
		case r.content.Date.After(now.Add(clockSkew)):
			continue
		}
		p.kept = append(p.kept, r)
	}
	return p, nil
}

// has reports whether an index is among the kept ones already.
func (p *Past) has(x ashlar.Index) bool {
	return slices.ContainsFunc(p.kept, func(r *release) bool { return r.index.URI == x.URI && r.index.Digest == x.Digest })
}

// suiteOf returns the suite whose InRelease has an address.
func (a *Archive) suiteOf(uri string) (Suite, bool) {
	_, name, _ := strings.Cut(uri, "/dists/")
	suites, err := a.named(strings.TrimSuffix(name, "/InRelease"))
	if err != nil {
		return Suite{}, false
	}
	i := slices.IndexFunc(suites, func(s Suite) bool { return s.inRelease() == uri })
	if i < 0 {
		return Suite{}, false
	}
	return suites[i], true
}

// Indexes returns the signed indexes that the answers rest on: all the kept ones,
// and those of today's that listed what no kept one does.
func (p *Past) Indexes() []ashlar.Index {
	var all []ashlar.Index
	for _, r := range p.kept {
		all = append(all, r.index)
	}
	return append(all, p.used...)
}

// use notes that an answer rests on an index.
func (p *Past) use(x ashlar.Index) {
	same := func(o ashlar.Index) bool { return o.URI == x.URI && o.Digest == x.Digest }
	if !slices.ContainsFunc(p.Indexes(), same) {
		p.used = append(p.used, x)
	}
}

// keptOf returns the kept releases of the suites, in the order of the suites.
func (p *Past) keptOf(suites []Suite) []*release {
	var all []*release
	for _, s := range suites {
		for _, r := range p.kept {
			if r.index.URI == s.inRelease() {
				all = append(all, r)
			}
		}
	}
	return all
}

// passOver reports whether a kept index that gave an error can be left out: its
// bytes are not kept, and the archive does not have them any more or cannot be
// reached.
func (p *Past) passOver(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	switch fault.KindOf(err) {
	case fault.NotFound, fault.Invalid, fault.Unavailable:
		p.unread = err
		return true
	}
	return false
}

// Sources returns those of the .dsc files in the store that are of the named source
// package of a suite, in the sense of Archive.Sources, highest version first: as the
// kept indexes list them, else as today's do. If none does they are returned for
// what they say themselves, with who else vouches for them.
func (p *Past) Sources(ctx context.Context, suite, name string, dscs []ashlar.Material) ([]SourceRef, error) {
	suites, err := p.archive.named(suite)
	if err != nil {
		return nil, err
	}
	own, err := p.named(ctx, name, dscs)
	if err != nil || len(own) == 0 {
		return nil, err
	}
	all, err := p.listed(ctx, p.keptOf(suites), own)
	if err == nil && len(all) == 0 && p.today {
		all, err = p.listedToday(ctx, suites, own)
	}
	if err == nil && len(all) == 0 {
		all, err = p.unlisted(ctx, suites, own)
	}
	if err != nil {
		return nil, err
	}
	sortSources(all)
	return all, nil
}

// A dscFile is a .dsc in the store and what it says.
type dscFile struct {
	ashlar.Material
	pkg *deb.SourcePackage
}

// named returns those of the files that are the .dsc of the named source package.
func (p *Past) named(ctx context.Context, name string, dscs []ashlar.Material) ([]dscFile, error) {
	var own []dscFile
	for _, m := range dscs {
		pkg, err := ReadDsc(ctx, p.archive.cfg.Fetcher.Store, m)
		switch {
		case fault.Is(err, fault.Invalid):
			continue
		case err != nil:
			return nil, err
		case pkg.Name == name:
			own = append(own, dscFile{m, pkg})
		}
	}
	return own, nil
}

// listed returns the source packages that kept releases list with one of the .dsc
// files.
func (p *Past) listed(ctx context.Context, releases []*release, dscs []dscFile) ([]SourceRef, error) {
	var all []SourceRef
	for _, m := range dscs {
		for _, r := range releases {
			refs, err := p.archive.findDsc(ctx, []*release{r}, m.Digest, p.now)
			if err != nil && !p.passOver(ctx, err) {
				return nil, err
			}
			all = append(all, refs...)
		}
	}
	return all, nil
}

// listedToday returns the source packages that today's releases list with one of
// the .dsc files, and notes the indexes. That none does is only known if every kept
// index could be read.
func (p *Past) listedToday(ctx context.Context, suites []Suite, dscs []dscFile) ([]SourceRef, error) {
	releases, err := p.archive.currentAll(ctx, suites, p.now)
	if err != nil {
		return nil, undecided(err, dscs[0].Name)
	}
	var all []SourceRef
	for _, m := range dscs {
		refs, err := p.archive.findDsc(ctx, releases, m.Digest, p.now)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			p.use(ref.Index)
		}
		all = append(all, refs...)
	}
	if len(all) == 0 && fault.Is(p.unread, fault.Unavailable) {
		return nil, p.unread
	}
	return all, nil
}

// undecided is the error for what no kept index lists when today's cannot be had, for
// whatever reason: it is not known whether they list it.
func undecided(err error, what string) error {
	e := fault.Within(err, "%s is in no kept index, and today's cannot be used", what)
	e.Kind = fault.Unavailable
	return e
}

// unlisted returns the source packages of .dsc files that no index lists, as they
// describe themselves; those whose name or address is not that of a package in the
// suites are left out.
func (p *Past) unlisted(ctx context.Context, suites []Suite, dscs []dscFile) ([]SourceRef, error) {
	var all []SourceRef
	for _, m := range dscs {
		alias, rest, _ := strings.Cut(strings.TrimPrefix(m.URI, "mirror://"), "/")
		dir, err := url.PathUnescape(path.Dir(rest))
		i := slices.IndexFunc(suites, func(s Suite) bool { return s.Alias == alias })
		if err != nil || i < 0 || m.Name != m.pkg.DscName() {
			continue
		}
		size, err := p.archive.cfg.Fetcher.Store.Stat(ctx, m.Digest)
		if err != nil {
			return nil, err
		}
		anchor, err := p.archive.signedDsc(ctx, m.Digest, p.now)
		if err != nil {
			return nil, err
		}
		pkg := *m.pkg
		pkg.Directory = dir
		pkg.Files = append(slices.Clone(pkg.Files), ashlar.File{Name: m.Name, Digest: m.Digest, Size: size})
		all = append(all, SourceRef{Package: &pkg, Suite: suites[i], Unlisted: anchor})
	}
	return all, nil
}

// AnchorDsc says who vouches for a .dsc in the store, as Archive.AnchorDsc does. It
// looks into today's indexes only if the lock claims that an index lists it.
func (p *Past) AnchorDsc(ctx context.Context, d ashlar.Distro, dsc ashlar.Material, claimed bool) (ashlar.Anchor, error) {
	suites, err := p.archive.Suites(d)
	if err != nil {
		return ashlar.Anchor{}, err
	}
	one := []dscFile{{Material: dsc}}
	refs, err := p.listed(ctx, p.keptOf(suites), one)
	if err == nil && len(refs) == 0 && claimed && p.today {
		refs, err = p.listedToday(ctx, suites, one)
	}
	if err != nil {
		return ashlar.Anchor{}, err
	}
	if len(refs) > 0 {
		return refs[0].Anchor(), nil
	}
	return p.archive.signedDsc(ctx, dsc.Digest, p.now)
}

// Lists reports whether a signed index of the target's suites lists the package of a
// build root: that name, version and architecture, at that address, with that digest
// and size. An error means that it could not be found out.
func (p *Past) Lists(ctx context.Context, t ashlar.Target, pkg ashlar.RootPackage) (bool, error) {
	for _, today := range []bool{false, true} {
		if today && !p.today {
			continue
		}
		u, err := p.universe(ctx, t, today)
		if err != nil && today {
			return false, undecided(err, pkg.Name+" "+pkg.Version)
		} else if err != nil {
			return false, err
		}
		index, ok, err := u.lists(pkg)
		if err != nil {
			return false, err
		}
		if ok {
			p.use(index)
			return true, nil
		}
	}
	if fault.Is(p.unread, fault.Unavailable) {
		return false, p.unread
	}
	return false, nil
}

// universe returns the packages of the target in the kept indexes, or in today's.
func (p *Past) universe(ctx context.Context, t ashlar.Target, today bool) (*Universe, error) {
	if known := p.packs[today]; known.universe != nil && known.target == t {
		return known.universe, nil
	}
	var u *Universe
	var err error
	if today {
		u, err = p.archive.Universe(ctx, t, p.now)
	} else {
		u, err = p.keptUniverse(ctx, t)
	}
	if err != nil {
		return nil, err
	}
	p.packs[today] = packed{t, u}
	return u, nil
}

func (p *Past) keptUniverse(ctx context.Context, t ashlar.Target) (*Universe, error) {
	suites, err := p.archive.Suites(t.Distro)
	if err != nil {
		return nil, err
	}
	all, err := p.archive.universe(ctx, t.Arch, nil, p.now)
	if err != nil {
		return nil, err
	}
	for _, r := range p.keptOf(suites) {
		u, err := p.archive.universe(ctx, t.Arch, []*release{r}, p.now)
		if err == nil {
			all.parts = append(all.parts, u.parts...)
		} else if !p.passOver(ctx, err) {
			return nil, err
		}
	}
	return all, nil
}

// lists returns the signed index that lists the package of a build root, and whether
// there is one.
func (u *Universe) lists(p ashlar.RootPackage) (ashlar.Index, bool, error) {
	all, err := u.Versions(p.Name)
	if err != nil {
		return ashlar.Index{}, false, err
	}
	for _, have := range all {
		m, ok := u.Material(have)
		if ok && have.Version == p.Version && have.Arch == p.Arch && m.URI == p.URI && m.Digest == p.Digest && m.Size == p.Size {
			u.mu.Lock()
			defer u.mu.Unlock()
			return u.parts[u.homes[have]].release.index, true, nil
		}
	}
	return ashlar.Index{}, false, nil
}

// Trust returns a digest of whom and what is believed: the suites, and the state of
// the keyring files. What was verified once need not be again while it stays.
func (a *Archive) Trust() ashlar.Digest {
	type file struct {
		Path                 string
		Size, Changed, Inode int64
	}
	var files [2][]file
	for i, paths := range a.files {
		for _, p := range paths {
			f := file{Path: p}
			var st unix.Stat_t
			if unix.Stat(p, &st) == nil {
				f.Size, f.Changed, f.Inode = st.Size, st.Ctim.Nano(), int64(st.Ino)
			}
			files[i] = append(files[i], f)
		}
	}
	b, err := json.Marshal([]any{files, a.cfg.Suites})
	if err != nil {
		panic(err) // unreachable: strings, numbers and lists always encode
	}
	return ashlar.DigestOf(b)
}
