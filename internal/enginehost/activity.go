package enginehost

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// activity counts the calls under way. A client that only holds a connection
// does not count; one that solves holds a call the whole time.
type activity struct {
	expired chan struct{} // closed after idle without a call
	idle    time.Duration
	mu      sync.Mutex
	calls   int
	timer   *time.Timer
}

// newActivity starts the clock. Idle 0 means that it never expires.
func newActivity(idle time.Duration) *activity {
	a := &activity{expired: make(chan struct{}), idle: idle}
	a.rest()
	return a
}

func (a *activity) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.timer != nil {
		a.timer.Stop()
		a.timer = nil
	}
}

func (a *activity) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.calls--; a.calls == 0 {
		a.rest()
	}
}

// rest starts a new clock. A clock that was stopped too late finds that it is
// not the current one.
func (a *activity) rest() {
	if a.idle == 0 {
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(a.idle, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.timer == mine {
			close(a.expired)
		}
	})
	a.timer = mine
}

func (a *activity) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	a.begin()
	defer a.end()
	return next(ctx, req)
}

func (a *activity) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	a.begin()
	defer a.end()
	return next(srv, s)
}
