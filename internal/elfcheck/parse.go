package elfcheck

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on what is read. Real files stay far below them.
const (
	maxSegments = 1000
	maxSections = 65_535
	maxName     = 4096 // bytes of a path or a soname
	maxComment  = 64 << 10
	maxNote     = 64 << 10
	maxNeeded   = 4096
	maxDynamic  = 64 << 10 // entries of the dynamic segment
	maxStrings  = 64 << 20 // bytes of a string table
	maxSymbols  = 2 << 20
)

// A parser reads one file.
type parser struct {
	r    io.ReaderAt
	size int64

	is64    bool
	order   binary.ByteOrder
	etype   elf.Type
	machine elf.Machine

	phoff, shoff           uint64
	phnum, shnum, shstrndx int

	progs    []elf.Prog64
	symtab   *elf.Section64 // the static symbols, nil if they were stripped
	dynsym   *elf.Section64
	strtabs  map[uint32]elf.Section64 // the names of symbols, by the number of their section
	compiler string
	nobits   bool // the section of the code has no content

	dyn    map[elf.DynTag]uint64
	needed []uint64
	flags1 elf.DynFlag1
}

// at reads n bytes from an offset.
func (p *parser) at(off, n uint64) ([]byte, error) {
	if off > uint64(p.size) || n > uint64(p.size)-off {
		return nil, malformed("it is cut short")
	}
	b := make([]byte, n)
	if got, err := p.r.ReadAt(b, int64(off)); got < len(b) {
		if errors.Is(err, io.EOF) {
			return nil, malformed("it is cut short")
		}
		return nil, err
	}
	return b, nil
}

// header reads the header of the file.
func (p *parser) header() error {
	ident, err := p.at(0, elf.EI_NIDENT)
	if err != nil {
		return err
	}
	switch {
	case string(ident[:4]) != Magic:
		return malformed("it does not begin as one")
	case ident[elf.EI_CLASS] != byte(elf.ELFCLASS32) && ident[elf.EI_CLASS] != byte(elf.ELFCLASS64):
		return malformed("class %d is neither 32 nor 64 bits", ident[elf.EI_CLASS])
	case ident[elf.EI_DATA] != byte(elf.ELFDATA2LSB) && ident[elf.EI_DATA] != byte(elf.ELFDATA2MSB):
		return malformed("byte order %d does not exist", ident[elf.EI_DATA])
	}
	p.is64 = ident[elf.EI_CLASS] == byte(elf.ELFCLASS64)
	p.order = binary.LittleEndian
	if ident[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		p.order = binary.BigEndian
	}
	var h elf.Header64
	if p.is64 {
		err = p.decode(&h, 0)
	} else {
		var h32 elf.Header32
		err = p.decode(&h32, 0)
		h = elf.Header64{Type: h32.Type, Machine: h32.Machine, Phoff: uint64(h32.Phoff), Shoff: uint64(h32.Shoff),
			Phentsize: h32.Phentsize, Phnum: h32.Phnum, Shentsize: h32.Shentsize, Shnum: h32.Shnum, Shstrndx: h32.Shstrndx}
	}
	if err != nil {
		return err
	}
	p.etype, p.machine = elf.Type(h.Type), elf.Machine(h.Machine)
	p.phoff, p.shoff = h.Phoff, h.Shoff
	p.phnum, p.shnum, p.shstrndx = int(h.Phnum), int(h.Shnum), int(h.Shstrndx)
	switch {
	case p.phnum > maxSegments:
		return malformed("%d program headers", p.phnum)
	case p.phnum > 0 && int(h.Phentsize) != binary.Size(p.prog()):
		return malformed("program headers of %d bytes", h.Phentsize)
	case p.shnum > 0 && int(h.Shentsize) != binary.Size(p.section()):
		p.shnum = 0 // the loader does not mind
	}
	return nil
}

// prog and section return an empty header of the class of the file.
func (p *parser) prog() any {
	if p.is64 {
		return new(elf.Prog64)
	}
	return new(elf.Prog32)
}

func (p *parser) section() any {
	if p.is64 {
		return new(elf.Section64)
	}
	return new(elf.Section32)
}

// decode reads a structure of fixed size.
func (p *parser) decode(v any, off uint64) error {
	b, err := p.at(off, uint64(binary.Size(v)))
	if err != nil {
		return err
	}
	_, err = binary.Decode(b, p.order, v)
	return err
}

// programHeaders reads the program headers.
func (p *parser) programHeaders() error {
	size := uint64(binary.Size(p.prog()))
	if p.phnum == 0 {
		return nil
	}
	table, err := p.at(p.phoff, size*uint64(p.phnum))
	if err != nil {
		return err
	}
	for ; len(table) > 0; table = table[size:] {
		v := p.prog()
		if _, err := binary.Decode(table, p.order, v); err != nil {
			return err
		}
		if ph, ok := v.(*elf.Prog32); ok {
			v = &elf.Prog64{Type: ph.Type, Flags: ph.Flags, Off: uint64(ph.Off), Vaddr: uint64(ph.Vaddr),
				Filesz: uint64(ph.Filesz), Memsz: uint64(ph.Memsz)}
		}
		p.progs = append(p.progs, *v.(*elf.Prog64))
	}
	return nil
}

// sections takes from the sections what it can use. A table that is not there or
// makes no sense is passed over, as a loader does.
func (p *parser) sections() error {
	size := uint64(binary.Size(p.section()))
	if p.shnum == 0 || p.shoff == 0 {
		return nil
	}
	table, err := p.at(p.shoff, size*uint64(p.shnum))
	if err != nil {
		return ignoreMalformed(err)
	}
	headers := make([]elf.Section64, p.shnum)
	for i := range headers {
		v := p.section()
		if _, err := binary.Decode(table[uint64(i)*size:], p.order, v); err != nil {
			return err
		}
		if sh, ok := v.(*elf.Section32); ok {
			v = &elf.Section64{Name: sh.Name, Type: sh.Type, Flags: uint64(sh.Flags), Addr: uint64(sh.Addr), Off: uint64(sh.Off),
				Size: uint64(sh.Size), Link: sh.Link}
		}
		headers[i] = *v.(*elf.Section64)
	}
	p.strtabs = map[uint32]elf.Section64{}
	for i := range headers {
		if err := p.takeSection(&headers[i], headers); err != nil {
			return ignoreMalformed(err)
		}
	}
	return nil
}

// takeSection takes what is of use of one section.
func (p *parser) takeSection(h *elf.Section64, all []elf.Section64) error {
	switch elf.SectionType(h.Type) {
	case elf.SHT_SYMTAB, elf.SHT_DYNSYM:
		if int(h.Link) >= len(all) {
			return nil
		}
		p.strtabs[h.Link] = all[h.Link]
		if elf.SectionType(h.Type) == elf.SHT_DYNSYM {
			p.dynsym = h
		} else {
			p.symtab = h
		}
	case elf.SHT_NOBITS:
		p.nobits = p.nobits || elf.SectionFlag(h.Flags)&elf.SHF_EXECINSTR != 0
	case elf.SHT_PROGBITS, elf.SHT_NOTE:
		name, err := p.sectionName(h, all)
		switch {
		case err != nil:
			return err
		case name == ".go.buildinfo", name == ".note.go.buildid":
			p.compiler = Go
		case name == ".comment" && p.compiler == "":
			text, err := p.at(h.Off, min(h.Size, maxComment))
			if err != nil {
				return err
			}
			p.compiler = compilerOf(text)
		}
	}
	return nil
}

// sectionName returns the name of a section, or the beginning of a long one.
func (p *parser) sectionName(h *elf.Section64, all []elf.Section64) (string, error) {
	const enough = 20
	if p.shstrndx >= len(all) {
		return "", nil
	}
	names := &all[p.shstrndx]
	if uint64(h.Name) >= names.Size || names.Off > uint64(p.size) || names.Size > uint64(p.size)-names.Off {
		return "", malformed("a section without a name")
	}
	b, err := p.at(names.Off+uint64(h.Name), min(enough, names.Size-uint64(h.Name)))
	if err != nil {
		return "", err
	}
	name, _ := cstring(b)
	return name, nil
}

// compilerOf tells the compiler by what it left in a file. Rust is linked by a C
// compiler's driver, so it goes first.
func compilerOf(comment []byte) string {
	for _, c := range []struct{ mark, compiler string }{{"rustc version", Rust}, {"clang version", Clang}, {"GCC: (", GCC}} {
		if bytes.Contains(comment, []byte(c.mark)) {
			return c.compiler
		}
	}
	return ""
}

// ignoreMalformed lets only errors of reading through.
func ignoreMalformed(err error) error {
	if fault.Is(err, fault.Invalid) {
		return nil
	}
	return err
}

// isDebug reports whether there is no code in the file, only what was said of it.
func (p *parser) isDebug() bool {
	if !p.nobits {
		return false
	}
	for i := range p.progs {
		h := &p.progs[i]
		if elf.ProgType(h.Type) == elf.PT_LOAD && elf.ProgFlag(h.Flags)&elf.PF_X != 0 && h.Filesz != 0 && h.Off+h.Filesz <= uint64(p.size) {
			return false
		}
	}
	return true
}
