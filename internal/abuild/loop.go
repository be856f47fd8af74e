package abuild

import "strings"

// whileCommand runs a loop as long as its condition is known to hold.
func (in *interp) whileCommand(m mode, until bool) error {
	start := in.pos
	outer := in.jump
	defer func() { in.jump = outer }()
	for {
		in.pos, in.jump = start, failure
		s, err := in.block(m, "do")
		if err != nil {
			return err
		}
		if until {
			s = s.not()
		}
		body := s.then(m, success)
		if _, err := in.block(body, "done"); err != nil {
			return err
		}
		if body == execute && in.jump == unsure {
			return in.again(start)
		}
		if body != execute || in.out {
			in.out = false
			return nil
		}
	}
}

// again reads a loop once more, of which it is not known whether it goes on.
func (in *interp) again(start int) error {
	in.pos = start
	if _, err := in.block(perhaps, "do"); err != nil {
		return err
	}
	_, err := in.block(perhaps, "done")
	return err
}

// forCommand runs a loop over words that are known; else what it sets is unknown.
func (in *interp) forCommand(m mode) error {
	in.blanks()
	name := in.src[in.pos : in.pos+nameLen(in.src[in.pos:])]
	if !isName(name) {
		return in.bad("a loop without a variable")
	}
	in.pos += len(name)
	words, known, err := in.forWords(m)
	if err != nil {
		return err
	}
	if in.reserved() != "do" {
		return in.bad("a loop without %q", "do")
	}
	in.pos += len("do")
	outer := in.jump
	defer func() { in.jump = outer }()
	line, body := in.line(), in.pos
	in.jump = failure
	if !known || m != execute || len(words) == 0 {
		if !known {
			in.forget(m, []string{name}, name+"= is set in a loop over what is not known")
			m = m.under()
		}
		if len(words) == 0 && known {
			m = skip
		}
		in.assign(m, name, value{line: line})
		_, err := in.block(m, "done")
		return err
	}
	for _, w := range words {
		in.pos = body
		if in.jump != unsure {
			in.jump = failure
		}
		in.assign(m, name, value{text: w, line: line})
		if _, err := in.block(m, "done"); err != nil {
			return err
		}
		if in.out {
			in.out = false
			return nil
		}
	}
	return nil
}

// forWords reads what a loop goes over, and up to its "do".
func (in *interp) forWords(m mode) (words []string, known bool, err error) {
	known = true
	if err := in.gap(); err != nil {
		return nil, false, err
	}
	if in.reserved() == "in" {
		in.pos += len("in")
		for in.blanks(); !in.atEnd(); in.blanks() {
			t, err := in.word(m)
			if err != nil {
				return nil, false, err
			}
			known = known && t.unknown == ""
			if t.quoted {
				words = append(words, t.lit.String())
			} else {
				words = append(words, strings.Fields(t.lit.String())...)
			}
		}
	} else {
		known = false // it goes over the script's arguments
	}
	in.blanks()
	if in.at(";") {
		in.pos++
	}
	return words, known, in.gap()
}

// caseCommand runs the branch that matches, if the word is known.
func (in *interp) caseCommand(m mode) error {
	in.blanks()
	subject, err := in.word(m)
	if err != nil {
		return err
	}
	if err := in.gap(); err != nil {
		return err
	}
	if in.reserved() != "in" {
		return in.bad("case without %q", "in")
	}
	in.pos += len("in")
	rest := m
	if subject.unknown != "" {
		rest = m.under()
	}
	for {
		if err := in.gap(); err != nil {
			return err
		}
		if in.reserved() == "esac" {
			in.pos += len("esac")
			return nil
		}
		if rest, err = in.branch(rest, subject.lit.String()); err != nil {
			return err
		}
	}
}

// branch reads one branch of a case whose subject is known if the mode is
// execute, and returns the mode of the branches that follow.
func (in *interp) branch(m mode, subject string) (mode, error) {
	s, err := in.patterns(m, subject)
	if err != nil {
		return m, err
	}
	body, rest := m, m
	if m == execute {
		body, rest = s.then(m, success), s.then(m, failure)
	}
	end, _, err := in.list(body, ";;", "esac")
	if end == ";;" {
		in.pos += len(end)
	}
	return rest, err
}

// patterns reads the patterns of a branch and says whether one matches.
func (in *interp) patterns(m mode, subject string) (status, error) {
	if in.at("(") {
		in.pos++
	}
	s := failure
	for {
		in.blanks()
		t, err := in.word(m)
		if err != nil {
			return unsure, err
		}
		switch {
		case s == success || m != execute:
		case t.unknown != "":
			s = unsure
		default:
			hit, err := in.match(t.pat.String(), subject)
			if err != nil {
				return unsure, err
			}
			if hit {
				s = success
			}
		}
		in.blanks()
		switch {
		case in.at(")"):
			in.pos++
			return s, nil
		case in.at("|"):
			in.pos++
		default:
			return unsure, in.bad("a branch of case without %q", ")")
		}
	}
}
