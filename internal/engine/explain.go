package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/util/grpcerrors"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// LogLines is how many lines of its log a StepError keeps.
const LogLines = 30

// A StepError says which step failed and how. It is the cause of a fault.Failed
// error that Solve returns.
type StepError struct {
	Name     string
	Vertex   ashlar.Digest
	ExitCode int
	Log      []string // its last lines, at most LogLines
}

// Error returns one line without the log.
func (e *StepError) Error() string {
	return fmt.Sprintf("step %q failed with exit code %d", e.Name, e.ExitCode)
}

// explain turns what the daemon said into one clear error.
func (c *Client) explain(ctx context.Context, err error, w *watch, lost error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *gatewayapi.ExitError
	message := err.Error()
	switch {
	case errors.As(err, &exit) && exit.ExitCode != gatewayapi.UnknownExitStatus:
		return stepFault(err, w, int(exit.ExitCode))
	case lost != nil:
		return fmt.Errorf("an input of the build: %w", lost)
	case strings.Contains(message, "denied by policy") || strings.Contains(message, "not allowed by policy"):
		return fault.New(fault.Policy, "the graph has a source that is not the client's own: %w", err)
	case full(message):
		return fault.New(fault.Unavailable, "the engine's disk is full: %w", err).Fix("free some space and run again; see %s", c.place)
	case gone(err):
		return fault.New(fault.Unavailable, "the engine ended in the middle of the work: %w", err).Fix("run again; its log is %s", c.place)
	}
	return fault.New(fault.Internal, "the engine failed: %w", err).Fix("see %s", c.place)
}

// stepFault describes the step that made the solve fail.
func stepFault(err error, w *watch, code int) error {
	step := &StepError{Name: "unknown", ExitCode: code}
	var vertex *errdefs.VertexError
	if errors.As(err, &vertex) {
		d := digest.Digest(vertex.Digest)
		step.Name, step.Vertex = w.vertex(d).Name, ashlar.Digest(d)
		step.Log = w.last(d, LogLines)
	}
	f := fault.New(fault.Failed, "%w", step)
	switch {
	case full(strings.Join(step.Log, "\n")):
		f = f.Fix("the disk is full; free some space and run again")
	case code == 137:
		f = f.Fix("it was killed, which happens when the machine runs out of memory")
	}
	return f
}

func full(message string) bool {
	m := strings.ToLower(message)
	return strings.Contains(m, "no space left on device") || strings.Contains(m, "disk quota exceeded")
}

// gone reports whether the connection broke, or the daemon is stopping.
func gone(err error) bool {
	switch grpcerrors.Code(err) {
	case codes.Unavailable, codes.Canceled:
		return true
	}
	return errors.Is(err, context.Canceled)
}
