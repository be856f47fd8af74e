package catalog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bind returns e with the symbols of later stages replaced: values is keyed by
// SourceDir, SourceName and so on. It is an error if one that e uses has no
// value, and if an address, a path or a package names a variable that does not
// exist, or os-release names another distribution than the folder.
func (e *Expanded) Bind(values map[string]string) (*Expanded, error) {
	return e.BindEach(slices.Repeat([]map[string]string{values}, max(1, len(e.Builds))))
}

// BindEach is Bind with values of its own for each build, in their order. What
// is not part of a build takes those of the first.
func (e *Expanded) BindEach(values []map[string]string) (*Expanded, error) {
	if e.Definition.mismatch != nil {
		return nil, e.Definition.mismatch
	}
	if len(values) < max(1, len(e.Builds)) {
		return nil, fmt.Errorf("catalog: values for %d builds of %d", len(values), len(e.Builds))
	}
	for _, m := range values {
		if err := checkValues(m); err != nil {
			return nil, err
		}
	}
	b := &binder{values: values}
	if vars := e.tree.get("vars"); vars != nil {
		b.vars = vars.keys
	}
	tree, err := b.walk(e.tree, place{})
	if err != nil {
		return nil, err
	}
	bound := &Expanded{Definition: e.Definition, Target: e.Target, tree: tree}
	return bound, bound.Spec.decodeFrom(tree)
}

// What is bound ends up in scripts and paths, so it may only hold what names,
// versions and paths of Debian sources are made of.
var valueForm = regexp.MustCompile(`^[A-Za-z0-9.+~:/_-]*$`)

// checkValues refuses names that Bind does not know, and values that could mean
// more than a name, a version or a path.
func checkValues(values map[string]string) error {
	for name, v := range values {
		if !isLater(name) {
			return fmt.Errorf("catalog: %q is not a symbol to bind", name)
		}
		if len(v) > maxMatched || !valueForm.MatchString(v) {
			return fault.New(fault.Invalid, "the value of %s holds what no name, version or path may hold: %q", name, clip(v))
		}
	}
	return nil
}

// A binder replaces the symbols of later stages.
type binder struct {
	values []map[string]string // for each build
	build  int                 // the one that the walk is in
	vars   []*node             // names of the definition's vars
	total  int                 // bytes put in so far
}

func (b *binder) walk(n *node, p place) (*node, error) {
	if n.kind == scalar {
		v, err := b.text(n, p)
		if err != nil {
			return nil, err
		}
		return n.withValue(v), b.checkDefined(n, v, p)
	}
	return rebuild(n, func(i int) (*node, error) {
		if n.kind == mapping {
			return b.walk(n.items[i], p.below(n.keys[i].value))
		}
		if p.key == "builds" && p.depth == 2 {
			b.build = i
			defer func() { b.build = 0 }()
		}
		return b.walk(n.items[i], p)
	})
}

// text replaces the symbols in one string. One without a value is an error, but
// not in vars, which are only of use where they were put already, nor in the
// content of files.
func (b *binder) text(n *node, p place) (string, error) {
	if firstSymbol(n.value) == "" {
		return n.value, nil
	}
	var out strings.Builder
	for rest := n.value; rest != ""; {
		i := nextMark(rest, foreign)
		out.WriteString(rest[:i])
		if rest = rest[i:]; rest == "" {
			break
		}
		ref := "${" + refName(rest[2:])
		name := ref[2:]
		rest = rest[len(ref):]
		value, bound := b.values[b.build][name]
		switch closed := strings.HasPrefix(rest, "}"); {
		case closed && bound:
			ref, rest = value, rest[1:]
		case closed && isLater(name) && p.lang != foreign && p.lang != inVars:
			return "", unbound(n, name)
		}
		out.WriteString(ref)
		if b.total += len(ref); out.Len() > maxText || b.total > maxExpanded {
			return "", n.errorf("expands to too much text")
		}
	}
	return out.String(), nil
}

// unbound is the error for a symbol that has no value.
func unbound(n *node, name string) *fault.Error {
	e := n.errorf("${%s} has no value", name)
	if name == SourceDir || name == TargetDir {
		return e
	}
	return e.Fix("a build has one when its files name a Debian source, debsrc://SUITE/NAME")
}

// strictKeys are the keys whose text no shell ever sees, so that a reference
// left in it is a mistake.
var strictKeys = []string{"url", "checksum", "path", "work-dir", "source", "target", "packages", "uses", "repositories", "keyring"}

// checkDefined refuses a reference left in text that must not hold one.
func (b *binder) checkDefined(n *node, text string, p place) error {
	name := undefined(text, p)
	if name == "" {
		return nil
	}
	known := laterSymbols()
	for _, k := range b.vars {
		known = append(known, k.value)
	}
	slices.Sort(known)
	return n.errorf("unknown variable %q", name).Fix("%s", oneOf(name, known))
}

// undefined returns the name of a reference left in text of a strict key, or "".
func undefined(text string, p place) string {
	if p.opaque || p.lang != plain || !slices.Contains(strictKeys, p.key) {
		return ""
	}
	for {
		i := nextMark(text, foreign)
		if i == len(text) {
			return ""
		}
		text = text[i+2:]
		if name := refName(text); name != "" && !isLater(name) {
			return name
		}
	}
}
