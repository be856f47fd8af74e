package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// keep puts the locks of the sets, and every file that they name, in place for as
// long as the repository lives, so that what was built from them can be built
// again. It returns the digest of each lock. The files must be in the blob store;
// fault.NotFound names those that are not. A lock that is there says that its
// files are: these are on the disk before it gets its name.
func (r *Repo) keep(ctx context.Context, d *disk, tier ashlar.Tier, sets []*set) (map[*ashlar.Lock]ashlar.Digest, error) {
	ids := map[*ashlar.Lock]ashlar.Digest{}
	fresh := map[string][]byte{} // by path
	kept := map[ashlar.Digest]bool{}
	for _, s := range sets {
		if s.Lock == nil {
			continue
		}
		data, err := s.Lock.Encode()
		if err != nil {
			return nil, err
		}
		id := ashlar.DigestOf(data)
		ids[s.Lock] = id
		at := LockPath(tier, id)
		if fresh[at] != nil || sameContent(d.path(at), ashlar.File{Name: at, Digest: id}) == nil {
			continue
		}
		if err := r.keepFiles(ctx, d, s.Lock, kept); err != nil {
			return nil, err
		}
		fresh[at] = data
	}
	if len(fresh) == 0 {
		return ids, nil
	}
	if err := d.mkdir(path.Join(tierDir(tier), "locks")); err != nil {
		return nil, err
	}
	if err := d.sync(); err != nil {
		return nil, err
	}
	for _, at := range slices.Sorted(maps.Keys(fresh)) {
		if err := d.put(at, fresh[at]); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// keepFiles puts what the lock names among the kept files, and notes it in kept:
// locks share most of their build roots.
func (r *Repo) keepFiles(ctx context.Context, d *disk, lock *ashlar.Lock, kept map[ashlar.Digest]bool) error {
	if err := d.mkdir(sourcesDir); err != nil {
		return err
	}
	var wanted []ashlar.Material
	for _, m := range lock.Materials() {
		if err := m.Digest.Validate(); err != nil {
			return fault.New(fault.Invalid, "%s: %w", m.URI, err)
		}
		if !kept[m.Digest] {
			kept[m.Digest] = true
			wanted = append(wanted, m)
		}
	}
	there, missing, err := r.lookUp(ctx, d, wanted)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fault.New(fault.NotFound, "the lock names files that are not in the store: %s", strings.Join(missing, ", ")).
			Fix("build from the lock again, which fetches them")
	}
	for i, m := range wanted {
		if there[i] {
			continue
		}
		if err := r.bring(ctx, d, ashlar.File{Name: m.Name, Digest: m.Digest}, SourcePath(m.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// lookUp reports which files are among the kept ones, whole, and names those that
// are not in the blob store either. The content of the rest is as it should be.
func (r *Repo) lookUp(ctx context.Context, d *disk, files []ashlar.Material) (there []bool, missing []string, err error) {
	there = make([]bool, len(files))
	gone := make([]bool, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(workers())
	for i, m := range files {
		g.Go(func() error {
			f := ashlar.File{Name: m.Name, Digest: m.Digest}
			if there[i] = sameContent(d.path(SourcePath(m.Digest)), f) == nil; there[i] {
				return ctx.Err()
			}
			err := verify(ctx, r.cfg.Blobs, f)
			if gone[i] = fault.Is(err, fault.NotFound) || errors.Is(err, fs.ErrNotExist); gone[i] {
				return nil
			}
			return err
		})
	}
	err = g.Wait()
	for i, m := range files {
		if gone[i] {
			missing = append(missing, m.URI)
		}
	}
	return there, missing, err
}

// verify checks that the blob of a file has its digest.
func verify(ctx context.Context, blobs Blobs, f ashlar.File) error {
	b, err := blobs.Open(ctx, f.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := fileOf(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		return err
	}
	if got.Digest != f.Digest {
		return damagedStore(f, got)
	}
	return nil
}

const sourcesDir = "sources/sha256"

// LockPath returns where the lock with the digest is kept, below the root.
func LockPath(tier ashlar.Tier, lock ashlar.Digest) string {
	return path.Join(tierDir(tier), "locks", lock.Hex()+".json")
}

// SourcePath returns where a file that a lock names is kept, below the root.
func SourcePath(d ashlar.Digest) string { return path.Join(sourcesDir, d.Hex()) }

// fileOf returns the digest and size of what r holds.
func fileOf(r io.Reader) (ashlar.File, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return ashlar.File{Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: n}, err
}
