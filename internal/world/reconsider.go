package world

// A look is what reconsider finds out about a name.
type look struct {
	first         *candidate // the first of the choices
	choices       int
	taggedOut     int // choices that may not come from where they are
	triggered     bool
	untriggerable bool
	choosable     bool
}

// reconsider looks at a name again: which choices there still are for it, and
// what these have in common.
func (s *solver) reconsider(n *name) {
	recheckDepends, recheckInstallIf := n.recheckDepends, n.recheckInstallIf
	n.recheckDepends, n.recheckInstallIf = false, false
	l := look{untriggerable: true}
	s.spend(1 + len(n.providers))
	for _, p := range n.providers {
		c := p.pkg
		c.merged = false
		if !c.selectable {
			continue
		}
		if recheckDepends && !s.dependsReachable(c) {
			s.ruleOut(c)
			continue
		}
		if recheckInstallIf {
			s.checkInstallIf(c)
		}
		l.triggered = l.triggered || c.triggered
		l.untriggerable = l.untriggerable && c.untriggered
		l.choosable = l.choosable || c.triggered
		if n.required > 0 {
			s.mergeChoice(&l, p)
		}
	}
	n.open = l.choices > 1 || l.taggedOut > 0
	n.triggered, n.untriggerable = l.triggered, l.untriggerable
	changed := l.choosable != n.choosable
	n.choosable = l.choosable
	if l.first != nil {
		s.carryDown(n, &l)
	}
	n.wantersDone = s.allSettled(n.wantedBy)
	s.enqueue(n, changed)
}

// allSettled reports whether all names that were met are settled.
func (s *solver) allSettled(names []*name) bool {
	s.spend(len(names))
	for _, n := range names {
		if n.seen && !n.settled {
			return false
		}
	}
	return true
}

// dependsReachable reports whether all that a package depends on can be had.
func (s *solver) dependsReachable(c *candidate) bool {
	s.spend(len(c.depends))
	for _, w := range c.depends {
		if !s.reachable(c, w) {
			return false
		}
	}
	return true
}

// checkInstallIf looks whether the install_if of a package holds, if that is not
// known, and lets a package whose does come from where its reasons come from.
func (s *solver) checkInstallIf(c *candidate) {
	s.spend(len(c.installIf))
	if !c.triggered && !c.untriggered {
		c.triggered = true
		for _, w := range c.installIf {
			if !w.name.settled {
				if w.Conflict {
					w.name.negated = true
					s.enqueue(w.name, false)
				}
				c.triggered = false
				break
			}
			if !w.metBy(c, w.name.chosen) {
				c.triggered, c.untriggered = false, true
				break
			}
		}
	}
	if c.triggered {
		for _, w := range c.installIf {
			s.inherit(c, w.name.chosen.pkg)
		}
	}
}

// mergeChoice adds a choice to what all choices have in common. A name's counter
// stays equal to the number of choices so far only if all of them have it.
func (s *solver) mergeChoice(l *look, p provider) {
	c := p.pkg
	c.merged = true
	if l.first == nil {
		l.first = c
	}
	s.spend(len(c.depends) + len(c.provides))
	for _, w := range c.depends {
		if !w.Conflict {
			count(&w.name.dependMerge, l.choices)
		}
	}
	if count(&c.name.provideMerge, l.choices) && p.version == "" {
		c.name.providedBare = true
	}
	for _, w := range c.provides {
		if count(&w.name.provideMerge, l.choices) && w.Version == "" {
			w.name.providedBare = true
		}
	}
	if !c.tagOK {
		l.taggedOut++
	}
	l.choices++
	l.choosable = l.choosable || selfEvident(p)
}

// count raises a counter that stands at n and reports whether it did.
func count(counter *int, n int) bool {
	if *counter != n {
		return false
	}
	*counter = n + 1
	return true
}

// common resets a counter and reports whether it stood at n.
func common(counter *int, n int) bool {
	was := *counter
	*counter = 0
	return was == n
}

// selfEvident reports whether a provider may be taken for a name without more
// ado. One that has the name without a version must be asked for by its own name,
// or have a priority.
func selfEvident(p provider) bool {
	return p.version != "" || p.pkg.ProviderPriority > 0 || p.pkg.name.required > 0
}

// carryDown makes count what all choices for a name have in common.
func (s *solver) carryDown(n *name, l *look) {
	first := l.first
	for _, p := range n.providers {
		p.pkg.used = p.pkg.merged
	}
	for _, w := range first.depends {
		if !common(&w.name.dependMerge, l.choices) {
			continue
		}
		if l.choices == 1 {
			s.apply(first, w)
		} else if w.name.required == 0 {
			w.name.required++
			s.nowRequired(w.name)
			for _, p := range w.name.providers {
				s.inherit(p.pkg, first)
			}
		}
	}
	if common(&first.name.provideMerge, l.choices) {
		s.ruleOutOthers(first.name, n)
	}
	for _, w := range first.provides {
		if common(&w.name.provideMerge, l.choices) {
			s.ruleOutOthers(w.name, n)
		}
	}
	first.name.providedBare = false
	for _, w := range first.provides {
		w.name.providedBare = false
	}
}

// ruleOutOthers rules out providers of a name that do not provide must, too:
// whatever is chosen for must will provide both.
func (s *solver) ruleOutOthers(n, must *name) {
	if n == must {
		return
	}
	s.spend(len(n.providers))
	for _, p := range n.providers {
		if p.pkg.name != must && p.pkg.selectable && (!n.providedBare || p.version != "") &&
			!provides(p.pkg, must, n.providedBare) {
			s.ruleOut(p.pkg)
		}
	}
}

// provides reports whether a package provides a name, or, with bare, anything
// without a version.
func provides(c *candidate, n *name, bare bool) bool {
	for _, w := range c.provides {
		if w.name == n || bare && w.Version == "" {
			return true
		}
	}
	return false
}
