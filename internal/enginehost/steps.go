package enginehost

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/moby/buildkit/executor"
	resources "github.com/moby/buildkit/executor/resources/types"
)

// steps is an executor that knows what it runs, so that the daemon can end it
// all and wait for that.
type steps struct {
	executor.Executor
	stop   context.Context // ends when nothing may run any more
	cancel context.CancelFunc
	mu     sync.Mutex
	n      int
	none   chan struct{} // closed while n is 0
}

func newSteps(e executor.Executor) *steps {
	s := &steps{Executor: e, none: make(chan struct{})}
	s.stop, s.cancel = context.WithCancel(context.Background())
	close(s.none)
	return s
}

// Run runs a step; it is killed when the daemon is told to end.
func (s *steps) Run(ctx context.Context, id string, root executor.Mount, mounts []executor.Mount, p executor.ProcessInfo, started chan<- struct{}) (resources.Recorder, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.stop, func() { cancel(context.Canceled) })()
	s.add(1)
	defer s.add(-1)
	var hint int64
	p.Meta.Env, hint = takeHint(p.Meta.Env)
	root, changes := inMemory(root, os.TempDir(), hint)
	defer changes.close()
	rec, err := s.Executor.Run(ctx, id, root, mounts, p, started)
	if err == nil {
		err = changes.commit()
	}
	return rec, err
}

func (s *steps) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == 0 {
		s.none = make(chan struct{})
	}
	s.n += n
	if s.n == 0 {
		close(s.none)
	}
}

// wait reports whether all steps ended within the time.
func (s *steps) wait(most time.Duration) bool {
	s.mu.Lock()
	none := s.none
	s.mu.Unlock()
	select {
	case <-none:
		return true
	case <-time.After(most):
		return false
	}
}
