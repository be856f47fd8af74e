package attest

import (
	"context"
	"io"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// replan plans the definition under its lock once more and refuses, with
// fault.Denied, a result that is not of that plan: another key, other steps, or
// a step whose access to the network is told otherwise. The names of the builds,
// which are not part of the key, are taken from the plan.
func (e *Evidence) replan(ctx context.Context, d *Desk) error {
	plan, err := e.plan(ctx, d.files, d)
	if err != nil {
		return err
	}
	if got := plan.Key(); got != e.Result.Key {
		return fault.New(fault.Denied, "the result is of the plan %s, the definition and the lock lead to %s", e.Result.Key.Short(), got.Short()).
			At(e.Definition.Path, 0).Fix("build again with this version of the program")
	}
	steps := slices.Clone(e.Result.Steps)
	n := 0
	for _, b := range plan.Builds {
		for i := range b.Steps {
			s := &b.Steps[i]
			if n == len(steps) || steps[n].Name != s.Name || steps[n].Uses != s.Uses || steps[n].Digest != s.Digest() || steps[n].Network != s.Network {
				return fault.New(fault.Denied, "the result does not tell of the step %q of the build %q as it was planned", s.Name, b.Name).
					At(e.Definition.Path, 0).Fix("build again")
			}
			steps[n].Build = b.Name
			n++
		}
	}
	if n < len(steps) {
		return fault.New(fault.Denied, "the result tells of the step %q, which was not planned", steps[n].Name).At(e.Definition.Path, 0).Fix("build again")
	}
	result := *e.Result
	result.Steps = steps
	e.Result = &result
	return nil
}

// plan returns the plan of the definition under the lock, once checkLock has found
// the lock right; without a desk nobody looks. What the definition includes is read
// from files. A step that wants the network gets it: whether that may be published
// is for the policy to say.
func (e *Evidence) plan(ctx context.Context, files Files, d *Desk) (*build.Plan, error) {
	fail := func(err error) (*build.Plan, error) {
		return nil, fault.New(fault.KindOf(err), "the definition cannot be planned again, and no plan is signed unseen: %w", err)
	}
	expanded, err := resolve.Pinned(e.Lock, e.Definition.Path, e.Definition.Content, func(m ashlar.Material) ([]byte, error) {
		return readText(ctx, files, m)
	})
	if err != nil {
		return fail(err)
	}
	root, err := resolve.RootTarget(expanded)
	if err != nil {
		return fail(err)
	}
	e.rootDistro = root.Distro
	if d != nil {
		if err := e.checkLock(ctx, d, expanded); err != nil {
			return fail(err)
		}
	}
	bound, err := expanded.BindEach(resolve.Values(e.Lock, len(expanded.Builds)))
	if err != nil {
		return fail(err)
	}
	plan, err := build.NewPlan(bound, e.Lock, build.Policy{AllowNetwork: true})
	if err != nil {
		return fail(err)
	}
	return plan, nil
}

// maxText bounds a file that a definition includes, in bytes.
const maxText = 1 << 20

// readText reads a file that a definition includes. Who parses it compares its
// digest with the lock's.
func readText(ctx context.Context, files Files, m ashlar.Material) ([]byte, error) {
	content, err := openFile(ctx, files, ashlar.File{Name: m.Name, Digest: m.Digest})
	if err != nil {
		return nil, err
	}
	defer content.Close()
	text, err := io.ReadAll(io.LimitReader(content, maxText+1))
	if err != nil || len(text) > maxText {
		return nil, fault.New(fault.Denied, "%s cannot be read, or has more than %d bytes: %v", m.URI, maxText, err)
	}
	return text, nil
}
