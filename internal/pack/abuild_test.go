package pack

import (
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
)

// The tests named TestRealAbuild… let the shell functions of Alpine's own abuild
// split and scan the same trees. ASHLAR_ABUILD names the script, abuild or its
// source abuild.in; besides, busybox, scanelf of pax-utils and pkg-config have to
// be there, and apk 2.14 by ASHLAR_APK2, as abuild asks it for versions.

// abuildFunctions are those that are taken out of the script. What they call
// besides is in abuildHead.
var abuildFunctions = []string{
	"amove", "subpkg_set", "subpkg_unset", "list_has", "options_has", "subpackages_has", "subpackage_types_has",
	"default_dev", "default_doc", "default_static", "default_libs", "default_openrc", "default_systemd", "default_udev", "default_devhelp",
	"default_bashcomp", "default_zshcomp", "default_fishcomp", "default_pyc", "default_nftrules", "default_lang",
	"prepare_trace_rpaths", "prepare_symlinks", "pc_to_apk_ver", "prepare_pkgconfig_provides", "prepare_command_provides", "prepare_py_provides",
	"find_scanelf_paths", "scan_shared_objects", "normalize_target_path", "scan_symlink_targets", "scan_python3_dependency", "scan_pkgconfig_depends",
}

const abuildHead = `
msg() { :; }
warning() { echo "warning: $*" >&2; }
error() { echo "error: $*" >&2; }
die() { echo "error: $*" >&2; exit 1; }
pkgdir=$pkgbasedir/$pkgname pkgarch=x86_64 CARCH=x86_64 CHOST=x CBUILD=y CBUILD_ARCH=z CTARGET=v CTARGET_ARCH=w APK=apk
`

// abuildTail does what prepare_subpackages, prepare_package and create_apks do.
const abuildTail = `
set -e
for i in $subpackages $pkgname; do
	subpkg_set "$i"
	controldir=$pkgbasedir/.control.$subpkgname
	mkdir -p "$controldir"
	subpkgdir=
	if [ "$i" != "$pkgname" ]; then
		subpkgdir=$pkgbasedir/$subpkgname
		mkdir -p "$subpkgdir"
		cd "$pkgdir"
		default_$subpkgsplit >/dev/null
	fi
	prepare_trace_rpaths
	prepare_symlinks
	prepare_pkgconfig_provides
	prepare_command_provides
	prepare_py_provides
done
for i in $subpackages $pkgname; do
	subpkg_set "$i"
	dir=$pkgbasedir/.control.$subpkgname
	datadir=$pkgbasedir/$subpkgname
	scan_shared_objects "$subpkgname" "$dir" "$datadir"
	scan_symlink_targets "$subpkgname" "$dir" "$datadir"
	scan_python3_dependency "$subpkgname" "$dir" "$datadir"
	scan_pkgconfig_depends "$subpkgname" "$dir" "$datadir"
done
`

// abuildScript returns a script that splits and scans as abuild does, and a folder
// with the programs that it calls.
func abuildScript(t *testing.T) (script, programs string) {
	t.Helper()
	where, apk2 := os.Getenv("ASHLAR_ABUILD"), os.Getenv("ASHLAR_APK2")
	if where == "" || apk2 == "" {
		t.Skip("ASHLAR_ABUILD and ASHLAR_APK2 do not name abuild and apk")
	}
	text, err := os.ReadFile(where)
	if err != nil {
		t.Fatal(err)
	}
	programs = t.TempDir()
	for _, name := range []string{"busybox", "scanelf", "pkg-config"} {
		program, err := exec.LookPath(name)
		if err != nil {
			t.Skipf("there is no %s", name)
		}
		if name == "busybox" {
			mustRun(t, program, "--install", "-s", programs)
		}
		os.Symlink(program, filepath.Join(programs, name))
	}
	if err := os.Symlink(apk2, filepath.Join(programs, "apk")); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(abuildHead)
	for _, name := range abuildFunctions {
		_, after, found := strings.Cut(string(text), "\n"+name+"() {\n")
		body, _, ends := strings.Cut(after, "\n}\n")
		if !found || !ends {
			t.Fatalf("%s has no function %s", where, name)
		}
		b.WriteString(name + "() {\n" + body + "\n}\n")
	}
	b.WriteString(abuildTail)
	return b.String(), programs
}

// facts are what a package has, provides and needs.
type facts struct{ Files, Provides, Needs []string }

// byAbuild lets abuild split and scan the files of the main package.
func byAbuild(t *testing.T, script, programs string, spec *Spec, files []*file, tree *Tree) map[string]facts {
	t.Helper()
	base := t.TempDir()
	writeFiles(t, filepath.Join(base, spec.Name), files, tree)
	var subpackages []string
	for _, p := range spec.Packages[1:] {
		subpackages = append(subpackages, p.Name)
	}
	// pkg-config wants to find what is required.
	pcs := t.TempDir()
	for _, name := range []string{"w", "z"} {
		if err := os.WriteFile(filepath.Join(pcs, name+".pc"), []byte("Name: x\nDescription: x\nVersion: 9\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	writeFiles(t, pcs, slices.DeleteFunc(slices.Clone(files), func(f *file) bool { return !strings.HasSuffix(f.path, ".pc") }), tree)
	pcs += ":" + filepath.Join(pcs, "usr/lib/pkgconfig") + ":" + filepath.Join(pcs, "usr/share/pkgconfig")
	cmd := exec.Command(filepath.Join(programs, "busybox"), "sh", "-c", script)
	cmd.Env = []string{
		"PATH=" + programs, "pkgbasedir=" + base, "pkgname=" + spec.Name, "pkgver=" + spec.Version, "pkgrel=" + spec.Release,
		"PKG_CONFIG_PATH=" + pcs, "subpackages=" + strings.Join(subpackages, " "), "options=" + strings.Join(spec.Options, " "),
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("abuild: %v\n%s", err, out)
	}
	all := map[string]facts{}
	for _, name := range append(subpackages, spec.Name) {
		control := filepath.Join(base, ".control."+name)
		f := facts{
			Files:    listFiles(t, filepath.Join(base, name)),
			Provides: lines(t, control, "", ".provides-so", ".provides-pc", ".provides-command", ".provides-py"),
			Needs: slices.Concat(lines(t, control, "so:", ".needs-so"), lines(t, control, "pc:", ".needs-pc"),
				lines(t, control, "", ".needs-symlinks", ".needs-python3")),
		}
		for _, dir := range pkgConfigFolders { // as trace_apk_deps has it
			if _, err := os.Stat(filepath.Join(base, name, dir)); err == nil {
				f.Needs = append(f.Needs, "pkgconfig")
			}
		}
		all[name] = f.sorted()
	}
	return all
}

// sorted returns the same facts with every word once and in order.
func (f facts) sorted() facts {
	for _, list := range []*[]string{&f.Files, &f.Provides, &f.Needs} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return f
}

// lines returns the lines of those files in a folder that exist.
func lines(t *testing.T, dir, prefix string, names ...string) []string {
	t.Helper()
	var list []string
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			list = append(list, prefix+strings.TrimSpace(line))
		}
	}
	return list
}

// listFiles returns what is below a folder, without folders.
func listFiles(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	if err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			list = append(list, strings.TrimPrefix(name, dir+"/"))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// writeFiles writes files below a folder.
func writeFiles(t *testing.T, dir string, files []*file, tree *Tree) {
	t.Helper()
	written := map[*content]string{}
	for _, f := range files {
		name := filepath.Join(dir, f.path)
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		switch first := written[f.node.content]; {
		case err != nil:
		case f.node.kind == directory:
			err = os.MkdirAll(name, 0o755)
		case f.node.kind == symlink:
			err = os.Symlink(f.node.target, name)
		case first != "":
			err = os.Link(first, name)
		default:
			var b []byte
			if b, err = io.ReadAll(tree.open(f.node.content)); err == nil {
				err = os.WriteFile(name, b, os.FileMode(f.mode&0o777))
			}
			written[f.node.content] = name
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// byUs returns the same facts as our own code finds them.
func byUs(t *testing.T, tree *Tree, spec *Spec) map[string]facts {
	t.Helper()
	o := testOptions()
	o.Exceptions = []Exception{
		{Checks: append(elfcheck.Checks(), CheckLoader), Pattern: "usr/", Reason: "only a test"},
		{Checks: append(elfcheck.Checks(), CheckLoader), Pattern: "lib/", Reason: "only a test"},
		{Checks: append(elfcheck.Checks(), CheckLoader), Pattern: "opt/", Reason: "only a test"},
	}
	set, err := Assemble(tree, spec, o)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]facts{}
	for _, b := range set.Packages {
		words := func(list []apk.Dependency) (texts []string) {
			for _, d := range list {
				texts = append(texts, d.String())
			}
			return texts
		}
		f := facts{Files: append([]string(nil), strings.Fields(b.list())...), Provides: words(b.apk.Provides), Needs: words(b.apk.Depends)}
		if strings.HasSuffix(b.Name, "-static") { // what is written there is no need that was found
			f.Needs = nil
		}
		all[b.Name] = f.sorted()
	}
	return all
}

// compareWithAbuild wants both to come to the same facts.
func compareWithAbuild(t *testing.T, script, programs string, tree *Tree, spec *Spec) map[string]facts {
	t.Helper()
	one := *spec // the main package with everything, for abuild to split
	one.Packages = slices.Clone(spec.Packages[:1])
	sets, err := tree.take(&one, APK)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Packages[0].Rules == nil {
		tree.rest(spec, sets[spec.Name], nil)
	}
	want := byAbuild(t, script, programs, spec, sets[spec.Name].sorted(), tree)
	got := byUs(t, tree, spec)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if diff := cmp.Diff(want[name], got[name]); diff != "" {
			t.Errorf("package %s (-abuild +ours):\n%s", name, diff)
		}
	}
	return got
}

const allSplits = "formats: [apk]\nsubpackages: [{name: stone-dev}, {name: stone-doc}, {name: stone-static}, {name: stone-libs}, {name: stone-openrc}, " +
	"{name: stone-systemd}, {name: stone-udev}, {name: stone-bash-completion}, {name: stone-zsh-completion}, {name: stone-fish-completion}, " +
	"{name: stone-lang}, {name: stone-pyc}, {name: stone-devhelp}, {name: stone-nftrules}]\n"

// abuildLibrary is what library has as far as abuild knows of it, and real
// contents of what is scanned.
func abuildLibrary() *testTar {
	return newTar().program("usr/bin/x-config", "#!").program("usr/bin/x", so("", "$ORIGIN/../lib/x:/usr/lib/y", "libx.so.1", "libpriv.so", musl)).
		file("usr/include/x.h", "").file("usr/include/x/y.hpp", "").file("usr/share/x/include/z", "").file("usr/share/x/data.c", "").
		file("usr/lib/libx.so.1.2.3", so("libx.so.1", "", musl)).link("usr/lib/libx.so.1", "libx.so.1.2.3").link("usr/lib/libx.so", "libx.so.1").
		file("usr/lib/libnover.so", so("libnover.so", "", "libx.so.1")).link("usr/lib/libelse.so", "../../opt/none.so").
		file("usr/lib/x/libpriv.so", so("libpriv.so", "")).file("usr/lib/x/plugin.so", so("", "", "libm.so.6")).file("usr/lib/x/other.so.5", so("liboth.so.5", "")).
		file("usr/lib/libx.a", "!<arch>\n").file("usr/lib/x/start.o", "").file("usr/lib/x.prl", "").
		file("usr/lib/pkgconfig/x.pc", "Name: x\nDescription: x\nVersion: 1.2\nRequires: y z >= 2-rc1\nRequires.private: w\n").
		file("usr/share/pkgconfig/y.pc", "prefix=/usr\nver=v3.beta2\nName: y\nDescription: y\nVersion: ${ver}\nProvides: yy = 7, yyy\n").
		link("usr/lib/pkgconfig/x-1.pc", "x.pc").file("usr/lib/cmake/x/x.cmake", "").file("usr/share/cmake/m.cmake", "").file("usr/share/aclocal/x.m4", "").
		file("usr/share/gettext/a", "").file("usr/share/vala/vapi/a", "").file("usr/share/gir-1.0/a", "").file("usr/share/qt6/mkspecs/a", "").
		file("usr/share/doc/x/README", "").file("usr/share/info/x.info", "").file("usr/share/info/dir", "").file("usr/share/licenses/x/MIT", "").
		file("usr/share/gtk-doc/html/x", "").file("usr/share/help/C/x", "").file("usr/share/html/x", "").file("usr/share/man/man1/x.1.gz", "").
		file("etc/conf.d/x", "").program("etc/init.d/x", "").file("etc/x.conf", "").file("etc/user/init.d/x", "").
		file("usr/share/bash-completion/completions/x", "").file("usr/share/bash-completion/helpers/x", "").file("usr/share/zsh/site-functions/_x", "").
		file("usr/share/fish/vendor_completions.d/x.fish", "").file("usr/share/fish/completions/y.fish", "").file("usr/share/locale/de/x.mo", "").
		file("usr/lib/python3.13/site-packages/x/__pycache__/a.pyc", "").file("usr/lib/python3.13/site-packages/x/__init__.py", "").
		file("usr/lib/python3.13/site-packages/one.py", "").file("usr/lib/python3.13/site-packages/ns/a.py", "").
		file("usr/lib/systemd/system/x.service", "").file("usr/lib/udev/rules.d/x.rules", "").
		file("usr/share/devhelp/books/x", "").file("usr/share/nftables.avail/x.nft", "").file("usr/share/nftables.avail/README", "").
		link("usr/bin/y", "x").link("sbin/z", "/usr/bin/x").link("usr/share/x/lib", "../../lib/libx.so.1").link("usr/share/x/man", "/usr/share/man/man1").
		file("usr/bin/.hidden", "").program("usr/bin/a@b", "").program("bin/[", "")
}

func TestRealAbuild(t *testing.T) {
	script, programs := abuildScript(t)
	for name, c := range map[string]struct {
		tar  *testTar
		with string
	}{
		"all splits":           {abuildLibrary(), stone + allSplits},
		"for developers alone": {abuildLibrary(), stone + "formats: [apk]\nsubpackages: [{name: stone-dev}]\n"},
		"static before dev":    {abuildLibrary(), stone + "formats: [apk]\nsubpackages: [{name: stone-static}, {name: stone-dev}]\n"},
		"libs first":           {abuildLibrary(), stone + "formats: [apk]\nsubpackages: [{name: stone-libs}, {name: stone-libs-dev}, {name: stone-libs-static}]\n"},
		"not split":            {abuildLibrary(), stone + "formats: [apk]\nfiles: [.]\n"},
		"ldpath-recursive":     {abuildLibrary(), stone + "formats: [apk]\nfiles: [.]\napk: {options: ldpath-recursive}\n"},
		"sover-namecheck":      {abuildLibrary().file("usr/lib/libq.so", so("libq.so.6", "")), stone + "formats: [apk]\nfiles: [.]\napk: {options: sover-namecheck}\n"},
		"no sover-namecheck":   {abuildLibrary().file("usr/lib/libq.so", so("libq.so.6", "")), stone + "formats: [apk]\nfiles: [.]\n"},
		"the C library": {
			newTar().program("lib/ld-musl-x86_64.so.1", so(musl, "")).link("lib/"+musl, "ld-musl-x86_64.so.1").link("usr/lib/libc.so", "/lib/ld-musl-x86_64.so.1"),
			stone + "formats: [apk]\nsubpackages: [{name: stone-dev}]\n",
		},
		"a versioned file behind a versioned link": {
			newTar().file("usr/lib/libc-2.40.so", so("libq.so.6", "")).link("usr/lib/libq.so.6", "libc-2.40.so"), stone + "formats: [apk]\nfiles: [usr]\n",
		},
		"Python of old": {
			newTar().file("usr/lib/python2.7/site-packages/old.py", "").file("usr/lib/python3.12/site-packages/new.py", ""), stone + "formats: [apk]\nfiles: [usr]\n",
		},
		"RPATH of one package, libraries of another": {
			newTar().program("usr/bin/x", so("", "/opt/x/lib", "libpriv.so.1")).file("opt/x/lib/libpriv.so.1", so("libpriv.so.1", "")).
				file("opt/x/lib/deep/libdeep.so.1", so("libdeep.so.1", "")), stone + "formats: [apk]\nfiles: [.]\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			compareWithAbuild(t, script, programs, c.tar.tree(t), spec(t, c.with))
		})
	}
}

// The same with what is installed on the machine, laid out as Alpine does it.
func TestRealAbuildDebian(t *testing.T) {
	script, programs := abuildScript(t)
	if _, err := exec.LookPath("dpkg-query"); err != nil {
		t.Skip("there is no dpkg")
	}
	for _, names := range []string{
		"zlib1g zlib1g-dev", "libssl3 libssl-dev openssl", "libc6 libc6-dev", "libstdc++6", "perl-base", "bash", "coreutils", "git", "gcc-12 cpp-12", "libpkgconf3 pkgconf",
		"python3 python3-minimal libpython3.11-stdlib", "libsystemd0 systemd", "libgnutls30", "binutils-common libbinutils binutils-x86-64-linux-gnu", "openssh-client", "curl libcurl4",
	} {
		t.Run(names, func(t *testing.T) {
			out, err := run(t, append([]string{"dpkg-query", "-L"}, strings.Fields(names)...)...)
			if err != nil {
				t.Skipf("not all is installed")
			}
			tree := machineTree(t, strings.Fields(out))
			with := stone + "formats: [apk]\nsubpackages: [" + fittingSplits(t, tree) + "]\n"
			if strings.HasSuffix(with, "[]\n") {
				with = stone + "formats: [apk]\nfiles: [.]\n"
			}
			all := compareWithAbuild(t, script, programs, tree, spec(t, with))
			words := 0
			for _, f := range all {
				words += len(f.Provides) + len(f.Needs)
			}
			t.Logf("%d packages, %d words", len(all), words)
		})
	}
}

// machineTree returns a tree of files of the machine. Multiarch folders are taken
// away, and the old folders beside usr are part of it.
func machineTree(t *testing.T, names []string) *Tree {
	t.Helper()
	a := newTar()
	seen := map[string]bool{}
	slices.Sort(names)
	for _, name := range names {
		to := strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/x86_64-linux-gnu", "")
		for _, dir := range []string{"bin/", "sbin/", "lib/", "lib64/"} {
			if strings.HasPrefix(to, dir) {
				to = "usr/" + to
			}
		}
		info, err := os.Lstat(name)
		if err != nil || seen[to] || !strings.Contains(to, "/") || strings.ContainsAny(to, " @") {
			continue
		}
		seen[to] = true
		switch {
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(name)
			if err != nil {
				t.Fatal(err)
			}
			a.link(to, strings.ReplaceAll(target, "/x86_64-linux-gnu", ""))
		case info.Mode().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode()&0o111 != 0 {
				a.program(to, string(b))
			} else {
				a.file(to, string(b))
			}
		}
	}
	return a.tree(t)
}

// fittingSplits returns those packages that have something to take.
func fittingSplits(t *testing.T, tree *Tree) string {
	t.Helper()
	var list []string
	for _, s := range []string{"-dev", "-doc", "-static", "-libs", "-lang", "-bash-completion"} {
		split := splitOf("stone" + s)
		if slices.ContainsFunc(tree.sorted, func(n *node) bool {
			return n.kind != directory && split.takes(&file{path: n.path, node: n}, s != "-dev") && (s == "-dev" || !splitOf("stone-dev").takes(&file{path: n.path, node: n}, false))
		}) {
			list = append(list, fmt.Sprintf("{name: stone%s}", s))
		}
	}
	return strings.Join(list, ", ")
}
