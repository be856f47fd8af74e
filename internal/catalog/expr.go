package catalog

import (
	"fmt"
	"strings"
)

// A lookup gives the value of a name in an expression.
type lookup func(name string) (string, error)

// An expr is an expression ready to be evaluated. Its value is text; conditions
// are the texts "true" and "false".
type expr interface {
	eval(lookup) (string, error)
}

type (
	literal string
	name    string
	not     struct{ a expr }
	binary  struct {
		op   string
		a, b expr
	}
	choice struct{ cond, yes, no expr }
)

func (l literal) eval(lookup) (string, error) { return string(l), nil }

func (n name) eval(find lookup) (string, error) { return find(string(n)) }

func (n not) eval(find lookup) (string, error) {
	v, err := truth(n.a, find)
	return fmt.Sprint(!v), err
}

func (c choice) eval(find lookup) (string, error) {
	v, err := truth(c.cond, find)
	if err != nil {
		return "", err
	}
	if v {
		return c.yes.eval(find)
	}
	return c.no.eval(find)
}

func (b binary) eval(find lookup) (string, error) {
	switch b.op {
	case "&&", "||":
		v, err := truth(b.a, find)
		if err != nil || v == (b.op == "||") {
			return fmt.Sprint(v), err
		}
		v, err = truth(b.b, find)
		return fmt.Sprint(v), err
	}
	x, err := b.a.eval(find)
	if err != nil {
		return "", err
	}
	y, err := b.b.eval(find)
	switch {
	case err != nil:
		return "", err
	case b.op != "+":
		if symbol := firstSymbol(x + y); symbol != "" {
			return "", fmt.Errorf("%s cannot be compared, it is known only when the definition is built", symbol)
		}
		return fmt.Sprint((x == y) == (b.op == "==")), nil
	case len(x)+len(y) > maxText:
		return "", fmt.Errorf("text of more than %d bytes", maxText)
	}
	return x + y, nil
}

// truth evaluates a condition.
func truth(e expr, find lookup) (bool, error) {
	v, err := e.eval(find)
	switch {
	case err != nil:
		return false, err
	case v == "true":
		return true, nil
	case v == "false":
		return false, nil
	}
	return false, fmt.Errorf("%q where true or false is wanted", clip(v))
}

// clip shortens text for a message.
func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "…"
	}
	return s
}

// parseExpr reads an expression from the start of src up to the given closing
// character, or to the end of src if that is 0. It returns the expression and
// the bytes it took, the closing character included.
//
//	choice  = or [ "?" choice ":" choice ]
//	or      = and { "||" and }
//	and     = equal { "&&" equal }
//	equal   = sum [ ( "==" | "!=" ) sum ]
//	sum     = unary { "+" unary }
//	unary   = "!" unary | "(" choice ")" | string | number | name
func parseExpr(src string, closing byte) (expr, int, error) {
	p := &exprParser{src: src}
	p.next()
	e, err := p.choice(0)
	if err != nil {
		return nil, 0, err
	}
	end := ""
	if closing != 0 {
		end = string(closing)
	}
	if p.token != end {
		return nil, 0, p.unexpected()
	}
	return e, p.at, nil
}

type exprParser struct {
	src   string
	at    int    // after the current token
	token string // "" at the end; strings keep their opening quote
	err   error
}

// next reads the next token.
func (p *exprParser) next() {
	rest := strings.TrimLeft(p.src[p.at:], " \t\n")
	start := len(p.src) - len(rest)
	p.at, p.token = start, ""
	if rest == "" {
		return
	}
	n := 1
	switch c := rest[0]; {
	case c == '"' || c == '\'':
		i := strings.IndexByte(rest[1:], c)
		if i < 0 {
			p.err = fmt.Errorf("a string without its closing %c", c)
			p.at = len(p.src)
			return
		}
		p.token, p.at = rest[:i+1], start+i+2
		return
	case len(rest) > 1 && strings.Contains("== != && ||", rest[:2]) && rest[1] != ' ':
		n = 2
	case isNameByte(c):
		for n < len(rest) && isNameByte(rest[n]) {
			n++
		}
	}
	p.token, p.at = rest[:n], start+n
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

func (p *exprParser) unexpected() error {
	switch {
	case p.err != nil:
		return p.err
	case p.token == "":
		return fmt.Errorf("the expression is not finished")
	}
	return fmt.Errorf("unexpected %q", clip(p.token))
}

func (p *exprParser) choice(depth int) (expr, error) {
	if depth > maxExprDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxExprDepth)
	}
	cond, err := p.chain(0, depth)
	if err != nil || p.token != "?" {
		return cond, err
	}
	p.next()
	yes, err := p.choice(depth + 1)
	if err != nil {
		return nil, err
	}
	if p.token != ":" {
		return nil, p.unexpected()
	}
	p.next()
	no, err := p.choice(depth + 1)
	return choice{cond, yes, no}, err
}

// chain reads operands joined by the operators of one level of precedence.
func (p *exprParser) chain(level, depth int) (expr, error) {
	levels := [][]string{{"||"}, {"&&"}, {"==", "!="}, {"+"}}
	if level == len(levels) {
		return p.unary(depth)
	}
	e, err := p.chain(level+1, depth)
	for count := 0; err == nil; count++ {
		op := ""
		for _, o := range levels[level] {
			if p.token == o {
				op = o
			}
		}
		if op == "" {
			return e, nil
		}
		if count > maxExprDepth {
			return nil, fmt.Errorf("more than %d operators in a row", maxExprDepth)
		}
		p.next()
		var right expr
		right, err = p.chain(level+1, depth)
		e = binary{op, e, right}
	}
	return nil, err
}

func (p *exprParser) unary(depth int) (expr, error) {
	token := p.token
	switch {
	case token == "" || p.err != nil:
		return nil, p.unexpected()
	case depth > maxExprDepth:
		return nil, fmt.Errorf("nested deeper than %d levels", maxExprDepth)
	case token == "!":
		p.next()
		a, err := p.unary(depth + 1)
		return not{a}, err
	case token == "(":
		p.next()
		e, err := p.choice(depth + 1)
		if err == nil && p.token != ")" {
			err = p.unexpected()
		}
		p.next()
		return e, err
	case token[0] == '"' || token[0] == '\'':
		p.next()
		return literal(token[1:]), nil
	case token == "true" || token == "false" || token[0] >= '0' && token[0] <= '9':
		p.next()
		return literal(token), nil
	case isNameByte(token[0]):
		p.next()
		return name(token), nil
	}
	return nil, p.unexpected()
}
