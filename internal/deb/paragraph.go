package deb

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a control paragraph.
const (
	maxParagraph = 16 << 20 // bytes; a Release file is one paragraph
	maxFields    = 1000
)

// A Field is one field of a paragraph.
type Field struct {
	Name  string
	Value string // without surrounding blanks; continuation lines keep their leading blank
	Line  int    // where the field begins, 1-based; 0 if it was not read from a file
}

// A Paragraph is an ordered list of fields, the "stanza" of Debian's control
// files. Field names are compared without regard to case.
type Paragraph struct {
	Fields []Field
}

// Get returns the value of a field, "" if it is not there.
func (p Paragraph) Get(name string) string {
	if i := p.index(name); i >= 0 {
		return p.Fields[i].Value
	}
	return ""
}

// Has reports whether the paragraph has a field of that name.
func (p Paragraph) Has(name string) bool { return p.index(name) >= 0 }

// Line returns the line of a field, or that of the paragraph if the field is not
// there; 0 if the paragraph was not read from a file.
func (p Paragraph) Line(name string) int {
	if i := p.index(name); i >= 0 {
		return p.Fields[i].Line
	}
	if len(p.Fields) > 0 {
		return p.Fields[0].Line
	}
	return 0
}

// Set replaces the value of a field, or adds the field at the end.
func (p *Paragraph) Set(name, value string) {
	if i := p.index(name); i >= 0 {
		p.Fields[i].Value = value
		return
	}
	p.Fields = append(p.Fields, Field{Name: name, Value: value})
}

// Delete removes a field if it is there.
func (p *Paragraph) Delete(name string) {
	if i := p.index(name); i >= 0 {
		p.Fields = append(p.Fields[:i:i], p.Fields[i+1:]...)
	}
}

func (p Paragraph) index(name string) int {
	for i := range p.Fields {
		if n := p.Fields[i].Name; len(n) == len(name) && strings.EqualFold(n, name) {
			return i
		}
	}
	return -1
}

// AppendTo appends the paragraph in control syntax to b, without the blank line
// that separates it from the next, and returns the longer slice.
func (p Paragraph) AppendTo(b []byte) []byte {
	for _, f := range p.Fields {
		b = append(b, f.Name...)
		b = append(b, ':')
		if f.Value != "" && f.Value[0] != '\n' {
			b = append(b, ' ')
		}
		b = append(b, f.Value...)
		b = append(b, '\n')
	}
	return b
}

// String returns the paragraph in control syntax.
func (p Paragraph) String() string { return string(p.AppendTo(nil)) }

// A Reader reads paragraphs from a control file.
type Reader struct {
	r    *bufio.Reader
	line int
	buf  []byte
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Next returns the next paragraph, io.EOF if there is none, or a fault.Invalid
// error that names the line if the text is not a control file or too large.
func (r *Reader) Next() (Paragraph, error) {
	raw, first, err := r.NextText()
	if err != nil {
		return Paragraph{}, err
	}
	return parseParagraph(string(raw), first)
}

// NextText returns the bytes of the next paragraph without parsing them, valid
// until the next call, and its first line. The error is as for Next.
func (r *Reader) NextText() (text []byte, line int, err error) {
	r.buf = r.buf[:0]
	for {
		start := len(r.buf)
		err := r.readLine()
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, 0, err
		}
		if len(r.buf) > start {
			r.line++
		}
		switch blank := isBlank(r.buf[start:]); {
		case blank && start > 0:
			return r.buf[:start], line, nil
		case blank && err != nil:
			return nil, 0, io.EOF
		case blank:
			r.buf = r.buf[:0]
			continue
		case start == 0:
			line = r.line
		}
		if err != nil {
			return r.buf, line, nil
		}
	}
}

// readLine appends a line with its newline to the buffer.
func (r *Reader) readLine() error {
	for {
		chunk, err := r.r.ReadSlice('\n')
		r.buf = append(r.buf, chunk...)
		switch {
		case len(r.buf) > maxParagraph:
			return fault.New(fault.Invalid, "a control paragraph is larger than %d bytes", maxParagraph).At("", r.line+1)
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
}

func isBlank(line []byte) bool { return len(bytes.Trim(line, " \t\r\n")) == 0 }

// ParseParagraph parses text that holds exactly one paragraph.
func ParseParagraph(text []byte) (Paragraph, error) {
	r := NewReader(bytes.NewReader(text))
	p, err := r.Next()
	if errors.Is(err, io.EOF) {
		return p, fault.New(fault.Invalid, "no control paragraph in the text")
	}
	if err != nil {
		return p, err
	}
	if _, line, err := r.NextText(); !errors.Is(err, io.EOF) {
		return p, fault.New(fault.Invalid, "more than one control paragraph").At("", line)
	}
	return p, nil
}

// parseParagraph parses the text of one paragraph; line is that of its start.
func parseParagraph(text string, line int) (Paragraph, error) {
	p := Paragraph{Fields: make([]Field, 0, min(maxFields, 1+strings.Count(text, "\n")))}
	for ; text != ""; line++ {
		l, rest := cutLine(text)
		switch l[0] {
		case '#':
		case ' ', '\t':
			return p, fault.New(fault.Invalid, "a continuation line that continues no field").At("", line)
		default:
			field, size, err := parseField(text, len(l))
			if err != nil {
				return p, err.At("", line)
			}
			field.Line = line
			if p.Has(field.Name) {
				return p, fault.New(fault.Invalid, "field %s is there twice", clip(field.Name)).At("", line)
			}
			if len(p.Fields) == maxFields {
				return p, fault.New(fault.Invalid, "more than %d fields", maxFields).At("", line)
			}
			p.Fields = append(p.Fields, field)
			line += strings.Count(text[:size], "\n") - 1
			rest = text[size:]
		}
		text = rest
	}
	return p, nil
}

// cutLine splits off the first line, without its newline. It never returns an
// empty line of non-empty text, as a paragraph has none.
func cutLine(text string) (line, rest string) {
	if i := strings.IndexByte(text, '\n'); i > 0 {
		return text[:i], text[i+1:]
	}
	return text, ""
}

// parseField parses the field at the start of text, whose first line has the
// given length, and returns it with the number of bytes that it takes up.
func parseField(text string, first int) (Field, int, *fault.Error) {
	colon := strings.IndexByte(text[:first], ':')
	if colon < 1 || !isFieldName(text[:colon]) {
		return Field{}, 0, fault.New(fault.Invalid, "%q is not a field of the form Name: value", clip(text[:first]))
	}
	end := first
	comment := false
	for end+1 < len(text) && strings.IndexByte(" \t#", text[end+1]) >= 0 {
		comment = comment || text[end+1] == '#'
		next := strings.IndexByte(text[end+1:], '\n')
		if next < 0 {
			end = len(text)
			break
		}
		end += 1 + next
	}
	value := text[colon+1 : end]
	if comment {
		value = withoutComments(value)
	}
	value = strings.TrimRight(strings.TrimLeft(value, " \t"), " \t\r\n")
	return Field{Name: text[:colon], Value: value}, min(end+1, len(text)), nil
}

func isFieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s[0] != '-' && s[0] != '#'
}

// withoutComments removes the comment lines from a value.
func withoutComments(value string) string {
	var kept []string
	for i, l := range strings.Split(value, "\n") {
		if i == 0 || !strings.HasPrefix(l, "#") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "\n")
}
