package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/engine"
)

// A running is a run of the program that a test means to disturb.
type running struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	step   int // pidfd of the step's process, -1 if not known yet
}

// begin starts the program.
func (h *house) begin(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{cmd: h.command(args...), step: -1}
	r.cmd.Stderr = &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.step >= 0 {
			_ = unix.Close(r.step)
		}
		if r.cmd.ProcessState == nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
		}
	})
	return r
}

// awaitProcess waits for the process of a step that has the mark as its name.
func (r *running) awaitProcess(t *testing.T, mark string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if pid := processNamed(t, mark); pid != 0 {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.step = fd
			return
		}
	}
	t.Fatalf("the step's process does not appear:\n%s", r.stderr.String())
}

// processNamed returns the process whose first argument is name, or 0.
func processNamed(t *testing.T, name string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err != nil || !bytes.HasPrefix(b, []byte(name+"\x00")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	return 0
}

// interrupt sends what Ctrl-C sends, and checks that the run ends as it should
// and takes the step with it.
func (r *running) interrupt(t *testing.T) {
	t.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r.ends(t, 130)
	if !strings.Contains(r.stderr.String(), "ashlar: interrupted") {
		t.Errorf("an interrupted run says:\n%s", r.stderr.String())
	}
}

// ends waits for the end of the run and of its step.
func (r *running) ends(t *testing.T, code int) {
	t.Helper()
	r.exits(t, code)
	r.gone(t)
}

// exits waits for the end of the run.
func (r *running) exits(t *testing.T, code int) {
	t.Helper()
	var exit *exec.ExitError
	if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d\n%s", got, code, r.stderr.String())
	}
}

// gone waits for the end of the step.
func (r *running) gone(t *testing.T) {
	t.Helper()
	const patience = 20_000 // milliseconds
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.step), Events: unix.POLLIN}}, patience); n != 1 {
		t.Errorf("the step's process lives on: %v", err)
	}
}

// tidy checks that no run left anything half-written.
func (h *house) tidy(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"tmp", "ingest"} {
		entries, err := os.ReadDir(filepath.Join(h.state, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for _, e := range entries {
			t.Errorf("%s/%s was left", dir, e.Name())
		}
	}
	left, err := filepath.Glob(filepath.Join(h.state, "results", ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left in results: %v, %v", left, err)
	}
}

// works checks that the next run does its work.
func (h *house) works(t *testing.T) {
	t.Helper()
	h.run(t, 0, "build", h.first)
}

// sleeper is a definition whose step stays until it is killed.
func (h *house) sleeper(t *testing.T, mark string) string {
	t.Helper()
	return h.define(t, definition{name: mark, pipeline: "- name: stay\n  runs: exec -a " + mark + " sleep 3600\n"})
}

func TestInterrupt(t *testing.T) {
	h := warm(t)
	const mark = "stays-until-ctrl-c"
	r := h.begin(t, "build", h.sleeper(t, mark))
	r.awaitProcess(t, mark)
	r.interrupt(t)
	h.tidy(t)
	h.works(t)
}

// TestProgramKilled kills the program itself: the engine must end the step.
func TestProgramKilled(t *testing.T) {
	h := warm(t)
	const mark = "stays-until-program-dies"
	r := h.begin(t, "build", h.sleeper(t, mark))
	r.awaitProcess(t, mark)
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.ends(t, -1)
	h.run(t, 0, "build", "--fresh", h.first)
	h.tidy(t)
}

// TestEngineKilled kills the engine in the middle of a step.
func TestEngineKilled(t *testing.T) {
	h := warm(t)
	const mark = "stays-until-engine-dies"
	r := h.begin(t, "build", h.sleeper(t, mark))
	r.awaitProcess(t, mark)
	status, err := engine.Inspect(t.Context(), h.engineConfig())
	if err != nil || !status.Running {
		t.Fatalf("the engine does not run: %v", err)
	}
	if err := unix.Kill(status.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.exits(t, 6)
	got := ended{stderr: r.stderr.String()}.complaint(t)
	if !strings.Contains(got, "the engine ended in the middle of the work") || !strings.Contains(got, "engine.log") {
		t.Errorf("the error is: %s", got)
	}
	h.tidy(t)
	h.run(t, 0, "build", "--fresh", h.first)
	r.gone(t) // the next engine ends what a killed one left
}
