package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/enginehost"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sign"
	"github.com/ashlar-project/ashlar/internal/source"
	"github.com/ashlar-project/ashlar/internal/work"
)

// shop opens the state folder for a verb.
func (a *app) shop() (*work.Shop, error) {
	mirrors, err := a.mirrors()
	if err != nil {
		return nil, err
	}
	s, err := work.Open(work.Config{
		Dir: a.flags.state, Mirrors: mirrors, Offline: a.flags.offline, MaxAge: a.flags.maxAge,
		Plans:   build.Policy{AllowNetwork: a.flags.allowNetwork},
		Publish: attest.DefaultPolicy(),
		Engine:  a.engine, Signer: a.signer,
		Now: a.now, Report: a.progress(),
	})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, s.Close)
	return s, nil
}

// open returns the definitions that the arguments name, and the shop.
func (a *app) open(args []string) ([]work.Ref, *work.Shop, error) {
	refs, err := a.definitions(args)
	if err != nil {
		return nil, nil, err
	}
	s, err := a.shop()
	return refs, s, err
}

// mirrors reads --mirrors over what this machine's apt names.
func (a *app) mirrors() (*source.Mirrors, error) {
	m, err := source.MirrorsFromApt()
	if err != nil {
		return nil, err
	}
	if a.flags.mirrors == "" {
		return m, nil
	}
	b, err := os.ReadFile(a.flags.mirrors)
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	own, err := source.ParseMirrors(a.flags.mirrors, b)
	if err != nil {
		return nil, err
	}
	return own.Merge(m), nil
}

// engineConfig says how the embedded engine is run.
func (a *app) engineConfig() engine.Config {
	return engine.Config{StateDir: a.flags.state, Args: []string{"engine"}}
}

// engine connects to --builder, or to the embedded engine, started if need be.
func (a *app) engine(ctx context.Context) (*engine.Client, error) {
	if a.flags.builder != "" {
		t := a.flags.builderTLS
		return engine.Dial(ctx, a.flags.builder, engine.TLS{CA: t[0], Cert: t[1], Key: t[2]})
	}
	return engine.Ensure(ctx, a.engineConfig())
}

// engineCommand is what the embedded engine is started with.
func (a *app) engineCommand() *cobra.Command {
	return &cobra.Command{
		Use: "engine", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error { return enginehost.Main(args) },
	}
}

// keysDir is the folder of the keys.
func (a *app) keysDir() string { return filepath.Join(a.flags.state, "keys") }

// signerUser is who the signer runs as: a user of its own where possible.
func signerUser() sign.Owner {
	if os.Geteuid() == 0 {
		return sign.SystemUser()
	}
	return sign.Me()
}

// signer starts the signer process.
func (a *app) signer(ctx context.Context) (*sign.Conn, error) {
	dir, err := filepath.Abs(a.keysDir())
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	state, err := filepath.Abs(a.flags.state)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	pass, err := passphrase()
	if err != nil {
		return nil, err
	}
	return sign.StartSigner(ctx, sign.Child{Args: []string{"signer", dir, state}, Passphrase: pass, User: signerUser()})
}

// signerCommand is what the signer process is started with.
func (a *app) signerCommand() *cobra.Command {
	return &cobra.Command{
		Use: "signer", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			program, err := ownProgram()
			if err != nil {
				return err
			}
			indexes := archive.Config{Dir: filepath.Join(args[0], "indexes")} // below the keys, where nobody else can write
			desk := attest.NewDesk(attest.Store(args[1]), program, version(), indexes)
			return sign.ServeSigner(c.Context(), os.Stdin, os.Stdout, sign.Serving{Dir: args[0], Handlers: attest.Handlers(desk)})
		},
	}
}

// passphrase returns the passphrase of the keys: the content of the file that
// $ASHLAR_PASSPHRASE_FILE names, or nil.
func passphrase() ([]byte, error) {
	file := os.Getenv("ASHLAR_PASSPHRASE_FILE")
	if file == "" {
		return nil, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.New(fault.NotFound, "read the passphrase: %w", err).Fix("$ASHLAR_PASSPHRASE_FILE names the file")
	}
	b = bytes.TrimRight(b, "\r\n")
	if len(b) == 0 {
		return nil, fault.New(fault.Invalid, "the passphrase is empty").At(file, 0).Fix("write one into it, or unset $ASHLAR_PASSPHRASE_FILE")
	}
	return b, nil
}

// ownProgram returns the digest and size of the running executable.
func ownProgram() (ashlar.File, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return ashlar.File{}, fault.New(fault.Internal, "read the own program: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return ashlar.File{}, fault.New(fault.Internal, "read the own program: %w", err)
	}
	return ashlar.File{Name: "ashlar", Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: n}, nil
}
