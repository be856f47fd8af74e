package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/enginehost"
)

// TestMain lets the test binary be the child, and the client of a child.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "engine-child" {
		if err := enginehost.Main(os.Args[2:]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 3 && os.Args[1] == "engine-client" {
		holdAsClient(os.Args[2], os.Args[3])
	}
	code := m.Run()
	if err := shared.end(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// A bench is a child with a root for it, in a folder of its own.
type bench struct {
	cfg    engine.Config
	store  *blob.Dir
	root   llb.State
	client *engine.Client
}

var shared sharedBench

// A sharedBench is one child for all tests that do no harm to it.
type sharedBench struct {
	once sync.Once
	dir  string
	b    *bench
	err  error
}

func (s *sharedBench) get(t testing.TB) *bench {
	need(t)
	s.once.Do(func() {
		if s.dir, s.err = os.MkdirTemp("", "ashlar-engine-"); s.err == nil {
			s.b, s.err = newBench(t.Context(), s.dir)
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.b
}

func (s *sharedBench) end() error {
	if s.b == nil {
		return nil
	}
	return errors.Join(s.b.client.Close(), engine.Stop(context.Background(), s.b.cfg), os.RemoveAll(s.dir))
}

// need skips a test that this machine cannot run.
func need(t testing.TB) {
	t.Helper()
	switch _, err := exec.LookPath("runc"); {
	case testing.Short():
		t.Skip("runs containers: not with -short")
	case os.Geteuid() != 0:
		t.Skip("the embedded engine needs root")
	case err != nil:
		t.Skip("runc is not installed")
	}
}

// own returns a child that the test may break.
func own(t testing.TB) *bench {
	t.Helper()
	need(t)
	dir, err := os.MkdirTemp("", "ashlar-engine-")
	if err != nil {
		t.Fatal(err)
	}
	b, err := newBench(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := errors.Join(b.client.Close(), engine.Stop(context.Background(), b.cfg), os.RemoveAll(dir))
		if err != nil {
			t.Error(err)
		}
	})
	return b
}

func newBench(ctx context.Context, dir string) (*bench, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b := &bench{cfg: engine.Config{StateDir: dir, Exe: exe, Args: []string{"engine-child"}}}
	if b.store, err = blob.NewDir(filepath.Join(dir, "blobs")); err != nil {
		return nil, err
	}
	if b.root, err = probeRoot(ctx, b.store); err != nil {
		return nil, err
	}
	b.client, err = engine.Ensure(ctx, b.cfg)
	return b, err
}

var probe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "ashlar-probe-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(dir, "probe"), "./testdata/probe")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return os.ReadFile(filepath.Join(dir, "probe"))
})

// probeRoot returns a root with /probe and two folders in it, as one layer.
func probeRoot(ctx context.Context, store blob.Store) (llb.State, error) {
	program, err := probe()
	if err != nil {
		return llb.State{}, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range []tar.Header{
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777},
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "probe", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	} {
		if err := w.WriteHeader(&h); err != nil {
			return llb.State{}, err
		}
	}
	if _, err := w.Write(program); err != nil {
		return llb.State{}, err
	}
	if err := w.Close(); err != nil {
		return llb.State{}, err
	}
	layer, err := store.Put(ctx, &b, "")
	if err != nil {
		return llb.State{}, err
	}
	return engine.Image(ctx, store, engine.Native, layer.Digest)
}

// step returns a step that runs the probe with args in /work, and the folder
// that it leaves there.
func (b *bench) step(args ...string) (engine.Step, llb.State) {
	s := engine.Step{
		Name:   args[0],
		Args:   append([]string{"/probe"}, args...),
		Dir:    "/job",
		Mounts: []engine.Mount{{Path: "/job", State: llb.Scratch()}},
		Fresh:  true,
	}
	return s, s.Run(b.root).GetMount("/job")
}

// solve runs a state with the bench's blobs.
func (b *bench) solve(t testing.TB, st llb.State, req engine.Request) error {
	t.Helper()
	if req.Blobs == nil {
		req.Blobs = b.store
	}
	return b.client.Solve(t.Context(), st, req)
}
