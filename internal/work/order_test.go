package work

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// define writes a definition that packs some packages and wants others.
func define(t *testing.T, root, name string, makes, wants []string) Ref {
	t.Helper()
	path := "package/apk/main/" + name + "/musl-1/1.yaml"
	text := "image: ashlar/pkg-" + name + "\nvariant: runtime\ntags: [\"1\"]\nplatforms: [linux/amd64]\ncontents:\n  builds:\n    - name: " + name +
		"\n      contents:\n        packages: [gcc"
	for _, w := range wants {
		text += ", '" + w + "@musl'"
	}
	text += "]\n      pipeline:\n        - uses: dhi/build-pkg:0\n          with:\n            name: " + makes[0] + "\n            subpackages:\n"
	for _, m := range makes[1:] {
		text += "              - name: " + m + "\n"
	}
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return Ref{Root: root, Path: path}
}

func TestOrder(t *testing.T) {
	root := t.TempDir()
	refs := []Ref{
		define(t, root, "curl", []string{"curl", "curl-dev"}, []string{"zlib-dev", "openssl-dev>=3", "musl-dev"}),
		define(t, root, "musl", []string{"musl", "musl-dev"}, nil),
		define(t, root, "openssl", []string{"openssl", "openssl-dev"}, []string{"musl-dev"}),
		define(t, root, "zlib", []string{"zlib", "zlib-dev"}, []string{"musl-dev", "elsewhere"}),
	}
	order, err := Order(refs, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	after := map[string][]int{}
	for _, o := range order {
		name := strings.Split(o.Path, "/")[3]
		got = append(got, name)
		after[name] = o.After
	}
	if diff := cmp.Diff([]string{"musl", "zlib", "openssl", "curl"}, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]int{"musl": nil, "zlib": {0}, "openssl": {0}, "curl": {0, 1, 2}}, after); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}
	refs[1] = define(t, root, "musl", []string{"musl", "musl-dev"}, []string{"curl"})
	if _, err := Order(refs, "amd64"); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "curl/musl-1/1.yaml → ") {
		t.Errorf("a circle: %v", err)
	}
}
