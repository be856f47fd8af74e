package durable

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
)

// many is the number of changed files or folders from which flushing the whole
// file system once is cheaper than flushing each of them.
const many = 128

// A Batch makes changes below one folder and remembers what has to be flushed, so
// that many files cost one wait and not one each. Paths are relative to its root.
// A Batch is used by one goroutine at a time.
type Batch struct {
	root  string
	hook  func(op, path string) error // nil but in tests
	files []*os.File                  // written, not yet flushed
	dirs  map[string]bool             // changed, not yet flushed
	bulk  bool                        // there is too much to flush it one by one
	later []move                      // to be done as soon as the files are flushed

	work  string // folder for work in progress, below the root
	temps int    // names that Temp has given
}

// A move is a file that gets another name.
type move struct{ from, to string }

// NewBatch returns a batch of changes below the folder root. Work is a folder
// below it for files that have no name of their own yet. A hook, which may be
// nil, is asked before every change with the operation and the path; its error
// stops everything, as a crash would.
func NewBatch(root, work string, hook func(op, path string) error) *Batch {
	return &Batch{root: root, work: work, hook: hook, dirs: map[string]bool{}}
}

// Temp returns a new name, relative to the root, in the folder for work in
// progress, which nothing else of this batch uses.
func (b *Batch) Temp() string {
	b.temps++
	return filepath.Join(b.work, "new-"+strconv.Itoa(b.temps))
}

// Path returns the path of a name that is relative to the root.
func (b *Batch) Path(rel string) string { return filepath.Join(b.root, rel) }

// step asks the hook and notes that the folder of rel will change.
func (b *Batch) step(op, rel string) error {
	if b.hook != nil {
		if err := b.hook(op, rel); err != nil {
			return err
		}
	}
	b.dirs[filepath.Dir(rel)] = true
	return nil
}

// Mkdir makes a folder, open to everybody, and the parents it lacks.
func (b *Batch) Mkdir(rel string) error {
	if info, err := os.Stat(b.Path(rel)); err == nil && info.IsDir() {
		return nil
	}
	if parent := filepath.Dir(rel); parent != "." {
		if err := b.Mkdir(parent); err != nil {
			return err
		}
	}
	if err := b.step("mkdir", rel); err != nil {
		return err
	}
	if err := os.Mkdir(b.Path(rel), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Chmod(b.Path(rel), 0o755) // whatever the umask is
}

// A NewFile is a file to be written. Its path is relative to the root.
type NewFile struct {
	Path string
	Data []byte
}

// WriteAll makes new files with the given content and time of modification,
// several at a time. The folders must exist and the files must not.
func (b *Batch) WriteAll(files []NewFile, mtime time.Time) error {
	if len(b.files) >= many {
		b.bulk = true
		b.Close()
	}
	open := make([]*os.File, len(files))
	var g errgroup.Group
	g.SetLimit(4)
	for i, f := range files {
		if err := b.step("write", f.Path); err != nil {
			return errors.Join(err, g.Wait())
		}
		g.Go(func() (err error) {
			open[i], err = writeFile(b.Path(f.Path), f.Data, mtime)
			return err
		})
	}
	err := g.Wait()
	for _, f := range open {
		if f != nil {
			b.files = append(b.files, f)
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

// Link gives the file at the absolute path from the name rel, which must be free.
func (b *Batch) Link(from, rel string) error {
	if err := b.step("link", rel); err != nil {
		return err
	}
	return os.Link(from, b.Path(rel))
}

// Replace gives the file at the absolute path from the name rel in one step,
// whatever had the name before.
func (b *Batch) Replace(from, rel string) error {
	if same(from, b.Path(rel)) {
		return nil
	}
	temp := b.Temp()
	if err := b.Link(from, temp); err != nil {
		return err
	}
	return b.Rename(temp, rel)
}

// Symlink makes a symbolic link at rel.
func (b *Batch) Symlink(target, rel string) error {
	if err := b.step("symlink", rel); err != nil {
		return err
	}
	return os.Symlink(target, b.Path(rel))
}

// Rename moves a file or folder.
func (b *Batch) Rename(from, to string) error {
	if err := b.step("rename", to); err != nil {
		return err
	}
	b.dirs[filepath.Dir(from)] = true
	return os.Rename(b.Path(from), b.Path(to))
}

// Put makes a file with the given content, whatever had the name before. It gets
// the name in the next sync, so that there is never an empty file under it.
func (b *Batch) Put(rel string, data []byte) error {
	temp := b.Temp()
	b.later = append(b.later, move{temp, rel})
	return b.WriteAll([]NewFile{{temp, data}}, time.Unix(0, 0))
}

// Copy makes a new file out of a reader and, unless check refuses what was read,
// waits until the content is on the disk. Check is called once, at the end.
func (b *Batch) Copy(data io.Reader, rel string, check func() error) error {
	if err := b.step("write", rel); err != nil {
		return err
	}
	f, err := writeFile(b.Path(rel), nil, time.Unix(0, 0))
	if f == nil {
		return err
	}
	defer f.Close()
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, data); err != nil {
		return err
	}
	if err := check(); err != nil {
		return err
	}
	return f.Sync()
}

// Sync waits until everything done so far is on the disk, and then gives the
// files of Put their names.
func (b *Batch) Sync() error {
	bulk := b.bulk || len(b.dirs) > many
	b.bulk = false
	if bulk {
		b.Close()
		if err := b.syncAll(); err != nil {
			return err
		}
	} else if err := b.syncFiles(); err != nil {
		return err
	}
	moved := b.later
	b.later = nil
	for _, m := range moved {
		if err := b.Rename(m.from, m.to); err != nil {
			return err
		}
	}
	if bulk && len(moved) == 0 {
		b.dirs = map[string]bool{}
		return nil
	}
	return b.syncDirs()
}

// syncDirs flushes the folders that changed.
func (b *Batch) syncDirs() error {
	dirs := slices.Sorted(maps.Keys(b.dirs))
	b.dirs = map[string]bool{}
	if len(dirs) > many {
		return b.syncAll()
	}
	var g errgroup.Group
	g.SetLimit(16)
	for _, dir := range dirs {
		g.Go(func() error {
			err := SyncDir(b.Path(dir))
			if errors.Is(err, fs.ErrNotExist) {
				return nil // it was renamed; its new parent is flushed as well
			}
			return err
		})
	}
	return g.Wait()
}

// syncFiles flushes and closes the files that were written.
func (b *Batch) syncFiles() error {
	var g errgroup.Group
	g.SetLimit(16)
	for _, f := range b.files {
		g.Go(func() error { return errors.Join(f.Sync(), f.Close()) })
	}
	b.files = nil
	return g.Wait()
}

// syncAll flushes the file system that the root lies on.
func (b *Batch) syncAll() error {
	f, err := os.Open(b.root)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// Close closes what was written and not flushed. It makes no change.
func (b *Batch) Close() {
	for _, f := range b.files {
		f.Close()
	}
	b.files = nil
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
