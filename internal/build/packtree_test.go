package build

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pack"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// stone returns the sample definition that packs a tree, bound, and its lock.
func stone(t *testing.T) (*catalog.Expanded, *ashlar.Lock) {
	t.Helper()
	def, err := catalog.Load("testdata/catalog", "package/apk/main/stone/musl-1/1.yaml")
	if err != nil {
		t.Fatal(err)
	}
	musl := ashlar.Target{Distro: "musl-1", Arch: "amd64"}
	e, err := def.Expand(musl)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.Bind(sampleValues); err != nil {
		t.Fatal(err)
	}
	lock := sampleLock()
	in := &lock.Inputs
	in.Target, in.Vars = musl, map[string]string{pack.ExceptionsVar: "pie usr/bin/old  it is older than that\n"}
	in.Builds[0].Name, in.Builds[0].Sources = "stone apk", nil
	sysroot := &ashlar.Sysroot{Path: ashlar.SysrootDir}
	for _, name := range []string{"musl-dev", "zlib-dev"} {
		sysroot.Packages = append(sysroot.Packages, ashlar.RootPackage{
			Name: name, Version: "1-r0", Arch: "amd64", URI: "ashlar://musl-1/main/" + name + "-1-r0.apk", Digest: ashlar.DigestOf([]byte(name)), Size: 1,
		})
	}
	in.Builds[0].Root.Sysroot = sysroot
	return e, lock
}

func planStone(t *testing.T, change func(*catalog.Expanded, *ashlar.Lock)) *Plan {
	t.Helper()
	def, lock := stone(t)
	if change != nil {
		change(def, lock)
	}
	plan, err := NewPlan(def, lock, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestPackPlanGolden(t *testing.T) {
	var b strings.Builder
	for _, s := range planStone(t, nil).Builds[0].Steps {
		fmt.Fprintf(&b, "### %s (%s)\n# in %s\n%s%s\n", s.Name, s.Uses, s.Dir, exports(s.Env), s.Script)
		if p := s.Pack; p != nil {
			fmt.Fprintf(&b, "# pack %v\n# exceptions %q, epoch %d, version %d, by %s\n", p.With, p.Exceptions, p.Epoch, p.Version, s.maintainer())
		}
	}
	golden(t, "pack.golden", b.String())
}

// with returns the parameters of the step that packs.
func with(e *catalog.Expanded) map[string]any {
	p := e.Builds[0].Pipeline
	return p[len(p)-1].With.Value().(map[string]any)
}

// TestPackKey: the key follows all that makes a package, and nothing else.
func TestPackKey(t *testing.T) {
	sysroot := func(l *ashlar.Lock) *ashlar.Sysroot { return l.Inputs.Builds[0].Root.Sysroot }
	base := planStone(t, nil).Key()
	for _, c := range []struct {
		name   string
		same   bool
		change func(*catalog.Expanded, *ashlar.Lock)
	}{
		{"nothing", true, func(*catalog.Expanded, *ashlar.Lock) {}},
		{"where a sysroot's package is from", true, func(_ *catalog.Expanded, l *ashlar.Lock) {
			sysroot(l).Packages[0].URI = "ashlar://other/main/x.apk"
		}},
		{"the mirror of a root's package", true, func(_ *catalog.Expanded, l *ashlar.Lock) {
			l.Inputs.Builds[0].Root.Layers[0].Packages[0].URI = "mirror://other/x.deb"
		}},
		{"a sysroot's package", false, func(_ *catalog.Expanded, l *ashlar.Lock) { sysroot(l).Packages[1].Digest = ashlar.DigestOf(nil) }},
		{"the order of a sysroot", false, func(_ *catalog.Expanded, l *ashlar.Lock) {
			p := sysroot(l).Packages
			p[0], p[1] = p[1], p[0]
		}},
		{"the place of a sysroot", false, func(_ *catalog.Expanded, l *ashlar.Lock) { sysroot(l).Path = "/other" }},
		{"no sysroot", false, func(_ *catalog.Expanded, l *ashlar.Lock) { l.Inputs.Builds[0].Root.Sysroot = nil }},
		{"the exceptions", false, func(_ *catalog.Expanded, l *ashlar.Lock) { l.Inputs.Vars[pack.ExceptionsVar] = "" }},
		{"the time", false, func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Environment[sourceDateEpoch] = "1700000001" }},
		{"who made it", false, func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Environment["DEBEMAIL"] = "x@example.org" }},
	} {
		if same := planStone(t, c.change).Key() == base; same != c.same {
			t.Errorf("%s: same key is %v, want %v", c.name, same, c.same)
		}
	}
	for _, name := range []string{"name", "version", "rel", "description", "license", "url", "formats", "subpackages"} {
		plan := planStone(t, nil)
		steps := plan.Builds[0].Steps
		p := steps[len(steps)-1].Pack
		changed := map[string]any{}
		for k, v := range p.With.(map[string]any) {
			changed[k] = v
		}
		if changed[name] == nil {
			t.Fatalf("the sample has no %s", name)
		}
		changed[name] = "changed"
		p.With = changed
		if plan.Key() == base {
			t.Errorf("another %s has the same key", name)
		}
	}
	def, _ := stone(t)
	if got := with(def)["name"]; got != "stone" {
		t.Errorf("the parameters say %v", got)
	}
}

// TestPackEpoch: what a definition says of the time counts, else the source's.
func TestPackEpoch(t *testing.T) {
	for _, c := range []struct {
		said, found string
		want        int64
	}{
		{"1700000000", "", 1700000000}, {"1700000000", "5", 1700000000}, {"", "5", 5},
		{"", "", 0}, {"0", "5", 0}, {"-1", "5", 0}, {"soon", "5", 0}, {"", "9999999999999999999", 0},
	} {
		def, lock := stone(t)
		def.Builds[0].Environment[sourceDateEpoch] = c.said
		if c.said == "" {
			delete(def.Builds[0].Environment, sourceDateEpoch)
		}
		lock.Inputs.Vars[resolve.SourceEpoch] = c.found
		plan, err := NewPlan(def, lock, Policy{})
		if c.want == 0 {
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "set SOURCE_DATE_EPOCH in its environment") {
				t.Errorf("%+v: %v", c, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		steps := plan.Builds[0].Steps
		if p := steps[len(steps)-1].Pack; p.Epoch != c.want {
			t.Errorf("%+v: packed as of %d", c, p.Epoch)
		}
		for _, s := range steps[1:] {
			if s.Env[sourceDateEpoch] != fmt.Sprint(c.want) {
				t.Errorf("%+v: step %s has %q", c, s.Name, s.Env[sourceDateEpoch])
			}
		}
	}
}

func TestPackPlanRefuses(t *testing.T) {
	for name, c := range map[string]struct{ exceptions, want string }{
		"exceptions that are none": {"pie", "gives no reason"},
		"an unknown check":         {"glue usr/bin/x because of that", "glue"},
	} {
		def, lock := stone(t)
		lock.Inputs.Vars[pack.ExceptionsVar] = c.exceptions
		if _, err := NewPlan(def, lock, Policy{}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// treeOf makes the archive of a tree: a content that begins with "->" is a link.
func treeOf(t *testing.T, files map[string]string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		content := files[name]
		h := tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(content))}
		if to, link := cutLink(content); link {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, to, 0
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// programs returns a program for musl, and one that is at a fixed address.
func programs() (hardened, old string) {
	spec := elftest.Program("libc.musl-x86_64.so.1")
	hardened = string(elftest.Build(spec))
	spec.Shared = false
	return hardened, string(elftest.Build(spec))
}

// TestPackTrees packs what a build left, good and hostile.
func TestPackTrees(t *testing.T) {
	plain := map[string]string{"usr/share/stone/data": "x", "usr/bin/stone": "#!/bin/sh\n" + strings.Repeat("# more\n", 100)}
	with := func(name, content string) string {
		more := maps.Clone(plain)
		more[name] = content
		return treeOf(t, more)
	}
	good := treeOf(t, plain)
	hardened, old := programs()
	for _, c := range []struct {
		name, tree, exceptions string
		output                 map[string]string // in place of the tree
		kind                   fault.Kind
		says                   string
		notes                  string
	}{
		{name: "a tree", tree: good},
		{name: "no tree", output: map[string]string{"2/1.tree.tar": good}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "no folder", output: map[string]string{"0/x_1_all.deb": ""}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "a link to a tree", output: map[string]string{"2/0.tree.tar": "->1.tree.tar", "2/1.tree.tar": good}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "a link to the host", output: map[string]string{"2/0.tree.tar": "->/etc/passwd"}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "a folder that links to the host", output: map[string]string{"2": "->/etc"}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "a folder in the place of a tree", output: map[string]string{"2/0.tree.tar/x": ""}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "a file in the place of the folder", output: map[string]string{"2": ""}, kind: fault.Failed, says: "a step took away the tree"},
		{name: "an archive that is none", tree: "no tar", kind: fault.Invalid},
		{name: "an archive cut short", tree: good[:700], kind: fault.Invalid},
		{name: "an empty archive", tree: "", kind: fault.Invalid},
		{name: "a path that climbs out", tree: treeOf(t, map[string]string{"../../etc/cron.d/x": "x"}), kind: fault.Invalid, says: ".."},
		{name: "a path through a link", tree: treeOf(t, map[string]string{"usr": "->/etc"}) + treeOf(t, map[string]string{"usr/share/stone/x": "x"}), kind: fault.Invalid},
		{name: "nothing for a package", tree: treeOf(t, map[string]string{"usr/bin/stone": "y"}), kind: fault.Invalid, says: "usr/share/stone"},
		{name: "a program that is hardened", tree: with("usr/bin/old", hardened)},
		{name: "a program that is not", tree: with("usr/bin/old", old), kind: fault.Policy, says: "usr/bin/old"},
		{name: "one that may", tree: with("usr/bin/old", old), exceptions: "pie usr/bin/old  it is older than that\n"},
		{name: "an exception that nothing needs", tree: good, exceptions: "pie usr/bin/old  it is older than that\n", notes: "usr/bin/old"},
		{name: "a program that wants what the sysroot lacks", tree: with("usr/bin/x", string(elftest.Build(elftest.Program("libz.so.1")))),
			kind: fault.Invalid, says: "needs the library libz.so.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Runner{Store: blob.NewMemory(), Memo: t.TempDir()}
			plan := planStone(t, func(_ *catalog.Expanded, l *ashlar.Lock) {
				l.Inputs.Vars[pack.ExceptionsVar] = c.exceptions
				l.Inputs.Builds[0].Root.Sysroot.Packages = []ashlar.RootPackage{muslPackage(t, r.Store)}
			})
			if c.output == nil {
				c.output = map[string]string{"2/0.tree.tar": c.tree}
			}
			rec := newRecorder(plan, io.Discard, nil)
			out := output(t, c.output)
			files, err := r.packTrees(t.Context(), &plan.Builds[0], "amd64", out, rec)
			if c.kind != "" {
				if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), `"stone apk"`) {
					t.Errorf("%v is %s, want %s with %q", err, fault.KindOf(err), c.kind, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			checkPacked(t, r.Store, files)
			if log := rec.log(); !strings.Contains(log, c.notes) {
				t.Errorf("the log does not say %q:\n%s", c.notes, log)
			}
			if left, err := filepath.Glob(filepath.Join(out, "packed.0", "tree-*")); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// muslPackage puts a package into the store that provides the C library.
func muslPackage(t *testing.T, s blob.Store) ashlar.RootPackage {
	t.Helper()
	provides, err := apk.ParseDependencies("so:libc.musl-x86_64.so.1=1")
	if err != nil {
		t.Fatal(err)
	}
	return apkOf(t, s, apk.Info{Name: "musl", Provides: provides}, apkFile(apk.RegularFile, "lib/libc.so", "x"))
}

// checkPacked checks that the packages are all there, with the definition's time.
func checkPacked(t *testing.T, s blob.Store, files []ashlar.File) {
	t.Helper()
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
		b, err := blob.ReadAll(t.Context(), s, f.Digest, 1<<20)
		if err != nil || int64(len(b)) != f.Size {
			t.Fatalf("%s: %d bytes, %v", f.Name, len(b), err)
		}
		if f.Name != "stone-1.2-r3.apk" {
			continue
		}
		p, err := apk.ReadV2(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if p.Info.BuildTime != 1700000000 || p.Info.Maintainer != "A. Mason <mason@example.org>" || p.Info.Arch != "x86_64" {
			t.Errorf("%s says %+v", f.Name, p.Info)
		}
	}
	want := []string{
		"stone-1.2-r3.apk", "stone-1.2-r3.v3.apk", "stone-doc-1.2-r3.apk", "stone-doc-1.2-r3.v3.apk",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// TestPackTreesUnknownSysroot: a sysroot's package that is gone, or none.
func TestPackTreesUnknownSysroot(t *testing.T) {
	plan := planStone(t, nil)
	r := &Runner{Store: blob.NewMemory(), Memo: t.TempDir()}
	if _, err := r.packTrees(t.Context(), &plan.Builds[0], "amd64", t.TempDir(), nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("gone: %v", err)
	}
	f, err := r.Store.Put(t.Context(), strings.NewReader("evil"), "")
	if err != nil {
		t.Fatal(err)
	}
	plan.Builds[0].Root.Sysroot.Packages[0].Digest = f.Digest
	if _, err := r.packTrees(t.Context(), &plan.Builds[0], "amd64", t.TempDir(), nil); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "musl-dev") {
		t.Errorf("none: %v", err)
	}
}

// TestTreeScript hands a tree over by the script of the step, twice, and finds the
// same bytes whatever the times of access.
func TestTreeScript(t *testing.T) {
	dir := t.TempDir()
	tree, packs := filepath.Join(dir, "target"), filepath.Join(dir, "pack")
	if err := os.MkdirAll(filepath.Join(tree, "usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(tree, "usr/bin/x"), []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		runScript(t, fmt.Sprintf(buildPkgScript, packs, quote(tree)))
		if _, err := os.ReadFile(filepath.Join(tree, "usr/bin/x")); err != nil {
			t.Fatal(err)
		}
	}
	first, err1 := os.ReadFile(filepath.Join(packs, "0"+treeSuffix))
	second, err2 := os.ReadFile(filepath.Join(packs, "1"+treeSuffix))
	if err1 != nil || err2 != nil || !bytes.Equal(first, second) || len(first) == 0 {
		t.Errorf("two archives of one tree: %d and %d bytes, %v, %v", len(first), len(second), err1, err2)
	}
}
