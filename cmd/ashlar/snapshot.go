package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/work"
)

func (a *app) snapshotCommand() *cobra.Command {
	c := &cobra.Command{Use: "snapshot", Short: "list immutable states of the repositories"}
	var tier, distro string
	list := &cobra.Command{
		Use: "list", Short: "list the snapshots of a tier, oldest first", Args: cobra.NoArgs,
		Long: `List the snapshots of a tier, oldest first, and what is live: of the repository for
apt, or with --distro of the one for apk of a distribution.`,
		RunE: func(*cobra.Command, []string) error {
			s, err := a.shop()
			if err != nil {
				return err
			}
			if distro != "" {
				return a.apkSnapshots(s, apkrepo.Target{Distro: ashlar.Distro(distro), Tier: ashlar.Tier(tier)})
			}
			return a.debSnapshots(s, ashlar.Tier(tier))
		},
	}
	list.Flags().StringVar(&tier, "tier", string(ashlar.Community), "tier to list")
	list.Flags().StringVar(&distro, "distro", "", "distribution of a repository for apk, such as musl-1")
	c.AddCommand(list)
	return c
}

// debSnapshots lists the snapshots of a tier for apt.
func (a *app) debSnapshots(s *work.Shop, tier ashlar.Tier) error {
	r, err := s.Repo("")
	if err != nil {
		return err
	}
	ids, err := r.Snapshots(tier)
	if err != nil {
		return err
	}
	suites, err := r.Suites()
	if err != nil {
		return err
	}
	return a.print(map[string]any{"snapshots": ids, "live": suites}, func(w io.Writer) {
		for _, id := range ids {
			fmt.Fprintln(w, id)
		}
		for _, l := range suites {
			if l.Tier == tier {
				fmt.Fprintf(w, "live: %s is %s, valid until %s\n", l.Suite, l.Snapshot, l.ValidUntil.Format(time.RFC3339))
			}
		}
	})
}

// apkSnapshots lists the snapshots of a repository for apk.
func (a *app) apkSnapshots(s *work.Shop, to apkrepo.Target) error {
	r, err := s.APKRepo()
	if err != nil {
		return err
	}
	ids, err := r.Snapshots(to)
	if err != nil {
		return err
	}
	all, err := r.Live()
	if err != nil {
		return err
	}
	live := []apkrepo.Index{}
	for _, x := range all {
		if x.Target == to {
			live = append(live, x)
		}
	}
	return a.print(map[string]any{"snapshots": ids, "live": live}, func(w io.Writer) {
		for _, id := range ids {
			fmt.Fprintln(w, id)
		}
		for _, x := range live {
			if x.Err != nil {
				fmt.Fprintf(w, "live: %s cannot be read: %v\n", x.Arch, x.Err)
				continue
			}
			fmt.Fprintf(w, "live: %s is %s, stated until %s\n", x.Arch, x.Snapshot, x.Expires.Format(time.RFC3339))
		}
	})
}

func (a *app) withdrawCommand() *cobra.Command {
	var tier, distro, reason string
	c := &cobra.Command{
		Use: "withdraw --distro DISTRO --reason WHY SOURCE...", Short: "take packages out of a repository for apk, for a reason",
		Long: `Take all packages of source packages out of the indexes of a repository for apk, for
every architecture. Their files and the snapshots that list them stay; what comes
after must have a higher version. The reason is kept beside them.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.shop()
			if err != nil {
				return err
			}
			r, err := s.APKRepo()
			if err != nil {
				return err
			}
			to := apkrepo.Target{Distro: ashlar.Distro(distro), Tier: ashlar.Tier(tier)}
			done, err := r.Withdraw(c.Context(), to, args, reason, a.now())
			if err != nil {
				return err
			}
			return a.print(done, func(w io.Writer) {
				fmt.Fprintf(w, "%s  %d withdrawn, snapshot %s\n", done.Target, len(args), done.Snapshot)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&tier, "tier", string(ashlar.Community), "tier to take them out of")
	f.StringVar(&distro, "distro", "", "distribution of the repository, such as musl-1")
	f.StringVar(&reason, "reason", "", "why, in one line")
	return c
}
