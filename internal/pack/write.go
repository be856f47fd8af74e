package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/durable"
)

// An output is one file to be written.
type output struct {
	name  string
	write func(w io.Writer, spool *os.File) error
}

// Write packs all packages into files in dir and returns them, sorted by name:
// NAME-VERSION-rN.apk and NAME-VERSION-rN.v3.apk for the two generations of apk,
// neither of them signed, and NAME_VERSION_ARCH.deb. Up to workers files are
// written at a time, which does not change them. If one fails none is left.
func (s *Set) Write(ctx context.Context, dir string, workers int) ([]ashlar.File, error) {
	var outputs []output
	for _, b := range s.Packages {
		outputs = append(outputs, s.outputs(b)...)
	}
	files := make([]ashlar.File, len(outputs))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(1, workers))
	for i, o := range outputs {
		group.Go(func() (err error) {
			files[i], err = o.save(ctx, dir)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		for i, f := range files {
			if f.Name != "" {
				err = errors.Join(err, os.Remove(filepath.Join(dir, outputs[i].name)))
			}
		}
		return nil, err
	}
	slices.SortFunc(files, func(a, b ashlar.File) int { return strings.Compare(a.Name, b.Name) })
	return files, nil
}

// outputs returns the files of a package.
func (s *Set) outputs(b *Binary) []output {
	if b.Format == Deb {
		return []output{{ashlar.DebFileName(b.Name, b.Version, ashlar.Arch(b.Arch)), func(w io.Writer, spool *os.File) error {
			files, conffiles := s.debFiles(b)
			return deb.Write(w, &deb.WriteSpec{Control: b.deb, Conffiles: conffiles, Files: files, ModTime: s.options.Time, Spool: spool})
		}}}
	}
	base := b.Name + "-" + b.Version
	return []output{
		{base + ".apk", func(w io.Writer, spool *os.File) error {
			_, err := apk.WriteV2(w, &apk.V2Spec{Info: b.apk, Files: s.apkFiles(b), Workers: 1, Spool: spool})
			return err
		}},
		{base + ".v3.apk", func(w io.Writer, _ *os.File) error {
			_, err := apk.WriteV3(w, &apk.V3Spec{Info: b.apk, Files: s.apkFiles(b), Compression: adb.Deflate})
			return err
		}},
	}
}

// save writes the file.
func (o *output) save(ctx context.Context, dir string) (ashlar.File, error) {
	var none ashlar.File
	spool, err := os.CreateTemp(dir, ".spool-*")
	if err != nil {
		return none, err
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return none, err
	}
	f, err := durable.Create(filepath.Join(dir, o.name), 0o644)
	if err != nil {
		return none, err
	}
	defer f.Abort()
	sum := sha256.New()
	w := &writerUntil{ctx: ctx, w: io.MultiWriter(f, sum)}
	if err := o.write(w, spool); err != nil {
		return none, err
	}
	if err := f.Commit(); err != nil {
		return none, err
	}
	return ashlar.File{Name: o.name, Digest: ashlar.Digest("sha256:" + hex.EncodeToString(sum.Sum(nil))), Size: w.n}, nil
}

// writerUntil writes until its context ends, and counts.
type writerUntil struct {
	ctx context.Context
	w   io.Writer
	n   int64
}

func (w *writerUntil) Write(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := w.w.Write(p)
	w.n += int64(n)
	return n, err
}
