package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/work"
)

// builderFlags adds the options of verbs that run steps.
func (a *app) builderFlags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.flags.builder, "builder", "", "address of a buildkitd (tcp://host:port, unix:///path) instead of the engine of this program")
	f.StringVar(&a.flags.builderTLS[0], "builder-ca", "", "certificates that the builder's is checked against")
	f.StringVar(&a.flags.builderTLS[1], "builder-cert", "", "certificate shown to the builder")
	f.StringVar(&a.flags.builderTLS[2], "builder-key", "", "key of that certificate")
	f.BoolVar(&a.flags.allowNetwork, "allow-network", false, "let steps that a definition marks privileged reach the network; the attestation says so")
}

// A built is what `build` prints of one definition.
type built struct {
	Definition string             `json:"definition"`
	Key        ashlar.Digest      `json:"key,omitempty"`
	Cached     bool               `json:"cached"`
	Files      []ashlar.File      `json:"files,omitempty"`
	Tests      *ashlar.TestResult `json:"tests,omitempty"`
	Passed     bool               `json:"passed"` // the gate
	Level      string             `json:"level,omitempty"`
	Seconds    float64            `json:"seconds"`
	Error      string             `json:"error,omitempty"`
}

func (a *app) buildCommand() *cobra.Command {
	var opts work.BuildOptions
	var jobs int
	var keepGoing, needs bool
	c := &cobra.Command{
		Use: "build DEFINITION|FOLDER...", Short: "build, gate and attest definitions",
		Long: `Build what the definitions describe: make or take the lock, run the steps in the
engine, judge the output in the gate, sign attestations. A definition whose inputs
did not change since it was built is not built again.

A lock beside a definition (NAME.ARCH.lock.json) is used while all its files can
still be had; otherwise inputs are resolved anew, and a note says so.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs, s, err := a.open(args)
			if err != nil {
				return err
			}
			if needs {
				if refs, err = work.WithNeeds(refs, ashlar.Arch(opts.Arch)); err != nil {
					return err
				}
			}
			results, err := a.buildAll(c.Context(), s, refs, opts, max(1, jobs), keepGoing)
			if perr := a.print(results, func(w io.Writer) { printBuilt(w, results) }); err == nil {
				err = perr
			}
			return err
		},
	}
	a.builderFlags(c)
	f := c.Flags()
	f.IntVarP(&jobs, "jobs", "j", 1, "definitions built at the same time")
	f.BoolVarP(&keepGoing, "keep-going", "k", false, "go on with the others after one failed")
	f.BoolVar(&needs, "with-needs", false, "build the definitions beside them too that make what these are built with, or depend on")
	f.BoolVar(&opts.Relock, "relock", false, "resolve inputs anew even if there is a lock")
	f.BoolVar(&opts.Fresh, "fresh", false, "run the steps even if their result is known")
	f.StringVar(&opts.Arch, "arch", "amd64", "architecture to build for")
	return c
}

// buildAll builds the definitions, jobs at a time, those first whose packages
// others are built with, and returns what became of each in that order. The error is
// the first, or how many failed.
func (a *app) buildAll(ctx context.Context, s *work.Shop, refs []work.Ref, opts work.BuildOptions, jobs int, keepGoing bool) ([]built, error) {
	order, err := work.Order(refs, ashlar.Arch(opts.Arch))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	results := make([]built, len(order))
	var mu sync.Mutex
	var errs []error
	fail := func(i int, err error) error {
		results[i].Error = err.Error()
		mu.Lock()
		defer mu.Unlock()
		if keepGoing || len(errs) == 0 { // what ends because another failed is no news
			errs = append(errs, err)
		}
		if !keepGoing {
			stop()
		}
		return err
	}
	work.Each(ctx, order, jobs, func(i int) error {
		begun := a.now()
		r, cached, err := s.Build(ctx, order[i].Ref, opts)
		results[i] = summary(order[i].Ref, r, cached)
		results[i].Seconds = a.now().Sub(begun).Seconds()
		if err != nil {
			return fail(i, err)
		}
		return nil
	}, func(i, failed int) {
		results[i] = summary(order[i].Ref, nil, false)
		_ = fail(i, fault.New(fault.Failed, "not begun: it is built with what %s makes, which failed", order[failed].File()).At(order[i].File(), 0))
	})
	switch {
	case len(errs) == 0:
		return results, ctx.Err()
	case len(errs) == 1:
		return results, errs[0]
	}
	return results, fault.New(fault.Failed, "%d of %d definitions failed:\n%w", len(errs), len(refs), errors.Join(errs...))
}

func summary(ref work.Ref, r *work.Record, cached bool) built {
	b := built{Definition: ref.File(), Cached: cached}
	if r != nil {
		b.Key, b.Files, b.Tests, b.Passed, b.Level = r.Result.Key, r.Result.Files, &r.Result.Tests, r.Verdict.Passed, r.Level()
	}
	return b
}

func printBuilt(w io.Writer, results []built) {
	for _, b := range results {
		if b.Error != "" {
			fmt.Fprintf(w, "%s  FAILED\n", b.Definition)
			continue
		}
		if b.Key == "" { // not begun, since another failed
			continue
		}
		how := "built"
		if b.Cached {
			how = "unchanged"
		}
		fmt.Fprintf(w, "%s  %s in %.1fs, tests %s, gate passed, %s\n", b.Definition, how, b.Seconds, b.Tests.Outcome, b.Level)
		for _, f := range b.Files {
			fmt.Fprintf(w, "  %s  %8d  %s\n", f.Digest.Short(), f.Size, f.Name)
		}
	}
}
