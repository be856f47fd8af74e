package world

// list returns the chosen packages in the order of installation: what a package
// depends on comes before it, and what its install_if asks for. In a circle,
// whatever was asked for first comes last. It finds errors that the choosing
// left.
func (s *solver) list() []*candidate {
	l := &lister{solver: s}
	for _, w := range s.world {
		l.word(nil, w)
	}
	return l.chosen
}

// A lister lists what was chosen.
type lister struct {
	*solver
	chosen []*candidate
}

// word lists what a word of a package or, with wanter nil, of the world asks for.
func (l *lister) word(wanter *candidate, w word) {
	l.spend(1)
	if !w.metBy(wanter, w.name.chosen) {
		if wanter == nil {
			l.errors++
		}
		l.fail(wanter)
	}
	l.name(w.name)
	if c := w.name.chosen.pkg; c != nil && c.broken {
		l.fail(wanter)
	}
}

// name lists the package that was chosen for a name.
func (l *lister) name(n *name) {
	if n.listed || !l.enter() {
		return
	}
	defer l.leave()
	n.listed = true
	c := n.chosen.pkg
	if c == nil || c.listed {
		return
	}
	c.listed = true
	c.name.listed = true
	for _, w := range c.provides {
		w.name.listed = true
	}
	for _, w := range c.depends {
		l.word(c, w)
	}
	l.chosen = append(l.chosen, c)
	l.triggered(c.name)
	for _, w := range c.provides {
		l.triggered(w.name)
	}
}

// triggered lists packages whose install_if has the name in it and holds now.
func (l *lister) triggered(n *name) {
	l.spend(len(n.installsIf))
	for _, other := range n.installsIf {
		if c := other.chosen.pkg; c != nil && other.seen && !other.listed && l.installIfListed(c) {
			l.name(other)
		}
	}
}

// installIfListed reports whether all that the install_if of a package asks for
// is listed.
func (l *lister) installIfListed(c *candidate) bool {
	for _, w := range c.installIf {
		if !w.Conflict && !w.name.listed || !w.metBy(c, w.name.chosen) {
			return false
		}
	}
	return true
}
