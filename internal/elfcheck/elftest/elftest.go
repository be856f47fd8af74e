// Package elftest makes small ELF files for tests: 64 bits, little endian, with
// no code that could run, but with everything that a loader or a checker looks
// at in its place.
package elftest

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
)

// A Spec says what the file is to be. Its zero value is a static program at a
// fixed address with nothing in it.
type Spec struct {
	Machine elf.Machine // EM_X86_64 if it is 0
	Shared  bool        // of type ET_DYN: a library or a position-independent program

	Interpreter string
	SoName      string
	Needed      []string
	RPath       string // as RUNPATH
	Dynamic     map[elf.DynTag]uint64

	Stack     elf.ProgFlag // of the header for the stack; 0 for no such header
	RELRO     bool
	CodeFlags elf.ProgFlag // of the segment of the code, PF_R|PF_X if it is 0
	Code      int          // bytes of code
	Symbols   []string     // undefined ones
	Comment   string       // of the compiler
	Sections  []string     // names of further sections without content
	NoContent bool         // as objcopy --only-keep-debug leaves it
}

// Program returns the spec of a position-independent program as a hardening
// compiler makes it for musl, with the libraries that it needs.
func Program(needed ...string) Spec {
	s := Library("", needed...)
	s.Interpreter = "/lib/ld-musl-x86_64.so.1"
	s.Dynamic[elf.DT_FLAGS_1] = uint64(elf.DF_1_NOW | elf.DF_1_PIE)
	return s
}

// Library returns the spec of such a library.
func Library(soname string, needed ...string) Spec {
	return Spec{
		Shared: true, SoName: soname, Needed: needed, Stack: elf.PF_R | elf.PF_W, RELRO: true,
		Dynamic: map[elf.DynTag]uint64{elf.DT_FLAGS: uint64(elf.DF_BIND_NOW)}, Comment: "GCC: (Test) 1.0",
	}
}

// A part is a piece of the file after the headers.
type part struct {
	name  string
	kind  elf.SectionType
	flags elf.SectionFlag
	data  []byte
	link  string // name of the section that it refers to
	at    uint64
}

const headers = 64 + 8*56 // room for the header and eight program headers

// Build returns the bytes of the file.
func Build(s Spec) []byte {
	parts := s.parts()
	at := uint64(headers)
	for _, p := range parts {
		at = (at + 15) &^ 15
		p.at = at
		at += uint64(len(p.data))
	}
	if d := find(parts, ".dynamic"); d != nil {
		d.data = s.dynamic(find(parts, ".dynstr"))
	}
	table := (at + 15) &^ 15
	out := make([]byte, table)
	for _, p := range parts {
		if p.kind != elf.SHT_NOBITS {
			copy(out[p.at:], p.data)
		}
	}
	progs := s.progs(parts, at)
	var head bytes.Buffer
	put(&head, s.header(len(progs), table, len(parts)))
	for _, p := range progs {
		put(&head, p)
	}
	copy(out, head.Bytes())
	return append(out, sections(parts)...)
}

// header returns the header of the file.
func (s *Spec) header(progs int, table uint64, parts int) elf.Header64 {
	h := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Phoff: 64, Shoff: table, Ehsize: 64,
		Phentsize: 56, Phnum: uint16(progs), Shentsize: 64, Shnum: uint16(parts + 1), Shstrndx: uint16(parts),
	}
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1
	if s.Shared {
		h.Type = uint16(elf.ET_DYN)
	}
	if s.Machine != 0 {
		h.Machine = uint16(s.Machine)
	}
	return h
}

// parts returns what the file is made of; the names of sections are its last.
func (s *Spec) parts() []*part {
	var list []*part
	add := func(want bool, p part) {
		if want {
			list = append(list, &p)
		}
	}
	dynamic := s.Dynamic != nil || s.SoName != "" || s.Needed != nil || s.RPath != ""
	text := elf.SHT_PROGBITS
	if s.NoContent {
		text = elf.SHT_NOBITS
	}
	add(s.Interpreter != "", part{name: ".interp", kind: elf.SHT_PROGBITS, data: []byte(s.Interpreter + "\x00")})
	add(true, part{name: ".text", kind: text, flags: elf.SHF_ALLOC | elf.SHF_EXECINSTR, data: make([]byte, s.Code)})
	names := []byte{0}
	symbols := make([]byte, elf.Sym64Size)
	for _, n := range append([]string{s.SoName, s.RPath}, s.Needed...) {
		names = append(names, n+"\x00"...)
	}
	for _, n := range s.Symbols {
		symbols = binary.LittleEndian.AppendUint32(symbols, uint32(len(names)))
		symbols = append(symbols, make([]byte, elf.Sym64Size-4)...)
		names = append(names, n+"\x00"...)
	}
	add(true, part{name: ".dynstr", kind: elf.SHT_STRTAB, data: names})
	add(dynamic, part{name: ".dynsym", kind: elf.SHT_DYNSYM, data: symbols, link: ".dynstr"})
	add(dynamic, part{name: ".dynamic", kind: elf.SHT_DYNAMIC, data: s.dynamic(&part{data: names}), link: ".dynstr"})
	add(s.Comment != "", part{name: ".comment", kind: elf.SHT_PROGBITS, data: []byte(s.Comment + "\x00")})
	for _, n := range s.Sections {
		add(true, part{name: n, kind: elf.SHT_PROGBITS})
	}
	all := []byte{0}
	for _, p := range list {
		all = append(all, p.name+"\x00"...)
	}
	add(true, part{name: ".shstrtab", kind: elf.SHT_STRTAB, data: append(all, ".shstrtab\x00"...)})
	return list
}

// dynamic returns the dynamic segment; names are at the address where they are in
// the file.
func (s *Spec) dynamic(names *part) []byte {
	var b []byte
	add := func(tag elf.DynTag, value uint64) {
		b = binary.LittleEndian.AppendUint64(b, uint64(tag))
		b = binary.LittleEndian.AppendUint64(b, value)
	}
	name := func(n string) uint64 { return uint64(bytes.Index(names.data, []byte("\x00"+n+"\x00")) + 1) }
	for _, n := range s.Needed {
		add(elf.DT_NEEDED, name(n))
	}
	if s.SoName != "" {
		add(elf.DT_SONAME, name(s.SoName))
	}
	if s.RPath != "" {
		add(elf.DT_RUNPATH, name(s.RPath))
	}
	add(elf.DT_STRTAB, names.at)
	add(elf.DT_STRSZ, uint64(len(names.data)))
	for _, tag := range []elf.DynTag{elf.DT_FLAGS, elf.DT_FLAGS_1, elf.DT_BIND_NOW, elf.DT_TEXTREL} {
		if v, ok := s.Dynamic[tag]; ok {
			add(tag, v)
		}
	}
	add(elf.DT_NULL, 0)
	return b
}

// progs returns the program headers.
func (s *Spec) progs(parts []*part, end uint64) []elf.Prog64 {
	code := find(parts, ".text")
	flags := s.CodeFlags
	if flags == 0 {
		flags = elf.PF_R | elf.PF_X
	}
	whole := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R), Filesz: end, Memsz: end}
	text := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(flags), Off: code.at, Vaddr: 1 << 32, Filesz: uint64(len(code.data)), Memsz: uint64(len(code.data))}
	if s.NoContent {
		text.Filesz = 0
	}
	list := []elf.Prog64{whole, text}
	if p := find(parts, ".interp"); p != nil {
		list = append(list, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: p.at, Filesz: uint64(len(p.data))})
	}
	if p := find(parts, ".dynamic"); p != nil {
		list = append(list, elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: p.at, Vaddr: p.at, Filesz: uint64(len(p.data))})
	}
	if s.Stack != 0 {
		list = append(list, elf.Prog64{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(s.Stack)})
	}
	if s.RELRO {
		list = append(list, elf.Prog64{Type: uint32(elf.PT_GNU_RELRO), Flags: uint32(elf.PF_R)})
	}
	return list
}

// sections returns the table of sections, the empty one first.
func sections(parts []*part) []byte {
	var b bytes.Buffer
	put(&b, elf.Section64{})
	names := parts[len(parts)-1].data
	for _, p := range parts {
		h := elf.Section64{
			Name: uint32(bytes.Index(names, []byte("\x00"+p.name+"\x00")) + 1),
			Type: uint32(p.kind), Flags: uint64(p.flags), Off: p.at, Size: uint64(len(p.data)),
		}
		for i, q := range parts {
			if p.link == q.name {
				h.Link = uint32(i + 1)
			}
		}
		put(&b, h)
	}
	return b.Bytes()
}

func find(parts []*part, name string) *part {
	for _, p := range parts {
		if p.name == name {
			return p
		}
	}
	return nil
}

// put writes a structure of fixed size.
func put(b *bytes.Buffer, v any) {
	if err := binary.Write(b, binary.LittleEndian, v); err != nil {
		panic(err) // unreachable: the structures have a fixed size
	}
}
