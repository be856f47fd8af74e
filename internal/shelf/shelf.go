// Package shelf is what repositories of every format stand on: a folder that any
// web server can serve, in which published files never change. It lets one writer
// at a time make changes that a crash cannot break, brings files from the blob
// store under their names, keeps what locks name, and gives snapshots their ids.
//
//	<root>/sources/sha256/<hex>   every file that a published lock names
//	<root>/.state/<part>/…        not to be served: locks between writers, work in progress
package shelf

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

const stateDir = ".state"

// WorkDir returns the folder for work in progress on a part of the repositories,
// such as "deb/community", below the root.
func WorkDir(part string) string { return path.Join(stateDir, part, "work") }

// LockFile returns the lock file of the writers of a part, below the root.
func LockFile(part string) string { return path.Join(stateDir, part, "lock") }

// Write runs f while no other writer, of this or another process, changes the
// part below the folder root. It starts with an empty folder for work in
// progress. The hook is that of durable.NewBatch. An error of the file system
// gets a kind and a remedy.
func Write(ctx context.Context, root, part string, hook func(op, path string) error, f func(*durable.Batch) error) error {
	return writeFault(write(ctx, root, part, hook, f))
}

func write(ctx context.Context, root, part string, hook func(op, path string) error, f func(*durable.Batch) error) error {
	d := durable.NewBatch(root, WorkDir(part), hook)
	defer d.Close()
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	if err := d.Mkdir(WorkDir(part)); err != nil {
		return err
	}
	at := d.Path(LockFile(part))
	unlock, err := durable.Lock(ctx, at)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fault.New(fault.Unavailable, "another publish is still running: %w", ctx.Err()).At(at, 0)
	} else if err != nil {
		return err
	}
	defer unlock()
	if err := empty(d.Path(WorkDir(part))); err != nil {
		return err
	}
	return f(d)
}

// empty removes what a writer that died left in its folder.
func empty(dir string) error {
	left, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// writeFault gives an error of the file system a kind and a remedy; a fault
// stays as it is.
func writeFault(err error) error {
	var f *fault.Error
	switch {
	case err == nil || errors.As(err, &f):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.New(fault.Unavailable, "the disk of the repository is full: %w", err).
			Fix("make room and publish again; what is live was not changed")
	case errors.Is(err, fs.ErrPermission):
		return fault.New(fault.Denied, "the repository cannot be written: %w", err).Fix("run as the user that owns its folder")
	}
	return err
}

// Workers is how many files are read or compressed at a time.
func Workers() int { return max(2, runtime.GOMAXPROCS(0)) }

var wordForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.+-]{0,63}$`)

// CheckWord refuses a name that is not a plain word, which would be dangerous as
// a part of a path. What says what it is the name of, as in "a tier".
func CheckWord(what, name string) error {
	if !wordForm.MatchString(name) {
		return fault.New(fault.Invalid, "%q is not a name for %s", name, what).Fix("use lower-case letters, digits, . + -")
	}
	return nil
}

// Folders returns the folders with names that pass CheckWord in a folder, sorted;
// none if it does not exist.
func Folders(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range list {
		if e.IsDir() && wordForm.MatchString(e.Name()) {
			found = append(found, e.Name())
		}
	}
	slices.Sort(found)
	return found, nil
}

// Damaged says that a file of a repository is not as a publish left it.
func Damaged(file, format string, args ...any) error {
	return fault.New(fault.Internal, format, args...).At(file, 0).
		Fix("the repository was changed by something else; put it back from a backup, or the live indexes from their newest snapshot")
}
