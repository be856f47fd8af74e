package sandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// shellRoot returns a folder with a shell and some programs: those of this machine,
// with their libraries.
func shellRoot(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it runs runc")
	}
	if err := Check(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	for name, at := range map[string]string{"/bin/dash": "bin/sh", "/bin/mknod": "bin/mknod", "/bin/sleep": "bin/sleep", "/bin/cat": "bin/cat", "/bin/ls": "bin/ls"} {
		take(t, dir, name, at)
		out, err := exec.Command("ldd", name).Output()
		if err != nil {
			continue // it needs none
		}
		for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllSubmatch(out, -1) {
			take(t, dir, string(m[1]), string(m[1]))
		}
	}
	return dir
}

// take copies a file of this machine.
func take(t *testing.T, dir, from, at string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Skip(err)
	}
	to := filepath.Join(dir, at)
	if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o755)); err != nil {
		t.Fatal(err)
	}
}

// run runs the body of a shell script.
func run(t *testing.T, dir, body string, args ...string) error {
	t.Helper()
	return Run(t.Context(), Script{Root: dir, Body: []byte("#!/bin/sh\n" + body), Args: args, Env: []string{"PATH=/bin", "A=b"}, Most: time.Minute})
}

// names returns what is in a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

// A script runs as apk would run it, and nothing but what it wrote is there after.
func TestRun(t *testing.T) {
	dir := shellRoot(t)
	before := names(t, dir)
	if err := run(t, dir, `{ echo "$@" "$A" "$PWD"; umask; [ -c /dev/null ] && [ -d /proc/self ] && echo ready; cat; } >/log; ls / >>/log`, "1.0-r0", "x y"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	want := "1.0-r0 x y b /\n0022\nready\nbin\ndev\n"
	if !strings.HasPrefix(string(b), want) {
		t.Errorf("it wrote %q, want %q first", b, want)
	}
	if err := os.Remove(dir + "/log"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, names(t, dir)); d != "" {
		t.Errorf("the root changed:\n%s", d)
	}
}

// What a script cannot do, although it tries.
func TestRunConfines(t *testing.T) {
	dir := shellRoot(t)
	host := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(host, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := ""
	for name, probe := range map[string]string{
		"a file of the host":    "cat " + host,
		"above the root":        "cat /../../../.." + host,
		"through a process":     "cat /proc/1/root" + host,
		"processes of the host": "ls /proc/" + strconv.Itoa(os.Getpid()),
		"a device":              "mknod /disk b 8 0",
		"variables":             `[ -n "$USER$SHELL$TERM" ]`,
		"another network":       "n=0; while read line; do n=$((n+1)); done </proc/net/dev; [ $n -gt 3 ]", // two lines of head, and lo
		"settings of the host":  "echo x >/proc/sys/kernel/hostname",
		"sysrq":                 "echo h >/proc/sysrq-trigger",
		"its own script":        "echo x >>/dev/script",
	} {
		script += "if ( " + probe + " ) >/dev/null 2>&1; then echo FOUND " + name + "; fi\n"
	}
	err := run(t, dir, script+"[ -r /proc/net/dev ] && echo TRIED; exit 9\n")
	if err == nil || !strings.Contains(err.Error(), "TRIED") || strings.Contains(err.Error(), "FOUND") {
		t.Error(err)
	}
	if _, err := os.Lstat(dir + "/disk"); err == nil {
		t.Error("there is a device now")
	}
}

// A script that fails says why, in words that a terminal can show; what it started in
// the background does not outlive it.
func TestRunFails(t *testing.T) {
	dir := shellRoot(t)
	err := run(t, dir, "printf 'no\\033[2Jway\\n'; exit 7\n")
	if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "exit status 7") || !strings.Contains(err.Error(), "no?[2Jway") {
		t.Error(err)
	}
	if err := run(t, dir, "(sleep 100; echo late >/late) & exit 0\n"); err != nil {
		t.Error(err)
	}
	err = Run(t.Context(), Script{Root: dir, Body: []byte("#!/bin/sh\nsleep 100\n"), Env: []string{"PATH=/bin"}, Most: time.Second})
	if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "did not end within 1s") {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := Run(ctx, Script{Root: dir, Body: []byte("#!/bin/sh\n")}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := run(t, t.TempDir(), "exit 0\n"); !fault.Is(err, fault.Failed) {
		t.Errorf("without an interpreter: %v", err)
	}
}

// Roots that want the container to be made elsewhere are refused.
func TestRunHostileRoot(t *testing.T) {
	for _, name := range []string{"dev", "proc"} {
		dir := shellRoot(t)
		outside := t.TempDir()
		if err := os.Symlink(outside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		if err := run(t, dir, "exit 0\n"); !fault.Is(err, fault.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
		if left := names(t, outside); len(left) > 0 {
			t.Errorf("%s: outside is now %q", name, left)
		}
	}
}

// Only the end of a long output is kept.
func TestTail(t *testing.T) {
	var out tail
	for range 3 {
		if _, err := io.WriteString(&out, strings.Repeat("a", maxOutput-10)+"\nthe end\x07"); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.b) != maxOutput || !strings.HasSuffix(out.said(), "\nthe end?") {
		t.Errorf("%d bytes: %q", len(out.b), out.said())
	}
}
