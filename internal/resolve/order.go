package resolve

import (
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
)

// Order returns the calls of dpkg that install pkgs on top of configured below,
// as few as Pre-Depends allow: a package is unpacked once what it pre-depends
// on is configured, together with everything that this one depends on. The last
// call is an unpack; what is then not configured yet, dpkg --configure -a does.
// Where Pre-Depends and Depends form a circle, its packages are unpacked
// together. The order within a call is that of pkgs.
func Order(pkgs, below []*deb.Package, arch ashlar.Arch) []ashlar.Run {
	g := newOrderGraph(pkgs, below, arch)
	wave := g.waves()
	last := 0
	for _, w := range wave {
		last = max(last, w)
	}
	var runs []ashlar.Run
	configured := make([]bool, len(pkgs))
	for w := 0; w <= last; w++ {
		var unpack []int
		wanted := make([]bool, len(pkgs))
		for i := range pkgs {
			switch wave[i] {
			case w:
				unpack = append(unpack, i)
			case w + 1:
				g.markClosure(g.pre[i], wanted)
			}
		}
		var configure []int
		for i := range pkgs {
			if wanted[i] && !configured[i] && wave[i] <= w {
				configured[i] = true
				configure = append(configure, i)
			}
		}
		runs = appendRun(runs, ashlar.RunUnpack, pkgs, unpack)
		runs = appendRun(runs, ashlar.RunConfigure, pkgs, configure)
	}
	return runs
}

// appendRun appends a run of the packages at the given places, if there are any.
func appendRun(runs []ashlar.Run, do string, pkgs []*deb.Package, at []int) []ashlar.Run {
	if len(at) == 0 {
		return runs
	}
	r := ashlar.Run{Do: do}
	for _, i := range at {
		r.Packages = append(r.Packages, pkgs[i].Name)
	}
	return append(runs, r)
}

// orderGraph has the packages of a layer as nodes. pre[i] are the nodes that
// must be configured before i is unpacked, dep[i] those that must be configured
// before i is configured (pre[i] included).
type orderGraph struct {
	pre, dep [][]int
}

func newOrderGraph(pkgs, below []*deb.Package, arch ashlar.Arch) *orderGraph {
	here, there := nameTable(pkgs), nameTable(below)
	resolve := func(deps []deb.Dependency) []int {
		var nodes []int
		for _, d := range deps {
			if len(there.satisfying(d, below, arch)) > 0 {
				continue
			}
			if found := here.satisfying(d, pkgs, arch); len(found) > 0 {
				nodes = append(nodes, found[0])
			}
		}
		return nodes
	}
	g := &orderGraph{}
	for _, p := range pkgs {
		pre := resolve(p.PreDepends)
		g.pre = append(g.pre, pre)
		g.dep = append(g.dep, slices.Concat(pre, resolve(p.Depends)))
	}
	return g
}

// names maps a name to the places of the packages that have or provide it.
type names map[string][]int

func nameTable(pkgs []*deb.Package) names {
	t := names{}
	for i, p := range pkgs {
		t[p.Name] = append(t[p.Name], i)
		for _, r := range p.Provides {
			t[r.Name] = append(t[r.Name], i)
		}
	}
	return t
}

// satisfying returns the places of the packages that satisfy a dependency, in
// the order of its alternatives.
func (t names) satisfying(d deb.Dependency, pkgs []*deb.Package, arch ashlar.Arch) []int {
	var found []int
	for _, r := range d {
		for _, i := range t[r.Name] {
			if Fulfils(pkgs[i], r, arch) {
				found = append(found, i)
			}
		}
	}
	return found
}

// markClosure marks the given nodes and all that must be configured before them.
func (g *orderGraph) markClosure(from []int, marked []bool) {
	stack := slices.Clone(from)
	for len(stack) > 0 {
		i := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !marked[i] {
			marked[i] = true
			stack = append(stack, g.dep[i]...)
		}
	}
}

// waves returns for each node the number of the unpack call that it belongs to:
// one more than the highest wave among what must be configured before it. The
// numbers only grow and are bounded by the number of packages, so circles end:
// a package that would have to be configured before its own unpacking stays
// where it is.
func (g *orderGraph) waves() []int {
	n := len(g.pre)
	closures := make([][]bool, n)
	for i := range n {
		if len(g.pre[i]) > 0 {
			closures[i] = make([]bool, n)
			g.markClosure(g.pre[i], closures[i])
		}
	}
	wave := make([]int, n)
	for changed, round := true, 0; changed && round <= n; round++ {
		changed = false
		for i := range n {
			w := waveAfter(closures, wave, i)
			if w > wave[i] {
				wave[i], changed = w, true
			}
		}
	}
	return wave
}

// waveAfter returns the wave in which node i can be unpacked at the earliest.
// Nodes that wait for i themselves are in a circle with it and do not count.
func waveAfter(closures [][]bool, wave []int, i int) int {
	w := 0
	for j, must := range closures[i] {
		circle := j == i || closures[i][i] || closures[j] != nil && closures[j][i]
		if must && !circle {
			w = max(w, wave[j]+1)
		}
	}
	return w
}
