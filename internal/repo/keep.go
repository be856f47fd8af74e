package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Keep stores a lock, and every file that it names, for as long as the
// repository lives, so that what was built from it can be built again. The files
// must be in the blob store; fault.NotFound names those that are not.
func (r *Repo) Keep(ctx context.Context, tier ashlar.Tier, lock *ashlar.Lock) error {
	if err := checkNames(tier, "any"); err != nil {
		return err
	}
	return r.writing(ctx, tier, func(d *disk) error {
		if _, err := r.keep(ctx, d, tier, lock); err != nil {
			return err
		}
		return d.sync()
	})
}

// keep puts the lock and its files in place and returns the lock's digest.
func (r *Repo) keep(ctx context.Context, d *disk, tier ashlar.Tier, lock *ashlar.Lock) (ashlar.Digest, error) {
	data, err := lock.Encode()
	if err != nil {
		return "", err
	}
	id := ashlar.DigestOf(data)
	at := LockPath(tier, id)
	if _, err := os.Lstat(d.path(at)); err == nil {
		return id, nil
	}
	if err := d.mkdir(path.Dir(at)); err != nil {
		return "", err
	}
	if err := d.mkdir(path.Dir(SourcePath(id))); err != nil {
		return "", err
	}
	var missing []string
	for _, m := range lock.Materials() {
		err := r.keepFile(ctx, d, m)
		if fault.Is(err, fault.NotFound) || errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, m.URI)
		} else if err != nil {
			return "", err
		}
	}
	if len(missing) > 0 {
		return "", fault.New(fault.NotFound, "the lock names files that are not in the store: %s", strings.Join(missing, ", ")).
			Fix("build from the lock again, which fetches them")
	}
	temp := path.Join(workDir(tier), id.Hex())
	if err := d.write(temp, data, time.Unix(0, 0)); err != nil {
		return "", err
	}
	return id, d.rename(temp, at)
}

// keepFile puts one pinned file among the kept ones.
func (r *Repo) keepFile(ctx context.Context, d *disk, m ashlar.Material) error {
	if err := m.Digest.Validate(); err != nil {
		return fault.New(fault.Invalid, "%s: %w", m.URI, err)
	}
	at := SourcePath(m.Digest)
	if _, err := os.Lstat(d.path(at)); err == nil {
		return nil
	}
	f := ashlar.File{Name: m.Name, Digest: m.Digest, Size: m.Size}
	return r.bring(ctx, d, f, func(from string) error { return d.link(from, at) },
		func(data io.Reader) error { return copyNew(d, data, at) })
}

// LockPath returns where the lock with the digest is kept, below the root.
func LockPath(tier ashlar.Tier, lock ashlar.Digest) string {
	return path.Join(tierDir(tier), "locks", lock.Hex()+".json")
}

// SourcePath returns where a file that a lock names is kept, below the root.
func SourcePath(d ashlar.Digest) string { return path.Join("sources", "sha256", d.Hex()) }

// fileOf returns the digest and size of what r holds.
func fileOf(r io.Reader) (ashlar.File, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return ashlar.File{Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: n}, err
}
