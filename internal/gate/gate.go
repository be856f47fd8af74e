// Package gate judges a build's output before anybody may have it: the source
// set is whole, and the real apt and dpkg install and upgrade every package of
// it in a sandbox, on a snapshot of the distribution that the verdict names.
// What it compares with comes in as values.
package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Case is what the gate judges.
type Case struct {
	Target ashlar.Target
	// Dsc is the description of the source package, from the build's output or
	// from its lock: its Package-List says what the set must have.
	Dsc []byte
	// Profiles are the build profiles that were active, a list for each time that
	// the source was compiled.
	Profiles [][]string
	// ArchOnly says that the definition leaves out, on purpose, the packages that
	// fit every architecture; the verdict names them.
	ArchOnly bool
	// Set is what the build made, Packages its binary packages.
	Set      []ashlar.File
	Packages []Package
	// Root is a root with apt, Archive the packages that installing the set, and
	// the versions before it, may draw on.
	Root    ashlar.Root
	Archive []Package
	// Before has the archive's version of each package of the set, to upgrade
	// from. Untried says of those that cannot be upgraded from there why not.
	Before, Untried map[string]string
	// Indexes are the signed indexes that Root and Archive come from.
	Indexes []ashlar.Index
}

// A Package is a .deb with its control paragraph.
type Package struct {
	ashlar.File
	Control deb.Paragraph
}

// Judge runs every check and returns the verdict. A check that fails makes a
// verdict that does not pass, not an error; errors are of the machine.
func Judge(ctx context.Context, r *build.Runner, c *Case) (*ashlar.Verdict, error) {
	v := &ashlar.Verdict{Passed: true, Indexes: c.Indexes}
	for _, check := range wholeSet(c) {
		v.Add(check)
	}
	if !v.Passed {
		return v, nil
	}
	root, err := r.Root(ctx, c.Target.Arch, c.Root)
	if err != nil {
		return nil, err
	}
	repo, err := newRepository(ctx, r.Blobs(), c)
	if err != nil {
		return nil, err
	}
	trials := trialsOf(c)
	checks := make([]ashlar.Check, len(trials))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	var once sync.Mutex // progress calls come one at a time
	for i, t := range trials {
		group.Go(func() error {
			step := t.step(repo)
			err := r.Engine.Solve(ctx, step.Run(root).Root(), engine.Request{Blobs: r.Blobs(), Arch: c.Target.Arch, Progress: serially(&once, r.Progress)})
			check, err := outcome(ashlar.Check{Name: t.name(), Subject: t.pkg, Detail: t.detail()}, err)
			if err == nil {
				checks[i] = *check
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for _, check := range append(checks, leftOut(c)...) {
		v.Add(check)
	}
	return v, nil
}

// serially lets several solves report to one function.
func serially(mu *sync.Mutex, f func(engine.Event)) func(engine.Event) {
	if f == nil {
		return nil
	}
	return func(e engine.Event) {
		mu.Lock()
		defer mu.Unlock()
		f(e)
	}
}

// outcome turns the end of a trial's step into the check's outcome. Only the step's
// own failure is a verdict; anything else is an error.
func outcome(check ashlar.Check, err error) (*ashlar.Check, error) {
	check.Outcome = ashlar.CheckPassed
	var failed *engine.StepError
	switch {
	case err == nil:
	case errors.As(err, &failed):
		check.Outcome = ashlar.CheckFailed
		check.Detail = fmt.Sprintf("%v\n%s", failed, strings.Join(failed.Log, "\n"))
	default:
		return nil, err
	}
	return &check, nil
}

// Failure returns nil if the verdict passed, else an error that names what failed.
func Failure(v *ashlar.Verdict) error {
	if v.Passed {
		return nil
	}
	var text string
	for _, c := range v.Checks {
		if c.Outcome == ashlar.CheckFailed {
			text += fmt.Sprintf("\n%s: %s: %s", c.Name, c.Subject, c.Detail)
		}
	}
	return fault.New(fault.Policy, "the gate refuses the source set:%s", text).
		Fix("the packages are kept but cannot be published; mend the definition and build again")
}
