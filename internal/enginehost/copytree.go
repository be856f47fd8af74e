package enginehost

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/containerd/continuity/sysx"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// copyTree copies what a folder has into another that exists and is empty, and
// gives it the folder's attributes: content, owners, modes, times, extended
// attributes, hard links, devices, all as they are, the marks of overlayfs among
// them. Files are made on all processors, each folder's by one, which would wait
// for another there: a file system spends its time making files, not filling them.
func copyTree(to, from string) error {
	c := treeCopy{to: to, from: from, first: map[uint64]string{}}
	c.files.SetLimit(runtime.GOMAXPROCS(0))
	walked := filepath.WalkDir(from, c.visit)
	c.flush()
	if err := errors.Join(walked, c.files.Wait()); err != nil {
		return err
	}
	for _, l := range c.links {
		if err := os.Link(l.from, l.to); err != nil {
			return err
		}
	}
	for i := len(c.folders) - 1; i >= 0; i-- { // what lies in a folder changes its time
		f := c.folders[i]
		if err := attributes(f.to, f.from, &f.stat); err != nil {
			return err
		}
	}
	return nil
}

// A treeCopy is a copy under way.
type treeCopy struct {
	to, from string
	files    errgroup.Group
	batch    []copied          // files of one folder that nobody copies yet
	first    map[uint64]string // where the first link to an inode went
	links    []copied
	folders  []copied
}

type copied struct {
	to, from string
	stat     unix.Stat_t
}

// visit makes a folder, and has anything else copied.
func (c *treeCopy) visit(path string, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	e := copied{to: filepath.Join(c.to, path[len(c.from):]), from: path}
	if err := unix.Lstat(path, &e.stat); err != nil {
		return &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if d.IsDir() {
		c.flush()
		c.folders = append(c.folders, e)
		if path == c.from {
			return nil
		}
		return os.Mkdir(e.to, 0o700)
	}
	if e.stat.Nlink > 1 {
		if first := c.first[e.stat.Ino]; first != "" {
			c.links = append(c.links, copied{to: e.to, from: first})
			return nil
		}
		c.first[e.stat.Ino] = e.to
	}
	c.batch = append(c.batch, e)
	return nil
}

// flush has the files of the batch copied.
func (c *treeCopy) flush() {
	batch := c.batch
	c.batch = nil
	c.files.Go(func() error {
		for i := range batch {
			if err := batch[i].copy(); err != nil {
				return err
			}
		}
		return nil
	})
}

// copy copies what is no folder.
func (e *copied) copy() error {
	var err error
	switch e.stat.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		err = copyFile(e.to, e.from)
	case unix.S_IFLNK:
		var target string
		if target, err = os.Readlink(e.from); err == nil {
			err = os.Symlink(target, e.to)
		}
	default:
		err = unix.Mknod(e.to, e.stat.Mode, int(e.stat.Rdev))
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", e.from, err)
	}
	return attributes(e.to, e.from, &e.stat)
}

// copyFile copies the content of a regular file.
func copyFile(to, from string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = w.ReadFrom(r)
	return errors.Join(err, w.Close())
}

// attributes gives a path the owner, mode, times and extended attributes of
// another. The owner comes first: to change it takes set-user-id bits and
// capabilities away.
func attributes(to, from string, st *unix.Stat_t) error {
	err := unix.Lchown(to, int(st.Uid), int(st.Gid))
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFLNK {
		err = unix.Chmod(to, st.Mode&0o7777)
	}
	if err == nil {
		err = extended(to, from)
	}
	if err == nil {
		err = unix.UtimesNanoAt(unix.AT_FDCWD, to, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return &fs.PathError{Op: "copy attributes", Path: to, Err: err}
	}
	return nil
}

// extended copies extended attributes.
func extended(to, from string) error {
	names, err := sysx.LListxattr(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := sysx.LGetxattr(from, name)
		if err == nil {
			err = sysx.LSetxattr(to, name, value, 0)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
