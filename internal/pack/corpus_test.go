package pack

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/catalog"
)

// TestOpenCatalog parses every dhi/build-pkg step of an open catalog, for each of
// the platforms of its definition. ASHLAR_OPEN_CATALOG names a checkout or a Git
// directory.
func TestOpenCatalog(t *testing.T) {
	where := os.Getenv("ASHLAR_OPEN_CATALOG")
	if where == "" {
		t.Skip("ASHLAR_OPEN_CATALOG names no checkout of an open catalog")
	}
	root := checkout(t, where)
	count := map[string]int{}
	for _, name := range definitions(t, root) {
		d, err := catalog.Load(root, name)
		if err != nil {
			t.Error(err)
			continue
		}
		for i, target := range d.Targets() {
			e, err := d.Expand(target)
			if err != nil {
				t.Error(err)
				continue
			}
			// What other steps leave unbound is of no interest here.
			if bound, err := e.Bind(testValues()); err == nil {
				e = bound
			}
			for _, b := range e.Builds {
				for _, s := range b.Pipeline {
					if strings.HasPrefix(s.Uses, Step+":") {
						countSpec(t, s, count, i == 0)
					}
				}
			}
		}
	}
	t.Logf("%v", count)
	if count["steps"] == 0 {
		t.Error("there is no such step")
	}
}

// countSpec parses a step and counts what is in it; first is whether its
// definition was not looked at before.
func countSpec(t *testing.T, s catalog.Step, count map[string]int, first bool) {
	t.Helper()
	spec, err := ParseSpec(s)
	count["parsed"]++
	if first {
		count["steps"]++
	}
	if err != nil {
		t.Error(err)
		return
	}
	if first {
		count["packages"] += len(spec.Packages)
		for _, f := range spec.Formats {
			count["formats "+string(f)]++
		}
		for i := range spec.Packages {
			if p := &spec.Packages[i]; p.split != nil {
				t.Errorf("%s:%d: package %s has no files", p.File, p.Line, p.Name)
			}
		}
		if spec.Packages[0].Name != spec.Name {
			count["without a main package"]++
		}
		count[packed(t, spec)]++
	}
}

// packed packs a spec from a tree in which every rule finds a file, and returns
// what came of it. Some definitions have versions that apk has no order for, or
// owners that are numbers.
func packed(t *testing.T, spec *Spec) string {
	t.Helper()
	names := map[string]bool{}
	for _, p := range spec.Packages {
		for _, r := range p.Rules {
			names[join(spec.Root, r.Source)] = true
		}
	}
	sorted := slices.Sorted(maps.Keys(names))
	tree := newTar()
	for _, name := range sorted {
		content := name
		// What others are in is a folder.
		if slices.ContainsFunc(append(sorted, "usr/share/doc/x"), func(o string) bool { return strings.HasPrefix(o, name+"/") }) {
			name += "/x"
		}
		tree.program(name, content)
	}
	dir := t.TempDir()
	set, err := Assemble(tree.tree(t), spec, testOptions())
	if err == nil {
		_, err = set.Write(context.Background(), dir, 2)
	}
	switch {
	case err == nil:
		return "packed"
	case strings.Contains(err.Error(), "for apk: package") && strings.Contains(err.Error(), `: version "`):
		return "refused for a version"
	case strings.Contains(err.Error(), "hold no numbers"):
		return "refused for a number as owner"
	}
	t.Error(err)
	return "failed"
}

func testValues() map[string]string {
	return map[string]string{
		catalog.SourceDir: "/build/src", catalog.TargetDir: "/target", catalog.SourceName: "pebble", catalog.SourceVersion: "1:2.0-3",
		catalog.SourceUpstreamVersion: "2.0", catalog.SourceDsc: "pebble_2.0-3.dsc",
	}
}

// checkout returns a folder with the files of a checkout or Git directory.
func checkout(t *testing.T, where string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(where, "package")); err == nil {
		return where
	}
	dir := t.TempDir()
	script := fmt.Sprintf("git -C %q archive HEAD package/main | tar x -C %q", where, dir)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return dir
}

// definitions lists the YAML files that name the step.
func definitions(t *testing.T, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(root, "package", "main"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(p) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(p)
		if bytes.HasPrefix(text, []byte("# syntax=")) && bytes.Contains(text, []byte("uses: "+Step+":")) {
			rel, _ := filepath.Rel(root, p)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
