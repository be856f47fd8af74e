package resolve

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
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
					c.compare(t, src)
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

For each suite, 200 source packages are drawn at random (fixed seed), and the
build root that Ashlar solves for their build dependencies is held against the
machine's own apt:

- **consistent**: apt agrees that our root holds together. It is apt's own solution,
  or ` + "`apt-get -s install`" + ` of exactly our packages and versions, on an empty system,
  installs these and nothing else, removes nothing, and reports nothing broken;
- **same**: ` + "`apt-get satisfy`" + ` of the same relations (the code behind build-dep), on a system that has our base, chooses the very
  packages and versions that we do;
- **both refuse**: neither finds a solution.

Made by ` + "`ASHLAR_CONFORMANCE=/tmp/conformance go test -run TestConformance -timeout 60m ./internal/resolve`" + `.
`

// conformance is the comparison for one suite.
type conformance struct {
	suite     string
	apt       aptRoot // nothing installed
	aptBase   aptRoot // the base installed
	memory    *Memory
	sources   map[string]*deb.SourcePackage
	baseLines []string
	baseSame  bool

	consistent, same, refused, asked int
	slowest, total                   time.Duration
	differences, failures            []string
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
		c.differences = append(c.differences, "the base itself: "+explainDifference(c.memory, set.All(), installed, nil))
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

// compare holds our root for one source package against apt's.
func (c *conformance) compare(t *testing.T, src *deb.SourcePackage) {
	c.asked++
	start := time.Now()
	req := Request{Arch: "amd64"}
	req.AddSource(src, nil)
	set, err := SolveRoot(c.memory, req)
	took := time.Since(start)
	c.total += took
	c.slowest = max(c.slowest, took)
	theirs, aptErr := c.aptBase.choice(satisfy(req)...)
	label := src.Name + " " + src.Version
	t.Logf("%d: %s", c.asked, label)
	switch {
	case err != nil && aptErr != nil && fault.Is(err, fault.Conflict):
		c.refused++
		c.differences = append(c.differences, fmt.Sprintf("`%s`: both refuse. Ours says: %v", label, err))
	case err != nil:
		t.Errorf("%s: we refuse, apt does not: %v", label, err)
		c.failures = append(c.failures, label+": "+err.Error())
	case aptErr == nil && slices.Equal(lines(set.All()), withLines(c.baseLines, theirs)):
		c.consistent++ // apt says so: it is its own solution
		c.same++
	default:
		c.differs(t, label, set, req, theirs, aptErr)
	}
}

// differs records a root that is not apt's own choice; apt must at least agree
// that it is consistent.
func (c *conformance) differs(t *testing.T, label string, set *Set, req Request, theirs []string, aptErr error) {
	ours := lines(set.All())
	installed, err := c.apt.simulate(append([]string{"install"}, ours...)...)
	if err != nil || !slices.Equal(installed, ours) {
		t.Errorf("%s: apt does not agree that our root is consistent: %v\nours:  %v\ntheirs: %v", label, err, ours, installed)
		c.failures = append(c.failures, label+": not consistent by apt")
		return
	}
	c.consistent++
	why := "apt finds no solution, ours is consistent: " + strings.Join(set.Notes, "; ")
	if aptErr == nil {
		why = explainDifference(c.memory, set.All(), withLines(c.baseLines, theirs), req.Wants)
	}
	c.differences = append(c.differences, fmt.Sprintf("`%s`: %s", label, why))
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
	fmt.Fprintf(w, "\n## %s\n\n| source packages | consistent | same as apt's choice | both refuse | mean time | slowest |\n|---|---|---|---|---|---|\n", c.suite)
	fmt.Fprintf(w, "| %d | %d | %d | %d | %s | %s |\n\n", c.asked, c.consistent, c.same, c.refused,
		(c.total / time.Duration(c.asked)).Round(100*time.Microsecond), c.slowest.Round(100*time.Microsecond))
	fmt.Fprintf(w, "The base (%d packages) is %s. Times are with the index in memory.\n", len(c.baseLines),
		map[bool]string{true: "the very set that apt chooses", false: "not apt's, see below"}[c.baseSame])
	for _, part := range []struct {
		title string
		items []string
	}{{"Differences", c.differences}, {"Failures", c.failures}} {
		if len(part.items) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n### %s\n\n", part.title)
		for _, d := range part.items {
			fmt.Fprintf(w, "- %s\n", d)
		}
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
