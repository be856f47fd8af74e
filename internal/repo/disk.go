package repo

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
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
	later []move                      // to be done as soon as the files are flushed

	work  string // folder for work in progress, below the root
	temps int    // names that temp has given
}

// A move is a file that gets another name.
type move struct{ from, to string }

func newDisk(root, work string, hook func(op, path string) error) *disk {
	return &disk{root: root, work: work, hook: hook, dirs: map[string]bool{}}
}

// temp returns a new name in the folder for work in progress, which no other
// writer uses.
func (d *disk) temp() string {
	d.temps++
	return filepath.Join(d.work, "new-"+strconv.Itoa(d.temps))
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
	temp := d.temp()
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

// put makes a file with the given content, whatever had the name before. It gets
// the name in the next sync, so that there is never an empty file under it.
func (d *disk) put(rel string, data []byte) error {
	temp := d.temp()
	d.later = append(d.later, move{temp, rel})
	return d.write(temp, data, time.Unix(0, 0))
}

// copy makes a new file out of a reader. When it returns the content is on the
// disk and was found to have the digest.
func (d *disk) copy(data io.Reader, rel string, want ashlar.File) error {
	if err := d.step("write", rel); err != nil {
		return err
	}
	f, err := writeFile(d.path(rel), nil, time.Unix(0, 0))
	if f == nil {
		return err
	}
	defer f.Close()
	if err != nil {
		return err
	}
	got, err := fileOf(io.TeeReader(data, f))
	if err != nil {
		return err
	}
	if got.Digest != want.Digest {
		return damagedStore(want, got)
	}
	return f.Sync()
}

// sync waits until everything done so far is on the disk.
func (d *disk) sync() error {
	bulk := d.bulk || len(d.dirs) > many
	d.bulk = false
	if bulk {
		d.close()
		if err := d.syncAll(); err != nil {
			return err
		}
	} else if err := d.syncFiles(); err != nil {
		return err
	}
	moved := d.later
	d.later = nil
	for _, m := range moved {
		if err := d.rename(m.from, m.to); err != nil {
			return err
		}
	}
	if bulk && len(moved) == 0 {
		d.dirs = map[string]bool{}
		return nil
	}
	return d.syncDirs()
}

// syncDirs flushes the folders that changed.
func (d *disk) syncDirs() error {
	dirs := slices.Sorted(maps.Keys(d.dirs))
	d.dirs = map[string]bool{}
	if len(dirs) > many {
		return d.syncAll()
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
