package gate

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// A trial finds two flat repositories below repoDir: the archive's packages and
// the set's.
const (
	repoDir    = "/.ashlar/repo"
	archiveDir = "archive"
	setDir     = "set"
	pinsFile   = "pins"
)

// prologue points apt at the archive in the sandbox and nothing else. With
// ours, it knows the set too, and takes the set's version of a package even where
// the archive has a higher one, as a client in the mode "prefer hardened" does.
const prologue = `set -eu
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d
mkdir -p /etc/apt/sources.list.d /var/lib/apt/lists/partial /var/cache/apt/archives/partial
echo 'deb [trusted=yes] file:/.ashlar/repo/archive ./' > /etc/apt/sources.list.d/archive.list
cat > /etc/apt/apt.conf.d/99ashlar <<'CONF'
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Dpkg::Use-Pty "0";
Dpkg::Options { "--force-unsafe-io"; "--force-confnew"; };
CONF
archive() { apt-get -q=2 update; }
ours() {
  echo 'deb [trusted=yes] file:/.ashlar/repo/set ./' > /etc/apt/sources.list.d/set.list
  cp /.ashlar/repo/pins /etc/apt/preferences.d/set
  apt-get -q=2 update
}
have() { test "$(dpkg-query -W -f '${db:Status-Abbrev}${Version}' "$1")" = "ii $2" || { echo "ashlar: $1 is not at version $2:"; dpkg -l "$1"; exit 1; }; }
sound() { test -z "$(dpkg --audit)" || { dpkg --audit; exit 1; }; apt-get -q=2 check; }
`

// A trial is one way in which a package must go onto a system.
type trial struct {
	pkg    string // name
	spec   string // name:arch, as apt takes it
	to     string // the version of the set
	from   string // the archive's version to upgrade from, "" to install afresh
	remove bool   // also purge it and install it again; not what the root itself needs
}

// trialsOf returns the trials of a set: each package is installed afresh and
// purged again, and upgraded from what the archive has.
func trialsOf(c *Case) []trial {
	rooted := map[string]bool{}
	for _, p := range c.Root.Packages() {
		rooted[p.Name] = true
	}
	var trials []trial
	for _, p := range c.Packages {
		name := p.Control.Get("Package")
		t := trial{pkg: name, spec: name, to: p.Control.Get("Version"), remove: !rooted[name]}
		trials = append(trials, t)
		if t.from = c.Before[name]; t.from != "" {
			trials = append(trials, t)
		}
	}
	return trials
}

// leftOut returns a check for each upgrade that is not tried.
func leftOut(c *Case) []ashlar.Check {
	var checks []ashlar.Check
	for _, p := range c.Packages {
		name := p.Control.Get("Package")
		if why := c.Untried[name]; why != "" {
			checks = append(checks, ashlar.Check{Name: checkUpgrade, Subject: name, Outcome: ashlar.CheckLeftOut, Detail: why})
		}
	}
	return checks
}

// The names of checks.
const (
	checkInstall = "install"
	checkUpgrade = "upgrade"
)

func (t trial) name() string {
	if t.from != "" {
		return checkUpgrade
	}
	return checkInstall
}

func (t trial) detail() string {
	if t.from != "" {
		return fmt.Sprintf("apt-get upgraded %s from %s to %s", t.pkg, t.from, t.to)
	}
	return fmt.Sprintf("apt-get installed %s %s", t.pkg, t.to)
}

// script returns the shell script of the trial.
func (t trial) script() string {
	var b strings.Builder
	b.WriteString(prologue)
	install := func(version string) {
		fmt.Fprintf(&b, "apt-get -q=2 -y --allow-downgrades install '%s=%s'\nhave '%s' '%s'\nsound\n", t.spec, version, t.pkg, version)
	}
	if t.from != "" {
		b.WriteString("archive\n")
		install(t.from)
	}
	b.WriteString("ours\n")
	install(t.to)
	if t.from == "" && t.remove {
		fmt.Fprintf(&b, "apt-get -q=2 -y purge '%s'\nsound\n", t.spec)
		install(t.to)
	}
	return b.String()
}

// step returns the sandboxed step of the trial.
func (t trial) step(repo llb.State) engine.Step {
	return engine.Step{
		Name:   t.name() + " " + t.pkg,
		Args:   []string{"/bin/sh", "-c", t.script()},
		Mounts: []engine.Mount{{Path: repoDir, State: repo, ReadOnly: true}},
	}
}

// newRepository returns a folder with the archive and the set as repositories,
// to be mounted at repoDir.
func newRepository(ctx context.Context, store *blob.Scratch, c *Case) (llb.State, error) {
	var pins bytes.Buffer
	for _, p := range c.Packages {
		fmt.Fprintf(&pins, "Package: %s\nPin: version %s\nPin-Priority: 1001\n\n", p.Control.Get("Package"), p.Control.Get("Version"))
	}
	pinned, err := store.Put(ctx, &pins, "")
	if err != nil {
		return llb.State{}, err
	}
	pinned.Name = pinsFile
	files := []ashlar.File{pinned}
	for dir, list := range map[string][]Package{archiveDir: c.Archive, setDir: c.Packages} {
		var text bytes.Buffer
		for i := range list {
			p := &list[i]
			name := path.Base(p.Name)
			writeStanza(&text, p.Control, name, p.File)
			files = append(files, ashlar.File{Name: path.Join(dir, name), Digest: p.Digest})
		}
		index, err := store.Put(ctx, &text, "")
		if err != nil {
			return llb.State{}, err
		}
		index.Name = path.Join(dir, "Packages")
		files = append(files, index)
	}
	slices.SortFunc(files, func(a, b ashlar.File) int { return strings.Compare(a.Name, b.Name) })
	return engine.Folder(ctx, store, c.Target.Arch, files)
}

// writeStanza writes a package's entry of a Packages index.
func writeStanza(w *bytes.Buffer, control deb.Paragraph, name string, f ashlar.File) {
	w.Write(control.AppendTo(nil))
	fmt.Fprintf(w, "Filename: ./%s\nSize: %d\nSHA256: %s\n\n", name, f.Size, f.Digest.Hex())
}
