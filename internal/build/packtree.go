package build

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pack"
)

// maxTree bounds the content of a tree that is packed, in bytes.
const maxTree = 16 << 30

// packTrees packs the trees that a build exported into out, and returns the
// packages, which are in the store. Remarks go to the log of their step. A tree is
// hostile, like all that comes out of the sandbox.
func (r *Runner) packTrees(ctx context.Context, b *BuildPlan, arch ashlar.Arch, out string, rec *recorder) (files []ashlar.File, err error) {
	provided, err := r.provided(ctx, b.Root.Sysroot)
	if err != nil {
		return nil, err
	}
	users, groups, err := r.accounts(ctx, b.Root.Sysroot)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(out)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	defer root.Close()
	n := 0
	for i := range b.Steps {
		s := &b.Steps[i]
		if s.Pack == nil {
			continue
		}
		p := packing{Runner: r, step: s, dir: filepath.Join(out, fmt.Sprintf("packed.%d", n))}
		o := pack.Options{Arch: arch, Time: s.Pack.Epoch, Maintainer: s.maintainer(), Provided: provided, Users: users, Groups: groups}
		made, err := p.run(ctx, root, fmt.Sprintf("2/%d%s", n, treeSuffix), o)
		if err != nil {
			return nil, fault.Within(err, "build %q", b.Name)
		}
		files = append(files, made...)
		for _, note := range p.notes {
			rec.event(engine.Event{Name: stepName(b.Name, i, s), Log: []byte("note: " + note + "\n")})
		}
		n++
	}
	return files, nil
}

// maintainer returns who is named in the packages that a step packs, as dpkg's own
// tools find out.
func (s *Step) maintainer() string {
	name, email := s.Env["DEBFULLNAME"], s.Env["DEBEMAIL"]
	if name == "" {
		name = "Ashlar"
	}
	if email == "" {
		email = "ashlar@localhost"
	}
	return name + " <" + email + ">"
}

// A packing is the packing of one tree.
type packing struct {
	*Runner
	step  *Step
	dir   string // for the packages
	notes []string
}

func (p *packing) run(ctx context.Context, root *os.Root, tree string, o pack.Options) ([]ashlar.File, error) {
	if err := p.present(root, tree); err != nil {
		return nil, err
	}
	var err error
	if o.Exceptions, err = pack.ParseExceptions(p.step.Pack.spec.Pos, p.step.Pack.Exceptions); err != nil {
		return nil, err
	}
	f, err := root.Open(tree)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	defer f.Close()
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, fault.New(fault.Internal, "make a folder for packages: %w", err)
	}
	t, err := pack.ReadTree(ctx, f, p.dir, maxTree)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	set, err := pack.Assemble(t, p.step.Pack.spec, o)
	if err != nil {
		return nil, err
	}
	p.notes = set.Notes
	files, err := set.Write(ctx, p.dir, runtime.GOMAXPROCS(0))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := p.keep(ctx, f); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// present returns nil if the tree is a plain file in a plain folder.
func (p *packing) present(root *os.Root, tree string) error {
	folder, err := root.Lstat(path.Dir(tree))
	is := err == nil && folder.IsDir()
	if is {
		var file fs.FileInfo
		file, err = root.Lstat(tree)
		is = err == nil && file.Mode().IsRegular()
	}
	switch {
	case is:
		return nil
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return fault.New(fault.Failed, "a step took away the tree that %s was to pack", p.step.Name)
	}
	return fault.New(fault.Internal, "read build output: %w", err)
}

// keep puts a package into the store.
func (p *packing) keep(ctx context.Context, f ashlar.File) error {
	in, err := os.Open(filepath.Join(p.dir, f.Name))
	if err != nil {
		return fault.New(fault.Internal, "%w", err)
	}
	defer in.Close()
	_, err = p.Store.Put(ctx, in, f.Digest)
	return err
}

// provided returns whether a name is provided by a package of a sysroot; nil if
// there is none, and it cannot be told.
func (r *Runner) provided(ctx context.Context, s *ashlar.Sysroot) (func(string) bool, error) {
	if s == nil {
		return nil, nil
	}
	names := map[string]bool{}
	for _, p := range s.Packages {
		f, err := r.Store.Open(ctx, p.Digest)
		if err != nil {
			return nil, err
		}
		head, err := apk.ReadV2(f)
		f.Close()
		if err != nil {
			return nil, fault.Within(err, "%s", p.Name)
		}
		names[head.Info.Name] = true
		for _, d := range head.Info.Provides {
			names[d.Name] = true
		}
	}
	return func(name string) bool { return names[name] || strings.HasPrefix(name, "/") }, nil
}
