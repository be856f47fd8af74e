package abuild

import "strings"

// match reports whether a pattern of the shell matches the whole of s. In the
// pattern a backslash makes the byte after it plain.
func (in *interp) match(pat, s string) (bool, error) {
	if err := in.spend(len(s)); err != nil {
		return false, err
	}
	p, i, star, from := 0, 0, -1, 0
	for i < len(s) || p < len(pat) {
		if p < len(pat) && pat[p] == '*' {
			star, from = p, i
			p++
			continue
		}
		if i < len(s) && p < len(pat) {
			if n, hit := matchOne(pat[p:], s[i]); hit {
				p, i = p+n, i+1
				continue
			}
		}
		if star < 0 || from >= len(s) {
			return false, nil
		}
		if err := in.spend(1); err != nil {
			return false, err
		}
		from++
		p, i = star+1, from
	}
	return true, nil
}

// matchOne matches the first element of a pattern, which is not a star, with one
// byte, and returns the length of the element.
func matchOne(pat string, c byte) (int, bool) {
	switch pat[0] {
	case '?':
		return 1, true
	case '[':
		if n, hit := matchSet(pat, c); n > 0 {
			return n, hit
		}
	case '\\':
		if len(pat) > 1 {
			return 2, pat[1] == c
		}
	}
	return 1, pat[0] == c
}

// matchSet matches [set] with one byte and returns its length, 0 if the bracket
// is never closed and so is plain.
func matchSet(pat string, c byte) (int, bool) {
	i := 1
	negated := i < len(pat) && (pat[i] == '!' || pat[i] == '^')
	if negated {
		i++
	}
	hit := false
	for first := true; i < len(pat); first = false {
		if pat[i] == ']' && !first {
			return i + 1, hit != negated
		}
		if name, n := class(pat[i:]); n > 0 {
			hit = hit || inClass(name, c)
			i += n
			continue
		}
		lo, n := plain(pat[i:])
		i += n
		hi := lo
		if i+1 < len(pat) && pat[i] == '-' && pat[i+1] != ']' {
			hi, n = plain(pat[i+1:])
			i += n + 1
		}
		hit = hit || lo <= c && c <= hi
	}
	return 0, false
}

// plain returns the byte that a set begins with, and how many bytes it takes.
func plain(pat string) (byte, int) {
	if pat[0] == '\\' && len(pat) > 1 {
		return pat[1], 2
	}
	return pat[0], 1
}

// class reads [:name:] and returns its length, 0 if there is none.
func class(pat string) (string, int) {
	if !strings.HasPrefix(pat, "[:") {
		return "", 0
	}
	name, _, closed := strings.Cut(pat[2:], ":]")
	if !closed {
		return "", 0
	}
	return name, len(name) + 4
}

// inClass reports whether a byte belongs to a class of characters.
func inClass(name string, c byte) bool {
	upper, lower, digit := 'A' <= c && c <= 'Z', 'a' <= c && c <= 'z', '0' <= c && c <= '9'
	switch name {
	case "alpha":
		return upper || lower
	case "digit":
		return digit
	case "alnum":
		return upper || lower || digit
	case "upper":
		return upper
	case "lower":
		return lower
	case "space":
		return c == ' ' || '\t' <= c && c <= '\r'
	case "punct":
		return '!' <= c && c <= '~' && !upper && !lower && !digit
	case "xdigit":
		return digit || 'a' <= c|0x20 && c|0x20 <= 'f'
	}
	return false
}
