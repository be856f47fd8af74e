package deb

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// These tests read what Debian publishes, from the mirror that this machine's
// apt is configured for. They are skipped with -short and where there is no apt.

// apt runs an apt program and returns its output.
func apt(t testing.TB, dir string, argv ...string) []byte {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, stderr.String())
	}
	return out
}

// aptGet returns the arguments of an apt-get call.
func aptGet(options []string, args ...string) []string {
	return slices.Concat([]string{"apt-get", "-qq", "-o", "APT::Sandbox::User=root"}, options, args)
}

// aptOptions returns the options under which apt has package indexes: none if
// the machine's own are there, else those of indexes fetched for this test.
func aptOptions(t testing.TB) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("it reads the machine's apt mirror")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("this is no Debian: apt is not installed")
	}
	if len(apt(t, "", aptGet(nil, "indextargets", "Created-By: Packages")...)) > 0 {
		return nil
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "lists/partial/none"), "")
	options := []string{"-o", "Dir::State::lists=" + dir + "/lists"}
	apt(t, dir, aptGet(options, "update")...)
	return options
}

// indexTargets returns one line per index of apt in the given format.
func indexTargets(t testing.TB, options []string, format, filter string) []string {
	t.Helper()
	lines := strings.Fields(string(apt(t, "", aptGet(options, "indextargets", "--format", format, filter)...)))
	if len(lines) == 0 {
		t.Fatalf("apt has no indexes %s", filter)
	}
	return lines
}

// catIndex returns the plain content of an index of apt.
func catIndex(t testing.TB, file string) []byte {
	t.Helper()
	return apt(t, "", "/usr/lib/apt/apt-helper", "cat-file", file)
}

func TestRealPackages(t *testing.T) {
	for _, file := range indexTargets(t, aptOptions(t), "$(FILENAME)", "Created-By: Packages") {
		text := catIndex(t, file)
		r := NewReader(bytes.NewReader(text))
		n := 0
		for _, stanza := range Stanzas(text) {
			n++
			p, err := r.Next()
			if err != nil {
				t.Fatal(err)
			}
			if n%50 == 0 && p.String() != string(stanza) {
				t.Errorf("a stanza changes when it is written again:\n%s\n%s", stanza, p.String())
			}
			fast, err := ParsePackageText(stanza)
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
				continue
			}
			if n%50 == 0 {
				slow, err := ParsePackage(p)
				if err != nil || !cmp.Equal(fast, slow) {
					t.Errorf("%s: from text %+v, from its paragraph %+v, %v", fast.Name, fast, slow, err)
				}
			}
			checkRelations(t, fast.Name, p, map[string][]Dependency{"Depends": fast.Depends, "Pre-Depends": fast.PreDepends,
				"Recommends": fast.Recommends, "Breaks": fast.Breaks, "Conflicts": fast.Conflicts})
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("the reader finds more than Stanzas: %v", err)
		}
		t.Logf("%s: %d packages", filepath.Base(file), n)
	}
}

// checkRelations wants fields to be written as they were, blanks aside.
func checkRelations(t *testing.T, name string, p Paragraph, fields map[string][]Dependency) {
	t.Helper()
	plain := strings.NewReplacer(" ", "", "\n", "", "\t", "")
	for field, deps := range fields {
		was := strings.TrimSuffix(plain.Replace(p.Get(field)), ",")
		if now := plain.Replace(FormatDependencies(deps)); was != now && !strings.Contains(was, ",,") {
			t.Errorf("%s: %s %q is written %q", name, field, was, now)
		}
	}
}

func TestRealRelease(t *testing.T) {
	lists := filepath.Dir(indexTargets(t, aptOptions(t), "$(FILENAME)", "Created-By: Packages")[0])
	files, err := filepath.Glob(filepath.Join(lists, "*_InRelease"))
	if err != nil || len(files) == 0 {
		t.Skipf("apt keeps no InRelease in %s", lists)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ := bytes.Cut(b, []byte("\n\n")) // past the armour's own header
		text, _, _ = bytes.Cut(text, []byte("-----BEGIN PGP SIGNATURE"))
		r, err := ParseRelease(text)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
			continue
		}
		if _, ok := r.File("main/binary-amd64/Packages.xz"); !ok || r.Codename == "" || len(r.Components) == 0 {
			t.Errorf("%s: %+v", filepath.Base(file), *r)
		}
		again, err := ParseRelease(r.Encode())
		if err != nil || !cmp.Equal(r, again) {
			t.Errorf("%s: it changes when it is written and read again: %v", filepath.Base(file), err)
		}
	}
}

// sourceConfig sets up a private apt that knows source packages, in a new folder.
func sourceConfig(t *testing.T) (dir string, options []string) {
	t.Helper()
	repos := indexTargets(t, aptOptions(t), "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages")
	dir = t.TempDir()
	var list strings.Builder
	for _, repo := range repos {
		list.WriteString("deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] " + strings.ReplaceAll(repo, "|", " ") + "\n")
	}
	write(t, filepath.Join(dir, "list"), list.String())
	for _, d := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir, []string{"-o", "Dir::State::lists=" + dir + "/lists", "-o", "Dir::Cache=" + dir + "/cache",
		"-o", "Dir::Etc::sourcelist=" + dir + "/list", "-o", "Dir::Etc::sourceparts=/dev/null"}
}

func TestRealSources(t *testing.T) {
	dir, options := sourceConfig(t)
	apt(t, dir, aptGet(options, "update")...)
	byName := map[string]*SourcePackage{}
	for _, file := range indexTargets(t, options, "$(FILENAME)", "Created-By: Sources") {
		n := 0
		for r := NewReader(bytes.NewReader(catIndex(t, file))); ; n++ {
			p, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			s, err := ParseSource(p)
			if err != nil {
				t.Errorf("%s: %v", p.Get("Package"), err)
				continue
			}
			if dsc, ok := s.Dsc(); !ok || s.Directory == "" || dsc.Size == 0 {
				t.Errorf("%s: no .dsc or no directory: %+v", s.Name, s)
			}
			for _, f := range s.Files {
				if !strings.HasPrefix(f.Name, s.Name+"_") {
					t.Errorf("%s: file %s does not bear its name", s.Name, f.Name)
				}
			}
			byName[s.Name+" "+s.Version] = s
			checkRelations(t, s.Name, p, map[string][]Dependency{"Build-Depends": s.BuildDepends, "Build-Depends-Indep": s.BuildDependsIndep})
			Reduce(s.BuildDepends, "amd64", nil)
		}
		t.Logf("%s: %d sources", filepath.Base(file), n)
	}
	apt(t, dir, aptGet(options, "--dsc-only", "source", "bzip2", "hello", "sed")...)
	checkRealDscs(t, dir, byName)
}

// checkRealDscs holds downloaded .dsc files against the index.
func checkRealDscs(t *testing.T, dir string, byName map[string]*SourcePackage) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.dsc"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no .dsc was downloaded: %v", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, after, ok := bytes.Cut(b, []byte("\n\n")); ok && bytes.HasPrefix(b, []byte("-----BEGIN PGP SIGNED")) {
			b, _, _ = bytes.Cut(after, []byte("-----BEGIN PGP SIGNATURE"))
		}
		got, err := ParseDsc(b)
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
			continue
		}
		want := byName[got.Name+" "+got.Version]
		if want == nil {
			t.Errorf("%s: the index has no %s %s", filepath.Base(file), got.Name, got.Version)
			continue
		}
		if len(want.Files) != len(got.Files)+1 || !cmp.Equal(want.BuildDepends, got.BuildDepends) {
			t.Errorf("%s: the index says %+v, the .dsc %+v", got.Name, want, got)
		}
	}
}
