package catalog

import (
	"fmt"
	"strings"
	"testing"
)

func findTest(name string) (string, error) {
	values := map[string]string{"a": "A", "target.arch": "amd64", "x-y": "dash", "later": "${source.version}"}
	if v, ok := values[name]; ok {
		return v, nil
	}
	return "", fmt.Errorf("no %s", name)
}

func TestExpr(t *testing.T) {
	cases := []struct{ src, want, wantErr string }{
		{`"x"`, "x", ""},
		{`'it is "x"'`, `it is "x"`, ""},
		{`a`, "A", ""},
		{`x-y`, "dash", ""},
		{`25`, "25", ""},
		{`target.arch == "amd64" ? "x86_64" : "aarch64"`, "x86_64", ""},
		{`target.arch=="arm64"?"x":"y"`, "y", ""},
		{`a == "B" || a == "A" ? "yes" : "no"`, "yes", ""},
		{`a != "A" && nobody == "x"`, "false", ""},
		{`a == "A" || nobody == "x"`, "true", ""},
		{`!(a == "B")`, "true", ""},
		{`!!true`, "true", ""},
		{`(a == "A" ? "x" : "y") + "-z" + a`, "x-zA", ""},
		{`a == "B" ? "1" : a == "A" ? "2" : "3"`, "2", ""},
		{`a + "" == "A"`, "true", ""},
		{`true ? a : nobody`, "A", ""},
		{`later + "/x"`, "${source.version}/x", ""},
		{`later == "1"`, "", "cannot be compared"},
		{`nobody`, "", "no nobody"},
		{`a ? "x" : "y"`, "", `"A" where true or false is wanted`},
		{`a == `, "", "not finished"},
		{``, "", "not finished"},
		{`"x`, "", "a string without its closing \""},
		{`a b`, "", `unexpected "b"`},
		{`a = "A"`, "", `unexpected "="`},
		{`(a`, "", "not finished"},
		{`a ? "x"`, "", "not finished"},
		{`a & "x"`, "", `unexpected "&"`},
		{strings.Repeat("(", 100) + "a" + strings.Repeat(")", 100), "", "nested deeper"},
		{strings.Repeat("!", 100) + "true", "", "nested deeper"},
		{"a" + strings.Repeat(` + a`, 100), "", "operators in a row"},
	}
	for _, c := range cases {
		got, err := evalText(c.src)
		switch {
		case c.wantErr == "" && (err != nil || got != c.want):
			t.Errorf("%s: got %q, %v, want %q", c.src, got, err, c.want)
		case c.wantErr != "" && (err == nil || !strings.Contains(err.Error(), c.wantErr)):
			t.Errorf("%s: got %q, %v, want error %q", c.src, got, err, c.wantErr)
		}
	}
}

func evalText(src string) (string, error) {
	e, _, err := parseExpr(src, 0)
	if err != nil {
		return "", err
	}
	return e.eval(findTest)
}

func TestSuggest(t *testing.T) {
	known := []string{"pipeline", "paths", "path", "packages"}
	for word, want := range map[string]string{
		"pipline": "pipeline", "piepline": "pipeline", "pacakges": "packages", "pth": "path", "zebra": "", "": "",
		strings.Repeat("x", 1000): "",
	} {
		got := suggest(word, known)
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %s", clip(word), got)
		}
	}
}

// FuzzExpr looks for expressions that crash, loop or grow.
func FuzzExpr(f *testing.F) {
	for _, seed := range []string{
		`target.arch == "amd64" ? "x86_64" : "aarch64"`, `(a == 'b' || !false) && true`, `"a" + a}`, `((((`, `!`, `a ? b`, "\"\x00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		e, used, err := parseExpr(src, '}')
		if err != nil {
			return
		}
		if used > len(src) || used < 1 || src[used-1] != '}' {
			t.Errorf("took %d of %d bytes", used, len(src))
		}
		if v, err := e.eval(findTest); err == nil && len(v) > maxText {
			t.Errorf("value of %d bytes", len(v))
		}
	})
}

// FuzzInterpolate looks for texts that crash, and checks that text without marks
// stays as it is.
func FuzzInterpolate(f *testing.F) {
	for _, seed := range []string{"${A}", "${B:^(.)$}", "#{ definition.vars.A + 'x' }", "\\${A}", "${A", "#{", "${source.dir}${source.x}", "${B:{}}"} {
		for lang := range 4 {
			f.Add(seed, uint8(lang))
		}
	}
	root, err := parse("x", []byte("vars: {A: a, B: '${A}b', C: '${C}'}\nimage: '${A}'"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, lang uint8) {
		s := newScope(root, targetSymbols(root, bookworm))
		got, err := s.expand(&node{value: text}, language(lang%4))
		if err == nil && len(got) > maxText && len(text) <= maxText {
			t.Errorf("text of %d bytes", len(got))
		}
		if !strings.Contains(text, "{") && (err != nil || got != text) {
			t.Errorf("got %q, %v for %q", got, err, text)
		}
	})
}

// FuzzDefinition looks for definitions that crash any stage, and for errors
// without a file.
func FuzzDefinition(f *testing.F) {
	f.Add("image: x\nvars: {A: '${B}', B: '#{ target.arch }'}\n")
	f.Add(build("      pipeline:\n  - {uses: dpkg/build@v1, with: {args: -d}, if: target.dev}\n"))
	f.Add(build("      contents: {files: [{url: 'git+https://x#y', platforms: [linux/amd64]}]}"))
	f.Add("includes: [a, a]\ntags: [${A:x}]\n<<: 1\n? [x]\n: &a {}")
	f.Add("vars: {a: ~}\nos-release: {id: debian, version-id: 12}\npaths: [~, {}]")
	f.Add("contents: {builds: {a: {b: ~}}}")
	f.Add("vars:")
	f.Add("contents:\n  builds:\n    -\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := loadText(text, map[string]string{"a": "vars: {A: b}", "b": "includes: [a]"})
		if err != nil {
			checkError(t, err)
			return
		}
		for _, target := range d.Targets() {
			e, err := d.Expand(target)
			if err != nil {
				checkError(t, err)
				continue
			}
			Lint(e)
			if _, err := e.Bind(testValues()); err != nil {
				checkError(t, err)
			}
		}
	})
}

func checkError(t *testing.T, err error) {
	if !strings.HasPrefix(err.Error(), "catalog/") {
		t.Errorf("an error without a file: %v", err)
	}
}
