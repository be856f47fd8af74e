package enginehost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	gorunc "github.com/containerd/go-runc"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// takeLock takes the lock of the folder, waiting for a daemon that is ending.
// The file gets the holder's process id, for people.
func takeLock(ctx context.Context, path, pid string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.New(fault.Internal, "open the engine's lock: %w", err)
	}
	locked := make(chan error, 1)
	go func() { locked <- unix.Flock(int(f.Fd()), unix.LOCK_EX) }()
	select {
	case err = <-locked:
	case <-ctx.Done():
		return nil, ctx.Err() // the process ends; so does the waiting
	case <-time.After(patience):
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0) // it only makes the message better
		return nil, fault.New(fault.Conflict, "another engine (process %s) keeps this folder", holder[:n]).At(path, 0).
			Fix("end that process")
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt([]byte(pid), 0)
	}
	if err != nil {
		return nil, errors.Join(fault.New(fault.Internal, "lock the engine's folder: %w", err), f.Close())
	}
	return f, nil
}

// clearRemains ends what a killed daemon left: running steps, and mounts under
// its folder. Nothing below a mount that stays is ever deleted.
func clearRemains(ctx context.Context, dir string) error {
	executors, err := filepath.Glob(filepath.Join(dir, "runc-*", "executor"))
	if err != nil {
		return err
	}
	for _, executor := range executors {
		bundles, err := filepath.Glob(filepath.Join(executor, "*", "config.json"))
		if err != nil {
			return err
		}
		for _, config := range bundles {
			id := filepath.Base(filepath.Dir(config))
			logrus.Warnf("ending step %s of an engine that was killed", id)
			if err := (&gorunc.Runc{}).Delete(ctx, id, &gorunc.DeleteOpts{Force: true}); err != nil {
				logrus.Warnf("runc delete %s: %v", id, err)
			}
		}
		if err := mount.UnmountRecursive(executor, unix.MNT_DETACH); err != nil {
			return fault.New(fault.Internal, "unmount what a killed engine left in %s: %w", executor, err)
		}
		for _, config := range bundles {
			bundle := filepath.Dir(config)
			// Remove, not RemoveAll: a root that is still mounted must survive.
			err := errors.Join(removeIfThere(filepath.Join(bundle, "rootfs")), removeIfThere(config), removeIfThere(bundle))
			if err != nil {
				logrus.Warnf("a rest of step %s stays: %v", filepath.Base(bundle), err)
			}
		}
	}
	tmp := filepath.Join(dir, "tmp")
	if err := mount.UnmountRecursive(tmp, unix.MNT_DETACH); err != nil {
		return fault.New(fault.Internal, "unmount what a killed engine left in %s: %w", tmp, err)
	}
	// BuildKit leaves the empty folder of every single file that it mounted, and
	// a killed daemon that of every step in memory.
	for _, pattern := range []string{"buildkit-mount*", memoryPrefix + "*"} {
		empty, err := filepath.Glob(filepath.Join(tmp, pattern))
		if err != nil {
			return err
		}
		for _, dir := range empty {
			_ = os.Remove(dir) // fails, rightly, if it is not empty
		}
	}
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// logBytes is how long a log file gets before it makes place for a new one. One
// old file is kept.
const logBytes = 8 << 20

// A logFile is a log of bounded size that standard error goes to as well, so
// that the trace of a crash is found in it.
type logFile struct {
	mu   sync.Mutex
	path string
	size int64
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.open()
}

// open makes standard error the file at l.path.
func (l *logFile) open() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.New(fault.Internal, "open the engine's log: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fault.New(fault.Internal, "open the engine's log: %w", err)
	}
	l.size = info.Size()
	return unix.Dup3(int(f.Fd()), unix.Stderr, 0)
}

// Write appends b to the log.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size+int64(len(b)) > logBytes {
		if err := os.Rename(l.path, l.path+".1"); err != nil {
			return 0, fmt.Errorf("turn the log over: %w", err)
		}
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := unix.Write(unix.Stderr, b)
	l.size += int64(n)
	return n, err
}

// Close does nothing: standard error stays what it is until the process ends.
func (l *logFile) Close() error { return nil }
