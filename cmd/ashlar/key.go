package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/sign"
)

func (a *app) keyCommand() *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "make and list signing keys"}
	c.AddCommand(a.keyInit(), a.keyAPK(), a.keyList())
	return c
}

func (a *app) keyInit() *cobra.Command {
	var name, email string
	c := &cobra.Command{
		Use: "init", Short: "make the keys: for attestations, for apt (OpenPGP) and for apk (RSA, EC)",
		Long: `Make the keys of a state folder: ECDSA P-256 for attestations, Ed25519 OpenPGP for
apt, RSA-4096 for apk's v2 packages and indexes, ECDSA P-256 for its v3. With $ASHLAR_PASSPHRASE_FILE set, the private keys
are encrypted with the passphrase in that file; without it they are readable by the
signer alone. As root the signer is a user of its own, so that neither a build step
nor the builder can reach them. Existing keys are never overwritten.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			pass, err := passphrase()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(a.flags.state, 0o755); err != nil {
				return err
			}
			keys, err := sign.GenerateAPK()
			if err != nil {
				return err
			}
			pub, err := sign.Init(sign.New{
				Dir: a.keysDir(), Passphrase: pass, Name: name, Email: email, Owner: signerUser(), Now: a.now(), APK: keys,
			})
			if err != nil {
				return err
			}
			return a.printKeys(pub)
		},
	}
	c.Flags().StringVar(&name, "name", "Ashlar packages", "name in the OpenPGP key")
	c.Flags().StringVar(&email, "email", "ashlar@localhost", "address in the OpenPGP key")
	return c
}

func (a *app) keyAPK() *cobra.Command {
	return &cobra.Command{
		Use: "apk", Short: "make new keys for apk beside those that there are",
		Long: `Make another RSA and another EC key for apk. Packages and indexes are signed by all
keys from then on, so that clients with the old and clients with the new ones work:
run ashlar resign --all, give clients the new files of keys/, and take the files of
the old keys out of the keys folder once nobody uses them any more.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			pass, err := passphrase()
			if err != nil {
				return err
			}
			keys, err := sign.GenerateAPK()
			if err != nil {
				return err
			}
			pub, err := sign.AddAPK(sign.New{Dir: a.keysDir(), Passphrase: pass, Owner: signerUser(), APK: keys})
			if err != nil {
				return err
			}
			return a.printKeys(pub)
		},
	}
}

func (a *app) keyList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "show the public keys", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			pub, err := sign.ReadPublic(a.keysDir())
			if err != nil {
				return err
			}
			return a.printKeys(pub)
		},
	}
}

func (a *app) printKeys(pub *sign.Public) error {
	return a.print(pub, func(w io.Writer) {
		fmt.Fprintf(w, "attestations  %s\n              key id %s\n", filepath.Join(a.keysDir(), sign.AttestationPub), pub.KeyID)
		fmt.Fprintf(w, "repositories  %s\n", filepath.Join(a.keysDir(), sign.RepositoryPub))
		for _, f := range pub.Fingerprints {
			fmt.Fprintf(w, "              fingerprint %s\n", f)
		}
		for _, k := range pub.APK {
			fmt.Fprintf(w, "apk %s        %s\n", k.Format, filepath.Join(a.keysDir(), k.Name))
		}
	})
}

func (a *app) tierCommand() *cobra.Command {
	c := &cobra.Command{Use: "tier", Short: "list the tiers of service"}
	type tier struct {
		Name ashlar.Tier `json:"name"`
		For  string      `json:"for"`
	}
	tiers := []tier{
		{ashlar.Community, "open to everybody"},
		{ashlar.Select, "remediation within 7 days, customised images"},
		{ashlar.Enterprise, "the repository in a customer's own pipelines, extended support"},
	}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "list the tiers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return a.print(tiers, func(w io.Writer) {
				for _, t := range tiers {
					fmt.Fprintf(w, "%-12s %s\n", t.Name, t.For)
				}
			})
		},
	})
	return c
}
