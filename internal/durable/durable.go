// Package durable writes files so that after a crash, a full disk or a killed
// process a path holds either its old content or its new content, whole.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is being written beside its final path. Commit puts it in place; Abort
// removes it. Exactly one of the two takes effect, so "defer f.Abort()" right
// after Create is the usual form.
type File struct {
	f    *os.File
	path string
	err  error // the first failed write, which Commit reports
	done bool
}

// Create starts a file that will appear at path, with exactly the given
// permissions whatever the umask is. The folder must exist.
func Create(path string, perm os.FileMode) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	file := &File{f: f, path: path}
	if err := f.Chmod(perm); err != nil {
		file.Abort()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return file, nil
}

// Write appends to the file. After a failed write Commit will refuse.
func (f *File) Write(b []byte) (int, error) {
	n, err := f.f.Write(b)
	if err != nil && f.err == nil {
		f.err = fmt.Errorf("write %s: %w", f.path, err)
	}
	return n, err
}

// Name returns the path that Commit will give the file.
func (f *File) Name() string { return f.path }

// Commit flushes the file to the disk and renames it to its path. If anything
// fails the temporary file is removed and the path keeps what it had.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("write %s: %w", f.path, fs.ErrClosed)
	}
	defer f.Abort()
	if f.err != nil {
		return f.err
	}
	if err := errors.Join(f.f.Sync(), f.f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	if err := os.Rename(f.f.Name(), f.path); err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.done = true
	return SyncDir(filepath.Dir(f.path))
}

// Abort drops what was written. It does nothing after a successful Commit.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.f.Close()
	os.Remove(f.f.Name())
}

// WriteFile puts data at path with exactly the given permissions, replacing what
// was there in one step.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Abort()
	if _, err := f.Write(data); err != nil {
		return f.err
	}
	return f.Commit()
}

// MkdirAll makes the folder and the parents it lacks, with exactly the given
// permissions whatever the umask is, and flushes their entries to the disk. A
// folder that is there already is left as it is.
func MkdirAll(path string, perm os.FileMode) error {
	path = filepath.Clean(path)
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil {
		if info, serr := os.Stat(path); serr == nil && info.IsDir() {
			return nil // somebody else made it in the meantime
		}
		return err
	}
	if err := os.Chmod(path, perm); err != nil {
		return err
	}
	return SyncDir(parent)
}

// SyncDir flushes the entries of a folder to the disk.
func SyncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", path, err)
	}
	return nil
}
