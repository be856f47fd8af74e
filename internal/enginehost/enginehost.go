// Package enginehost embeds BuildKit's daemon in this binary. It runs in a
// process of its own, the child that package engine starts, because it sets the
// umask and because a crash or a signal must not take the caller with it.
//
// The daemon is narrower than a stock one: its only inputs are blobs that a
// client's session hands over by digest; it has no frontend, no registry, no
// exporter of caches, no entitlement, and nothing of its own in a step.
package enginehost

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// DefaultMaxCache is how many bytes of cache the daemon keeps by default.
const DefaultMaxCache = 20 << 30

// Names within Config.Dir.
const (
	socketName = "engine.sock"
	lockName   = "engine.lock"
	logName    = "engine.log"
)

// times that a daemon may take to end.
const (
	lockPatience = 30 * time.Second // for the daemon before this one to let go of the folder
	killPatience = 20 * time.Second // for cancelled steps to be gone
	callPatience = 5 * time.Second  // for cancelled calls to return
)

// A Config says where a daemon keeps its things and how much it may use.
type Config struct {
	Dir      string        // everything lies in here: the socket, the lock, the log, the cache
	Idle     time.Duration // end when there was nothing to do for so long, 0 for never
	MaxCache int64         // bytes of cache to keep, 0 for DefaultMaxCache
	Parallel int           // steps at the same time, 0 for one a processor
	Ready    func()        // called once the socket takes connections, may be nil
}

// Main is the hidden subcommand that package engine starts. It logs to a file in
// -dir and says "ready" on standard output, or one line of what is wrong, and
// then closes it. It returns when the daemon ended.
func Main(args []string) error {
	cfg := Config{}
	flags := flag.NewFlagSet("engine", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&cfg.Dir, "dir", "", "folder of the daemon")
	flags.DurationVar(&cfg.Idle, "idle", 0, "end after so long without work")
	flags.Int64Var(&cfg.MaxCache, "max-cache", 0, "bytes of cache to keep")
	flags.IntVar(&cfg.Parallel, "parallel", 0, "steps at the same time")
	err := flags.Parse(args)
	if err == nil && !filepath.IsAbs(cfg.Dir) {
		err = fault.New(fault.Invalid, "-dir %q is not an absolute path", cfg.Dir)
	}
	if err != nil {
		return tell(os.Stdout, err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	defer stop()
	said := false
	cfg.Ready = func() {
		said = true
		_ = tell(os.Stdout, nil)
	}
	err = Serve(ctx, cfg)
	if err != nil && !said {
		return tell(os.Stdout, err)
	}
	return err
}

// tell writes the one line that the parent waits for and gives the descriptor of
// standard output to /dev/null: the parent's end of the pipe is going to close.
func tell(to *os.File, err error) error {
	line := "ready"
	if err != nil {
		line = strings.ReplaceAll(err.Error(), "\n", " ")
	}
	_, werr := fmt.Fprintln(to, line)
	null, oerr := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if oerr == nil {
		oerr = errors.Join(syscall.Dup3(int(null.Fd()), int(to.Fd()), 0), null.Close())
	}
	return errors.Join(err, werr, oerr)
}

// Serve runs a daemon on the socket in cfg.Dir until ctx ends or it was idle for
// long enough. When ctx ends, running solves are cancelled and their steps
// killed before Serve returns. It changes the process: umask, standard error,
// TMPDIR, the loggers. The error is fault.Denied without root, fault.Conflict if
// another daemon keeps the folder, fault.Unavailable if runc is missing.
func Serve(ctx context.Context, cfg Config) error {
	if os.Geteuid() != 0 {
		return fault.New(fault.Denied, "the embedded engine needs root").
			Fix("run as root, or give the address of a buildkitd with --builder")
	}
	pid, err := ownProc()
	if err != nil {
		return err
	}
	syscall.Umask(0o077)
	if err := prepareDir(cfg.Dir); err != nil {
		return err
	}
	lock, err := takeLock(ctx, filepath.Join(cfg.Dir, lockName), pid, lockPatience)
	if err != nil {
		return err
	}
	defer lock.Close()
	logs, err := openLog(filepath.Join(cfg.Dir, logName))
	if err != nil {
		return err
	}
	defer logs.Close()
	logrus.SetOutput(logs)
	if err := clearRemains(ctx, cfg.Dir); err != nil {
		return err
	}
	// BuildKit makes folders that steps write to; their modes must be as asked.
	syscall.Umask(0)
	tellVersion()
	if err := widenLogs(); err != nil {
		return err
	}
	d, err := newDaemon(cfg)
	if err != nil {
		return err
	}
	err = d.serve(ctx, cfg)
	return errors.Join(err, d.close())
}

// ownProc gives the daemon a /proc that shows its own PID namespace, if it is the
// first process of one, and returns the number that it has outside. Mounts are its
// own from then on, and go with it.
func ownProc() (pid string, err error) {
	if pid, err = os.Readlink("/proc/self"); err != nil {
		return "", fault.New(fault.Internal, "look for the own process: %w", err)
	}
	if os.Getpid() != 1 || pid == "1" {
		return pid, nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return "", fault.New(fault.Internal, "keep mounts to the engine: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return "", fault.New(fault.Internal, "mount the engine's /proc: %w", err)
	}
	return pid, nil
}

func prepareDir(dir string) error {
	tmp := filepath.Join(dir, "tmp")
	if err := os.MkdirAll(tmp, 0o700); err != nil {
		return fault.New(fault.Internal, "make the engine's folder: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fault.New(fault.Internal, "protect the engine's folder: %w", err)
	}
	return os.Setenv("TMPDIR", tmp)
}

// serve answers on the socket until there is a reason to end.
func (d *daemon) serve(ctx context.Context, cfg Config) error {
	path := filepath.Join(cfg.Dir, socketName)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fault.New(fault.Internal, "remove the old socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fault.New(fault.Internal, "listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return errors.Join(fault.New(fault.Internal, "protect the socket: %w", err), listener.Close())
	}
	busy := newActivity(cfg.Idle)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(busy.unary, grpcerrors.UnaryServerInterceptor),
		grpc.ChainStreamInterceptor(busy.stream, grpcerrors.StreamServerInterceptor))
	d.controller.Register(server)
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	logrus.Infof("engine ready: %s, %d steps at once", d.snapshotter, d.parallel)
	if cfg.Ready != nil {
		cfg.Ready()
	}
	select {
	case err := <-failed:
		return fault.New(fault.Internal, "serve: %w", err)
	case <-busy.expired:
		logrus.Infof("engine ends: nothing to do for %s", cfg.Idle)
		server.GracefulStop()
	case <-ctx.Done():
		logrus.Info("engine ends: it was told to")
		d.steps.cancel()
		if !within(callPatience, server.Stop) { // it waits for every call, and one may hang
			logrus.Error("some calls did not end in time")
		}
	}
	if !d.steps.wait(killPatience) {
		logrus.Error("some steps did not end in time")
	}
	return nil
}

// within runs f and reports whether it returned in time; if not it is left running.
func within(patience time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	select {
	case <-done:
		return true
	case <-time.After(patience):
		return false
	}
}

// maxMessage bounds a message of the protocol, in bytes. Graphs are about 1 KB a
// vertex.
const maxMessage = 64 << 20

func parallel(n int) int {
	if n > 0 {
		return n
	}
	return runtime.NumCPU()
}
