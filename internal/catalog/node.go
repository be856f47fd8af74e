package catalog

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// The limits of a definition. The largest real ones are 66 KiB in one file, 900
// nodes and 12 levels.
const (
	maxFileSize  = 1 << 20 // bytes of one file
	maxDepth     = 40      // levels of nesting
	maxNodes     = 50_000  // nodes of one file
	maxText      = 1 << 18 // bytes of one string, written or expanded
	maxExpanded  = 8 << 20 // bytes of all strings of one expansion
	maxIncludes  = 32      // files that one definition may include
	maxVarDepth  = 32      // vars that refer to one another in a chain
	maxExprDepth = 64      // levels of parentheses, operators and conditions
	maxPattern   = 512     // bytes of a regular expression
	maxMatched   = 4096    // bytes of the text it is matched with
	maxMatches   = 200     // regular expressions of one definition
)

type kind uint8

const (
	scalar kind = iota
	sequence
	mapping
)

// A node is a YAML node that knows its file. It is never changed once read, so
// that trees can share parts.
type node struct {
	Pos
	kind  kind
	tag   string  // of a scalar: !!str, !!int, !!bool, !!float, !!null
	value string  // of a scalar, as written
	keys  []*node // of a mapping, parallel to items
	items []*node
}

// get returns the value of a mapping's key, or nil.
func (n *node) get(key string) *node {
	if n == nil || n.kind != mapping {
		return nil
	}
	for i, k := range n.keys {
		if k.value == key {
			return n.items[i]
		}
	}
	return nil
}

// errorf returns an error of the definition at the node.
func (p Pos) errorf(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...).At(p.File, p.Line)
}

// parse reads one YAML document into a tree. It refuses what the format does not
// have (aliases, several documents, other tags, keys that are not strings, a key
// twice) and what exceeds the limits. An empty document is an empty mapping.
func parse(file string, b []byte) (*node, error) {
	if len(b) > maxFileSize {
		return nil, fault.New(fault.Invalid, "file is larger than %d bytes", maxFileSize).At(file, 0)
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, fault.New(fault.Invalid, "file holds a NUL byte, so it is no YAML text").At(file, 0)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	switch err := d.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return &node{Pos: Pos{file, 1}, kind: mapping}, nil
	case err != nil:
		return nil, yamlError(file, err)
	}
	var more yaml.Node
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, yamlError(file, err)
		}
		return nil, Pos{file, more.Line}.errorf("a second YAML document").Fix("keep one definition in a file")
	}
	c := converter{file: file}
	return c.convert(doc.Content[0], 0)
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// yamlError moves the line of a parser's error to where ours have it.
func yamlError(file string, err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	m := yamlLine.FindStringSubmatch(text)
	line := 0
	if m[1] != "" {
		line, _ = strconv.Atoi(m[1])
	}
	return fault.New(fault.Invalid, "not valid YAML: %s", m[2]).At(file, line)
}

// A converter turns the parser's nodes into ours and counts them.
type converter struct {
	file  string
	count int
}

func (c *converter) convert(y *yaml.Node, depth int) (*node, error) {
	n := &node{Pos: Pos{c.file, y.Line}}
	c.count++
	switch {
	case depth > maxDepth:
		return nil, n.errorf("nested deeper than %d levels", maxDepth)
	case c.count > maxNodes:
		return nil, n.errorf("more than %d values in one file", maxNodes)
	case y.Kind == yaml.AliasNode, y.Anchor != "":
		return nil, n.errorf("anchors and aliases are not part of the format").Fix("use a var: ${NAME}")
	}
	switch y.Kind {
	case yaml.ScalarNode:
		return c.scalar(n, y)
	case yaml.SequenceNode:
		n.kind = sequence
		return n, c.children(n, y, depth)
	case yaml.MappingNode:
		n.kind = mapping
		return n, c.pairs(n, y, depth)
	}
	return nil, n.errorf("unexpected YAML node")
}

func (c *converter) scalar(n *node, y *yaml.Node) (*node, error) {
	n.tag, n.value = y.ShortTag(), y.Value
	switch n.tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null":
	case "!!timestamp": // a date is text to us
		n.tag = "!!str"
	case "!!merge":
		return nil, n.errorf("merge keys are not part of the format").Fix("write %q if you mean the text", "<<")
	default:
		return nil, n.errorf("the tag %s is not part of the format", n.tag)
	}
	if len(n.value) > maxText {
		return nil, n.errorf("a string of more than %d bytes", maxText)
	}
	return n, nil
}

func (c *converter) children(n *node, y *yaml.Node, depth int) error {
	if tag := y.ShortTag(); tag != "!!seq" {
		return n.errorf("the tag %s is not part of the format", tag)
	}
	n.items = make([]*node, len(y.Content))
	for i, child := range y.Content {
		var err error
		if n.items[i], err = c.convert(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *converter) pairs(n *node, y *yaml.Node, depth int) error {
	if tag := y.ShortTag(); tag != "!!map" {
		return n.errorf("the tag %s is not part of the format", tag)
	}
	size := len(y.Content) / 2
	n.keys, n.items = make([]*node, size), make([]*node, size)
	seen := make(map[string]int, size)
	for i := range size {
		key, err := c.convert(y.Content[2*i], depth+1)
		if err != nil {
			return err
		}
		if key.kind != scalar {
			return key.errorf("a key must be a plain name")
		}
		if first, twice := seen[key.value]; twice {
			return key.errorf("key %q is there twice, first at line %d", key.value, first)
		}
		seen[key.value] = key.Line
		n.keys[i] = key
		if n.items[i], err = c.convert(y.Content[2*i+1], depth+1); err != nil {
			return err
		}
	}
	return nil
}
