package enginehost

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/buildkit/executor"
	resources "github.com/moby/buildkit/executor/resources/types"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestMain lets the test binary be a process whose standard error is a log.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "log-child" {
		l, err := openLog(os.Args[2])
		if err != nil {
			os.Exit(1)
		}
		line := append(bytes.Repeat([]byte("x"), 1<<20-1), '\n')
		for range 3 * logBytes >> 20 {
			if _, err := l.Write(line); err != nil {
				os.Exit(1)
			}
		}
		panic("the last words")
	}
	os.Exit(m.Run())
}

func TestActivity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newActivity(10 * time.Minute)
		expired := func() bool {
			synctest.Wait()
			select {
			case <-a.expired:
				return true
			default:
				return false
			}
		}
		time.Sleep(9 * time.Minute) // virtual time
		a.begin()
		a.begin()
		time.Sleep(time.Hour)
		a.end()
		time.Sleep(time.Hour)
		if expired() {
			t.Error("expired during a call")
		}
		a.end()
		time.Sleep(9 * time.Minute)
		if expired() {
			t.Error("expired too early")
		}
		time.Sleep(2 * time.Minute)
		if !expired() {
			t.Error("did not expire")
		}
	})
}

// A stayer is an executor whose step stays until it is cancelled.
type stayer struct{ executor.Executor }

func (stayer) Run(ctx context.Context, _ string, _ executor.Mount, _ []executor.Mount, _ executor.ProcessInfo, _ chan<- struct{}) (resources.Recorder, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSteps(stayer{})
		if !s.wait(time.Second) {
			t.Error("waits for nothing")
		}
		ended := make(chan error, 1)
		go func() {
			_, err := s.Run(t.Context(), "", executor.Mount{}, nil, executor.ProcessInfo{}, nil)
			ended <- err
		}()
		synctest.Wait()
		if s.wait(time.Second) {
			t.Error("does not wait for a step")
		}
		s.cancel()
		if !s.wait(time.Second) {
			t.Error("the step was not cancelled")
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLog wants a bounded log that has the trace of a crash.
func TestLog(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "engine.log")
	if out, err := exec.Command(exe, "log-child", path).CombinedOutput(); err == nil || len(out) > 0 {
		t.Fatalf("child said %q, %v", out, err)
	}
	for _, p := range []string{path, path + ".1"} {
		info, err := os.Stat(p)
		if err != nil || info.Size() > logBytes+1<<20 {
			t.Errorf("%s: %v, %v", p, info, err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte("the last words")) {
		t.Errorf("the crash is not in the log: %v", err)
	}
}

func TestLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, err := takeLock(t.Context(), path, "1", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := takeLock(t.Context(), path, "1", time.Millisecond); !fault.Is(err, fault.Conflict) {
		t.Errorf("second lock: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTell(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{{nil, "ready\n"}, {errors.New("two\nlines"), "two lines\n"}} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := tell(w, test.err); !errors.Is(err, test.err) {
			t.Errorf("tell returned %v", err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err != nil || got.String() != test.want { // ends: the pipe's other end is gone
			t.Errorf("told %q, %v; want %q", got.String(), err, test.want)
		}
	}
}

func TestRegistry(t *testing.T) {
	if hosts, err := noRegistry("example.org"); err == nil || !strings.Contains(err.Error(), "example.org") {
		t.Errorf("got %v, %v", hosts, err)
	}
}

func TestCollection(t *testing.T) {
	for ask, want := range map[int64]int64{0: DefaultMaxCache, 1 << 30: 1 << 30} {
		if p := collection(ask); len(p) != 1 || p[0].MaxUsedSpace != want || !p[0].All {
			t.Errorf("collection(%d) = %+v", ask, p)
		}
	}
}
