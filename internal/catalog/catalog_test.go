package catalog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

const testName = "package/deb/main/x/debian-12/1.yaml"

var bookworm = ashlar.Target{Distro: "debian-12", Arch: "amd64"}

// loadText loads a definition from text, and what it includes from files.
func loadText(text string, files map[string]string) (*Definition, error) {
	return load("catalog", testName, func(name string) ([]byte, error) {
		if name == testName {
			return []byte(text), nil
		}
		if b, ok := files[name]; ok {
			return []byte(b), nil
		}
		return nil, fault.New(fault.NotFound, "no such file in the catalog").At("catalog/"+name, 0)
	})
}

// expandText loads, expands and binds a definition.
func expandText(text string, files map[string]string) (*Expanded, error) {
	d, err := loadText(text, files)
	if err != nil {
		return nil, err
	}
	e, err := d.Expand(bookworm)
	if err != nil {
		return nil, err
	}
	return e.Bind(map[string]string{SourceDir: "/src", TargetDir: "/target"})
}

// build wraps the text of one build, indented by six spaces after the first line.
func build(text string) string {
	return "contents:\n  builds:\n    - name: b\n" + strings.ReplaceAll(text, "\n", "\n      ")
}

func TestErrors(t *testing.T) {
	deep := strings.Repeat("[", 60) + strings.Repeat("]", 60)
	long := "vars: {A: '" + strings.Repeat("a", 200_000) + "', B: '${A}${A}'}\ntags: ['${B}']"
	chain := "vars:\n"
	for i := range 40 {
		chain += fmt.Sprintf("  V%d: ${V%d}\n", i, i+1)
	}
	cases := []struct{ name, text, want string }{
		{"unknown key", "image: x\n" + build("      pipline: []"), `catalog/` + testName + `:5: unknown key "pipline" (did you mean "pipeline"?)`},
		{"unknown top key", "imgae: x", `:1: unknown key "imgae" (did you mean "image"?)`},
		{"unknown key, far off", "os-release: {colour: red}", `:1: unknown key "colour" (known are bug-report-url, home-url, id,`},
		{"no mapping", "- a", `:1: a definition is keys with values, this is a list`},
		{"key twice", "image: x\nimage: y", `:2: key "image" is there twice, first at line 1`},
		{"bad yaml", "image: x\n  y: [", `:2: not valid YAML: mapping values are not allowed`},
		{"two documents", "image: x\n---\nimage: y", `: a second YAML document (keep one definition in a file)`},
		{"alias", "vars: {A: &a x}\ntags: [*a]", `:1: anchors and aliases are not part of the format (use a var: ${NAME})`},
		{"merge key", "os-release:\n  <<: {id: x}", `:2: merge keys are not part of the format`},
		{"tag", "image: !!binary aGk=", `:1: the tag !!binary is not part of the format`},
		{"deep", "cmd: " + deep, `:1: nested deeper than 40 levels`},
		{"NUL", "image: a\x00", `: file holds a NUL byte`},
		{"large", "image: " + strings.Repeat("a", 2<<20), `: file is larger than 1048576 bytes`},
		{"nodes", "cmd: [" + strings.Repeat("a,", 60_000) + "]", `:1: more than 50000 values in one file`},
		{"complex key", "? [a]\n: b", `:1: a key must be a plain name`},
		{"list for text", "image: [a]", `:1: a list where text is wanted`},
		{"text for list", "tags: a", `:1: "a" where a list is wanted`},
		{"text for map", "vars: a", `:1: "a" where names with values are wanted`},
		{"enum", "variant: runtmie", `:1: unknown word "runtmie" (did you mean "runtime"?)`},
		{"enum in list", "platforms: [linux/s390x]", `:1: unknown word "linux/s390x" (known are linux/amd64, linux/arm64)`},
		{"number", "paths: [{type: file, path: /a, uid: root}]", `:1: "root" where a number from 0 to`},
		{"negative", "paths: [{type: file, path: /a, uid: -1}]", `:1: "-1" where a number from 0 to`},
		{"bool", "fips-compliant: perhaps", `:1: "perhaps" where true or false is wanted`},
		{"mode", "paths: [{type: file, path: /a, mode: u+x}]", `:1: "u+x" is no file mode (write octal digits in quotes, such as "0644")`},
		{"missing", "paths:\n  - type: file", `:2: "path" is missing`},
		{"empty step", build("      pipeline: [{name: x}]"), `:4: a step that does nothing`},
		{"two steps in one", build("      pipeline: [{uses: dpkg/build@v1, runs: x}]"), `:4: a step with both "uses" and "runs"`},
		{"with without uses", build("      pipeline: [{runs: x, with: {a: b}}]"), `:4: "with" belongs to a step with "uses"`},
		{"empty entry", build("      pipeline:\n  -"), `:5: an empty entry in a list (take it away)`},
		{"matrix", build("      matrix: [{name: a, items: {b: c}}]"), `:4: "matrix" is not built yet (write one build for each item)`},
		{"platform", "platforms: [linux/arm64]", `:1: not for linux/amd64 (its platforms are [linux/arm64])`},
		{"circle", "vars:\n  A: ${B}\n  B: ${C}\n  C: ${A}", `:2: vars refer to each other in a circle: A → B → C → A`},
		{"circle through an expression", "vars:\n  A: '#{definition.vars.A}'", `:2: vars refer to each other in a circle: A → A`},
		{"circle through a key", "name: '#{definition.name}'", `:1: vars refer to each other in a circle: definition.name → definition.name`},
		{"long chain", chain + "  V40: x", `: more than 32 vars refer to one another in a chain`},
		{"long text", long, `:1: expands to more than 262144 bytes`},
		{"unknown symbol", build("      work-dir: ${source.dri}"), `:4: unknown variable "source.dri" (did you mean "source.dir"?)`},
		{"unknown symbol in a script", build("      pipeline: [{runs: 'cd ${target.dirs}'}]"), `:4: unknown variable "target.dirs" (did you mean "target.dir"?)`},
		{"unknown var", "vars: {VERSION: '1'}\n" + build("      contents: {packages: ['a=${VERSON}']}"), `:5: unknown variable "VERSON" (did you mean "VERSION"?)`},
		{"unknown var through a var", "vars: {URL: 'https://example.org/${X}'}\n" + build("      contents: {files: [{url: '${URL}'}]}"), `:5: unknown variable "X"`},
		{"unbound", build("      pipeline:\n  - uses: dpkg/source@v1\n    with: {file: '${source.dsc}'}"), `:6: ${source.dsc} has no value (a build has one when its files name a Debian source`},
		{"regexp", "vars: {A: x, B: '${A:(}'}", `:1: regular expression of ${A:…}: error parsing regexp`},
		{"regexp that does not match", "vars: {A: x, B: '${A:^y}'}", `:1: regular expression "^y" does not match A, which is "x"`},
		{"many regexps", "vars: {A: x, B: '" + strings.Repeat("${A:x}", 201) + "'}", `:1: more than 200 regular expressions`},
		{"regexp without end", "vars: {A: x, B: '${A:^y'}", `:1: ${A: has no closing brace`},
		{"expression", "tags: ['#{ target.arch == }']", `:1: expression #{ target.arch == }: unexpected "}"`},
		{"expression with an unknown name", "tags: ['#{ target.ach }']", `:1: unknown variable "target.ach" (did you mean "target.arch"?)`},
		{"condition", build("      pipeline: [{runs: x, if: target.arch}]"), `:4: expression target.arch: "amd64" where true or false is wanted`},
		{"condition on a later symbol", build(`      pipeline: [{runs: x, if: 'source.version == "1"'}]`), `${source.version} cannot be compared`},
		{"distro", "os-release: {id: debian, version-id: '13'}", `:1: os-release says debian-13, but the file is in the folder debian-12 (correct one of them)`},
		{"include", "includes: [parts/a.yaml]", `:1: cannot include parts/a.yaml: catalog/parts/a.yaml: no such file in the catalog`},
		{"include outside", "includes: [../a.yaml]", `:1: cannot include "../a.yaml" (write a path relative to the catalog's root`},
		{"include circle", "includes: [parts/b.yaml]", `catalog/parts/b.yaml:1: files include each other in a circle: ` + testName + ` → parts/b.yaml → parts/b.yaml`},
		{"include with an unknown key", "includes: [parts/c.yaml]", `catalog/parts/c.yaml:2: unknown key "tgas" (did you mean "tags"?)`},
	}
	files := map[string]string{"parts/b.yaml": "includes: [parts/b.yaml]", "parts/c.yaml": "image: x\ntgas: []"}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := expandText(c.text, files)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("kind is %s", fault.KindOf(err))
			}
		})
	}
}

func TestVariables(t *testing.T) {
	const vars = `
vars:
  A: one
  B: ${A} two
  AB-C_1: dashed
  URL: https://example.org/pool/a_1.0.tar.gz
  BASE: ${URL:^.+/(.+)$}
  SHELL: ${A} ${HOME}
  EMPTY: ~
flavor: sparse
variant: dev
`
	cases := []struct{ text, want string }{
		{`tags: ['${A}']`, "one"},
		{`tags: ['x${A}${B}x']`, "xoneone twox"},
		{`tags: ['${AB-C_1}']`, "dashed"},
		{`tags: ['${BASE}']`, "a_1.0.tar.gz"},
		{`tags: ['${definition.vars.B}']`, "one two"},
		{`tags: ['${definition.flavor}']`, "sparse"},
		{`tags: ['[${EMPTY}]']`, "[]"},
		{`tags: ['${SHELL}']`, "one ${HOME}"},
		{`tags: ['${NOBODY} $A ${ ${} ${1} $']`, "${NOBODY} $A ${ ${} ${1} $"},
		{`tags: ['${A:-x}']`, "${A:-x}"},
		{`tags: ['${target.arch} ${target.distro} ${target.flavor} ${target.dev} ${target.fips}']`, "amd64 debian-12 sparse true false"},
		{`tags: ['#{ target.arch == "amd64" ? "x86_64" : "aarch64" }']`, "x86_64"},
		{`tags: ['v#{definition.vars.A}.#{"}"}']`, "v" + "one" + ".}"},
		{`tags: ['${source.dir}/#{ target.dir + "/usr" }']`, "/src//target/usr"},
	}
	for _, c := range cases {
		e, err := expandText(vars+c.text, nil)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if e.Tags[0] != c.want {
			t.Errorf("%s: got %q, want %q", c.text, e.Tags[0], c.want)
		}
	}
}

func TestLanguages(t *testing.T) {
	e, err := expandText(`
vars: {A: one}
environment: {PATH: '/a:${PATH}', B: '${A}'}
paths:
  - {type: file, path: /a, content: '${A} ${target.mode} #{x}'}
`+build(`      pipeline:
  - runs: 'echo ${A} \${A} \\${A} ${A:-x} ${B} #{A} ${#A} ${source.dir}'
  - uses: deb/build@v1
    with: {control: '${A} ${shlibs:Depends} ${B}', platforms: [linux/arm64], if: x}`)[0:], nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []any{e.Environment, e.Paths[0].Content, e.Builds[0].Pipeline[0].Runs, e.Builds[0].Pipeline[1].With.Value()}
	want := []any{
		map[string]string{"PATH": "/a:${PATH}", "B": "one"},
		"one ${target.mode} #{x}",
		`echo one \${A} \\one ${A:-x} ${B} #{A} ${#A} /src`,
		map[string]any{"control": "one ${shlibs:Depends} ${B}", "platforms": []any{"linux/arm64"}, "if": "x"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestConditions(t *testing.T) {
	e, err := expandText(`
contents:
  packages: [a]
  builds:
    - {name: never, if: 'false'}
    - {name: here, if: target.arch == "amd64"}
    - {name: marked, if: '#{ target.arch != "arm64" }'}
    - {name: empty, if: }
paths:
  - {type: delete, path: /a, platforms: [linux/arm64]}
  - {type: delete, path: /b, platforms: [linux/amd64, linux/arm64]}
  - {type: delete, path: /c, platforms: []}
`, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, b := range e.Builds {
		got = append(got, b.Name+b.If)
	}
	for _, p := range e.Paths {
		got = append(got, p.Path)
	}
	if diff := cmp.Diff([]string{"here", "marked", "empty", "/b", "/c"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestIncludes(t *testing.T) {
	d, err := loadText("includes: [a.yaml, b.yaml]\nimage: mine\ntags: [t]\nvars: {A: mine}", map[string]string{
		"a.yaml": "image: a\nname: a\ntags: [a]\nvars: {A: a, B: a}",
		"b.yaml": "includes: [c.yaml]\nname: b\ntags: [b]",
		"c.yaml": "flavor: c",
	})
	if err != nil {
		t.Fatal(err)
	}
	s := d.Spec
	got := []any{s.Image, s.Name, s.Flavor, s.Tags, s.Vars, len(d.Includes), d.Includes[2].Name}
	want := []any{"mine", "b", "c", []string{"a", "b", "t"}, map[string]string{"A": "mine", "B": "a"}, 3, "c.yaml"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDistro(t *testing.T) {
	cases := []struct{ path, text, want string }{
		{"package/deb/main/x/debian-12/1.yaml", "image: x", "debian-12"},
		{"image/alpine-3.21/alpine-3.22/1.yaml", "# syntax=example.org/build:2-alpine3.21\nos-release: {id: alpine, version-id: '3.22'}", "alpine-3.22"},
		{"chart/x/helm/1.yaml", "# syntax=example.org/build:2-helm3\n", "helm"},
		{"x.yaml", "os-release: {id: debian, version-id: '13'}", "debian-13"},
		{"x.yaml", "# syntax=example.org/build:2-alpine3.23-dev\nimage: x", "alpine-3.23"},
		{"x.yaml", "image: x", ""},
	}
	for _, c := range cases {
		d, err := load("catalog", c.path, func(string) ([]byte, error) { return []byte(c.text), nil })
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s: got %s, want an error", c.path, d.Distro)
		case c.want != "" && (err != nil || string(d.Distro) != c.want):
			t.Errorf("%s: got %v, %v, want %s", c.path, d, err, c.want)
		}
	}
}

func TestBindEach(t *testing.T) {
	d, err := loadText("contents:\n  builds: [{name: '${source.version}'}, {name: '${source.version}'}]\ntags: ['${source.version}']", nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.Expand(bookworm)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.BindEach([]map[string]string{{SourceVersion: "1"}, {SourceVersion: "2"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := []string{b.Builds[0].Name, b.Builds[1].Name, b.Tags[0]}; !cmp.Equal(got, []string{"1", "2", "1"}) {
		t.Error(got)
	}
	for _, bad := range []string{"1; rm -rf /", "$(id)", "${source.dir}", "a\nb", strings.Repeat("1", 5000)} {
		if _, err := e.Bind(map[string]string{SourceVersion: bad}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v", clip(bad), err)
		}
	}
	if _, err := e.Bind(map[string]string{"target.arch": "amd64"}); err == nil {
		t.Error("bound what is not to be bound")
	}
}

// localCatalog makes a catalog with good and bad files in it.
func localCatalog(t *testing.T) (string, *Definition) {
	root := filepath.Join(t.TempDir(), "catalog")
	dir := filepath.Join(root, filepath.Dir(testName))
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "patch"), 0o755))
	must(os.WriteFile(filepath.Join(root, testName), []byte("image: x\n"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "patch/b.patch"), []byte("b"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "patch/a.patch"), []byte("a"), 0o644))
	must(os.WriteFile(filepath.Join(root, "..", "secret"), []byte("s"), 0o644))
	must(os.Symlink("../secret", filepath.Join(root, "out")))
	must(os.Symlink("/etc/passwd", filepath.Join(root, "abs")))
	must(os.Symlink(testName, filepath.Join(root, "in")))
	must(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	must(os.WriteFile(filepath.Join(root, "huge"), nil, 0o644))
	must(os.Truncate(filepath.Join(root, "huge"), maxLocalSize+1))
	d, err := Load(root, testName)
	must(err)
	return root, d
}

func TestLocalFiles(t *testing.T) {
	root, d := localCatalog(t)
	dir := filepath.ToSlash(filepath.Dir(testName))
	f, err := d.OpenLocal(dir + "/patch/a.patch")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(f)
	if err := f.Close(); err != nil || string(b) != "a" {
		t.Errorf("read %q, %v", b, err)
	}
	for _, bad := range []string{"out", "abs", "pipe", "huge", "../secret", "/etc/passwd", "", ".", "package", "nowhere", "package/../in"} {
		f, err := d.OpenLocal(bad)
		if err == nil {
			t.Errorf("%q could be opened", bad)
			f.Close()
		}
		var fe *fault.Error
		if !errors.As(err, &fe) {
			t.Errorf("%q: %v is no fault", bad, err)
		}
		if _, err := Load(root, bad); err == nil {
			t.Errorf("%q could be loaded", bad)
		}
	}
	files, err := d.LocalFiles(dir + "/patch")
	if diff := cmp.Diff([]string{dir + "/patch/a.patch", dir + "/patch/b.patch"}, files); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, bad := range []string{"../secret", "nowhere", ".", "/etc", "out"} {
		if _, err := d.LocalFiles(bad); err == nil {
			t.Errorf("%q could be listed", bad)
		}
	}
}
