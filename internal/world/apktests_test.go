package world

import (
	"crypto/sha1"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// An apkCase is one of the cases that apk-tools tests its own solver with, as far
// as it is about an empty root.
type apkCase struct {
	request Request
	want    []string // "name@tag (version)" in order; nil if there is no solution
	skip    string   // why it is none for this package
}

// TestApkCases runs the cases of a checkout of apk-tools, whose folder test/solver
// ASHLAR_APK_SOLVER_TESTS names.
func TestApkCases(t *testing.T) {
	dir := os.Getenv("ASHLAR_APK_SOLVER_TESTS")
	if dir == "" {
		t.Skip("ASHLAR_APK_SOLVER_TESTS does not name the folder test/solver of apk-tools")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.test"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases in %s: %v", dir, err)
	}
	passed, skipped := 0, 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			c := readAPKCase(t, file)
			if c.skip != "" {
				skipped++
				t.Skip(c.skip)
			}
			got, err := Solve(c.request)
			if c.want == nil {
				if err == nil {
					t.Fatalf("solved: %v", shown(got))
				}
				t.Log(err)
			} else if err != nil {
				t.Fatal(err)
			} else if d := cmp.Diff(c.want, shown(got)); d != "" {
				t.Fatalf("apk installs otherwise (-apk +ours):\n%s", d)
			}
			passed++
		})
	}
	t.Logf("%d cases: %d as apk says, %d not about an empty root", len(files), passed, skipped)
}

// shown returns a solution as apk shows it.
func shown(s *Solution) []string {
	lines := []string{}
	for _, c := range s.Install {
		tag := ""
		if c.Tag != "" {
			tag = "@" + c.Tag
		}
		lines = append(lines, c.Name+tag+" ("+c.Version+")")
	}
	return lines
}

var installLine = regexp.MustCompile(`^\( *\d+/\d+\) Installing (.*)$`)

// readAPKCase reads a case and the indexes that it names.
func readAPKCase(t *testing.T, file string) (c apkCase) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c.request.Arch = "x86_64"
	args, expect, ok := strings.Cut(string(text), "@EXPECT\n")
	if !ok {
		t.Fatal("it expects nothing")
	}
	for line := range strings.Lines(args) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "@ARGS":
			c.args(t, strings.Fields(value))
		case "@WORLD":
			c.request.World = append(c.request.World, mustDeps(t, value)...)
		case "@REPO":
			r := Repository{}
			if tag, name, ok := strings.Cut(value, " "); ok {
				r.Tag, value = tag[1:], name
			}
			r.Packages = apkTestIndex(t, filepath.Join(filepath.Dir(file), value))
			c.request.Repositories = append(c.request.Repositories, r)
		default:
			c.skip = "it has " + key
		}
	}
	if strings.Contains(expect, "ERROR") {
		return c
	}
	c.want = []string{}
	for line := range strings.Lines(expect) {
		if m := installLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			c.want = append(c.want, m[1])
		}
	}
	return c
}

// args takes the arguments that apk gets.
func (c *apkCase) args(t *testing.T, args []string) {
	if len(args) == 0 || args[0] != "add" {
		c.skip = "it is not about apk add"
		return
	}
	for _, arg := range args[1:] {
		d, err := apk.ParseDependency(arg)
		if arg[0] == '-' || err != nil {
			c.skip = "it has the argument " + arg
			return
		}
		c.request.World = append(c.request.World, d)
		c.request.Added = append(c.request.Added, d.Name)
	}
}

// apkTestIndex reads an index of apk's tests. Their identities are not well
// formed, so they are made anew, equal where theirs are.
func apkTestIndex(t *testing.T, file string) []Package {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(b)) {
		if text, ok := strings.CutPrefix(line, "C:Q1"); ok {
			// Bits beyond the last byte do not count, as to apk.
			b, _ := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
			line = "C:" + apk.Identity(sha1.Sum(b)).String() + "\n"
			if len(b) != sha1.Size {
				line = "C:" + apk.Identity(sha1.Sum([]byte(text))).String() + "\n"
			}
		}
		lines = append(lines, line)
	}
	entries, err := apk.ParseIndex([]byte(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	return FromIndex(&apk.Index{Entries: entries})
}

func mustDeps(t testing.TB, s string) []apk.Dependency {
	t.Helper()
	deps, err := apk.ParseDependencies(s)
	if err != nil {
		t.Fatal(err)
	}
	return deps
}
