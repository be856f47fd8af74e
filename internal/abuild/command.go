package abuild

import "slices"

// A status is how a command ended, as far as that is known.
type status int

const (
	unsure status = iota
	success
	failure
)

func statusOf(ok bool) status {
	if ok {
		return success
	}
	return failure
}

// then returns the mode of what runs if a status is the wanted one.
func (s status) then(m mode, wanted status) mode {
	switch s {
	case wanted:
		return m
	case unsure:
		return m.under()
	}
	return skip
}

// list reads commands up to what ends the list, which it returns unread: ")",
// ";;", a reserved word, or "" for the end of the recipe. It is an error if that
// is none of those wanted. The status is that of the last command.
func (in *interp) list(m mode, wanted ...string) (string, status, error) {
	if err := in.enter(); err != nil {
		return "", unsure, err
	}
	defer in.leave()
	start, last := in.pos, success
	for {
		if err := in.gap(); err != nil {
			return "", unsure, err
		}
		if end, ok := in.ends(); ok {
			if !slices.Contains(wanted, end) {
				return "", unsure, in.unexpected(end, wanted[0])
			}
			return end, last, in.spend(in.pos - start)
		}
		var err error
		if last, err = in.andOr(m); err != nil {
			return "", unsure, err
		}
		in.blanks()
		if in.at(";") && !in.at(";;") || in.at("&") {
			in.pos++
		} else if _, ok := in.ends(); !ok && !in.at("\n") {
			return "", unsure, in.bad("%q where a command should end", clip(in.rest()))
		}
	}
}

func (in *interp) unexpected(end, wanted string) error {
	switch {
	case end == "":
		return in.bad("the recipe ends where %q is wanted", wanted)
	case wanted == "":
		return in.bad("%q without a beginning", end)
	}
	return in.bad("%q where %q is wanted", end, wanted)
}

// ends reports whether a list ends here, and with what.
func (in *interp) ends() (string, bool) {
	switch {
	case in.pos == len(in.src):
		return "", true
	case in.at(")"):
		return ")", true
	case in.at(";;"):
		return ";;", true
	}
	w := in.reserved()
	return w, slices.Contains([]string{"}", "then", "elif", "else", "fi", "do", "done", "esac"}, w)
}

// andOr reads commands joined by && and ||.
func (in *interp) andOr(m mode) (status, error) {
	s, err := in.pipeline(in.now(m))
	for err == nil {
		in.blanks()
		wanted := success
		switch {
		case in.at("||"):
			wanted = failure
		case !in.at("&&"):
			return s, nil
		}
		in.pos += 2
		if err := in.gap(); err != nil {
			return unsure, err
		}
		next := s.then(in.now(m), wanted)
		var r status
		if r, err = in.pipeline(next); next != skip {
			s = r
			if next == perhaps {
				s = unsure
			}
		}
	}
	return unsure, err
}

// now returns the mode of the next command: after a jump nothing runs up to the
// end of the loop, after what may be a jump perhaps.
func (in *interp) now(m mode) mode {
	switch in.jump {
	case success:
		return skip
	case unsure:
		return m.under()
	}
	return m
}

// pipeline reads commands joined by |, each of which has variables of its own.
func (in *interp) pipeline(m mode) (status, error) {
	if err := in.spend(64); err != nil {
		return unsure, err
	}
	var s status
	names, err := in.watch(func() (err error) {
		s, err = in.command(m)
		return err
	})
	if err != nil {
		return unsure, err
	}
	for in.blanks(); in.at("|") && !in.at("||"); in.blanks() {
		s = unsure
		in.forget(m, names, "it is set in a pipeline")
		in.pos++
		if err := in.gap(); err != nil {
			return unsure, err
		}
		if _, err := in.command(skip); err != nil {
			return unsure, err
		}
	}
	return s, nil
}

// command reads one command.
func (in *interp) command(m mode) (status, error) {
	if err := in.enter(); err != nil {
		return unsure, err
	}
	defer in.leave()
	word := in.reserved()
	if in.at("(") {
		word = "("
	}
	in.pos += len(word)
	s, err := unsure, error(nil)
	switch word {
	case "!":
		in.blanks()
		s, err = in.command(m)
		return s.not(), err
	case "(":
		_, err = in.block(skip, ")")
	case "{":
		s, err = in.block(m, "}")
	case "if":
		err = in.ifCommand(m)
	case "while", "until":
		err = in.whileCommand(m, word == "until")
	case "for":
		err = in.forCommand(m)
	case "case":
		err = in.caseCommand(m)
	default:
		in.pos -= len(word)
		return in.simple(m)
	}
	if err != nil {
		return unsure, err
	}
	return s, in.redirections()
}

func (s status) not() status {
	switch s {
	case success:
		return failure
	case failure:
		return success
	}
	return unsure
}

// block reads a list and the word that ends it.
func (in *interp) block(m mode, end string) (status, error) {
	_, s, err := in.list(m, end)
	if err == nil {
		in.pos += len(end)
	}
	return s, err
}

// ifCommand runs the branch whose condition is known to hold.
func (in *interp) ifCommand(m mode) error {
	for {
		s, err := in.block(m, "then")
		if err != nil {
			return err
		}
		end, _, err := in.list(s.then(m, success), "fi", "elif", "else")
		if err != nil {
			return err
		}
		m = s.then(m, failure)
		in.pos += len(end)
		switch end {
		case "fi":
			return nil
		case "else":
			_, err := in.block(m, "fi")
			return err
		}
	}
}
