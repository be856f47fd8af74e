package attest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// replan plans the definition under its lock once more and refuses, with
// fault.Denied, a result that is not of that plan: another key, other steps, or
// a step whose access to the network is told otherwise. The names of the builds,
// which are not part of the key, are taken from the plan.
func (e *Evidence) replan(ctx context.Context, d *Desk) error {
	plan, err := e.plan(ctx, d)
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

// plan returns the plan of the definition under the lock, once checkLock has found the
// lock right; without a desk nobody looks. A step that wants the network gets it:
// whether that may be published is for the policy to say.
func (e *Evidence) plan(ctx context.Context, d *Desk) (*build.Plan, error) {
	root, err := os.MkdirTemp("", "ashlar-plan-")
	if err != nil {
		return nil, fault.New(fault.Unavailable, "plan the definition again: %w", err).Fix("give the signer a folder for temporary files")
	}
	defer os.RemoveAll(root)
	fail := func(err error) (*build.Plan, error) {
		said := strings.ReplaceAll(err.Error(), root+string(filepath.Separator), "")
		return nil, fault.New(fault.KindOf(err), "the definition cannot be planned again, and no plan is signed unseen: %s", said)
	}
	if err := e.layOut(root); err != nil {
		return fail(err)
	}
	def, err := catalog.Load(root, e.Definition.Path)
	if err != nil {
		return fail(err)
	}
	expanded, err := def.Expand(e.Lock.Inputs.Target)
	if err != nil {
		return fail(err)
	}
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

// layOut writes the definition and what it includes below root, where the
// catalog reads them.
func (e *Evidence) layOut(root string) error {
	files := map[string][]byte{}
	maps.Copy(files, e.Definition.Includes)
	files[e.Definition.Path] = e.Definition.Content
	for name, content := range files {
		if !filepath.IsLocal(name) {
			return fault.New(fault.Denied, "%q is outside of the catalog", name)
		}
		at := filepath.Join(root, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(at), 0o700)
		if err == nil {
			err = os.WriteFile(at, content, 0o600)
		}
		if err != nil {
			return fault.New(fault.Unavailable, "%w", err)
		}
	}
	return nil
}
