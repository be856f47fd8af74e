package resolve

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// FuzzSolve makes small universes out of the input and checks that the solver
// does not panic, gives the same answer twice, that its answer is consistent by
// an independent check, and that it finds one whenever trying all sets does.
func FuzzSolve(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 1, 2, 3, 0, 5, 9, 200, 17, 33, 64, 1, 1, 1, 2, 8, 8, 90})
	f.Add([]byte("a circle of conflicting alternatives, hopefully"))
	f.Add([]byte{255, 254, 253, 1, 0, 7, 7, 7, 130, 131, 132, 9, 9, 65, 66, 67, 68, 69, 70, 71, 72})
	f.Fuzz(func(t *testing.T, data []byte) {
		g := &generator{data: data}
		u, req := g.universe(t), g.request()
		first, err := Solve(u, req)
		second, err2 := Solve(u, req)
		if (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Fatalf("two answers: %v, %v", err, err2)
		}
		if err != nil {
			if !fault.Is(err, fault.Conflict) {
				t.Fatal(err)
			}
			if set := search(u, req); set != nil {
				t.Fatalf("refused: %v\nbut this fits: %v\n%s", err, lines(set), g.text)
			}
			return
		}
		if !slices.Equal(first.Packages, second.Packages) {
			t.Fatal("two answers")
		}
		if why := inconsistency(first.Packages, req); why != "" {
			t.Fatalf("%s\n%s", why, g.text)
		}
		for _, r := range Order(first.Packages, nil, "amd64") {
			if len(r.Packages) == 0 {
				t.Fatal("an empty run")
			}
		}
	})
}

// generator reads decisions from fuzz data; when it ends, all are 0.
type generator struct {
	data []byte
	text string
}

func (g *generator) pick(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return int(b) % n
}

const fuzzNames = "abcdef"

func (g *generator) relation() string {
	name := string(fuzzNames[g.pick(len(fuzzNames))])
	switch g.pick(6) {
	case 0:
		return name + " (>= 2)"
	case 1:
		return name + " (= 1)"
	case 2:
		return name + " (<< 2)"
	}
	return name
}

func (g *generator) universe(t *testing.T) *Memory {
	var b strings.Builder
	for i := range len(fuzzNames) {
		for version := 1; version <= 1+g.pick(2); version++ {
			fmt.Fprintf(&b, "%c %d", fuzzNames[i], version)
			for _, field := range []string{"Depends", "Pre-Depends", "Conflicts", "Breaks", "Provides"} {
				if g.pick(3) != 1 {
					continue
				}
				value := g.relation()
				switch field {
				case "Depends":
					value += " | " + g.relation() + ", " + g.relation()
				case "Provides":
					value = string(fuzzNames[g.pick(len(fuzzNames))]) + []string{"", " (= 1)", " (= 2)"}[g.pick(3)]
				}
				fmt.Fprintf(&b, "; %s: %s", field, value)
			}
			b.WriteByte('\n')
		}
	}
	g.text = b.String()
	return universe(t, g.text)
}

func (g *generator) request() Request {
	req := Request{Arch: "amd64", Packages: []Spec{{Name: "a", By: "packages"}}}
	switch g.pick(4) {
	case 1:
		req.Packages = append(req.Packages, Spec{Name: "b", By: "packages"})
	case 2:
		req.Packages = append(req.Packages, Spec{Name: "c", Exclude: true, By: "packages"})
	case 3:
		req.Wants = append(req.Wants, Want{Dependency: deb.Dependency{{Name: "d"}, {Name: "e"}}, By: "src"})
	}
	return req
}

// search tries all sets of one version or none of each name, and returns the
// first that is consistent, nil if there is none.
func search(u *Memory, req Request) []*deb.Package {
	var try func(i int, set []*deb.Package) []*deb.Package
	try = func(i int, set []*deb.Package) []*deb.Package {
		if i == len(fuzzNames) {
			if inconsistency(set, req) == "" && named(set, req) {
				return set
			}
			return nil
		}
		for _, p := range append([]*deb.Package{nil}, u.versions[string(fuzzNames[i])]...) {
			next := set
			if p != nil {
				next = append(slices.Clip(set), p)
			}
			if found := try(i+1, next); found != nil {
				return found
			}
		}
		return nil
	}
	return try(0, []*deb.Package{})
}

// named reports whether the packages that the request names are there by name.
func named(set []*deb.Package, req Request) bool {
	for _, s := range req.Packages {
		if !s.Exclude && !slices.ContainsFunc(set, func(p *deb.Package) bool { return p.Name == s.Name }) {
			return false
		}
	}
	return true
}

// FuzzParseSpec checks that what is read is written back the same.
func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"a1", "!curl", "curl=1:2~rc1-3", "curl~2", "libc6:any", "a==1", "!!a", "a=1=2", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, entry string) {
		s, err := ParseSpec(entry)
		switch {
		case err != nil && !fault.Is(err, fault.Invalid):
			t.Fatal(err)
		case err == nil && s.String() != entry:
			t.Fatalf("%q became %q", entry, s)
		}
		s.Matches("1.0-1")
	})
}

// FuzzParseDebSrc checks that what is read is written back the same, and that a
// file never leads out of the source.
func FuzzParseDebSrc(f *testing.F) {
	for _, s := range []string{"debsrc://bookworm/bzip2", "debsrc://trixie/g++@1:2~x#debian/patches/a.patch", "debsrc://a/bb#../x", "debsrc://a/bb@1#a//../b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		d, err := ParseDebSrc(uri)
		switch {
		case err != nil && !fault.Is(err, fault.Invalid):
			t.Fatal(err)
		case err == nil && (d.String() != uri || strings.HasPrefix(d.File, "/") || slices.Contains(strings.Split(d.File, "/"), "..")):
			t.Fatalf("%q became %+v", uri, d)
		}
	})
}
