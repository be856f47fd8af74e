package build

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
)

// enterRoot runs a script in a root without network, as the engine would.
const enterRoot = `set -eu
mount --make-rprivate /
mount --rbind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
ip link set lo up 2> /dev/null || :
exec chroot "$ROOT" /usr/bin/env -i -C "$DIR" "$@"`

// TestAbuildReal has the real abuild build real recipes by the scripts of the
// steps, each twice under other conditions, and reads what was made.
// ASHLAR_ABUILD_ROOT names a root with abuild, apk and a compiler, the recipes
// under ashlar.SourceDir/aports and their distfiles in /var/cache/distfiles;
// ASHLAR_ABUILD_RECIPES names the recipes, such as "main/zlib main/jq".
func TestAbuildReal(t *testing.T) {
	root, recipes := os.Getenv("ASHLAR_ABUILD_ROOT"), strings.Fields(os.Getenv("ASHLAR_ABUILD_RECIPES"))
	if root == "" || len(recipes) == 0 || os.Getuid() != 0 {
		t.Skip("no root user, or ASHLAR_ABUILD_ROOT and ASHLAR_ABUILD_RECIPES name no root and recipes")
	}
	for _, recipe := range recipes {
		t.Run(recipe, func(t *testing.T) {
			first := buildReal(t, root, recipe, "ASHLAR_PARALLEL=2")
			second := buildReal(t, root, recipe, "ASHLAR_PARALLEL=1", "LC_ALL=C", "TZ=Asia/Tokyo", "DEB_BUILD_OPTIONS=nocheck")
			if diff := cmp.Diff(first, second); diff != "" {
				t.Errorf("the second build differs:\n%s", diff)
			}
			t.Logf("%d packages", len(first))
		})
	}
}

// buildReal builds a recipe and returns for each package the digests of its
// control and data parts, which no signature is part of.
func buildReal(t *testing.T, root, recipe string, env ...string) map[string]string {
	t.Helper()
	dir := path.Join(ashlar.SourceDir, "aports", recipe)
	if err := os.RemoveAll(filepath.Join(root, ApkDir)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"{uses: abuild/setup@v1}", "{uses: abuild/build@v1}", "{uses: abuild/upload@v1}"} {
		runReal(t, root, dir, step, env...)
	}
	digests := map[string]string{}
	for name, p := range readReal(t, root) {
		digests[name] = fmt.Sprintf("%x %x", p.ControlSHA256, p.DataSHA256)
	}
	return digests
}

// runReal runs a step in a folder of a root.
func runReal(t *testing.T, root, dir, step string, env ...string) {
	t.Helper()
	s, err := dispatch(abuildStep(t, step))
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", enterRoot, "sh",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	args = append(args, env...)
	cmd := exec.Command("unshare", append(args, "/bin/sh", "-c", s.Script)...)
	cmd.Env = append(os.Environ(), "ROOT="+root, "DIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", step, err, tail(string(out), 4000))
	}
}

// readReal reads all packages of a root, signed by the key of abuild/setup.
func readReal(t *testing.T, root string) map[string]*apk.V2Package {
	t.Helper()
	const key = "throw-away.rsa.pub"
	pem, err := os.ReadFile(filepath.Join(root, "etc/apk/keys", key))
	if err != nil {
		t.Fatal(err)
	}
	keys := apk.Keyring{}
	if err := keys.Add(key, pem); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(root, ApkDir, "*/*/*.apk"))
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

// TestAbuildRealSteps has the steps that change and write recipes do so for the
// real abuild: a patch, another version and name, subpackages that provide another
// name, no tests; then a package out of ${target.dir} with a configuration for
// images. It needs the recipe main/jq in the root of TestAbuildReal.
func TestAbuildRealSteps(t *testing.T) {
	root := os.Getenv("ASHLAR_ABUILD_ROOT")
	if root == "" || os.Getuid() != 0 {
		t.Skip("no root user, or ASHLAR_ABUILD_ROOT names no root")
	}
	aports := filepath.Join(root, ashlar.SourceDir, "aports")
	target := filepath.Join(root, ashlar.TargetDir)
	for _, dir := range []string{filepath.Join(root, ApkDir), filepath.Join(aports, "trial"), target} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(aports, "trial/jq"), os.DirFS(filepath.Join(aports, "main/jq"))); err != nil {
		t.Fatal(err)
	}
	const patch = "--- a/NEWS.md\n+++ b/NEWS.md\n@@ -1,0 +1,1 @@\n+patched\n"
	if err := os.WriteFile(filepath.Join(aports, "trial/jq/news.patch"), []byte(patch), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(target, "usr/share/hello"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "usr/share/hello/fr"), []byte("salut\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := path.Join(ashlar.SourceDir, "aports/trial/jq")
	for _, step := range []string{
		"{uses: abuild/setup@v1}",
		"{uses: abuild/source@v1, with: {source: news.patch}}",
		"{runs: \"sed -i 's/jq-$pkgver/jq-1.8.2/g' APKBUILD\"}",
		"{uses: abuild/disable@v1, with: {function: check}}",
		"{uses: abuild/bump@v1, with: {name: jq-1, version: '1.8.2_git$(date -ud @${SOURCE_DATE_EPOCH} +%Y%m%d)', rel: 3, builddir: $srcdir/jq-1.8.2, " +
			"provides: jq=1.8.2-r3, provider_priority: 10, subpackages: {jq-1-dev: {provides: jq-dev=1.8.2-r3, replaces: jq-dev}}}}",
		"{uses: abuild/build@v1, with: {command: checksum}}",
		"{uses: abuild/build@v1}",
	} {
		runReal(t, root, dir, step, "SOURCE_DATE_EPOCH=1000000000")
	}
	dir = path.Join(ashlar.SourceDir, "aports/trial/hello")
	if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{
		"{uses: abuild/apk@v1, with: {name: hello, version: 1.0, rel: 0, description: It is \"hello\", license: MIT, options: '!check', arch: noarch, " +
			"subpackages: '$pkgname-fr:fr', functions: {fr: 'pkgdesc=\"$pkgdesc in French\"\n\namove usr/share/hello/fr'}, oci-config: {environment: {A: \"1\"}}}}",
		"{uses: abuild/build@v1}",
		"{uses: abuild/upload@v1}",
	} {
		runReal(t, root, dir, step)
	}
	const version = "1.8.2_git20010909-r3"
	want := map[string][]string{
		"jq-1-" + version + ".apk":     {"jq=1.8.2-r3", "cmd:jq=" + version},
		"jq-1-dev-" + version + ".apk": {"jq-dev=1.8.2-r3", "pc:libjq=1.8.2"},
		"jq-1-doc-" + version + ".apk": nil,
		"hello-1.0-r0.apk":             nil,
		"hello-fr-1.0-r0.apk":          nil,
		"hello-oci-config-1.0-r0.apk":  nil,
	}
	packages := readReal(t, root)
	for name, p := range packages {
		provides := strings.Fields(apk.FormatDependencies(p.Info.Provides))
		for _, w := range want[name] {
			if !slices.Contains(provides, w) {
				t.Errorf("%s provides %v, want %s", name, provides, w)
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(packages))); diff != "" {
		t.Error(diff)
	}
	if p := packages["jq-1-dev-"+version+".apk"]; p != nil && apk.FormatDependencies(p.Info.Replaces) != "jq-dev" {
		t.Errorf("jq-1-dev replaces %v, want jq-dev", p.Info.Replaces)
	}
}

// tail returns the end of a text.
func tail(s string, n int) string { return s[max(0, len(s)-n):] }
