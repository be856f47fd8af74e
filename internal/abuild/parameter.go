package abuild

import (
	"strconv"
	"strings"
)

// parameter reads ${…} after its brace.
func (in *interp) parameter(t *text, double bool, m mode) error {
	if in.at("#") {
		if n := nameLen(in.src[in.pos+1:]); n > 0 && strings.HasPrefix(in.src[in.pos+1+n:], "}") {
			v := in.lookup(in.src[in.pos+1 : in.pos+1+n])
			in.pos += n + 2
			v.text = strconv.Itoa(len(v.text))
			return in.take(t, v, double)
		}
	}
	name := in.src[in.pos : in.pos+nameLen(in.src[in.pos:])]
	in.pos += len(name)
	if !isName(name) {
		t.doubt("it has an expansion ${…} of something else than a variable")
		return in.operand(&text{}, "}", double, skip)
	}
	v := in.lookup(name)
	op := in.operator()
	in.pos += len(op)
	switch op {
	case "}":
		return in.take(t, v, double)
	case "%", "%%", "#", "##":
		return in.strip(t, v, op, double, m)
	case "/", "//":
		return in.replace(t, v, op, double, m)
	case ":-", "-", ":=", "=", ":+", "+":
		return in.fallback(t, name, op, double, m)
	case ":":
		return in.substring(t, v, double, m)
	}
	t.doubt("it has an expansion ${" + clip(name) + "…} of a form that is not known")
	return in.operand(&text{}, "}", double, skip)
}

// operator returns what follows the name of a variable in braces.
func (in *interp) operator() string {
	for _, op := range []string{"}", "%%", "%", "##", "#", "//", "/", ":-", ":=", ":+", ":?", ":", "-", "=", "+"} {
		if in.at(op) {
			return op
		}
	}
	return ""
}

// operand reads a part of an expansion and the byte of stop that ends it.
func (in *interp) operand(t *text, stop string, double bool, m mode) error {
	if err := in.until(t, stop, double, m); err != nil {
		return err
	}
	in.pos++
	return nil
}

// strip takes the shortest or longest match of a pattern off one end.
func (in *interp) strip(t *text, v value, op string, double bool, m mode) error {
	var p text
	if err := in.operand(&p, "}", false, m); err != nil {
		return err
	}
	if v.unknown != "" || p.unknown != "" || m == skip {
		t.doubt(v.unknown)
		t.doubt(p.unknown)
		return nil
	}
	s, n := v.text, len(v.text)
	for i := range n + 1 {
		cut := i // bytes taken off: few first for the shortest match
		if len(op) == 2 {
			cut = n - i
		}
		part, rest := s[:cut], s[cut:]
		if op[0] == '%' {
			part, rest = s[n-cut:], s[:n-cut]
		}
		hit, err := in.match(p.pat.String(), part)
		if err != nil {
			return err
		}
		if hit {
			return in.add(t, rest, double)
		}
	}
	return in.add(t, s, double)
}

// replace puts something in the place of the first match of a pattern, or of all.
func (in *interp) replace(t *text, v value, op string, double bool, m mode) error {
	var p, with text
	if err := in.until(&p, "/}", false, m); err != nil {
		return err
	}
	if in.src[in.pos] == '/' {
		in.pos++
		if err := in.until(&with, "}", false, m); err != nil {
			return err
		}
	}
	in.pos++
	for _, why := range []string{v.unknown, p.unknown, with.unknown} {
		t.doubt(why)
	}
	if t.unknown != "" || m == skip {
		return nil
	}
	s, pat := v.text, p.pat.String()
	for pat != "" && s != "" {
		at, n, err := in.find(pat, s)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if err := in.add(t, s[:at]+with.lit.String(), double); err != nil {
			return err
		}
		if s = s[at+n:]; op == "/" {
			break
		}
	}
	return in.add(t, s, double)
}

// find returns where the first match of the pattern begins, and the length of the
// longest there; 0 if nothing matches.
func (in *interp) find(pat, s string) (at, n int, err error) {
	if !strings.ContainsAny(pat, `*?[\`) {
		if at := strings.Index(s, pat); at >= 0 {
			return at, len(pat), in.spend(len(s))
		}
		return 0, 0, in.spend(len(s))
	}
	for at := range len(s) {
		for n := len(s) - at; n > 0; n-- {
			if hit, err := in.match(pat, s[at:at+n]); hit || err != nil {
				return at, n, err
			}
		}
	}
	return 0, 0, nil
}

// fallback is a value for a variable that is not set, or empty (with a colon).
func (in *interp) fallback(t *text, name, op string, double bool, m mode) error {
	var word text
	if err := in.operand(&word, "}", double, m); err != nil {
		return err
	}
	v, set := in.vars[name]
	if !set && fromAbuild(name) || v.unknown != "" {
		t.doubt(in.lookup(name).unknown)
		return nil
	}
	has := set && (op[0] != ':' || v.text != "")
	other := value{text: word.lit.String(), unknown: word.unknown, line: in.line()}
	switch op[len(op)-1] {
	case '+':
		if !has {
			return nil
		}
		v = other
	case '=':
		if !has {
			in.assign(m, name, other)
			v = other
		}
	default:
		if !has {
			v = other
		}
	}
	return in.take(t, v, double)
}

// substring reads ${name:offset} and ${name:offset:length}, offset and length
// being plain numbers; a negative offset counts from the end.
func (in *interp) substring(t *text, v value, double bool, m mode) error {
	var offset, length text
	if err := in.until(&offset, ":}", false, m); err != nil {
		return err
	}
	bounded := in.src[in.pos] == ':'
	if bounded {
		in.pos++
		if err := in.until(&length, "}", false, m); err != nil {
			return err
		}
	}
	in.pos++
	for _, why := range []string{v.unknown, offset.unknown, length.unknown} {
		t.doubt(why)
	}
	if t.unknown != "" || m == skip {
		return nil
	}
	from, err := strconv.Atoi(strings.TrimSpace(offset.lit.String()))
	to := len(v.text)
	if err == nil && bounded {
		var n int
		n, err = strconv.Atoi(strings.TrimSpace(length.lit.String()))
		to = n
	}
	if err != nil || bounded && to < 0 {
		t.doubt("it cuts a text at a place that is computed")
		return nil
	}
	if from < 0 {
		from = max(0, from+len(v.text))
	}
	from = min(from, len(v.text))
	if bounded {
		to = min(from+min(to, len(v.text)), len(v.text))
	}
	return in.add(t, v.text[from:to], double)
}
