package pack

import (
	"io"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a .pc file.
const (
	maxPC      = 1 << 20
	maxPCText  = 256 << 10 // bytes of a value with its variables put in
	maxPCDepth = 16        // variables within variables
	maxPCWords = 1000
	maxPCSteps = 10_000 // variables put in
)

// A pcFile is what a .pc file says: what a library is called among developers and
// which others it needs to be used.
type pcFile struct {
	path     string
	name     string // of the file
	version  string
	requires []pcWord // of Requires and Requires.private
	provides []pcWord
}

// A pcWord is a name and what is asked of its version.
type pcWord struct {
	name, operator, version string
}

// pkgConfigFolders are where .pc files are.
var pkgConfigFolders = []string{"usr/lib/pkgconfig", "usr/share/pkgconfig"}

// pkgConfig reads the .pc files of a package and notes what they provide.
func (sc *scanner) pkgConfig(b *Binary) ([]*pcFile, error) {
	var list []*pcFile
	for _, f := range b.files {
		name, ok := strings.CutSuffix(path.Base(f.path), ".pc")
		if !ok || !slices.Contains(pkgConfigFolders, path.Dir(f.path)) {
			continue
		}
		n := f.node
		if n.kind == symlink {
			n = sc.set.tree.nodes[join(sc.set.spec.Root, path.Join(path.Dir(f.path), f.node.target))]
		}
		if n == nil || n.kind != regular {
			continue
		}
		pc, err := sc.readPC(n)
		if err != nil {
			return nil, fault.Within(err, "package %s: %s", b.Name, clip(f.path)).At(b.from.File, b.from.Line).
				Fix("correct the file, or turn the search off with apk.options: !tracedeps")
		}
		pc.path, pc.name = f.path, name
		for _, p := range append([]pcWord{{name: name, version: pc.version}}, pc.provides...) {
			if err := sc.provide(b, "pc:"+p.name, pcVersion(p.version), f.path); err != nil {
				return nil, err
			}
		}
		list = append(list, pc)
	}
	return list, nil
}

// readPC reads the .pc file that a node is.
func (sc *scanner) readPC(n *node) (*pcFile, error) {
	if n.size > maxPC {
		return nil, fault.New(fault.Invalid, "it has more than %d bytes", maxPC)
	}
	text, err := io.ReadAll(sc.set.tree.open(n.content))
	if err != nil {
		return nil, err
	}
	return parsePC(string(text))
}

// neededPkgConfig notes what the .pc files of a package require, as far as anybody
// provides it, and the program that reads them.
func (sc *scanner) neededPkgConfig(b *Binary, list []*pcFile) error {
	for _, dir := range pkgConfigFolders {
		if slices.Contains(sc.byPath[dir], b) {
			if err := sc.need(b, "pkgconfig", dir); err != nil {
				return err
			}
		}
	}
	for _, pc := range list {
		for _, r := range pc.requires {
			name := "pc:" + r.name
			if !sc.provided(name) {
				sc.set.Notes = append(sc.set.Notes, "package "+b.Name+": nothing provides "+clip(name)+", which "+clip(pc.path)+" requires")
				continue
			}
			if r.operator != "" {
				name += r.operator + pcVersion(r.version)
			}
			if err := sc.need(b, name, pc.path); err != nil {
				return err
			}
		}
	}
	return nil
}

// pcVersion returns the version of a .pc file in apk's form, as far as there is
// one: what is not understood stays and is refused by who checks it.
func pcVersion(v string) string {
	v = strings.TrimPrefix(v, "v")
	for _, word := range []string{"alpha", "beta", "rc", "pre"} {
		for _, sign := range []string{".", "-"} {
			if before, after, ok := strings.Cut(v, sign+word); ok {
				v = before + "_" + word + after
				break
			}
		}
	}
	if v == "" {
		return "0"
	}
	return v
}

// parsePC reads a .pc file: lines "name=value" for variables and "Name: value"
// for fields, with # before comments and ${name} for variables. Errors are
// fault.Invalid and have a line.
func parsePC(text string) (*pcFile, error) {
	p := pcParser{vars: map[string]string{}}
	number := 0
	for line := range strings.Lines(joinLines(text)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if err := p.line(strings.TrimSpace(line)); err != nil {
			return nil, fault.Within(err, "line %d", number)
		}
	}
	return &p.file, nil
}

// joinLines joins lines that end in a backslash with the next.
func joinLines(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.ReplaceAll(text, "\\\n", "")
}

// A pcParser fills a pcFile line by line.
type pcParser struct {
	vars  map[string]string
	steps int // variables put in so far
	file  pcFile
}

func (p *pcParser) line(line string) error {
	at := strings.IndexAny(line, ":=")
	if at <= 0 {
		return nil
	}
	key := strings.TrimSpace(line[:at])
	if line[at] == '=' {
		p.vars[key] = strings.TrimSpace(line[at+1:])
		return nil
	}
	switch key {
	case "Version", "Requires", "Requires.private", "Provides":
	default:
		return nil
	}
	var value strings.Builder
	if err := p.expand(&value, strings.TrimSpace(line[at+1:]), 0); err != nil {
		return fault.Within(err, "%s", key)
	}
	var err error
	switch text := value.String(); key {
	case "Version":
		p.file.version = strings.TrimSpace(text)
	case "Provides":
		err = addPCWords(&p.file.provides, text)
	default:
		err = addPCWords(&p.file.requires, text)
	}
	if err != nil {
		return fault.Within(err, "%s", key)
	}
	return nil
}

// expand writes a text with its variables put in; "$$" is a dollar sign. One that
// does not exist is nothing.
func (p *pcParser) expand(to *strings.Builder, text string, depth int) error {
	if p.steps++; depth > maxPCDepth || p.steps > maxPCSteps {
		return fault.New(fault.Invalid, "variables within variables, too many")
	}
	for text != "" {
		before, rest, found := strings.Cut(text, "$")
		if to.WriteString(before); to.Len() > maxPCText {
			return fault.New(fault.Invalid, "a value of more than %d bytes", maxPCText)
		}
		text = rest
		switch {
		case !found:
		case strings.HasPrefix(rest, "$"):
			to.WriteByte('$')
			text = rest[1:]
		case strings.HasPrefix(rest, "{"):
			name, after, ok := strings.Cut(rest[1:], "}")
			if !ok {
				return fault.New(fault.Invalid, "a variable without an end")
			}
			text = after
			if err := p.expand(to, p.vars[name], depth+1); err != nil {
				return err
			}
		default:
			to.WriteByte('$')
		}
	}
	return nil
}

// addPCWords adds words that commas and blanks separate, of which some are
// followed by an operator and a version.
func addPCWords(list *[]pcWord, text string) error {
	words := strings.Fields(strings.ReplaceAll(spaceOperators(text), ",", " "))
	for i := 0; i < len(words); i++ {
		w := pcWord{name: words[i]}
		if isPCOperator(w.name) {
			return fault.New(fault.Invalid, "%q where a name is wanted", clip(w.name))
		}
		if i+1 < len(words) && isPCOperator(words[i+1]) {
			if i+2 >= len(words) || isPCOperator(words[i+2]) {
				return fault.New(fault.Invalid, "%s has an operator and no version", clip(w.name))
			}
			w.operator, w.version = words[i+1], words[i+2]
			i += 2
		}
		switch w.operator {
		case "==":
			w.operator = "="
		case "!=": // apk cannot say it
			w.operator, w.version = "", ""
		}
		if len(*list) == maxPCWords {
			return fault.New(fault.Invalid, "more than %d names", maxPCWords)
		}
		*list = append(*list, w)
	}
	return nil
}

// spaceOperators puts blanks around operators.
func spaceOperators(text string) string {
	var b strings.Builder
	for i := range len(text) {
		isOperator := strings.IndexByte("<>=!", text[i]) >= 0
		if i > 0 && isOperator != (strings.IndexByte("<>=!", text[i-1]) >= 0) {
			b.WriteByte(' ')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func isPCOperator(s string) bool {
	switch s {
	case "<", "<=", "=", "==", "!=", ">=", ">":
		return true
	}
	return strings.Trim(s, "<>=!") == ""
}
