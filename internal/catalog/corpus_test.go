package catalog

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestOpenCatalog reads every definition of an open catalog, expands it for each
// of its platforms and binds it. ASHLAR_OPEN_CATALOG names a checkout or a Git
// directory.
func TestOpenCatalog(t *testing.T) {
	where := os.Getenv("ASHLAR_OPEN_CATALOG")
	if where == "" {
		t.Skip("ASHLAR_OPEN_CATALOG names no checkout of an open catalog")
	}
	root := checkout(t, where)
	names := definitions(t, root)
	work := make(chan string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var expanded, unbound, unsupported int
	begin := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for name := range work {
				n, b, s, err := expandAll(root, name)
				mu.Lock()
				expanded, unbound, unsupported = expanded+n, unbound+b, unsupported+s
				mu.Unlock()
				if err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	for _, name := range names {
		work <- name
	}
	close(work)
	wg.Wait()
	t.Logf("%d definitions expanded %d times in %v; %d do not bind, %d use a step not built yet",
		len(names), expanded, time.Since(begin).Round(time.Millisecond), unbound, unsupported)
}

// expandAll does to one definition what planning does, for each target.
func expandAll(root, name string) (expanded, unbound, unsupported int, err error) {
	d, err := Load(root, name)
	if err != nil {
		return 0, 0, 0, err
	}
	for _, target := range d.Targets() {
		e, err := d.Expand(target)
		if err != nil {
			return expanded, unbound, unsupported, err
		}
		expanded++
		if _, err := e.Bind(testValues()); err != nil {
			unbound++
		}
		if slices.ContainsFunc(Lint(e), func(f Finding) bool { return f.Rule == "step" }) {
			unsupported++
		}
	}
	return expanded, unbound, unsupported, nil
}

func testValues() map[string]string {
	return map[string]string{
		SourceDir: "/build/src", TargetDir: "/target", SourceName: "pebble", SourceVersion: "1:2.0-3",
		SourceUpstreamVersion: "2.0", SourceDsc: "pebble_2.0-3.dsc",
	}
}

// checkout returns a folder with the files of a checkout or Git directory.
func checkout(t *testing.T, where string) string {
	if _, err := os.Stat(filepath.Join(where, "package")); err == nil {
		return where
	}
	dir := t.TempDir()
	script := fmt.Sprintf("git -C %q archive HEAD package image chart | tar x -C %q", where, dir)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return dir
}

// definitions lists the YAML files that begin as a definition does.
func definitions(t *testing.T, root string) []string {
	var names []string
	for _, top := range []string{"package", "image", "chart"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(p string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(p) != ".yaml" {
				return err
			}
			text, err := os.ReadFile(p)
			if bytes.HasPrefix(text, []byte("# syntax=")) {
				rel, _ := filepath.Rel(root, p)
				names = append(names, filepath.ToSlash(rel))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}
