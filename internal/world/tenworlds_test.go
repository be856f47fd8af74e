package world

import (
	"fmt"
	"math/rand/v2"
	"path"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// A mason makes up repositories of packages that look like those of a
// distribution: libraries in versions, commands, documentation that installs
// itself, daemons with owners of their own, scripts and triggers, and a second
// repository with newer ones.
type mason struct {
	*rand.Rand
	old bool // only what apk 2.14 does as 3.0
}

// tenWorlds returns ten worlds of some forty to eighty packages each. Each holds
// every kind of dependency, and scripts that are run.
func tenWorlds(old bool) []sample {
	worlds := make([]sample, 10)
	for n := range worlds {
		m := mason{Rand: rand.New(rand.NewPCG(uint64(n), 10)), old: old}
		worlds[n] = sample{name: fmt.Sprintf("world %d", n), world: m.world(), packages: m.packages(), scripts: true}
	}
	return worlds
}

// world returns the words of a world.
func (m mason) world() string {
	words := []string{"base", "sh", "mta", fmt.Sprintf("cmd:app%02d", m.IntN(5)), "pc:lib03>=1", "!forbidden", "fresh@edge", "caches", "index"}
	if m.IntN(2) == 0 {
		words = append(words, "docs")
	}
	if m.IntN(2) == 0 {
		words = append(words, "services")
	}
	for n := 5 + m.IntN(3); n < 30; n += 1 + m.IntN(3) {
		words = append(words, fmt.Sprintf("app%02d%s", n, []string{"", ">1", "<9", "~1.0", "=1.0-r0"}[m.IntN(5)]))
	}
	m.Shuffle(len(words), func(i, j int) { words[i], words[j] = words[j], words[i] })
	return strings.Join(words, " ")
}

// packages returns the packages of both repositories.
func (m mason) packages() []*pkg {
	all := []*pkg{sysBase(), sh(), mk("docs"), mk("services"), mk("forbidden")}
	for n := range 25 {
		all = append(all, m.library(n)...)
	}
	for n := range 30 {
		all = append(all, m.application(n)...)
	}
	for n, name := range []string{"postfix", "exim", "qmail"} {
		p := m.daemon(name, "provides mta smtp="+fmt.Sprint(n+1))
		p.ProviderPriority = 1 + m.IntN(9)*3 + n
		all = append(all, p)
	}
	all = append(all, mk("caches", "triggers /usr/share/* /usr/lib/plugins/lib*", "depends base sh"),
		mk("index", "triggers /usr/share/doc/app0*", "depends base sh"),
		inEdge(mk("fresh=3", "depends helper>=2").file("usr/bin/fresh", m.text())),
		mk("helper=1").file("usr/bin/helper", "1"), inEdge(mk("helper=2.1").file("usr/bin/helper", "2")))
	for n := range 4 { // newer ones, which nobody asks for
		all = append(all, inEdge(mk(fmt.Sprintf("app%02d=7", n)).file(fmt.Sprintf("usr/bin/app%02d", n), "edge")))
	}
	return all
}

// sysBase returns the package with the accounts and the folders of all.
func sysBase() *pkg {
	p := base().add(dirEntry("srv", 0o775), dirEntry("var/spool", 0o755))
	return p.dirs("usr/share/doc", "usr/lib/plugins", "usr/lib/pkgconfig", "usr/sbin", "etc/init.d")
}

// inEdge puts a package in the second repository.
func inEdge(p *pkg) *pkg {
	p.tag = "edge"
	return p
}

// text returns the content of a file.
func (m mason) text() string { return strings.Repeat(fmt.Sprintln(m.Uint64()), m.IntN(400)) }

// version returns a version, of which n is the greatest number.
func (m mason) version(n int) string {
	return fmt.Sprintf("%d.%d%s", 1+m.IntN(n), m.IntN(4), []string{"", "-r0", "-r1", "_rc1", "b-r2", "_p3"}[m.IntN(6)])
}

// library returns a library in up to three versions, each with headers.
func (m mason) library(n int) []*pkg {
	var all []*pkg
	seen := map[string]bool{}
	for range 1 + m.IntN(3) {
		version := m.version(2)
		if seen[version] {
			continue
		}
		seen[version] = true
		name := fmt.Sprintf("lib%02d", n)
		p := mk(name+"="+version, fmt.Sprintf("provides so:lib%02d.so.1=1.%d", n, m.IntN(9)))
		p.Depends = m.depends(n, 2)
		file := "usr/lib/" + name + ".so.1." + version
		p.dirs("usr/lib").add(regular(file, 0o755, m.text()), special(apk.Symlink, "usr/lib/"+name+".so.1", path.Base(file)))
		if m.IntN(3) == 0 {
			p.file("usr/lib/plugins/"+name+"/default", m.text())
		}
		dev := mk(name+"-dev="+version, fmt.Sprintf("provides pc:%s=%s", name, strings.SplitN(version, "-", 2)[0]), "depends "+name+"="+version)
		dev.Origin, dev.ProviderPriority = name, 0
		dev.file("usr/include/"+name+".h", m.text()).file("usr/lib/pkgconfig/"+name+".pc", "Version: "+version+"\n")
		all = append(all, p, dev)
	}
	return all
}

// depends returns what the package number n may want: of libraries before it, so
// that most worlds have a solution.
func (m mason) depends(n, most int) []apk.Dependency {
	var words []string
	seen := map[int]bool{}
	for range m.IntN(most + 1) {
		if n == 0 {
			break
		}
		k := m.IntN(n)
		if seen[k] {
			continue
		}
		seen[k] = true
		words = append(words, fmt.Sprintf([]string{"so:lib%02d.so.1", "so:lib%02d.so.1", "lib%02d", "lib%02d>0.5", "lib%02d<9", "pc:lib%02d>=1", "lib%02d>=1"}[m.IntN(7)], k))
	}
	if m.IntN(6) == 0 {
		words = append(words, "!forbidden")
	}
	d, err := apk.ParseDependencies(strings.Join(words, " "))
	if err != nil {
		panic(err)
	}
	return d
}

// application returns a program with its documentation and what starts it.
func (m mason) application(n int) []*pkg {
	name := fmt.Sprintf("app%02d", n)
	p := mk(name, "provides cmd:"+name+"=1.0-r0")
	p.Depends = m.depends(25, 4)
	program := regular("usr/bin/"+name, []uint32{0o755, 0o755, 0o4755, 0o2711}[m.IntN(4)], m.text())
	p.dirs("usr/bin").add(program)
	for k := range m.IntN(4) {
		p.file(fmt.Sprintf("usr/share/%s/part%d/data", name, k), m.text())
	}
	if m.IntN(3) == 0 {
		alias := program
		alias.Kind, alias.Path, alias.Target, alias.Size, alias.Open = apk.HardLink, program.Path+"-alias", program.Path, 0, nil
		p.add(alias)
	}
	if m.IntN(4) == 0 {
		p.Depends = append(p.Depends, apk.Dependency{Name: "sh"})
		p.PostInstall = logging("post-install", name)
	}
	doc := mk(name+"-doc", "install_if docs "+name+"=1.0-r0").file("usr/share/doc/"+name+"/README", m.text())
	service := mk(name+"-services", "install_if services "+name).file("etc/init.d/"+name, "#!/bin/sh\n")
	doc.Origin, service.Origin = name, name
	all := []*pkg{p, doc, service}
	if n%7 == 0 { // one that takes a file of the other
		other := mk(name+"-extra", "replaces "+name, "install_if "+name+" docs").file("usr/share/extra/"+name, "x").add(regular("usr/bin/"+name, 0o700, "extra"))
		all = append(all, other.dirs("usr/bin"))
	}
	if !m.old && n%5 == 0 {
		all = append(all, mk(name+"-plain", "install_if "+name+" !docs").file("usr/share/plain/"+name, "x"))
	}
	return all
}

// daemon returns a service that makes its own user before its files are laid.
func (m mason) daemon(name string, words ...string) *pkg {
	p := mk(name, append(words, "depends base sh cmd:app07 lib01>=1")...)
	id := 200 + m.IntN(100)
	p.PreInstall = fmt.Appendf(nil, "#!/bin/sh\necho %s pre \"$@\" >>/log\necho %s:x:%d:%d::/:/bin/sh >>/etc/passwd\necho %s:x:%d: >>/etc/group\n", name, name, id, id, name, id)
	p.PostInstall = logging("post-install", name)
	return p.dirs("usr/sbin", "var/spool").add(regular("usr/sbin/"+name, 0o755, m.text()), ownedBy(dirEntry("var/spool/"+name, 0o750), name, name),
		ownedBy(regular("var/spool/"+name+"/queue", 0o600, ""), name, "www"), ownedBy(special(apk.FIFO, "var/spool/"+name+"/pipe", ""), name, "root"))
}
