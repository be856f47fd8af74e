package world

import (
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Dir is an empty folder to install to. It takes a process that may give files
// away, root as a rule. Every folder is opened through an os.Root, and files are
// made by their last name in an open folder, never through a link, so nothing is
// ever written outside.
type Dir struct {
	root *os.Root
	open map[string]*os.File // folders, by path
	buf  []byte
}

// NewDir returns a sink to the folder, which the caller keeps open until Install
// has returned. If it is not empty the error is fault.Conflict.
func NewDir(root *os.Root) (*Dir, error) {
	d := &Dir{root: root, open: map[string]*os.File{}}
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch names, err := f.Readdirnames(1); {
	case len(names) > 0:
		return nil, fault.New(fault.Conflict, "the folder to install to is not empty").At(root.Name(), 0).Fix("name one that is")
	case err != nil && err != io.EOF:
		return nil, err
	}
	return d, nil
}

// maxOpen bounds the folders that are held open.
const maxOpen = 64

// folder returns an open folder. It is good until the next call.
func (d *Dir) folder(p string) (int, error) {
	if f := d.open[p]; f != nil {
		return int(f.Fd()), nil
	}
	if len(d.open) == maxOpen {
		d.ran()
	}
	name := p
	if name == "" {
		name = "."
	}
	f, err := d.root.OpenFile(name, unix.O_DIRECTORY|os.O_RDONLY, 0)
	if err != nil {
		return -1, err
	}
	d.open[p] = f
	return int(f.Fd()), nil
}

// ran forgets the open folders: their paths may mean others now.
func (d *Dir) ran() {
	for _, f := range d.open {
		_ = f.Close() // nothing was written to it
	}
	clear(d.open)
}

func (d *Dir) keeps() bool { return false }
func (d *Dir) runs() bool  { return true }

// in calls fn with the open folder and the last name of a path, and again if there
// is something in its way, which is removed.
func (d *Dir) in(real string, fn func(folder int, name string) error) error {
	folder, err := d.folder(parentOf(real))
	if err != nil {
		return err
	}
	name := path.Base(real)
	err = fn(folder, name)
	if errors.Is(err, unix.EEXIST) {
		if err = unix.Unlinkat(folder, name, 0); err == nil {
			err = fn(folder, name)
		}
	}
	return failed(real, err)
}

// failed says which file of the root an error of the system is about.
func failed(real string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM):
		return fault.New(fault.Denied, "%s: %w", clip(real), err).Fix("run it as root, or install to a tar, which needs no rights")
	case errors.Is(err, unix.EISDIR):
		return fault.New(fault.Conflict, "%s: there is a folder in its place", clip(real))
	case errors.Is(err, unix.ENOTSUP):
		return fault.New(fault.Failed, "%s: the file system does not take its extended attributes or its kind: %w", clip(real), err).
			Fix("install to another file system, or to a tar")
	}
	return fault.New(fault.Failed, "%s: %w", clip(real), err)
}

// mkdir makes a folder. See Sink.
func (d *Dir) mkdir(real string, _ *apk.Entry, a access) (made bool, err error) {
	folder, err := d.folder(parentOf(real))
	if err != nil {
		return false, failed(real, err)
	}
	name := path.Base(real)
	if err := unix.Mkdirat(folder, name, 0o700); err != nil {
		var st unix.Stat_t
		if err == unix.EEXIST && unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			return false, nil
		}
		return false, failed(real, err)
	}
	return true, failed(real, grant(folder, name, a))
}

// grant sets the access rights of a file that is no symbolic link.
func grant(folder int, name string, a access) error {
	if err := unix.Fchownat(folder, name, int(a.user), int(a.group), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.Fchmodat(folder, name, a.mode, 0)
}

// chmod gives a folder other access rights. See Sink.
func (d *Dir) chmod(real string, old, new access) error {
	folder, err := d.folder(parentOf(real))
	if err != nil {
		return failed(real, err)
	}
	name := path.Base(real)
	var st unix.Stat_t
	switch err := unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err != nil:
		return failed(real, err)
	case st.Mode != old.mode|unix.S_IFDIR || st.Uid != old.user || st.Gid != old.group:
		return nil
	}
	return failed(real, grant(folder, name, new))
}

// put lays a file. See Sink.
func (d *Dir) put(real string, e *apk.Entry, a access, c content, target string) error {
	switch e.Kind {
	case apk.RegularFile:
		return d.regular(real, e, a, c)
	case apk.HardLink:
		return d.link(real, target)
	}
	return d.in(real, func(folder int, name string) error {
		if e.Kind == apk.Symlink {
			if err := unix.Symlinkat(e.Target, folder, name); err != nil {
				return err
			}
			if err := unix.Fchownat(folder, name, int(a.user), int(a.group), unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return err
			}
		} else {
			if err := unix.Mknodat(folder, name, nodeTypes[e.Kind]|0o600, int(unix.Mkdev(e.Major, e.Minor))); err != nil {
				return err
			}
			if err := grant(folder, name, a); err != nil {
				return err
			}
		}
		times := modTimes(e)
		return unix.UtimesNanoAt(folder, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
	})
}

var nodeTypes = map[apk.Kind]uint32{apk.CharDevice: unix.S_IFCHR, apk.BlockDevice: unix.S_IFBLK, apk.FIFO: unix.S_IFIFO}

// modTimes returns the times of a file: of access and of change.
func modTimes(e *apk.Entry) [2]unix.Timespec {
	t := unix.NsecToTimespec(0)
	t.Sec = e.ModTime
	return [2]unix.Timespec{t, t}
}

// regular lays a regular file.
func (d *Dir) regular(real string, e *apk.Entry, a access, c content) error {
	var wrong error // with the content
	err := d.in(real, func(folder int, name string) error {
		fd, err := unix.Openat(folder, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return err
		}
		wrong, err = d.fill(fd, e, a, c)
		if end := unix.Close(fd); err == nil {
			err = end
		}
		if err == nil {
			times := modTimes(e)
			err = unix.UtimesNanoAt(folder, name, times[:], unix.AT_SYMLINK_NOFOLLOW)
		}
		return err
	})
	if wrong != nil {
		return wrong
	}
	return err
}

// fill writes the content of a file and sets its access rights. What may be wrong
// is the content that it is given.
func (d *Dir) fill(fd int, e *apk.Entry, a access, c content) (wrong, err error) {
	if c.r == nil {
		err = writeAll(fd, c.b)
	} else {
		wrong, err = d.copy(fd, c.r)
	}
	if err == nil {
		err = unix.Fchown(fd, int(a.user), int(a.group))
	}
	if err == nil {
		err = unix.Fchmod(fd, a.mode) // after chown, which drops setuid
	}
	for _, x := range e.Xattrs {
		if err == nil {
			err = unix.Fsetxattr(fd, x.Name, []byte(x.Value), 0)
		}
	}
	return wrong, err
}

// copy writes all that a reader gives.
func (d *Dir) copy(fd int, r io.Reader) (wrong, err error) {
	if d.buf == nil {
		d.buf = make([]byte, 256<<10)
	}
	for {
		n, wrong := r.Read(d.buf)
		if err := writeAll(fd, d.buf[:n]); err != nil {
			return nil, err
		}
		if wrong == io.EOF {
			return nil, nil
		}
		if wrong != nil {
			return wrong, nil
		}
	}
}

// writeAll writes bytes to an open file.
func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err != nil && err != unix.EINTR {
			return err
		}
		b = b[max(n, 0):]
	}
	return nil
}

// link gives a file another name.
func (d *Dir) link(real, target string) error {
	from, err := d.folder(parentOf(target))
	if err != nil {
		return failed(real, err)
	}
	if parentOf(target) != parentOf(real) {
		if from, err = unix.Dup(from); err != nil { // since another folder is to be opened
			return failed(real, err)
		}
		defer unix.Close(from)
	}
	return d.in(real, func(folder int, name string) error {
		return unix.Linkat(from, path.Base(target), folder, name, 0)
	})
}

// read reads a small file. See Sink.
func (d *Dir) read(real string, limit int64) ([]byte, error) {
	f, err := d.root.OpenFile(real, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%s is not there", clip(real))
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fault.New(fault.Invalid, "%s is no regular file, or too large", clip(real))
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// digest returns the digest of a file. See Sink.
func (d *Dir) digest(real string, kind digestKind) (digest, error) {
	g := digest{kind: kind}
	h := newDigest(kind)
	info, err := d.root.Lstat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return digest{}, nil
	case err != nil:
		return digest{}, err
	case info.Mode().Type() == fs.ModeSymlink:
		target, err := d.root.Readlink(real)
		if err != nil {
			return digest{}, err
		}
		io.WriteString(h, target)
	case info.Mode().IsRegular():
		f, err := d.root.OpenFile(real, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
		if err != nil {
			return digest{}, err
		}
		defer f.Close()
		if _, err := io.Copy(h, f); err != nil {
			return digest{}, err
		}
	default:
		return g, nil
	}
	copy(g.sum[:], h.Sum(nil))
	return g, nil
}

// newDigest returns the hash that a kind of digest is made with.
func newDigest(kind digestKind) hash.Hash {
	if kind == bySHA256 {
		return sha256.New()
	}
	return sha1.New()
}

// finish closes the folders and, after an error, removes all there is.
func (d *Dir) finish(err error, _ int64) error {
	d.ran()
	if err == nil {
		return nil
	}
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	for _, name := range names {
		err = errors.Join(err, d.root.RemoveAll(name))
	}
	return err
}
