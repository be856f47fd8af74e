package apk

import (
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestParseDependency(t *testing.T) {
	for _, c := range []struct {
		word string
		want Dependency
		out  string // if it is written otherwise
	}{
		{"busybox", Dependency{Name: "busybox"}, ""},
		{"busybox=1.2", Dependency{Name: "busybox", Match: Equal, Version: "1.2"}, ""},
		{"a<1", Dependency{Name: "a", Match: Less, Version: "1"}, ""},
		{"a<=1", Dependency{Name: "a", Match: Less | Equal, Version: "1"}, ""},
		{"a=<1", Dependency{Name: "a", Match: Less | Equal, Version: "1"}, "a<=1"},
		{"a>1", Dependency{Name: "a", Match: Greater, Version: "1"}, ""},
		{"a>=1", Dependency{Name: "a", Match: Greater | Equal, Version: "1"}, ""},
		{"a~1", Dependency{Name: "a", Match: Equal | Fuzzy, Version: "1"}, ""},
		{"a~=1", Dependency{Name: "a", Match: Equal | Fuzzy, Version: "1"}, "a~1"},
		{"a>~1", Dependency{Name: "a", Match: Greater | Equal | Fuzzy, Version: "1"}, ""},
		{"a<~1", Dependency{Name: "a", Match: Less | Equal | Fuzzy, Version: "1"}, ""},
		{"a==1", Dependency{Name: "a", Match: Equal, Version: "1"}, "a=1"},
		{"a><Q1abc=", Dependency{Name: "a", Match: Identified, Version: "Q1abc="}, ""},
		{"!a", Dependency{Name: "a", Conflict: true}, ""},
		{"!a>=2", Dependency{Name: "a", Match: Greater | Equal, Version: "2", Conflict: true}, ""},
		{"a@edge", Dependency{Name: "a", Tag: "edge"}, ""},
		{"a@edge=1", Dependency{Name: "a", Tag: "edge", Match: Equal, Version: "1"}, ""},
		{"so:libc.musl-x86_64.so.1", Dependency{Name: "so:libc.musl-x86_64.so.1"}, ""},
		{"/bin/sh", Dependency{Name: "/bin/sh"}, ""},
		{"cmd:[=1", Dependency{Name: "cmd:[", Match: Equal, Version: "1"}, ""},
		{"pc:librtmp=v2.4", Dependency{Name: "pc:librtmp", Match: Equal, Version: "v2.4"}, ""},
	} {
		got, err := ParseDependency(c.word)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v", c.word, got, err)
		}
		out := c.out
		if out == "" {
			out = c.word
		}
		if got.String() != out {
			t.Errorf("%s is written %s", c.word, got)
		}
	}
	for word, want := range map[string]string{
		"": "no name", "!": "no name", "=1": "no name", "@x": "no name", "a@": "empty tag", "a=": "no version", "a<>=1": "never fail",
		"a<>~1": "never fail", "a b": "blank", "a\n": "blank", noise(300): "too long",
	} {
		_, err := ParseDependency(word)
		checkError(t, err, fault.Invalid, want)
	}
}

func TestParseDependencies(t *testing.T) {
	got, err := ParseDependencies("  a>1 \n\n!b  c\n")
	want := []Dependency{{Name: "a", Match: Greater, Version: "1"}, {Name: "b", Conflict: true}, {Name: "c"}}
	if err != nil || !cmp.Equal(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if s := FormatDependencies(got); s != "a>1 !b c" {
		t.Errorf("written %q", s)
	}
	if got, err := ParseDependencies(" \n"); got != nil || err != nil {
		t.Errorf("nothing gives %v, %v", got, err)
	}
	if _, err := ParseDependencies("a b="); err == nil {
		t.Error("a malformed word is taken")
	}
}

func TestAllows(t *testing.T) {
	for _, c := range []struct {
		word, yes, no string // versions
	}{
		{"a", "1", ""},
		{"a=1.2", "1.2", "1.2.1"},
		{"a=1.2", "01.2", "1.2-r0"},
		{"a<2", "1.9", "2"},
		{"a<=2", "2", "2.1"},
		{"a>2", "2-r1", "2_rc1"},
		{"a>=2", "2", "1"},
		{"a~1.6", "1.6", "1.7"},
		{"a~1.6", "1.6.0_pre1", "1.60"},
		{"a~1.6", "1.6-r3", "1"},
		{"a>~1.6", "1.6_alpha", "1.5"},
		{"a>~1.6", "3", "1.5"},
		{"a<~1.6", "1.6.5", "1.7"},
		{"a<~1.6", "1", "1.7"},
		{"!a<2", "2", "1"},
	} {
		d := deps(c.word)[0]
		if !d.Allows(c.yes) {
			t.Errorf("%s does not allow %s", d, c.yes)
		}
		if c.no != "" && d.Allows(c.no) {
			t.Errorf("%s allows %s", d, c.no)
		}
	}
	if deps("a>5")[0].Allows("") || !deps("a<5")[0].Allows("") || !deps("a")[0].Allows("") || deps("!a")[0].Allows("") || deps("!a")[0].Allows("1") || deps("a><Q1abc=")[0].Allows("1") {
		t.Error("a version that is missing, a plain conflict or an identity is matched wrongly")
	}
}

func TestCheckDependency(t *testing.T) {
	for word, want := range map[string]string{
		"so:libc.musl-x86_64.so.1=1": "", "cmd:[": "", "py3.11:foo,bar/baz>1": "", "a><Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=": "",
		"pc:jemalloc=5.3.0_": "cannot stand", "pc:librtmp=v2.4": "does not begin with a number", "so:libaws-c-s3.so.0unstable=0unstable": "cannot stand",
		"a@edge": "pinned", "a*": "character in its name", "é": "character in its name", "a><Q1abc=": "not the identity", "a=1<2": "cannot stand",
	} {
		d, err := ParseDependency(word)
		if err != nil {
			t.Fatal(err)
		}
		checkError(t, d.Check(), fault.Invalid, want)
	}
	for _, d := range []Dependency{{}, {Name: "a=1"}, {Name: "a", Version: "1"}, {Name: "a", Match: Equal}, {Name: "a", Match: 64, Version: "1"}, {Name: "!a"}, {Name: strings.Repeat("a", 256)}} {
		if err := d.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v, want it refused", d, err)
		}
	}
	if err := (Dependency{Name: "a", Match: Fuzzy, Version: "1"}).Check(); err != nil {
		t.Errorf("a fuzzy match as v3 may have it: %v", err)
	}
}

func FuzzDependency(f *testing.F) {
	for _, s := range []string{"a>=1 !b@x c~2", "!=1", "a<>1", "a\nb  c", "so:x=1_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParseDependencies(s)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		again, err := ParseDependencies(FormatDependencies(list))
		if err != nil || len(again) != len(list) {
			t.Fatalf("%q is written %q: %v", s, FormatDependencies(list), err)
		}
		for i, d := range list {
			if d != again[i] {
				t.Errorf("%+v is read back as %+v", d, again[i])
			}
			if d.Check() == nil {
				_ = d.Allows("1.2")
			}
		}
	})
}
