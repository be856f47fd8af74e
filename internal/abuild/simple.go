package abuild

import "strings"

// simple reads assignments, a call of a program or function, or the definition of
// a function.
func (in *interp) simple(m mode) (status, error) {
	if name, ok := in.functionName(); ok {
		return unsure, in.function(name)
	}
	type setting struct {
		name string
		v    value
	}
	var settings []setting
	for {
		in.blanks()
		name, ok := in.assignment()
		if !ok {
			break
		}
		line := in.line()
		t, err := in.word(m)
		if err != nil {
			return unsure, err
		}
		settings = append(settings, setting{name, value{text: t.lit.String(), line: line, unknown: t.unknown}})
	}
	words, err := in.words(m)
	if err != nil || m == skip && len(words) > 0 {
		return unsure, err
	}
	if len(words) > 0 {
		return in.call(m, words), nil // the assignments before it are for the program alone
	}
	s := success
	for _, x := range settings {
		in.assign(m, x.name, x.v)
		if x.v.unknown != "" {
			s = unsure // it may be the status of a program
		}
	}
	return s, nil
}

// functionName takes "name()" if it comes next.
func (in *interp) functionName() (string, bool) {
	start := in.pos
	for in.pos < len(in.src) && (in.src[in.pos] == '-' || in.src[in.pos] == '.' || nameLen(in.src[in.pos:in.pos+1]) == 1) {
		in.pos++
	}
	name := in.src[start:in.pos]
	in.blanks()
	if name != "" && in.at("(") {
		in.pos++
		in.blanks()
		if in.at(")") {
			in.pos++
			return name, true
		}
	}
	in.pos = start
	return "", false
}

// function reads the body of a function and remembers what it may set.
func (in *interp) function(name string) error {
	if err := in.gap(); err != nil {
		return err
	}
	outer := in.found
	in.found = nil // to define a function sets nothing
	names, err := in.watch(func() error {
		_, err := in.command(skip)
		return err
	})
	in.found = outer
	in.sets[name] = names
	return err
}

// assignment takes "name=" if it comes next.
func (in *interp) assignment() (string, bool) {
	name := in.src[in.pos : in.pos+nameLen(in.src[in.pos:])]
	if !isName(name) || !strings.HasPrefix(in.src[in.pos+len(name):], "=") {
		return "", false
	}
	in.pos += len(name) + 1
	return name, true
}

// words reads the words and redirections of a call up to its end.
func (in *interp) words(m mode) ([]*text, error) {
	var words []*text
	for {
		if err := in.redirections(); err != nil {
			return nil, err
		}
		if in.atEnd() {
			return words, nil
		}
		t, err := in.word(m)
		if err != nil {
			return nil, err
		}
		words = append(words, t)
	}
}

// call does what a program or function does to the variables, and returns its
// status if that is known.
func (in *interp) call(m mode, words []*text) status {
	name := words[0].lit.String()
	if words[0].unknown != "" {
		if len(words) > 1 {
			in.lose(m, "it runs a command whose name is not known")
		}
		return unsure // alone it is "true" or "false"
	}
	switch name {
	case ":", "true":
		return success
	case "false":
		return failure
	case "[", "test":
		return test(words)
	case "break", "continue":
		in.leap(m, name == "break")
	case ".", "source", "eval", "return", "exit":
		in.lose(m, "it runs "+name+", which is not followed")
	case "export", "readonly", "local", "declare", "typeset":
		in.declare(m, words[1:])
		return success
	case "read", "unset", "getopts", "printf":
		in.forget(m, variableNames(words[1:]), name+" sets it")
	}
	in.forget(m, in.sets[name], "the function "+clip(name)+" may set it")
	return unsure
}

// leap ends one turn of a loop, or the loop.
func (in *interp) leap(m mode, out bool) {
	switch {
	case m == perhaps:
		in.jump = unsure
	case in.jump == failure:
		in.jump, in.out = success, out
	}
}

// declare makes the assignments among the words of export and its like.
func (in *interp) declare(m mode, words []*text) {
	for _, w := range words {
		if name, val, set := strings.Cut(w.lit.String(), "="); set && isName(name) {
			in.assign(m, name, value{text: val, line: in.line(), unknown: w.unknown})
		}
	}
}

// variableNames returns the words that may be names of variables.
func variableNames(words []*text) []string {
	var names []string
	for _, w := range words {
		if isName(w.lit.String()) {
			names = append(names, w.lit.String())
		}
	}
	return names
}

// redirections reads what comes before the next word: blanks and redirections.
func (in *interp) redirections() error {
	for {
		in.blanks()
		i := in.pos
		for i < len(in.src) && '0' <= in.src[i] && in.src[i] <= '9' {
			i++
		}
		if i == len(in.src) || in.src[i] != '<' && in.src[i] != '>' || strings.HasPrefix(in.src[i+1:], "(") {
			return nil
		}
		in.pos = i + 1
		if in.src[i] == '<' && in.at("<") {
			in.pos++
			if err := in.heredoc(); err != nil {
				return err
			}
			continue
		}
		for in.at(">") || in.at("&") || in.at("|") {
			in.pos++
		}
		in.blanks()
		if _, err := in.word(skip); err != nil {
			return err
		}
	}
}

// heredoc reads the word that will end a document.
func (in *interp) heredoc() error {
	h := heredoc{}
	if in.at("-") {
		h.tabs = true
		in.pos++
	}
	in.blanks()
	start := in.pos
	if _, err := in.word(skip); err != nil {
		return err
	}
	h.end = strings.NewReplacer(`"`, "", `'`, "", `\`, "").Replace(in.src[start:in.pos])
	if h.end == "" {
		return in.bad("a document without a word that ends it")
	}
	in.here = append(in.here, h)
	return nil
}

// documents skips the documents that begin on this line.
func (in *interp) documents() error {
	for _, h := range in.here {
		for {
			if in.pos == len(in.src) {
				return in.bad("the document that %q should end has no end", clip(h.end))
			}
			line := in.rest()
			in.pos = min(in.pos+len(line)+1, len(in.src))
			if h.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == h.end {
				break
			}
		}
	}
	in.here = nil
	return nil
}

// gap skips blanks, comments, newlines and the documents after them.
func (in *interp) gap() error {
	for {
		in.blanks()
		if !in.at("\n") {
			return nil
		}
		in.pos++
		if err := in.documents(); err != nil {
			return err
		}
	}
}

// blanks skips spaces, tabs, lines that are continued, and a comment.
func (in *interp) blanks() {
	for in.pos < len(in.src) {
		switch {
		case in.src[in.pos] == ' ' || in.src[in.pos] == '\t' || in.src[in.pos] == '\r':
			in.pos++
		case in.at("\\\n"):
			in.pos += 2
		case in.src[in.pos] == '#':
			in.pos += len(in.rest())
		default:
			return
		}
	}
}

// at reports whether s comes next.
func (in *interp) at(s string) bool { return strings.HasPrefix(in.src[in.pos:], s) }

// rest returns the present line from here.
func (in *interp) rest() string {
	line, _, _ := strings.Cut(in.src[in.pos:], "\n")
	return line
}

// atEnd reports whether no word of a command comes next.
func (in *interp) atEnd() bool {
	return in.pos == len(in.src) || strings.IndexByte("\n;&|()", in.src[in.pos]) >= 0
}

// reserved returns the reserved word that comes next, or whatever bare word does.
func (in *interp) reserved() string {
	s := in.src[in.pos:]
	n := 0
	for n < len(s) && 'a' <= s[n] && s[n] <= 'z' {
		n++
	}
	if n == 0 && s != "" && strings.IndexByte("{}!", s[0]) >= 0 {
		n = 1
	}
	if n < len(s) && strings.IndexByte(" \t\r\n;&|()<>", s[n]) < 0 {
		return ""
	}
	return s[:n]
}
