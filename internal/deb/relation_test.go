package deb

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

func TestParseDependencies(t *testing.T) {
	for _, c := range []struct {
		in, out string
		want    []Dependency
	}{
		{"", "", nil},
		{" , ", "", []Dependency{}},
		{"a", "a", []Dependency{{{Name: "a"}}}},
		{"a(>=1.0~)", "a (>= 1.0~)", []Dependency{{{Name: "a", Op: ">=", Version: "1.0~"}}}},
		{"a (< 1), b (> 2)", "a (<= 1), b (>= 2)", []Dependency{{{Name: "a", Op: "<=", Version: "1"}}, {{Name: "b", Op: ">=", Version: "2"}}}},
		{"a (1)", "a (= 1)", []Dependency{{{Name: "a", Op: "=", Version: "1"}}}},
		{"a|b:any | c++:amd64 (<< 1:2-3)", "a | b:any | c++:amd64 (<< 1:2-3)",
			[]Dependency{{{Name: "a"}, {Name: "b", ArchQual: "any"}, {Name: "c++", ArchQual: "amd64", Op: "<<", Version: "1:2-3"}}}},
		{"a:native (>> 1) [linux-any !i386\n any-arm64] <!nocheck> <cross !stage1>,\n b,", "a:native (>> 1) [linux-any !i386 any-arm64] <!nocheck> <cross !stage1>, b",
			[]Dependency{{{Name: "a", ArchQual: "native", Op: ">>", Version: "1", Arches: []string{"linux-any", "!i386", "any-arm64"},
				Profiles: [][]string{{"!nocheck"}, {"cross", "!stage1"}}}}, {{Name: "b"}}}},
		{"a[amd64]<!nodoc>", "a [amd64] <!nodoc>", []Dependency{{{Name: "a", Arches: []string{"amd64"}, Profiles: [][]string{{"!nodoc"}}}}}},
		{"a <pkg.b.x>", "a <pkg.b.x>", []Dependency{{{Name: "a", Profiles: [][]string{{"pkg.b.x"}}}}}},
	} {
		got, err := ParseDependencies(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%q: %s", c.in, d)
		}
		if s := FormatDependencies(got); s != c.out {
			t.Errorf("%q is written %q, want %q", c.in, s, c.out)
		}
	}
}

func TestBadDependencies(t *testing.T) {
	for in, want := range map[string]string{
		"a | ":                       "empty alternative",
		"| a":                        "empty alternative",
		"(= 1)":                      "empty alternative",
		"${misc:Depends}":            "malformed package name",
		"-a":                         "malformed package name",
		"a/../b":                     "malformed package name",
		"a:":                         "architecture qualifier",
		"a:b/c":                      "architecture qualifier",
		"a (= 1":                     "closing parenthesis",
		"a (=)":                      "malformed version",
		"a (= 1 2)":                  "malformed version",
		"a (=> 1)":                   "unknown operator",
		"a (== 1)":                   "unknown operator",
		"a b":                        "unexpected",
		"a (= 1) b":                  "unexpected",
		"a (= 1) (= 2)":              "unexpected",
		"a []":                       "empty restriction",
		"a [amd64":                   "unfinished",
		"a <x> [amd64]":              "misplaced",
		"a [amd64] [i386]":           "misplaced",
		"a [!]":                      "malformed restriction",
		"a <a;b>":                    "malformed restriction",
		strings.Repeat("a,", 20_001): "more than 20000 relations",
		strings.Repeat("a|", 1001):   "more than 1000 alternatives",
	} {
		_, err := ParseDependencies(in)
		checkError(t, err, want)
	}
}

func TestSatisfies(t *testing.T) {
	for op, want := range map[string]string{"": "123", "<<": "1", "<=": "12", "=": "2", ">=": "23", ">>": "3"} {
		got := ""
		for _, v := range []string{"1", "2", "3"} {
			if (Relation{Name: "a", Op: op, Version: "2"}).Satisfies(v) {
				got += v
			}
		}
		if got != want {
			t.Errorf("%q 2 is satisfied by %s, want %s", op, got, want)
		}
	}
}

func TestReduce(t *testing.T) {
	for _, c := range []struct{ in, profiles, amd64, arm64 string }{
		{"a", "", "a", "a"},
		{"a [amd64] | b [arm64], c", "", "a, c", "b, c"},
		{"a [!amd64]", "", "", "a"},
		{"a [!amd64 !i386]", "", "", "a"},
		{"a [linux-any], b [any-amd64], c [kfreebsd-any], d [any]", "", "a, b, d", "a, d"},
		{"a [!linux-any]", "", "", ""},
		{"a [gnu-any-any], b [musl-any-any], c [gnu-linux-arm64]", "", "a", "a, c"},
		{"a [hurd-any linux-amd64]", "", "a", ""},
		{"a [i386 !arm64]", "", "a", ""}, // a negated entry lets the others in, as with dpkg
		{"a <!nocheck>, b <nocheck>, c", "", "a, c", "a, c"},
		{"a <!nocheck>, b <nocheck>, c", "nocheck", "b, c", "b, c"},
		{"a <!nocheck !nodoc>", "nodoc", "", ""},
		{"a <!nocheck> <!nodoc>", "nodoc", "a", "a"},
		{"a (>= 1) [amd64] <!cross> | b:any", "", "a (>= 1) | b:any", "b:any"},
		{"a (>= 1) [amd64] <!cross> | b:any", "cross", "b:any", "b:any"},
	} {
		deps, err := ParseDependencies(c.in)
		if err != nil {
			t.Fatal(err)
		}
		before := FormatDependencies(deps)
		for arch, want := range map[ashlar.Arch]string{"amd64": c.amd64, "arm64": c.arm64} {
			if got := FormatDependencies(Reduce(deps, arch, strings.Fields(c.profiles))); got != want {
				t.Errorf("%s on %s with %q: %q, want %q", c.in, arch, c.profiles, got, want)
			}
		}
		if FormatDependencies(deps) != before {
			t.Errorf("%s: Reduce changed its input", c.in)
		}
	}
}

// TestMatchArch asks the real dpkg-architecture the same questions.
func TestMatchArch(t *testing.T) {
	if _, err := exec.LookPath("dpkg-architecture"); err != nil {
		t.Skip("dpkg-architecture (of dpkg-dev) is not installed")
	}
	patterns := []string{"amd64", "arm64", "i386", "any", "all", "linux-any", "any-amd64", "any-arm64", "kfreebsd-any", "linux-amd64",
		"gnu-linux-any", "gnu-any-any", "musl-linux-any", "base-gnu-linux-arm64", "base-any-any-any", "eabihf-any-any-any", "any-arm", "hurd-amd64", "hurd-any"}
	var script strings.Builder
	for _, arch := range []string{"amd64", "arm64", "armhf"} {
		for _, p := range patterns {
			script.WriteString("if dpkg-architecture -f -a " + arch + " -i " + p + " 2>/dev/null; then echo " + arch + " " + p + " yes; else echo " + arch + " " + p + " no; fi\n")
		}
	}
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		w := strings.Fields(line)
		if got := MatchArch(w[1], ashlar.Arch(w[0])); got != (w[2] == "yes") {
			t.Errorf("MatchArch(%s, %s) = %t, dpkg says %s", w[1], w[0], got, w[2])
		}
	}
}

func FuzzParseDependencies(f *testing.F) {
	f.Add("a | b:any (>= 1.0~) [linux-any !i386] <!nocheck> <cross !stage1>, c")
	f.Add("a (< 1), , b[amd64]<x>")
	f.Add("a(=1)|b")
	f.Add("a [any-any-any-any-any]")
	f.Fuzz(func(t *testing.T, s string) {
		deps, err := ParseDependencies(s)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		again, err := ParseDependencies(FormatDependencies(deps))
		if err != nil {
			t.Fatalf("%q does not parse: %v", FormatDependencies(deps), err)
		}
		if d := cmp.Diff(deps, again); d != "" && len(deps) > 0 {
			t.Error(d)
		}
		Reduce(deps, "amd64", []string{"nocheck"})
	})
}
