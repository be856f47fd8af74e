package elfcheck

import (
	"debug/elf"
	"strings"
)

// segments takes from the program headers what they say by themselves.
func (p *parser) segments(f *File) error {
	for i := range p.progs {
		h := &p.progs[i]
		flags := elf.ProgFlag(h.Flags)
		switch elf.ProgType(h.Type) {
		case elf.PT_LOAD:
			if flags&(elf.PF_W|elf.PF_X) == elf.PF_W|elf.PF_X {
				f.WriteExec = true
			}
		case elf.PT_GNU_STACK:
			f.StackHeader, f.ExecStack = true, flags&elf.PF_X != 0
		case elf.PT_GNU_RELRO:
			f.RELRO = true
		case elf.PT_INTERP:
			b, err := p.at(h.Off, min(h.Filesz, maxName))
			if err != nil {
				return err
			}
			path, ok := cstring(b)
			if !ok || path == "" {
				return malformed("the path of its interpreter is too long or empty")
			}
			f.Interpreter = path
		case elf.PT_NOTE:
			if err := p.note(h); err != nil {
				return err
			}
		}
	}
	return nil
}

// note looks for the note that Go's linker leaves.
func (p *parser) note(h *elf.Prog64) error {
	const goNote = "\x04\x00\x00\x00Go\x00\x00" // type and name, as every machine of Go has them in little endian
	b, err := p.at(h.Off, min(h.Filesz, maxNote))
	if err == nil && strings.Contains(string(b), goNote) {
		p.compiler = Go
	}
	return err
}

// dynamic reads the dynamic segment.
func (p *parser) dynamic(f *File) error {
	f.Static = true
	for i := range p.progs {
		if h := &p.progs[i]; elf.ProgType(h.Type) == elf.PT_DYNAMIC {
			f.Static = false
			if err := p.readDynamic(h); err != nil {
				return err
			}
		}
	}
	flags := elf.DynFlag(p.dyn[elf.DT_FLAGS])
	p.flags1 = elf.DynFlag1(p.dyn[elf.DT_FLAGS_1])
	_, now := p.dyn[elf.DT_BIND_NOW]
	f.BindNow = now || flags&elf.DF_BIND_NOW != 0 || p.flags1&elf.DF_1_NOW != 0
	_, textrel := p.dyn[elf.DT_TEXTREL]
	f.TextRelocation = textrel || flags&elf.DF_TEXTREL != 0
	return p.names(f)
}

// readDynamic reads the entries of the dynamic segment.
func (p *parser) readDynamic(h *elf.Prog64) error {
	entry, width := uint64(16), 8
	if !p.is64 {
		entry, width = 8, 4
	}
	n := h.Filesz / entry
	if n > maxDynamic {
		return malformed("a dynamic segment of %d entries", n)
	}
	b, err := p.at(h.Off, n*entry)
	if err != nil {
		return err
	}
	p.dyn = map[elf.DynTag]uint64{}
	for ; len(b) > 0; b = b[entry:] {
		tag, value := p.word(b), p.word(b[width:])
		switch elf.DynTag(tag) {
		case elf.DT_NULL:
			return nil
		case elf.DT_NEEDED:
			if len(p.needed) == maxNeeded {
				return malformed("more than %d libraries are needed", maxNeeded)
			}
			p.needed = append(p.needed, value)
		}
		if tag <= 1<<31 { // the tags that exist
			p.dyn[elf.DynTag(tag)] = value
		}
	}
	return nil
}

// word returns the number of the size of an address that b begins with.
func (p *parser) word(b []byte) uint64 {
	if p.is64 {
		return p.order.Uint64(b)
	}
	return uint64(p.order.Uint32(b))
}

// names reads the names that the dynamic segment refers to.
func (p *parser) names(f *File) (err error) {
	for _, at := range p.needed {
		name, err := p.dynString(at)
		if err != nil {
			return err
		}
		f.Needed = append(f.Needed, name)
	}
	if at, ok := p.dyn[elf.DT_SONAME]; ok {
		if f.SoName, err = p.dynString(at); err != nil {
			return err
		}
	}
	for _, tag := range []elf.DynTag{elf.DT_RPATH, elf.DT_RUNPATH} {
		at, ok := p.dyn[tag]
		if !ok {
			continue
		}
		paths, err := p.dynString(at)
		if err != nil {
			return err
		}
		f.RPath = append(f.RPath, strings.Split(paths, ":")...)
	}
	return nil
}

// dynString returns a string of the dynamic string table.
func (p *parser) dynString(at uint64) (string, error) {
	size := p.dyn[elf.DT_STRSZ]
	table, ok := p.offset(p.dyn[elf.DT_STRTAB])
	if !ok || at >= size || size > uint64(p.size) {
		return "", malformed("a name outside of the table of names")
	}
	b, err := p.at(table+at, min(size-at, maxName, uint64(p.size)-min(table+at, uint64(p.size))))
	if err != nil {
		return "", err
	}
	s, ok := cstring(b)
	if !ok {
		return "", malformed("a name that is too long")
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return "", malformed("a name with a control character")
		}
	}
	return s, nil
}

// offset returns where in the file an address is loaded from.
func (p *parser) offset(addr uint64) (uint64, bool) {
	for i := range p.progs {
		h := &p.progs[i]
		if elf.ProgType(h.Type) == elf.PT_LOAD && addr >= h.Vaddr && addr-h.Vaddr < h.Filesz && h.Off <= uint64(p.size) {
			off := h.Off + (addr - h.Vaddr)
			return off, off <= uint64(p.size)
		}
	}
	return 0, false
}
