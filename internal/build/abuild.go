package build

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The steps abuild/* drive the real abuild(1) of the build root on a recipe, the
// file APKBUILD in the step's directory. What they share is here.

// Where abuild's own things are. Definitions rely on the user, its home and the
// folder of its packages, so they are those of the format's engine.
const (
	abuildUser = "abuild" // its group has the same name
	abuildHome = "/home/abuild"
	abuildConf = abuildHome + "/.abuild/abuild.conf"
	distfiles  = "/var/cache/distfiles" // where abuild looks before it fetches
)

// abuildPrologue begins the scripts that work on a recipe. The configuration that
// abuild/setup wrote also holds SOURCE_DATE_EPOCH.
var abuildPrologue = fmt.Sprintf(`set -eu
umask 022
test -f %[1]s || { echo "ashlar: abuild/setup must come before this step" >&2; exit 1; }
test -f APKBUILD || { echo "ashlar: $PWD holds no APKBUILD" >&2; exit 1; }
. %[1]s
`, abuildConf)

// abuildEdit defines edit, which changes one assignment of a recipe in place. The
// assignment must begin a line, as those of aports do; functions indent theirs.
// Two of the same name are refused, since it could not be said which counts.
const abuildEdit = `
# edit set|add FIELD TEXT: set the value of FIELD, or add a line to it.
edit() {
  DO=$1 FIELD=$2 TEXT=$3 RECIPE=$PWD/APKBUILD awk '
    function fail(why) {
      print "ashlar: " ENVIRON["RECIPE"] ":" why | "cat 1>&2"
      close("cat 1>&2")
      failed = 1
      exit 1
    }
    # finish: find line and column after the value that begins at line i, column j.
    function finish(i, j,   c, quote) {
      while (1) {
        if (j > length(line[i])) {
          if (quote == "") break
          if (++i > NR) fail(at ": " field "= has a quote that is never closed")
          j = 1
          continue
        }
        c = substr(line[i], j, 1)
        if (quote == "" && c ~ /[ \t;]/) break
        if (c == "\\" && quote != "\047") {
          if (j == length(line[i])) { i++; j = 1 } else j += 2
          continue
        }
        if (quote == "" && (c == "\"" || c == "\047")) quote = c
        else if (c == quote) quote = ""
        else if (quote != "\047" && (c == "` + "`" + `" || substr(line[i], j, 2) == "$(")) {
          fail(i ": " field "= is made by a program")
        }
        j++
      }
      last = i
      after = j
    }
    { line[NR] = $0 }
    END {
      if (failed) exit 1
      field = ENVIRON["FIELD"]
      text = ENVIRON["TEXT"]
      for (i = 1; i <= NR; i++) {
        if (index(line[i], field "=") == 1) {
          if (at) fail(i ": " field "= is set a second time; the first is in line " at)
          at = i
        }
        if (index(line[i], "pkgrel=") == 1) rel = i
      }
      if (!at && (!rel || field ~ /^pkg/)) fail(" no line begins with " (rel ? field : "pkgrel") "=")
      if (at) finish(at, length(field) + 2)
      if (at && ENVIRON["DO"] == "add") {
        if (substr(line[at], length(field) + 2, 1) != "\"" || substr(line[last], after - 1, 1) != "\"") {
          fail(at ": " field "= is no text in double quotes")
        }
      }
      for (i = 1; i <= NR; i++) {
        if (i != at) print line[i]
        else if (ENVIRON["DO"] == "set") {
          print field "=" text substr(line[last], after)
          i = last
        } else {
          for (; i < last; i++) print line[i]
          start = substr(line[i], 1, after - 2)
          print (start ~ /^[ \t]*$/ ? "" : start "\n") text
          print "\"" substr(line[i], after)
        }
        if (i == rel && !at) {
          if (ENVIRON["DO"] == "set") print field "=" text
          else print field "=\"\n" text "\n\""
        }
      }
    }' APKBUILD > .APKBUILD.new || { rm -f .APKBUILD.new; exit 1; }
  cat .APKBUILD.new > APKBUILD
  rm .APKBUILD.new
}
`

// shellText is what a value may hold that is written into a recipe between double
// quotes, where it stands for what the shell makes of it.
var shellText = regexp.MustCompile("^[^\"\\\\`\\n\\r\\x00]*$")

// recipeText returns a value of a step as shell text in double quotes.
func recipeText(s *catalog.Step, key, text string) (string, error) {
	if !shellText.MatchString(text) {
		return "", fault.New(fault.Invalid, "%s: with.%s has a quote, a backslash or a line break", s.Uses, key).At(s.File, s.Line).
			Fix("write words that a shell reads between double quotes")
	}
	return `"` + text + `"`, nil
}

// plainText returns a text as it is, in double quotes for a shell.
func plainText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(strings.Join(strings.Fields(s), " ")) + `"`
}

var (
	digitsForm   = regexp.MustCompile(`^(0|[1-9][0-9]{0,8})$`)
	functionForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	apkNameForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
)

// checkDigits refuses a value that is no small number.
func checkDigits(s *catalog.Step, key, text string) error {
	if !digitsForm.MatchString(text) {
		return fault.New(fault.Invalid, "%s: with.%s %q is no number", s.Uses, key, text).At(s.File, s.Line).Fix("write digits, such as 0")
	}
	return nil
}

// checkApkName refuses what is no name of an Alpine package.
func checkApkName(s *catalog.Step, key, text string) error {
	if !apkNameForm.MatchString(text) {
		return fault.New(fault.Invalid, "%s: with.%s %q is no name of a package", s.Uses, key, text).At(s.File, s.Line).
			Fix("write letters, digits and . _ + -")
	}
	return nil
}

// noParameters refuses the parameters of a step that takes none.
func noParameters(s *catalog.Step) error {
	var with struct{}
	return catalog.DecodeWith(*s, &with)
}

// ApkDir is where abuild leaves its packages, as REPOSITORY/ARCH/NAME-VERSION.apk.
const ApkDir = abuildHome + "/packages"
