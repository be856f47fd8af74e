package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// A disk is a file system of its own for an engine: ext4 lists a directory in
// the order of its names' hashes, so another seed gives another order.
type disk struct {
	lab   *lab
	dir   string // where it is mounted
	image string
}

const (
	diskSize  = 24 << 30 // bytes, sparse
	diskCache = 10 << 30 // bytes that the engine on it may keep
	diskSeed  = "6f7a1c52-93d0-4be8-a1f4-2d5c8e90b736"
)

// otherDisk makes and mounts the disk, or finds it mounted.
func (l *lab) otherDisk(ctx context.Context) (*disk, error) {
	d := &disk{lab: l, dir: l.path("other"), image: l.path("other.img")}
	if d.mounted() {
		return d, nil
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(diskSize), f.Close()); err != nil {
		return nil, err
	}
	if err := do(ctx, "/", "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "hash_seed="+diskSeed+",lazy_itable_init=1,nodiscard", d.image); err != nil {
		return nil, err
	}
	return d, do(ctx, "/", "mount", "-o", "loop,discard", d.image, d.dir)
}

// mounted reports whether the folder is a file system of its own.
func (d *disk) mounted() bool {
	var here, above unix.Stat_t
	if unix.Stat(d.dir, &here) != nil || unix.Stat(filepath.Dir(d.dir), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

// config returns how the engine on the disk is run.
func (d *disk) config() engine.Config {
	c := d.lab.engineConfig(d.dir)
	c.MaxCache = diskCache
	return c
}

// runner returns what executes plans on the engine of the disk. Inputs and
// outputs are in the given store.
func (d *disk) runner(ctx context.Context, store *blob.Dir) (*build.Runner, error) {
	client, err := engine.Ensure(ctx, d.config())
	if err != nil {
		return nil, err
	}
	return &build.Runner{Engine: client, Store: store, Scratch: d.lab.path("tmp"), Memo: filepath.Join(d.dir, "bootstrap"), Now: time.Now}, nil
}

// close ends the engine, unmounts the disk and removes it.
func (d *disk) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	if err := engine.Stop(ctx, d.config()); err != nil {
		return fmt.Errorf("%s stays mounted: %w", d.dir, err)
	}
	if err := do(ctx, "/", "umount", d.dir); err != nil {
		return err
	}
	return os.Remove(d.image)
}
