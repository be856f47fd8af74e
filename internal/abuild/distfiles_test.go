package abuild

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// digest returns a SHA-512 made of one digit.
func digest(c string) string { return strings.Repeat(c, 128) }

// sums returns an assignment of sha512sums for names, with the digests 1…, 2… and
// so on.
func sums(names ...string) string {
	var b strings.Builder
	b.WriteString("sha512sums=\"\n")
	for i, n := range names {
		b.WriteString(digest(string(rune('1'+i))) + "  " + n + "\n")
	}
	return b.String() + "\"\n"
}

func TestDistfiles(t *testing.T) {
	one := func(name, url string) []Distfile { return []Distfile{{name, url, digest("1")}} }
	tests := []struct {
		name, recipe string
		want         []Distfile
	}{
		{"nothing is fetched", "pkgname=x\npackage() {\n\tmkdir -p \"$pkgdir\"\n}\n", nil},
		{"an address", "pkgname=x\npkgver=1.2\nsource=\"https://e.org/$pkgname-$pkgver.tar.gz\"\n" + sums("x-1.2.tar.gz"),
			one("x-1.2.tar.gz", "https://e.org/x-1.2.tar.gz")},
		{"a name for an address", "pkgver=1.2\nsource=x-$pkgver.tgz::http://e.org/v$pkgver\n" + sums("x-1.2.tgz"), one("x-1.2.tgz", "http://e.org/v1.2")},
		{"a file beside the recipe", "source=\"a.patch\n\tftp://e.org/b\n\tinitd\"\n" + sums("a.patch", "b", "initd"),
			[]Distfile{{"b", "ftp://e.org/b", digest("2")}}},
		{"an entry added later", "source=http://e.org/a\nsource=\"$source http://e.org/b\"\n" + sums("a", "b"),
			[]Distfile{{"a", "http://e.org/a", digest("1")}, {"b", "http://e.org/b", digest("2")}}},
		{"what functions do is of no matter", "source=http://e.org/a\nbuild() {\n\tsource=b\n\tcat <<-EOF\n\t}\n\tEOF\n}\n" + sums("a"), one("a", "http://e.org/a")},
		{"a loop", "for i in 1 2; do\n\tsource=\"$source http://e.org/p$i\" # it's one\ndone\n" + sums("p1", "p2"),
			[]Distfile{{"p1", "http://e.org/p1", digest("1")}, {"p2", "http://e.org/p2", digest("2")}}},
		{"a loop that counts", "_i=1; while [ $_i -le 2 ]; do source=\"$source http://e.org/p$_i\"; _i=$((_i + 1)); done\n" + sums("p1", "p2"),
			[]Distfile{{"p1", "http://e.org/p1", digest("1")}, {"p2", "http://e.org/p2", digest("2")}}},
		{"a loop that is left", "for i in a b c; do [ $i = a ] && continue; [ $i = c ] && break; source=http://e.org/$i; done\n" + sums("b"), one("b", "http://e.org/b")},
		{"a known case", "pkgver=1.2_rc1\ncase $pkgver in\n*_rc*) _d=rc ;;\n*) _d=stable ;;\nesac\nsource=http://e.org/$_d/a\n" + sums("a"), one("a", "http://e.org/rc/a")},
		{"a known condition", "pkgver=1.0\nif [ \"${pkgver%.0}\" = \"$pkgver\" ]; then _d=x; else _d=y; fi\nsource=http://e.org/$_d/a\n" + sums("a"), one("a", "http://e.org/y/a")},
		{"and, or", "_b=5\n[ $_b -lt 10 ] && _b=0$_b || _b=x\nsource=http://e.org/$_b\n" + sums("05"), one("05", "http://e.org/05")},
		{"what depends on the machine elsewhere", "case \"$CARCH\" in\nx86) options=a;;\nesac\n$(false) && makedepends=b\nsource=http://e.org/a\n" + sums("a"), one("a", "http://e.org/a")},
		{"a variable that is never set is empty", "source=http://e.org/a$_flavor\n" + sums("a"), one("a", "http://e.org/a")},
		{"a process for a file", "build() {\n\twhile read -r x; do :; done < <(find .)\n}\nsource=http://e.org/a\n" + sums("a"), one("a", "http://e.org/a")},
	}
	for _, tt := range tests {
		got, err := Distfiles([]byte(tt.recipe))
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s:\n%s", tt.name, diff)
		}
	}
}

func TestDistfilesRefuses(t *testing.T) {
	tests := []struct{ recipe, want string }{
		{"source=http://e.org/a\n", "APKBUILD:1: sha512sums= has no line for a of source= (run abuild checksum on the recipe)"},
		{"\n" + sums("a"), "APKBUILD:2: sha512sums= has a line for a file that source= does not name"},
		{"source='http://e.org/a b/a'\n" + sums("a"), "APKBUILD:1: source= names a twice"},
		{"source=http://e.org/\n", `APKBUILD:1: source= has an entry whose file name "" is none`},
		{"source='http://e.org/a?b=c'\n", `whose file name "a?b=c" is none`},
		{"source=..::http://e.org/a\n", `whose file name ".." is none`},
		{"source=a\nsha512sums='12  a'\n", `APKBUILD:2: sha512sums= has "12" where a SHA-512`},
		{"source=a\nsha512sums=a\n", "APKBUILD:2: sha512sums= is no list of pairs"},
		{"source=a\n" + sums("a", "a"), `two lines for "a"`},
		{"case $CARCH in x86) source=a;; esac\n", "APKBUILD:1: source= cannot be known without running the recipe: source= depends on a condition (name its files and their addresses under files)"},
		{"\n_v=$(date)\nsource=http://e.org/$_v\n", "APKBUILD:3: source= cannot be known without running the recipe: it is the output of a program"},
		{"source=http://e.org/`date`\n", "it is the output of a program"},
		{"source=http://e.org/$CARCH\n", "$CARCH comes from abuild"},
		{"source=${FLAVOR:-a}\n", "$FLAVOR comes from abuild"},
		{"source=http://e.org/$1\n", "it has an argument of the shell"},
		{"source=${!x}\n", "of something else than a variable"},
		{"source=${x^}\n", "of a form that is not known"},
		{"source=$((1 << 2))\n", "it is computed in a way that is not followed"},
		{"source=a\n. ./more\n", "APKBUILD:2: source= cannot be known without running the recipe: it runs ."},
		{"_add() { source=$1; }\n_add x\n", "APKBUILD:2: source= cannot be known without running the recipe: the function _add may set it"},
		{"echo x | source=a\nread source\n", "APKBUILD:2: source= cannot be known without running the recipe: read sets it"},
		{"for i in $(ls); do source=$i; done\n", "source= depends on a condition"},
		{"source=\"a\n", "APKBUILD:2: the recipe ends within quotes or braces"},
		{"source='a\n", "APKBUILD:1: a quote ' that is never closed"},
		{"f() {\n", `APKBUILD:2: the recipe ends where "}" is wanted`},
		{"done\n", `APKBUILD:1: "done" without a beginning`},
		{"f() {\nfi\n}\n", `APKBUILD:2: "fi" where "}" is wanted`},
		{"cat <<EOF\n", `the document that "EOF" should end has no end`},
		{"a\x00", "it is no script"},
		{strings.Repeat("f() {\n", 100), "nests more than"},
		{strings.Repeat("#\n", maxRecipe), "bytes, more than"},
		{"while :; do x=1; done\n", "too much work"},
		{"x=a\nwhile :; do x=$x$x; done\n", "a value of more than"},
	}
	for _, tt := range tests {
		_, err := Distfiles([]byte(tt.recipe))
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %s", clip(tt.recipe), err, tt.want)
		}
	}
}

// expansions are words whose value the shell and this package must agree on, with
// v=3.53.4, p=libfoo-2, e= and u unset.
var expansions = []string{
	"$v", "${v}", `"$v"`, "'$v'", `a\ b`, `"a\$b\\c\d"`, "${v%.*}", "${v%%.*}", "${v#*.}", "${v##*.}", "${v%4}", "${v#x}",
	`${v#"${v%.*}"}`, `${v%"$p"}`, "${v/./_}", "${v//./_}", "${v//[0-9]/x}", "${v//./}", "${v/.*/x}", "${p/foo/bar}", "${p//o}",
	"${v:0:1}", "${v:2}", "${v: -1}", "${v:1:2}", "${v:9}", "${v:0:99}", "${#v}",
	"${u:-a}", "${e:-a}", "${e-a}", "${u-a}", "${v:+a}", "${e:+a}", "${u+a}", "${e+a}", `"${u:-"$v"}"`, `${u:-a"b c"}`, "${u:=x}$u",
	"${p%-[0-9]}", "${p%-[!0-9]}", "${p%-[^a-z]}", "${p%%[0-9]*}", `${p%"[0-9]"}`, "${p%?}", "${p##lib}", "${p#[[:alpha:]]}", "${p%[]0-9]}", "${p#[}",
	"$((1 + 2 * 3))", "$(( (1 + 2) * 3 ))", "$((7 / 2))$((7 % 2))", "$((-2 + 1))", "a${v}b$p", "$v-$p.tar", "~", "a$", "a$.b", "$v'x'\"y\"", "${v%%[0-9]*}",
}

// TestExpansions compares with bash, which knows all the forms.
func TestExpansions(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash to compare with")
	}
	for _, word := range expansions {
		setup := "v=3.53.4 p=libfoo-2 e=\n"
		cmd := exec.Command(bash, "-c", setup+"HOME='~'\nx="+word+"\nprintf %s \"$x\"")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
		want, err := cmd.Output()
		if err != nil {
			t.Fatalf("bash on %s: %v", word, err)
		}
		in, err := interpret([]byte(setup + "x=" + word + "\n"))
		if err != nil {
			t.Errorf("%s: %v", word, err)
			continue
		}
		if got, err := in.get("x"); err != nil || got.text != string(want) {
			t.Errorf("%s is %q, %v; bash says %q", word, got.text, err, want)
		}
	}
}

func FuzzDistfiles(f *testing.F) {
	for _, word := range expansions {
		f.Add("v=1\nsource=" + word + "\n")
	}
	f.Add("for i in 1 2; do case $i in 1|[2-3]*) source=\"$source http://e.org/$i\";; esac; done\n" + sums("1", "2"))
	f.Add("if [ -n \"$x\" ] && ! false; then :; elif test a = b; then y=1; else z=$(echo $(ls) | cat); fi\n")
	f.Add("f() { cat <<-EOF > \"$x\" 2>&1\n\t)\n\tEOF\n\t( : ); }\nuntil true; do :; done\n_i=$((1+2))\n")
	f.Add("{ a=b; } | c\nexport d=e f\nwhile [ $i -lt 3 ]; do i=$((i+1)); continue; done\n")
	f.Fuzz(func(t *testing.T, recipe string) {
		files, err := Distfiles([]byte(recipe))
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("error of kind %s: %v", fault.KindOf(err), err)
		}
		for _, d := range files {
			if !fileName.MatchString(d.Name) || !sha512Form.MatchString(d.SHA512) || strings.ContainsAny(d.URL, " \n") || d.URL == "" {
				t.Errorf("took %+v", d)
			}
		}
	})
}
