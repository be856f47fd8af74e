package abuild

import (
	"strconv"
	"strings"
)

// arithmetic reads $((expression)) of numbers, variables, + - * / % and brackets;
// what goes beyond that is unknown.
func (in *interp) arithmetic(t *text, m mode) error {
	start, depth := in.pos, 0
	for ; in.pos < len(in.src); in.pos++ {
		switch in.src[in.pos] {
		case '(':
			depth++
		case ')':
			depth--
		}
		if depth == 0 {
			break
		}
	}
	if in.pos == len(in.src) {
		return in.bad("an arithmetic expression without an end")
	}
	in.pos++
	if m == skip {
		return nil
	}
	e := expression{in: in, rest: in.src[start+1 : in.pos-1], ok: true}
	n := e.sum()
	if e.blank(); !e.ok || e.rest != "" || e.unknown != "" {
		t.doubt(e.unknown)
		t.doubt("it is computed in a way that is not followed")
		return nil
	}
	return in.add(t, strconv.FormatInt(n, 10), true)
}

// An expression is the rest of an arithmetic expression.
type expression struct {
	in      *interp
	rest    string
	unknown string // why a variable of it is not known
	ok      bool   // it is of the form that is understood
	depth   int
}

func (e *expression) blank() { e.rest = strings.TrimLeft(e.rest, " \t\n") }

// next takes one of the bytes if it comes next, and returns it, or 0.
func (e *expression) next(of string) byte {
	e.blank()
	if e.rest == "" || strings.IndexByte(of, e.rest[0]) < 0 {
		return 0
	}
	c := e.rest[0]
	e.rest = e.rest[1:]
	return c
}

func (e *expression) sum() int64 {
	n := e.product()
	for {
		switch e.next("+-") {
		case '+':
			n += e.product()
		case '-':
			n -= e.product()
		default:
			return n
		}
	}
}

func (e *expression) product() int64 {
	n := e.number()
	for {
		op := e.next("*/%")
		if op == 0 {
			return n
		}
		d := e.number()
		switch {
		case op == '*':
			n *= d
		case d == 0:
			e.ok = false
			return 0
		case op == '/':
			n /= d
		default:
			n %= d
		}
	}
}

// number reads a number, a variable that holds one, or an expression in brackets.
// A number that begins with a zero would be octal and is not taken.
func (e *expression) number() int64 {
	if e.depth++; e.depth > maxDepth {
		e.ok = false
		return 0
	}
	defer func() { e.depth-- }()
	switch e.next("(-") {
	case '(':
		n := e.sum()
		e.ok = e.ok && e.next(")") != 0
		return n
	case '-':
		return -e.number()
	}
	e.rest = strings.TrimPrefix(e.rest, "$")
	n := nameLen(e.rest)
	word := e.rest[:n]
	e.rest = e.rest[n:]
	if isName(word) {
		v := e.in.lookup(word)
		if v.unknown != "" {
			e.unknown = v.unknown
		}
		word = v.text
		if word == "" {
			word = "0"
		}
	}
	i, err := strconv.ParseInt(word, 10, 64)
	if err != nil || len(word) > 1 && word[0] == '0' {
		e.ok = false
	}
	return i
}
