package build

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
)

// TestOpenCatalogSteps plans every step of an open catalog's packages that this
// program builds. ASHLAR_OPEN_CATALOG names a checkout or a Git directory.
func TestOpenCatalogSteps(t *testing.T) {
	where := os.Getenv("ASHLAR_OPEN_CATALOG")
	if where == "" {
		t.Skip("ASHLAR_OPEN_CATALOG names no checkout of an open catalog")
	}
	root := openCatalog(t, where)
	planned := map[string]int{}
	var whole, definitions int
	err := filepath.WalkDir(filepath.Join(root, "package"), func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(p) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(p)
		if err != nil || !bytes.HasPrefix(text, []byte("# syntax=")) {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		def, err := catalog.Load(root, filepath.ToSlash(rel))
		if err != nil {
			return err
		}
		all := true
		for _, target := range def.Targets() {
			all = planSteps(t, def, target, planned) && all
		}
		if strings.HasPrefix(filepath.ToSlash(rel), "package/apk/") {
			definitions++
			if all {
				whole++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d definitions of Alpine packages, of which %d plan whole", definitions, whole)
	for _, uses := range slices.Sorted(maps.Keys(planned)) {
		t.Logf("%s: %d planned", uses, planned[uses])
	}
}

// planSteps plans the steps of one expanded definition that are built, and
// reports whether those are all.
func planSteps(t *testing.T, def *catalog.Definition, target ashlar.Target, planned map[string]int) bool {
	e, err := def.Expand(target)
	if err != nil {
		t.Errorf("%v", err)
		return false
	}
	if bound, err := e.Bind(sampleValues); err == nil {
		e = bound
	}
	whole := true
	for i := range e.Builds {
		b := &e.Builds[i]
		for j := range b.Pipeline {
			s := &b.Pipeline[j]
			if s.Supported() != nil || unsupported(s) != "" {
				whole = false
				continue
			}
			step, err := planStep(b, s, Policy{AllowNetwork: true})
			if err != nil {
				t.Errorf("%v", err)
				whole = false
				continue
			}
			planned[step.Uses]++
		}
	}
	return whole
}

// openCatalog returns a folder with the files of a checkout or Git directory.
func openCatalog(t *testing.T, where string) string {
	if _, err := os.Stat(filepath.Join(where, "package")); err == nil {
		return where
	}
	dir := t.TempDir()
	script := fmt.Sprintf("git -C %q archive HEAD package | tar x -C %q", where, dir)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return dir
}
