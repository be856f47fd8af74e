package main

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/serve"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// resignEvery is how often the server looks whether a suite must be signed again.
const resignEvery = 6 * time.Hour

func (a *app) serveCommand() *cobra.Command {
	var l serve.Listener
	var base, addrFile, log string
	var resign bool
	c := &cobra.Command{
		Use: "serve", Short: "serve the repositories over HTTP",
		Long: `Serve the repositories of the state folder: packages and indexes under /deb/TIER for
apt and under /apk/DISTRO/TIER for apk, public keys under /keys, a one-file sources list under /deb/TIER/SUITE.sources, and
the state of health under /healthz. With --resign the live suites are signed again
in good time, so that they never expire.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			logger, err := accessLog(a, log)
			if err != nil {
				return err
			}
			l.Log = logger
			l.Ready = func(addr net.Addr) {
				fmt.Fprintf(a.err, "serving on %s\n", addr)
				if addrFile != "" {
					if err := os.WriteFile(addrFile, []byte(addr.String()), 0o644); err != nil {
						logger.Error("cannot write the address file", "error", err)
					}
				}
			}
			return a.serve(c.Context(), l, base, resign)
		},
	}
	f := c.Flags()
	f.StringVar(&l.Addr, "listen", "127.0.0.1:8080", "address to listen on; port 0 takes a free one")
	f.StringVar(&l.CertFile, "tls-cert", "", "certificate, PEM; with it TLS is spoken")
	f.StringVar(&l.KeyFile, "tls-key", "", "key of the certificate, PEM")
	f.StringVar(&base, "base-url", "", "public address; else that of each request")
	f.StringVar(&addrFile, "address-file", "", "write the address listened on to this file")
	f.StringVar(&log, "access-log", "-", "file for the access log, JSON lines; - is standard error, empty is none")
	f.BoolVar(&resign, "resign", false, "sign live suites again before they expire; needs the keys")
	return c
}

// accessLog returns the logger for requests.
func accessLog(a *app, file string) (*slog.Logger, error) {
	switch file {
	case "":
		return slog.New(slog.DiscardHandler), nil
	case "-":
		return slog.New(slog.NewJSONHandler(a.err, nil)), nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fault.New(fault.Denied, "open the access log: %w", err).Fix("name a file that you may write with --access-log")
	}
	a.closers = append(a.closers, f.Close)
	return slog.New(slog.NewJSONHandler(f, nil)), nil
}

// serve serves until the context ends.
func (a *app) serve(ctx context.Context, l serve.Listener, base string, resign bool) error {
	s, err := a.shop()
	if err != nil {
		return err
	}
	r, err := s.Repo(base)
	if err != nil {
		return err
	}
	apks, err := s.APKRepo()
	if err != nil {
		return err
	}
	keys, err := servedKeys(filepath.Join(s.RepoDir(), "keys"))
	if err != nil {
		return err
	}
	statements, err := sign.ParsePublicKey(keys[sign.AttestationPub])
	if err != nil {
		return err
	}
	h, err := serve.New(serve.Config{
		Repo: r, APK: apks, ArchiveKey: keys[sign.RepositoryPub], Keys: keys, Statements: []crypto.PublicKey{statements},
		BaseURL: base, Log: l.Log, Now: a.now,
	})
	if err != nil {
		return err
	}
	if resign {
		if _, err := sign.ReadPublic(a.keysDir()); err != nil {
			return err
		}
		tick := time.NewTicker(resignEvery)
		defer tick.Stop()
		both := signBoth(r.Resign, apks.Resign)
		if _, err := both.Resign(ctx, a.now()); err != nil { // of one suite, perhaps: the others are served
			fmt.Fprintln(a.err, "ashlar: not every suite could be signed again:", err)
		}
		go serve.KeepSigned(ctx, both, tick.C, l.Log)
	}
	return l.Run(ctx, h)
}

// servedKeys returns the public keys in a folder, and the statement about those for
// apk, by the names of their files.
func servedKeys(dir string) (map[string][]byte, error) {
	keys := map[string][]byte{}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fault.New(fault.NotFound, "nothing was published yet: %w", err).Fix("run: ashlar publish DEFINITION")
	}
	for _, e := range list {
		name := e.Name()
		if path.Ext(name) != ".pub" && name != sign.RepositoryPub && name != apkrepo.KeyList || !e.Type().IsRegular() {
			continue
		}
		if keys[name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return nil, fault.New(fault.Denied, "read a public key: %w", err)
		}
	}
	for _, name := range []string{sign.AttestationPub, sign.RepositoryPub} {
		if keys[name] == nil {
			return nil, fault.New(fault.NotFound, "nothing was published yet: there is no %s", name).Fix("run: ashlar publish DEFINITION")
		}
	}
	return keys, nil
}
