package ashlar_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/ashlar-project/ashlar"

// floors gives every package its place in the house. A package imports only
// packages of a strictly lower floor, so neighbours never import each other.
// A new package is a new line here.
var floors = map[string]int{
	".":              0, // the nouns
	"internal/fault": 0,

	"internal/adb":      1, // codecs, files, signatures: nothing but bytes
	"internal/compress": 1,
	"internal/durable":  1,
	"internal/intoto":   1,
	"internal/pgp":      1,

	"internal/abuild":   2, // formats and the store that stand on them
	"internal/apk":      2,
	"internal/blob":     2,
	"internal/deb":      2,
	"internal/elfcheck": 2,
	"internal/sbom":     2,

	"internal/archive/archivetest": 3,
	"internal/blob/blobtest":       3,
	"internal/catalog":             3, // definitions, and doors to one outside thing each
	"internal/elfcheck/elftest":    3,
	"internal/engine":              3,
	"internal/enginehost":          3,
	"internal/sandbox":             3,
	"internal/shelf":               3,
	"internal/sign":                3,
	"internal/source":              3,

	"internal/archive": 4, // what is one door or one format further up
	"internal/pack":    4,
	"internal/world":   4,

	"internal/resolve": 5,
	"internal/build":   6,
	"internal/gate":    7,
	"internal/attest":  8,
	"internal/apkrepo": 9,
	"internal/repo":    9,

	"internal/serve": 10, // where steps are chained
	"internal/work":  10,

	"cmd/ashlar": 11,
	"bench":      11,
}

// restricted names the only packages that may import a heavy or dangerous
// dependency.
var restricted = map[string][]string{
	"github.com/moby/buildkit/control":  {"internal/enginehost"},
	"github.com/moby/buildkit/worker":   {"internal/enginehost"},
	"github.com/moby/buildkit/executor": {"internal/enginehost"},
	"github.com/moby/buildkit":          {"internal/enginehost", "internal/engine", "internal/build", "internal/gate"},
	"github.com/containerd/containerd":  {"internal/enginehost", "internal/engine", "internal/sandbox"},
	"github.com/ProtonMail/go-crypto":   {"internal/pgp"},
	"github.com/spf13/cobra":            {"cmd/ashlar"},
	"os/exec":                           {"internal/source", "internal/engine", "internal/sandbox", "internal/sign", "cmd/ashlar", "bench"},
	"net/http":                          {"internal/fault", "internal/source", "internal/serve", "internal/archive/archivetest", "cmd/ashlar", "bench"},
	module + "/internal/enginehost":     {"cmd/ashlar"},
}

func TestFloors(t *testing.T) {
	err := filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipDir(p, d)
		case !strings.HasSuffix(p, ".go") || strings.HasSuffix(p, "_test.go"):
			return nil
		}
		checkImports(t, p)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// skipDir leaves out folders that hold no package of this module.
func skipDir(p string, d fs.DirEntry) error {
	if p == "." {
		return nil
	}
	if d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(p, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

// checkImports reports every import of the file that its package's floor, or the
// restricted table, forbids.
func checkImports(t *testing.T, file string) {
	t.Helper()
	pkg := path.Dir(filepath.ToSlash(file))
	mine, ok := floors[pkg]
	if !ok {
		t.Errorf("%s: package %s has no floor; give it a line in floors_test.go", file, pkg)
		return
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	for _, spec := range parsed.Imports {
		to, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Error(err)
			continue
		}
		if rel, ok := inModule(to); ok && floors[rel] >= mine {
			t.Errorf("%s (floor %d) imports %s (floor %d)", file, mine, rel, floors[rel])
		}
		if who := allowed(to); who != nil && !slices.Contains(who, pkg) {
			t.Errorf("%s imports %s; only %v may", file, to, who)
		}
	}
}

// inModule returns the folder of an import path of this module.
func inModule(to string) (string, bool) {
	if to == module {
		return ".", true
	}
	return strings.CutPrefix(to, module+"/")
}

// allowed returns who may import a restricted path, by the longest entry that
// covers it, or nil if anybody may.
func allowed(to string) []string {
	best, who := -1, []string(nil)
	for dep, pkgs := range restricted {
		if (to == dep || strings.HasPrefix(to, dep+"/")) && len(dep) > best {
			best, who = len(dep), pkgs
		}
	}
	return who
}
