package elfcheck

import (
	"debug/elf"
	"path"
	"slices"
	"strings"
)

// A Check names one thing that a hardened file does.
type Check string

// The checks. CheckForm is of files that are malformed: Read refuses them, and
// their caller decides.
const (
	CheckForm           Check = "form"
	CheckPIE            Check = "pie"
	CheckRELRO          Check = "relro"
	CheckStack          Check = "stack"
	CheckWriteExec      Check = "write-exec"
	CheckTextRelocation Check = "textrel"
	CheckRPath          Check = "rpath"
	CheckStackProtector Check = "stack-protector"
)

// Checks returns all checks, sorted.
func Checks() []Check {
	return []Check{CheckForm, CheckPIE, CheckRELRO, CheckRPath, CheckStack, CheckStackProtector, CheckTextRelocation, CheckWriteExec}
}

// A Shortcoming is a check that a file fails.
type Shortcoming struct {
	Check Check
	What  string // in words
}

// Shortcomings returns where a file falls short, in the order of the checks'
// names; nil if it does not, or if it is no program and no library.
//
// What a compiler does not offer is not asked for: Go's own linker puts programs
// at a fixed address and knows no RELRO, and neither Go nor Rust has a stack
// protector as C has one. Fortify is not asked for at all, since its absence
// proves nothing: a compiler that knows no sizes leaves no trace of it.
func (f *File) Shortcomings() []Shortcoming {
	if f.Kind != Executable && f.Kind != Shared {
		return nil
	}
	var list []Shortcoming
	add := func(short bool, check Check, what string) {
		if short {
			list = append(list, Shortcoming{check, what})
		}
	}
	isGo := f.Compiler == Go
	add(f.Kind == Executable && !f.PIE && !isGo, CheckPIE, "it is not position-independent (compile with -fPIE and link with -pie)")
	add(!f.RELRO && !isGo, CheckRELRO, "it has no RELRO (link with -z relro -z now)")
	add(f.RELRO && !f.BindNow && !f.Static && !isGo, CheckRELRO, "its RELRO is partial (link with -z now)")
	for _, dir := range f.RPath {
		why := rpathWrong(dir)
		add(why != "", CheckRPath, "it looks for libraries in "+quoteDir(dir)+", which "+why)
	}
	add(f.ExecStack, CheckStack, "it asks for an executable stack (link with -z noexecstack)")
	add(!f.StackHeader, CheckStack, "it does not say that its stack is not executable (link with -z noexecstack)")
	add(f.StackProtector == Missing, CheckStackProtector, "nothing in it uses the stack protector (compile with -fstack-protector-strong)")
	add(f.TextRelocation, CheckTextRelocation, "its code is changed while it is loaded (compile with -fPIC)")
	add(f.WriteExec, CheckWriteExec, "it has memory that is writable and executable")
	return list
}

// NativeTo reports whether a machine of the given kind can run the file: x86_64
// runs i386 too, and aarch64 32-bit ARM.
func (f *File) NativeTo(m elf.Machine) bool {
	switch m {
	case elf.EM_X86_64:
		return f.Machine == m || f.Machine == elf.EM_386
	case elf.EM_AARCH64:
		return f.Machine == m || f.Machine == elf.EM_ARM
	}
	return f.Machine == m
}

// rpathRoots are below which packages have libraries.
var rpathRoots = []string{"/lib", "/usr/lib", "/usr/libexec", "/usr/local/lib", "/usr/share", "/opt"}

// rpathWrong says what is wrong with a folder in which libraries are looked for.
func rpathWrong(dir string) string {
	for _, origin := range []string{"$ORIGIN", "${ORIGIN}"} {
		if rest, ok := strings.CutPrefix(dir, origin); ok && (rest == "" || rest[0] == '/') {
			return ""
		}
	}
	switch {
	case dir == "":
		return "means the folder where it is started"
	case dir[0] != '/':
		return "depends on the folder where it is started"
	case slices.ContainsFunc(rpathRoots, func(root string) bool { return strings.HasPrefix(path.Clean(dir)+"/", root+"/") }):
		return ""
	case strings.HasPrefix(path.Clean(dir)+"/", "/lib64/") || strings.HasPrefix(path.Clean(dir)+"/", "/usr/lib64/"):
		return ""
	}
	return "is not where packages have libraries"
}

// quoteDir quotes a folder for a message.
func quoteDir(dir string) string {
	if len(dir) > 80 {
		dir = dir[:77] + "..."
	}
	return `"` + dir + `"`
}
