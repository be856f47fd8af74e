package build

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
)

// rootImplementation names the way in which build roots are made. It is part of
// the build key: a change that changes roots changes it too.
var rootImplementation = ashlar.DigestOf([]byte(rootPrologue + firstLayer + rootEpilogue + "bootstrap 1"))

// bootstrapVersion changes when the bootstrap image does. The root that dpkg
// makes on it stays the same.
const bootstrapVersion = 4

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
// scripts name. Nobody looks for manual pages in a build root: man-db keeps no
// index of them, as on Debian's own build daemons.
const firstLayer = `for d in info updates triggers parts alternatives; do mkdir -p /var/lib/dpkg/$d; done
test -s /var/lib/dpkg/status || : > /var/lib/dpkg/status
for d in /.ashlar/debs/base-passwd_*.deb; do dpkg --force-unsafe-io --force-depends --unpack "$d"; done
dpkg --force-depends --configure base-passwd
dpkg --force-unsafe-io --force-depends --unpack /.ashlar/debs/*.deb
dpkg --configure -a
echo man-db man-db/auto-update boolean false | debconf-set-selections
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

// PlainDir is a folder in memory where the files of packages are decompressed
// before dpkg asks for them.
const PlainDir = "/.ashlar/plain"

// ahead decompresses packages while dpkg unpacks those before them: dpkg alone
// keeps one processor waiting for the other. It finds a dpkg-deb of ours first,
// which hands over what is ready, and does the work itself where nobody has
// begun or there was no room. Both claim a package by making a folder. What dpkg
// reads is the same, so this is no part of the build key. Where memory is short,
// nothing is done ahead.
const ahead = `cat > /.ashlar/plain/dpkg-deb <<'END'
#!/bin/sh
f=/.ashlar/plain/${2##*/}
if [ "$1" = --fsys-tarfile ] && ! mkdir $f.claim 2>/dev/null; then
  until [ -e $f.done ] || [ -e $f.none ]; do sleep 0.01; done
  if [ -e $f.done ]; then exec 3< $f.done; rm $f.done; : > $f.none; exec cat <&3; fi
fi
[ "$1" != --fsys-tarfile ] || : > $f.none
exec /usr/bin/dpkg-deb "$@"
END
chmod +x /.ashlar/plain/dpkg-deb
decompress() {
  for d; do
    f=/.ashlar/plain/$d
    mkdir $f.claim 2>/dev/null || continue
    if /usr/bin/dpkg-deb --fsys-tarfile /.ashlar/debs/$d > $f.part 2>/dev/null; then mv $f.part $f.done; else rm -f $f.part; : > $f.none; fi
  done
}
while read -r key kib rest; do [ "$key" != MemAvailable: ] || break; done < /proc/meminfo
PATH=/.ashlar/plain:$PATH
`

// worthAhead is the size in bytes from which a package is decompressed ahead.
const worthAhead = 64 << 10

// writeAhead writes the commands that decompress the packages of a layer ahead,
// in the order in which dpkg takes them.
func writeAhead(b *strings.Builder, l ashlar.Layer, order []string) {
	size := map[string]int64{}
	for _, p := range l.Packages {
		size[debName(p)] = p.Size
	}
	fmt.Fprintf(b, "%stest $((kib / 2)) -lt %d || decompress", ahead, unpacked(l)>>10)
	for _, name := range order {
		if size[name] >= worthAhead {
			b.WriteString(" " + quote(name))
		}
	}
	b.WriteString(" &\n")
}

// layerScript returns the shell script with which the real dpkg installs a
// layer. The first layer of a root is the bootstrapped Essential.
func layerScript(l ashlar.Layer, first bool) string {
	var b strings.Builder
	b.WriteString(rootPrologue)
	writeAhead(&b, l, unpackOrder(l, first))
	if first {
		b.WriteString(firstLayer)
	} else {
		file := debFiles(l)
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

// unpackOrder returns the files of a layer's packages in the order in which dpkg
// unpacks them.
func unpackOrder(l ashlar.Layer, first bool) []string {
	var names []string
	if first {
		for _, p := range l.Packages {
			names = append(names, debName(p))
		}
		slices.Sort(names)
		return names
	}
	file := debFiles(l)
	for _, r := range l.Order {
		if r.Do == "unpack" {
			for _, p := range r.Packages {
				names = append(names, file[p])
			}
		}
	}
	return names
}

// debFiles returns the files of a layer's packages by name, and by name and
// architecture.
func debFiles(l ashlar.Layer) map[string]string {
	file := map[string]string{}
	for _, p := range l.Packages {
		file[p.Name] = debName(p)
		file[p.Name+":"+string(p.Arch)] = debName(p)
	}
	return file
}

// debName returns the file name under which a package is mounted.
func debName(p ashlar.RootPackage) string {
	return p.Name + "_" + string(p.Arch) + ".deb"
}
