package engine

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// An output is a folder being filled. It is locked while its process lives, so
// that what a killed process left behind can be told from work under way.
type output struct {
	final string
	dir   string
	lock  *os.File
}

// newOutput makes an empty folder beside final and clears away what killed
// processes left there.
func newOutput(final string) (*output, error) {
	if _, err := os.Lstat(final); err == nil {
		return nil, fault.New(fault.Conflict, "output folder exists").At(final, 0).Fix("remove it or choose another")
	}
	parent, base := filepath.Split(filepath.Clean(final))
	parent = filepath.Clean(parent)
	prefix := "." + base + ".partial-"
	if err := sweep(parent, prefix); err != nil {
		return nil, diskFault(final, err)
	}
	dir, err := os.MkdirTemp(parent, prefix+"*")
	if err != nil {
		return nil, diskFault(final, err)
	}
	o := &output{final: final, dir: dir}
	if o.lock, err = lockDir(dir); err != nil {
		return nil, errors.Join(diskFault(final, err), os.RemoveAll(dir))
	}
	return o, os.Chmod(dir, 0o755)
}

// sweep removes the folders in parent whose names begin with prefix and that no
// process holds.
func sweep(parent, prefix string) error {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		lock, err := lockDir(dir)
		if err != nil {
			continue // its process lives, or it is gone already
		}
		err = errors.Join(os.RemoveAll(dir), lock.Close())
		if err != nil {
			return err
		}
	}
	return nil
}

// lockDir takes the lock of a folder, or fails at once.
func lockDir(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// commit gives the folder its final name.
func (o *output) commit() error {
	if err := clean(o.dir); err != nil {
		return diskFault(o.final, err)
	}
	err := os.Rename(o.dir, o.final)
	switch {
	case errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY):
		return fault.New(fault.Conflict, "output folder appeared while the build ran: %w", err).At(o.final, 0)
	case err != nil:
		return diskFault(o.final, err)
	}
	o.dir = ""
	return nil
}

// clean leaves files, folders and symbolic links in dir, without set-user-id and
// the like. What else a step made, such as a device, has no place on the host.
func clean(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch d.Type() {
		case fs.ModeSymlink:
			return nil
		case 0, fs.ModeDir:
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) == 0 {
				return nil
			}
			return os.Chmod(path, info.Mode().Perm())
		}
		return os.Remove(path)
	})
}

// abort removes the folder unless it was committed, and lets go of the lock.
func (o *output) abort() {
	if o.dir != "" {
		_ = os.RemoveAll(o.dir) // the next run sweeps what stays
	}
	_ = o.lock.Close() // nothing was written through it
}

// diskFault explains an error of the file system at path.
func diskFault(path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fault.New(fault.Unavailable, "the disk is full: %w", err).At(path, 0).Fix("free some space and run again")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.NotFound, "%w", err).At(path, 0)
	}
	return fault.New(fault.Internal, "%w", err).At(path, 0)
}
