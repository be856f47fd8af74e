package world

import (
	"archive/tar"
	"bufio"
	"bytes"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Tar writes the root as a tar archive, such as a layer of an image: every path
// once, in order, owners by number, and nothing in it that is not in the packages
// or the Installation. The same Installation gives the same bytes. It needs no
// rights. The archive is written at the end, when it is known what of each package
// stays.
type Tar struct {
	w     io.Writer
	spool Spool
	at    int64 // end of the spool
	names map[string]*inode
}

// A Spool holds the contents of files until the archive is written: an empty
// temporary file.
type Spool interface {
	io.Writer
	io.ReaderAt
}

// An inode is a file, which may have several names.
type inode struct {
	kind         apk.Kind
	access       access
	modTime      int64
	size         int64
	target       string
	major, minor uint32
	xattrs       []apk.Xattr
	b            []byte // the content, if there is no spool
	at           int64  // where it is in the spool
	written      string // the name under which it is in the archive
}

// NewTar returns a sink that writes an archive to w. Without a spool the contents
// of all files are held in memory.
func NewTar(w io.Writer, spool Spool) *Tar {
	return &Tar{w: w, spool: spool, names: map[string]*inode{}}
}

func (t *Tar) ran()        {}
func (t *Tar) keeps() bool { return t.spool == nil }
func (t *Tar) runs() bool  { return false }

// mkdir makes a folder. See Sink.
func (t *Tar) mkdir(real string, e *apk.Entry, a access) (made bool, err error) {
	t.names[real] = &inode{kind: apk.Directory, access: a, modTime: e.ModTime, xattrs: e.Xattrs}
	return true, nil
}

// chmod gives a folder other access rights. See Sink.
func (t *Tar) chmod(real string, _, new access) error {
	t.names[real].access = new
	return nil
}

// put keeps a file. See Sink.
func (t *Tar) put(real string, e *apk.Entry, a access, c content, target string) error {
	if e.Kind == apk.HardLink {
		n := t.names[target]
		if n == nil {
			return fault.New(fault.Internal, "a link to %s, which is not there", clip(target)) // unreachable: it was laid before
		}
		t.names[real] = n
		return nil
	}
	n := &inode{kind: e.Kind, access: a, modTime: e.ModTime, target: e.Target, major: e.Major, minor: e.Minor, xattrs: e.Xattrs}
	t.names[real] = n
	if e.Kind != apk.RegularFile {
		return nil
	}
	return t.keep(n, c)
}

// keep keeps the content of a file.
func (t *Tar) keep(n *inode, c content) (err error) {
	if t.spool != nil {
		n.at = t.at
		n.size, err = io.Copy(t.spool, c.reader())
		t.at += n.size
		return err
	}
	if n.b = c.b; c.r != nil {
		n.b, err = io.ReadAll(c.r)
	}
	n.size = int64(len(n.b))
	return err
}

// content returns the content of a regular file.
func (t *Tar) content(n *inode) io.Reader {
	if t.spool != nil {
		return io.NewSectionReader(t.spool, n.at, n.size)
	}
	return bytes.NewReader(n.b)
}

// read returns the content of a small file. See Sink.
func (t *Tar) read(real string, limit int64) ([]byte, error) {
	n := t.names[real]
	switch {
	case n == nil:
		return nil, fault.New(fault.NotFound, "%s is not there", clip(real))
	case n.kind != apk.RegularFile || n.size > limit:
		return nil, fault.New(fault.Invalid, "%s is no regular file, or too large", clip(real))
	}
	return io.ReadAll(t.content(n))
}

// digest returns the digest of a file. See Sink.
func (t *Tar) digest(real string, kind digestKind) (digest, error) {
	n := t.names[real]
	if n == nil {
		return digest{}, nil
	}
	g, h := digest{kind: kind}, newDigest(kind)
	switch n.kind {
	case apk.RegularFile:
		if _, err := io.Copy(h, t.content(n)); err != nil {
			return digest{}, err
		}
	case apk.Symlink:
		io.WriteString(h, n.target)
	default:
		return g, nil
	}
	copy(g.sum[:], h.Sum(nil))
	return g, nil
}

// finish writes the archive, unless the installation failed.
func (t *Tar) finish(err error, now int64) error {
	if err != nil {
		return nil
	}
	out := bufio.NewWriterSize(t.w, 256<<10)
	w := tar.NewWriter(out)
	for _, name := range slices.Sorted(maps.Keys(t.names)) {
		if err := t.write(w, name, now); err != nil {
			return fault.New(fault.KindOf(err), "%s: %w", clip(name), err)
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Flush()
}

// tarTypes are the letters for kinds of file in a tar.
var tarTypes = map[apk.Kind]byte{
	apk.RegularFile: tar.TypeReg, apk.Directory: tar.TypeDir, apk.Symlink: tar.TypeSymlink,
	apk.CharDevice: tar.TypeChar, apk.BlockDevice: tar.TypeBlock, apk.FIFO: tar.TypeFifo,
}

// write writes one name. The first name of a file in the archive has its content.
func (t *Tar) write(w *tar.Writer, name string, now int64) error {
	n := t.names[name]
	h := tar.Header{
		Name: name, Typeflag: tarTypes[n.kind], Mode: int64(n.access.mode), Uid: int(n.access.user), Gid: int(n.access.group),
		ModTime: time.Unix(n.modTime, 0), Linkname: n.target, Devmajor: int64(n.major), Devminor: int64(n.minor), Format: tar.FormatPAX,
	}
	if n.modTime == 0 {
		h.ModTime = time.Unix(now, 0)
	}
	if n.kind == apk.Directory {
		h.Name += "/"
	}
	if n.written != "" {
		h.Typeflag, h.Linkname = tar.TypeLink, n.written
		return w.WriteHeader(&h)
	}
	n.written = name
	for _, x := range n.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords["SCHILY.xattr."+x.Name] = x.Value
	}
	if n.kind == apk.RegularFile {
		h.Size = n.size
	}
	if err := w.WriteHeader(&h); err != nil || h.Size == 0 {
		return err
	}
	_, err := io.Copy(w, t.content(n))
	return err
}
