package engine_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestEnsureTogether(t *testing.T) {
	b := own(t)
	if err := engine.Stop(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	var pids sync.Map
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			c, err := engine.Ensure(t.Context(), b.cfg)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			s, err := engine.Inspect(t.Context(), b.cfg)
			if err != nil || !s.Running || !s.Same || s.Version == "" {
				t.Errorf("status %+v, %v", s, err)
			}
			pids.Store(s.PID, true)
		})
	}
	wait.Wait()
	n := 0
	pids.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("%d children for one folder", n)
	}
}

func TestStop(t *testing.T) {
	b := own(t)
	pid := inspect(t, b).PID
	if err := engine.Stop(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, pid)
	if s := inspect(t, b); s.Running {
		t.Errorf("after the stop: %+v", s)
	}
	if err := engine.Stop(t.Context(), b.cfg); err != nil {
		t.Errorf("stop of nothing: %v", err)
	}
	_, st := b.step("nothing")
	if err := b.solve(t, st, engine.Request{}); err != nil {
		t.Errorf("the client does not start another: %v", err)
	}
}

func TestNewBinary(t *testing.T) {
	b := own(t)
	old := inspect(t, b).PID
	s, _ := b.step("stamp", "/job/at")
	s.Fresh = false
	kept := s.Run(b.root).GetMount("/job")
	first := solveTo(t, b, kept)
	cfg := b.cfg
	cfg.Exe = filepath.Join(t.TempDir(), "ashlar")
	program, err := os.ReadFile(b.cfg.Exe)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Exe, program, 0o755); err != nil {
		t.Fatal(err)
	}
	c, err := engine.Ensure(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	awaitEnd(t, old)
	now, err := engine.Inspect(t.Context(), cfg)
	if err != nil || !now.Same || now.PID == old {
		t.Errorf("status %+v, %v", now, err)
	}
	b.client, b.cfg = c, cfg
	if second := solveTo(t, b, kept); first != second {
		t.Error("the cache did not outlive the change")
	}
}

func TestIdle(t *testing.T) {
	b := own(t)
	if err := engine.Stop(t.Context(), b.cfg); err != nil {
		t.Fatal(err)
	}
	cfg := b.cfg
	cfg.Idle = 200 * time.Millisecond
	c, err := engine.Ensure(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	awaitEnd(t, inspect(t, b).PID) // although c is connected
	_, st := b.step("nothing")
	if err := c.Solve(t.Context(), st, engine.Request{Blobs: b.store}); err != nil {
		t.Errorf("the next solve: %v", err)
	}
}

// TestKilled kills the daemon in the middle of a step: one clear error, the step
// ends with it, and the next run works.
func TestKilled(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *bench){
		"killed":  func(t *testing.T, b *bench) { kill(t, inspect(t, b).PID, syscall.SIGKILL) },
		"stopped": func(t *testing.T, b *bench) { go func() { _ = engine.Stop(context.Background(), b.cfg) }() },
	} {
		t.Run(name, func(t *testing.T) {
			b := own(t)
			mark, pid := newMark(t), 0
			s, st := b.step("hold", mark)
			out := filepath.Join(t.TempDir(), "out")
			err := b.solve(t, st, engine.Request{Out: out, Progress: func(e engine.Event) {
				if strings.Contains(string(e.Log), "holding") {
					pid = processWith(t, mark)
					end(t, b)
				}
			}})
			if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "engine.log") {
				t.Errorf("got %v", err)
			}
			awaitEnd(t, pid)
			s.Args = []string{"/probe", "write", "/job/a", "b"}
			if err := b.solve(t, s.Run(b.root).GetMount("/job"), engine.Request{Out: out}); err != nil {
				t.Errorf("the next run: %v", err)
			}
			checkNoMounts(t, b)
		})
	}
}

// TestClientKilled kills the program that waits for a step.
func TestClientKilled(t *testing.T) {
	b := own(t)
	mark := newMark(t)
	cmd := exec.Command(b.cfg.Exe, "engine-client", b.cfg.StateDir, mark)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "holding\n" {
		rest, _ := io.ReadAll(stdout)
		t.Fatalf("client says %q %q, %v", line, rest, err)
	}
	pid := processWith(t, mark)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	awaitEnd(t, pid)
	out := filepath.Join(b.cfg.StateDir, "out")
	_, st := b.step("write", "/job/a", "b")
	if err := b.solve(t, st, engine.Request{Out: out}); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(b.cfg.StateDir, ".out*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestDoesNotStart(t *testing.T) {
	for name, cfg := range map[string]engine.Config{
		"no such program": {Exe: "/absent"},
		"ends at once":    {Exe: "/bin/true"},
		"long path":       {StateDir: "/" + strings.Repeat("long/", 30)},
	} {
		t.Run(name, func(t *testing.T) {
			if cfg.StateDir == "" {
				cfg.StateDir = t.TempDir()
			}
			_, err := engine.Ensure(t.Context(), cfg)
			if !fault.Is(err, fault.Unavailable) && !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestChildHasNoEnvironment(t *testing.T) {
	t.Setenv("SECRET_OF_THE_CALLER", "1")
	b := own(t)
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(inspect(t, b).PID), "environ"))
	if err != nil {
		t.Fatal(err)
	}
	if vars := bytes.Split(bytes.TrimRight(env, "\x00"), []byte{0}); len(vars) != 1 || !bytes.HasPrefix(vars[0], []byte("PATH=")) {
		t.Errorf("environment %q", vars)
	}
	for path, want := range map[string]os.FileMode{"engine": 0o700, "engine/engine.sock": 0o600, "engine/engine.log": 0o600} {
		info, err := os.Stat(filepath.Join(b.cfg.StateDir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func inspect(t *testing.T, b *bench) engine.Status {
	t.Helper()
	s, err := engine.Inspect(t.Context(), b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func kill(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}

// solveTo solves and returns the content of the file "at" of the output.
func solveTo(t *testing.T, b *bench, st llb.State) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	if err := b.solve(t, st, engine.Request{Out: out}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "at"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checkNoMounts wants nothing mounted under the state folder.
func checkNoMounts(t *testing.T, b *bench) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.cfg.StateDir+"/") {
			t.Errorf("still mounted: %s", line)
		}
	}
}
