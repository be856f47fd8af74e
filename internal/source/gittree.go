package source

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on a git tree.
const (
	maxTreeEntries = 1 << 20
	maxTreeList    = 128 << 20 // bytes of its listing
	maxTreePath    = 4096      // bytes of one path
	maxLinkTarget  = 4096
)

// A treeEntry is one line of a git tree.
type treeEntry struct {
	mode, id, path string
}

// export writes the tree of a commit to w as a tar archive.
func (r *gitRepo) export(ctx context.Context, commit string, w io.Writer) error {
	entries, err := r.list(ctx, commit)
	if err != nil {
		return err
	}
	when, err := r.commitTime(ctx, commit)
	if err != nil {
		return err
	}
	objects, err := r.openObjects(ctx)
	if err != nil {
		return err
	}
	t := tar.NewWriter(w)
	err = writeTree(t, objects, entries, when)
	if cerr := objects.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return t.Close()
}

// list returns the files of the tree, sorted by path, after checking that every
// path stays inside.
func (r *gitRepo) list(ctx context.Context, commit string) ([]treeEntry, error) {
	out, err := r.runUpTo(ctx, maxTreeList, nil, "ls-tree", "-r", "-z", "--full-tree", commit)
	if err != nil {
		return nil, err
	}
	return parseTree(out)
}

// parseTree reads "mode type id<TAB>path<NUL>" records and checks them.
func parseTree(out []byte) ([]treeEntry, error) {
	var all []treeEntry
	files := map[string]bool{}
	for record := range strings.SplitSeq(string(out), "\x00") {
		if record == "" {
			continue
		}
		head, p, _ := strings.Cut(record, "\t")
		f := strings.Fields(head)
		if len(f) != 3 {
			return nil, fault.New(fault.Invalid, "git listed %q", record)
		}
		if err := checkTreePath(p); err != nil {
			return nil, err
		}
		if files[p] || len(all) == maxTreeEntries {
			return nil, fault.New(fault.Invalid, "the tree has %q twice, or too many files", p)
		}
		files[p] = true
		all = append(all, treeEntry{mode: f[0], id: f[2], path: p})
	}
	for _, e := range all {
		for dir := path.Dir(e.path); dir != "."; dir = path.Dir(dir) {
			if files[dir] {
				return nil, fault.New(fault.Invalid, "the tree has %q both as a file or link and as a folder", dir)
			}
		}
	}
	slices.SortFunc(all, func(a, b treeEntry) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// checkTreePath refuses a path that could lead out of the tree.
func checkTreePath(p string) error {
	bad := p == "" || len(p) > maxTreePath || strings.HasPrefix(p, "/")
	for part := range strings.SplitSeq(p, "/") {
		bad = bad || part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git")
	}
	if bad {
		return fault.New(fault.Invalid, "the tree has the path %q, which leads out of it", p)
	}
	return nil
}

// commitTime returns when the commit was made, by its committer.
func (r *gitRepo) commitTime(ctx context.Context, commit string) (time.Time, error) {
	out, err := r.run(ctx, "show", "--no-patch", "--no-show-signature", "--format=%ct", commit)
	if err != nil {
		return time.Time{}, err
	}
	s, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil || s < 0 || s > 1<<33-1 {
		return time.Time{}, fault.New(fault.Invalid, "commit %s has the time %q", commit, out)
	}
	return time.Unix(s, 0).UTC(), nil
}

// writeTree writes the folders and files of the tree.
func writeTree(t *tar.Writer, objects *gitObjects, entries []treeEntry, when time.Time) error {
	made := map[string]bool{".": true}
	for _, e := range entries {
		if err := writeDirs(t, made, path.Dir(e.path), when); err != nil {
			return err
		}
		if err := writeEntry(t, objects, e, when); err != nil {
			return err
		}
	}
	return nil
}

// writeDirs writes the folder and the parents that were not written yet.
func writeDirs(t *tar.Writer, made map[string]bool, dir string, when time.Time) error {
	if made[dir] {
		return nil
	}
	if err := writeDirs(t, made, path.Dir(dir), when); err != nil {
		return err
	}
	made[dir] = true
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: when})
}

// writeEntry writes one file, link, or empty folder for a submodule.
func writeEntry(t *tar.Writer, objects *gitObjects, e treeEntry, when time.Time) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: e.path, Mode: 0o644, ModTime: when}
	switch e.mode {
	case "160000":
		h.Typeflag, h.Name, h.Mode = tar.TypeDir, e.path+"/", 0o755
		return t.WriteHeader(h)
	case "100755":
		h.Mode = 0o755
	case "100644", "100664", "120000":
	default:
		return fault.New(fault.Invalid, "the tree has %q with the mode %s", e.path, e.mode)
	}
	size, content, err := objects.open(e.id)
	if err != nil {
		return err
	}
	if e.mode == "120000" {
		if size == 0 || size > maxLinkTarget {
			return fault.New(fault.Invalid, "the tree has the link %q with a target of %d bytes", e.path, size)
		}
		target := make([]byte, size)
		if _, err := io.ReadFull(content, target); err != nil {
			return err
		}
		if bytes.IndexByte(target, 0) >= 0 {
			return fault.New(fault.Invalid, "the tree has the link %q with a NUL in its target", e.path)
		}
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, string(target), 0o777
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		return objects.end()
	}
	h.Size = size
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.Copy(t, content); err != nil {
		return err
	}
	return objects.end()
}

// gitObjects reads objects from one running "git cat-file --batch".
type gitObjects struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (r *gitRepo) openObjects(ctx context.Context) (*gitObjects, error) {
	cmd := r.command(ctx, "cat-file", "--batch")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &gitObjects{cmd, in, bufio.NewReaderSize(out, 64<<10)}, nil
}

// open asks for a blob and returns its size and content, which must be read to
// its end before end is called.
func (o *gitObjects) open(id string) (int64, io.Reader, error) {
	if _, err := fmt.Fprintln(o.in, id); err != nil {
		return 0, nil, err
	}
	line, err := o.out.ReadString('\n')
	if err != nil {
		return 0, nil, err
	}
	f := strings.Fields(line)
	if len(f) != 3 || f[0] != id || f[1] != "blob" {
		return 0, nil, fault.New(fault.Invalid, "git answered %q to a request for blob %s", strings.TrimSpace(line), id)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || size < 0 {
		return 0, nil, fault.New(fault.Invalid, "git says that blob %s has %q bytes", id, f[2])
	}
	return size, io.LimitReader(o.out, size), nil
}

// end takes the newline that follows a blob.
func (o *gitObjects) end() error {
	b, err := o.out.ReadByte()
	if err == nil && b != '\n' {
		err = fault.New(fault.Invalid, "git sent more than the size of a blob")
	}
	return err
}

func (o *gitObjects) close() error {
	o.in.Close()
	io.Copy(io.Discard, o.out)
	return o.cmd.Wait()
}
