package pack

import (
	"debug/elf"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// soft returns a program at a fixed address, with an executable stack.
func soft() string {
	s := elftest.Program()
	s.Shared, s.Stack = false, elf.PF_R|elf.PF_X
	return string(elftest.Build(s))
}

func TestHarden(t *testing.T) {
	exceptions := func(t *testing.T, text string) []Exception {
		t.Helper()
		list, err := ParseExceptions(spec(t, stone+"files: [a]").Pos, text)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	foreign := elftest.Spec{Machine: elf.EM_AARCH64}
	glibc := elftest.Program("libc.so.6")
	glibc.Interpreter = "/lib64/ld-linux-x86-64.so.2"
	for name, c := range map[string]struct {
		content, with, exceptions string
		want                      []string // in the error, none for no error
	}{
		"hardened":           {string(elftest.Build(elftest.Program())), "formats: [apk]", "", nil},
		"not":                {soft(), "formats: [apk]", "", []string{":14: not hardened: usr/bin/x: it is not position-independent", "[pie]; usr/bin/x: it asks for an executable stack", "[stack] (", ExceptionsVar}},
		"excused":            {soft(), "formats: [apk]", "pie,stack usr/bin/* handwritten machine code", nil},
		"half excused":       {soft(), "formats: [apk]", "pie usr/bin/x handwritten machine code", []string{"executable stack"}},
		"malformed":          {"\x7fELF and then nothing", "", "", []string{"usr/bin/x: malformed ELF file", "[form]"}},
		"malformed, excused": {"\x7fELF and then nothing", "", "form usr/bin/x data of a test", nil},
		"a magic alone":      {"\x7fEL", "", "", nil},
		"a script":           {"#!/bin/sh", "", "", nil},
		"other machine":      {string(elftest.Build(foreign)), "", "", nil},
		"musl in Debian":     {string(elftest.Build(elftest.Program())), "formats: [deb]", "", []string{"linked with musl", "[loader]"}},
		"musl in both":       {string(elftest.Build(elftest.Program())), "", "", []string{"linked with musl", "limit formats to apk"}},
		"glibc in Alpine":    {string(elftest.Build(glibc)), "formats: [apk]", "", []string{"linked with glibc"}},
		"glibc with gcompat": {string(elftest.Build(glibc)), "formats: [apk]\ndepends: [gcompat]", "", nil},
		"glibc in Debian":    {string(elftest.Build(glibc)), "formats: [deb]", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.Exceptions = exceptions(t, c.exceptions)
			_, err := Assemble(newTar().program("usr/bin/x", c.content).tree(t), spec(t, stone+"files: [usr]\n"+c.with), o)
			if c.want == nil && err != nil {
				t.Error(err)
			}
			if c.want != nil {
				checkError(t, err, fault.Policy, c.want...)
			}
		})
	}
}

// A set says what was found out and by which reason a file may be as it is.
func TestHardenReport(t *testing.T) {
	o := testOptions()
	o.Exceptions = []Exception{
		{Checks: []elfCheck{"pie", "stack"}, Pattern: "usr/bin/x", Reason: "handwritten"},
		{Checks: []elfCheck{"rpath"}, Pattern: "usr/bin/x", Reason: "no longer so"},
	}
	tree := newTar().program("usr/bin/x", soft()).hardLink("usr/bin/y", "usr/bin/x").file("usr/lib/libx.so.1", so("libx.so.1", "")).file("usr/x", "").tree(t)
	_, err := Assemble(tree, spec(t, stone+"formats: [apk]\nfiles: [usr]"), o)
	checkError(t, err, fault.Policy, "usr/bin/y: it is not position-independent")
	o.Exceptions[0].Pattern = "usr/bin/"
	set, err := Assemble(tree, spec(t, stone+"formats: [apk]\nfiles: [usr]"), o)
	if err != nil {
		t.Fatal(err)
	}
	list := set.binary(t, APK, "stone").ELF
	if len(list) != 3 || list[0].Path != "usr/bin/x" || list[0].Excused["pie"] != "handwritten" || list[2].SoName != "libx.so.1" || len(list[2].Excused) != 0 {
		t.Errorf("%+v", list)
	}
	if len(set.Notes) != 1 || !strings.Contains(set.Notes[0], "nothing needs the exception rpath usr/bin/x") {
		t.Errorf("notes %q", set.Notes)
	}
	many := newTar()
	for i := range 12 {
		many.program("usr/bin/x"+string(rune('a'+i)), soft())
	}
	_, err = Assemble(many.tree(t), spec(t, stone+"files: [usr]"), testOptions())
	checkError(t, err, fault.Policy, "and 26 more") // each at two checks, and in Debian's package with musl
}
