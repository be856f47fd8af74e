package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestSolve(t *testing.T) {
	b := shared.get(t)
	note, err := b.store.Put(t.Context(), strings.NewReader("from a blob"), "")
	if err != nil {
		t.Fatal(err)
	}
	s, _ := b.step("write", "hello", "hello, world")
	s.Mounts = append(s.Mounts, engine.BlobMount("/in/note", note.Digest))
	out := filepath.Join(t.TempDir(), "out")
	seen := map[string]engine.Event{}
	var log strings.Builder
	req := engine.Request{Out: out, Progress: func(e engine.Event) {
		seen[e.Name] = e
		log.Write(e.Log)
	}}
	if err := b.solve(t, s.Run(b.root).GetMount("/job"), req); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(out, "hello"))
	if err != nil || string(got) != "hello, world" {
		t.Errorf("output %q, %v", got, err)
	}
	e := seen["write"]
	if e.Started.IsZero() || e.Completed.IsZero() || e.Error != "" || e.Vertex.Validate() != nil {
		t.Errorf("event %+v", e)
	}
	if !strings.Contains(log.String(), "writing hello") {
		t.Errorf("log %q", log.String())
	}
	left, err := os.ReadDir(filepath.Dir(out))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the output: %v, %v", left, err)
	}
	if err := b.solve(t, b.root, req); !fault.Is(err, fault.Conflict) {
		t.Errorf("output folder that exists: %v", err)
	}
}

// TestInMemory runs a step in memory and on the disk: the step after it sees the
// same tree.
func TestInMemory(t *testing.T) {
	b := shared.get(t)
	var trees []string
	for _, writes := range []int64{0, 1 << 20} {
		plant, _ := b.step("plant")
		rearrange, _ := b.step("rearrange")
		rearrange.Writes = writes
		list, _ := b.step("list", "/job/list")
		root := rearrange.Run(plant.Run(b.root).Root()).Root()
		out := filepath.Join(t.TempDir(), "out")
		if err := b.solve(t, list.Run(root).GetMount("/job"), engine.Request{Out: out}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(out, "list"))
		if err != nil {
			t.Fatal(err)
		}
		trees = append(trees, string(got))
	}
	const want = `/t drwxr-xr-x 0:0 
/t/changed -rw-r--r-- 7:8 new
/t/folder -rw-r----- 0:0 a file
/t/kept -rw-r--r-- 0:0 kept
/t/link Lrwxrwxrwx 0:0 kept
/t/linked -rw-r--r-- 0:0 
/t/refilled drwx------ 0:0 
/t/refilled/new -rw-r--r-- 0:0 
`
	for i, tree := range trees {
		if diff := cmp.Diff(want, tree); diff != "" {
			t.Errorf("tree %d (-want +got):\n%s", i, diff)
		}
	}
	if log, err := os.ReadFile(filepath.Join(b.cfg.StateDir, "engine", "engine.log")); err != nil || strings.Contains(string(log), "works on the disk") {
		t.Errorf("a step was to work in memory and did not: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(b.cfg.StateDir, "engine", "tmp", "memory-*")); len(left) > 0 {
		t.Errorf("memory that was not given back: %v", left)
	}
}

func TestCached(t *testing.T) {
	b := shared.get(t)
	s, _ := b.step("stamp", "/job/at")
	s.Fresh = false
	dir := t.TempDir()
	var stamps [2]string
	for i := range stamps {
		out := filepath.Join(dir, fmt.Sprint(i))
		cached := false
		err := b.solve(t, s.Run(b.root).GetMount("/job"), engine.Request{Out: out, Progress: func(e engine.Event) {
			cached = cached || e.Cached && e.Name == "stamp"
		}})
		if err != nil {
			t.Fatal(err)
		}
		if cached != (i == 1) {
			t.Errorf("run %d: cached %t", i, cached)
		}
		stamp, err := os.ReadFile(filepath.Join(out, "at"))
		if err != nil {
			t.Fatal(err)
		}
		stamps[i] = string(stamp)
	}
	if stamps[0] != stamps[1] {
		t.Error("the second run was not taken from the cache")
	}
}

func TestStepFails(t *testing.T) {
	b := shared.get(t)
	out := filepath.Join(t.TempDir(), "out")
	_, st := b.step("exit", "7", "40")
	err := b.solve(t, st, engine.Request{Out: out})
	var step *engine.StepError
	if !fault.Is(err, fault.Failed) || !errors.As(err, &step) {
		t.Fatalf("got %v", err)
	}
	if step.Name != "exit" || step.ExitCode != 7 || len(step.Log) != engine.LogLines || step.Log[0] != "line 11" || step.Log[29] != "line 40" {
		t.Errorf("got %+v", step)
	}
	if want := `step "exit" failed with exit code 7`; err.Error() != want {
		t.Errorf("message %q, want %q", err, want)
	}
	if left, err := os.ReadDir(filepath.Dir(out)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestMissingProgram(t *testing.T) {
	b := shared.get(t)
	st := engine.Step{Name: "absent", Args: []string{"/absent"}}.Run(b.root).Root()
	err := b.solve(t, st, engine.Request{})
	if err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("got %v", err)
	}
}

func TestMissingBlob(t *testing.T) {
	b := shared.get(t)
	d := ashlar.DigestOf([]byte("nobody has this"))
	st := engine.Step{Name: "use", Args: []string{"/probe", "nothing"}, Mounts: []engine.Mount{engine.BlobMount("/in", d)}}.Run(b.root).Root()
	err := b.solve(t, st, engine.Request{})
	if !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), string(d)) {
		t.Errorf("got %v", err)
	}
}

func TestImage(t *testing.T) {
	b := shared.get(t)
	if _, err := engine.Image(t.Context(), b.store, engine.Native); !fault.Is(err, fault.Invalid) {
		t.Errorf("no layers: %v", err)
	}
	if _, err := engine.Image(t.Context(), b.store, engine.Native, ashlar.DigestOf([]byte("absent layer"))); !fault.Is(err, fault.NotFound) {
		t.Errorf("absent layer: %v", err)
	}
	again, err := probeRoot(t.Context(), b.store)
	if err != nil {
		t.Fatal(err)
	}
	one, two := head(t, b.root), head(t, again)
	if one != two {
		t.Errorf("the same layer makes %s and %s", one, two)
	}
}

// head returns the digest of the last vertex of a graph.
func head(t *testing.T, st llb.State) string {
	t.Helper()
	def, err := st.Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	d, err := def.Head()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestStateCarriesNothing(t *testing.T) {
	b := shared.get(t)
	out := filepath.Join(t.TempDir(), "out")
	s, _ := b.step("report", "/job/report")
	dirty := b.root.AddEnv("SECRET", "1").Hostname("other").User("12").Dir("/etc")
	if err := b.solve(t, s.Run(dirty).GetMount("/job"), engine.Request{Out: out}); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, out)
	if slices.ContainsFunc(r.Env, func(e string) bool { return e != "PATH="+engine.SearchPath && e != "HOME=/" }) || r.Hostname != engine.Hostname || !strings.HasPrefix(r.Status["Uid"], "0") {
		t.Errorf("env %q, host name %q, uid %q", r.Env, r.Hostname, r.Status["Uid"])
	}
}

func TestCancelled(t *testing.T) {
	b := shared.get(t)
	ctx, cancel := context.WithCancel(t.Context())
	mark := newMark(t)
	_, st := b.step("hold", mark)
	pid := 0
	err := b.client.Solve(ctx, st, engine.Request{Blobs: b.store, Out: filepath.Join(t.TempDir(), "out"), Progress: func(e engine.Event) {
		if strings.Contains(string(e.Log), "holding") {
			pid = processWith(t, mark)
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if pid == 0 {
		t.Fatal("the step never ran")
	}
	awaitEnd(t, pid)
}

func TestFullDisk(t *testing.T) {
	b := tiny(t, "96m")
	_, nothing := b.step("nothing")
	if err := b.solve(t, nothing, engine.Request{}); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(b.cfg.StateDir, "ballast")
	fillUp(t, ballast, 10<<20)
	big, err := b.elsewhere.Put(t.Context(), strings.NewReader(strings.Repeat("blob", 12<<20)), "")
	if err != nil {
		t.Fatal(err)
	}
	err = b.client.Solve(t.Context(), engine.Blob("big", big.Digest), engine.Request{Blobs: b.elsewhere})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("blob: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := b.solve(t, nothing, engine.Request{}); err != nil {
		t.Errorf("with room again: %v", err)
	}
	_, fill := b.step("fill", "/job/big", "200000000")
	err = b.solve(t, fill, engine.Request{})
	if !fault.Is(err, fault.Failed) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("step: %v", err)
	}
}

// fillUp writes a file that leaves so many bytes of its file system free.
func fillUp(t *testing.T, path string, leave uint64) {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &s); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, s.Bavail*uint64(s.Bsize)-leave), 0o600); err != nil {
		t.Fatal(err)
	}
}
