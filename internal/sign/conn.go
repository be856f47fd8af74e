package sign

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// selfExe is the program of this process, whatever its path is now.
const selfExe = "/proc/self/exe"

// A Conn is a connection to a signer. Its methods may be called concurrently;
// the signer answers one at a time.
type Conn struct {
	mu     sync.Mutex
	in     io.WriteCloser
	out    io.ReadCloser
	stop   func() // ends the signer, however busy it is
	wait   func() error
	public Public
	broken error
}

// A Child says how to run the signer process.
type Child struct {
	Exe        string   // "" is the running program
	Args       []string // that make it call ServeSigner
	Passphrase []byte   // of the keys, sent over the pipe
	// User is who the process runs as. Only root can start it as somebody else;
	// with its own user it is out of reach of the builder.
	User Owner
}

// StartSigner starts the signer process and waits until it has opened its keys.
// It ends when the Conn is closed, when ctx is done, or with this process. It
// gets no environment and no other open file.
func StartSigner(ctx context.Context, c Child) (*Conn, error) {
	exe := c.Exe
	if exe == "" {
		exe = selfExe
	}
	ctx, stop := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, exe, c.Args...)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.Dir = "/"
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C is not for it
	if c.User != Me() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.User.UID), Gid: uint32(c.User.GID)}
	}
	complaint := &tail{}
	cmd.Stderr = complaint
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := errors.Join(errIn, errOut); err != nil {
		stop()
		return nil, fault.New(fault.Internal, "start the signer: %w", err)
	}
	if err := cmd.Start(); err != nil {
		stop()
		return nil, fault.New(fault.Failed, "start the signer as user %d: %w", c.User.UID, err).
			Fix("its program and every folder above it must be open to that user")
	}
	wait := func() error {
		if err := cmd.Wait(); err != nil {
			return fault.New(fault.Unavailable, "the signer ended: %w: %s", err, complaint)
		}
		return nil
	}
	return greet(ctx, &Conn{in: in, out: out, stop: stop, wait: wait}, c.Passphrase)
}

// Local returns a signer inside this process, for a machine with one user and
// for tests. It is not separate from the builder, and its Public says so.
func Local(ctx context.Context, keys *Keys, handlers map[string]Handler) (*Conn, error) {
	ctx, stop := context.WithCancel(ctx)
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	done := make(chan error, 1)
	go func() {
		var first hello
		err := readFrame(inRead, &first)
		if err == nil {
			err = answer(ctx, inRead, outWrite, &Session{Keys: keys}, handlers)
		}
		outWrite.CloseWithError(io.EOF)
		done <- err
	}()
	halt := func() {
		stop()
		inRead.CloseWithError(io.EOF)
		outRead.CloseWithError(io.EOF)
	}
	return greet(ctx, &Conn{in: inWrite, out: outRead, stop: halt, wait: func() error { return <-done }}, nil)
}

// greet opens the keys and learns their public parts.
func greet(ctx context.Context, c *Conn, passphrase []byte) (*Conn, error) {
	var r response
	err := c.exchange(ctx, hello{Passphrase: passphrase}, &r)
	if err == nil && r.Error != nil {
		err = r.Error.fault()
	}
	if err == nil {
		err = json.Unmarshal(r.Body, &c.public)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Broken reports whether the signer is gone and every further call will fail.
func (c *Conn) Broken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken != nil
}

// Public returns the public keys of the signer.
func (c *Conn) Public() Public { return c.public }

// Call sends a request and decodes the answer into out. An error of the handler
// comes back with its kind; a signer that is gone is fault.Unavailable.
func (c *Conn) Call(ctx context.Context, verb string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fault.New(fault.Internal, "encode the request %q: %w", verb, err)
	}
	var r response
	if err := c.exchange(ctx, request{Verb: verb, Body: body}, &r); err != nil {
		return err
	}
	if r.Error != nil {
		return r.Error.fault()
	}
	if err := json.Unmarshal(r.Body, out); err != nil {
		return fault.New(fault.Internal, "the signer's answer to %q: %w", verb, err)
	}
	return nil
}

// exchange sends one message and reads one. After a failure, or when ctx ends in
// between, the signer is stopped: its next answer would not be to the next
// request.
func (c *Conn) exchange(ctx context.Context, in, out any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return c.broken
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		err := writeFrame(c.in, in)
		if err == nil {
			err = readFrame(c.out, out)
		}
		done <- err
	}()
	select {
	case <-ctx.Done():
		c.breakOff(ctx.Err())
		<-done
		return ctx.Err()
	case err := <-done:
		if err == nil {
			return nil
		}
		return c.breakOff(err)
	}
}

// breakOff ends the signer after err and returns what later calls get.
func (c *Conn) breakOff(err error) error {
	c.stop()
	if ended := c.wait(); ended != nil && !errors.Is(err, context.Canceled) {
		err = ended
	}
	c.broken = fault.New(fault.Unavailable, "the signer does not answer: %w", err).Fix("run the command again")
	return c.broken
}

// Close ends the signer and waits for it.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return nil
	}
	c.broken = fault.New(fault.Unavailable, "the signer was closed")
	c.in.Close()
	err := c.wait()
	c.stop()
	return err
}

// SignReleases returns each Release signed by every repository key. The signer
// first finds every index that the Releases list below dir, by hash or by name,
// plain or compressed in a form that is listed too, and recomputes its SHA-256,
// once if several list the same.
func (c *Conn) SignReleases(ctx context.Context, dir string, releases [][]byte, now time.Time) ([]pgp.Signed, error) {
	var signed []pgp.Signed
	if err := c.Call(ctx, verbRelease, releaseRequest{Dir: dir, Releases: releases, Now: now}, &signed); err != nil {
		return nil, err
	}
	if len(signed) != len(releases) {
		return nil, fault.New(fault.Internal, "the signer was asked for %d signed Releases and gave %d", len(releases), len(signed))
	}
	return signed, nil
}

// A tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-maxTail):]
	return len(p), nil
}

// String returns what was kept, trimmed.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}
