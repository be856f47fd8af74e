package pgp

import (
	"bytes"
	"strings"
)

const (
	beginMessage   = "-----BEGIN PGP SIGNED MESSAGE-----"
	beginSignature = "-----BEGIN PGP SIGNATURE-----"
)

// A frame is a clear-signed file taken apart.
type frame struct {
	text   []byte // the signed lines, each ending in a line feed
	signed []byte // the bytes that the signature is over
	armour []byte // the signature block
}

// Unwrap returns the text of b without checking its signature. A file that is
// not clear-signed comes back as it is, with signed false. A file that carries
// anything beside one clear-signed block is a fault.Invalid error.
func Unwrap(b []byte) (text []byte, signed bool, err error) {
	if !bytes.Contains(b, []byte(beginMessage)) {
		return b, false, nil
	}
	f, err := parseFrame(b)
	if err != nil {
		return nil, false, err
	}
	if _, err := signatureBody(f.armour); err != nil {
		return nil, false, err
	}
	return f.text, true, nil
}

// parseFrame takes a clear-signed file apart. The block must begin in the first
// line and nothing but white space may follow it.
func parseFrame(b []byte) (*frame, error) {
	if len(b) > maxText {
		return nil, malformed("a clear-signed file of more than %d bytes", maxText)
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return nil, malformed("a clear-signed file holds a NUL byte")
	}
	line, rest := cutLine(b)
	if string(line) != beginMessage {
		return nil, malformed("the file does not begin with %s", beginMessage)
	}
	rest, err := skipHashHeaders(rest)
	if err != nil {
		return nil, err
	}
	f := &frame{}
	if rest, err = f.readText(rest); err != nil {
		return nil, err
	}
	if len(rest) > maxArmour {
		return nil, malformed("a signature block of more than %d bytes", maxArmour)
	}
	f.armour = rest
	return f, nil
}

// skipHashHeaders skips the "Hash:" lines and the empty line after them. Any
// other header is refused: it would be text that looks signed and is not.
func skipHashHeaders(b []byte) (rest []byte, err error) {
	for len(b) > 0 {
		var line []byte
		if line, b = cutLine(b); len(line) == 0 {
			return b, nil
		}
		value, ok := strings.CutPrefix(string(line), "Hash: ")
		if !ok || strings.Trim(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-, ") != "" {
			return nil, malformed("%q is not allowed above the signed text, only \"Hash:\" is", clip(line))
		}
	}
	return nil, malformed("the file ends before the signed text")
}

// readText reads the dash-escaped lines up to the signature block, which it
// returns as rest.
func (f *frame) readText(b []byte) (rest []byte, err error) {
	for first := true; ; first = false {
		if len(b) == 0 {
			return nil, malformed("the signed text has no signature after it")
		}
		line, next := cutLine(b)
		if string(line) == beginSignature {
			return b, nil
		}
		line, escaped := bytes.CutPrefix(line, []byte("- "))
		if !escaped && bytes.HasPrefix(line, []byte("-")) {
			return nil, malformed("line %q of the signed text begins with an unescaped dash", clip(line))
		}
		if bytes.IndexByte(line, '\r') >= 0 {
			return nil, malformed("line %q of the signed text holds a carriage return", clip(line))
		}
		if !first {
			f.signed = append(f.signed, "\r\n"...)
		}
		f.signed = append(f.signed, line...)
		f.text = append(append(f.text, line...), '\n')
		b = next
	}
}

// newFrame makes the frame of a text that is to be signed: white space at the
// ends of lines goes, since signatures do not cover it, and the last line gets
// its line feed.
func newFrame(text []byte) (*frame, error) {
	switch {
	case len(text) > maxText:
		return nil, malformed("a text of more than %d bytes to sign", maxText)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, malformed("there is no text to sign")
	case bytes.IndexByte(text, 0) >= 0:
		return nil, malformed("the text to sign holds a NUL byte")
	}
	f := &frame{}
	for rest := text; len(rest) > 0; {
		var line []byte
		line, rest = cutLine(rest)
		if bytes.IndexByte(line, '\r') >= 0 {
			return nil, malformed("line %q of the text to sign holds a carriage return", clip(line))
		}
		if len(f.text) > 0 {
			f.signed = append(f.signed, "\r\n"...)
		}
		f.signed = append(f.signed, line...)
		f.text = append(append(f.text, line...), '\n')
	}
	return f, nil
}

// encode returns the clear-signed file of the frame.
func (f *frame) encode() []byte {
	var out bytes.Buffer
	out.WriteString(beginMessage + "\nHash: SHA512\n\n")
	for line := range bytes.Lines(f.text) {
		if line[0] == '-' {
			out.WriteString("- ")
		}
		out.Write(line)
	}
	out.Write(f.armour)
	return out.Bytes()
}
