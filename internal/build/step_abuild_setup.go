package build

import (
	"fmt"

	"github.com/ashlar-project/ashlar/internal/catalog"
)

// setupScript prepares a root for abuild: the user, its configuration, and a key
// that abuild signs with because it cannot do without. The key is made here and
// dies with the root; its signatures are taken off outside and ours put on.
//
// abuild takes the time of everything from SOURCE_DATE_EPOCH. Files of a Git
// source bear the time of its commit, and the oldest of the recipes beside this
// one was surely not written to since. Where there is none, it is the first day
// that a zip archive can name.
const setupScript = `set -eu
umask 022
missing=
for tool in abuild abuild-sign abuild-tar apk fakeroot openssl setpriv; do
  command -v $tool > /dev/null || missing="$missing $tool"
done
if test -n "$missing"; then
  echo "ashlar: the build root lacks$missing; add the packages that have them to contents.packages" >&2
  exit 1
fi
uid=${ASHLAR_UID:-%[1]d}
grep -q '^%[2]s:' /etc/group || echo "%[2]s:x:$uid:" >> /etc/group
gid=$(sed -n 's/^%[2]s:[^:]*:\([0-9]*\):.*/\1/p' /etc/group)
grep -q '^%[2]s:' /etc/passwd || echo "%[2]s:x:$uid:$gid::%[3]s:/bin/sh" >> /etc/passwd
mkdir -p %[3]s/.abuild %[4]s %[5]s /etc/apk/keys
key=%[3]s/.abuild/throw-away.rsa
if ! test -f $key; then
  (umask 077; openssl genrsa -out $key 2048 2> /dev/null)
  openssl rsa -in $key -pubout -out $key.pub 2> /dev/null
  cp $key.pub /etc/apk/keys/
fi
time=$(stat -c %%Y ../*/APKBUILD 2> /dev/null | sort -n | head -n 1)
cat > %[6]s <<EOF
PACKAGER="Ashlar <ashlar@localhost>"
PACKAGER_PRIVKEY=$key
REPODEST=%[4]s
SRCDEST=%[5]s
: "\${SOURCE_DATE_EPOCH:=${SOURCE_DATE_EPOCH:-${time:-315532800}}}"
EOF
chown -R %[2]s:%[2]s %[3]s %[5]s
echo "ashlar: times are $(sed -n 's/.*EPOCH:=\([0-9]*\).*/\1/p' %[6]s), in seconds since 1970"
`

// abuildSetup plans abuild/setup: prepare the root for abuild.
func abuildSetup(s *catalog.Step) (*Step, error) {
	if err := noParameters(s); err != nil {
		return nil, err
	}
	return &Step{Script: fmt.Sprintf(setupScript, BuildUID, abuildUser, abuildHome, ApkDir, distfiles, abuildConf), Shell: "sh"}, nil
}
