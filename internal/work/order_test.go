package work

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// define writes a definition that packs some packages and wants others.
func define(t *testing.T, root, name string, makes, wants []string) Ref {
	t.Helper()
	path := "package/apk/main/" + name + "/musl-1/1.yaml"
	text := "image: ashlar/pkg-" + name + "\nvariant: runtime\ntags: [\"1\"]\nplatforms: [linux/amd64]\ncontents:\n  builds:\n    - name: " + name +
		"\n      contents:\n        packages: [gcc"
	for _, w := range wants {
		text += ", '" + w + "@musl'"
	}
	text += "]\n      pipeline:\n        - uses: dhi/build-pkg:0\n          with:\n            name: " + makes[0] + "\n            subpackages:\n"
	for _, m := range makes[1:] {
		text += "              - name: " + m + "\n"
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Ref{Root: root, Path: path}
}

func TestOrder(t *testing.T) {
	root := t.TempDir()
	refs := []Ref{
		define(t, root, "curl", []string{"curl", "curl-dev"}, []string{"zlib-dev", "openssl-dev>=3", "musl-dev"}),
		define(t, root, "musl", []string{"musl", "musl-dev"}, nil),
		define(t, root, "openssl", []string{"openssl", "openssl-dev"}, []string{"musl-dev"}),
		define(t, root, "zlib", []string{"zlib", "zlib-dev"}, []string{"musl-dev", "elsewhere"}),
	}
	order, err := Order(refs, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	after := map[string][]int{}
	for _, o := range order {
		name := strings.Split(o.Path, "/")[3]
		got = append(got, name)
		after[name] = o.After
	}
	if diff := cmp.Diff([]string{"musl", "zlib", "openssl", "curl"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]int{"musl": nil, "zlib": {0}, "openssl": {0}, "curl": {0, 1, 2}}, after); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	all, err := WithNeeds(refs[:1], "amd64")
	if diff := cmp.Diff([]Ref{refs[0], refs[3], refs[2], refs[1]}, all); err != nil || diff != "" {
		t.Errorf("with needs: %v (-want +got):\n%s", err, diff)
	}
	refs[1] = define(t, root, "musl", []string{"musl", "musl-dev"}, []string{"curl"})
	if _, err := Order(refs, "amd64"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "curl/musl-1/1.yaml → ") {
		t.Errorf("a circle: %v", err)
	}
}

// needing lets the main package of a definition depend on others, by a line of YAML.
func needing(t *testing.T, r Ref, line string) Ref {
	t.Helper()
	b, err := os.ReadFile(r.File())
	if err != nil {
		t.Fatal(err)
	}
	const before = "            subpackages:\n"
	text := strings.Replace(string(b), before, "            "+line+"\n"+before, 1)
	if err := os.WriteFile(r.File(), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestOrderNeeds: what packages depend on comes first where that makes no circle.
func TestOrderNeeds(t *testing.T) {
	type def struct{ name, wants, needs string }
	for _, c := range []struct {
		name string
		defs []def
		want string // "name<places" for each
		says string
	}{
		{"a need", []def{{"nginx", "", "base>=1"}, {"base", "", ""}}, "base nginx<0", ""},
		{"a need in a text", []def{{"nginx", "", "depends: 'elsewhere>1, base-dev>=1'"}, {"base", "", ""}}, "base nginx<0", ""},
		{"a need in a text of a list", []def{{"nginx", "", "depends: [elsewhere other, 'cmd:x base']"}, {"base", "", ""}}, "base nginx<0", ""},
		{"a need of apk's package alone", []def{{"nginx", "", "apk: {depends: base}"}, {"base", "", ""}}, "base nginx<0", ""},
		{"a need of a number", []def{{"nginx", "", "depends: [1, {x: y}]"}, {"base", "", ""}}, "nginx base", ""},
		{"a need of a subpackage", []def{{"nginx", "", "base-dev"}, {"base", "", ""}}, "base nginx<0", ""},
		{"a need that nobody makes", []def{{"nginx", "", "elsewhere"}, {"base", "", ""}}, "nginx base", ""},
		{"a need of itself", []def{{"nginx", "", "nginx-dev"}}, "nginx", ""},
		{"needs in a circle", []def{{"a", "", "b"}, {"b", "", "a"}}, "b a<0", ""},
		{"a want against a need", []def{{"a", "", "b"}, {"b", "a-dev", ""}}, "a b<0", ""},
		{"a want against needs in a row", []def{{"a", "", "b"}, {"b", "", "c"}, {"c", "a-dev", ""}}, "b a<0 c<1", ""},
		{"a need within a want", []def{{"a", "b", ""}, {"b", "", "c"}, {"c", "", ""}}, "c b<0 a<1", ""},
		{"a need against a want within a want", []def{{"a", "b", ""}, {"b", "", "c"}, {"c", "a", ""}}, "b a<0 c<1", ""},
		{"wants that meet", []def{{"d", "b", "c"}, {"c", "a", ""}, {"b", "a", ""}, {"a", "", ""}}, "a b<0 c<0 d<1<2", ""},
		{"a want of itself", []def{{"a", "a-dev", ""}}, "", "a/musl-1/1.yaml → package/apk/main/a/musl-1/1.yaml"},
		{"wants in a circle of three", []def{{"a", "b", ""}, {"b", "c", ""}, {"c", "a", ""}}, "", "with one another's packages"},
	} {
		root := t.TempDir()
		var refs []Ref
		for _, d := range c.defs {
			var wants []string
			if d.wants != "" {
				wants = []string{d.wants}
			}
			ref := define(t, root, d.name, []string{d.name, d.name + "-dev"}, wants)
			if strings.Contains(d.needs, ":") {
				ref = needing(t, ref, d.needs)
			} else if d.needs != "" {
				ref = needing(t, ref, "depends: ['"+d.needs+"']")
			}
			refs = append(refs, ref)
		}
		order, err := Order(refs, "amd64")
		if c.says != "" {
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, o := range order {
			word := strings.Split(o.Path, "/")[3]
			for _, at := range o.After {
				word += fmt.Sprintf("<%d", at)
			}
			got = append(got, word)
		}
		if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// TestOrderApart: worlds have nothing to do with each other, and what cannot be read
// stays where it was.
func TestOrderApart(t *testing.T) {
	root := t.TempDir()
	zlib := define(t, root, "zlib", []string{"zlib", "zlib-dev"}, nil)
	curl := define(t, root, "curl", []string{"curl"}, []string{"zlib-dev"})
	other := Ref{Root: root, Path: strings.Replace(curl.Path, "musl-1", "musl-2", 1)}
	if err := os.CopyFS(filepath.Dir(other.File()), os.DirFS(filepath.Dir(curl.File()))); err != nil {
		t.Fatal(err)
	}
	bad := Ref{Root: root, Path: "package/apk/main/none/musl-1/1.yaml"}
	order, err := Order([]Ref{bad, other, curl, zlib}, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var got []Ref
	for _, o := range order {
		got = append(got, o.Ref)
	}
	if diff := cmp.Diff([]Ref{bad, other, zlib, curl}, got); diff != "" {
		t.Error(diff)
	}
}
