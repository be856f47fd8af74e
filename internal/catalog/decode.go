package catalog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// DecodeWith reads the parameters of a step into the struct that v points to.
// Its fields carry tags `yaml:"name"` or `yaml:"name,required"`, and may be
// strings, bools, ints, lists, maps with string keys, structs, Raw, or Strings
// for a list that may be written as one string; a field `enum:"a|b"` accepts
// only those words; an embedded Pos receives the place. A number given where
// text is wanted is taken as it is written. Errors name the file and line, and
// for an unknown name the nearest known one.
func DecodeWith(s Step, v any) error {
	target := reflect.ValueOf(v)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("catalog: DecodeWith into %T, which is no pointer to a struct", v)
	}
	n := s.With.node
	if n == nil {
		n = &node{Pos: s.Pos, kind: mapping}
	}
	return decode(n, target.Elem(), "parameter of "+s.Uses, "")
}

// Pos returns where the raw part stands, the zero Pos if it is absent.
func (r Raw) Pos() Pos {
	if r.node == nil {
		return Pos{}
	}
	return r.node.Pos
}

// Items returns the entries of a list, nil if the part is no list.
func (r Raw) Items() []Raw {
	if r.node == nil || r.node.kind != sequence {
		return nil
	}
	items := make([]Raw, len(r.node.items))
	for i, n := range r.node.items {
		items[i] = Raw{n}
	}
	return items
}

// Value returns the part as plain Go values: nil if absent or null, string (also
// for numbers, as written), bool, []any, map[string]any.
func (r Raw) Value() any {
	if r.node == nil {
		return nil
	}
	return r.node.plain()
}

// MarshalJSON returns the JSON of Value.
func (r Raw) MarshalJSON() ([]byte, error) { return json.Marshal(r.Value()) }

// YAML returns the part as a YAML document, keys in their order and numbers as
// they are written; nil if it is absent or null.
func (r Raw) YAML() ([]byte, error) {
	if r.Value() == nil {
		return nil, nil
	}
	return yaml.Marshal(r.node.yaml())
}

func (n *node) yaml() *yaml.Node {
	switch n.kind {
	case sequence:
		y := &yaml.Node{Kind: yaml.SequenceNode}
		for _, item := range n.items {
			y.Content = append(y.Content, item.yaml())
		}
		return y
	case mapping:
		y := &yaml.Node{Kind: yaml.MappingNode}
		for i, item := range n.items {
			y.Content = append(y.Content, n.keys[i].yaml(), item.yaml())
		}
		return y
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: n.tag, Value: n.value}
}

func (n *node) plain() any {
	switch n.kind {
	case sequence:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.plain()
		}
		return list
	case mapping:
		m := make(map[string]any, len(n.items))
		for i, item := range n.items {
			m[n.keys[i].value] = item.plain()
		}
		return m
	}
	switch n.tag {
	case "!!null":
		return nil
	case "!!bool":
		return isTrue(n.value)
	}
	return n.value
}

var (
	posType     = reflect.TypeFor[Pos]()
	rawType     = reflect.TypeFor[Raw]()
	modeType    = reflect.TypeFor[Mode]()
	stringsType = reflect.TypeFor[Strings]()
	modeForm    = regexp.MustCompile(`^[0-7]{3,5}$`)
)

// decode sets v from n. what is the word for a key in messages ("key"), enum
// the words allowed, separated by "|".
func decode(n *node, v reflect.Value, what, enum string) error {
	if v.Type() == rawType {
		v.Set(reflect.ValueOf(Raw{n}))
		return nil
	}
	if n.kind == scalar && n.tag == "!!null" {
		return nil // a key without a value is as if absent
	}
	if v.Type() == stringsType && n.kind == scalar {
		v.Set(reflect.ValueOf(Strings{n.value}))
		return nil
	}
	switch v.Kind() {
	case reflect.Struct:
		return decodeStruct(n, v, what)
	case reflect.Slice:
		return decodeSlice(n, v, what, enum)
	case reflect.Map:
		return decodeMap(n, v)
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		return decodeScalar(n, v, enum)
	}
	return fmt.Errorf("catalog: cannot decode into %s", v.Type())
}

func decodeScalar(n *node, v reflect.Value, enum string) error {
	if n.kind != scalar {
		return n.errorf("%s where %s is wanted", n.describe(), wanted(v))
	}
	switch v.Kind() {
	case reflect.String:
		if enum != "" && !slices.Contains(strings.Split(enum, "|"), n.value) {
			words := strings.Split(enum, "|")
			return n.errorf("unknown word %q", n.value).Fix("%s", oneOf(n.value, words))
		}
		if v.Type() == modeType && !modeForm.MatchString(n.value) {
			return n.errorf("%q is no file mode", n.value).Fix("write octal digits in quotes, such as \"0644\"")
		}
		v.SetString(n.value)
	case reflect.Bool:
		if n.tag != "!!bool" {
			return n.errorf("%s where true or false is wanted", n.describe())
		}
		v.SetBool(isTrue(n.value))
	default:
		i, err := strconv.ParseInt(n.value, 10, 32)
		if n.tag != "!!int" || err != nil || i < 0 {
			return n.errorf("%s where a number from 0 to 2147483647 is wanted", n.describe())
		}
		v.SetInt(i)
	}
	return nil
}

func decodeSlice(n *node, v reflect.Value, what, enum string) error {
	if n.kind != sequence {
		return n.errorf("%s where a list is wanted", n.describe())
	}
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		if item.kind == scalar && item.tag == "!!null" && v.Type().Elem() != rawType {
			return item.errorf("an empty entry in a list").Fix("take it away")
		}
		if err := decode(item, list.Index(i), what, enum); err != nil {
			return err
		}
	}
	v.Set(list)
	return nil
}

func decodeMap(n *node, v reflect.Value) error {
	if n.kind != mapping {
		return n.errorf("%s where names with values are wanted", n.describe())
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.items))
	for i, item := range n.items {
		value := reflect.New(v.Type().Elem()).Elem()
		if err := decode(item, value, "key", ""); err != nil {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(n.keys[i].value), value)
	}
	v.Set(m)
	return nil
}

func decodeStruct(n *node, v reflect.Value, what string) error {
	if n.kind != mapping {
		return n.errorf("%s where keys with values are wanted", n.describe())
	}
	form := formOf(v.Type())
	if form.pos != nil {
		v.FieldByIndex(form.pos).Set(reflect.ValueOf(n.Pos))
	}
	for i, key := range n.keys {
		f, ok := form.fields[key.value]
		if !ok {
			return key.errorf("unknown %s %q", what, key.value).Fix("%s", oneOf(key.value, form.names))
		}
		if err := decode(n.items[i], v.FieldByIndex(f.index), "key", f.enum); err != nil {
			return err
		}
	}
	for _, name := range form.required {
		if n.get(name) == nil {
			return n.errorf("%q is missing", name)
		}
	}
	return nil
}

// describe says what a node is, for messages.
func (n *node) describe() string {
	switch {
	case n.kind == sequence:
		return "a list"
	case n.kind == mapping:
		return "keys with values"
	}
	value := n.value
	if len(value) > 40 {
		value = value[:40] + "…"
	}
	return strconv.Quote(value)
}

func wanted(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	}
	return "a number"
}

// isTrue reports what a YAML boolean says; the parser has checked its form.
func isTrue(value string) bool { return strings.EqualFold(value, "true") }

// A form is what is known of a struct type: its fields by key.
type form struct {
	fields   map[string]field
	names    []string // sorted
	required []string
	pos      []int // index of an embedded Pos, nil if none
}

type field struct {
	index []int
	enum  string
}

// forms remembers the forms of types, which reflection is slow to find.
var forms sync.Map

func formOf(t reflect.Type) *form {
	if f, ok := forms.Load(t); ok {
		return f.(*form)
	}
	f := &form{fields: map[string]field{}}
	f.add(t, nil)
	slices.Sort(f.names)
	forms.Store(t, f)
	return f
}

func (f *form) add(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(prefix), i)
		name, option, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case sf.Type == posType && sf.Anonymous:
			f.pos = index
		case option == "inline":
			f.add(sf.Type, index)
		case name != "" && name != "-":
			f.fields[name] = field{index, sf.Tag.Get("enum")}
			f.names = append(f.names, name)
			if option == "required" {
				f.required = append(f.required, name)
			}
		}
	}
}
