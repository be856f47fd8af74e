package resolve

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var update = flag.Bool("update", false, "write golden files anew")

func sortedStrings(list []string) []string { slices.Sort(list); return list }

const (
	debsrcBuild = `        packages: [debsrc://bookworm/hello]
        files:
          - {url: "debsrc://bookworm/hello", path: "${source.dir}/"}
`
	buildStep = `      pipeline:
        - uses: dpkg/build@v1
          with: {args: -uc -us}
`
)

// lockTests are definitions whose locks are kept in testdata/locks.
var lockTests = []struct {
	name, contents, rest string
	beside               map[string]string
	world                func(t *testing.T, w *testWorld)
}{
	{name: "debsrc", contents: debsrcBuild, rest: buildStep},
	{name: "profiles", contents: debsrcBuild, rest: "      environment: {DEB_BUILD_PROFILES: nocheck}\n" + buildStep},
	{name: "patch by reference", contents: debsrcBuild + `          - {url: "debsrc://trixie/hello#debian/patches/CVE-1.patch", path: "${source.dir}/patch/"}
          - {url: "debsrc://trixie/hello#README", path: "${source.dir}/README", mode: "0600", uid: 7}
`, rest: buildStep},
	{name: "beside", contents: debsrcBuild, rest: `      paths:
        - {type: file, path: "${source.dir}/a.patch", source: package/deb/main/hello/patch/a.patch, mode: "0755"}
        - {type: directory, path: "${source.dir}/${source.name}", source: package/deb/main/hello/debian}
        - {type: file, path: /etc/x, content: x}
`, beside: map[string]string{
		"package/deb/main/hello/patch/a.patch":   "a",
		"package/deb/main/hello/debian/rules":    "r",
		"package/deb/main/hello/debian/sub/file": "f",
	}},
	{name: "files", contents: `        packages: [libz-dev=2, '!check']
        files:
          - {url: "https://example.org/plain.tar.gz", checksum: "sha256:` + ashlar.DigestOf([]byte("plain")).Hex() + `", path: "${source.dir}/plain.tgz"}
          - {url: "https://example.org/listed.tar.gz", checksum: "https://example.org/SHA256SUMS", path: "${source.dir}/"}
          - {url: "https://example.org/bare.tar.gz", path: "${source.dir}/"}
          - {url: "git+https://example.org/repo.git#0123456789012345678901234567890123456789", path: "${source.dir}/repo"}
`, world: func(_ *testing.T, w *testWorld) {
		w.pool.files["https://example.org/plain.tar.gz"] = []byte("plain")
		w.pool.files["https://example.org/listed.tar.gz"] = []byte("listed")
		w.pool.files["https://example.org/SHA256SUMS"] = []byte(ashlar.DigestOf([]byte("listed")).Hex() + "  listed.tar.gz\n")
		w.pool.files["https://example.org/bare.tar.gz"] = []byte("bare")
		w.pool.files["git+https://example.org/repo.git#0123456789012345678901234567890123456789"] = []byte("tree")
	}},
	{name: "dsc by address", contents: dscFiles("mirror://debian/pool/main/h/hello/"), rest: buildStep},
	{name: "unknown dsc without build-depends", contents: dscFiles("mirror://debian/pool/main/h/hello/"),
		rest: strings.Replace(buildStep, "-uc -us", "-uc -us -d", 1),
		world: func(_ *testing.T, w *testWorld) {
			w.arch.refs["bookworm"] = nil
		}},
	{name: "includes", contents: debsrcBuild, rest: buildStep + "includes: [common/a.yaml, common/b.yaml]\n", beside: map[string]string{
		"common/a.yaml": "includes: [common/b.yaml]\nvars: {A: a}\n",
		"common/b.yaml": "vars: {B: b}\n",
	}},
	{name: "source fallback", contents: debsrcBuild, rest: buildStep, world: func(t *testing.T, w *testWorld) {
		w.addSource(t, "bookworm", "hello", "1:2.0-2", "Build-Depends: libz-dev")
		delete(w.pool.files, "mirror://debian/pool/main/h/hello/hello_2.0-2.debian.tar.gz")
	}},
	{name: "package fallback", contents: debsrcBuild, rest: buildStep, world: func(_ *testing.T, w *testWorld) {
		delete(w.pool.files, "mirror://debian/pool/libz_3_amd64.deb")
	}},
}

// dscFiles are the files of the hello of bookworm, by address.
func dscFiles(base string) string {
	text := "        packages: [check]\n        files:\n"
	for _, n := range []string{"hello_2.0-1.dsc", "hello_2.0-1.debian.tar.gz", "hello_2.0.orig.tar.gz"} {
		text += `          - {url: "` + base + n + `", path: "${source.dir}/` + n + "\"}\n"
	}
	return text
}

func TestLock(t *testing.T) {
	for _, tt := range lockTests {
		t.Run(tt.name, func(t *testing.T) {
			def := testDefinition(t, tt.contents, tt.rest, tt.beside)
			var first []byte
			for range 2 { // the same inputs give the same bytes
				w := newTestWorld(t)
				if tt.world != nil {
					tt.world(t, w)
				}
				got := encodeLock(t, def, w)
				if first == nil {
					first = got
				}
				if diff := cmp.Diff(string(first), string(got)); diff != "" {
					t.Fatalf("two locks differ:\n%s", diff)
				}
			}
			golden := filepath.Join("testdata", "locks", strings.ReplaceAll(tt.name, " ", "-")+".json")
			if *update {
				if err := os.MkdirAll(filepath.Dir(golden), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(golden, first, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(first)); diff != "" {
				t.Errorf("-want +got (run with -update if it is right):\n%s", diff)
			}
		})
	}
}

// encodeLock makes a lock, and checks that it can be read back, is fresh, and
// that its files are all in the store.
func encodeLock(t *testing.T, def *catalog.Expanded, w *testWorld) []byte {
	t.Helper()
	ctx := context.Background()
	lock, err := Lock(ctx, def, w.World)
	if err != nil {
		t.Fatal(err)
	}
	b, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if lock, err = ashlar.DecodeLock(b); err != nil {
		t.Fatal(err)
	}
	if err := Fresh(t.Context(), lock, def); err != nil {
		t.Error(err)
	}
	for _, m := range lock.Materials() {
		if size, err := w.Store.Stat(ctx, m.Digest); err != nil || size != m.Size {
			t.Errorf("%s: %d bytes in the store, %d in the lock, %v", m.URI, size, m.Size, err)
		}
	}
	return b
}

func TestLockErrors(t *testing.T) {
	for _, tt := range []struct {
		name, contents, rest string
		world                func(w *testWorld)
		kind                 fault.Kind
		want                 []string
	}{
		{"no such source", strings.ReplaceAll(debsrcBuild, "hello", "nothing"), "", nil, fault.NotFound, []string{"1.yaml:12", `no source package "nothing"`}},
		{"no such version", strings.ReplaceAll(debsrcBuild, "/hello", "/hello@9-9"), "", nil, fault.NotFound, []string{"1.yaml:12", "no version 9-9", "1:2.0-1"}},
		{"malformed", strings.ReplaceAll(debsrcBuild, "/hello", "/../hello"), "", nil, fault.Invalid, []string{"1.yaml:12", "does not name a Debian source"}},
		{"no version in the pool", debsrcBuild, "", func(w *testWorld) {
			delete(w.pool.files, "mirror://debian/pool/main/h/hello/hello_2.0-1.dsc")
		}, fault.Unavailable, []string{"1.yaml:12", "the pool does not have hello_2.0-1.dsc"}},
		{"no such patch", debsrcBuild + "          - {url: 'debsrc://trixie/hello#debian/patches/no.patch', path: /x}\n", "", nil, fault.NotFound, []string{"1.yaml:13", "no file debian/patches/no.patch"}},
		{"wrong checksum", "        files:\n          - {url: 'https://example.org/a', checksum: 'sha256:" + strings.Repeat("0", 64) + "', path: /x}\n", "", func(w *testWorld) {
			w.pool.files["https://example.org/a"] = []byte("a")
		}, fault.Invalid, []string{"1.yaml:11", strings.Repeat("0", 64)}},
		{"missing file", "        files:\n          - {url: 'https://example.org/a', path: /x}\n", "", nil, fault.NotFound, []string{"1.yaml:11"}},
		{"file of the .dsc missing", dscFiles("mirror://debian/pool/main/h/hello/")[:strings.Index(dscFiles("mirror://debian/pool/main/h/hello/"), "          - {url: \"mirror://debian/pool/main/h/hello/hello_2.0.orig")], "", nil, fault.Invalid, []string{"hello_2.0.orig.tar.gz"}},
		{"bad package entry", "        packages: ['a b']\n", "", nil, fault.Invalid, []string{"1.yaml:8", `"a b"`}},
		{"package that is not there", "        packages: [nothing]\n", "", nil, fault.Conflict, []string{"1.yaml:8", "nothing not available"}},
		{"all of a package's versions gone", "        packages: [texinfo]\n", "", func(w *testWorld) {
			delete(w.pool.files, "mirror://debian/pool/texinfo_1_amd64.deb")
		}, fault.Unavailable, []string{"not in the pool: texinfo 1"}},
		{"local file outside", "        packages: [check]\n", "      paths:\n        - {type: file, path: /x, source: ../../etc/passwd}\n", nil, fault.Invalid, []string{"../../etc/passwd"}},
		{"a cache", "        packages: [check]\n", "      caches: [{path: /root/.cache}]\n", nil, fault.Invalid, []string{"has caches, which is not supported yet"}},
		{"an image as base", "        packages: [check]\n", "      uses: example.org/x@sha256:00\n", nil, fault.Invalid, []string{"has uses, which is not supported yet"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			def := testDefinition(t, tt.contents, tt.rest, nil)
			w := newTestWorld(t)
			if tt.world != nil {
				tt.world(w)
			}
			_, err := Lock(context.Background(), def, w.World)
			if !fault.Is(err, tt.kind) {
				t.Errorf("kind %s, want %s", fault.KindOf(err), tt.kind)
			}
			for _, part := range tt.want {
				if err == nil || !strings.Contains(err.Error(), part) {
					t.Errorf("error %v\ndoes not say %q", err, part)
				}
			}
		})
	}
}

func TestLockPlanOnly(t *testing.T) {
	w := newTestWorld(t)
	w.PlanOnly = true
	lock, err := Lock(context.Background(), testDefinition(t, debsrcBuild, buildStep, nil), w.World)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.pool.asked) > 0 {
		t.Errorf("fetched %v", w.pool.asked)
	}
	w.PlanOnly = false
	full, err := Lock(context.Background(), testDefinition(t, debsrcBuild, buildStep, nil), w.World)
	if diff := cmp.Diff(full, lock); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestCheck(t *testing.T) {
	ctx := context.Background()
	tt := lockTests[2] // with a patch by reference
	def := testDefinition(t, tt.contents, tt.rest, nil)
	lock, err := Lock(ctx, def, newTestWorld(t).World)
	if err != nil {
		t.Fatal(err)
	}

	w := newTestWorld(t) // nothing in its store
	if err := Check(ctx, lock, def, w.World); err != nil {
		t.Fatal(err)
	}
	for _, m := range lock.Materials() {
		if _, err := w.Store.Stat(ctx, m.Digest); err != nil {
			t.Error(err)
		}
	}
	asked := len(w.pool.asked)
	if err := Check(ctx, lock, nil, w.World); err != nil || len(w.pool.asked) != asked {
		t.Errorf("second check: %v, %d fetched", err, len(w.pool.asked)-asked)
	}

	gone := newTestWorld(t)
	delete(gone.pool.files, "mirror://debian/pool/gcc_12_amd64.deb")
	delete(gone.pool.files, "mirror://debian/pool/main/h/hello/hello_2.1-3.debian.tar.gz")
	err = Check(ctx, lock, def, gone.World)
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "gcc_12") || !strings.Contains(err.Error(), "CVE-1.patch") {
		t.Errorf("files that are gone: %v", err)
	}

	other := newTestWorld(t)
	other.pool.files["mirror://debian/pool/gcc_12_amd64.deb"] = []byte("something else")
	if err := Check(ctx, lock, def, other.World); !fault.Is(err, fault.Invalid) {
		t.Errorf("another content: %v", err)
	}
	if err := Check(ctx, lock, nil, newTestWorld(t).World); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "catalog:") {
		t.Errorf("no definition at hand: %v", err)
	}
}

func TestFresh(t *testing.T) {
	w := newTestWorld(t)
	def := testDefinition(t, debsrcBuild, buildStep, nil)
	lock, err := Lock(context.Background(), def, w.World)
	if err != nil {
		t.Fatal(err)
	}
	if err := Fresh(t.Context(), lock, testDefinition(t, debsrcBuild, buildStep, nil)); err != nil {
		t.Error(err)
	}
	if err := Fresh(t.Context(), lock, testDefinition(t, debsrcBuild, "", nil)); !fault.Is(err, fault.Conflict) {
		t.Errorf("changed definition: %v", err)
	}
	const name = "common/a.yaml"
	with := func(text string) *catalog.Expanded {
		return testDefinition(t, debsrcBuild, buildStep+"includes: ["+name+"]\n", map[string]string{name: text})
	}
	included, err := Lock(context.Background(), with("vars: {A: a}\n"), w.World)
	if err != nil {
		t.Fatal(err)
	}
	if err := Fresh(t.Context(), included, with("vars: {A: a}\n")); err != nil {
		t.Error(err)
	}
	if err := Fresh(t.Context(), included, with("vars: {A: b}\n")); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), name) {
		t.Errorf("changed include: %v", err)
	}
	included.Inputs.Includes = nil
	if err := Fresh(t.Context(), included, with("vars: {A: a}\n")); !fault.Is(err, fault.Conflict) {
		t.Errorf("a lock without the include: %v", err)
	}
	beside := func(text string, more ...string) *catalog.Expanded {
		files := map[string]string{"package/d/a": text}
		for _, name := range more {
			files[name] = ""
		}
		return testDefinition(t, debsrcBuild, "      paths: [{type: directory, path: /d, source: package/d}]\n"+buildStep, files)
	}
	local, err := Lock(t.Context(), beside("a"), w.World)
	if err != nil {
		t.Fatal(err)
	}
	if err := Fresh(t.Context(), local, beside("a")); err != nil {
		t.Error(err)
	}
	if err := Fresh(t.Context(), local, beside("b")); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "package/d/a") {
		t.Errorf("changed file beside the definition: %v", err)
	}
	if err := Fresh(t.Context(), local, beside("a", "package/d/b")); !fault.Is(err, fault.Conflict) {
		t.Errorf("another file beside the definition: %v", err)
	}
	lock.Inputs.Target.Arch = "arm64"
	if err := Fresh(t.Context(), lock, def); !fault.Is(err, fault.Conflict) {
		t.Errorf("other target: %v", err)
	}
}

func TestParseDebSrc(t *testing.T) {
	for uri, want := range map[string]DebSrc{
		"debsrc://bookworm/bzip2":                                {Suite: "bookworm", Name: "bzip2"},
		"debsrc://bookworm-security/libpng1.6@1.6.39-2+deb12u1":  {Suite: "bookworm-security", Name: "libpng1.6", Version: "1.6.39-2+deb12u1"},
		"debsrc://trixie/g++@1:2~x#debian/patches/a/b.patch":     {Suite: "trixie", Name: "g++", Version: "1:2~x", File: "debian/patches/a/b.patch"},
		"debsrc://trixie/bzip2#debian/patches/CVE-2026-1.patch2": {Suite: "trixie", Name: "bzip2", File: "debian/patches/CVE-2026-1.patch2"},
	} {
		got, err := ParseDebSrc(uri)
		if err != nil || got != want || got.String() != uri {
			t.Errorf("%s: %+v %v", uri, got, err)
		}
	}
	for _, uri := range []string{"debsrc://", "debsrc://a", "debsrc://a/b@", "debsrc://a/bb#", "debsrc://a/bb#../x", "debsrc://a/bb#/x", "debsrc://A/bb", "debsrc://a/bb/cc", "https://a/bb", "debsrc://a/bb@x y"} {
		if d, err := ParseDebSrc(uri); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %+v %v", uri, d, err)
		}
	}
}

// TestPinned loads a definition from its lock and the store, without its catalog.
func TestPinned(t *testing.T) {
	const name = "common/a.yaml"
	w := newTestWorld(t)
	def := testDefinition(t, debsrcBuild, buildStep+"includes: ["+name+"]\n", map[string]string{name: "vars: {SHADE: dark}\n"})
	lock, err := Lock(t.Context(), def, w.World)
	if err != nil {
		t.Fatal(err)
	}
	text, err := blob.ReadAll(t.Context(), w.Store, lock.Inputs.Definition.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Pinned(lock, def.Definition.Path, text, func(m ashlar.Material) ([]byte, error) {
		return blob.ReadAll(t.Context(), w.Store, m.Digest, 1<<20)
	})
	if err != nil || got.Vars["SHADE"] != "dark" || got.Vars["COLOUR"] != "red" {
		t.Errorf("%v, %v", got, err)
	}
	_, err = Pinned(lock, def.Definition.Path, text, func(ashlar.Material) ([]byte, error) { return []byte("vars: {SHADE: light}\n"), nil })
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("another text: %v", err)
	}
	lock.Inputs.Includes = nil
	if _, err := Pinned(lock, def.Definition.Path, text, nil); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), name) {
		t.Errorf("a lock from before includes were pinned: %v", err)
	}
}

// TestProfiles: the root has what every run of dpkg-buildpackage checks for under
// its own build profiles; "check" is wanted unless nocheck is active.
func TestProfiles(t *testing.T) {
	const plain = "      pipeline:\n        - uses: dpkg/build@v1\n"
	for _, tt := range []struct {
		name, rest string
		want       bool
	}{
		{"none", plain, true},
		{"variable", "      environment: {DEB_BUILD_PROFILES: nocheck}\n" + plain, false},
		{"argument", plain + "          with: {args: -uc -Pnocheck}\n", false},
		{"long argument", plain + "          with: {args: '--build-profiles=nodoc,nocheck'}\n", false},
		{"the step's variable takes the place of the build's", "      environment: {DEB_BUILD_PROFILES: nocheck}\n" + plain + "          environment: {DEB_BUILD_PROFILES: nodoc}\n", true},
		{"a second run without", plain + "          with: {args: -Pnocheck}\n        - uses: dpkg/build@v1\n", true},
		{"a second run that does not check", plain + "          with: {args: -Pnocheck}\n        - {uses: dpkg/build@v1, with: {args: -d}}\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			contents := strings.Replace(debsrcBuild, "packages: [debsrc://bookworm/hello]", "packages: []", 1)
			lock, err := Lock(t.Context(), testDefinition(t, contents, tt.rest, nil), newTestWorld(t).World)
			if err != nil {
				t.Fatal(err)
			}
			got := slices.ContainsFunc(lock.Inputs.Builds[0].Root.Packages(), func(p ashlar.RootPackage) bool { return p.Name == "check" })
			if got != tt.want {
				t.Errorf("the root has check: %v", got)
			}
		})
	}
}
