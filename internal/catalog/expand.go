package catalog

import (
	"slices"

	"github.com/ashlar-project/ashlar"
)

// Expand returns the definition for one target: entries for other platforms and
// those whose condition is false are gone, vars, known symbols and expressions
// are replaced. What Bind replaces is still there.
func (d *Definition) Expand(t ashlar.Target) (*Expanded, error) {
	if t.Distro != d.Distro {
		return nil, d.Spec.errorf("this is for %s, not for %s", d.Distro, t.Distro)
	}
	platform := "linux/" + string(t.Arch)
	if !slices.Contains(d.Spec.Platforms, platform) {
		return nil, d.Spec.errorf("not for %s", platform).Fix("its platforms are %v", d.Spec.Platforms)
	}
	x := &expander{scope: newScope(d.tree, targetSymbols(d.tree, t)), platform: platform}
	tree, err := x.walk(d.tree, place{})
	if err != nil {
		return nil, err
	}
	e := &Expanded{Definition: d, Target: t, tree: tree}
	if err := e.Spec.decodeFrom(tree); err != nil {
		return nil, err
	}
	for _, b := range e.Builds {
		if len(b.Matrix) > 0 {
			return nil, b.Matrix[0].errorf("\"matrix\" is not built yet").Fix("write one build for each item")
		}
	}
	return e, nil
}

// A place says how a part of the tree is to be read.
type place struct {
	depth  int
	lang   language
	opaque bool   // keys are data, not the format's words
	key    string // of the nearest mapping that the part is in
}

// below returns the place of what a key of a mapping at p holds.
func (p place) below(key string) place {
	q := place{depth: p.depth + 1, lang: p.lang, opaque: p.opaque, key: key}
	if p.opaque {
		return q
	}
	switch key {
	case "with", "environment", "labels", "annotations", "mappings", "set", "items":
		q.opaque = true
	case "vars":
		q.opaque, q.lang = true, inVars
	case "runs":
		q.lang = shell
	case "content":
		q.lang = foreign
	}
	return q
}

// An expander makes the tree for one target out of a definition's.
type expander struct {
	scope    *scope
	platform string
}

// walk returns the expanded tree; parts that do not change are shared.
func (x *expander) walk(n *node, p place) (*node, error) {
	switch n.kind {
	case scalar:
		return x.text(n, p)
	case sequence:
		return x.list(n, p)
	}
	return rebuild(n, func(i int) (*node, error) { return x.walk(n.items[i], p.below(n.keys[i].value)) })
}

func (x *expander) text(n *node, p place) (*node, error) {
	var v string
	var err error
	if x.scope.vars[p.key] == n {
		v, err = x.scope.variable(p.key)
	} else {
		v, err = x.scope.expand(n, p.lang)
	}
	return n.withValue(v), err
}

// list expands the items of a list that are for this target.
func (x *expander) list(n *node, p place) (*node, error) {
	if p.opaque {
		return rebuild(n, func(i int) (*node, error) { return x.walk(n.items[i], p) })
	}
	kept := *n
	kept.items = nil
	for _, item := range n.items {
		ok, err := x.applies(item)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if item, err = x.walk(item.without("if"), p); err != nil {
			return nil, err
		}
		kept.items = append(kept.items, item)
	}
	return &kept, nil
}

// applies decides the platforms and the condition of an entry.
func (x *expander) applies(item *node) (bool, error) {
	if platforms := item.get("platforms"); platforms != nil && len(platforms.items) > 0 {
		for _, p := range platforms.items {
			if p.value == x.platform {
				platforms = nil
				break
			}
		}
		if platforms != nil {
			return false, nil
		}
	}
	if condition := item.get("if"); condition != nil && condition.tag != "!!null" {
		return x.scope.evalCondition(condition)
	}
	return true, nil
}

// withValue returns n with another text, which then is a string.
func (n *node) withValue(v string) *node {
	if v == n.value {
		return n
	}
	m := *n
	m.value, m.tag = v, "!!str"
	return &m
}

// without returns a mapping without a key.
func (n *node) without(key string) *node {
	if n.get(key) == nil {
		return n
	}
	m := *n
	m.keys, m.items = nil, nil
	for i, k := range n.keys {
		if k.value != key {
			m.keys, m.items = append(m.keys, k), append(m.items, n.items[i])
		}
	}
	return &m
}

// rebuild returns n with its items replaced, or n itself if none changes.
func rebuild(n *node, item func(i int) (*node, error)) (*node, error) {
	m := n
	for i := range n.items {
		v, err := item(i)
		if err != nil {
			return nil, err
		}
		if v == n.items[i] {
			continue
		}
		if m == n {
			c := *n
			c.items = slices.Clone(n.items)
			m = &c
		}
		m.items[i] = v
	}
	return m, nil
}
