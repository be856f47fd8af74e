package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// serve puts a file where the loopback server of the house serves it, and
// returns a files entry for it.
func (h *house) serve(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(h.files, name)
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(file) })
	return fmt.Sprintf("- url: %s/%s\n  checksum: %s\n", h.server.URL, name, ashlar.DigestOf(content))
}

// escaping is a tar archive with an entry outside of its folder.
func escaping(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: "../../../etc/ashlar-escaped", Mode: 0o644, Size: 5})
	if err == nil {
		_, err = w.Write([]byte("gone\n"))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// dscTwice is the hello .dsc with its tar listed twice.
func (h *house) dscTwice(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.files, "hello-ashlar_1.0.dsc"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ [0-9a-f]{64} .*\n`).Find(b)
	return bytes.Replace(b, line, append(line, line...), 1)
}

// A bad case is a definition that cannot be built, with the exit code and what
// the one error must say.
type bad struct {
	name string
	def  definition
	code int
	line string   // a piece of the line of the definition that the error names
	says []string // in the error, or in the log that comes with it
}

// refuse builds the definition of a bad case and checks the error; then the next
// run must work.
func (h *house) refuse(t *testing.T, c bad) {
	t.Helper()
	c.def.name = "bad-" + strings.ReplaceAll(c.name, " ", "-")
	def := h.define(t, c.def)
	o := h.run(t, c.code, "build", def)
	place := "ashlar: " + def
	if c.line != "" {
		place += fmt.Sprintf(":%d:", lineOf(t, def, c.line))
	}
	if got := o.complaint(t); !strings.HasPrefix(got, place) || !strings.HasSuffix(strings.TrimSpace(got), ")") {
		t.Errorf("the error does not begin with %q or has no remedy:\n%s", place, got)
	}
	for _, want := range c.says {
		if !strings.Contains(o.stderr, want) {
			t.Errorf("nothing says %q:\n%s", want, o.stderr)
		}
	}
	h.tidy(t)
	h.works(t)
}

// lineOf returns the number of the first line of a file that has the text.
func lineOf(t *testing.T, file, text string) int {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, _, ok := strings.Cut(string(b), text)
	if !ok {
		t.Fatalf("%s has no %q", file, text)
	}
	return 1 + strings.Count(before, "\n")
}

func TestBadSources(t *testing.T) {
	h := warm(t)
	tarball, err := os.ReadFile(filepath.Join(h.files, "hello-ashlar_1.0.tar.xz"))
	if err != nil {
		t.Fatal(err)
	}
	wrong := "sha256:" + strings.Repeat("0", 64)
	served := func(name, checksum string) string {
		return fmt.Sprintf("- url: %s/%s\n  checksum: %s\n", h.server.URL, name, checksum)
	}
	step := pack(hello)
	for _, c := range []bad{
		{"wrong checksum", definition{files: served("hello-ashlar_1.0.dsc", wrong), pipeline: step}, 2, "- url", []string{"hello-ashlar_1.0.dsc", wrong[:15]}},
		{"missing source", definition{files: served("nothing.tar.gz", wrong), pipeline: step}, 3, "- url", []string{"nothing.tar.gz"}},
		{"malformed checksum", definition{files: served("hello-ashlar_1.0.dsc", "sha256:beef"), pipeline: step}, 2, "- url", []string{"sha256:<64 hexadecimal digits>"}},
		{"dsc that lists a file twice", definition{files: h.serve(t, "twice_1.0.dsc", h.dscTwice(t)), pipeline: step}, 2, "- name: bad-", []string{"twice"}},
		{"dsc of another tar", definition{files: served("hello-ashlar_1.0.dsc", fileDigest(t, h, "hello-ashlar_1.0.dsc")) +
			strings.Replace(h.serve(t, "other.tar.xz", tarball[:len(tarball)-8]), "\n", "\n  path: /build/reproducible-path/hello-ashlar_1.0.tar.xz\n", 1), pipeline: step},
			2, "- name: bad-", []string{"hello-ashlar_1.0.tar.xz"}},
		{"truncated tar", definition{files: h.serve(t, "short.tar.xz", tarball[:len(tarball)/2]), pipeline: "- name: unpack\n  runs: tar -xf short.tar.xz\n"},
			1, "", []string{"unpack", "Unexpected end of input", "the whole log is"}},
		{"tar that escapes", definition{files: h.serve(t, "escape.tar", escaping(t)), pipeline: "- name: unpack\n  runs: tar -xf escape.tar && ls -l /etc/ashlar-escaped\n"},
			1, "", []string{"unpack", "contains '..'"}},
	} {
		t.Run(c.name, func(t *testing.T) { h.refuse(t, c) })
	}
	if _, err := os.Lstat("/etc/ashlar-escaped"); err == nil {
		t.Error("the tar wrote on the host")
	}
}

func fileDigest(t *testing.T, h *house, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.files, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(ashlar.DigestOf(b))
}

func TestBadDefinitions(t *testing.T) {
	h := warm(t)
	patch, err := os.ReadFile("testdata/does-not-fit.patch")
	if err != nil {
		t.Fatal(err)
	}
	local := map[string]string{"wrong.patch": string(patch)}
	apply := func(step string) string {
		return unpackHello + "- uses: " + step + "\n  work-dir: /build/reproducible-path/hello\n  with: {patches: [/local/wrong.patch]}\n"
	}
	for _, c := range []bad{
		{"unknown package", definition{packages: "- no-such-package", pipeline: pack(hello)}, 4, "- name: bad-", []string{"no-such-package"}},
		{"dependency left out", definition{packages: "- '!libc6-dev'", pipeline: pack(hello)}, 4, "- name: bad-", []string{"debhelper →", "excluded by !libc6-dev"}},
		{"version that is not there", definition{packages: "- jq=99.0-1", pipeline: pack(hello)}, 4, "- name: bad-", []string{"jq", "99.0-1"}},
		{"patch", definition{local: local, pipeline: apply("patch@v1")}, 1, "", []string{"wrong.patch does not apply", "hello.c", "hunk 1"}},
		{"patch of a series", definition{local: local, pipeline: apply("dpkg/patch@v1")}, 1, "", []string{"wrong.patch does not apply", "hello.c"}},
		{"version that goes down", definition{pipeline: unpackHello + "- uses: dpkg/bump@v1\n  work-dir: /build/reproducible-path/hello\n  with: {version: 0.9}\n"},
			1, "", []string{"would be lower than 1.0"}},
		{"outputs", definition{more: "outputs:\n  - {source: /x, target: /y}", pipeline: pack(hello)}, 2, "- name: bad-", []string{"outputs"}},
		{"accounts", definition{more: "accounts: {users: [{name: x, uid: 9, gid: 9}]}", pipeline: pack(hello)}, 2, "- name: bad-", []string{"accounts"}},
		{"another user", definition{pipeline: "- name: x\n  run-as: nobody\n  runs: id\n"}, 2, "- name: x", []string{"run-as"}},
		{"privileged step", definition{pipeline: "- name: download\n  privileged: true\n  runs: 'true'\n"}, 7, "- name: download", []string{"download", "--allow-network"}},
	} {
		t.Run(c.name, func(t *testing.T) { h.refuse(t, c) })
	}
}

// TestFailingStep checks that the error has the last 30 lines of the log, and
// says where all of it is.
func TestFailingStep(t *testing.T) {
	h := warm(t)
	def := h.define(t, definition{name: "failing", pipeline: "- name: count\n  runs: for i in $(seq 1 100); do echo line $i of the log; done; exit 7\n"})
	o := h.run(t, 1, "build", def)
	for line, want := range map[int]bool{1: false, 70: false, 71: true, 100: true} {
		if strings.Contains(o.stderr, fmt.Sprintf("line %d of the log\n", line)) != want {
			t.Errorf("line %d is in the error: %v, want %v", line, !want, want)
		}
	}
	for _, want := range []string{def, `count" failed with exit code 7`, "the whole log is " + h.kept("logs", "failing")} {
		if got := o.complaint(t); !strings.Contains(got, want) {
			t.Errorf("the error does not say %q:\n%s", want, got)
		}
	}
	log, err := os.ReadFile(h.kept("logs", "failing"))
	if err != nil || !bytes.Contains(log, []byte("line 1 of the log\n")) {
		t.Errorf("the whole log: %v\n%s", err, log)
	}
	if h.tidy(t); !t.Failed() {
		h.works(t)
	}
}

// onDisk returns a house on a file system of its own, of a size as mount takes it.
func (h *house) onDisk(t *testing.T, size string) (small *house, resize func(string)) {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(h.state), "disk-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755,size="+size); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	small = &house{state: filepath.Join(dir, "state")}
	t.Cleanup(func() {
		err := errors.Join(engine.Stop(context.Background(), small.engineConfig()), unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir))
		if err != nil {
			t.Error(err)
		}
	})
	return small, func(size string) {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "mode=755,size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk has a state folder with less room than the indexes and packages
// of a build root need.
func TestFullDisk(t *testing.T) {
	h := warm(t)
	small, resize := h.onDisk(t, "48m")
	def := h.define(t, definition{name: "full", pipeline: pack(hello)})
	got := small.run(t, 6, "plan", def).complaint(t)
	if !strings.Contains(got, "no space left") && !strings.Contains(got, "disk is full") || !strings.Contains(got, "free some space") {
		t.Errorf("the error is: %s", got)
	}
	small.tidy(t)
	resize("1g")
	small.run(t, 0, "plan", def)
}

// TestFullDiskInBuild has an engine whose disk is full before the build root is
// there.
func TestFullDiskInBuild(t *testing.T) {
	h := warm(t)
	known := []string{"indexes", "blobs", "bootstrap", "keys", "locks"} // what was fetched already
	var size int64
	for _, dir := range known {
		err := filepath.WalkDir(filepath.Join(h.state, dir), func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				size += info.Size()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	small, _ := h.onDisk(t, fmt.Sprintf("%dm", size>>20+150)) // a build root is 700 MB
	if err := os.Mkdir(small.state, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range known {
		if out, err := exec.Command("cp", "-a", filepath.Join(h.state, dir), small.state).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	o := small.run(t, 6, "build", h.first)
	if got := o.complaint(t); !strings.Contains(got, "disk is full") || !strings.Contains(got, "free some space") {
		t.Errorf("the error is: %s", got)
	}
	small.tidy(t)
}
