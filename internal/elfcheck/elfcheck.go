// Package elfcheck reads what an ELF file says of itself to a loader, and says
// where it falls short of how programs and libraries are hardened.
//
// It trusts program headers and the dynamic segment, which the kernel and the
// loader go by; sections are only looked at for what nothing else tells. All
// input is taken to be hostile: what is read is bounded, and so is the work. The
// standard library's debug/elf lends its names, not its reader, which copies a
// name for each section and so lets a small file ask for gigabytes.
package elfcheck

import (
	"bytes"
	"debug/elf"
	"io"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Kind says what an ELF file is for.
type Kind uint8

// The kinds of ELF file.
const (
	Other       Kind = iota // an object to be linked, a kernel module, a core dump
	Executable              // a program, whether its address is fixed or not
	Shared                  // a shared library
	DebugSymbol             // debug information that was taken out of another file
)

// String returns the kind in words.
func (k Kind) String() string {
	return [...]string{"other", "executable", "shared library", "debug information"}[k&3]
}

// Evidence is what can be told of a protection that leaves traces in some files
// only.
type Evidence uint8

// The outcomes of looking for a protection.
const (
	Unknown Evidence = iota // it cannot be told
	Seen                    // something uses it
	Missing                 // nothing uses it where something should
)

// String returns the evidence as one word.
func (e Evidence) String() string {
	if int(e) < len(evidenceWords) {
		return evidenceWords[e]
	}
	return evidenceWords[Unknown]
}

var evidenceWords = [...]string{"unknown", "seen", "missing"}

// The compilers that are told apart.
const (
	Go    = "go"
	Rust  = "rust"
	GCC   = "gcc"
	Clang = "clang"
)

// A File is what an ELF file says of itself.
type File struct {
	Machine elf.Machine
	Kind    Kind
	Static  bool // it has no dynamic segment
	PIE     bool // an executable that runs at any address

	Interpreter string   // "/lib/ld-musl-x86_64.so.1", "" for none
	SoName      string   // "" if it has none
	Needed      []string // sonames of the libraries that it wants, in its order
	RPath       []string // where they are looked for, RPATH and RUNPATH as one

	RELRO          bool // there is data that is made read-only once it is relocated
	BindNow        bool // all functions are bound at the start, so that RELRO is full
	StackHeader    bool // there is a program header for the stack
	ExecStack      bool // and it asks for an executable stack
	TextRelocation bool // code has to be writable while it is relocated
	WriteExec      bool // there is memory that is writable and executable

	Compiler       string   // Go, Rust, GCC or Clang, "" if it cannot be told
	StackProtector Evidence // unknown too where the compiler has no such thing
	Fortify        Evidence // unknown always with musl, whose checks leave no trace
}

// Magic is how every ELF file begins.
const Magic = elf.ELFMAG

// Read reads an ELF file of the given size in bytes. A file that does not have
// the form of one is a fault.Invalid error; other errors are those of r.
func Read(r io.ReaderAt, size int64) (*File, error) {
	p := &parser{r: r, size: size}
	if err := p.header(); err != nil {
		return nil, err
	}
	if err := p.programHeaders(); err != nil {
		return nil, err
	}
	f := &File{Machine: p.machine}
	if p.etype != elf.ET_EXEC && p.etype != elf.ET_DYN {
		return f, nil
	}
	if err := p.sections(); err != nil {
		return nil, err
	}
	if p.isDebug() {
		f.Kind = DebugSymbol
		return f, nil
	}
	if err := p.segments(f); err != nil {
		return nil, err
	}
	if err := p.dynamic(f); err != nil {
		return nil, err
	}
	f.Kind = Shared
	if p.etype == elf.ET_EXEC || f.Interpreter != "" || p.flags1&elf.DF_1_PIE != 0 {
		f.Kind, f.PIE = Executable, p.etype == elf.ET_DYN
	}
	f.Compiler = p.compiler
	return f, p.protections(f)
}

// malformed is the error of a file that is no ELF file as it should be.
func malformed(format string, args ...any) *fault.Error {
	return fault.Within(fault.New(fault.Invalid, format, args...), "malformed ELF file")
}

// cstring returns b up to its first zero byte, and whether there is one.
func cstring(b []byte) (string, bool) {
	s, _, ok := bytes.Cut(b, []byte{0})
	return string(s), ok
}
