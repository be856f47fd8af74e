package engine_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// newMark returns an argument that no other process has.
func newMark(t *testing.T) string {
	return fmt.Sprintf("mark-%d-%s-%d", os.Getpid(), t.Name(), time.Now().UnixNano())
}

// processWith returns the process, outside of the test's own, that has the mark
// in its command line, or 0.
func processWith(t *testing.T, mark string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		b, err := os.ReadFile(p)
		if err != nil || !bytes.HasPrefix(b, []byte("/probe\x00")) || !bytes.Contains(b, []byte(mark)) {
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

// awaitEnd waits for the end of a process, ten seconds at most.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000); n != 1 {
		t.Errorf("process %d lives on: %v", pid, err)
	}
}

// A report is what the probe saw; see testdata/probe.
type report struct {
	Env, Interfaces, Routes, Mounts, Processes, Sockets, Devices, Writable, Reached, Root, FDs, Unmasked []string
	Hostname, Resolv, Hosts                                                                              string
	Status, Calls                                                                                        map[string]string
}

func readReport(t *testing.T, dir string) report {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "report"))
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// A tinyBench has its state on a small file system of its own, and another blob
// store outside of it.
type tinyBench struct {
	*bench
	elsewhere *blob.Dir
}

func tiny(t *testing.T, size string) tinyBench {
	t.Helper()
	need(t)
	dir, err := os.MkdirTemp("", "ashlar-tiny-")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(dir, unix.MNT_DETACH), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	b, err := newBench(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.client.Close(), engine.Stop(context.Background(), b.cfg)); err != nil {
			t.Error(err)
		}
	})
	elsewhere, err := blob.NewDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return tinyBench{b, elsewhere}
}

// holdAsClient solves a step that stays, as a program that is going to be
// killed.
func holdAsClient(dir, mark string) {
	b, err := newBench(context.Background(), dir)
	if err == nil {
		_, st := b.step("hold", mark)
		err = b.client.Solve(context.Background(), st, engine.Request{
			Blobs: b.store, Out: filepath.Join(dir, "out"),
			Progress: func(e engine.Event) { _, _ = os.Stdout.Write(e.Log) },
		})
	}
	fmt.Println(err)
	os.Exit(1)
}
