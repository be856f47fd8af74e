package fault_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestError(t *testing.T) {
	err := fault.New(fault.Invalid, "unknown key %q", "pipline").At("x.yaml", 14).Fix("did you mean %q?", "pipeline")
	if got, want := err.Error(), `x.yaml:14: unknown key "pipline" (did you mean "pipeline"?)`; got != want {
		t.Errorf("error is %s, want %s", got, want)
	}
	if got := fault.New(fault.Internal, "plain").Error(); got != "plain" {
		t.Errorf("an error without place and remedy is %q", got)
	}
	wrapped := fault.New(fault.Unavailable, "read: %w", fs.ErrNotExist)
	if !errors.Is(wrapped, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}
}

// Every kind has an exit code of its own, and an HTTP status.
func TestCodes(t *testing.T) {
	seen := map[int]fault.Kind{}
	for _, kind := range []fault.Kind{
		fault.Failed, fault.Invalid, fault.NotFound, fault.Conflict, fault.Denied, fault.Unavailable, fault.Policy, fault.Internal,
	} {
		err := fmt.Errorf("outside: %w", fault.New(kind, "x"))
		code := fault.ExitCode(err)
		if other, taken := seen[code]; taken || code == 0 {
			t.Errorf("%s has exit code %d, as has %q", kind, code, other)
		}
		seen[code] = kind
		if status := fault.HTTPStatus(err); status < 400 || status > 599 {
			t.Errorf("%s has HTTP status %d", kind, status)
		}
		if !fault.Is(err, kind) {
			t.Errorf("%v is not %s", err, kind)
		}
	}
	tests := []struct {
		err  error
		kind fault.Kind
		exit int
	}{
		{nil, fault.Internal, 0},
		{context.Canceled, fault.Unavailable, 130},
		{context.DeadlineExceeded, fault.Unavailable, 6},
		{errors.New("unforeseen"), fault.Internal, 70},
	}
	for _, tt := range tests {
		if got := fault.KindOf(tt.err); got != tt.kind {
			t.Errorf("kind of %v is %s, want %s", tt.err, got, tt.kind)
		}
		if got := fault.ExitCode(tt.err); got != tt.exit {
			t.Errorf("exit code of %v is %d, want %d", tt.err, got, tt.exit)
		}
	}
	if fault.Is(nil, fault.Internal) {
		t.Error("nil is of a kind")
	}
}
