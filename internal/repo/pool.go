package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A record says, in the pool beside the files, what was published together, so
// that the indexes can be made again from the pool alone.
type record struct {
	Source  string        `json:"source"`
	Version string        `json:"version"`
	Arch    ashlar.Arch   `json:"arch"`
	Suite   string        `json:"suite"`
	Lock    ashlar.Digest `json:"lock,omitempty"`
	Files   []ashlar.File `json:"files"`
}

// recordName returns the name of the record of a set, which lies beside its
// files.
func recordName(s *set, suite string) string {
	return trimDeb(ashlar.DebFileName(s.name, s.version, s.Arch)) + "." + suite + ".set.json"
}

func trimDeb(name string) string { return name[:len(name)-len(".deb")] }

// place puts the files of a set, its lock and what that names, and its record on
// the disk. Nothing refers to them yet.
func (r *Repo) place(ctx context.Context, d *disk, to target, s *set) error {
	dir := path.Join(tierDir(to.tier), s.dir)
	if err := d.mkdir(dir); err != nil {
		return err
	}
	for _, f := range s.Files {
		if err := r.placeFile(ctx, d, f, path.Join(dir, f.Name)); err != nil {
			return err
		}
	}
	for _, f := range s.Bundles {
		if err := r.placeBundle(ctx, d, to.tier, f, path.Join(dir, f.Name)); err != nil {
			return err
		}
	}
	rec := record{Source: s.name, Version: s.version, Arch: s.Arch, Suite: to.suite, Files: slices.Clone(s.Files)}
	slices.SortFunc(rec.Files, func(a, b ashlar.File) int { return cmp.Compare(a.Name, b.Name) })
	if s.Lock != nil {
		var err error
		if rec.Lock, err = r.keep(ctx, d, to.tier, s.Lock); err != nil {
			return err
		}
	}
	return placeRecord(d, rec, path.Join(dir, recordName(s, to.suite)))
}

// placeRecord writes the record. Only its lock may change: the same files can
// come of two locks.
func placeRecord(d *disk, rec record, at string) error {
	if old, err := readRecord(d.path(at)); err == nil && rec.Lock == "" {
		rec.Lock = old.Lock
	}
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	old, err := os.ReadFile(d.path(at))
	switch {
	case err == nil && string(old) == string(data):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	temp := path.Join(path.Dir(at), "."+path.Base(at)+".new")
	if err := os.Remove(d.path(temp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.write(temp, data, time.Unix(0, 0)); err != nil {
		return err
	}
	return d.rename(temp, at)
}

// placeFile gives the file its name. If the name is taken by other content, the
// error is fault.Conflict.
func (r *Repo) placeFile(ctx context.Context, d *disk, f ashlar.File, at string) error {
	switch err := sameContent(d.path(at), f); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return r.bring(ctx, d, f, func(from string) error { return d.link(from, at) },
		func(data io.Reader) error { return copyNew(d, data, at) })
}

// placeBundle gives an attestation its name, in place of an older one.
func (r *Repo) placeBundle(ctx context.Context, d *disk, tier ashlar.Tier, f ashlar.File, at string) error {
	if sameContent(d.path(at), f) == nil {
		return nil
	}
	return r.bring(ctx, d, f, func(from string) error { return d.replace(from, at) },
		func(data io.Reader) error {
			temp := path.Join(workDir(tier), f.Name)
			if err := copyNew(d, data, temp); err != nil {
				return err
			}
			return d.rename(temp, at)
		})
}

// bring calls link with the path of the file in the blob store or, if it cannot
// be linked from there, calls write with its content.
func (r *Repo) bring(ctx context.Context, d *disk, f ashlar.File, link func(string) error, write func(io.Reader) error) error {
	if local, ok := r.cfg.Blobs.(interface{ Path(ashlar.Digest) string }); ok {
		err := link(local.Path(f.Digest))
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	b, err := r.cfg.Blobs.Open(ctx, f.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	return write(b)
}

// copyNew writes a new file from a reader.
func copyNew(d *disk, data io.Reader, at string) error {
	temp := path.Join(path.Dir(at), "."+path.Base(at)+".new")
	if err := os.Remove(d.path(temp)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.write(temp, nil, time.Unix(0, 0)); err != nil {
		return err
	}
	if _, err := io.Copy(d.files[len(d.files)-1], data); err != nil {
		return err
	}
	return d.rename(temp, at)
}

// sameContent returns nil if the file at the absolute path has the content,
// fs.ErrNotExist if there is no file, and fault.Conflict if it has other content.
func sameContent(at string, want ashlar.File) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := fileOf(f)
	if err != nil {
		return err
	}
	if got.Digest != want.Digest {
		return fault.New(fault.Conflict, "%s was published with digest %s and never changes; this one has %s",
			want.Name, got.Digest, want.Digest).At(filepath.Base(at), 0).Fix("build it under a new version")
	}
	return nil
}
