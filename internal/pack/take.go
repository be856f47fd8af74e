package pack

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A file is a node of the tree where a package has it.
type file struct {
	path     string // where it is installed
	node     *node
	rule     *Rule // by which it was taken, nil if by none
	mode     int64
	uid, gid int
}

// pos returns the place in the definition that has put the file there.
func (f *file) pos(spec *Spec) catalog.Pos {
	if f.rule == nil {
		return spec.Pos
	}
	return f.rule.Pos
}

// A fileSet is the files of a package by path.
type fileSet map[string]*file

// sorted returns the files by path.
func (s fileSet) sorted() []*file {
	return slices.SortedFunc(maps.Values(s), func(a, b *file) int { return strings.Compare(a.path, b.path) })
}

// take gives each package of a format its files.
func (t *Tree) take(spec *Spec, f Format) (map[string]fileSet, error) {
	sets := map[string]fileSet{}
	claims := map[*node]claim{}
	for i := range spec.Packages {
		p := &spec.Packages[i]
		if !slices.Contains(p.Formats, f) {
			continue
		}
		set, err := t.byRules(spec, p)
		if err != nil {
			return nil, err
		}
		if err := claimAll(claims, p, set); err != nil {
			return nil, err
		}
		sets[p.Name] = set
	}
	if err := t.split(spec, f, sets, claims); err != nil {
		return nil, err
	}
	for i := range spec.Packages {
		name := spec.Packages[i].Name
		if err := t.addFolders(spec, sets[name]); err != nil {
			return nil, fault.Within(err, "package %s", name)
		}
	}
	return sets, nil
}

// byRules returns the files that the rules of a package name. Of two rules that
// both name a file the one with the longer path counts.
func (t *Tree) byRules(spec *Spec, p *Package) (fileSet, error) {
	rules := slices.Clone(p.Rules)
	slices.SortStableFunc(rules, func(a, b Rule) int { return cmp.Compare(len(b.Path), len(a.Path)) })
	set := fileSet{}
	for i := range rules {
		r := &rules[i]
		source := join(spec.Root, r.Source)
		nodes := t.below(source)
		if len(nodes) == 0 {
			return nil, errorAt(r.Pos, "package %s: there is nothing at %s", p.Name, showPath(r.Source)).Fix("%s", t.near(source))
		}
		for _, n := range nodes {
			to := join(r.Path, strings.TrimPrefix(strings.TrimPrefix(n.path, source), "/"))
			old, twice := set[to]
			switch {
			case n.kind == special:
				return nil, errorAt(r.Pos, "package %s: %s is a device or a pipe", p.Name, clip(n.path)).Fix("leave it out; packages have none")
			case to == "" && n.kind == directory:
				continue
			case to == "":
				return nil, errorAt(r.Pos, "package %s: its root would be a file", p.Name)
			case twice && (old.rule.Path != r.Path || old.node.kind == directory && n.kind == directory):
				continue
			case twice:
				return nil, errorAt(r.Pos, "package %s: two rules give it %s", p.Name, clip(to)).Fix("take one of them away")
			}
			set[to] = r.file(to, n, n.path == source)
		}
	}
	return set, nil
}

// file returns a node where the rule puts it; named is whether it is what the
// rule itself names, rather than something below.
func (r *Rule) file(to string, n *node, named bool) *file {
	f := &file{path: to, node: n, rule: r, mode: n.mode, uid: n.uid, gid: n.gid}
	if r.UID >= 0 {
		f.uid = r.UID
	}
	if r.GID >= 0 {
		f.gid = r.GID
	}
	if r.Mode >= 0 && named && n.kind != symlink {
		f.mode = r.Mode
	}
	return f
}

// near says what there is instead of a path that is not there.
func (t *Tree) near(missing string) string {
	dir := path.Dir(missing)
	for dir != "." && t.nodes[dir] == nil {
		dir = path.Dir(dir)
	}
	if dir == "." {
		dir = ""
	}
	const most = 8
	var names []string
	for _, n := range t.below(dir) {
		rest := strings.TrimPrefix(strings.TrimPrefix(n.path, dir), "/")
		name, _, _ := strings.Cut(rest, "/")
		if rest != "" && !slices.Contains(names, clip(name)) {
			if len(names) == most {
				names = append(names, "…")
				break
			}
			names = append(names, clip(name))
		}
	}
	if len(names) == 0 {
		return "there is nothing in " + showPath(dir)
	}
	return "in " + showPath(dir) + " there is " + strings.Join(names, ", ")
}

// A claim is the package that has a node, and the rule by which.
type claim struct {
	by   *Package
	rule *Rule
}

// claimAll refuses a file that two packages have unless both name it, or the
// folder it is in, in so many words: then they are meant as alternatives.
func claimAll(claims map[*node]claim, p *Package, set fileSet) error {
	for _, f := range set.sorted() {
		old, ok := claims[f.node]
		switch {
		case f.node.kind == directory:
		case !ok:
			claims[f.node] = claim{p, f.rule}
		case old.rule.Source != f.rule.Source:
			return errorAt(f.rule.Pos, "packages %s and %s both take %s, one by %s and the other by %s", old.by.Name, p.Name, clip(f.node.path),
				showPath(old.rule.Source), showPath(f.rule.Source)).Fix("let each package name the files that are its own")
		}
	}
	return nil
}

// infoDirectory is the list of all manuals that are installed, which every build
// writes with its own alone: two packages with it could not be installed together.
const infoDirectory = "usr/share/info/dir"

// split lets packages take out of the main one what their names say.
func (t *Tree) split(spec *Spec, f Format, sets map[string]fileSet, claims map[*node]claim) error {
	var takers []*Package
	for i := range spec.Packages {
		if p := &spec.Packages[i]; p.split != nil && slices.Contains(p.Formats, f) {
			takers = append(takers, p)
		}
	}
	if len(takers) == 0 {
		return nil
	}
	main := sets[spec.Name]
	if spec.Packages[0].Rules == nil {
		t.rest(spec, main, claims)
	}
	if slices.ContainsFunc(takers, func(p *Package) bool { return p.split.suffix == "-doc" }) {
		delete(main, infoDirectory)
	}
	archives := !slices.ContainsFunc(takers, func(p *Package) bool { return p.split.suffix == "-static" })
	for _, p := range takers {
		for name, file := range main {
			if p.split.takes(file, archives || p.split.suffix == "-static") {
				sets[p.Name][name] = file
				delete(main, name)
			}
		}
		if len(sets[p.Name]) == 0 {
			return errorAt(p.Pos, "package %s would be empty: there is no %s", p.Name, p.split.what).Fix("leave it out, or list its files")
		}
	}
	t.prune(main)
	return nil
}

// rest gives the main package everything that no rule takes.
func (t *Tree) rest(spec *Spec, main fileSet, claims map[*node]claim) {
	for _, n := range t.below(spec.Root) {
		to := strings.TrimPrefix(strings.TrimPrefix(n.path, spec.Root), "/")
		if _, taken := claims[n]; !taken && to != "" && n.kind != special {
			main[to] = &file{path: to, node: n, mode: n.mode, uid: n.uid, gid: n.gid}
		}
	}
}

// prune takes away folders that others have emptied. Those that were empty stay.
func (t *Tree) prune(main fileSet) {
	full := map[string]bool{} // folders with something in them
	for _, f := range slices.Backward(main.sorted()) {
		if f.node.kind == directory && !full[f.path] && len(t.below(f.node.path)) > 1 {
			delete(main, f.path)
			continue
		}
		full[path.Dir(f.path)] = true
	}
}

// addFolders adds the folders that files are in, as they are in the tree or, if
// they are not there, as root makes them.
func (t *Tree) addFolders(spec *Spec, set fileSet) error {
	for _, f := range set.sorted() {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if old, ok := set[dir]; ok {
				if old.node.kind != directory {
					return errorAt(f.pos(spec), "%s would be in %s, which is no folder", clip(f.path), clip(dir))
				}
				continue
			}
			n := t.nodes[join(spec.Root, dir)]
			if n == nil || n.kind != directory {
				n = &node{path: dir, kind: directory, mode: 0o755}
			}
			set[dir] = &file{path: dir, node: n, mode: n.mode, uid: n.uid, gid: n.gid}
		}
	}
	return nil
}

// join joins two paths of which either may be "", the root.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "/" + b
}

// showPath names a path in a message.
func showPath(p string) string {
	if p == "" {
		return "the root"
	}
	return clip(p)
}
