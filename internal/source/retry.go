package source

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Retry says how often a server that does not answer is asked again, and how
// long to wait between: Base, doubled each time up to Max, of which a random
// half is left out. The zero value means five attempts, half a second, 20
// seconds.
type Retry struct {
	Attempts int
	Base     time.Duration
	Max      time.Duration
	Sleep    func(ctx context.Context, d time.Duration) error // nil waits by the clock
	Jitter   func() float64                                   // in [0, 1), nil is random
}

func (r Retry) attempts() int {
	if r.Attempts > 0 {
		return r.Attempts
	}
	return 5
}

// A final error has had its attempts and is not tried again.
type final struct{ err error }

func (e *final) Error() string { return e.err.Error() }
func (e *final) Unwrap() error { return e.err }

// do calls f until it succeeds, fails for good, or the attempts are used up.
func (r Retry) do(ctx context.Context, f func() error) error {
	for n := 1; ; n++ {
		err := f()
		var last *final
		if errors.As(err, &last) {
			return last.err
		}
		var store *storeError
		if err == nil || errors.As(err, &store) || ctx.Err() != nil || !fault.Is(err, fault.Unavailable) || n >= r.attempts() {
			return err
		}
		if perr := r.pause(ctx, n, err); perr != nil {
			return perr
		}
	}
}

// pause waits before the attempt after the n-th, which failed with err.
func (r Retry) pause(ctx context.Context, n int, err error) error {
	base, most := r.Base, r.Max
	if base <= 0 {
		base = 500 * time.Millisecond
	}
	if most <= 0 {
		most = 20 * time.Second
	}
	d := min(most, base<<min(n-1, 20))
	jitter := rand.Float64
	if r.Jitter != nil {
		jitter = r.Jitter
	}
	d = d/2 + time.Duration(jitter()*float64(d/2))
	var asked *unavailable
	if errors.As(err, &asked) && asked.after > d {
		d = min(asked.after, most)
	}
	if r.Sleep != nil {
		return r.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
