package apkrepo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A record says what was published together. Every record is on the disk before
// an index names its packages, so a file that no record names was left behind by a
// publish that failed.
type record struct {
	Origin    string        `json:"origin"`
	Version   string        `json:"version"`
	Arch      string        `json:"arch"`
	Lock      ashlar.Digest `json:"lock,omitempty"`
	Withdrawn string        `json:"withdrawn,omitempty"` // why, if it was
	Packages  []published   `json:"packages"`
}

// A published file is a package, in one of its formats.
type published struct {
	Package string `json:"package"`
	Format  string `json:"format"`
	ashlar.File
}

const recordSuffix = ".json"

// originDir returns the folder of the records of a source, below the root.
func originDir(to Target, arch, origin string) string {
	return path.Join(to.dir(), setsDir, arch, origin)
}

// recordPath returns where the record of a source's version is, below the root.
func recordPath(to Target, arch, origin, version string) string {
	return path.Join(originDir(to, arch, origin), version+recordSuffix)
}

// readRecord reads a record. The error wraps fs.ErrNotExist if there is none.
func readRecord(name string) (record, error) {
	var rec record
	b, err := os.ReadFile(name)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, shelf.Damaged(name, "not a record of a published set: %w", err)
	}
	if !fileForm.MatchString(rec.Origin) || rec.Version+recordSuffix != path.Base(name) || checkArch(rec.Arch) != nil {
		return rec, shelf.Damaged(name, "it is the record of source %q %s", rec.Origin, rec.Version)
	}
	for _, p := range rec.Packages {
		if p.Digest.Validate() != nil || !fileForm.MatchString(p.Name) {
			return rec, shelf.Damaged(name, "%q with digest %q is no package", p.Name, p.Digest)
		}
	}
	return rec, nil
}

// versions returns the versions of a source that were ever published, in
// ascending order.
func versions(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []string
	for _, e := range list {
		if v, ok := strings.CutSuffix(e.Name(), recordSuffix); ok && apk.ValidateVersion(v) == nil {
			found = append(found, v)
		}
	}
	slices.SortFunc(found, apk.CompareVersions)
	return found, nil
}

// mayFollow refuses a set whose version does not sort above all that were
// published of its source, unless it is the newest again with the same files. It
// returns the record of that version as it will be.
func mayFollow(d *durable.Batch, to Target, s *set) (record, error) {
	rec := record{Origin: s.origin, Version: s.version, Arch: s.Arch}
	for _, b := range s.packages {
		rec.Packages = append(rec.Packages, published{Package: b.info.Name, Format: b.format, File: b.file})
	}
	known, err := versions(d.Path(originDir(to, s.Arch, s.origin)))
	if err != nil || len(known) == 0 {
		return rec, err
	}
	newest := known[len(known)-1]
	if apk.CompareVersions(s.version, newest) < 0 || s.version != newest && apk.CompareVersions(s.version, newest) == 0 {
		return rec, fault.New(fault.Conflict, "%s %s does not sort above %s, which was published", s.origin, s.version, newest).
			Fix("publish a version above it: clients never go back")
	}
	if s.version != newest {
		return rec, nil
	}
	old, err := readRecord(d.Path(recordPath(to, s.Arch, s.origin, s.version)))
	if err != nil {
		return rec, err
	}
	return rec, rec.extend(old)
}

// extend takes over what an older record of the version says: what it names stays
// named. Another file for the same package is fault.Conflict.
func (rec *record) extend(old record) error {
	rec.Lock = old.Lock
	for _, was := range old.Packages {
		i := slices.IndexFunc(rec.Packages, func(p published) bool { return p.Package == was.Package && p.Format == was.Format })
		switch {
		case i < 0:
			rec.Packages = append(rec.Packages, was)
		case rec.Packages[i].Digest != was.Digest:
			return neverChanges(was.File, rec.Packages[i].File)
		}
	}
	return nil
}

// neverChanges says that a published file would become another.
func neverChanges(was, is ashlar.File) error {
	return fault.New(fault.Conflict, "%s was published with digest %s and never changes; this one has %s", was.Name, was.Digest, is.Digest).
		At(is.Name, 0).Fix("build it under a new version")
}

// putRecord writes a record unless it is there.
func putRecord(d *durable.Batch, to Target, rec record) error {
	slices.SortFunc(rec.Packages, func(a, b published) int { return cmp.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	at := recordPath(to, rec.Arch, rec.Origin, rec.Version)
	if old, err := os.ReadFile(d.Path(at)); err == nil && string(old) == string(data) {
		return nil
	}
	if err := d.Mkdir(path.Dir(at)); err != nil {
		return err
	}
	return d.Put(at, data)
}

// place puts the files of the sets, their locks with what these name, and their
// records on the disk. No index names them yet. The content of packages was
// checked when the sets were read.
func (r *Repo) place(ctx context.Context, d *durable.Batch, to Target, sets []*set, records []record) error {
	locks := make([]*ashlar.Lock, len(sets))
	for i, s := range sets {
		locks[i] = s.Lock
		if err := r.placeFiles(ctx, d, to, s); err != nil {
			return err
		}
	}
	ids, err := shelf.Keep(ctx, d, r.cfg.Blobs, path.Join(to.dir(), locksDir), locks)
	if err != nil {
		return err
	}
	for i, s := range sets {
		records[i].Lock = cmp.Or(ids[s.Lock], records[i].Lock)
		if err := putRecord(d, to, records[i]); err != nil {
			return err
		}
	}
	return nil
}

// placeFiles puts the packages of a set into the folder of its architecture.
func (r *Repo) placeFiles(ctx context.Context, d *durable.Batch, to Target, s *set) error {
	dir := path.Join(to.dir(), s.Arch)
	if err := d.Mkdir(dir); err != nil {
		return err
	}
	for _, b := range s.packages {
		if err := r.placeFile(ctx, d, to, s.Arch, b.file, b.file.Name); err != nil {
			return err
		}
		if b.format == formatV3 || s.has(b.info.Name, formatV3) {
			continue
		}
		// Packages.adb lists it too, by a name with the beginning of its identity.
		name, err := FileNameV3(&b.v3)
		if err != nil {
			return err
		}
		if err := r.placeFile(ctx, d, to, s.Arch, b.file, name); err != nil {
			return err
		}
	}
	for _, f := range s.Bundles {
		if shelf.SameContent(d.Path(path.Join(dir, f.Name)), f) == nil {
			continue
		}
		if err := shelf.Verify(ctx, r.cfg.Blobs, f); err != nil {
			return err
		}
		if err := shelf.Bring(ctx, d, r.cfg.Blobs, f, path.Join(dir, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// has reports whether the set has a package in a format.
func (s *set) has(name, format string) bool {
	return slices.ContainsFunc(s.packages, func(b *binary) bool { return b.info.Name == name && b.format == format })
}

// placeFile gives a package a name, whatever had it before, unless that was
// published.
func (r *Repo) placeFile(ctx context.Context, d *durable.Batch, to Target, arch string, f ashlar.File, name string) error {
	at := path.Join(to.dir(), arch, name)
	switch err := shelf.SameContent(d.Path(at), f); {
	case err == nil:
		return nil
	case fault.Is(err, fault.Conflict):
		if err := unpublished(d.Path(path.Join(to.dir(), setsDir, arch)), f, name); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return shelf.Bring(ctx, d, r.cfg.Blobs, f, at)
}

// unpublished refuses a file whose name a record in the folder has with other
// content. It reads all records, which is for the rare case that there is a file
// of the name.
func unpublished(dir string, f ashlar.File, name string) error {
	return filepath.WalkDir(dir, func(at string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || e.IsDir() || path.Ext(at) != recordSuffix {
			return err
		}
		rec, err := readRecord(at)
		if err != nil {
			return err
		}
		for _, was := range rec.Packages {
			if was.Name == name && was.Digest != f.Digest {
				return neverChanges(was.File, f)
			}
		}
		return nil
	})
}
