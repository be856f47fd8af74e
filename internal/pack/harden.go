package pack

import (
	"debug/elf"
	"fmt"
	"strings"

	"github.com/ashlar-project/ashlar/internal/elfcheck"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// checkELF looks at all programs and libraries, and refuses the set if one falls
// short of hardening and no exception is made for it.
func (s *Set) checkELF(m elf.Machine) error {
	seen := map[*content]*elfFile{}
	used := make([]bool, len(s.options.Exceptions))
	told := map[string]bool{}
	var short []string
	for _, b := range s.Packages {
		for _, f := range b.files {
			found, err := s.inspect(seen, f)
			if err != nil {
				return err
			}
			if found == nil {
				continue
			}
			if b.from.AnyArch {
				return errorAt(b.from.Pos, "package %s is for every architecture, and %s is for one", b.Name, clip(f.path)).
					Fix("list the files of the package: then it is for one, too")
			}
			e := ELFFile{Path: f.path, File: found.file, Excused: map[elfcheck.Check]string{}}
			for _, c := range found.shortcomings(m, b) {
				if reason, ok := s.excuse(c.Check, f.path, used); ok {
					e.Excused[c.Check] = reason
				} else if text := fmt.Sprintf("%s: %s [%s]", clip(f.path), c.What, c.Check); !told[text] {
					told[text] = true
					short = append(short, text)
				}
			}
			if e.File != nil && (e.Kind == elfcheck.Executable || e.Kind == elfcheck.Shared) || len(e.Excused) > 0 {
				b.ELF = append(b.ELF, e)
			}
		}
	}
	for i, u := range used {
		if !u {
			e := &s.options.Exceptions[i]
			s.Notes = append(s.Notes, fmt.Sprintf("%s: nothing needs the exception %s %s", ExceptionsVar, checkNames(e.Checks), e.Pattern))
		}
	}
	if len(short) == 0 {
		return nil
	}
	const most = 10
	text := strings.Join(short[:min(most, len(short))], "; ")
	if len(short) > most {
		text += fmt.Sprintf("; and %d more", len(short)-most)
	}
	return fault.New(fault.Policy, "not hardened: %s", text).At(s.spec.File, s.spec.Line).
		Fix("build it as told, or say why not in the definition's vars, in %s: CHECK PATH REASON", ExceptionsVar)
}

// An elfFile is a file that begins as an ELF file, and what is wrong with its form
// if it is none.
type elfFile struct {
	file *elfcheck.File // nil if it is malformed
	why  string
}

// inspect reads a file if it is an ELF file; of each content only once.
func (s *Set) inspect(seen map[*content]*elfFile, f *file) (*elfFile, error) {
	c := f.node.content
	if f.node.kind != regular || c.size < int64(len(elfcheck.Magic)) {
		return nil, nil
	}
	if e, ok := seen[c]; ok {
		return e, nil
	}
	seen[c] = nil
	r := s.tree.open(c)
	var magic [len(elfcheck.Magic)]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil {
		return nil, err
	}
	if string(magic[:]) != elfcheck.Magic {
		return nil, nil
	}
	file, err := elfcheck.Read(r, c.size)
	switch {
	case fault.Is(err, fault.Invalid):
		seen[c] = &elfFile{why: err.Error()}
	case err != nil:
		return nil, err
	default:
		seen[c] = &elfFile{file: file}
	}
	return seen[c], nil
}

// shortcomings returns where a file falls short in a package. What the machine
// cannot run is not asked to be hardened: it is there for others to use.
func (e *elfFile) shortcomings(m elf.Machine, b *Binary) []elfcheck.Shortcoming {
	switch {
	case e.file == nil:
		return []elfcheck.Shortcoming{{Check: elfcheck.CheckForm, What: e.why}}
	case !e.file.NativeTo(m):
		return nil
	}
	list := e.file.Shortcomings()
	if why := foreign(e.file, b); why != "" {
		list = append(list, elfcheck.Shortcoming{Check: CheckLoader, What: why})
	}
	return list
}

// foreign says why a file does not run on the distribution that a package is for.
func foreign(f *elfcheck.File, b *Binary) string {
	if f.Kind != elfcheck.Executable && f.Kind != elfcheck.Shared {
		return ""
	}
	names := append([]string{f.Interpreter}, f.Needed...)
	for _, n := range names {
		switch {
		case b.Format == Deb && (strings.HasPrefix(n, "/lib/ld-musl-") || strings.HasPrefix(n, "libc.musl-")):
			return "it is linked with musl, which is not Debian's C library (link it statically, or limit formats to apk)"
		case b.Format == APK && (strings.HasPrefix(n, "/lib64/ld-linux-") || strings.HasPrefix(n, "/lib/ld-linux-") || n == "libc.so.6") && !dependsOn(b, "gcompat"):
			return "it is linked with glibc, which is not Alpine's C library (link it statically, depend on gcompat, or limit formats to deb)"
		}
	}
	return ""
}

// dependsOn reports whether a package asks for another by name.
func dependsOn(b *Binary, name string) bool {
	for _, d := range b.from.apk.depends {
		if d.Name == name && !d.Conflict {
			return true
		}
	}
	return false
}

// excuse returns the reason for which a file may fail a check.
func (s *Set) excuse(check elfcheck.Check, path string, used []bool) (string, bool) {
	for i := range s.options.Exceptions {
		if e := &s.options.Exceptions[i]; e.Allows(check, path) {
			used[i] = true
			return e.Reason, true
		}
	}
	return "", false
}
