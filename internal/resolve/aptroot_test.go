package resolve

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/deb"
)

// aptRoot is a private configuration and state of apt. Two of them can share
// the downloaded indexes.
type aptRoot struct{ dir, name string }

func (a aptRoot) conf() string   { return filepath.Join(a.dir, a.name+".conf") }
func (a aptRoot) status() string { return filepath.Join(a.dir, a.name+".status") }

// prepare writes the configuration and fetches the indexes if they are not there.
func (a aptRoot) prepare(t *testing.T, suite string) {
	for _, d := range []string{"etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "state/lists/partial", a.name + ".cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf(`Dir::State %q; Dir::State::status %q; Dir::Cache %q; Dir::Etc %q; Dir::Log %q;
APT::Architecture "amd64"; APT::Architectures { "amd64"; }; APT::Install-Recommends "false"; APT::Sandbox::User "root";
Acquire::GzipIndexes "false"; Acquire::Languages "none"; Dir::Log::Planner "";
`, filepath.Join(a.dir, "state"), a.status(), filepath.Join(a.dir, a.name+".cache"), filepath.Join(a.dir, "etc"), a.dir)
	files := map[string]string{a.conf(): conf, a.status(): "", filepath.Join(a.dir, "etc/sources.list"): aptSources(t, suite)}
	for name, text := range files {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, _ := filepath.Glob(filepath.Join(a.dir, "state/lists/*_Sources")); len(found) >= 3 {
		return
	}
	if out, err := a.run("update"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func (a aptRoot) run(args ...string) ([]byte, error) {
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+a.conf(), "LC_ALL=C")
	return cmd.CombinedOutput()
}

// simulate returns "name=version" of what apt would install, sorted. Anything
// that it would remove is an error.
func (a aptRoot) simulate(args ...string) ([]string, error) {
	out, err := a.run(append([]string{"-s", "-q"}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("apt-get -s: %w\n%s", err, out)
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case len(f) >= 2 && f[0] == "Remv":
			return nil, fmt.Errorf("apt would remove %s", f[1])
		case len(f) >= 3 && f[0] == "Inst":
			version := f[2]
			if strings.HasPrefix(version, "[") {
				version = f[3]
			}
			list = append(list, f[1]+"="+strings.Trim(version, "("))
		}
	}
	slices.Sort(list)
	return list, nil
}

// choice returns "name=version" of what apt would fetch, sorted: the same
// solution as simulate's in half the time, since no order is worked out.
func (a aptRoot) choice(args ...string) ([]string, error) {
	out, err := a.run(append([]string{"--print-uris", "-q"}, args...)...)
	if err != nil {
		return nil, fmt.Errorf("apt-get: %w\n%s", err, out)
	}
	if bytes.Contains(out, []byte("will be REMOVED")) {
		return nil, fmt.Errorf("apt would remove packages")
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "'") {
			continue
		}
		name, rest, _ := strings.Cut(f[1], "_")
		version, _, _ := strings.Cut(rest, "_")
		list = append(list, name+"="+strings.NewReplacer("%3a", ":", "%25", "%").Replace(version))
	}
	slices.Sort(list)
	return list, nil
}

// aptSources returns a sources.list for a suite on the mirrors that the
// machine's own apt configuration names.
func aptSources(t *testing.T, suite string) string {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		uri := strings.TrimRight(strings.TrimSpace(line), "/")
		if seen[uri] {
			continue
		}
		seen[uri] = true
		var suites []string
		switch {
		case strings.HasSuffix(uri, "/debian"):
			suites = []string{suite, suite + "-updates"}
		case strings.HasSuffix(uri, "/debian-security"):
			suites = []string{suite + "-security"}
		}
		for _, s := range suites {
			for _, kind := range []string{"deb", "deb-src"} {
				fmt.Fprintf(&b, "%s [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n", kind, uri, s)
			}
		}
	}
	if b.Len() == 0 {
		t.Skip("the machine's apt configuration names no Debian mirror")
	}
	return b.String()
}

// readPackages reads the downloaded Packages files of a private apt root.
func readPackages(t testing.TB, dir string) *Memory {
	var pkgs []*deb.Package
	for _, text := range readLists(t, dir, "*_Packages") {
		for _, stanza := range deb.Stanzas(text) {
			p, err := deb.ParsePackageText(stanza)
			if err != nil {
				t.Fatal(err)
			}
			pkgs = append(pkgs, p)
		}
	}
	return NewMemory(pkgs...)
}

// readSources reads the downloaded Sources files, the highest version of each.
func readSources(t testing.TB, dir string) map[string]*deb.SourcePackage {
	all := map[string]*deb.SourcePackage{}
	for _, text := range readLists(t, dir, "*_Sources") {
		r := deb.NewReader(bufio.NewReader(bytes.NewReader(text)))
		for {
			p, err := r.Next()
			if err != nil {
				break
			}
			s, err := deb.ParseSource(p)
			if err != nil {
				t.Fatal(err)
			}
			if old := all[s.Name]; old == nil || deb.Compare(s.Version, old.Version) > 0 {
				all[s.Name] = s
			}
		}
	}
	return all
}

func readLists(t testing.TB, dir, pattern string) [][]byte {
	names, err := filepath.Glob(filepath.Join(dir, "state/lists", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no index in %s: %v", dir, err)
	}
	var out [][]byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, text)
	}
	return out
}

// statusStanza returns the index stanza of a package, to stand in dpkg's status.
func statusStanza(t testing.TB, texts [][]byte, p *deb.Package) []byte {
	for _, text := range texts {
		for at := 0; ; {
			i := bytes.Index(text[at:], []byte("Package: "+p.Name+"\n"))
			if i < 0 {
				break
			}
			at += i
			for _, stanza := range deb.Stanzas(text[at:]) {
				if string(deb.StanzaField(stanza, "Version")) == p.Version {
					return stanza
				}
				break
			}
			at++
		}
	}
	t.Fatalf("no stanza of %s %s", p.Name, p.Version)
	return nil
}
