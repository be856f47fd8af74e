// Package engine is the door to BuildKit, which runs every foreign command.
// It finds or starts the embedded daemon (a child of the same binary, see
// internal/enginehost) or connects to a stock buildkitd, hands it inputs by
// digest from a blob store, and takes the output.
//
// A step sees its inputs and nothing else: Step leaves no way to forget that,
// and Solve checks the finished graph once more before it is sent.
package engine

import (
	"context"
	"errors"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Client runs graphs on one daemon. Its methods may be called concurrently.
type Client struct {
	place   string                                        // where to read more when it fails
	connect func(context.Context) (*client.Client, error) // a new connection to a living daemon

	encoding sync.Mutex // see marshal

	mu   sync.Mutex
	conn *client.Client
}

// TLS names the PEM files for a connection with mutual TLS.
type TLS struct {
	CA         string // certificates that the daemon's is checked against
	Cert, Key  string // what this client shows
	ServerName string // the name in the daemon's certificate, "" for the host of the address
}

// Dial connects to a daemon at tcp://host:port or unix:///path and checks that
// it answers. TCP needs all of CA, Cert and Key. The error is fault.Invalid for
// a wrong address or incomplete TLS, fault.Unavailable if nothing answers.
func Dial(ctx context.Context, addr string, t TLS) (*Client, error) {
	u, err := url.Parse(addr)
	if err != nil {
		return nil, fault.New(fault.Invalid, "engine address %q: %w", addr, err)
	}
	var opts []client.ClientOpt
	switch u.Scheme {
	case "unix":
	case "tcp":
		if t.CA == "" || t.Cert == "" || t.Key == "" {
			return nil, fault.New(fault.Invalid, "engine address %s needs mutual TLS", addr).
				Fix("give the CA, certificate and key files, or use a unix:// address")
		}
		for _, file := range []string{t.CA, t.Cert, t.Key} {
			if _, err := os.ReadFile(file); err != nil {
				return nil, fault.New(fault.Invalid, "TLS for the engine: %w", err).At(file, 0)
			}
		}
		if t.ServerName == "" {
			t.ServerName = u.Hostname()
		}
		opts = append(opts, client.WithServerConfig(t.ServerName, t.CA), client.WithCredentials(t.Cert, t.Key))
	default:
		return nil, fault.New(fault.Invalid, "engine address %q is neither tcp:// nor unix://", addr)
	}
	c := &Client{place: addr, connect: func(ctx context.Context) (*client.Client, error) {
		return client.New(ctx, addr, opts...)
	}}
	if _, err := c.Version(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Native is the architecture of this machine, which the embedded daemon runs
// programs of.
const Native = ashlar.Arch(runtime.GOARCH) // the two that definitions know have the same name for Debian and Go

// platform returns what the daemon calls an architecture.
func platform(arch ashlar.Arch) ocispecs.Platform {
	return ocispecs.Platform{OS: "linux", Architecture: string(arch)}
}

// Runs returns nil if the daemon runs programs of an architecture, else
// fault.Invalid.
func (c *Client) Runs(ctx context.Context, arch ashlar.Arch) error {
	conn, _, err := c.living(ctx)
	if err != nil {
		return err
	}
	workers, err := conn.ListWorkers(ctx)
	if err != nil {
		return c.unavailable(ctx, err)
	}
	var runs []string
	for _, w := range workers {
		for _, p := range w.Platforms {
			if want := platform(arch); p.OS == want.OS && p.Architecture == want.Architecture {
				return nil
			}
			runs = append(runs, p.OS+"/"+p.Architecture)
		}
	}
	slices.Sort(runs)
	runs = slices.Compact(runs) // of one architecture there are several variants
	return fault.New(fault.Invalid, "the engine runs programs for %s, not for linux/%s", strings.Join(runs, " and "), arch).
		Fix("give the address of a buildkitd on a machine of that architecture: --builder tcp://HOST:PORT, with --builder-ca, --builder-cert and --builder-key")
}

// Version returns the daemon's own name and version, such as
// "github.com/moby/buildkit v0.34.2". The error is fault.Unavailable.
func (c *Client) Version(ctx context.Context) (string, error) {
	_, version, err := c.living(ctx)
	return version, err
}

// Close ends the connection. The daemon lives on.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil
	}
	err := c.conn.Close()
	c.conn = nil
	return err
}

// living returns a connection that just answered, and the daemon's version. A
// connection that does not answer is replaced once: the daemon may have ended
// in its idle time.
func (c *Client) living(ctx context.Context) (*client.Client, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		if v, err := version(ctx, c.conn); err == nil {
			return c.conn, v, nil
		}
		_ = c.conn.Close() // it is of no use any more
		c.conn = nil
	}
	conn, err := c.connect(ctx)
	if err != nil {
		return nil, "", c.unavailable(ctx, err)
	}
	v, err := version(ctx, conn)
	if err != nil {
		return nil, "", errors.Join(c.unavailable(ctx, err), conn.Close())
	}
	c.conn = conn
	return conn, v, nil
}

func version(ctx context.Context, conn *client.Client) (string, error) {
	info, err := conn.Info(ctx)
	if err != nil {
		return "", err
	}
	return info.BuildkitVersion.Package + " " + info.BuildkitVersion.Version, nil
}

// unavailable says that the daemon does not answer, unless the caller gave up
// or err says it better already.
func (c *Client) unavailable(ctx context.Context, err error) error {
	var known *fault.Error
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &known):
		return err
	}
	return fault.New(fault.Unavailable, "the engine at %s does not answer: %w", c.place, err)
}
