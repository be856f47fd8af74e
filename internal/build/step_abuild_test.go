package build

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var alpine = ashlar.Target{Distro: "alpine-3.24", Arch: "amd64"}

// pipeline returns the build of a definition for Alpine.
func pipeline(t *testing.T, name string, text []byte) *catalog.Build {
	t.Helper()
	def, err := catalog.LoadTexts(map[string][]byte{name: text}, name)
	if err != nil {
		t.Fatal(err)
	}
	e, err := def.Expand(alpine)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.Bind(sampleValues); err != nil {
		t.Fatal(err)
	}
	return &e.Builds[0]
}

func TestAbuildGolden(t *testing.T) {
	const name = "package/apk/main/hello/alpine-3.24/2.yaml"
	text, err := os.ReadFile(filepath.Join("testdata/catalog", name))
	if err != nil {
		t.Fatal(err)
	}
	b := pipeline(t, name, text)
	var out strings.Builder
	for i := range b.Pipeline {
		s, err := planStep(b, &b.Pipeline[i], Policy{})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "### %s\n# in %s\n%s%s\n", s.Uses, s.Dir, exports(s.Env), s.Script)
	}
	golden(t, "abuild.golden", out.String())
}

// abuildStep returns the only step of a definition, with the given text.
func abuildStep(t *testing.T, text string) *catalog.Step {
	t.Helper()
	return &abuildPipeline(t, "", text).Pipeline[0]
}

// abuildPipeline returns the only build of a definition: its other lines, and the
// texts of its steps.
func abuildPipeline(t *testing.T, other string, steps ...string) *catalog.Build {
	t.Helper()
	const name = "package/apk/main/x/alpine-3.24/1.yaml"
	doc := "# syntax=example.org/build:2-alpine3.24\nimage: example.org/pkg-x\nvariant: runtime\ntags: [1-alpine3.24]\nplatforms: [linux/amd64]\n" +
		"contents:\n  builds:\n    - name: x\n      " + strings.ReplaceAll(other, "\n", "\n      ") +
		"\n      pipeline:\n        - " + strings.Join(steps, "\n        - ") + "\nos-release: {id: alpine, version-id: '3.24'}\n"
	return pipeline(t, name, []byte(doc))
}

func TestAbuildRefuses(t *testing.T) {
	tests := []struct{ step, want string }{
		{"{uses: abuild/setup@v1, with: {x: y}}", `unknown parameter of abuild/setup@v1 "x"`},
		{"{uses: abuild/upload@v1, with: {x: y}}", `unknown parameter of abuild/upload@v1 "x"`},
		{"{uses: abuild/build@v1, with: {command: rootbld}}", `abuild has no command "rootbld" for a build`},
		{"{uses: abuild/disable@v1}", `"function" is missing`},
		{"{uses: abuild/disable@v1, with: {function: build}}", `"build" cannot be turned off`},
		{"{uses: abuild/source@v1, with: {source: ../x.patch}}", `no name of a file beside the APKBUILD`},
		{"{uses: abuild/source@v1, with: {source: 'https://e.org/x'}}", `no name of a file beside the APKBUILD`},
		{"{uses: abuild/bump@v1}", "abuild/bump changes nothing"},
		{"{uses: abuild/bump@v1, with: {rel: 1, set: 1}}", "rel and set, which are the same"},
		{"{uses: abuild/bump@v1, with: {rel: one}}", `with.rel "one" is no number`},
		{"{uses: abuild/bump@v1, with: {name: a b}}", `with.name "a b" is no name of a package`},
		{`{uses: abuild/bump@v1, with: {version: '1"2'}}`, `with.version has a quote, a backslash or a line break`},
		{`{uses: abuild/bump@v1, with: {depends: 'a\b'}}`, `with.depends has a quote, a backslash or a line break`},
		{`{uses: abuild/bump@v1, with: {depends: [a]}}`, `with.depends is no text`},
		{"{uses: abuild/bump@v1, with: {subpackages: {'a b': {provides: c}}}}", `"a b" is no name of a package`},
		{"{uses: abuild/bump@v1, with: {subpackages: {a: {depends: c}}}}", `"depends"`},
		{"{uses: abuild/apk@v1, with: {name: a, version: 1, rel: 0, license: MIT}}", `"description" is missing`},
		{"{uses: abuild/apk@v1, with: {name: a, version: x, rel: 0, license: MIT, description: a}}", "set with.version and with.rel"},
		{"{uses: abuild/apk@v1, with: {name: a, version: 1, rel: 0, license: MIT, description: a, files: [../etc]}}", `"../etc" is no path below`},
		{"{uses: abuild/apk@v1, with: {name: a, version: 1, rel: 0, license: MIT, description: a, functions: {package: x}}}", `"package" is no name of a split function`},
		{"{uses: abuild/apk@v1, with: {name: a, version: 1, rel: 0, license: MIT, description: a, provider_priority: x}}", `with.provider_priority "x" is no number`},
	}
	for _, tt := range tests {
		_, err := dispatch(abuildStep(t, tt.step))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "1.yaml:") {
			t.Errorf("%s: error %v, want %s", tt.step, err, tt.want)
		}
	}
}

// A recipe in the forms that aports have.
const sampleRecipe = `# Maintainer: A Person <a@example.org>
pkgname=hello
_name=Hello
pkgver=2.9 # as upstream says
pkgrel=7
pkgdesc="Say \"hello\""
depends="
	musl
	zlib
	" # two
options='net'
subpackages="$pkgname-doc $pkgname-tools:_tools:noarch hello-x::noarch"
source="https://e.org/$pkgname-$pkgver.tar.gz
	a.patch
	"

package() {
	depends="not this"
}

sha512sums="
11  hello-2.9.tar.gz
22  a.patch
"
`

// edits are steps, and the lines of the sample recipe that they change: those
// taken away begin with "-", those that come with "+".
var recipeEdits = []struct{ name, step, want string }{
	{"release", "{uses: abuild/bump@v1, with: {rel: 8}}", "-pkgrel=7\n+pkgrel=8\n"},
	{"release by its other name", "{uses: abuild/bump@v1, with: {set: 0}}", "-pkgrel=7\n+pkgrel=0\n"},
	{"version", "{uses: abuild/bump@v1, with: {version: 2.10}}", "-pkgver=2.9 # as upstream says\n+pkgver=2.10 # as upstream says\n"},
	{"computed version", "{uses: abuild/bump@v1, with: {version: '2.10_git$(date -ud @${SOURCE_DATE_EPOCH} +%Y%m%d)'}}",
		"-pkgver=2.9 # as upstream says\n+pkgver=2.10_git20010909 # as upstream says\n"},
	{"name", "{uses: abuild/bump@v1, with: {name: hello-2}}", "-pkgname=hello\n+pkgname=hello-2\n"},
	{"several lines become one", "{uses: abuild/bump@v1, with: {depends: a b}}", "-depends=\"\n-\tmusl\n-\tzlib\n-\t\" # two\n+depends=\"a b\" # two\n"},
	{"nothing at all", "{uses: abuild/bump@v1, with: {depends: ''}}", "-depends=\"\n-\tmusl\n-\tzlib\n-\t\" # two\n+depends=\"\" # two\n"},
	{"what was not there", "{uses: abuild/bump@v1, with: {provides: 'hi=$pkgver-r$pkgrel', provider_priority: 10, builddir: '$srcdir/x'}}",
		"+builddir=\"$srcdir/x\"\n+provides=\"hi=$pkgver-r$pkgrel\"\n+provider_priority=10\n"},
	{"tests off", "{uses: abuild/disable@v1, with: {function: check}}", "+\n+# abuild/disable\n+options=\"$options !check\"\n"},
	{"a patch", "{uses: abuild/source@v1, with: {source: b.patch}}",
		"-\t\"\n+\tb.patch\n+\"\n+9637ee7b1601342f7a612ec7dfea2746b3837bf60d7ca0f7d307658a128c8a664fbc21a5d61513035cc41ec8defadd1ec2f3c5f9d345d95f41e9c08740690430  b.patch\n"},
}

func TestRecipeEdits(t *testing.T) {
	for _, awk := range awks(t) {
		for _, tt := range recipeEdits {
			t.Run(filepath.Base(awk)+"/"+tt.name, func(t *testing.T) {
				dir := recipeDir(t, awk, sampleRecipe)
				if out, err := runRecipeStep(t, dir, tt.step); err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if diff := cmp.Diff(tt.want, changed(sampleRecipe, readRecipe(t, dir))); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestRecipeEditRefuses(t *testing.T) {
	tests := []struct{ recipe, step, want string }{
		{"pkgname=x\npkgrel=1\n", "{uses: abuild/bump@v1, with: {version: 1}}", "/APKBUILD: no line begins with pkgver="},
		{"pkgname=x\n", "{uses: abuild/bump@v1, with: {depends: a}}", "/APKBUILD: no line begins with pkgrel="},
		{"pkgver=1\npkgver=2\npkgrel=1\n", "{uses: abuild/bump@v1, with: {version: 1}}", "/APKBUILD:2: pkgver= is set a second time; the first is in line 1"},
		{"pkgrel=1\ndepends=\"a\n", "{uses: abuild/bump@v1, with: {depends: a}}", "/APKBUILD:2: depends= has a quote that is never closed"},
		{"pkgrel=1\n\ndepends=\"$(ls)\"\n", "{uses: abuild/bump@v1, with: {depends: a}}", "/APKBUILD:3: depends= is made by a program"},
		{"pkgrel=1\n", "{uses: abuild/bump@v1, with: {version: '$(echo 1/2)'}}", `abuild/bump: "1/2" is no version`},
		{"pkgname=x\npkgver=1\npkgrel=1\n", "{uses: abuild/bump@v1, with: {subpackages: {x-doc: {provides: y}}}}", "/APKBUILD: subpackages= has no x-doc"},
		{"pkgrel=1\nsource=$x\n", "{uses: abuild/source@v1, with: {source: b.patch}}", "/APKBUILD:2: source= is no text in double quotes"},
		{"pkgrel=1\n\nsource=\"a b.patch\"\n", "{uses: abuild/source@v1, with: {source: b.patch}}", "/APKBUILD:3: it names b.patch already"},
		{"pkgrel=1\n", "{uses: abuild/source@v1, with: {source: c.patch}}", "/c.patch is missing; place it with files or paths"},
		{"pkgrel=1\n", "{uses: abuild/apk@v1, with: {name: a, version: 1, rel: 0, license: MIT, description: a}}", "/APKBUILD is there already"},
	}
	for _, awk := range awks(t) {
		for _, tt := range tests {
			dir := recipeDir(t, awk, tt.recipe)
			out, err := runRecipeStep(t, dir, tt.step)
			if want := strings.Replace(tt.want, "/", dir+"/", 1); err == nil || !strings.Contains(out, tt.want) || tt.want[0] == '/' && !strings.Contains(out, want) {
				t.Errorf("%s: %q with %s: %v, %s, want %s", awk, tt.recipe, tt.step, err, out, tt.want)
			}
			if left := readRecipe(t, dir); !strings.HasPrefix(left, tt.recipe) {
				t.Errorf("%s: it was changed to %q", tt.want, left)
			}
		}
	}
}

// A subpackage must provide and replace what abuild/bump says, whatever its split
// function does, and others must stay as they were.
func TestBumpSubpackages(t *testing.T) {
	const recipe = `pkgname=hello
pkgver=1
pkgrel=0
subpackages="$pkgname-doc $pkgname-x:_x:noarch $pkgname-bash-completion $pkgname-y::noarch"
_x() { echo "x of $subpkgname"; provides=mine; }
y() { echo y; }
doc() { echo doc; }
bashcomp() { echo bashcomp; }
`
	dir := recipeDir(t, awks(t)[0], recipe)
	if out, err := runRecipeStep(t, dir, "{uses: abuild/bump@v1, with: {name: ciao, subpackages: {ciao-x: {provides: 'hello-x=1', replaces: hello-x}, "+
		"ciao-bash-completion: {provides: b}, ciao-y: {replaces: 'c d'}}}}"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command("sh", "-c", `set -eu
. ./APKBUILD
echo $subpackages
for e in $subpackages; do
  (
    subpkgname=${e%%:*} provides=old replaces=old
    split=${e#*:}
    case $e in *:*) ${split%%:*} ;; *) ${subpkgname##*-} ;; esac
    echo "$subpkgname: provides $provides, replaces $replaces"
  )
done`)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	want := `ciao-doc ciao-x:_ashlar_split:noarch ciao-bash-completion:_ashlar_split ciao-y:_ashlar_split:noarch
doc
ciao-doc: provides old, replaces old
x of ciao-x
ciao-x: provides hello-x=1, replaces hello-x
bashcomp
ciao-bash-completion: provides b, replaces 
y
ciao-y: provides , replaces c d
`
	if diff := cmp.Diff(want, string(out)); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

// awks returns the programs awk that are here.
func awks(t *testing.T) []string {
	var found []string
	for _, name := range []string{"mawk", "gawk", "original-awk", "busybox", "awk"} {
		if p, err := exec.LookPath(name); err == nil {
			found = append(found, p)
		}
	}
	if found == nil {
		t.Skip("no awk")
	}
	return found
}

// recipeDir makes a folder with a recipe, a patch, a configuration as abuild/setup
// writes it, and programs: awk, and an abuild that can only list packages.
func recipeDir(t *testing.T, awk, recipe string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"APKBUILD":                 recipe,
		"b.patch":                  "--- a\n",
		"home/.abuild/abuild.conf": `: "${SOURCE_DATE_EPOCH:=1000000000}"` + "\n",
		"bin/abuild":               "#!/bin/sh\n. ./APKBUILD\nfor i in $pkgname $subpackages; do echo ${i%%:*}-$pkgver-r$pkgrel.apk; done\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(awk, filepath.Join(dir, "bin/awk")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runRecipeStep runs a step in the folder with sh, and returns what it said.
func runRecipeStep(t *testing.T, dir, step string) (string, error) {
	t.Helper()
	s, err := dispatch(abuildStep(t, step))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", strings.ReplaceAll(s.Script, abuildHome, filepath.Join(dir, "home")))
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + filepath.Join(dir, "bin") + ":" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func readRecipe(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "APKBUILD"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// changed returns the lines in which two texts differ: what is common at both ends
// of what is left is left out.
func changed(before, after string) string {
	var out strings.Builder
	a, b := strings.SplitAfter(before, "\n"), strings.SplitAfter(after, "\n")
	for len(a) > 0 || len(b) > 0 {
		switch n := next(a, b); {
		case len(a) > 0 && len(b) > 0 && a[0] == b[0]:
			a, b = a[1:], b[1:]
		case n >= 0: // lines came in
			for _, l := range b[:n] {
				out.WriteString("+" + l)
			}
			b = b[n:]
		default:
			out.WriteString("-" + a[0])
			a = a[1:]
		}
	}
	return out.String()
}

// next returns how many lines of b come before the first of a, -1 if it is not there.
func next(a, b []string) int {
	for i := range b {
		if len(a) == 0 || b[i] == a[0] {
			return i
		}
	}
	return -1
}
