package intoto

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

const (
	maxJSON   = 64 << 20  // bytes of one JSON value
	maxDepth  = 64        // nesting
	maxTokens = 4_000_000 // keys, values and brackets
)

// encode returns v as JSON on one line, without escaping that only HTML needs.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decode reads exactly one JSON value into v. Two readers must never see
// different things in the same signed bytes, so keys that are repeated, in
// whatever case, are refused, as are unknown ones.
func decode(what string, b []byte, v any) error {
	if len(b) > maxJSON {
		return fault.New(fault.Invalid, "%s: more than %d bytes", what, maxJSON)
	}
	if err := scan(b); err != nil {
		return fault.New(fault.Invalid, "%s: %w", what, err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fault.New(fault.Invalid, "%s: %w", what, err)
	}
	return nil
}

// An object is one level of nesting while scanning; keys is nil for an array.
type object struct {
	keys  map[string]bool
	value bool // the next token of an object is a value
}

// scan checks the form of a JSON value without building it.
func scan(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var open []*object
	for n := 0; ; n++ {
		t, err := d.Token()
		switch {
		case err == io.EOF && n > 0 && len(open) == 0:
			return nil
		case err == io.EOF:
			return fault.New(fault.Invalid, "the JSON ends early")
		case err != nil:
			return err
		case n > 0 && len(open) == 0:
			return fault.New(fault.Invalid, "text after the JSON value")
		case n == maxTokens:
			return fault.New(fault.Invalid, "more than %d JSON tokens", maxTokens)
		}
		if open, err = step(open, t); err != nil {
			return err
		}
	}
}

// step takes one token into account and returns the levels now open.
func step(open []*object, t json.Token) ([]*object, error) {
	delim, _ := t.(json.Delim)
	if delim == '}' || delim == ']' {
		return open[:len(open)-1], nil
	}
	if len(open) > 0 {
		if top := open[len(open)-1]; top.keys != nil && !top.value {
			key := strings.ToLower(t.(string))
			if top.keys[key] {
				return nil, fault.New(fault.Invalid, "the key %q is there twice", t)
			}
			top.keys[key], top.value = true, true
			return open, nil
		} else if top.keys != nil {
			top.value = false
		}
	}
	switch {
	case delim == 0:
		return open, nil
	case len(open) == maxDepth:
		return nil, fault.New(fault.Invalid, "JSON nested more than %d deep", maxDepth)
	case delim == '{':
		return append(open, &object{keys: map[string]bool{}}), nil
	}
	return append(open, &object{}), nil
}
