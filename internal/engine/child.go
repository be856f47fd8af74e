package engine

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/client"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// DefaultIdle is how long an idle child stays.
const DefaultIdle = 10 * time.Minute

// times that a child may take.
const (
	startPatience  = 60 * time.Second // to be ready, after the one before it let go of the state
	answerPatience = 10 * time.Second // to answer a small question
	stopPatience   = 30 * time.Second // to end by itself when told to
)

// A Config says how to run the embedded daemon as a child.
type Config struct {
	StateDir string        // the daemon lives in its folder "engine"
	Exe      string        // path of the binary to start, "" for this one
	Args     []string      // the subcommand that calls enginehost.Main, as ["engine", "serve"]
	Idle     time.Duration // the daemon ends when it had nothing to do for so long, 0 for DefaultIdle
	MaxCache int64         // bytes of cache to keep, 0 for the daemon's default
}

// A Status says whether the child runs.
type Status struct {
	Running bool
	PID     int    // 0 if not running
	Same    bool   // it runs the binary of Config.Exe
	Version string // of the daemon, "" if it does not answer
	Socket  string
	Log     string // path of its log file
}

// Ensure connects to the child, which it starts if there is none. A child that
// runs another binary or does not answer is replaced. Several processes may do
// this at once: they get the same child. The client starts a new child when the
// one it knew has ended between two solves. Errors: fault.Unavailable if the
// child does not start, fault.Invalid for a state folder that cannot be used.
func Ensure(ctx context.Context, cfg Config) (*Client, error) {
	h, err := newHome(cfg)
	if err != nil {
		return nil, err
	}
	c := &Client{place: h.log(), connect: h.connect}
	if _, err := c.Version(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Stop ends the child, if there is one, and waits until it is gone. Running
// solves are cancelled.
func Stop(ctx context.Context, cfg Config) error {
	h, err := newHome(cfg)
	if err != nil {
		return err
	}
	p, err := findPeer(h.socket())
	if p == nil || err != nil {
		return err
	}
	defer p.close()
	return p.stop(ctx)
}

// Inspect describes the child without starting one.
func Inspect(ctx context.Context, cfg Config) (Status, error) {
	h, err := newHome(cfg)
	if err != nil {
		return Status{}, err
	}
	s := Status{Socket: h.socket(), Log: h.log()}
	p, err := findPeer(h.socket())
	if p == nil || err != nil {
		return s, err
	}
	defer p.close()
	s.Running, s.PID, s.Same = true, p.pid, p.runs(h.Exe)
	if conn, v, err := h.greet(ctx); err == nil {
		s.Version = v
		return s, conn.Close()
	}
	return s, nil
}

// A home is the folder of a child, with how to start one.
type home struct {
	Config
	dir string
}

func newHome(cfg Config) (*home, error) {
	if cfg.Exe == "" {
		exe, err := os.Executable()
		if err != nil {
			return nil, fault.New(fault.Internal, "find the path of this program: %w", err)
		}
		cfg.Exe = exe
	}
	cfg.Idle = cmp.Or(cfg.Idle, DefaultIdle)
	dir, err := filepath.Abs(filepath.Join(cfg.StateDir, "engine"))
	if err != nil {
		return nil, fault.New(fault.Invalid, "state folder: %w", err).At(cfg.StateDir, 0)
	}
	h := &home{Config: cfg, dir: dir}
	if len(h.socket()) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fault.New(fault.Invalid, "the path of the state folder is too long for a socket").At(cfg.StateDir, 0).
			Fix("set ASHLAR_STATE to a shorter one")
	}
	return h, nil
}

func (h *home) socket() string { return filepath.Join(h.dir, "engine.sock") }
func (h *home) log() string    { return filepath.Join(h.dir, "engine.log") }

// connect returns a connection to a living child of the right binary.
func (h *home) connect(ctx context.Context) (*client.Client, error) {
	if conn := h.reuse(ctx); conn != nil {
		return conn, nil
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return nil, diskFault(h.dir, err)
	}
	lock, err := h.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if conn := h.reuse(ctx); conn != nil { // another process was faster
		return conn, nil
	}
	if p, err := findPeer(h.socket()); err != nil {
		return nil, err
	} else if p != nil {
		defer p.close()
		if err := p.stop(ctx); err != nil {
			return nil, err
		}
	}
	if err := h.start(ctx); err != nil {
		return nil, err
	}
	conn, _, err := h.greet(ctx)
	return conn, err
}

// reuse returns a connection to the child if it runs the right binary and
// answers, else nil.
func (h *home) reuse(ctx context.Context) *client.Client {
	p, err := findPeer(h.socket())
	if p == nil || err != nil {
		return nil
	}
	defer p.close()
	if !p.runs(h.Exe) {
		return nil
	}
	conn, _, err := h.greet(ctx)
	if err != nil {
		return nil
	}
	return conn
}

// greet connects and asks the child for its version.
func (h *home) greet(ctx context.Context) (*client.Client, string, error) {
	conn, err := client.New(ctx, "unix://"+h.socket())
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, answerPatience)
	defer cancel()
	v, err := version(ctx, conn)
	if err != nil {
		return nil, "", errors.Join(err, conn.Close())
	}
	return conn, v, nil
}

// lock makes processes that want to start a child take turns.
func (h *home) lock(ctx context.Context) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(h.dir, "start.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, diskFault(h.dir, err)
	}
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err := <-locked:
		if err != nil {
			return nil, errors.Join(diskFault(h.dir, err), f.Close())
		}
		return f, nil
	case <-ctx.Done():
		go func() { <-locked; _ = f.Close() }() // the lock goes with the file
		return nil, ctx.Err()
	}
}

// start starts a child, in a session of its own so that the terminal's signals
// do not reach it, and waits until it says that it is ready. As the first process
// of a PID namespace it takes every step with it, however it ends: the kernel sees
// to that.
func (h *home) start(ctx context.Context) error {
	args := append([]string{}, h.Args...)
	args = append(args, "-dir", h.dir, "-idle", h.Idle.String(), "-max-cache", strconv.FormatInt(h.MaxCache, 10))
	cmd := exec.Command(h.Exe, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + strings.TrimPrefix(os.Getenv("PATH")+":"+SearchPath, ":")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if os.Geteuid() == 0 { // else the child says what is wrong
		cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	log, err := os.OpenFile(h.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return diskFault(h.dir, err)
	}
	defer log.Close()
	cmd.Stderr = log
	said, tell, err := os.Pipe()
	if err != nil {
		return fault.New(fault.Internal, "start the engine: %w", err)
	}
	defer said.Close()
	cmd.Stdout = tell
	err = cmd.Start()
	_ = tell.Close() // only the child's copy counts
	if err != nil {
		return fault.New(fault.Unavailable, "start the engine: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it outlives this process, or is reaped
	return h.await(ctx, said)
}

// await reads the child's one line: "ready", or what is wrong.
func (h *home) await(ctx context.Context, said *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = said.SetReadDeadline(time.Unix(1, 0)) })()
	line, err := io.ReadAll(io.LimitReader(said, 4<<10))
	text := strings.TrimSpace(string(line))
	switch {
	case text == "ready":
		return nil
	case text != "":
		return fault.New(fault.Unavailable, "the engine did not start: %s", text)
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	case err != nil:
		return fault.New(fault.Unavailable, "the engine was not ready in %s", startPatience).Fix("see %s", h.log())
	}
	return fault.New(fault.Unavailable, "the engine ended while it started").Fix("see %s", h.log())
}
