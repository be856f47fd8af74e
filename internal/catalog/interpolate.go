package catalog

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A scope knows the values of names for one target.
type scope struct {
	root    *node
	symbols map[string]string
	vars    map[string]*node
	done    map[string]string
	chain   []string // the vars being expanded, outermost first
	total   int      // bytes of expanded text so far
	matches int      // regular expressions matched so far
}

func newScope(root *node, symbols map[string]string) *scope {
	s := &scope{root: root, symbols: symbols, vars: map[string]*node{}, done: map[string]string{}}
	if n := root.get("vars"); n != nil && n.kind == mapping {
		for i, k := range n.keys {
			s.vars[k.value] = n.items[i]
		}
	}
	return s
}

// A language says what text belongs to, and so what is replaced in it.
type language uint8

const (
	plain   language = iota // our own: ${NAME} and #{ … }
	inVars                  // our own, and ${NAME:regexp}
	shell                   // ${NAME} of ours; \${NAME} and the rest is the shell's
	foreign                 // the content of a file: ${NAME} of ours, the rest is its own
)

// known returns the value of a name; ok is false if the name means nothing.
// Symbols of Bind stay as they are.
func (s *scope) known(name string) (value string, ok bool, err error) {
	if v, ok := s.symbols[name]; ok {
		return v, true, nil
	}
	if isLater(name) {
		return "${" + name + "}", true, nil
	}
	if path, ok := strings.CutPrefix(name, "definition."); ok {
		return s.definition(path)
	}
	if _, ok := s.vars[name]; ok {
		v, err := s.variable(name)
		return v, true, err
	}
	return "", false, nil
}

// definition returns the text at a dotted path of the definition.
func (s *scope) definition(path string) (string, bool, error) {
	if name, ok := strings.CutPrefix(path, "vars."); ok {
		if _, ok := s.vars[name]; !ok {
			return "", false, nil
		}
		v, err := s.variable(name)
		return v, true, err
	}
	n := s.root
	for key := range strings.SplitSeq(path, ".") {
		n = n.get(key)
	}
	if n == nil || n.kind != scalar {
		return "", false, nil
	}
	v, err := s.enter("definition."+path, n)
	return v, true, err
}

// variable returns the expanded value of a var that exists.
func (s *scope) variable(name string) (string, error) { return s.enter(name, s.vars[name]) }

// enter expands the text of a named node once, watching for circles.
func (s *scope) enter(name string, n *node) (string, error) {
	if v, ok := s.done[name]; ok {
		return v, nil
	}
	switch {
	case n.kind != scalar:
		return "", n.errorf("%s where text is wanted", n.describe())
	case n.tag == "!!null":
		return "", nil
	}
	if i := slices.Index(s.chain, name); i >= 0 {
		chain := strings.Join(append(slices.Clone(s.chain[i:]), name), " → ")
		return "", n.errorf("vars refer to each other in a circle: %s", chain)
	}
	if len(s.chain) >= maxVarDepth {
		return "", n.errorf("more than %d vars refer to one another in a chain", maxVarDepth)
	}
	s.chain = append(s.chain, name)
	v, err := s.expand(n, inVars)
	s.chain = s.chain[:len(s.chain)-1]
	if err == nil {
		s.done[name] = v
	}
	return v, err
}

// expand returns the text of a scalar with everything replaced that can be.
func (s *scope) expand(n *node, lang language) (string, error) {
	text := n.value
	if !strings.Contains(text, "${") && !strings.Contains(text, "#{") {
		return text, s.spend(n, len(text))
	}
	var b strings.Builder
	for at := 0; at < len(text); {
		i := nextMark(text[at:], lang)
		b.WriteString(text[at : at+i])
		if at += i; at == len(text) {
			break
		}
		value, used, err := s.mark(n.Pos, text, at, lang)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		at += used
		if b.Len() > maxText {
			return "", n.errorf("expands to more than %d bytes", maxText)
		}
	}
	return b.String(), s.spend(n, b.Len())
}

// spend counts expanded bytes against the limit of a definition.
func (s *scope) spend(n *node, bytes int) error {
	if s.total += bytes; s.total > maxExpanded {
		return n.errorf("the definition expands to more than %d bytes", maxExpanded)
	}
	return nil
}

// nextMark returns the index of the next "${" or, where it counts, "#{" in text,
// or its length.
func nextMark(text string, lang language) int {
	i := strings.Index(text, "${")
	if i < 0 {
		i = len(text)
	}
	if lang == plain || lang == inVars {
		if j := strings.Index(text[:i], "#{"); j >= 0 {
			return j
		}
	}
	return i
}

// mark replaces what starts at text[at:] and returns the bytes it took.
func (s *scope) mark(pos Pos, text string, at int, lang language) (string, int, error) {
	if text[at] == '#' {
		return s.expression(pos, text[at:])
	}
	name := refName(text[at+2:])
	end := at + 2 + len(name)
	switch {
	case name == "" || end == len(text):
		return "${", 2, nil
	case text[end] == ':' && lang == inVars && s.vars[name] != nil:
		return s.match(pos, name, text[end+1:])
	case text[end] != '}', lang == shell && escaped(text[:at]):
		return "${", 2, nil
	}
	ref := text[at : end+1]
	value, ok, err := s.known(name)
	switch {
	case err != nil:
		return "", 0, err
	case ok:
		return value, len(ref), nil
	case isReserved(name) && lang != foreign:
		return "", 0, s.unknown(pos, name)
	}
	return ref, len(ref), nil
}

// refName returns the longest name at the start of text.
func refName(text string) string {
	n := 0
	for n < len(text) && isNameByte(text[n]) && (n > 0 || text[0] == '_' || text[0] > '9') {
		n++
	}
	return text[:n]
}

// escaped reports whether an odd number of backslashes ends the text.
func escaped(before string) bool {
	return (len(before)-len(strings.TrimRight(before, `\`)))%2 == 1
}

// unknown is the error for a name that means nothing.
func (s *scope) unknown(pos Pos, name string) *fault.Error {
	return pos.errorf("unknown variable %q", name).Fix("%s", oneOf(name, s.names()))
}

// names returns all names that mean something, sorted.
func (s *scope) names() []string {
	names := append(slices.Collect(maps.Keys(s.symbols)), laterSymbols()...)
	names = append(names, slices.Collect(maps.Keys(s.vars))...)
	slices.Sort(names)
	return names
}

// expression evaluates the "#{ … }" at the start of text.
func (s *scope) expression(pos Pos, text string) (string, int, error) {
	e, used, err := parseExpr(text[2:], '}')
	if err != nil {
		return "", 0, pos.errorf("expression %s: %w", clip(text), err)
	}
	v, err := e.eval(s.find(pos))
	if err != nil {
		return "", 0, exprError(pos, text[:2+used], err)
	}
	return v, 2 + used, nil
}

// find is the lookup of an expression at pos.
func (s *scope) find(pos Pos) lookup {
	return func(name string) (string, error) {
		v, ok, err := s.known(name)
		if err == nil && !ok {
			return "", s.unknown(pos, name)
		}
		return v, err
	}
}

// exprError places an error of evaluation, unless it has a place.
func exprError(pos Pos, text string, err error) error {
	if fault.Is(err, fault.Invalid) {
		return err
	}
	return pos.errorf("expression %s: %w", clip(text), err)
}

// match handles "${NAME:regexp}", of which rest is what follows the colon: it
// returns the first group of the match, the whole match if there is no group.
func (s *scope) match(pos Pos, name, rest string) (string, int, error) {
	end := closingBrace(rest)
	if end < 0 {
		return "", 0, pos.errorf("${%s: has no closing brace", name)
	}
	pattern := rest[:end]
	if s.matches++; s.matches > maxMatches {
		return "", 0, pos.errorf("more than %d regular expressions", maxMatches)
	}
	if len(pattern) > maxPattern {
		return "", 0, pos.errorf("a regular expression of more than %d bytes", maxPattern)
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return "", 0, pos.errorf("regular expression of ${%s:…}: %w", name, err)
	}
	value, err := s.variable(name)
	if err != nil {
		return "", 0, err
	}
	if len(value) > maxMatched {
		return "", 0, pos.errorf("regular expression on text of more than %d bytes", maxMatched)
	}
	m := re.FindStringSubmatch(value)
	if m == nil {
		return "", 0, pos.errorf("regular expression %q does not match %s, which is %q", pattern, name, clip(value))
	}
	return m[min(1, len(m)-1)], len("${" + name + ":" + pattern + "}"), nil
}

// closingBrace returns the index of the brace that ends text, which may hold
// pairs of braces and braces behind a backslash, or -1.
func closingBrace(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '{':
			depth++
		case '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// evalCondition decides the text of an "if" key: an expression, bare or in "#{ }".
func (s *scope) evalCondition(n *node) (bool, error) {
	if n.kind != scalar {
		return false, n.errorf("%s where a condition is wanted", n.describe())
	}
	text := strings.TrimSpace(n.value)
	if inner, ok := strings.CutPrefix(text, "#{"); ok {
		text = strings.TrimSuffix(inner, "}")
	}
	e, _, err := parseExpr(text, 0)
	if err != nil {
		return false, n.errorf("condition %s: %w", clip(text), err)
	}
	v, err := truth(e, s.find(n.Pos))
	if err != nil {
		return false, exprError(n.Pos, text, err)
	}
	return v, nil
}
