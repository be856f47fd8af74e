package build

import (
	"fmt"
	"strings"

	"github.com/ashlar-project/ashlar"
)

// rootImplementation names the way in which build roots are made. It is part of
// the build key: a change that changes roots changes it too.
var rootImplementation = ashlar.DigestOf([]byte(rootPrologue + firstLayer + rootEpilogue + "bootstrap 1"))

// bootstrapVersion changes when the bootstrap image does. The root that dpkg
// makes on it stays the same.
const bootstrapVersion = 2

// DebDir is where the .debs of a layer are mounted while dpkg installs them.
const DebDir = "/.ashlar/debs"

// rootPrologue is the environment in which maintainer scripts run.
const rootPrologue = `set -eu
umask 022
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root SOURCE_DATE_EPOCH=0
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
unpack() { for d; do set -- "$@" "/.ashlar/debs/$d"; shift; done; dpkg --force-unsafe-io --unpack "$@"; }
configure() { dpkg --no-triggers --configure "$@"; }
`

// firstLayer installs Essential over the bootstrap tree. The files are there
// already, but dpkg knows nothing of them: it unpacks them again with their
// preinst scripts. base-passwd comes first, since it makes the users that other
// scripts name.
const firstLayer = `for d in info updates triggers parts alternatives; do mkdir -p /var/lib/dpkg/$d; done
test -s /var/lib/dpkg/status || : > /var/lib/dpkg/status
for d in /.ashlar/debs/base-passwd_*.deb; do dpkg --force-unsafe-io --force-depends --unpack "$d"; done
dpkg --force-depends --configure base-passwd
dpkg --force-unsafe-io --force-depends --unpack /.ashlar/debs/*.deb
dpkg --configure -a
`

// rootEpilogue ends a layer: everything is configured, dpkg has no complaint,
// and what differs from run to run is gone.
const rootEpilogue = `dpkg --configure -a
test -z "$(dpkg --audit)"
rm -rf /var/log/dpkg.log /var/log/alternatives.log /var/log/bootstrap.log /var/cache/ldconfig /var/lib/dpkg/*-old /var/cache/debconf/*-old
`

// buildUser makes the user that packages are compiled as.
var buildUser = fmt.Sprintf(`grep -q ^build: /etc/passwd || {
  echo build:x:%[1]d:%[1]d::/nonexistent:/bin/sh >> /etc/passwd
  echo build:x:%[1]d: >> /etc/group
}
`, BuildUID)

// layerScript returns the shell script with which the real dpkg installs a
// layer. The first layer of a root is the bootstrapped Essential.
func layerScript(l ashlar.Layer, first bool) string {
	var b strings.Builder
	b.WriteString(rootPrologue)
	if first {
		b.WriteString(firstLayer)
	} else {
		file := map[string]string{}
		for _, p := range l.Packages {
			file[p.Name] = debName(p)
			file[p.Name+":"+string(p.Arch)] = debName(p)
		}
		for _, r := range l.Order {
			writeRun(&b, r, file)
		}
	}
	b.WriteString(rootEpilogue)
	if first {
		b.WriteString(buildUser)
	}
	return b.String()
}

// writeRun writes one call of dpkg.
func writeRun(b *strings.Builder, r ashlar.Run, file map[string]string) {
	words := make([]string, len(r.Packages))
	for i, p := range r.Packages {
		words[i] = p
		if r.Do == ashlar.RunUnpack {
			words[i] = file[p]
		}
		words[i] = quote(words[i])
	}
	fmt.Fprintf(b, "%s %s\n", r.Do, strings.Join(words, " "))
}

// debName returns the file name under which a package is mounted.
func debName(p ashlar.RootPackage) string {
	return p.Name + "_" + string(p.Arch) + ".deb"
}
