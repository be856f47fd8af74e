package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A peer is the process at the other end of the socket.
type peer struct {
	pid int
	fd  int // a pidfd: it means this process even if the number is used again
}

// findPeer returns the process that listens on the socket, or nil if none does.
// It is asked of the kernel, so that there is no file that could be stale.
func findPeer(socket string) (*peer, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fault.New(fault.Internal, "look for the engine: %w", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); {
	case errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, fault.New(fault.Denied, "the engine's socket: %w", err).At(socket, 0).
			Fix("run as the user who owns the state folder, or set ASHLAR_STATE")
	}
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fault.New(fault.Internal, "look for the engine: %w", err)
	}
	if int(cred.Uid) != os.Geteuid() {
		return nil, fault.New(fault.Denied, "the engine runs as user %d, not as you", cred.Uid).At(socket, 0)
	}
	p := &peer{pid: int(cred.Pid)}
	p.fd, err = unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil // it has just ended
	}
	if err != nil {
		return nil, fault.New(fault.Internal, "look for the engine, process %d: %w", p.pid, err)
	}
	return p, nil
}

func (p *peer) close() { _ = unix.Close(p.fd) }

// runs reports whether the process runs the binary at path as it is now. While
// the process lives, its binary's inode cannot be used for another file.
func (p *peer) runs(path string) bool {
	running, err := os.Stat(fmt.Sprintf("/proc/%d/exe", p.pid))
	if err != nil {
		return false
	}
	now, err := os.Stat(path)
	return err == nil && os.SameFile(running, now)
}

// stop asks the process to end, kills it if it does not, and waits for its end.
func (p *peer) stop(ctx context.Context) error {
	for _, try := range []struct {
		signal   unix.Signal
		patience time.Duration
	}{{unix.SIGTERM, stopPatience}, {unix.SIGKILL, answerPatience}} {
		err := unix.PidfdSendSignal(p.fd, try.signal, nil, 0)
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err != nil {
			return fault.New(fault.Denied, "stop the engine, process %d: %w", p.pid, err)
		}
		ended := make(chan bool, 1)
		go func() { ended <- p.wait(try.patience) }()
		select {
		case ok := <-ended:
			if ok {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fault.New(fault.Unavailable, "the engine, process %d, cannot be ended", p.pid)
}

// wait reports whether the process ended in time.
func (p *peer) wait(patience time.Duration) bool {
	deadline := time.Now().Add(patience)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}
