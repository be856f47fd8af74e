package repo

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// An update is a new state of a suite in the making: the indexes of the state
// before, with source sets merged in.
type update struct {
	before *state
	arches []ashlar.Arch
	sets   map[string][]*set // by source name

	sources  *compress.Text
	packages map[ashlar.Arch]*compress.Text
	udebs    map[ashlar.Arch]*compress.Text

	gone      map[ashlar.Arch]map[string]bool // packages whose files leave Contents
	described map[string]bool                 // long descriptions that may have lost their last user
}

// newUpdate checks that the sets may follow the state. The suite has the
// architectures that it had, and those of the sets.
func newUpdate(before *state, sets []*set) (*update, error) {
	u := &update{before: before, sets: map[string][]*set{}}
	if before.release != nil {
		for _, a := range before.release.Architectures {
			u.arches = append(u.arches, ashlar.Arch(a))
		}
	}
	for _, s := range sets {
		if shelf.CheckWord("an architecture", string(s.Arch)) != nil || s.Arch == all {
			return nil, fault.New(fault.Invalid, "source set %s %s is for %q, which is not an architecture", s.name, s.version, string(s.Arch))
		}
		u.arches = append(u.arches, s.Arch)
		u.sets[s.name] = append(u.sets[s.name], s)
	}
	slices.Sort(u.arches)
	u.arches = slices.DeleteFunc(slices.Compact(u.arches), func(a ashlar.Arch) bool { return a == all })
	if len(u.arches) == 0 {
		u.arches = []ashlar.Arch{"amd64"} // a suite without packages has an index that says so
	}
	u.init()
	if err := before.load(); err != nil {
		return nil, err
	}
	plain, err := before.read(sourcesIndex)
	if err != nil {
		return nil, err
	}
	return u, u.mergeSources(plain)
}

// init makes the maps.
func (u *update) init() {
	u.packages, u.udebs = map[ashlar.Arch]*compress.Text{}, map[ashlar.Arch]*compress.Text{}
	u.gone, u.described = map[ashlar.Arch]map[string]bool{all: {}}, map[string]bool{}
	for _, a := range u.arches {
		u.gone[a] = map[string]bool{}
	}
}

// mergeSources puts the sources of the sets in and refuses what would go back.
func (u *update) mergeSources(plain []byte) error {
	live := liveSources(plain)
	var added []entry
	for name, sets := range u.sets {
		have := live[name]
		for _, s := range sets {
			if have != "" && deb.Compare(s.version, have) < 0 {
				return fault.New(fault.Conflict, "%s %s is older than %s, which is live", name, s.version, have).
					Fix("publish a version above it: clients never go back")
			}
			if err := s.leansOn(sets, have); err != nil {
				return err
			}
		}
		if i := slices.IndexFunc(sets, func(s *set) bool { return s.source.body != nil }); i >= 0 {
			added = append(added, sets[i].source)
		}
	}
	replaced := map[string]bool{}
	for _, e := range added {
		replaced[string(e.name)] = true
	}
	u.sources = merge(plain, func(e entry) bool { return replaced[string(e.name)] }, added)
	return nil
}

// leansOn refuses a set that lacks its source, or its packages of architecture
// all, if neither another set nor the live version of the source has them.
func (s *set) leansOn(others []*set, live string) error {
	if live == s.version {
		return nil
	}
	lacks := ""
	has := func(f func(*set) bool) bool {
		return slices.ContainsFunc(others, func(o *set) bool { return o.version == s.version && f(o) })
	}
	if !has(func(o *set) bool { return o.source.body != nil }) {
		lacks = "its .dsc"
	}
	if s.needsAll && !has(func(o *set) bool { return o.source.body != nil && !o.needsAll }) {
		lacks = "its packages of architecture all"
	}
	if lacks == "" {
		return nil
	}
	return fault.New(fault.Policy, "source set %s %s for %s is not whole: missing %s, and no other set of it is live",
		s.name, s.version, s.Arch, lacks).Fix("publish it together with the set that has them")
}

// build merges the sets into every index and returns those that changed.
func (u *update) build() ([]rendered, error) {
	for _, a := range u.arches {
		if err := u.mergePackages(a); err != nil {
			return nil, err
		}
	}
	texts, err := u.dependents()
	if err != nil {
		return nil, err
	}
	texts[sourcesIndex] = u.sources
	for _, a := range u.arches {
		texts[packagesIndex(a)] = u.packages[a]
		if _, had := u.before.file(udebIndex(a)); had || len(u.udebs[a].Plain) > 0 {
			texts[udebIndex(a)] = u.udebs[a]
		}
	}
	return u.before.renderAll(texts)
}

// mergePackages makes the Packages indexes of an architecture. A package of
// architecture "all" is in those of every architecture.
func (u *update) mergePackages(arch ashlar.Arch) error {
	for _, udeb := range []bool{false, true} {
		name, to := packagesIndex(arch), u.packages
		if udeb {
			name, to = udebIndex(arch), u.udebs
		}
		plain, err := u.oldBinaries(name, arch)
		if err != nil {
			return err
		}
		if to[arch], err = u.mergeBinaries(plain, arch, udeb); err != nil {
			return err
		}
	}
	return nil
}

// oldBinaries returns an index of Packages of the state before. For an
// architecture that is new to the suite it is what other architectures have of
// packages for all.
func (u *update) oldBinaries(name string, arch ashlar.Arch) ([]byte, error) {
	if _, had := u.before.file(name); had || u.before.release == nil {
		return u.before.read(name)
	}
	for _, other := range u.before.release.Architectures {
		from := strings.Replace(name, "binary-"+string(arch), "binary-"+other, 1)
		plain, err := u.before.read(from)
		if err != nil || plain != nil {
			native := func(e entry) bool { return string(e.field("Architecture")) != string(all) }
			return merge(plain, native, nil).Plain, err
		}
	}
	return nil, nil
}

func (u *update) mergeBinaries(plain []byte, arch ashlar.Arch, udeb bool) (*compress.Text, error) {
	var added []entry
	owner := map[string]string{}
	for name, sets := range u.sets {
		for _, s := range sets {
			for _, b := range s.binaries {
				if b.udeb != udeb || b.pkg.Arch != arch && b.pkg.Arch != all {
					continue
				}
				if other, twice := owner[b.pkg.Name]; twice && other != name {
					return nil, bothMake(b.pkg.Name, other, name)
				}
				if _, twice := owner[b.pkg.Name]; !twice {
					added = append(added, b.stanza)
				}
				owner[b.pkg.Name] = name
			}
		}
	}
	var clash error
	t := merge(plain, func(e entry) bool {
		source := string(e.source())
		if u.replaces(e, source, arch) {
			u.forget(e, arch, udeb)
			return true
		}
		if other, is := owner[string(e.name)]; is && other != source {
			clash = bothMake(string(e.name), source, other)
		}
		return false
	}, added)
	return t, clash
}

func bothMake(pkg, live, other string) error {
	return fault.New(fault.Conflict, "package %s is made by source %s and by source %s", pkg, live, other).
		Fix("leave it out of one of them")
}

// replaces reports whether a live package of an architecture's index gives way
// to the sets of its source: to one for the same architecture, or, if it is for
// all, to one that brings packages for all.
func (u *update) replaces(e entry, source string, arch ashlar.Arch) bool {
	forAll := string(e.field("Architecture")) == string(all)
	for _, s := range u.sets[source] {
		if !forAll && s.Arch == arch {
			return true
		}
		bringsAll := slices.ContainsFunc(s.binaries, func(b *binaryPackage) bool { return b.pkg.Arch == all })
		if forAll && (bringsAll || e.sourceVersion() != s.version) {
			return true
		}
	}
	return false
}

// forget notes that a package left the index of an architecture.
func (u *update) forget(e entry, arch ashlar.Arch, udeb bool) {
	if udeb {
		return
	}
	if string(e.field("Architecture")) == string(all) {
		arch = all
	}
	u.gone[arch][string(e.name)] = true
	u.described[translationKey(e)] = true
}

// dependents makes the indexes that follow from the packages: Translation-en and
// Contents.
func (u *update) dependents() (map[string]*compress.Text, error) {
	texts := map[string]*compress.Text{}
	places := map[ashlar.Arch][]place{}
	var described []entry
	for _, sets := range u.sets {
		for _, s := range sets {
			for _, b := range s.binaries {
				places[b.pkg.Arch] = append(places[b.pkg.Arch], b.places...)
				if b.translation.body != nil {
					described = append(described, b.translation)
				}
			}
		}
	}
	for _, a := range append([]ashlar.Arch{all}, u.arches...) {
		plain, err := u.before.read(contentsIndex(a))
		if err != nil {
			return nil, err
		}
		texts[contentsIndex(a)] = mergeContents(plain, u.gone[a], places[a])
	}
	plain, err := u.before.read(translationIndex)
	if err != nil {
		return nil, err
	}
	u.keepUsed()
	texts[translationIndex] = merge(plain, func(e entry) bool { return u.described[translationKey(e)] }, described)
	return texts, nil
}

// keepUsed takes the long descriptions that a package still has out of those
// that may go.
func (u *update) keepUsed() {
	if len(u.described) == 0 {
		return
	}
	for _, t := range u.packages {
		for e := range entries(t.Plain) {
			delete(u.described, translationKey(e))
		}
	}
}

// release lists the indexes after the update: those that changed, with the rest
// as it was.
func (u *update) release(changed []rendered) []ashlar.File {
	files := map[string]ashlar.File{}
	if u.before.release != nil {
		for _, f := range u.before.release.Files {
			files[f.Name] = f
		}
	}
	for _, c := range changed {
		files[c.Name] = c.File
	}
	list := make([]ashlar.File, 0, len(files))
	for _, f := range files {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b ashlar.File) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// smallReleases returns the Release files beside the Packages and Sources
// indexes, which say what those are.
func smallReleases(origin, label, suite string, arches []ashlar.Arch) []rendered {
	file := func(dir, arch string) rendered {
		return newRendered(path.Join(component, dir, "Release"), fmt.Appendf(nil,
			"Archive: %s\nOrigin: %s\nLabel: %s\nAcquire-By-Hash: yes\nComponent: %s\nArchitecture: %s\n",
			suite, origin, label, component, arch))
	}
	list := []rendered{file("source", "source")}
	for _, a := range arches {
		list = append(list, file("binary-"+string(a), string(a)))
	}
	return list
}
