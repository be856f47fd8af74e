package world

import (
	"cmp"
	"math/bits"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// settle chooses a provider for a name.
func (s *solver) settle(n *name) {
	chosen := provider{}
	if n.required > 0 || n.triggered {
		s.spend(len(n.providers))
		for _, p := range n.providers {
			c := p.pkg
			if n.required == 0 && !(c.triggered && c.tagOK && c.selectable) {
				continue
			}
			if selfEvident(p) && better(p, chosen) {
				chosen = p
			}
		}
	}
	c := chosen.pkg
	if c == nil {
		s.assign(n, provider{})
		if n.required > 0 {
			s.errors++
		}
		return
	}
	if !c.selectable || !c.tagOK {
		s.fail(c)
	}
	s.assign(c.name, provider{c, c.Version})
	s.spend(len(c.provides) + len(c.depends))
	for _, w := range c.provides {
		s.assign(w.name, provider{c, w.Version})
	}
	for _, w := range c.depends {
		s.apply(c, w)
	}
}

// better reports whether provider p is to be preferred to q, which may be none.
func better(p, q provider) bool {
	if q.pkg == nil {
		return true
	}
	a, b := p.pkg, q.pkg
	order := cmp.Or(
		compareBools(a.selectable, b.selectable),
		compareBools(a.used, b.used),
		cmp.Compare(b.conflicts, a.conflicts),
		compareBools(a.tagOK, b.tagOK),
		compareBools(a.tagPreferred, b.tagPreferred),
		apk.CompareVersions(p.version, q.version),
	)
	if order == 0 && a.name == b.name {
		order = apk.CompareVersions(a.Version, b.Version)
	}
	return cmp.Or(order,
		cmp.Compare(a.ProviderPriority, b.ProviderPriority),
		cmp.Compare(bits.TrailingZeros32(b.repositories), bits.TrailingZeros32(a.repositories)),
	) > 0
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// assign settles a name with a provider, which may be none.
func (s *solver) assign(n *name, p provider) {
	if n.settled {
		if p.version != "" || n.chosen.version != "" {
			s.fail(p.pkg)
			s.fail(n.chosen.pkg)
		}
		return
	}
	n.settled, n.chosen, n.queued, n.dirty = true, p, nowhere, false
	if p.pkg != nil && n.required == 0 && p.pkg.triggered {
		for _, w := range p.pkg.installIf {
			if !w.name.settled {
				s.apply(p.pkg, w)
			}
		}
	}
	s.spend(len(n.providers))
	for _, other := range n.providers {
		if other.pkg != p.pkg && (p.version != "" || other.version != "") {
			s.ruleOut(other.pkg)
		}
	}
	s.recheckWanters(n)
	if p.pkg != nil {
		s.recheckTriggersOf(p.pkg)
	} else {
		s.recheckTriggers(n)
	}
}

// fail counts a package that is chosen although something speaks against it.
func (s *solver) fail(c *candidate) {
	if c != nil && !c.broken {
		c.broken = true
		s.errors++
	}
}
