package world

import (
	"github.com/ashlar-project/ashlar/internal/apk"
)

// A name is what can be asked for: the name of a package, or one that packages
// provide. Below its facts is what the solver has found out so far.
type name struct {
	text       string
	providers  []provider // in the order of the indexes
	wantedBy   []*name    // whose packages depend on it
	installsIf []*name    // whose packages have it in their install_if
	added      bool       // see Request.Added

	seen     bool
	order    int32 // in which names are settled, the highest first
	settled  bool
	chosen   provider // once it is settled; none if it is left out
	required int      // how often it is wanted

	recheckDepends, recheckInstallIf bool // why it is dirty
	dirty                            bool
	queued                           queue

	triggered     bool // the install_if of a provider holds
	untriggerable bool // that of none can hold any more
	negated       bool // an install_if waits for it to be left out
	choosable     bool // a provider may be taken without having been asked for by its name
	open          bool // there is a choice to be made
	wantersDone   bool // all that could want it is settled
	dependMerge   int  // how many providers of another name depend on it
	provideMerge  int  // how many of them provide it
	providedBare  bool // one of those without a version

	listed bool // in the order of installation
}

// A provider is a package as the provider of a certain name.
type provider struct {
	pkg     *candidate
	version string // "" if the name is provided without one
}

// A word is a dependency with the name that it is about.
type word struct {
	name *name
	*apk.Dependency
}

// metBy reports whether a provider does what the word asks for; wanter is the
// package whose word it is, nil for the world's.
func (w word) metBy(wanter *candidate, p provider) bool {
	switch {
	case p.pkg == nil:
		return w.Conflict
	case w.Conflict && p.pkg == wanter:
		return true // a package is not in conflict with itself
	case w.Match == apk.Identified && !w.Conflict:
		id, err := apk.ParseIdentity(w.Version)
		return err == nil && id == p.pkg.identity()
	}
	return w.Allows(p.version)
}

// A candidate is a package that could be installed, with what the solver has
// found out so far.
type candidate struct {
	*Package
	name                         *name
	depends, provides, installIf []word
	repositories                 uint32 // that have it, a bit each

	seen         bool
	unusable     string // why it cannot be chosen whatever is asked for, "" if it can
	selectable   bool   // nothing speaks against it so far
	tagOK        bool   // it is in a repository that it may come from
	tagPreferred bool   // and in one that it is to come from
	allowedTags  uint64
	conflicts    int  // words that it does not meet
	merged, used bool // it was among the choices when these were last looked through
	triggered    bool // its install_if holds
	untriggered  bool // it has none, or it cannot hold any more
	broken       bool
	listed       bool // in the order of installation
}

// A universe is all names and packages of a request.
type universe struct {
	names      map[string]*name
	ordered    []*name // in the order in which they came up
	candidates map[apk.Identity]*candidate
	world      []word
	tags       []string // the tags in use; the first is that of repositories without one
	tagged     []uint32 // the repositories of each tag, a bit each
}

// newUniverse returns the universe of a request, which has been checked.
func newUniverse(r *Request) *universe {
	u := &universe{names: map[string]*name{}, candidates: map[apk.Identity]*candidate{}, tags: []string{""}, tagged: []uint32{0}}
	u.world = u.words(r.World)
	for _, w := range u.world {
		u.tag(w.Tag)
	}
	for i := range r.Repositories {
		tag := u.tag(r.Repositories[i].Tag)
		u.tagged[tag] |= 1 << i
		for j := range r.Repositories[i].Packages {
			u.add(&r.Repositories[i].Packages[j], i, r.Arch)
		}
	}
	for _, text := range r.Added {
		u.name(text).added = true
	}
	u.link()
	return u
}

// name returns the name, which need not have come up before.
func (u *universe) name(text string) *name {
	n := u.names[text]
	if n == nil {
		n = &name{text: text}
		u.names[text] = n
		u.ordered = append(u.ordered, n)
	}
	return n
}

// tag returns the number of a tag.
func (u *universe) tag(text string) int {
	for i, t := range u.tags {
		if t == text {
			return i
		}
	}
	u.tags, u.tagged = append(u.tags, text), append(u.tagged, 0)
	return len(u.tags) - 1
}

func (u *universe) words(deps []apk.Dependency) []word {
	if len(deps) == 0 {
		return nil
	}
	words := make([]word, len(deps))
	for i := range deps {
		words[i] = word{u.name(deps[i].Name), &deps[i]}
	}
	return words
}

// add adds a package of a repository. One that several repositories have is one
// package.
func (u *universe) add(p *Package, repository int, arch string) {
	id := p.identity()
	if c := u.candidates[id]; c != nil && id != (apk.Identity{}) {
		c.repositories |= 1 << repository
		return
	}
	c := &candidate{Package: p, name: u.name(p.Name), repositories: 1 << repository, unusable: p.Unusable}
	c.depends, c.provides, c.installIf = u.words(p.Depends), u.words(p.Provides), u.words(p.InstallIf)
	switch {
	case c.unusable != "":
	case p.Arch != "" && p.Arch != "noarch" && p.Arch != arch:
		c.unusable = "it is for " + p.Arch
	case p.Layer != 0:
		c.unusable = "it is for another layer than the root"
	}
	if invalidVersion(p.InstallIf) != "" {
		c.installIf = nil // like apk, which holds no rule that it understands half of
	}
	u.candidates[id] = c
	c.name.providers = append(c.name.providers, provider{c, p.Version})
	for _, w := range c.provides {
		w.name.providers = append(w.name.providers, provider{c, w.Version})
	}
}

// invalidVersion returns the first word with a version that is none, or "".
func invalidVersion(deps []apk.Dependency) string {
	for _, d := range deps {
		if d.Match != 0 && d.Match != apk.Identified && apk.ValidateVersion(d.Version) != nil {
			return d.String()
		}
	}
	return ""
}

// link fills in who wants a name, in apk's order.
func (u *universe) link() {
	names := append([]*name(nil), u.ordered...)
	inTableOrder(names, func(n *name) string { return n.text })
	for _, n := range names {
		for _, p := range n.providers {
			for _, w := range p.pkg.depends {
				w.name.wantedBy = appendOnce(w.name.wantedBy, n)
			}
			for _, w := range p.pkg.installIf {
				w.name.installsIf = appendOnce(w.name.installsIf, n)
			}
		}
	}
}

// appendOnce appends a name unless it is the last one: all of one name are added
// together.
func appendOnce(names []*name, n *name) []*name {
	if len(names) > 0 && names[len(names)-1] == n {
		return names
	}
	return append(names, n)
}

// repositoriesOf returns the repositories of a set of tags.
func (u *universe) repositoriesOf(tags uint64) (repositories uint32) {
	for i := range u.tagged {
		if tags&(1<<i) != 0 {
			repositories |= u.tagged[i]
		}
	}
	return repositories
}
