package build

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// buildScript runs dpkg-buildpackage as an ordinary user, as Debian's build
// daemons do. The number of processors is asked for at run time: it must not
// change the result, so it is no part of the build key.
const buildScript = `set -eu
export HOME=/nonexistent
export DEB_BUILD_OPTIONS="parallel=${ASHLAR_PARALLEL:-$(nproc)}${OPTIONS:+ $OPTIONS}${DEB_BUILD_OPTIONS:+ $DEB_BUILD_OPTIONS}"
uid=${ASHLAR_UID:-%[1]d}
umask "${ASHLAR_UMASK:-022}"
chown "$uid:$uid" %[2]s
find %[2]s -mindepth 1 ! -user "$uid" -exec chown -h "$uid:$uid" {} +
exec setpriv --reuid="$uid" --regid="$uid" --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs dpkg-buildpackage %[3]s
`

// BuildUID is the user and group that packages are compiled as.
const BuildUID = 1000

// dpkgBuildWith are the parameters of dpkg/build.
type dpkgBuildWith struct {
	Args    string          `yaml:"args"`
	Options catalog.Strings `yaml:"options"`
}

// dpkgBuild plans dpkg/build: compile, test and pack a Debian source.
func dpkgBuild(s *catalog.Step) (*Step, error) {
	var with dpkgBuildWith
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	args := strings.Fields(cmp.Or(with.Args, "-uc -us"))
	for i, a := range args {
		if !strings.HasPrefix(a, "-") {
			return nil, fault.New(fault.Invalid, "dpkg/build: argument %q is no option of dpkg-buildpackage", a).At(s.File, s.Line)
		}
		args[i] = quote(a)
	}
	script := fmt.Sprintf("OPTIONS=%s\n", quote(strings.Join(with.Options, " ")))
	script += fmt.Sprintf(buildScript, BuildUID, ashlar.SourceDir, strings.Join(args, " "))
	return &Step{Script: script, Shell: "sh"}, nil
}

// ArchOnly reports whether a definition asks dpkg for the packages of the
// architecture alone, without those that fit every architecture.
func ArchOnly(def *catalog.Expanded) bool {
	only := false
	for _, b := range def.Builds {
		for _, s := range b.Pipeline {
			var with dpkgBuildWith
			if s.Uses != "dpkg/build@v1" || catalog.DecodeWith(s, &with) != nil {
				continue
			}
			for _, a := range strings.Fields(with.Args) {
				types, named := strings.CutPrefix(a, "--build=")
				if a == "-B" || named && !strings.Contains(types, "all") && !strings.Contains(types, "full") && !strings.Contains(types, "binary") {
					only = true
				}
			}
		}
	}
	return only
}
