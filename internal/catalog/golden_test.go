package catalog

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

const testRoot = "testdata/catalog"

var examples = []string{
	"package/deb/main/pebble/debian-12/2.yaml",
	"package/main/quill/alpine-3.24/1.yaml",
	"chart/quill/helm/1.yaml",
}

// TestGolden compares what each example expands to, for each target, with and
// without the values of later stages.
func TestGolden(t *testing.T) {
	for _, name := range examples {
		d, err := Load(testRoot, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range d.Targets() {
			e, err := d.Expand(target)
			if err != nil {
				t.Fatal(err)
			}
			file := strings.ReplaceAll(strings.TrimSuffix(name, ".yaml"), "/", "_") + "." + string(target.Arch)
			golden(t, file+".expanded", dump(e.tree))
			bound, err := e.Bind(testValues())
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+".bound", dump(bound.tree))
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// dump writes a tree as lines "path = value".
func dump(n *node) string {
	var b strings.Builder
	var visit func(n *node, path string)
	visit = func(n *node, path string) {
		switch n.kind {
		case scalar:
			fmt.Fprintf(&b, "%s = %q\n", path, n.value)
		case sequence:
			for i, item := range n.items {
				visit(item, fmt.Sprintf("%s[%d]", path, i))
			}
		case mapping:
			for i, item := range n.items {
				visit(item, path+"."+n.keys[i].value)
			}
		}
	}
	visit(n, "")
	return b.String()
}
