package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A record says, in the pool beside the files, what was published together: a
// name that one has is never given to other content.
type record struct {
	Source  string        `json:"source"`
	Version string        `json:"version"`
	Arch    ashlar.Arch   `json:"arch"`
	Suite   string        `json:"suite"`
	Lock    ashlar.Digest `json:"lock,omitempty"`
	Files   []ashlar.File `json:"files"`
}

// lockDir returns the folder of the locks of a tier, below the root.
func lockDir(tier ashlar.Tier) string { return path.Join(tierDir(tier), "locks") }

const recordSuffix = ".set.json"

// recordName returns the name of the record of a set, which lies beside its
// files.
func recordName(s *set, suite string) string {
	return trimDeb(ashlar.DebFileName(s.name, s.version, s.Arch)) + "." + suite + recordSuffix
}

func trimDeb(name string) string { return name[:len(name)-len(".deb")] }

// placeAll puts the files of the sets, their locks with what these name, and
// their records on the disk. No index refers to them yet. The content of the
// files was checked when the sets were read.
func (r *Repo) placeAll(ctx context.Context, d *durable.Batch, to target, sets map[string][]*set) error {
	all := slices.Concat(slices.Collect(maps.Values(sets))...)
	for _, s := range all {
		if err := r.placeFiles(ctx, d, to, s); err != nil {
			return err
		}
	}
	named := make([]*ashlar.Lock, len(all))
	for i, s := range all {
		named[i] = s.Lock
	}
	locks, err := shelf.Keep(ctx, d, r.cfg.Blobs, lockDir(to.tier), named)
	if err != nil {
		return err
	}
	for _, s := range all {
		rec := record{Source: s.name, Version: s.version, Arch: s.Arch, Suite: to.suite, Lock: locks[s.Lock], Files: slices.Clone(s.Files)}
		if err := placeRecord(d, rec, path.Join(tierDir(to.tier), s.dir, recordName(s, to.suite))); err != nil {
			return err
		}
	}
	return nil
}

// placeFiles puts the files of a set into the pool.
func (r *Repo) placeFiles(ctx context.Context, d *durable.Batch, to target, s *set) error {
	dir := path.Join(tierDir(to.tier), s.dir)
	if err := d.Mkdir(dir); err != nil {
		return err
	}
	for _, f := range slices.Concat(s.Files, s.Bundles) {
		if err := r.placeFile(ctx, d, f, path.Join(dir, f.Name)); err != nil {
			return err
		}
	}
	return nil
}

// placeRecord writes the record. What an older one names stays named, for
// indexes may name it too.
func placeRecord(d *durable.Batch, rec record, at string) error {
	if old, err := readRecord(d.Path(at)); err == nil {
		rec.Lock = cmp.Or(rec.Lock, old.Lock)
		for _, f := range old.Files {
			if !slices.ContainsFunc(rec.Files, func(n ashlar.File) bool { return n.Name == f.Name }) {
				rec.Files = append(rec.Files, f)
			}
		}
	}
	slices.SortFunc(rec.Files, func(a, b ashlar.File) int { return cmp.Compare(a.Name, b.Name) })
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	data = append(data, '\n')
	old, err := os.ReadFile(d.Path(at))
	switch {
	case err == nil && string(old) == string(data):
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return d.Put(at, data)
}

// readRecord reads the record of a published set.
func readRecord(name string) (record, error) {
	var rec record
	b, err := os.ReadFile(name)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, shelf.Damaged(name, "not a record of a published set: %w", err)
	}
	if !fileForm.MatchString(rec.Source) {
		return rec, shelf.Damaged(name, "%q is not the name of a source package", rec.Source)
	}
	for _, f := range rec.Files {
		if err := cmp.Or(f.Digest.Validate(), badName(f.Name)); err != nil {
			return rec, shelf.Damaged(name, "%w", err)
		}
	}
	return rec, nil
}

func badName(name string) error {
	if fileForm.MatchString(name) {
		return nil
	}
	return fault.New(fault.Invalid, "%q is not a name for a file in a pool", name)
}

// placeFile gives the file its name in the pool, whatever had it before. If an
// index may name other content there, the error is fault.Conflict; no index names
// attestations.
func (r *Repo) placeFile(ctx context.Context, d *durable.Batch, f ashlar.File, at string) error {
	switch err := shelf.SameContent(d.Path(at), f); {
	case err == nil:
		return nil
	case fault.Is(err, fault.Conflict):
		if err := published(d.Path(path.Dir(at)), f); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return shelf.Bring(ctx, d, r.cfg.Blobs, f, at)
}

// published refuses a file whose name a record in the folder has with other
// content. Every record is on the disk before an index names its files, so what
// no record names was left behind by a publish that failed, or is damaged.
func published(dir string, f ashlar.File) error {
	records, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range records {
		if !strings.HasSuffix(e.Name(), recordSuffix) {
			continue
		}
		rec, err := readRecord(path.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		for _, old := range rec.Files {
			if old.Name == f.Name && old.Digest != f.Digest {
				return fault.New(fault.Conflict, "%s was published with digest %s and never changes; this one has %s",
					f.Name, old.Digest, f.Digest).At(f.Name, 0).Fix("build it under a new version")
			}
		}
	}
	return nil
}
