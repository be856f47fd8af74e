package build

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var update = flag.Bool("update", false, "write golden files anew")

var bookworm = ashlar.Target{Distro: "debian-12", Arch: "amd64"}

// sampleValues are what a lock would bind for the sample definition.
var sampleValues = map[string]string{
	catalog.SourceDir: ashlar.SourceDir, catalog.TargetDir: ashlar.TargetDir,
	catalog.SourceName: "hello", catalog.SourceVersion: "2.10-3",
	catalog.SourceUpstreamVersion: "2.10", catalog.SourceDsc: "hello_2.10-3.dsc",
}

// sample returns the sample definition, bound, and a lock for it.
func sample(t *testing.T) (*catalog.Expanded, *ashlar.Lock) {
	t.Helper()
	def, err := catalog.Load("testdata/catalog", "package/deb/main/hello/debian-12/2.yaml")
	if err != nil {
		t.Fatal(err)
	}
	e, err := def.Expand(bookworm)
	if err != nil {
		t.Fatal(err)
	}
	if e, err = e.Bind(sampleValues); err != nil {
		t.Fatal(err)
	}
	return e, sampleLock()
}

func sampleLock() *ashlar.Lock {
	file := func(name string) ashlar.Material {
		return ashlar.Material{Name: name, URI: "mirror://debian/pool/main/h/hello/" + name, Digest: ashlar.DigestOf([]byte(name)), Size: 7}
	}
	pkg := func(name string) ashlar.RootPackage {
		return ashlar.RootPackage{Name: name, Version: "1", Arch: "amd64", URI: "mirror://debian/pool/" + name + ".deb", Digest: ashlar.DigestOf([]byte(name)), Size: 1}
	}
	return &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{
		Definition: ashlar.Material{Name: "2.yaml", URI: "catalog:package/deb/main/hello/debian-12/2.yaml", Digest: ashlar.DigestOf([]byte("def"))},
		Target:     bookworm,
		Builds: []ashlar.BuildInputs{{
			Name: "hello deb",
			Root: ashlar.Root{Layers: []ashlar.Layer{
				{Name: "essential", Packages: []ashlar.RootPackage{pkg("base-files"), pkg("dpkg")}},
				{Name: "base", Packages: []ashlar.RootPackage{pkg("gcc"), pkg("make")}, Order: []ashlar.Run{
					{Do: "unpack", Packages: []string{"gcc", "make"}}, {Do: "configure", Packages: []string{"gcc"}},
				}},
			}},
			Sources: []ashlar.Source{
				{Material: file("hello_2.10-3.dsc"), Path: ashlar.SourceDir + "/hello_2.10-3.dsc"},
				{Material: file("hello_2.10.orig.tar.gz"), Path: ashlar.SourceDir + "/hello_2.10.orig.tar.gz"},
				{Material: file("CVE-2026-0001.patch"), Path: ashlar.SourceDir + "/patch/CVE-2026-0001.patch", Mode: "0600", UID: 3, GID: 4},
				{Material: file("tree.tar"), Path: "/src/tree/", Tree: true},
			},
		}},
	}}
}

func TestPlanGolden(t *testing.T) {
	def, lock := sample(t)
	plan, err := NewPlan(def, lock, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range plan.Builds[0].Steps {
		b.WriteString("### " + s.Name + " (" + s.Uses + ")\n# in " + s.Dir + " with " + strings.Join(s.command()[:len(s.command())-1], " ") + "\n" + exports(s.Env))
		for _, in := range s.Inputs {
			b.WriteString("# input " + in.Name + " " + in.Digest.Short() + "\n")
		}
		b.WriteString(s.Script + "\n")
	}
	golden(t, "plan.golden", b.String())
}

func TestRootScriptGolden(t *testing.T) {
	layers := sampleLock().Inputs.Builds[0].Root.Layers
	golden(t, "root.golden", layerScript(layers[0], true)+"\n### base\n"+layerScript(layers[1], false))
}

// golden compares text with a file of testdata, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; run with -update to accept):\n%s", name, diff)
	}
}

// The key must follow what a build sees, and nothing else.
func TestKey(t *testing.T) {
	key := func(change func(*ashlar.Lock)) ashlar.Digest {
		def, lock := sample(t)
		change(lock)
		plan, err := NewPlan(def, lock, Policy{})
		if err != nil {
			t.Fatal(err)
		}
		return plan.Key()
	}
	base := key(func(*ashlar.Lock) {})
	tests := []struct {
		name   string
		same   bool
		change func(*ashlar.Lock)
	}{
		{"another mirror", true, func(l *ashlar.Lock) { l.Inputs.Builds[0].Root.Layers[1].Packages[0].URI = "mirror://other/x.deb" }},
		{"a newer index", true, func(l *ashlar.Lock) { l.Inputs.Indexes = []ashlar.Index{{URI: "mirror://debian/dists/x/InRelease"}} }},
		{"a note", true, func(l *ashlar.Lock) { l.Inputs.Notes = []string{"fell back"} }},
		{"a source", false, func(l *ashlar.Lock) { l.Inputs.Builds[0].Sources[1].Digest = ashlar.DigestOf(nil) }},
		{"a source's place", false, func(l *ashlar.Lock) { l.Inputs.Builds[0].Sources[1].Path = "/src/other" }},
		{"a root package", false, func(l *ashlar.Lock) { l.Inputs.Builds[0].Root.Layers[1].Packages[0].Digest = ashlar.DigestOf(nil) }},
		{"the order", false, func(l *ashlar.Lock) { l.Inputs.Builds[0].Root.Layers[1].Order[0].Packages = []string{"make", "gcc"} }},
		{"the target", false, func(l *ashlar.Lock) { l.Inputs.Target.Arch = "arm64" }},
	}
	for _, tt := range tests {
		if same := key(tt.change) == base; same != tt.same {
			t.Errorf("%s: same key is %v, want %v", tt.name, same, tt.same)
		}
	}
}

func TestPlanRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*catalog.Expanded, *ashlar.Lock)
		kind   fault.Kind
		want   string
	}{
		{"unknown step", func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Pipeline[0].Uses = "dpkg/sauce@v1" }, fault.Invalid, "dpkg/source@v1"},
		{"step of a later issue", func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Pipeline[0].Uses = "go/build@v1" }, fault.Invalid, "go/build@v1"},
		{"empty step", func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Pipeline[5].Runs = "" }, fault.Invalid, "neither uses nor runs"},
		{"network", func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Pipeline[5].Privileged = true }, fault.Policy, "privileged"},
		{"another user", func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Pipeline[5].RunAs = "nobody" }, fault.Invalid, "has run-as, which is not supported yet"},
		{"a cache", func(e *catalog.Expanded, _ *ashlar.Lock) {
			e.Builds[0].Pipeline[5].Caches = []catalog.Cache{{Path: "/c"}}
		}, fault.Invalid, "has caches, which"},
		{"a secret", func(e *catalog.Expanded, _ *ashlar.Lock) {
			e.Builds[0].Pipeline[5].Secrets = []catalog.Secret{{ID: "s", Env: "S"}}
		}, fault.Invalid, "has secrets, which"},
		{"a shell without a name", func(e *catalog.Expanded, _ *ashlar.Lock) { e.Builds[0].Pipeline[5].Shell = " " }, fault.Invalid, "a shell without a name"},
		{"lock of other builds", func(_ *catalog.Expanded, l *ashlar.Lock) { l.Inputs.Builds = nil }, fault.Conflict, "make the lock again"},
		{"relative path", func(_ *catalog.Expanded, l *ashlar.Lock) { l.Inputs.Builds[0].Sources[0].Path = "x" }, fault.Invalid, "not absolute"},
		{"our own folder", func(_ *catalog.Expanded, l *ashlar.Lock) { l.Inputs.Builds[0].Sources[0].Path = "/tmp/../.ashlar/in/0" }, fault.Invalid, "not for a definition"},
		{"mode", func(_ *catalog.Expanded, l *ashlar.Lock) { l.Inputs.Builds[0].Sources[0].Mode = "0999" }, fault.Invalid, "octal"},
	}
	for _, tt := range tests {
		def, lock := sample(t)
		tt.change(def, lock)
		_, err := NewPlan(def, lock, Policy{})
		if err == nil || fault.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v (%s), want one of %s with %q", tt.name, err, fault.KindOf(err), tt.kind, tt.want)
		}
	}
}

// Every step that the catalog calls built has a planner here, and no other.
func TestImplementedSteps(t *testing.T) {
	var want []string
	for _, k := range catalog.Steps() {
		if k.Built {
			want = append(want, k.Uses)
		}
	}
	if diff := cmp.Diff(want, Implemented()); diff != "" {
		t.Errorf("catalog and build disagree about steps (-catalog +build):\n%s", diff)
	}
}

func TestQuote(t *testing.T) {
	for _, s := range []string{"", "a b", "it's", "$(x)", "`x`", "a\nb", `\'`, "*"} {
		out, err := exec.Command("/bin/sh", "-c", "printf %s "+quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("the shell reads quote(%q) as %q, %v", s, out, err)
		}
	}
}

// exports returns shell assignments for the variables, sorted by name.
func exports(env map[string]string) string {
	names := make([]string, 0, len(env))
	for n := range env {
		names = append(names, n)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, "export %s=%s\n", n, quote(env[n]))
	}
	return b.String()
}
