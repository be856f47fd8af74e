package deb

import (
	"bytes"
	"iter"
)

// Stanzas yields the paragraphs of a control file held in memory, each with its
// offset and without the blank line after it. Nothing is parsed or copied.
func Stanzas(text []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		for at := 0; at < len(text); {
			if text[at] == '\n' {
				at++
				continue
			}
			size := bytes.Index(text[at:], []byte("\n\n"))
			if size < 0 {
				size = len(text) - at
			} else {
				size++
			}
			if !yield(at, text[at:at+size]) {
				return
			}
			at += size
		}
	}
}

// StanzaField returns the value of a field straight from the bytes of a stanza,
// nil if it is not there. The name must be spelled as in the text. Continuation
// lines keep their newline and leading blank.
func StanzaField(stanza []byte, name string) []byte {
	for at := 0; at < len(stanza); {
		line := stanza[at:]
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line = line[:i]
		}
		if len(line) > len(name) && line[len(name)] == ':' && string(line[:len(name)]) == name {
			return stanzaValue(stanza[at+len(name)+1:])
		}
		at += len(line) + 1
	}
	return nil
}

// stanzaValue returns the value at the start of rest, up to the next field.
func stanzaValue(rest []byte) []byte {
	end := 0
	for {
		i := bytes.IndexByte(rest[end:], '\n')
		if i < 0 {
			end = len(rest)
			break
		}
		end += i + 1
		if end == len(rest) || (rest[end] != ' ' && rest[end] != '\t') {
			break
		}
	}
	return bytes.TrimSpace(rest[:end:end])
}
