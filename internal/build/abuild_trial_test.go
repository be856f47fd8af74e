package build

import (
	"archive/tar"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/abuild"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// An abuildTrial is what scripts/abuild-trial brought together: a build root with
// abuild, recipes of aports as one tree, and files that they fetch.
type abuildTrial struct {
	dir       string
	runner    *Runner
	root      llb.State
	aports    map[string][]byte        // the recipes, by their folder
	tree      ashlar.Source            // all that lies beside them
	distfiles map[string]ashlar.Digest // by SHA-512
}

// newAbuildTrial reads the trial that ASHLAR_ABUILD_TRIAL names and starts its engine.
func newAbuildTrial(t *testing.T) *abuildTrial {
	t.Helper()
	dir := os.Getenv("ASHLAR_ABUILD_TRIAL")
	if dir == "" {
		t.Skip("ASHLAR_ABUILD_TRIAL names no folder made by scripts/abuild-trial")
	}
	ctx := t.Context()
	cfg := engine.Config{StateDir: filepath.Join(dir, "state"), Exe: filepath.Join(dir, "ashlar"), Args: []string{"engine"}}
	client, err := engine.Ensure(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(client.Close(), engine.Stop(context.Background(), cfg)); err != nil {
			t.Error(err)
		}
	})
	store, err := blob.NewDir(filepath.Join(dir, "state/store"))
	if err != nil {
		t.Fatal(err)
	}
	trial := &abuildTrial{dir: dir, runner: &Runner{Engine: client, Store: store}, distfiles: map[string]ashlar.Digest{}}
	if trial.root, err = engine.Image(ctx, trial.runner.Blobs(), engine.Native, trial.put(t, "root.tar")); err != nil {
		t.Fatal(err)
	}
	trial.readAports(t)
	files, err := filepath.Glob(filepath.Join(dir, "distfiles/*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha512.Sum512(b)
		trial.distfiles[hex.EncodeToString(sum[:])] = trial.put(t, "distfiles/"+filepath.Base(f))
	}
	return trial
}

// put stores a file of the trial.
func (a *abuildTrial) put(t *testing.T, name string) ashlar.Digest {
	t.Helper()
	f, err := os.Open(filepath.Join(a.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	file, err := a.runner.Store.Put(t.Context(), f, "")
	if err != nil {
		t.Fatal(err)
	}
	return file.Digest
}

// readAports stores the tree of recipes and reads each.
func (a *abuildTrial) readAports(t *testing.T) {
	t.Helper()
	a.tree = ashlar.Source{Path: ashlar.SourceDir + "/aports/", Tree: true}
	a.tree.Digest = a.put(t, "aports.tar")
	a.aports = map[string][]byte{}
	f, err := os.Open(filepath.Join(a.dir, "aports.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if path.Base(h.Name) == "APKBUILD" {
			if a.aports[path.Dir(h.Name)], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// sources returns what a lock would pin for a recipe: the tree, and each file that
// the recipe fetches, by its SHA-512.
func (a *abuildTrial) sources(t *testing.T, recipe string) []ashlar.Source {
	t.Helper()
	wanted, err := abuild.Distfiles(a.aports[recipe])
	if err != nil {
		t.Fatal(err)
	}
	list := []ashlar.Source{a.tree}
	for _, w := range wanted {
		d, ok := a.distfiles[w.SHA512]
		if !ok {
			t.Skipf("%s with the SHA-512 of the recipe is not here", w.Name)
		}
		list = append(list, ashlar.Source{Material: ashlar.Material{Name: w.Name, Digest: d}, Path: path.Join(distfiles, w.Name)})
	}
	return list
}

// trialBuild is what came of a build: packages by file name, the log, how the
// package's own tests went, and the time.
type trialBuild struct {
	packages map[string]*apk.V2Package
	log      string
	tests    ashlar.TestResult
	took     time.Duration
}

// run builds in the folder of a recipe by the given steps, and keeps the packages
// in the trial's folder.
func (a *abuildTrial) run(t *testing.T, recipe string, sources []ashlar.Source, v Variation, steps ...string) (*trialBuild, error) {
	t.Helper()
	b := abuildPipeline(t, "work-dir: "+path.Join("${source.dir}/aports", recipe), steps...)
	lock := &ashlar.Lock{Inputs: ashlar.Inputs{Target: alpine, Builds: []ashlar.BuildInputs{{Sources: sources}}}}
	planned, err := planBuild(b, lock, 0, Policy{})
	if err != nil {
		t.Fatal(err)
	}
	planned.Name = recipe
	plan := &Plan{Definition: recipe, Target: alpine, Builds: []BuildPlan{*planned}}
	state := v.prepare(a.root)
	for i := range planned.Steps {
		state = planned.Steps[i].run(state, stepName(recipe, i, &planned.Steps[i]), nil, v)
	}
	out := filepath.Join(a.dir, "packages", t.Name())
	if err := errors.Join(os.RemoveAll(out), os.MkdirAll(filepath.Dir(out), 0o755)); err != nil {
		t.Fatal(err)
	}
	made := llb.Scratch().File(llb.Copy(state, ApkDir, "/", &llb.CopyInfo{CopyDirContentsOnly: true}).
		Copy(state, "/etc/apk/keys/throw-away.rsa.pub", "/"))
	rec := newRecorder(plan, nil, nil)
	start := time.Now()
	err = a.runner.Engine.Solve(t.Context(), made, engine.Request{Blobs: a.runner.Blobs(), Out: out, Progress: rec.event})
	took := time.Since(start)
	if err := os.WriteFile(out+".log", []byte(rec.log()), 0o644); err != nil {
		t.Error(err)
	}
	if err != nil {
		return &trialBuild{log: rec.log()}, err
	}
	return &trialBuild{packages: readTrial(t, out), log: rec.log(), tests: testResult(plan, rec.log()), took: took}, nil
}

// readTrial reads and checks all packages of a folder, signed by the key in it.
func readTrial(t *testing.T, dir string) map[string]*apk.V2Package {
	t.Helper()
	const key = "throw-away.rsa.pub"
	pem, err := os.ReadFile(filepath.Join(dir, key))
	if err != nil {
		t.Fatal(err)
	}
	keys := apk.Keyring{}
	if err := keys.Add(key, pem); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*/*/*.apk"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no packages, %v", err)
	}
	packages := map[string]*apk.V2Package{}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := apk.OpenV2(f, keys)
		if err == nil {
			err = errors.Join(p.Info.Check(), p.Walk(func(_ *apk.Entry, r io.Reader) error {
				_, err := io.Copy(io.Discard, r)
				return err
			}))
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
			continue
		}
		packages[filepath.Base(name)] = p
	}
	return packages
}

// randomNames are the packages whose content depends on chance: into objects for
// link-time optimization gcc writes random names, and static libraries keep them.
var randomNames = []string{"lz4-static", "xxhash-static"}

// digests returns for each package the digests of its control and data parts,
// which no signature is part of.
func (b *trialBuild) digests() map[string]string {
	d := map[string]string{}
	for name, p := range b.packages {
		if slices.Contains(randomNames, p.Info.Name) {
			continue
		}
		d[name] = fmt.Sprintf("%x %x", p.ControlSHA256, p.DataSHA256)
	}
	return d
}

// elsewhere are conditions under which the same packages must come out.
var elsewhere = Variation{Fresh: true, Hostname: "elsewhere", UID: 2345, Umask: "002", Locale: "C", Parallel: 1}

// TestAbuildTrial has the real abuild build unmodified recipes of aports by the
// steps of a definition, in the engine, each twice under other conditions, and
// reads what was made.
func TestAbuildTrial(t *testing.T) {
	a := newAbuildTrial(t)
	steps := []string{"{uses: abuild/setup@v1}", "{uses: abuild/build@v1}", "{uses: abuild/upload@v1}"}
	for _, recipe := range slices.Sorted(maps.Keys(a.aports)) {
		t.Run(recipe, func(t *testing.T) {
			sources := a.sources(t, recipe)
			first, err := a.run(t, recipe, sources, Variation{Fresh: true}, steps...)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d packages, %d files fetched, %.0f s; tests %s: %s (%d passed, %d failed, %d skipped)", len(first.packages), len(sources)-1,
				first.took.Seconds(), first.tests.Outcome, first.tests.Reason, first.tests.Passed, first.tests.Failed, first.tests.Skipped)
			second, err := a.run(t, recipe, sources, elsewhere, steps...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(first.digests(), second.digests()); diff != "" {
				t.Errorf("the second build differs:\n%s", diff)
			}
		})
	}
}

// TestAbuildTrialRefuses changes one byte of a distfile behind the lock's back:
// abuild itself must refuse it.
func TestAbuildTrialRefuses(t *testing.T) {
	a := newAbuildTrial(t)
	const recipe = "main/libestr"
	sources := a.sources(t, recipe)
	b, err := blob.ReadAll(t.Context(), a.runner.Store, sources[1].Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	f, err := a.runner.Store.Put(t.Context(), strings.NewReader(string(b)), "")
	if err != nil {
		t.Fatal(err)
	}
	sources[1].Digest = f.Digest
	built, err := a.run(t, recipe, sources, Variation{Fresh: true}, "{uses: abuild/setup@v1}", "{uses: abuild/build@v1}")
	if !fault.Is(err, fault.Failed) || !strings.Contains(built.log, sources[1].Path+": FAILED") {
		t.Errorf("a changed distfile: error %v, %s", err, built.log)
	}
}

// TestAbuildTrialSteps has the steps that change and write recipes do so for the
// real abuild: a patch, another version and name, subpackages that provide another
// name, no tests; then a package out of ${target.dir} with a configuration for
// images.
func TestAbuildTrialSteps(t *testing.T) {
	a := newAbuildTrial(t)
	const recipe = "main/libestr"
	const hello = "work-dir: '${source.dir}/aports/trial/hello', "
	b, err := a.run(t, recipe, a.sources(t, recipe), Variation{Fresh: true},
		"{uses: abuild/setup@v1, environment: {SOURCE_DATE_EPOCH: '1000000000'}}",
		`{runs: "printf '%s\\n' '--- /dev/null' '+++ b/PATCHED' '@@ -0,0 +1 @@' +patched > new.patch"}`,
		"{uses: abuild/source@v1, with: {source: new.patch}}",
		"{runs: \"sed -i 's/libestr-$pkgver/libestr-0.1.11/g' APKBUILD\"}",
		"{uses: abuild/disable@v1, with: {function: check}}",
		"{uses: abuild/bump@v1, with: {name: libestr-0, version: '0.1.11_git$(date -ud @${SOURCE_DATE_EPOCH} +%Y%m%d)', rel: 3, builddir: $srcdir/libestr-0.1.11, "+
			"provides: libestr=0.1.11-r3, provider_priority: 10, subpackages: {libestr-0-dev: {provides: libestr-dev=0.1.11-r3, replaces: libestr-dev}}}}",
		"{uses: abuild/build@v1, with: {command: deps}}",
		"{uses: abuild/build@v1, with: {command: checksum}}",
		"{uses: abuild/build@v1}",
		`{runs: "mkdir -p ${target.dir}/usr/share/hello && echo salut > ${target.dir}/usr/share/hello/fr"}`,
		"{"+hello+`uses: abuild/apk@v1, with: {name: hello, version: 1.0, rel: 0, description: 'It is "hello"', license: MIT, options: '!check', arch: noarch, `+
			`subpackages: '$pkgname-fr:fr', functions: {fr: "pkgdesc=\"$pkgdesc in French\"\n\namove usr/share/hello/fr"}, oci-config: {environment: {A: "1"}}}}`,
		"{"+hello+"uses: abuild/build@v1}",
		"{uses: abuild/upload@v1}")
	if err != nil {
		t.Fatal(err)
	}
	const version = "0.1.11_git20010909-r3"
	want := map[string][]string{
		"libestr-0-" + version + ".apk":     {"libestr=0.1.11-r3", "so:libestr.so.0=0.0.0"},
		"libestr-0-dev-" + version + ".apk": {"libestr-dev=0.1.11-r3", "pc:libestr=0.1.11"},
		"hello-1.0-r0.apk":                  nil,
		"hello-fr-1.0-r0.apk":               nil,
		"hello-oci-config-1.0-r0.apk":       nil,
	}
	for name, p := range b.packages {
		provides := strings.Fields(apk.FormatDependencies(p.Info.Provides))
		for _, w := range want[name] {
			if !slices.Contains(provides, w) {
				t.Errorf("%s provides %v, want %s", name, provides, w)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(b.packages))); diff != "" {
		t.Error(diff)
	}
	if p := b.packages["libestr-0-dev-"+version+".apk"]; p != nil && apk.FormatDependencies(p.Info.Replaces) != "libestr-dev" {
		t.Errorf("libestr-0-dev replaces %v, want libestr-dev", p.Info.Replaces)
	}
	if !strings.Contains(b.log, "patching file PATCHED") {
		t.Error("the patch was not applied")
	}
}
