package gate

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// repoDir is where a trial finds the archive that its apt draws on.
const repoDir = "/.ashlar/repo"

// prologue points apt at the archive in the sandbox and nothing else.
const prologue = `set -eu
umask 022
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root
export DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d
mkdir -p /etc/apt/sources.list.d /var/lib/apt/lists/partial /var/cache/apt/archives/partial
echo 'deb [trusted=yes] file:/.ashlar/repo ./' > /etc/apt/sources.list.d/ashlar.list
cat > /etc/apt/apt.conf.d/99ashlar <<'CONF'
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
Dpkg::Use-Pty "0";
Dpkg::Options { "--force-unsafe-io"; "--force-confnew"; };
CONF
apt-get -q=2 update
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
	before := map[string]string{}
	for _, p := range c.Archive {
		name := p.Control.Get("Package")
		if v := p.Control.Get("Version"); before[name] == "" || deb.Compare(v, before[name]) > 0 {
			before[name] = v
		}
	}
	rooted := map[string]bool{}
	for _, p := range c.Root.Packages() {
		rooted[p.Name] = true
	}
	var trials []trial
	for _, p := range c.Packages {
		name := p.Control.Get("Package")
		t := trial{pkg: name, spec: name, to: p.Control.Get("Version"), remove: !rooted[name]}
		trials = append(trials, t)
		if from := before[name]; from != "" && deb.Compare(from, t.to) < 0 {
			t.from = from
			trials = append(trials, t)
		}
	}
	return trials
}

func (t trial) name() string {
	if t.from != "" {
		return "upgrade"
	}
	return "install"
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
		install(t.from)
	}
	install(t.to)
	if t.from == "" && t.remove {
		fmt.Fprintf(&b, "apt-get -q=2 -y purge '%s'\nsound\n", t.spec)
		install(t.to)
	}
	return b.String()
}

// step returns the sandboxed step of the trial.
func (t trial) step(repo *repository) engine.Step {
	return engine.Step{
		Name:   t.name() + " " + t.pkg,
		Args:   []string{"/bin/sh", "-c", t.script()},
		Mounts: repo.mounts,
	}
}

// A repository is a flat archive for apt inside the sandbox.
type repository struct{ mounts []engine.Mount }

// newRepository stores the index of the archive and the set, and returns the
// mounts that make them a repository.
func newRepository(ctx context.Context, store blob.Store, c *Case) (*repository, error) {
	var index bytes.Buffer
	r := &repository{}
	for _, list := range [][]Package{c.Archive, c.Packages} {
		for i := range list {
			p := &list[i]
			name := path.Base(p.Name)
			writeStanza(&index, p.Control, name, p.File)
			r.mounts = append(r.mounts, engine.BlobMount(path.Join(repoDir, name), p.Digest))
		}
	}
	f, err := store.Put(ctx, &index, "")
	if err != nil {
		return nil, err
	}
	r.mounts = append(r.mounts, engine.BlobMount(path.Join(repoDir, "Packages"), f.Digest))
	return r, nil
}

// writeStanza writes a package's entry of a Packages index.
func writeStanza(w *bytes.Buffer, control deb.Paragraph, name string, f ashlar.File) {
	w.Write(control.AppendTo(nil))
	fmt.Fprintf(w, "Filename: ./%s\nSize: %d\nSHA256: %s\n\n", name, f.Size, f.Digest.Hex())
}
