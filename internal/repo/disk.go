package repo

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/durable"
)

// many is the number of changed files or folders from which flushing the whole
// file system once is cheaper than flushing each of them.
const many = 128

// A disk makes changes below one folder and remembers what has to be flushed, so
// that many files cost one wait and not one each. Paths are relative to its
// root. Before every change it asks the hook, by which tests stop the world.
type disk struct {
	root  string
	hook  func(op, path string) error // nil in production
	files []*os.File                  // written, not yet flushed
	dirs  map[string]bool             // changed, not yet flushed
	bulk  bool                        // there is too much to flush it one by one
}

func newDisk(root string, hook func(op, path string) error) *disk {
	return &disk{root: root, hook: hook, dirs: map[string]bool{}}
}

func (d *disk) path(rel string) string { return filepath.Join(d.root, rel) }

// step asks the hook and notes that the folder of rel will change.
func (d *disk) step(op, rel string) error {
	if d.hook != nil {
		if err := d.hook(op, rel); err != nil {
			return err
		}
	}
	d.dirs[filepath.Dir(rel)] = true
	return nil
}

// mkdir makes a folder and the parents it lacks.
func (d *disk) mkdir(rel string) error {
	if info, err := os.Stat(d.path(rel)); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(rel); parent != "." {
		if err := d.mkdir(parent); err != nil {
			return err
		}
	}
	if err := d.step("mkdir", rel); err != nil {
		return err
	}
	if err := os.Mkdir(d.path(rel), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(d.path(rel), 0o755) // whatever the umask is
}

// A newFile is a file to be written.
type newFile struct {
	path string
	data []byte
}

// write makes a new file with the given content and time of modification. The
// folder must exist and the file must not.
func (d *disk) write(rel string, data []byte, mtime time.Time) error {
	return d.writeAll([]newFile{{rel, data}}, mtime)
}

// writeAll makes new files as write does, several at a time.
func (d *disk) writeAll(files []newFile, mtime time.Time) error {
	if len(d.files) >= many {
		d.bulk = true
		d.close()
	}
	open := make([]*os.File, len(files))
	var g errgroup.Group
	g.SetLimit(4)
	for i, f := range files {
		if err := d.step("write", f.path); err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() (err error) {
			open[i], err = writeFile(d.path(f.path), f.data, mtime)
			return err
		})
	}
	err := g.Wait()
	for _, f := range open {
		if f != nil {
			d.files = append(d.files, f)
		}
	}
	return err
}

// writeFile makes a new file and returns it, still open.
func writeFile(name string, data []byte, mtime time.Time) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(data); err != nil {
		return f, err
	}
	// The disk can begin now; sync will have less to wait for. A file system that
	// cannot do it this way does all of it then.
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	if err := f.Chmod(0o644); err != nil {
		return f, err
	}
	return f, os.Chtimes(name, mtime, mtime)
}

// link gives the file at the absolute path from the name rel, which must be free.
func (d *disk) link(from, rel string) error {
	if err := d.step("link", rel); err != nil {
		return err
	}
	return os.Link(from, d.path(rel))
}

// replace gives the file at the absolute path from the name rel in one step,
// whatever had the name before.
func (d *disk) replace(from, rel string) error {
	if same(from, d.path(rel)) {
		return nil
	}
	temp := filepath.Join(filepath.Dir(rel), "."+filepath.Base(rel)+".new")
	if err := os.Remove(d.path(temp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.link(from, temp); err != nil {
		return err
	}
	return d.rename(temp, rel)
}

// symlink makes a symbolic link at rel.
func (d *disk) symlink(target, rel string) error {
	if err := d.step("symlink", rel); err != nil {
		return err
	}
	return os.Symlink(target, d.path(rel))
}

// rename moves a file or folder.
func (d *disk) rename(from, to string) error {
	if err := d.step("rename", to); err != nil {
		return err
	}
	d.dirs[filepath.Dir(from)] = true
	return os.Rename(d.path(from), d.path(to))
}

// sync waits until everything done so far is on the disk.
func (d *disk) sync() error {
	dirs := slices.Sorted(maps.Keys(d.dirs))
	bulk := d.bulk || len(dirs) > many
	d.dirs, d.bulk = map[string]bool{}, false
	if bulk {
		d.close()
		return d.syncAll()
	}
	if err := d.syncFiles(); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(16)
	for _, dir := range dirs {
		g.Go(func() error {
			err := durable.SyncDir(d.path(dir))
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it was renamed; its new parent is flushed as well
			}
			return err
		})
	}
	return g.Wait()
}

// syncFiles flushes and closes the files that were written.
func (d *disk) syncFiles() error {
	var g errgroup.Group
	g.SetLimit(16)
	for _, f := range d.files {
		g.Go(func() error { return errors.Join(f.Sync(), f.Close()) })
	}
	d.files = nil
	return g.Wait()
}

// syncAll flushes the file system that the root lies on.
func (d *disk) syncAll() error {
	f, err := os.Open(d.root)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// close closes what was written and not flushed.
func (d *disk) close() {
	for _, f := range d.files {
		f.Close()
	}
	d.files = nil
}

// same reports whether two paths name one and the same file.
func same(a, b string) bool {
	x, err := os.Lstat(a)
	if err != nil {
		return false
	}
	y, err := os.Lstat(b)
	return err == nil && os.SameFile(x, y)
}
