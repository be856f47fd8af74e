package world

import (
	"container/heap"
)

// The solver settles names one after the other: each gets the provider that is
// chosen for it, or none. Before each choice all that follows from the earlier
// ones is carried through: down, from what all choices for a name have in common
// to what they want, and up, from what cannot be had to what wants it. A choice
// is never taken back.

// A solver is at work on a universe.
type solver struct {
	*universe
	brought uint64    // tags that a word of the world brings, while it is applied
	dirty   []*name   // to be looked at again
	now     []*name   // to be settled, without a choice: first come, first served
	queues  [2]byRank // the rest: those that can be chosen for, and the others
	order   int32     // names that were met so far
	errors  int
	work    int
	depth   int
	tooMuch string // why it was given up, "" if it was not
}

// A queue says where a name waits to be settled.
type queue uint8

const (
	nowhere queue = iota
	asReady
	asOpen
	asNow
)

// byRank is a heap of names, the one with the highest order first.
type byRank []*name

func (q byRank) Len() int           { return len(q) }
func (q byRank) Less(i, j int) bool { return q[i].order > q[j].order }
func (q byRank) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *byRank) Push(x any)        { *q = append(*q, x.(*name)) }
func (q *byRank) Pop() any {
	last := len(*q) - 1
	n := (*q)[last]
	*q = (*q)[:last]
	return n
}

// settleAll settles all names that matter.
func (s *solver) settleAll() {
	for _, w := range s.world {
		s.meet(w.name)
	}
	for _, w := range s.world {
		s.brought = 1 << s.tag(w.Tag)
		s.apply(nil, w)
	}
	s.brought = 0
	for s.tooMuch == "" {
		for len(s.dirty) > 0 && s.tooMuch == "" {
			n := s.dirty[0]
			s.dirty = s.dirty[1:]
			if n.dirty {
				n.dirty = false
				s.reconsider(n)
			}
		}
		n := s.next()
		if n == nil {
			return
		}
		s.settle(n)
	}
}

// spend counts work.
func (s *solver) spend(work int) {
	if s.work += work; s.work > maxWork {
		s.tooMuch = "it takes too many steps"
	}
}

// enter counts how deep names lead to others, and reports whether that is deep
// enough. If it returns true, leave must be called.
func (s *solver) enter() bool {
	if s.depth == maxDepth {
		s.tooMuch = "too many packages want one another in a row"
	}
	if s.tooMuch != "" {
		return false
	}
	s.depth++
	return true
}

func (s *solver) leave() { s.depth-- }

// next takes the name to be settled next, nil if there is none left.
func (s *solver) next() *name {
	for len(s.now) > 0 {
		n := s.now[0]
		s.now = s.now[1:]
		if n.queued == asNow {
			n.queued = nowhere
			return n
		}
	}
	for i := range s.queues {
		for s.queues[i].Len() > 0 {
			n := heap.Pop(&s.queues[i]).(*name)
			if n.queued == asReady+queue(i) {
				n.queued = nowhere
				return n
			}
		}
	}
	return nil
}

// meet goes through all that a name can lead to and numbers it.
func (s *solver) meet(n *name) {
	if n.seen || !s.enter() {
		return
	}
	defer s.leave()
	n.seen, n.untriggerable = true, true
	s.spend(1 + len(n.providers))
	foreign := 0
	for _, p := range n.providers {
		s.meetPackage(p.pkg)
		n.untriggerable = n.untriggerable && p.pkg.untriggered
		if p.pkg.name != n {
			foreign++
		}
	}
	for _, other := range n.installsIf {
		s.meet(other)
	}
	for _, p := range n.providers {
		for _, other := range p.pkg.name.installsIf {
			s.meet(other)
		}
		for _, w := range p.pkg.provides {
			s.meet(w.name)
		}
	}
	n.order = s.rank(n, foreign == len(n.providers))
	for _, p := range n.providers {
		for _, w := range p.pkg.installIf {
			s.meet(w.name)
		}
	}
}

// rank returns the place of a name among those to be settled, the highest first:
// what was given to "apk add", then names that a package has for its own, and
// among equals what was met last.
func (s *solver) rank(n *name, virtual bool) int32 {
	s.order++
	rank := uint32(s.order)
	if !n.added {
		rank |= 1 << 31 // which makes it negative
	}
	if !virtual {
		rank |= 1 << 30
	}
	return int32(rank)
}

// meetPackage finds out what there is to say of a package before anything is
// asked of it, and meets what it depends on.
func (s *solver) meetPackage(c *candidate) {
	if c.seen {
		return
	}
	c.seen = true
	if c.unusable == "" {
		if bad := invalidVersion(c.Depends); bad != "" {
			c.unusable = "it depends on " + bad + ", which is no version"
		}
	}
	c.selectable = c.unusable == ""
	c.untriggered = len(c.installIf) == 0
	c.allowedTags = 1
	c.tagPreferred = c.InstalledSize == 0 || c.repositories&s.tagged[0] != 0
	c.tagOK = c.tagPreferred
	s.spend(len(c.depends) + len(c.provides) + len(c.installIf))
	for _, w := range c.depends {
		s.meet(w.name)
	}
}

// recheckWanters makes names dirty: what depends on this one may have become
// impossible.
func (s *solver) recheckWanters(n *name) {
	s.spend(len(n.wantedBy))
	for _, other := range n.wantedBy {
		if other.seen {
			other.recheckDepends = true
			s.soil(other)
		}
	}
}

// recheckTriggers makes names dirty: an install_if with this name may hold, or
// never hold, from now on.
func (s *solver) recheckTriggers(n *name) {
	s.spend(len(n.installsIf))
	for _, other := range n.installsIf {
		if other.seen && !other.untriggerable {
			other.recheckInstallIf = true
			s.soil(other)
		}
	}
}

// recheckTriggersOf is recheckTriggers for all names of a package.
func (s *solver) recheckTriggersOf(c *candidate) {
	s.recheckTriggers(c.name)
	for _, w := range c.provides {
		s.recheckTriggers(w.name)
	}
}

// soil makes a name dirty unless it is of no interest.
func (s *solver) soil(n *name) {
	if n.dirty || n.settled || n.required == 0 && !n.recheckInstallIf {
		return
	}
	n.dirty = true
	s.dirty = append(s.dirty, n)
}

// enqueue has a name settled, or settled sooner; reconsidered says that it waits
// for another reason than before.
func (s *solver) enqueue(n *name, reconsidered bool) {
	certain := n.wantersDone && n.required > 0 && n.choosable && !n.open
	switch {
	case n.settled || n.queued == asNow:
		return
	case n.queued != nowhere:
		if !certain && !reconsidered {
			return
		}
	case n.required == 0 && !n.triggered && !n.negated:
		return
	}
	switch {
	case certain:
		n.queued = asNow
		s.now = append(s.now, n)
		return
	case n.choosable:
		n.queued = asReady
	default:
		n.queued = asOpen
	}
	heap.Push(&s.queues[n.queued-asReady], n)
}

// nowRequired is called when a name is wanted for the first time.
func (s *solver) nowRequired(n *name) {
	s.enqueue(n, false)
	s.recheckTriggers(n)
	s.soil(n)
}

// ruleOut rules out a package: it cannot be chosen without an error any more.
func (s *solver) ruleOut(c *candidate) {
	c.selectable = false
	s.recheckWanters(c.name)
	for _, w := range c.provides {
		s.recheckWanters(w.name)
	}
	s.recheckTriggersOf(c)
}

// apply makes a word count: of a package that is chosen or the only choice, or,
// with wanter nil, of the world.
func (s *solver) apply(wanter *candidate, w word) {
	if !w.Conflict {
		if w.name.required++; w.name.required == 1 {
			s.nowRequired(w.name)
		}
	}
	s.spend(1 + len(w.name.providers))
	for _, p := range w.name.providers {
		ok := w.metBy(wanter, p)
		if !ok {
			p.pkg.conflicts++
		}
		if p.pkg.selectable && p.pkg.conflicts > 0 {
			s.ruleOut(p.pkg)
		}
		if ok {
			s.inherit(p.pkg, wanter)
		}
	}
}

// inherit lets a package come from the repositories that what wants it may come
// from; wanter is nil for the world.
func (s *solver) inherit(c, wanter *candidate) {
	if wanter != nil {
		c.allowedTags |= wanter.allowedTags
	} else {
		c.allowedTags |= s.brought
		c.tagPreferred = c.repositories&s.repositoriesOf(s.brought) != 0
	}
	c.tagOK = c.tagOK || c.repositories&s.repositoriesOf(c.allowedTags) != 0
}

// reachable reports whether a word can still be met.
func (s *solver) reachable(c *candidate, w word) bool {
	n := w.name
	switch {
	case n.settled:
		return w.metBy(c, n.chosen)
	case n.required == 0 && w.metBy(c, provider{}):
		return true
	}
	s.spend(len(n.providers))
	for _, p := range n.providers {
		if p.pkg.selectable && w.metBy(c, p) {
			return true
		}
	}
	return false
}
