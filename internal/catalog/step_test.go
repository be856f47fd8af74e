package catalog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step returns the only step of a definition with the given text in its pipeline.
func step(t *testing.T, text string) Step {
	t.Helper()
	e, err := expandText(build("      pipeline:\n  - "+text), nil)
	if err != nil {
		t.Fatal(err)
	}
	return e.Builds[0].Pipeline[0]
}

type testParams struct {
	Pos
	Args    string            `yaml:"args"`
	Patches Strings           `yaml:"patches"`
	List    []string          `yaml:"list"`
	Map     map[string]string `yaml:"map"`
	Apply   bool              `yaml:"apply"`
	Count   int               `yaml:"count"`
	Kind    string            `yaml:"kind" enum:"apk|deb"`
	Inner   []testInner       `yaml:"inner"`
	Free    Raw               `yaml:"free"`
}

type testInner struct {
	Pos
	Name string `yaml:"name,required"`
}

func TestDecodeWith(t *testing.T) {
	s := step(t, `uses: dpkg/build@v1
    with:
      args: 1.10
      patches: a
      list: [x, 2]
      map: {k: v}
      apply: true
      count: 3
      kind: deb
      inner: [{name: n}]
      free: {a: [true, ~]}`)
	var p testParams
	if err := DecodeWith(s, &p); err != nil {
		t.Fatal(err)
	}
	file := "catalog/" + testName
	free := p.Free.Value()
	if p.Free.Items() != nil {
		t.Error("a mapping has items")
	}
	p.Free = Raw{}
	want := testParams{
		Pos: Pos{file, 7}, Args: "1.10", Patches: Strings{"a"}, List: []string{"x", "2"}, Map: map[string]string{"k": "v"},
		Apply: true, Count: 3, Kind: "deb", Inner: []testInner{{Pos{file, 14}, "n"}},
	}
	if diff := cmp.Diff(want, p, cmp.AllowUnexported(Raw{})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]any{"a": []any{true, nil}}, free); diff != "" {
		t.Error(diff)
	}
	p = testParams{}
	if err := DecodeWith(step(t, "uses: dpkg/build@v1\n    with:\n      free:\n      - a\n      - b"), &p); err != nil {
		t.Error(err)
	} else if items := p.Free.Items(); len(items) != 2 || items[1].Value() != "b" || items[1].Pos() != (Pos{file, 9}) {
		t.Errorf("items %v", items)
	}
	p = testParams{}
	if err := DecodeWith(step(t, "uses: dpkg/build@v1"), &p); err != nil || p.Line != 5 {
		t.Errorf("without parameters: %v, line %d", err, p.Line)
	}
	if err := DecodeWith(s, p); err == nil {
		t.Error("decoded into a struct that is no pointer")
	}
}

func TestRawYAML(t *testing.T) {
	const text = `environment:
    ONE: "1"
    DATE: "2026-01-02"
paths:
    - path: /x
      uid: 65532
      mode: "0755"
      recursive: true
    - 'it''s: "x"'
`
	s := step(t, "uses: dpkg/build@v1\n    with:\n      free:\n        "+strings.ReplaceAll(text, "\n", "\n        "))
	var p testParams
	if err := DecodeWith(s, &p); err != nil {
		t.Fatal(err)
	}
	got, err := p.Free.YAML()
	if diff := cmp.Diff(text, string(got)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	if got, err := (Raw{}).YAML(); got != nil || err != nil {
		t.Errorf("of nothing: %q, %v", got, err)
	}
}

func TestDecodeWithErrors(t *testing.T) {
	cases := []struct{ with, want string }{
		{"{argz: x}", `:6: unknown parameter of dpkg/build@v1 "argz" (did you mean "args"?)`},
		{"{patches: [[a]]}", `:6: a list where text is wanted`},
		{"{list: x}", `:6: "x" where a list is wanted`},
		{"{apply: 'true'}", ``},
		{"{count: many}", `:6: "many" where a number`},
		{"{kind: rpm}", `:6: unknown word "rpm"`},
		{"{inner: [{}]}", `:6: "name" is missing`},
	}
	for _, c := range cases {
		var p testParams
		err := DecodeWith(step(t, "uses: dpkg/build@v1\n    with: "+c.with), &p)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.with, err, c.want)
		}
	}
}

func TestSupported(t *testing.T) {
	cases := []struct{ uses, want string }{
		{"dpkg/source@v1", ""}, {"dpkg/patch@v1", ""}, {"dpkg/bump@v1", ""}, {"dpkg/build@v1", ""},
		{"patch@v1", ""}, {"git/patch@v1", ""}, {"abuild/build@v1", ""},
		{"go/build@v1", "step go/build@v1 is not built yet"},
		{"example/pack:0", "step example/pack:0 runs an image, which is not built yet"},
		{"dpkg/bulid@v1", `unknown step "dpkg/bulid@v1" (did you mean "dpkg/build@v1"?)`},
		{"dpkg/build", `unknown step "dpkg/build" (did you mean "dpkg/build@v1"?)`},
		{"dpkg/build@v9", `unknown step "dpkg/build@v9" (did you mean "dpkg/build@v1"?)`},
	}
	for _, c := range cases {
		err := step(t, "uses: "+c.uses).Supported()
		if (err == nil) != (c.want == "") || err != nil && !strings.HasSuffix(err.Error(), ":5: "+c.want) {
			t.Errorf("%s: got %v, want %q", c.uses, err, c.want)
		}
	}
	if err := step(t, "runs: 'true'").Supported(); err != nil {
		t.Error(err)
	}
	for i, k := range Steps() {
		if k.Uses == "" || k.Does == "" || i > 0 && k.Uses <= Steps()[i-1].Uses {
			t.Errorf("the table of steps is out of order at %q", k.Uses)
		}
	}
}

func TestLint(t *testing.T) {
	const sum = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	const commit = "0123456789abcdef0123456789abcdef01234567"
	d, err := loadText(build(`      uses: example.org/base:1
contents:
  packages: [a, b, a]
  files:
    - {url: 'https://example.org/a', path: /a}
    - {url: 'https://example.org/a', path: /a, checksum: `+sum+`}
    - {url: 'https://example.org/a', path: /a, checksum: 'md5:00'}
    - {url: 'https://example.org/a', path: /a, checksum: 'https://example.org/SUMS'}
    - {url: 'http://example.org/a', path: /a, checksum: 'http://example.org/SUMS'}
    - {url: 'git+https://example.org/a.git#main', path: /a}
    - {url: 'git+https://example.org/a.git#v1', path: /a, checksum: `+commit+`}
    - {url: 'git+https://example.org/a.git#`+commit+`', path: /a}
    - {url: 'debsrc://bookworm/a', path: '/${NOBODY}'}
    - {path: /a}
pipeline:
  - {uses: go/build@v1}
  - {runs: x, privileged: true, environment: {DEB_BUILD_OPTIONS: parallel=2 nocheck}}
  - uses: dpkg/build@v1
    with:
      args: -uc -us -d
      options: nocheck
  - {uses: dpkg/build@v1, with: {args: '-uc -us -Pnodoc,nocheck'}}
  - {uses: abuild/disable@v1, with: {function: check}}`)+"\nos-release: {id: debian, version-id: '13'}", nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := d.Expand(bookworm)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range Lint(e) {
		got = append(got, strings.TrimPrefix(f.String(), "catalog/"+testName+":"))
	}
	want := []string{
		`3: note: package a is listed twice (take one away)`,
		`3: error: the base image example.org/base:1 is not pinned (add its digest, @sha256:…)`,
		`8: error: no checksum for https://example.org/a (add checksum: sha256:…)`,
		`10: error: the checksum of https://example.org/a has an unknown form (write sha256: and 64 hexadecimal digits)`,
		`11: note: the checksum of https://example.org/a is taken from an address (write sha256:… if it is known)`,
		`12: error: the checksum file of http://example.org/a comes over plain HTTP (add checksum: sha256:…)`,
		`13: error: the Git reference of git+https://example.org/a.git#main may move (give the full commit as checksum)`,
		`16: error: unknown variable "NOBODY" (known are source.dir, source.dsc, source.name, source.upstream-version, source.version, target.dir)`,
		`17: error: a file without "url"`,
		`19: error: step go/build@v1 is not built yet`,
		`20: warning: the step has the network (fetch what it needs as files with checksums)`,
		`20: warning: the package's own tests are turned off (take nocheck away, or say in a comment why not)`,
		`23: warning: -d builds even if build dependencies are missing (take -d away and complete the packages)`,
		`24: warning: the package's own tests are turned off (take nocheck away, or say in a comment why not)`,
		`25: warning: the package's own tests are turned off (take nocheck away, or say in a comment why not)`,
		`26: warning: the package's own tests are turned off (take the step away, or say in a comment why not)`,
		`27: error: os-release says debian-13, but the file is in the folder debian-12 (correct one of them)`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
