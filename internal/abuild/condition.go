package abuild

import (
	"strconv"
	"strings"
)

// test evaluates the words of [ … ] or test, as far as they are known.
func test(words []*text) status {
	var args []string
	for _, w := range words[1:] {
		switch {
		case w.unknown != "":
			return unsure
		case w.quoted:
			args = append(args, w.lit.String())
		default:
			args = append(args, strings.Fields(w.lit.String())...)
		}
	}
	if words[0].lit.String() == "[" {
		if len(args) == 0 || args[len(args)-1] != "]" {
			return unsure
		}
		args = args[:len(args)-1]
	}
	return evaluate(args)
}

// evaluate evaluates a condition on texts and numbers; those on files are unsure.
func evaluate(args []string) status {
	switch len(args) {
	case 0:
		return failure
	case 1:
		return statusOf(args[0] != "")
	case 2:
		switch args[0] {
		case "!":
			return evaluate(args[1:]).not()
		case "-n":
			return statusOf(args[1] != "")
		case "-z":
			return statusOf(args[1] == "")
		}
	case 3:
		switch args[1] {
		case "=", "==":
			return statusOf(args[0] == args[2])
		case "!=":
			return statusOf(args[0] != args[2])
		}
		if args[0] == "!" {
			return evaluate(args[1:]).not()
		}
		return compare(args[0], args[1], args[2])
	}
	return unsure
}

// compare compares two numbers.
func compare(a, op, b string) status {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX != nil || errY != nil {
		return unsure
	}
	switch op {
	case "-eq":
		return statusOf(x == y)
	case "-ne":
		return statusOf(x != y)
	case "-lt":
		return statusOf(x < y)
	case "-le":
		return statusOf(x <= y)
	case "-gt":
		return statusOf(x > y)
	case "-ge":
		return statusOf(x >= y)
	}
	return unsure
}
