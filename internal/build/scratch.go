package build

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// scratchPrefix begins the names of scratch folders.
const scratchPrefix = "out-"

// A scratch is a folder for files under way. It is locked while its process
// lives, so that what a killed process left can be told from work under way.
type scratch struct {
	dir  string
	lock *os.File
}

// newScratch makes a folder in parent, which it makes too, and clears away what
// killed processes left there.
func newScratch(parent string) (*scratch, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return nil, scratchFault(parent, err)
	}
	turn, err := lockFolder(parent, unix.LOCK_EX) // no other sweeps what is not locked yet
	if err != nil {
		return nil, scratchFault(parent, err)
	}
	defer turn.Close()
	old, err := filepath.Glob(filepath.Join(parent, scratchPrefix+"*"))
	if err != nil {
		return nil, scratchFault(parent, err)
	}
	for _, dir := range old {
		if lock, err := lockFolder(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			(&scratch{dir, lock}).remove()
		}
	}
	dir, err := os.MkdirTemp(parent, scratchPrefix)
	if err != nil {
		return nil, scratchFault(parent, err)
	}
	lock, err := lockFolder(dir, unix.LOCK_EX)
	if err != nil {
		return nil, errors.Join(scratchFault(dir, err), os.Remove(dir))
	}
	return &scratch{dir, lock}, nil
}

// remove deletes the folder and lets go of it.
func (s *scratch) remove() {
	_ = os.RemoveAll(s.dir) // what stays is swept by the next build
	_ = s.lock.Close()      // nothing was written through it
}

func lockFolder(dir string, how int) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), how); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func scratchFault(dir string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(fault.Unavailable, "the disk is full: %w", err).At(dir, 0).Fix("free some space and run again")
	}
	return fault.New(fault.Internal, "make a scratch folder: %w", err).At(dir, 0)
}
