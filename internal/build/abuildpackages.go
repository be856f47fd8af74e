package build

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// abuiltDir is the folder of a build's output that has what abuild left in ApkDir.
const abuiltDir = "3"

// usesAbuild reports whether a step of the build leaves packages where abuild does.
func (b *BuildPlan) usesAbuild() bool {
	return slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Uses == "abuild/build@v1" })
}

// takeAbuilt stores the packages that abuild left in a folder of the output, as
// REPOSITORY/ARCH/NAME-VERSION.apk. It returns each twice: as abuild made it, without
// the signature of the key that died with the sandbox, and in the form of v3.
func (r *Runner) takeAbuilt(ctx context.Context, out, dir string) ([]ashlar.File, error) {
	root, err := os.OpenRoot(out)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	defer root.Close()
	names, err := fs.Glob(root.FS(), dir+"/*/*/*.apk")
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	var files []ashlar.File
	for _, name := range names {
		info, err := root.Lstat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > maxOutput {
			return nil, errors.Join(fault.New(fault.Failed, "%s is no package: it is no plain file, or too large", path.Base(name)), err)
		}
		f, err := root.Open(name)
		if err != nil {
			return nil, fault.New(fault.Internal, "read build output: %w", err)
		}
		pair, err := r.bothGenerations(ctx, f, info.Size(), out)
		f.Close()
		if err != nil {
			return nil, fault.New(fault.KindOf(err), "what abuild made: %w", err).At(path.Base(name), 0)
		}
		if pair[0].Name != path.Base(name) {
			return nil, fault.New(fault.Failed, "abuild left a file %s that holds %s", path.Base(name), pair[0].Name)
		}
		files = append(files, pair...)
	}
	return files, nil
}

// bothGenerations stores a package of v2 without signatures, and the same as v3.
func (r *Runner) bothGenerations(ctx context.Context, f *os.File, size int64, tmp string) ([]ashlar.File, error) {
	spool, err := os.CreateTemp(tmp, "content-*")
	if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	defer spool.Close()
	defer os.Remove(spool.Name())
	p, err := apk.OpenV2(f, nil)
	if err != nil {
		return nil, err
	}
	files, err := spooled(p, spool)
	if err != nil {
		return nil, err
	}
	v2, err := r.Store.Put(ctx, io.NewSectionReader(f, p.ControlOffset, size-p.ControlOffset), "")
	if err != nil {
		return nil, err
	}
	pipe, w := io.Pipe()
	go func() {
		_, err := apk.WriteV3(w, &apk.V3Spec{Info: p.Info, Scripts: p.Scripts, Files: files, Compression: adb.Deflate})
		w.CloseWithError(err)
	}()
	v3, err := r.Store.Put(ctx, pipe, "")
	pipe.CloseWithError(err)
	if err != nil {
		return nil, err
	}
	v2.Name = p.Info.Name + "-" + p.Info.Version + ".apk"
	v3.Name = strings.TrimSuffix(v2.Name, ".apk") + ashlar.ApkV3Suffix
	return []ashlar.File{v2, v3}, nil
}

// spooled reads a package whole and returns its files, whose content is in spool.
func spooled(p *apk.V2Package, spool *os.File) ([]apk.File, error) {
	var files []apk.File
	var end int64
	err := p.Walk(func(e *apk.Entry, content io.Reader) error {
		file := apk.File{Entry: *e}
		if e.Kind == apk.RegularFile {
			at := end
			n, err := io.Copy(spool, content)
			if err != nil {
				return err
			}
			end += n
			file.Open = func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(spool, at, n)), nil }
		}
		files = append(files, file)
		return nil
	})
	return files, err
}
