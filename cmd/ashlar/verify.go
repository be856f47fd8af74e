package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// trustFlags are the options that say who is believed.
type trustFlags struct {
	key    string
	policy attest.Policy
	seen   int64 // number of the newest statement about a repository that was seen before
}

func (t *trustFlags) add(c *cobra.Command) {
	t.policy = attest.DefaultPolicy()
	f := c.Flags()
	f.StringVar(&t.key, "key", "", "public key for attestations, PEM; else that of the state folder")
	f.IntVar(&t.policy.MinLevel, "min-level", t.policy.MinLevel, "lowest SLSA build level to accept")
	f.BoolVar(&t.policy.AllowUnauthenticated, "allow-unauthenticated", false, "accept sources that nothing vouches for")
	f.BoolVar(&t.policy.AllowNetwork, "accept-network", false, "accept builds with steps that could reach the network")
}

func (a *app) verifyCommand() *cobra.Command {
	var t trustFlags
	var repository bool
	c := &cobra.Command{
		Use: "verify FILE...", Short: "check every claim about a package, offline, and say what was checked",
		Long: `Check a package against the statements beside it (FILE.provenance.sigstore.json and
so on): its digest, the signatures, where it comes from, and the policy. Nothing is
asked of the network.

With --repository, each argument is the address or the folder of a repository for apk,
down to the architecture. Its indexes are checked to be signed and to be the newest:
indexes for apk never expire, so nothing else tells a client that it is kept from
updates.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if repository {
				return a.verifyRepositories(c.Context(), args, &t)
			}
			var reports []*attest.Report
			var errs []error
			for _, file := range args {
				r, err := a.verify(c.Context(), file, &t)
				if r != nil {
					reports = append(reports, r)
				}
				errs = append(errs, err)
			}
			perr := a.print(reports, func(w io.Writer) {
				for _, r := range reports {
					printReport(w, r)
				}
			})
			return errors.Join(append(errs, perr)...)
		},
	}
	t.add(c)
	c.Flags().BoolVar(&repository, "repository", false, "check that the indexes of repositories for apk are the newest")
	c.Flags().Int64Var(&t.seen, "seen", 0, "with --repository: number of the newest statement that was seen before")
	return c
}

// verify checks one file against the bundles beside it.
func (a *app) verify(ctx context.Context, file string, t *trustFlags) (*attest.Report, error) {
	trust, err := a.trust(t)
	if err != nil {
		return nil, err
	}
	bundles, err := bundlesOf(file)
	if err != nil {
		return nil, err
	}
	return verifyWith(ctx, file, bundles, trust, t.policy)
}

// verifyWith checks one file against bundles.
func verifyWith(ctx context.Context, file string, bundles map[string][]byte, trust attest.Trust, policy attest.Policy) (*attest.Report, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	defer f.Close()
	return attest.Verify(ctx, attest.VerifyRequest{
		Name: filepath.Base(file), File: f, Bundles: slices.Collect(maps.Values(bundles)), Trust: trust, Policy: policy,
	})
}

// trust returns the keys that are believed.
func (a *app) trust(t *trustFlags) (attest.Trust, error) {
	file := t.key
	if file == "" {
		file = filepath.Join(a.keysDir(), sign.AttestationPub)
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return attest.Trust{}, fault.New(fault.NotFound, "no public key to believe: %w", err).
			Fix("give the publisher's key with --key; a repository serves it as keys/%s", sign.AttestationPub)
	}
	return attest.TrustKey(pem)
}

// bundlesOf reads the statements beside a file, by kind.
func bundlesOf(file string) (map[string][]byte, error) {
	bundles := map[string][]byte{}
	for _, kind := range attest.BundleKinds() {
		b, err := os.ReadFile(attest.BundleName(file, kind))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, fault.New(fault.Denied, "%w", err)
		}
		bundles[kind] = b
	}
	if len(bundles) == 0 {
		return nil, fault.New(fault.NotFound, "no statements about this file beside it").At(file, 0).
			Fix("download FILE.provenance.sigstore.json and its siblings from where the file came from")
	}
	return bundles, nil
}

func printReport(w io.Writer, r *attest.Report) {
	verdict := "VERIFIED"
	if !r.Verified {
		verdict = "REFUSED"
	}
	fmt.Fprintf(w, "%s  %s\n", verdict, r.File.Name)
	for _, c := range r.Claims {
		mark := "yes"
		if !c.OK {
			mark = "NO "
		}
		fmt.Fprintf(w, "  %s  %s\n", mark, c.Claim)
		if c.Detail != "" {
			fmt.Fprintf(w, "       %s\n", c.Detail)
		}
	}
}

func (a *app) rebuildCommand() *cobra.Command {
	var t trustFlags
	var from string
	var vary build.Variation
	c := &cobra.Command{
		Use: "rebuild FILE", Short: "build a package again from its provenance alone and compare bytes",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			trust, err := a.trust(&t)
			if err != nil {
				return err
			}
			bundles, err := bundlesOf(args[0])
			if err != nil {
				return err
			}
			report, err := verifyWith(c.Context(), args[0], bundles, trust, t.policy)
			if err != nil {
				return err
			}
			p, err := attest.OpenProvenance(bytes.NewReader(bundles["provenance"]))
			if err != nil {
				return err
			}
			return a.rebuild(c.Context(), report.File, p, from, vary)
		},
	}
	t.add(c)
	f := c.Flags()
	f.StringVar(&from, "from", "", "base address of the repository, which keeps every source of what it published")
	f.StringVar(&vary.Hostname, "vary-hostname", "", "host name of the sandbox")
	f.IntVar(&vary.UID, "vary-uid", 0, "user that compiles")
	f.StringVar(&vary.Umask, "vary-umask", "", "umask of the compilation, octal")
	f.StringVar(&vary.Locale, "vary-locale", "", "locale of the steps")
	f.IntVar(&vary.Parallel, "vary-parallel", 0, "number of compilations at a time")
	a.builderFlags(c)
	return c
}

func (a *app) rebuild(ctx context.Context, file ashlar.File, p *attest.ReadyProvenance, from string, vary build.Variation) error {
	s, err := a.shop()
	if err != nil {
		return err
	}
	cmp, err := s.Rebuild(ctx, file, p, from, vary)
	if err != nil {
		return err
	}
	err = a.print(cmp, func(w io.Writer) {
		if cmp.Identical && cmp.Unsigned != "" {
			fmt.Fprintf(w, "IDENTICAL  %s was built again, bit for bit but for its signatures: %s\n", cmp.File, cmp.Got)
			return
		}
		if cmp.Identical {
			fmt.Fprintf(w, "IDENTICAL  %s was built again, bit for bit: %s\n", cmp.File, cmp.Got)
			return
		}
		fmt.Fprintf(w, "DIFFERENT  %s: have %s, built %s\n", cmp.File, cmp.Want, cmp.Got)
	})
	if err == nil && !cmp.Identical {
		return fault.New(fault.Failed, "%s is not what its provenance leads to", cmp.File).Fix("compare the two with diffoscope; the one built now is %s in the store", cmp.Got)
	}
	return err
}
