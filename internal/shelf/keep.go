package shelf

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

const sourcesDir = "sources/sha256"

// SourcePath returns where a file that a lock names is kept, below the root.
func SourcePath(d ashlar.Digest) string { return path.Join(sourcesDir, d.Hex()) }

// LockPath returns where a lock is kept in a folder of locks.
func LockPath(dir string, lock ashlar.Digest) string { return path.Join(dir, lock.Hex()+".json") }

// Keep puts locks into the folder dir below the root, and every file that they
// name in place, for as long as the repository lives, so that what was built from
// them can be built again. It returns the digest of each lock; a nil among them is
// passed over. The files must be in the blob store; fault.NotFound names those
// that are not. A lock that is there says that its files are: these are on the
// disk before it gets its name.
func Keep(ctx context.Context, d *durable.Batch, blobs Blobs, dir string, locks []*ashlar.Lock) (map[*ashlar.Lock]ashlar.Digest, error) {
	ids := map[*ashlar.Lock]ashlar.Digest{}
	fresh := map[string][]byte{} // by path
	kept := map[ashlar.Digest]bool{}
	for _, lock := range locks {
		if lock == nil {
			continue
		}
		data, err := lock.Encode()
		if err != nil {
			return nil, err
		}
		id := ashlar.DigestOf(data)
		ids[lock] = id
		at := LockPath(dir, id)
		if fresh[at] != nil || SameContent(d.Path(at), ashlar.File{Name: at, Digest: id}) == nil {
			continue
		}
		if err := keepFiles(ctx, d, blobs, lock, kept); err != nil {
			return nil, err
		}
		fresh[at] = data
	}
	if len(fresh) == 0 {
		return ids, nil
	}
	if err := d.Mkdir(dir); err != nil {
		return nil, err
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	for _, at := range slices.Sorted(maps.Keys(fresh)) {
		if err := d.Put(at, fresh[at]); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// keepFiles puts what the lock names among the kept files, and notes it in kept:
// locks share most of their build roots.
func keepFiles(ctx context.Context, d *durable.Batch, blobs Blobs, lock *ashlar.Lock, kept map[ashlar.Digest]bool) error {
	if err := d.Mkdir(sourcesDir); err != nil {
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
	there, missing, err := lookUp(ctx, d, blobs, wanted)
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
		if err := Bring(ctx, d, blobs, ashlar.File{Name: m.Name, Digest: m.Digest}, SourcePath(m.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// lookUp reports which files are among the kept ones, whole, and names those that
// are not in the blob store either. The content of the rest is as it should be.
func lookUp(ctx context.Context, d *durable.Batch, blobs Blobs, files []ashlar.Material) (there []bool, missing []string, err error) {
	there = make([]bool, len(files))
	gone := make([]bool, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(Workers())
	for i, m := range files {
		g.Go(func() error {
			f := ashlar.File{Name: m.Name, Digest: m.Digest}
			if there[i] = SameContent(d.Path(SourcePath(m.Digest)), f) == nil; there[i] {
				return ctx.Err()
			}
			err := Verify(ctx, blobs, f)
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
