package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/work"
)

func (a *app) publishCommand() *cobra.Command {
	var opts work.PublishOptions
	var tier string
	c := &cobra.Command{
		Use: "publish DEFINITION|FOLDER...", Short: "put what was built into a signed repository",
		Long: `Publish the newest build of each definition into the suite of its release. Whole
source sets only, in one snapshot; what the gate refused or policy forbids is not
published, and then nothing is.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs, s, err := a.open(args)
			if err != nil {
				return err
			}
			opts.Tier = ashlar.Tier(tier)
			done, err := s.Publish(c.Context(), refs, opts)
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				for _, p := range done {
					fmt.Fprintf(w, "%s/%s  %d source sets, snapshot %s\n", p.Tier, p.Suite, p.Sets, p.Snapshot)
				}
			})
		},
	}
	f := c.Flags()
	f.StringVar(&tier, "tier", string(ashlar.Community), "tier to publish to")
	f.StringVar(&opts.Base, "base-url", "", "public address of the repository, for its snapshots")
	f.StringVar(&opts.Arch, "arch", "amd64", "architecture to publish")
	f.BoolVar(&opts.AllowNetwork, "allow-network", false, "publish even what steps made that could reach the network")
	f.BoolVar(&opts.AllowUnauthenticated, "allow-unauthenticated", false, "publish even what came of a source that nothing vouches for")
	return c
}

func (a *app) resignCommand() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "resign", Short: "sign live suites again before they expire", Args: cobra.NoArgs,
		Long: `Sign every live suite for apt, and every statement about the indexes for apk, again
that has used up half of its validity, or with --all every one, as is needed after a
key was added or taken away: then the public keys and the indexes for apk change too.`,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.shop()
			if err != nil {
				return err
			}
			r, err := s.Repo("")
			if err != nil {
				return err
			}
			apks, err := s.APKRepo()
			if err != nil {
				return err
			}
			resign := signBoth(r.Resign, apks.Resign)
			if all {
				resign = signBoth(r.ResignAll, apks.ResignAll)
			}
			if err := a.renewKeys(c.Context(), s); err != nil {
				return err
			}
			done, err := resign(c.Context(), a.now())
			return errors.Join(err, a.print(done, func(w io.Writer) {
				for _, d := range done {
					fmt.Fprintln(w, d)
				}
			}))
		},
	}
	c.Flags().BoolVar(&all, "all", false, "sign suites that are fresh as well")
	return c
}

// A resigner signs again what is live, and says what it signed.
type resigner func(ctx context.Context, now time.Time) ([]string, error)

// Resign does it.
func (f resigner) Resign(ctx context.Context, now time.Time) ([]string, error) { return f(ctx, now) }

// signBoth returns what does the work of both.
func signBoth(apt, apk resigner) resigner {
	return func(ctx context.Context, now time.Time) ([]string, error) {
		done, err := apt(ctx, now)
		more, merr := apk(ctx, now)
		return append(done, more...), errors.Join(err, merr)
	}
}

// renewKeys puts the public keys of today where clients find them, if anything was
// ever published.
func (a *app) renewKeys(ctx context.Context, s *work.Shop) error {
	if _, err := os.Stat(s.RepoDir()); err != nil {
		return nil
	}
	return s.PublishKeys(ctx)
}
