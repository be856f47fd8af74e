package build

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// abuildRun runs abuild as an ordinary user without capabilities, as Alpine's
// builders do; it packs under fakeroot. Only the users that a recipe wants are
// made by root before. A busybox has no setpriv that changes the user, so su does
// it there. Build dependencies are what the lock pins, whatever the recipe says,
// hence -d. As for dpkg/build, the number of processors is asked for at run time.
const abuildRun = `
uid=$(sed -n 's/^%[1]s:[^:]*:\([0-9]*\):.*/\1/p' /etc/passwd)
gid=$(sed -n 's/^%[1]s:[^:]*:[0-9]*:\([0-9]*\):.*/\1/p' /etc/passwd)
export HOME=%[2]s JOBS="${ASHLAR_PARALLEL:-$(nproc)}"
case " ${DEB_BUILD_OPTIONS:-} " in
*" nocheck "*) export ABUILD_BOOTSTRAP=1 ;; # abuild then leaves check() out
esac
as_user() {
  if setpriv --reuid=0 true 2> /dev/null; then
    setpriv --reuid="$uid" --regid="$gid" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
  else
    setpriv --no-new-privs su -s /bin/sh -c 'exec "$@"' -- %[1]s sh "$@"
  fi
}
chown "$uid:$gid" .
find . -mindepth 1 ! -user "$uid" -exec chown -h "$uid:$gid" {} +
`

// abuildTests says that a recipe has tests that abuild will run. They come after
// the build, which their failure ends; abuild itself does not say so.
const abuildTests = `
if grep -q '^check()' APKBUILD && as_user abuild want_check > /dev/null 2>&1; then
  echo "` + abuildChecks + `"
fi
`

// abuildChecks is the line of a log from which the result of tests is told.
const abuildChecks = "ashlar: abuild will run check()"

// abuildMade checks that every package of the recipe is there: abuild makes none
// and says all is well if the recipe is not for this architecture.
const abuildMade = `
for apk in $(as_user abuild listpkg); do
  set -- %[1]s/*/*/"$apk"
  test -f "$1" || {
    echo "ashlar: abuild made no $apk; perhaps arch= of $PWD/APKBUILD leaves this architecture out" >&2
    exit 1
  }
  echo "ashlar: made $1"
done
`

// abuildDeps says what abuild would install now. A root is pinned, so nothing can
// be; what is missing may not be needed, and the build will tell.
const abuildDeps = `
as_user abuild builddeps || echo "ashlar: nothing is installed into a pinned root; if the build needs what is missing, add it to contents.packages"
`

// abuildCommands are the commands of abuild that a definition may give.
var abuildCommands = []string{"all", "build", "check", "checksum", "deps", "fetch", "prepare", "rootpkg", "unpack", "validate"}

// abuildBuild plans abuild/build: compile, test and pack a recipe, or run one
// command of abuild on it.
func abuildBuild(s *catalog.Step) (*Step, error) {
	var with struct {
		Command string `yaml:"command"`
	}
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	command := cmp.Or(with.Command, "all")
	if !slices.Contains(abuildCommands, command) {
		return nil, fault.New(fault.Invalid, "abuild/build: abuild has no command %q for a build", command).At(s.File, s.Line).
			Fix("write one of %s", strings.Join(abuildCommands, ", "))
	}
	script := abuildPrologue + fmt.Sprintf(abuildRun, abuildUser, abuildHome)
	switch command {
	case "deps":
		return &Step{Script: script + abuildDeps, Shell: "sh"}, nil
	case "all", "build", "rootpkg":
		script += "abuild -F mkusers\n"
	}
	if command == "all" || command == "check" {
		script += abuildTests
	}
	script += "as_user abuild -d " + command + "\n"
	if command == "all" || command == "rootpkg" {
		script += fmt.Sprintf(abuildMade, ApkDir)
	}
	return &Step{Script: script, Shell: "sh"}, nil
}
