package abuild

import "strings"

// A text is a word as it is read: what it stands for, and the same as a pattern,
// in which a backslash makes the byte after it plain.
type text struct {
	lit, pat strings.Builder
	unknown  string // why lit cannot be known, "" if it is
	quoted   bool   // some of it was in quotes, so that it is one word
}

// add appends to the text; quoted bytes mean nothing in a pattern.
func (in *interp) add(t *text, s string, quoted bool) error {
	if t.lit.Len()+len(s) > maxValue {
		return in.bad("a value of more than %d bytes", maxValue)
	}
	t.lit.WriteString(s)
	if !quoted {
		t.pat.WriteString(s)
		return in.spend(len(s))
	}
	for i := range len(s) {
		if strings.IndexByte(`*?[]\`, s[i]) >= 0 {
			t.pat.WriteByte('\\')
		}
		t.pat.WriteByte(s[i])
	}
	return in.spend(len(s))
}

// doubt says that a text cannot be known.
func (t *text) doubt(why string) {
	if t.unknown == "" {
		t.unknown = why
	}
}

// word reads one word. In the mode skip its value is of no use.
func (in *interp) word(m mode) (*text, error) {
	t := &text{}
	if in.at("<(") || in.at(">(") {
		in.pos += 2
		t.doubt("it is the output of a program")
		_, err := in.block(skip, ")")
		return t, err
	}
	start := in.pos
	if err := in.until(t, " \t\r\n;&|()<>", false, m); err != nil {
		return nil, err
	}
	if in.pos == start && !in.atEnd() && in.src[in.pos] != ' ' && in.src[in.pos] != '\t' {
		return nil, in.bad("%q where a word is wanted", clip(in.rest()))
	}
	return t, nil
}

// until reads up to one of the bytes of stop, which must come if the text is in
// quotes or braces, as double says for quotes and stop for braces.
func (in *interp) until(t *text, stop string, double bool, m mode) error {
	if err := in.enter(); err != nil {
		return err
	}
	defer in.leave()
	for in.pos < len(in.src) {
		c := in.src[in.pos]
		if strings.IndexByte(stop, c) >= 0 {
			return nil
		}
		var err error
		switch {
		case c == '\\':
			err = in.escape(t, double)
		case c == '\'' && !double:
			err = in.single(t)
		case c == '"':
			err = in.double(t, m)
		case c == '$':
			err = in.dollar(t, double, m)
		case c == '`':
			err = in.backquote(t)
		default:
			in.pos++
			err = in.add(t, string(c), double)
		}
		if err != nil {
			return err
		}
	}
	if strings.ContainsAny(stop, `"}`) {
		return in.bad("the recipe ends within quotes or braces")
	}
	return nil
}

// escape reads a backslash and the byte after it.
func (in *interp) escape(t *text, double bool) error {
	if in.pos+1 == len(in.src) {
		in.pos++
		return in.add(t, `\`, true)
	}
	c := in.src[in.pos+1]
	in.pos += 2
	switch {
	case c == '\n':
		return nil
	case double && strings.IndexByte("$`\"\\", c) < 0:
		return in.add(t, `\`+string(rune(c)), true)
	}
	t.quoted = true
	return in.add(t, string(rune(c)), true)
}

// single reads 'text'.
func (in *interp) single(t *text) error {
	s, _, closed := strings.Cut(in.src[in.pos+1:], "'")
	if !closed {
		return in.bad("a quote ' that is never closed")
	}
	in.pos += len(s) + 2
	t.quoted = true
	return in.add(t, s, true)
}

// double reads "text".
func (in *interp) double(t *text, m mode) error {
	in.pos++
	t.quoted = true
	if err := in.until(t, `"`, true, m); err != nil {
		return err
	}
	in.pos++
	return nil
}

// backquote skips a command between backquotes.
func (in *interp) backquote(t *text) error {
	for in.pos++; in.pos < len(in.src); in.pos++ {
		switch in.src[in.pos] {
		case '\\':
			in.pos++
		case '`':
			in.pos++
			t.doubt("it is the output of a program")
			return nil
		}
	}
	in.pos = len(in.src)
	return in.bad("a quote ` that is never closed")
}

// dollar reads what begins with a dollar sign.
func (in *interp) dollar(t *text, double bool, m mode) error {
	in.pos++
	switch {
	case in.at("{"):
		in.pos++
		return in.parameter(t, double, m)
	case in.at("(("):
		return in.arithmetic(t, m)
	case in.at("("):
		in.pos++
		t.doubt("it is the output of a program")
		here := in.here
		in.here = nil
		if _, err := in.block(skip, ")"); err != nil {
			return err
		}
		in.here = here
		return nil
	case in.at("'") && !double:
		t.doubt("it has text of the form $'…'")
		return in.dollarSingle()
	}
	if n := nameLen(in.src[in.pos:]); n > 0 && isName(in.src[in.pos:in.pos+n]) {
		v := in.lookup(in.src[in.pos : in.pos+n])
		in.pos += n
		return in.take(t, v, double)
	}
	if in.pos < len(in.src) && strings.IndexByte("0123456789@*#?$!-", in.src[in.pos]) >= 0 {
		in.pos++
		t.doubt("it has an argument of the shell")
		return nil
	}
	return in.add(t, "$", double)
}

// dollarSingle skips $'text'.
func (in *interp) dollarSingle() error {
	for in.pos++; in.pos < len(in.src); in.pos++ {
		switch in.src[in.pos] {
		case '\\':
			in.pos++
		case '\'':
			in.pos++
			return nil
		}
	}
	in.pos = len(in.src)
	return in.bad("a quote ' that is never closed")
}

// lookup returns the value of a variable. One that is not set is empty, unless
// abuild may set it.
func (in *interp) lookup(name string) value {
	v, set := in.vars[name]
	if !set && fromAbuild(name) {
		return value{line: in.line(), unknown: "$" + name + " comes from abuild"}
	}
	return v
}

// take appends the value of a variable.
func (in *interp) take(t *text, v value, quoted bool) error {
	if v.unknown != "" {
		t.doubt(v.unknown)
		return nil
	}
	return in.add(t, v.text, quoted)
}
