package elfcheck

import (
	"bytes"
	"debug/elf"
	"strings"
)

// muchCode is how many bytes of code of a C compiler have, all but surely, a
// function with an array on its stack. Of less nothing can be said: of the files
// of Debian's packages that are compiled with the protector, some with 200 KiB
// have no use for it.
const muchCode = 256 << 10

// protections looks for what the compiler's protections call. Both leave traces
// only where there was something to protect.
func (p *parser) protections(f *File) error {
	t, err := p.traces()
	if err != nil {
		return err
	}
	inC := p.compiler == GCC || p.compiler == Clang
	switch {
	case t.guard:
		f.StackProtector = Seen
	case t.known && inC && p.codeSize() >= muchCode:
		f.StackProtector = Missing
	}
	switch musl := isMusl(f); {
	case t.checked:
		f.Fortify = Seen
	case t.known && inC && t.checkable && !musl:
		f.Fortify = Missing
	}
	return nil
}

// isMusl reports whether a file is made for the C library musl.
func isMusl(f *File) bool {
	if strings.HasPrefix(f.Interpreter, "/lib/ld-musl-") {
		return true
	}
	for _, n := range f.Needed {
		if strings.HasPrefix(n, "libc.musl-") {
			return true
		}
	}
	return false
}

// codeSize returns the bytes of code.
func (p *parser) codeSize() uint64 {
	var n uint64
	for i := range p.progs {
		if h := &p.progs[i]; elf.ProgType(h.Type) == elf.PT_LOAD && elf.ProgFlag(h.Flags)&elf.PF_X != 0 {
			n += min(h.Filesz, uint64(p.size))
		}
	}
	return n
}

// traces are what symbols tell.
type traces struct {
	known     bool // there were symbols to look at
	guard     bool // __stack_chk_fail
	checked   bool // a function such as __memcpy_chk
	checkable bool // a function such as memcpy
}

// traces goes through the dynamic symbols, or through the static ones of a file
// that has no others.
func (p *parser) traces() (traces, error) {
	var t traces
	table := p.dynsym
	if table == nil {
		table = p.symtab
	}
	if table == nil {
		return t, nil
	}
	return t, ignoreMalformed(p.readSymbols(table, &t))
}

// readSymbols goes through one table of symbols.
func (p *parser) readSymbols(h *elf.Section64, t *traces) error {
	size := uint64(elf.Sym64Size)
	if !p.is64 {
		size = elf.Sym32Size
	}
	names := p.strtabs[h.Link]
	if h.Size/size > maxSymbols || names.Size > maxStrings {
		return malformed("too many symbols")
	}
	table, err := p.at(h.Off, h.Size/size*size)
	if err != nil {
		return err
	}
	text, err := p.at(names.Off, names.Size)
	if err != nil {
		return err
	}
	t.known = t.known || len(table) > int(size) // the first one is nothing
	for ; len(table) > 0; table = table[size:] {
		if at := p.order.Uint32(table); uint64(at) < names.Size {
			t.take(text[at:])
		}
	}
	return nil
}

// take looks at the name of one symbol, with which b begins.
func (t *traces) take(b []byte) {
	const longest = 64
	name, _, ok := bytes.Cut(b[:min(len(b), longest)], []byte{0})
	if !ok {
		return
	}
	name, _, _ = bytes.Cut(name, []byte("@")) // in a static table the version is part of the name
	switch {
	case bytes.HasPrefix(name, []byte("__stack_chk_fail")):
		t.guard = true
	case bytes.HasPrefix(name, []byte("__")) && bytes.HasSuffix(name, []byte("_chk")):
		t.checked = true
	case checkable[string(name)]:
		t.checkable = true
	}
}

// checkable are the functions that every program with some use of buffers calls,
// and of which _FORTIFY_SOURCE makes checked ones where it knows the size.
var checkable = map[string]bool{
	"sprintf": true, "snprintf": true, "vsprintf": true, "vsnprintf": true, "printf": true, "fprintf": true,
}
