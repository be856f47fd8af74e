package repo

import (
	"cmp"
	"context"
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Rebuild makes all indexes of a suite again out of the files in the pool: of
// each source package the highest version that was published there. Nothing of
// the live indexes is used, so it repairs a suite whose indexes were damaged.
// Every file is checked against the digest that it was published with.
func (r *Repo) Rebuild(ctx context.Context, tier ashlar.Tier, suite string, now time.Time) (*Published, error) {
	if err := checkNames(tier, suite); err != nil {
		return nil, err
	}
	var done *Published
	err := r.writing(ctx, tier, func(d *disk) error {
		pool, err := readPool(d.path(tierDir(tier)), suite)
		if err != nil {
			return err
		}
		if len(pool.sets) == 0 {
			return fault.New(fault.NotFound, "nothing was ever published in suite %s of tier %s", suite, tier)
		}
		loaded, err := readSets(ctx, pool, pool.sets)
		if err != nil {
			return err
		}
		from := &Repo{cfg: r.cfg}
		from.cfg.Blobs = pool
		done, err = from.publish(ctx, d, target{tier, suite}, &state{dir: d.path(distDir(tier, suite))}, loaded, now)
		return err
	})
	return done, err
}

// A pool hands out the files of published sets by digest.
type pool struct {
	paths map[ashlar.Digest]string
	sets  []SourceSet
}

// readPool finds the newest published set of every source package and
// architecture, by the records in the pool.
func readPool(tierRoot, suite string) (*pool, error) {
	p := &pool{paths: map[ashlar.Digest]string{}}
	newest := map[string]record{}
	err := filepath.WalkDir(path.Join(tierRoot, "pool"), func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(name, "."+suite+recordSuffix) {
			return err
		}
		rec, err := readRecord(name)
		if err != nil {
			return err
		}
		key := rec.Source + " " + string(rec.Arch)
		if have, ok := newest[key]; !ok || deb.Compare(have.Version, rec.Version) < 0 {
			newest[key] = rec
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(newest)) {
		rec := newest[key]
		for _, f := range rec.Files {
			p.paths[f.Digest] = path.Join(tierRoot, poolDir(rec.Source), f.Name)
		}
		p.sets = append(p.sets, SourceSet{Arch: rec.Arch, Files: rec.Files})
	}
	return p, nil
}

// readRecord reads the record of a published set.
func readRecord(name string) (record, error) {
	var rec record
	b, err := os.ReadFile(name)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(b, &rec); err != nil {
		return rec, damaged(name, "not a record of a published set: %w", err)
	}
	if !fileForm.MatchString(rec.Source) {
		return rec, damaged(name, "%q is not the name of a source package", rec.Source)
	}
	for _, f := range rec.Files {
		if err := cmp.Or(f.Digest.Validate(), badName(f.Name)); err != nil {
			return rec, damaged(name, "%w", err)
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

// Path returns where the file with the digest is in the pool.
func (p *pool) Path(d ashlar.Digest) string { return p.paths[d] }

// Open opens the file with the digest.
func (p *pool) Open(_ context.Context, d ashlar.Digest) (blob.Blob, error) {
	name, ok := p.paths[d]
	if !ok {
		return nil, fault.New(fault.NotFound, "no file with digest %s in the pool", d)
	}
	return openBlob(name)
}

// openBlob opens a file as a blob.
func openBlob(name string) (blob.Blob, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return poolBlob{f, info.Size()}, nil
}

type poolBlob struct {
	*os.File
	size int64
}

func (b poolBlob) Size() int64 { return b.size }
