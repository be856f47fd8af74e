package pack

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a tree.
const (
	maxNodes    = 1_000_000
	maxPath     = 4000     // bytes
	maxXattr    = 64 << 10 // bytes of the extended attributes of one file
	maxPathSize = 256 << 20
)

// A kind says what sort of file a node is.
type kind uint8

const (
	regular kind = iota
	directory
	symlink
	special // a device or a pipe, which no package has
)

// A node is a file of a tree. Names of one file share what a node points to.
type node struct {
	path   string
	kind   kind
	mode   int64
	uid    int
	gid    int
	target string // of a symbolic link
	xattrs map[string]string
	*content
}

// A content is what is in a regular file. Hard links to it share it.
type content struct {
	offset, size int64
	sha256       [sha256.Size]byte
}

// A Tree is the result of a build: its files by path, and what is in them in a
// file of its own.
type Tree struct {
	nodes  map[string]*node
	sorted []*node // by path
	spool  *os.File
	used   int64 // bytes of the spool
}

// ReadTree reads a tar archive, plain, and keeps what is in its files in a
// temporary file in dir that has no name, so that nothing stays behind. The sum of
// the files is at most max bytes. Errors are fault.Invalid for an archive that is
// malformed, exceeds a bound, or has a path that leaves its root or leads through
// something that is no folder.
//
// Nothing is ever unpacked: a link in the tree is a text. Of extended attributes
// those of the user and capabilities are kept.
func ReadTree(ctx context.Context, r io.Reader, dir string, max int64) (*Tree, error) {
	spool, err := os.CreateTemp(dir, "tree-*")
	if err != nil {
		return nil, err
	}
	t := &Tree{nodes: map[string]*node{}, spool: spool}
	if err = os.Remove(spool.Name()); err == nil {
		err = t.read(ctx, tar.NewReader(r), max)
	}
	if err == nil {
		err = t.finish()
	}
	if err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close gives the room of the tree back.
func (t *Tree) Close() error { return t.spool.Close() }

// read reads all entries.
func (t *Tree) read(ctx context.Context, r *tar.Reader, max int64) error {
	var names int64
	for {
		h, err := r.Next()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return tarError(err)
		case ctx.Err() != nil:
			return ctx.Err()
		case len(t.nodes) == maxNodes:
			return broken("more than %d files", maxNodes)
		}
		n, err := t.node(h)
		switch {
		case err != nil:
			return err
		case n.path == "" && n.kind == directory:
			continue // nothing that is said of the root is said of a package
		case n.path == "":
			return broken("the root is no folder")
		}
		if names += int64(len(n.path) + len(n.target)); names > maxPathSize {
			return broken("the names of its files take more than %d bytes", maxPathSize)
		}
		if n.kind == regular && n.content == nil {
			if h.Size > max-t.used {
				return broken("its files have more than %d bytes", max)
			}
			var err error
			if n.content, err = t.store(readerUntil{ctx, r}, h.Size); err != nil {
				return fault.Within(err, "%s", clip(n.path))
			}
		}
		if old, ok := t.nodes[n.path]; ok && (old.kind != directory || n.kind != directory) {
			return broken("%s is there twice", clip(n.path))
		}
		t.nodes[n.path] = n
	}
}

// node makes a node of a header.
func (t *Tree) node(h *tar.Header) (*node, error) {
	name, ok := entryPath(h.Name)
	if !ok {
		return nil, broken("the path %q leaves the root or is malformed", clip(h.Name))
	}
	n := &node{path: name, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return nil, broken("%s: sparse files are not read", clip(name))
		}
	}
	if n.uid < 0 || n.gid < 0 || n.uid > 1<<31-1 || n.gid > 1<<31-1 {
		return nil, broken("%s has an owner out of range", clip(name))
	}
	switch h.Typeflag {
	case tar.TypeReg:
		n.kind = regular
	case tar.TypeDir:
		n.kind = directory
	case tar.TypeSymlink:
		n.kind, n.target = symlink, h.Linkname
		if n.target == "" || len(n.target) > maxPath || strings.Contains(n.target, "\x00") {
			return nil, broken("%s: the symbolic link has a malformed target", clip(name))
		}
	case tar.TypeLink:
		target, ok := entryPath(h.Linkname)
		file := t.nodes[target]
		if !ok || file == nil || file.kind != regular {
			return nil, broken("%s: the hard link names no earlier file", clip(name))
		}
		link := *file
		link.path = name
		return &link, nil
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		n.kind = special
	default:
		return nil, broken("%s: a kind of file (%q) that is not read", clip(name), h.Typeflag)
	}
	return n, n.takeXattrs(h)
}

// takeXattrs keeps the extended attributes that mean something elsewhere too.
func (n *node) takeXattrs(h *tar.Header) error {
	const prefix = "SCHILY.xattr."
	size := 0
	for key, value := range h.PAXRecords {
		name, ok := strings.CutPrefix(key, prefix)
		if !ok || name != capability && !strings.HasPrefix(name, "user.") {
			continue
		}
		if size += len(name) + len(value); size > maxXattr {
			return broken("%s: its extended attributes are too large", clip(n.path))
		}
		if n.xattrs == nil {
			n.xattrs = map[string]string{}
		}
		n.xattrs[name] = value
	}
	return nil
}

// capability is the attribute that gives a program some of root's rights.
const capability = "security.capability"

// store keeps a content of the given size in bytes.
func (t *Tree) store(r io.Reader, size int64) (*content, error) {
	h := sha256.New()
	got, err := io.CopyBuffer(io.MultiWriter(t.spool, h), r, make([]byte, 128<<10))
	if err != nil {
		return nil, tarError(err)
	}
	if got != size {
		return nil, broken("the file is cut short")
	}
	c := &content{offset: t.used, size: size}
	h.Sum(c.sha256[:0])
	t.used += size
	return c, nil
}

// readerUntil reads until its context ends.
type readerUntil struct {
	ctx context.Context
	r   io.Reader
}

func (r readerUntil) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// finish sorts the nodes and wants everything to be in folders. A folder that is
// not listed itself is one that nothing is known of.
func (t *Tree) finish() error {
	for name := range t.nodes {
		t.sorted = append(t.sorted, t.nodes[name])
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if n, ok := t.nodes[dir]; ok && n.kind != directory {
				return broken("%s is in %s, which is no folder", clip(name), clip(dir))
			}
		}
	}
	slices.SortFunc(t.sorted, func(a, b *node) int { return strings.Compare(a.path, b.path) })
	return nil
}

// below returns the nodes at and below a path, sorted; "" is the root.
func (t *Tree) below(dir string) []*node {
	if dir == "" {
		return t.sorted
	}
	var list []*node
	if n, ok := t.nodes[dir]; ok {
		list = append(list, n)
	}
	at, _ := slices.BinarySearchFunc(t.sorted, dir+"/", func(n *node, p string) int { return strings.Compare(n.path, p) })
	for ; at < len(t.sorted) && strings.HasPrefix(t.sorted[at].path, dir+"/"); at++ {
		list = append(list, t.sorted[at])
	}
	return list
}

// open returns the content of a regular file.
func (t *Tree) open(c *content) *io.SectionReader {
	return io.NewSectionReader(t.spool, c.offset, c.size)
}

// entryPath returns the path of an entry without what tar programs put around it;
// the root is "".
func entryPath(s string) (string, bool) {
	for strings.HasPrefix(s, "./") {
		s = s[2:]
	}
	s = strings.TrimSuffix(s, "/")
	if s == "" || s == "." {
		return "", true
	}
	if len(s) > maxPath || strings.Contains(s, "\x00") {
		return "", false
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part == "." || part == ".." || len(part) > 255 {
			return "", false
		}
	}
	return s, true
}

// tarError words the errors of the archive; those of its reader stay.
func tarError(err error) error {
	for _, own := range []error{io.ErrUnexpectedEOF, tar.ErrHeader, tar.ErrFieldTooLong, tar.ErrInsecurePath} {
		if errors.Is(err, own) {
			return broken("the archive is malformed or cut short: %w", err)
		}
	}
	return err
}

// broken is the error of a tree that cannot be.
func broken(format string, args ...any) *fault.Error {
	return fault.Within(fault.New(fault.Invalid, format, args...), "the tree of the build")
}

// clip shortens hostile text for an error message.
func clip(s string) string {
	if len(s) > 120 {
		return s[:117] + "..."
	}
	return s
}
