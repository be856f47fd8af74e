package resolve

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestConformance holds the solver against the real apt on 200 random source
// packages of each suite and writes docs/conformance-solver.md. It takes some
// minutes and the machine's package mirror, so it runs only when
// ASHLAR_CONFORMANCE names a directory for the private apt roots:
//
//	ASHLAR_CONFORMANCE=/tmp/conformance go test -run TestConformance -timeout 60m ./internal/resolve
func TestConformance(t *testing.T) {
	dir := os.Getenv("ASHLAR_CONFORMANCE")
	if dir == "" {
		t.Skip("set ASHLAR_CONFORMANCE to a directory for private apt roots to run this")
	}
	suites := []string{"bookworm", "trixie"}
	parts := make([]strings.Builder, len(suites))
	t.Run("suites", func(t *testing.T) {
		for i, suite := range suites {
			t.Run(suite, func(t *testing.T) {
				t.Parallel()
				c := newConformance(t, filepath.Join(dir, suite), suite)
				c.base(t)
				for _, src := range c.sample(200) {
					c.compare(t, &c.random, src)
				}
				for _, src := range c.shipped(t) {
					c.compare(t, &c.catalog, src)
				}
				c.report(&parts[i])
			})
		}
	})
	doc := conformanceHead + parts[0].String() + parts[1].String()
	if err := os.MkdirAll("../../docs", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("../../docs/conformance-solver.md", []byte(doc), 0o644); err != nil {
		t.Fatal(err)
	}
}

const conformanceHead = `# The solver against apt

For each suite, 200 source packages are drawn at random (fixed seed), those that
our catalog builds are added, and the build root that Ashlar solves for their build dependencies is held against the
machine's own apt:

- **consistent**: apt agrees that our root holds together. It is apt's own solution,
  or ` + "`apt-get -s install`" + ` of exactly our packages and versions, on an empty system,
  installs these and nothing else, removes nothing, and reports nothing broken;
- **same**: ` + "`apt-get satisfy`" + ` of the same relations (the code behind build-dep), on a system that has our base, chooses the very
  packages and versions that we do;
- **both refuse**: neither finds a solution.

A root that is not apt's own choice differs for one of these reasons:

- **A tie between providers.** Of packages that provide a virtual package equally
  well, apt takes the one that it came across last when it read the indexes: an
  accident of memory that any change of the archive may change. Ours takes the first
  by name, which stays the same.
- **A choice taken back.** When the first alternative of a dependency conflicts with
  a package that was chosen before for another dependency, apt drops that package
  and repairs what needed it; ours keeps it and takes the second alternative.

Made by ` + "`ASHLAR_CONFORMANCE=/tmp/conformance go test -run TestConformance -timeout 60m ./internal/resolve`" + `.
`

// A difference is what is not as apt has it for a source package.
type difference struct{ source, text string }

// conformance is the comparison for one suite.
type conformance struct {
	suite     string
	apt       aptRoot // nothing installed
	aptBase   aptRoot // the base installed
	memory    *Memory
	sources   map[string]*deb.SourcePackage
	baseLines []string
	baseSame  bool

	random, catalog tally
	failures        []string
	differences     []difference
}

// A tally counts what came of the comparison of one group of sources.
type tally struct {
	consistent, same, refused, asked int
	slowest, total                   time.Duration
}

func newConformance(t *testing.T, dir, suite string) *conformance {
	c := &conformance{suite: suite, apt: aptRoot{dir: dir, name: "empty"}, aptBase: aptRoot{dir: dir, name: "base"}}
	c.apt.prepare(t, suite)
	c.aptBase.prepare(t, suite)
	c.memory = readPackages(t, dir)
	c.sources = readSources(t, dir)
	return c
}

// base solves the shared base, holds it against apt's and installs it in the
// second apt root.
func (c *conformance) base(t *testing.T) {
	set, err := SolveRoot(c.memory, Request{Arch: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	c.baseLines = lines(set.All())
	args := []string{"install"}
	for _, p := range c.memory.essential {
		args = append(args, p.Name)
	}
	installed, err := c.apt.simulate(append(args, BasePackages...)...)
	if err != nil {
		t.Fatal(err)
	}
	c.baseSame = slices.Equal(installed, c.baseLines)
	if !c.baseSame {
		c.differences = append(c.differences, difference{"the base itself", explainDifference(c.memory, set.All(), installed, nil)})
	}
	var status bytes.Buffer
	texts := readLists(t, c.apt.dir, "*_Packages")
	for _, p := range set.All() {
		status.WriteString("Status: install ok installed\n")
		status.Write(statusStanza(t, texts, p))
		status.WriteByte('\n')
	}
	if err := os.WriteFile(c.aptBase.status(), status.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sample draws n source packages at random, with a fixed seed.
func (c *conformance) sample(n int) []*deb.SourcePackage {
	var names []string
	for name, s := range c.sources {
		if !s.ExtraSourceOnly {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(12, 13))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var out []*deb.SourcePackage
	for _, name := range names[:min(n, len(names))] {
		out = append(out, c.sources[name])
	}
	return out
}

// shipped returns the source packages of this suite whose build dependencies a
// definition of our catalog asks for.
func (c *conformance) shipped(t *testing.T) []*deb.SourcePackage {
	files, err := filepath.Glob("../../catalog/package/deb/main/*/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]*deb.SourcePackage{}
	form := regexp.MustCompile(`- debsrc://` + c.suite + `(?:-security)?/([a-z0-9.+-]+)`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range form.FindAllSubmatch(text, -1) {
			if src := c.sources[string(m[1])]; src != nil {
				names[src.Name] = src
			}
		}
	}
	var out []*deb.SourcePackage
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, names[name])
	}
	return out
}

// compare holds our root for one source package against apt's.
func (c *conformance) compare(t *testing.T, n *tally, src *deb.SourcePackage) {
	n.asked++
	start := time.Now()
	req := Request{Arch: "amd64"}
	req.AddSource(src, nil)
	set, err := SolveRoot(c.memory, req)
	took := time.Since(start)
	n.total += took
	n.slowest = max(n.slowest, took)
	var theirs []string
	var aptErr error
	if args := satisfy(req); len(args) > 1 { // else there is nothing to ask apt for
		theirs, aptErr = c.aptBase.choice(args...)
	}
	label := src.Name + " " + src.Version
	t.Logf("%d: %s", n.asked, label)
	switch {
	case err != nil && aptErr != nil && fault.Is(err, fault.Conflict):
		n.refused++
		c.differences = append(c.differences, difference{label, fmt.Sprintf("both refuse. Ours says: %v", err)})
	case err != nil:
		t.Errorf("%s: we refuse, apt does not: %v", label, err)
		c.failures = append(c.failures, label+": "+err.Error())
	case aptErr == nil && slices.Equal(lines(set.All()), withLines(c.baseLines, theirs)):
		n.consistent++ // apt says so: it is its own solution
		n.same++
	default:
		c.differs(t, n, answer{label, set, req, theirs, aptErr})
	}
}

// An answer is what we and apt found for one source package.
type answer struct {
	label  string
	ours   *Set
	req    Request
	theirs []string // besides the base
	aptErr error
}

// differs records a root that is not apt's own choice; apt must at least agree
// that it is consistent.
func (c *conformance) differs(t *testing.T, n *tally, a answer) {
	ours := lines(a.ours.All())
	installed, err := c.apt.simulate(append([]string{"install"}, ours...)...)
	if err != nil || !slices.Equal(installed, ours) {
		t.Errorf("%s: apt does not agree that our root is consistent: %v\nours:  %v\ntheirs: %v", a.label, err, ours, installed)
		c.failures = append(c.failures, a.label+": not consistent by apt")
		return
	}
	n.consistent++
	why := "apt finds no solution, ours is consistent: " + strings.Join(a.ours.Notes, "; ")
	if a.aptErr == nil {
		why = explainDifference(c.memory, a.ours.All(), withLines(c.baseLines, a.theirs), a.req.Wants)
	}
	c.differences = append(c.differences, difference{a.label, why})
}

// withLines returns what is in a or b, sorted.
func withLines(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return all
}

// satisfy returns the arguments with which apt-get satisfies the wants of a
// request. It is the code behind build-dep, without the reading of the whole
// Sources index each time.
func satisfy(req Request) []string {
	args := []string{"satisfy"}
	for _, w := range req.Wants {
		args = append(args, w.Dependency.String())
	}
	for _, w := range req.Conflicts {
		args = append(args, "Conflicts: "+w.Dependency.String())
	}
	return args
}

// report writes the suite's part of the document.
func (c *conformance) report(w *strings.Builder) {
	fmt.Fprintf(w, "\n## %s\n\n| source packages | | consistent | same as apt's choice | both refuse | mean time | slowest |\n|---|---|---|---|---|---|---|\n", c.suite)
	for _, row := range []struct {
		name string
		*tally
	}{{"random", &c.random}, {"of our catalog", &c.catalog}} {
		fmt.Fprintf(w, "| %s | %d | %d | %d | %d | %s | %s |\n", row.name, row.asked, row.consistent, row.same, row.refused,
			(row.total / time.Duration(max(1, row.asked))).Round(100*time.Microsecond), row.slowest.Round(100*time.Microsecond))
	}
	w.WriteByte('\n')
	fmt.Fprintf(w, "The base (%d packages) is %s. Times are with the index in memory.\n", len(c.baseLines),
		map[bool]string{true: "the very set that apt chooses", false: "not apt's, see below"}[c.baseSame])
	if len(c.differences) > 0 {
		w.WriteString("\n### Differences\n\n")
	}
	for len(c.differences) > 0 { // those of one text together
		text := c.differences[0].text
		var sources []string
		c.differences = slices.DeleteFunc(c.differences, func(d difference) bool {
			if d.text == text {
				sources = append(sources, "`"+d.source+"`")
			}
			return d.text == text
		})
		fmt.Fprintf(w, "- %s: %s\n", strings.Join(sources, ", "), text)
	}
	if len(c.failures) > 0 {
		fmt.Fprintf(w, "\n### Failures\n\n- %s\n", strings.Join(c.failures, "\n- "))
	}
}

// lines returns "name=version" of the packages, sorted.
func lines(pkgs []*deb.Package) []string {
	var out []string
	for _, p := range pkgs {
		out = append(out, p.Name+"="+p.Version)
	}
	slices.Sort(out)
	return out
}

// explainDifference names the dependencies for which the two sets hold
// different packages; what is not explained so follows from those.
func explainDifference(m *Memory, ours []*deb.Package, theirs []string, wants []Want) string {
	mine, other := map[string]*deb.Package{}, map[string]*deb.Package{}
	for _, p := range ours {
		mine[p.Name+"="+p.Version] = p
	}
	for _, line := range theirs {
		name, version, _ := strings.Cut(line, "=")
		for _, p := range m.versions[name] {
			if p.Version == version {
				other[line] = p
			}
		}
	}
	onlyMine, onlyOther := minus(mine, other), minus(other, mine)
	var reasons []string
	note := func(d deb.Dependency, by string) {
		a, b := fulfilling(d, onlyMine), fulfilling(d, onlyOther)
		if len(a) > 0 && len(b) > 0 {
			reasons = append(reasons, fmt.Sprintf("for `%s` of %s ours takes %s, apt %s", d, by, strings.Join(a, ", "), strings.Join(b, ", ")))
		}
	}
	for _, w := range wants {
		note(w.Dependency, w.By)
	}
	for _, key := range sortedKeys(mine) {
		if other[key] == nil {
			continue
		}
		p := mine[key]
		for _, d := range slices.Concat(p.PreDepends, p.Depends) {
			note(d, p.Name)
		}
	}
	return fmt.Sprintf("%s. Only ours: %s. Only apt's: %s.", strings.Join(reasons, "; "), orNone(sortedKeys(onlyMine)), orNone(sortedKeys(onlyOther)))
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, " ")
}

func minus(a, b map[string]*deb.Package) map[string]*deb.Package {
	out := map[string]*deb.Package{}
	for k, p := range a {
		if b[k] == nil {
			out[k] = p
		}
	}
	return out
}

func fulfilling(d deb.Dependency, set map[string]*deb.Package) []string {
	var out []string
	for _, r := range d {
		for _, key := range sortedKeys(set) {
			if Fulfils(set[key], r, "amd64") && !slices.Contains(out, set[key].Name) {
				out = append(out, set[key].Name)
			}
		}
	}
	return out
}

func sortedKeys(m map[string]*deb.Package) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// TestEverySource solves the build root of every fifth source package of both
// suites, and checks a tenth of the roots independently of solver and apt. Like
// TestConformance it runs only when ASHLAR_CONFORMANCE is set, after that.
func TestEverySource(t *testing.T) {
	dir := os.Getenv("ASHLAR_CONFORMANCE")
	if dir == "" {
		t.Skip("set ASHLAR_CONFORMANCE to the directory of TestConformance to run this")
	}
	for _, suite := range []string{"bookworm", "trixie"} {
		m, sources := readPackages(t, filepath.Join(dir, suite)), readSources(t, filepath.Join(dir, suite))
		var names, refused []string
		for name, src := range sources {
			if !src.ExtraSourceOnly {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		solved, odd := 0, 0
		for i := 0; i < len(names); i += 5 {
			req := Request{Arch: "amd64"}
			req.AddSource(sources[names[i]], nil)
			set, err := SolveRoot(m, req)
			if err != nil {
				refused = append(refused, names[i]+": "+err.Error())
				continue
			}
			solved++
			if len(set.Notes) > 0 {
				odd++
				t.Logf("%s: %s: %v", suite, names[i], set.Notes)
			}
			if i%50 == 0 {
				if why := inconsistency(set.All(), req); why != "" {
					t.Errorf("%s: %s: %s", suite, names[i], why)
				}
			}
		}
		t.Logf("%s: %d roots solved, %d with a note, %d refused:\n%s", suite, solved, odd, len(refused), strings.Join(refused, "\n"))
	}
}
