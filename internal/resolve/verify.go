package resolve

import (
	"context"
	"fmt"
	"maps"
	"path"
	"reflect"
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

// Evidence is what signed indexes say of what a lock pins. *archive.Past is one.
type Evidence interface {
	// Sources returns those of the .dsc files that are of a source package of a
	// suite, highest version first.
	Sources(ctx context.Context, suite, name string, dscs []ashlar.Material) ([]archive.SourceRef, error)
	// AnchorDsc says who vouches for a .dsc; claimed is whether the lock says that an
	// index does.
	AnchorDsc(ctx context.Context, d ashlar.Distro, dsc ashlar.Material, claimed bool) (ashlar.Anchor, error)
	// Lists reports whether an index lists a package of a build root.
	Lists(ctx context.Context, t ashlar.Target, p ashlar.RootPackage) (bool, error)
	// Indexes returns the indexes that the answers rest on.
	Indexes() []ashlar.Index
}

// Fresh reports with a fault.Conflict error that a lock is not one of the given
// definition as it is now: the definition, a file that it includes or that lies beside
// it, or the target has changed. It looks at no source and believes what the lock says
// of them: Verify does not.
func Fresh(ctx context.Context, lock *ashlar.Lock, def *catalog.Expanded) error {
	if err := sameDefinition(lock, def); err != nil {
		return err
	}
	bound, err := def.BindEach(Values(lock, len(def.Builds)))
	if err != nil {
		return err
	}
	l := newLocker(def, World{})
	for i := range bound.Builds {
		now, err := l.paths(ctx, &bound.Builds[i])
		if err != nil {
			return err
		}
		pinned := lock.Inputs.Builds[i].Sources
		was := slices.DeleteFunc(slices.Clone(pinned), func(s ashlar.Source) bool { return !strings.HasPrefix(s.URI, localScheme) })
		for j := range max(len(was), len(now)) {
			if j == len(was) || j == len(now) {
				return stale(def, "set of files beside the definition")
			}
			if was[j].Material != now[j].Material {
				return stale(def, "version of "+strings.TrimPrefix(now[j].URI, localScheme))
			}
		}
	}
	return nil
}

// stale is the error for a lock of another state of the catalog.
func stale(def *catalog.Expanded, what string) error {
	return fault.New(fault.Conflict, "the lock is of another %s", what).At(def.Definition.Path, 0).Fix("make the lock again")
}

// sameDefinition checks that a lock names the definition, and for the same target.
func sameDefinition(lock *ashlar.Lock, def *catalog.Expanded) error {
	in := &lock.Inputs
	switch {
	case in.Definition.Digest != def.Definition.Digest:
		return stale(def, "version of the definition")
	case in.Target != def.Target:
		return stale(def, "target: "+in.Target.String())
	case len(in.Builds) != len(def.Builds):
		return stale(def, "number of builds")
	}
	now := included(def)
	if len(in.Includes) != len(now) {
		return stale(def, "number of included files")
	}
	for i, f := range now {
		if in.Includes[i].URI != localScheme+f.Name || in.Includes[i].Digest != f.Digest {
			return stale(def, "version of "+f.Name)
		}
	}
	return nil
}

// Verify works out again what a lock says, and believes none of it: the lock must pin
// what the definition leads to, in number, order, addresses, places and digests, and
// signed indexes must list every package of the build roots. It returns the lock with
// the anchors and the indexes that were found. A source that nothing vouches for is
// ashlar.Unauthenticated in it, whatever the lock said.
//
// The error is fault.Conflict if the lock does not match the definition, and
// fault.Denied if no index lists a package of a root. All files that the lock names
// must be in the store: see Check. Of the world it uses Fetcher, to ask again what a
// checksum file says and what a git commit holds, Store, Beside and Now.
func Verify(ctx context.Context, lock *ashlar.Lock, def *catalog.Expanded, w World, ev Evidence) (*ashlar.Lock, error) {
	if err := sameDefinition(lock, def); err != nil {
		return nil, err
	}
	v := &verifier{lock: lock, locker: newLocker(def, w)}
	v.pins = &pins{ev: ev, lock: lock}
	v.Fetcher = pinnedFetcher{w.Fetcher, w.Store}
	found := *lock
	if err := v.checkNames(ctx); err != nil {
		return nil, err
	}
	bound, err := def.BindEach(Values(lock, len(def.Builds)))
	if err != nil {
		return nil, err
	}
	found.Inputs.Builds = slices.Clone(lock.Inputs.Builds)
	for i := range bound.Builds {
		b := &found.Inputs.Builds[i]
		if b.Sources, err = v.checkSources(ctx, &bound.Builds[i], b.Sources); err != nil {
			return nil, err
		}
		if err := v.checkSysroot(ctx, &bound.Builds[i], b.Root.Sysroot); err != nil {
			return nil, err
		}
	}
	if err := v.checkRoots(ctx); err != nil {
		return nil, err
	}
	for _, x := range ev.Indexes() {
		v.index(x)
	}
	found.Inputs.Indexes = v.indexes
	found.Inputs.Notes = append(slices.Clone(lock.Inputs.Notes), v.notes...)
	slices.Sort(found.Inputs.Notes)
	found.Inputs.Notes = slices.Compact(found.Inputs.Notes)
	return &found, nil
}

// A verifier makes again what a lock pins.
type verifier struct {
	*locker
	lock *ashlar.Lock
}

// checkNames checks what a lock calls things: its definition, builds and variables.
// No program here makes fetched trees, so a lock that has some is not of its making.
func (v *verifier) checkNames(ctx context.Context) error {
	in := &v.lock.Inputs
	def := v.def.Definition
	if uri := localScheme + def.Path; in.Definition.URI != uri || in.Definition.Name != path.Base(def.Path) {
		return conflict("the lock is of %s, not of %s", in.Definition.URI, uri)
	}
	if len(v.lock.Fetched) > 0 {
		return conflict("the lock names the fetched tree %s, and the definition fetches none", v.lock.Fetched[0].Name)
	}
	for i := range v.def.Builds {
		if was, is := in.Builds[i].Name, v.def.Builds[i].Name; was != is {
			return conflict("the lock calls build %d %q, the definition %q", i+1, was, is)
		}
	}
	vars, _, err := v.vars(ctx)
	if err != nil {
		return err
	}
	names := maps.Clone(vars)
	maps.Copy(names, in.Vars)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		was, had := in.Vars[name]
		is, has := vars[name]
		if was != is || had != has {
			return conflict("the lock has another value for the variable %s than the definition: %q, not %q", name, was, is)
		}
	}
	return nil
}

// conflict is the error for a lock that does not match its definition.
func conflict(format string, args ...any) error {
	return fault.New(fault.Conflict, format, args...).Fix("make the lock again")
}

// checkSources makes the sources of a build again, and checks that the lock pins the
// same. It returns them with their anchors as they were found.
func (v *verifier) checkSources(ctx context.Context, b *catalog.Build, was []ashlar.Source) ([]ashlar.Source, error) {
	v.pins.of = was
	is, err := v.sources(ctx, b)
	if err != nil {
		return nil, err
	}
	for i := range max(len(was), len(is)) {
		switch {
		case i == len(is):
			return nil, conflict("build %q: the lock places %s, the definition does not", b.Name, described(&was[i]))
		case i == len(was):
			return nil, conflict("build %q: the definition places %s, the lock does not", b.Name, described(&is[i]))
		case described(&was[i]) != described(&is[i]):
			return nil, conflict("build %q: file %d is %s by the lock, and %s by the definition", b.Name, i+1, described(&was[i]), described(&is[i]))
		}
	}
	if _, err := v.anchorDscs(ctx, is); err != nil {
		return nil, at(err, b.Pos)
	}
	for i := range is {
		claim, found := was[i], is[i]
		claim.Anchor, found.Anchor = ashlar.Anchor{}, ashlar.Anchor{}
		if !reflect.DeepEqual(claim, found) {
			return nil, conflict("build %q: the lock says otherwise than the definition what %s is, or what it was taken from", b.Name, described(&found))
		}
		if claim, found := was[i].Anchor.Kind, is[i].Anchor.Kind; claim != found {
			v.note("%s: the lock says %q of who vouches for it; what was found is %q", is[i].Name, claim, found)
		}
	}
	return is, nil
}

// described says which bytes a source is, where it is from and how it is placed.
func described(s *ashlar.Source) string {
	kind := "file"
	if s.Tree {
		kind = "tree"
	}
	return fmt.Sprintf("the %s %s with %s and %d bytes at %s, mode %q, owner %d:%d", kind, s.URI, s.Digest, s.Size, s.Path, s.Mode, s.UID, s.GID)
}

// checkRoots checks that signed indexes list every package of the build roots.
func (v *verifier) checkRoots(ctx context.Context) error {
	target, err := RootTarget(v.def)
	if err != nil {
		return err
	}
	checked := map[ashlar.RootPackage]bool{}
	var unlisted []string
	for _, b := range v.lock.Inputs.Builds {
		for _, p := range b.Root.Packages() {
			if checked[p] {
				continue
			}
			checked[p] = true
			ok, err := v.pins.ev.Lists(ctx, target, p)
			if err != nil {
				return err
			}
			if !ok {
				unlisted = append(unlisted, fmt.Sprintf("%s %s (%s, %s)", p.Name, p.Version, p.URI, p.Digest.Short()))
			}
		}
	}
	if len(unlisted) == 0 {
		return nil
	}
	return fault.New(fault.Denied, "no signed index lists %d of the lock's build-root packages: %s", len(unlisted), strings.Join(unlisted[:min(len(unlisted), 5)], ", ")).
		Fix("make the lock again; if it is an older one, keep the indexes that it names in the store")
}

// pins are what a lock pins, for making it again.
type pins struct {
	ev   Evidence
	lock *ashlar.Lock
	of   []ashlar.Source // those of the build that is being made again
}

// bare returns the digest that the lock pins for an address that nothing else pins;
// "" if it pins none, or if a lock is being made.
func (p *pins) bare(uri string) ashlar.Digest {
	if p == nil {
		return ""
	}
	for i := range p.of {
		if s := &p.of[i]; s.URI == uri && !s.Tree {
			return s.Digest
		}
	}
	return ""
}

// sources returns the source packages that the lock pins for a debsrc address.
func (p *pins) sources(ctx context.Context, d DebSrc) ([]archive.SourceRef, error) {
	var dscs []ashlar.Material
	add := func(m ashlar.Material) {
		if strings.HasSuffix(m.Name, ".dsc") && !slices.Contains(dscs, m) {
			dscs = append(dscs, m)
		}
	}
	for _, b := range p.lock.Inputs.Builds {
		for _, s := range b.Sources {
			if d.File == "" {
				add(s.Material)
			} else if of, err := ParseDebSrc(s.URI); err == nil && of.Suite == d.Suite && of.Name == d.Name && of.File == d.File {
				for _, m := range s.From {
					add(m)
				}
			}
		}
	}
	refs, err := p.ev.Sources(ctx, d.Suite, d.Name, dscs)
	if err != nil {
		return nil, err
	}
	refs = slices.DeleteFunc(refs, func(r archive.SourceRef) bool {
		return d.Version != "" && deb.Compare(r.Package.Version, d.Version) != 0
	})
	if len(refs) == 0 {
		return nil, conflict("the lock pins no %s", d)
	}
	return refs, nil
}

// anchor says who vouches for a .dsc of the lock.
func (p *pins) anchor(ctx context.Context, d ashlar.Distro, dsc ashlar.Material) (ashlar.Anchor, error) {
	claimed := slices.ContainsFunc(p.of, func(s ashlar.Source) bool {
		return s.Digest == dsc.Digest && s.Anchor.Kind == ashlar.AnchoredByIndex
	})
	return p.ev.AnchorDsc(ctx, d, dsc, claimed)
}

// A pinnedFetcher fetches nothing but what is in the store: other bytes than the
// lock's are of no use.
type pinnedFetcher struct {
	Fetcher
	store blob.Store
}

func (p pinnedFetcher) Fetch(ctx context.Context, req source.Request) (ashlar.Material, error) {
	if req.Digest == "" {
		return ashlar.Material{}, conflict("the lock does not name %s", req.URI)
	}
	_, err := p.store.Stat(ctx, req.Digest)
	if fault.Is(err, fault.NotFound) {
		return ashlar.Material{}, conflict("the lock does not pin %s with %s", req.URI, req.Digest)
	}
	if err != nil {
		return ashlar.Material{}, err
	}
	return p.Fetcher.Fetch(ctx, req)
}
