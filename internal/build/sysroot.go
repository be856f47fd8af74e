package build

import (
	"archive/tar"
	"bufio"
	"context"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// sysrootVersion changes when the layer made of a sysroot's packages does.
const sysrootVersion = "sysroot 1"

// sysroot returns a mount of the files of a sysroot's packages, which no step can
// change; nil if there are none. What is compiled against them needs no database
// of packages and no script to have run.
func (r *Runner) sysroot(ctx context.Context, arch ashlar.Arch, s *ashlar.Sysroot) ([]engine.Mount, error) {
	if s == nil || len(s.Packages) == 0 {
		return nil, nil
	}
	layer, err := r.sysrootLayer(ctx, s)
	if err != nil {
		return nil, err
	}
	state, err := engine.Image(ctx, r.Blobs(), arch, layer)
	if err != nil {
		return nil, err
	}
	return []engine.Mount{{Path: s.Path, State: state, ReadOnly: true}}, nil
}

func (r *Runner) sysrootLayer(ctx context.Context, s *ashlar.Sysroot) (ashlar.Digest, error) {
	return r.layer(ctx, sysrootVersion, s.Packages, writeSysroot)
}

// maxAccounts bounds etc/passwd and etc/group of a sysroot, in bytes.
const maxAccounts = 1 << 20

// accounts returns the names that the files etc/passwd and etc/group of a sysroot give
// to users and groups, by number; none without a sysroot. Packages that are built
// against it are for a system that has the same.
func (r *Runner) accounts(ctx context.Context, s *ashlar.Sysroot) (users, groups map[int]string, err error) {
	if s == nil || len(s.Packages) == 0 {
		return nil, nil, nil
	}
	layer, err := r.sysrootLayer(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	f, err := r.Store.Open(ctx, layer)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	files := tar.NewReader(io.NewSectionReader(f, 0, f.Size())) // it passes over content by seeking
	for {
		h, err := files.Next()
		if err == io.EOF {
			return users, groups, nil
		} else if err != nil {
			return nil, nil, fault.New(fault.Internal, "read a sysroot: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Name != "etc/passwd" && h.Name != "etc/group" {
			continue
		}
		names, err := accountNames(io.LimitReader(files, maxAccounts))
		if err != nil {
			return nil, nil, err
		}
		if h.Name == "etc/passwd" {
			users = names
		} else {
			groups = names
		}
	}
}

// accountNames reads names by number out of a file in the form of etc/passwd or
// etc/group; of several with one number the first counts.
func accountNames(r io.Reader) (map[int]string, error) {
	names := map[int]string{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), ":")
		if len(fields) < 3 {
			continue
		}
		if id, err := strconv.Atoi(fields[2]); err == nil && names[id] == "" {
			names[id] = fields[0]
		}
	}
	return names, lines.Err()
}

// writeSysroot writes one tar stream of the files of apk packages of the second
// generation. A later package replaces files of an earlier one: the lock has them
// in the order of installation.
func writeSysroot(w io.Writer, files []opener) error {
	s := sysrootWriter{w: tar.NewWriter(w), folder: map[string]bool{}}
	for _, open := range files {
		f, err := open()
		if err != nil {
			return err
		}
		p, err := apk.OpenV2(f, nil)
		if err == nil {
			err = p.Walk(s.entry)
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return s.w.Close()
}

type sysrootWriter struct {
	w      *tar.Writer
	folder map[string]bool // of each path, whether it is one
}

func (s *sysrootWriter) entry(e *apk.Entry, r io.Reader) error {
	if err := s.folders(path.Dir(e.Path)); err != nil {
		return err
	}
	h := &tar.Header{Name: e.Path, Mode: int64(e.Mode), ModTime: time.Unix(e.ModTime, 0), Format: tar.FormatPAX}
	switch e.Kind {
	case apk.RegularFile:
		h.Typeflag, h.Size = tar.TypeReg, e.Size
	case apk.Symlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, e.Target
	case apk.HardLink:
		h.Typeflag, h.Linkname = tar.TypeLink, e.Target
	case apk.Directory:
		return s.folders(e.Path)
	default:
		return fault.New(fault.Invalid, "%s: a device has no place in a sysroot", e.Path)
	}
	if s.folder[e.Path] {
		return mixed(e.Path)
	}
	s.folder[e.Path] = false
	if err := s.w.WriteHeader(h); err != nil {
		return err
	}
	if e.Kind != apk.RegularFile {
		return nil
	}
	_, err := io.Copy(s.w, r)
	return err
}

// folders writes a folder and those above it, each once.
func (s *sysrootWriter) folders(dir string) error {
	is, known := s.folder[dir]
	switch {
	case dir == "." || dir == "" || is:
		return nil
	case known:
		return mixed(dir)
	}
	if err := s.folders(path.Dir(dir)); err != nil {
		return err
	}
	s.folder[dir] = true
	return s.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0), Format: tar.FormatPAX})
}

// mixed is the error for a path at which a folder and something else meet: whichever
// counted, files would be elsewhere than where their package has them.
func mixed(p string) error {
	return fault.New(fault.Invalid, "%s: one package has a folder there, another has none", p).Fix("build with packages that agree")
}
