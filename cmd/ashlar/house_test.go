package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// A house is a state folder with an engine, keys and a loopback server that has
// the tiny Debian source of testdata/hello. One serves all tests: its build root
// is made once.
type house struct {
	state  string // the state folder
	first  string // a definition that was built
	files  string // what the server serves
	server *httptest.Server
}

// keepState names a folder in which the state stays after the tests, so that the
// next run need not make the build root again.
const keepState = "ASHLAR_TEST_STATE"

var shared sharedHouse

type sharedHouse struct {
	once sync.Once
	dir  string
	h    *house
	err  error
}

// warm returns the shared house with its build root made, or skips the test.
func warm(t *testing.T) *house {
	t.Helper()
	needEngine(t)
	shared.once.Do(func() {
		if shared.dir = os.Getenv(keepState); shared.dir != "" {
			shared.err = os.MkdirAll(shared.dir, 0o755)
		} else {
			shared.dir, shared.err = os.MkdirTemp("", "ashlar-house-")
		}
		if shared.err == nil {
			shared.h, shared.err = newHouse(shared.dir)
		}
		if shared.err == nil {
			shared.err = shared.h.furnish()
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.h
}

// needEngine skips a test that this machine cannot run.
func needEngine(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs containers on packages of the machine's mirror: not with -short")
	}
	if os.Geteuid() != 0 {
		t.Skip("the embedded engine needs root")
	}
	for _, tool := range []string{"runc", "dpkg-source", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
}

func (s *sharedHouse) end() error {
	if s.h == nil {
		return nil
	}
	s.h.server.Close()
	if os.Getenv(keepState) != "" {
		return engine.Stop(context.Background(), s.h.engineConfig())
	}
	return errors.Join(engine.Stop(context.Background(), s.h.engineConfig()), os.RemoveAll(s.dir))
}

func newHouse(dir string) (*house, error) {
	h := &house{state: filepath.Join(dir, "state"), files: filepath.Join(dir, "files")}
	if err := errors.Join(os.Chmod(dir, 0o755), os.MkdirAll(h.files, 0o755)); err != nil { // the signer is another user
		return nil, err
	}
	if err := packHello(h.files); err != nil {
		return nil, err
	}
	h.server = httptest.NewServer(http.FileServer(http.Dir(h.files)))
	return h, nil
}

// furnish makes keys and a first build, and with it the build root.
func (h *house) furnish() error {
	dir, err := os.MkdirTemp(filepath.Dir(h.state), "catalog-")
	if err != nil {
		return err
	}
	files, err := h.helloFiles()
	if err != nil {
		return err
	}
	if h.first, err = h.write(dir, definition{name: "first", files: files, pipeline: pack(hello, helloDoc)}); err != nil {
		return err
	}
	for _, args := range [][]string{{"key", "init"}, {"build", h.first}} {
		if o := h.try(args...); o.code != 0 && o.code != 4 { // 4: a kept state has keys
			return fmt.Errorf("ashlar %s: exit code %d\n%s", strings.Join(args, " "), o.code, o.stderr)
		}
	}
	return nil
}

// engineConfig finds the engine of the house.
func (h *house) engineConfig() engine.Config {
	return engine.Config{StateDir: h.state, Args: []string{"engine"}}
}

// packHello makes the source package of testdata/hello.
func packHello(dir string) error {
	tree := filepath.Join(dir, "hello-ashlar-1.0")
	if err := os.RemoveAll(tree); err != nil {
		return err
	}
	if err := os.CopyFS(tree, os.DirFS("testdata/hello")); err != nil {
		return err
	}
	cmd := exec.Command("dpkg-source", "-b", "hello-ashlar-1.0")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("dpkg-source: %w\n%s", err, out)
	}
	return os.RemoveAll(tree)
}

// An ended run says how a run of the program ended.
type ended struct {
	code           int
	stdout, stderr string
}

// command returns the program with arguments, on the state of the house.
func (h *house) command(args ...string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		panic(err) // the test binary has no path
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1", "ASHLAR_STATE="+h.state)
	return cmd
}

// try runs the program to its end.
func (h *house) try(args ...string) ended {
	var stdout, stderr bytes.Buffer
	cmd := h.command(args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	o := ended{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		o.code, o.stderr = -1, err.Error()
	}
	return o
}

// run runs the program and checks its exit code.
func (h *house) run(t *testing.T, code int, args ...string) ended {
	t.Helper()
	begun := time.Now()
	o := h.try(args...)
	t.Logf("ashlar %s: %.1fs", args[0], time.Since(begun).Seconds())
	if o.code != code {
		t.Fatalf("ashlar %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), o.code, code, o.stdout, o.stderr)
	}
	return o
}

// complaint returns the one error that the program ended with.
func (o ended) complaint(t *testing.T) string {
	t.Helper()
	var found []string
	for i, line := range strings.SplitAfter(o.stderr, "\n") {
		if strings.HasPrefix(line, "ashlar: ") {
			found = append(found, strings.Join(strings.SplitAfter(o.stderr, "\n")[i:], ""))
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d errors, want one:\n%s", len(found), o.stderr)
	}
	return found[0]
}

// A definition is a definition of a test, in the parts that tests vary. Packages
// and files are lines of YAML lists, pipeline is a YAML list.
type definition struct {
	name     string
	packages string
	files    string
	local    map[string]string // files beside the definition, placed in /local
	pipeline string
	more     string // other keys of the build
	include  string // text of a file that it includes
}

// write writes the definition into a catalog folder and returns its path.
func (h *house) write(root string, d definition) (string, error) {
	folder := "package/deb/main/" + d.name
	var paths strings.Builder
	for name, content := range d.local {
		file := filepath.Join(root, folder, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content), 0o644)); err != nil {
			return "", err
		}
		fmt.Fprintf(&paths, "        - {type: file, path: /local/%[1]s, source: %[2]s/%[1]s}\n", name, folder)
	}
	var b strings.Builder
	if d.include != "" {
		file := filepath.Join(root, folder, "common.yaml")
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(d.include), 0o644)); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "includes: [%s/common.yaml]\n", folder)
	}
	fmt.Fprintf(&b, "image: test/pkg-%s\nvariant: runtime\ntags: [\"1\"]\nplatforms: [linux/amd64]\ncontents:\n  packages: ['!base-files']\n  builds:\n", d.name)
	fmt.Fprintf(&b, "    - name: %s deb\n      contents:\n        packages:\n          - debhelper\n%s", d.name, indent(d.packages, 10))
	if d.files != "" {
		fmt.Fprintf(&b, "        files:\n%s", indent(d.files, 10))
	}
	if paths.Len() > 0 {
		fmt.Fprintf(&b, "      paths:\n%s", paths.String())
	}
	fmt.Fprintf(&b, "%s      pipeline:\n%s", indent(d.more, 6), indent(d.pipeline, 8))
	b.WriteString("os-release:\n  name: Test\n  id: debian\n  version-id: \"12\"\n  version-codename: bookworm\n" +
		"  pretty-name: Test 12 (bookworm)\n  home-url: https://example.org\n  bug-report-url: https://example.org\n")
	file := filepath.Join(root, folder, "debian-12", "1.yaml")
	return file, errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(b.String()), 0o644))
}

func indent(text string, n int) string {
	if text == "" {
		return ""
	}
	pad := strings.Repeat(" ", n)
	return pad + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n"+pad) + "\n"
}

// helloFiles are the files entries of the hello source, by address and checksum.
func (h *house) helloFiles() (string, error) {
	var b strings.Builder
	for _, name := range []string{"hello-ashlar_1.0.dsc", "hello-ashlar_1.0.tar.xz"} {
		content, err := os.ReadFile(filepath.Join(h.files, name))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "- url: %s/%s\n  checksum: %s\n", h.server.URL, name, ashlar.DigestOf(content))
	}
	return b.String(), nil
}

// define writes a definition that has the hello source, if it names no files of
// its own, into a catalog of the test's own.
func (h *house) define(t *testing.T, d definition) string {
	t.Helper()
	var err error
	if d.files == "" {
		d.files, err = h.helloFiles()
	}
	if err != nil {
		t.Fatal(err)
	}
	file, err := h.write(t.TempDir(), d)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// unpackHello unpacks the hello source into /build/reproducible-path/hello.
const unpackHello = `- uses: dpkg/source@v1
  with: {file: hello-ashlar_1.0.dsc, path: hello}
`

// buildHello is the usual pipeline of the hello source.
const buildHello = unpackHello + buildStep

const buildStep = `- uses: dpkg/build@v1
  work-dir: /build/reproducible-path/hello
`

// A tiny is a package that a step packs without dpkg-buildpackage.
type tiny struct {
	name, version string // "" for 1.0
	control       string // more lines of the control file
	script, body  string // name and body of a maintainer script
	file          string // path of a file that it ships
}

// pack returns a pipeline step that packs the packages, the same bytes each time.
func pack(packages ...tiny) string {
	var b strings.Builder
	b.WriteString("- name: pack\n  runs: |\n    set -eu\n    export SOURCE_DATE_EPOCH=1\n")
	line := func(format string, args ...any) { fmt.Fprintf(&b, "    "+format+"\n", args...) }
	for _, p := range packages {
		version := cmp.Or(p.version, "1.0")
		line("mkdir -p %s/DEBIAN", p.name)
		line("cat > %s/DEBIAN/control <<'END'", p.name)
		line("Package: %s", p.name)
		line("Version: %s", version)
		line("Architecture: all")
		line("Maintainer: Test <test@example.org>")
		if p.control != "" {
			line("%s", p.control)
		}
		line("Description: test")
		line("END")
		if p.script != "" {
			line("printf '#!/bin/sh\\n%%s\\n' '%s' > %s/DEBIAN/%s", p.body, p.name, p.script)
			line("chmod 755 %s/DEBIAN/%s", p.name, p.script)
		}
		if p.file != "" {
			line("install -D /dev/null %s%s", p.name, p.file)
		}
		line("dpkg-deb --root-owner-group -b %[1]s %[1]s_%[2]s_all.deb", p.name, version)
	}
	return b.String()
}

// The binary packages that the hello source lists.
var (
	hello    = tiny{name: "hello-ashlar"}
	helloDoc = tiny{name: "hello-ashlar-doc"}
)

// exits is the script command "exits CODE PROGRAM ARGS…": it runs a program and
// compares its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGS…")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("%s exited with code %d, want %s", args[1], got, args[0])
	}
}
