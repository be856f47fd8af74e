package elfcheck

import (
	"bytes"
	"debug/elf"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func read(b []byte) (*File, error) { return Read(bytes.NewReader(b), int64(len(b))) }

// with changes a spec.
func with(s elftest.Spec, change func(*elftest.Spec)) elftest.Spec {
	change(&s)
	return s
}

func TestRead(t *testing.T) {
	spec := with(elftest.Program("libz.so.1", "libc.musl-x86_64.so.1"), func(s *elftest.Spec) {
		s.RPath = "$ORIGIN/../lib:/usr/lib/own"
		s.Symbols = []string{"__stack_chk_fail", "printf"}
	})
	got, err := read(elftest.Build(spec))
	if err != nil {
		t.Fatal(err)
	}
	want := &File{
		Machine: elf.EM_X86_64, Kind: Executable, PIE: true, Interpreter: "/lib/ld-musl-x86_64.so.1",
		Needed: []string{"libz.so.1", "libc.musl-x86_64.so.1"}, RPath: []string{"$ORIGIN/../lib", "/usr/lib/own"},
		RELRO: true, BindNow: true, StackHeader: true, Compiler: GCC, StackProtector: Seen,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if s := got.Shortcomings(); s != nil {
		t.Errorf("shortcomings of a hardened program: %v", s)
	}
	lib, err := read(elftest.Build(elftest.Library("libz.so.1", "libc.so.6")))
	if err != nil || lib.Kind != Shared || lib.SoName != "libz.so.1" || lib.PIE || lib.Static || lib.Shortcomings() != nil {
		t.Errorf("a library: %+v, %v", lib, err)
	}
}

func TestShortcomings(t *testing.T) {
	lots := 300 << 10
	for name, c := range map[string]struct {
		spec elftest.Spec
		want []Check
	}{
		"hardened":      {elftest.Program(), nil},
		"fixed address": {with(elftest.Program(), func(s *elftest.Spec) { s.Shared = false }), []Check{CheckPIE}},
		"static":        {elftest.Spec{}, []Check{CheckPIE, CheckRELRO, CheckStack}},
		"go":            {elftest.Spec{Sections: []string{".go.buildinfo"}, Stack: elf.PF_R | elf.PF_W}, nil},
		"go with an executable stack": {
			elftest.Spec{Sections: []string{".note.go.buildid"}, Stack: elf.PF_R | elf.PF_X}, []Check{CheckStack},
		},
		"partial": {with(elftest.Program(), func(s *elftest.Spec) { s.Dynamic = map[elf.DynTag]uint64{elf.DT_FLAGS_1: uint64(elf.DF_1_PIE)} }), []Check{CheckRELRO}},
		"bound by the old tag": {
			with(elftest.Library("a.so"), func(s *elftest.Spec) { s.Dynamic = map[elf.DynTag]uint64{elf.DT_BIND_NOW: 0} }), nil,
		},
		"writable code":   {with(elftest.Program(), func(s *elftest.Spec) { s.CodeFlags = elf.PF_R | elf.PF_W | elf.PF_X }), []Check{CheckWriteExec}},
		"textrel":         {with(elftest.Library("a.so"), func(s *elftest.Spec) { s.Dynamic[elf.DT_TEXTREL] = 0 }), []Check{CheckTextRelocation}},
		"textrel flag":    {with(elftest.Library("a.so"), func(s *elftest.Spec) { s.Dynamic[elf.DT_FLAGS] |= uint64(elf.DF_TEXTREL) }), []Check{CheckTextRelocation}},
		"rpaths":          {with(elftest.Program(), func(s *elftest.Spec) { s.RPath = "$ORIGIN:/usr/lib/x:/build/x::x" }), []Check{CheckRPath, CheckRPath, CheckRPath}},
		"out of /usr/lib": {with(elftest.Program(), func(s *elftest.Spec) { s.RPath = "/usr/lib/../../tmp" }), []Check{CheckRPath}},
		"no protector": {
			with(elftest.Program(), func(s *elftest.Spec) { s.Code, s.Symbols = lots, []string{"puts"} }), []Check{CheckStackProtector},
		},
		"little code": {with(elftest.Program(), func(s *elftest.Spec) { s.Code, s.Symbols = 1000, []string{"puts"} }), nil},
		"rust": {
			with(elftest.Program(), func(s *elftest.Spec) {
				s.Code, s.Symbols, s.Comment = lots, []string{"puts"}, "GCC: (x) 1\x00rustc version 1.90"
			}), nil,
		},
		"no symbols":        {with(elftest.Program(), func(s *elftest.Spec) { s.Code = lots }), nil},
		"debug information": {with(elftest.Spec{}, func(s *elftest.Spec) { s.Code, s.NoContent = 100, true }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := read(elftest.Build(c.spec))
			if err != nil {
				t.Fatal(err)
			}
			var got []Check
			for _, s := range f.Shortcomings() {
				got = append(got, s.Check)
				if s.What == "" {
					t.Errorf("%s has no words", s.Check)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s\n%+v", diff, f)
			}
		})
	}
}

func TestFortify(t *testing.T) {
	for name, c := range map[string]struct {
		libc    string
		symbols []string
		want    Evidence
	}{
		"checked":           {"libc.so.6", []string{"__printf_chk", "printf"}, Seen},
		"unchecked":         {"libc.so.6", []string{"printf@GLIBC_2.2.5"}, Missing},
		"nothing to check":  {"libc.so.6", []string{"close"}, Unknown},
		"musl":              {"libc.musl-x86_64.so.1", []string{"printf"}, Unknown},
		"no fortify at all": {"libc.so.6", []string{"__stack_chk_fail"}, Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			spec := elftest.Library("libx.so", c.libc)
			spec.Symbols = c.symbols
			f, err := read(elftest.Build(spec))
			if err != nil || f.Fortify != c.want {
				t.Errorf("got %v, %v, want %v", f.Fortify, err, c.want)
			}
		})
	}
}

func TestNativeTo(t *testing.T) {
	for _, c := range []struct {
		file, machine elf.Machine
		want          bool
	}{
		{elf.EM_X86_64, elf.EM_X86_64, true}, {elf.EM_386, elf.EM_X86_64, true}, {elf.EM_ARM, elf.EM_AARCH64, true},
		{elf.EM_AARCH64, elf.EM_X86_64, false}, {elf.EM_RISCV, elf.EM_RISCV, true},
	} {
		if got := (&File{Machine: c.file}).NativeTo(c.machine); got != c.want {
			t.Errorf("%v on %v: %t", c.file, c.machine, got)
		}
	}
}

func TestMalformed(t *testing.T) {
	good := elftest.Build(elftest.Program("libz.so.1"))
	change := func(at int, b ...byte) []byte {
		bad := bytes.Clone(good)
		copy(bad[at:], b)
		return bad
	}
	interp := bytes.Index(good, []byte("/lib/ld"))
	for name, b := range map[string][]byte{
		"nothing":                   nil,
		"only the magic":            good[:4],
		"another magic":             change(0, 'M', 'Z'),
		"class":                     change(4, 7),
		"byte order":                change(5, 7),
		"cut in the header":         good[:50],
		"cut in the programs":       good[:70],
		"size of a program header":  change(54, 1),
		"far too many programs":     change(56, 0xff, 0xff),
		"programs behind the end":   change(32, 0, 0, 0, 0xff),
		"interpreter without end":   change(interp, bytes.Repeat([]byte("x"), 200)...),
		"interpreter of no letters": change(interp, 0),
		"cut behind the programs":   good[:headersOf(good)],
	} {
		t.Run(name, func(t *testing.T) {
			if f, err := read(b); !fault.Is(err, fault.Invalid) {
				t.Errorf("%+v, %v", f, err)
			}
		})
	}
	// What a loader does not look at may be as it likes.
	if _, err := read(change(40, 0, 0, 0, 0xff)); err != nil {
		t.Errorf("sections behind the end: %v", err)
	}
}

// headersOf returns the size of the headers of a 64-bit file.
func headersOf(b []byte) int { return 64 + int(b[56])*56 }

type broken struct{}

var errBroken = errors.New("broken disk")

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestReadError(t *testing.T) {
	if _, err := Read(broken{}, 1000); !errors.Is(err, errBroken) || fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
}

// Any change of a few bytes is read or refused, without much memory or time.
func TestHostile(t *testing.T) {
	good := elftest.Build(with(elftest.Program("libz.so.1"), func(s *elftest.Spec) { s.Symbols = []string{"a", "b"} }))
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := bytes.Clone(good)
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = [...]byte{0, 1, 0x7f, 0x80, 0xff}[r.IntN(5)]
		}
		if f, err := read(b[:len(b)-r.IntN(2)*r.IntN(len(b))]); err != nil && !fault.Is(err, fault.Invalid) {
			t.Fatalf("%+v, %v", f, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(elftest.Build(elftest.Program("libz.so.1")))
	f.Add(elftest.Build(elftest.Library("libz.so.1", "libc.so.6")))
	f.Add(elftest.Build(elftest.Spec{Sections: []string{".go.buildinfo"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := read(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Error(err)
			}
			return
		}
		for _, s := range file.Shortcomings() {
			if s.What == "" || strings.ContainsAny(s.What, "\n\x00") {
				t.Errorf("%q", s.What)
			}
		}
	})
}

const someC = `#ifdef BARE
int answer(void) { return 42; }
#else
#include <stdio.h>
#include <string.h>
#ifdef LIBRARY
int answer(const char *s) { char b[64]; strncpy(b, s, sizeof b - 1); b[63] = 0; return puts(b); }
#else
int main(int argc, char **argv) { char b[64]; strncpy(b, argv[0], sizeof b - 1); b[63] = 0; return puts(b) + argc; }
#endif
#endif
`

// What a real compiler makes is read as its flags say.
func TestRealCompiler(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "x.c")
	if err := os.WriteFile(source, []byte(someC), 0o644); err != nil {
		t.Fatal(err)
	}
	const hard = "-fPIE -pie -Wl,-z,relro,-z,now -fstack-protector-all"
	for name, c := range map[string]struct {
		flags string
		want  []Check
		kind  Kind
	}{
		"hardened":     {hard, nil, Executable},
		"library":      {"-DLIBRARY -shared -fPIC -Wl,-soname,libx.so.3 -Wl,-z,relro,-z,now", nil, Shared},
		"fixed":        {hard + " -fno-pie -no-pie", []Check{CheckPIE}, Executable},
		"partial":      {"-fPIE -pie -Wl,-z,relro,-z,lazy", []Check{CheckRELRO}, Executable},
		"no relro":     {"-fPIE -pie -Wl,-z,norelro,-z,now", []Check{CheckRELRO}, Executable},
		"stack":        {hard + " -Wl,-z,execstack", []Check{CheckStack}, Executable},
		"rpath":        {hard + " -Wl,-rpath,/build/here", []Check{CheckRPath}, Executable},
		"old rpath":    {hard + " -Wl,--disable-new-dtags,-rpath,/home/x", []Check{CheckRPath}, Executable},
		"static":       {"-static -no-pie", []Check{CheckPIE}, Executable},
		"static pie":   {"-static-pie -fPIE -Wl,-z,relro,-z,now", nil, Executable},
		"32 bits":      {"-DBARE -m32 -shared -nostdlib -fPIC -Wl,-z,relro,-z,lazy", []Check{CheckRELRO}, Shared},
		"an object":    {"-c", nil, Other},
		"writable all": {"-DBARE -shared -nostdlib -fPIC -Wl,-N,-z,now", []Check{CheckRELRO, CheckWriteExec}, Shared},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			args := append(strings.Fields(c.flags), "-O1", "-o", out, source)
			if said, err := exec.Command(gcc, args...).CombinedOutput(); err != nil {
				t.Skipf("gcc %s: %v\n%s", c.flags, err, said)
			}
			file, err := readFile(t, out)
			if err != nil {
				t.Fatal(err)
			}
			var got []Check
			for _, s := range file.Shortcomings() {
				got = append(got, s.Check)
			}
			if diff := cmp.Diff(c.want, got); diff != "" || file.Kind != c.kind {
				t.Errorf("%s\n%+v", diff, file)
			}
			if file.Kind == Executable && strings.Contains(c.flags, "all") && file.StackProtector != Seen {
				t.Errorf("the stack protector is %v", file.StackProtector)
			}
			if name == "library" && file.SoName != "libx.so.3" {
				t.Errorf("the soname is %q", file.SoName)
			}
		})
	}
}

// The debug information that objcopy takes out of a program is no program.
func TestRealDebugInformation(t *testing.T) {
	gcc, err1 := exec.LookPath("gcc")
	objcopy, err2 := exec.LookPath("objcopy")
	if err := errors.Join(err1, err2); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	source, whole, debug := filepath.Join(dir, "x.c"), filepath.Join(dir, "x"), filepath.Join(dir, "x.debug")
	if err := os.WriteFile(source, []byte(someC), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*exec.Cmd{exec.Command(gcc, "-g", "-o", whole, source), exec.Command(objcopy, "--only-keep-debug", whole, debug)} {
		if said, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, said)
		}
	}
	if f, err := readFile(t, debug); err != nil || f.Kind != DebugSymbol || f.Shortcomings() != nil {
		t.Errorf("%+v, %v", f, err)
	}
}

func readFile(t *testing.T, name string) (*File, error) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return read(b)
}
