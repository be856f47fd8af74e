package enginehost

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/moby/buildkit/executor"
	"github.com/moby/sys/mountinfo"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// writesHint is the variable of a step's environment that says how many bytes
// it is going to write at most (package engine's Step.Writes). Such a step works in memory, if there is enough:
// dpkg makes, syncs, renames and deletes files by the thousand, which costs a
// disk's file system twice what writing the outcome does. The step does not see
// the variable.
const writesHint = "ASHLAR_WRITES"

// takeHint removes writesHint from an environment and returns its value, 0 if
// it has none.
func takeHint(env []string) ([]string, int64) {
	var hint int64
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		value, ok := strings.CutPrefix(e, writesHint+"=")
		if n, err := strconv.ParseInt(value, 10, 64); ok && err == nil {
			hint = n
		}
		return ok
	})
	return env, hint
}

// inMemory returns the root of a step that is going to write so many bytes, with
// its changes made in memory, and what holds them. Where the root is no fresh
// overlay, or memory is short, the changes go where they always do.
func inMemory(root executor.Mount, dir string, bytes int64) (executor.Mount, *memory) {
	m := &memory{parent: dir, bytes: bytes}
	if bytes <= 0 || root.Src == nil || root.Readonly || bytes > available()/2 {
		return root, m
	}
	root.Src = memoryRoot{root.Src, m}
	return root, m
}

// available returns how many bytes of memory programs can still have, 0 if the
// kernel does not tell.
func available() int64 {
	info, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(info)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// memory is where the changes of one step are made.
type memory struct {
	parent string
	bytes  int64
	dir    string // of the file system, "" while there is none
	upper  string // where the changes belong
}

// divert returns an overlay like the one mounted at a path, whose changes go to
// memory. What it is like must have no changes yet.
func (m *memory) divert(overlay string) (mount.Mount, error) {
	like, err := overlayAt(overlay)
	if err != nil {
		return like, err
	}
	upper := option(like, "upperdir")
	if entries, err := os.ReadDir(upper); err != nil || len(entries) > 0 {
		return like, errors.Join(err, fmt.Errorf("%s has %d entries", upper, len(entries)))
	}
	dir, err := os.MkdirTemp(m.parent, memoryPrefix)
	if err != nil {
		return like, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d", max(m.bytes, available()*3/4))); err != nil {
		return like, errors.Join(err, os.Remove(dir))
	}
	m.dir, m.upper = dir, upper
	work := filepath.Join(dir, "work")
	if err := errors.Join(os.Mkdir(m.changes(), 0o755), os.Mkdir(work, 0o700), sameAttributes(upper, m.changes())); err != nil {
		return like, err
	}
	like.Options = []string{"lowerdir=" + option(like, "lowerdir"), "upperdir=" + m.changes(), "workdir=" + work}
	return like, nil
}

// overlayAt returns the overlay that is mounted at a path.
func overlayAt(path string) (mount.Mount, error) {
	found, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	if err != nil {
		return mount.Mount{}, err
	}
	if len(found) != 1 || found[0].FSType != "overlay" {
		return mount.Mount{}, fmt.Errorf("%s is no overlay", path)
	}
	return mount.Mount{Type: "overlay", Source: "overlay", Options: strings.Split(found[0].VFSOptions, ",")}, nil
}

const memoryPrefix = "memory-"

func (m *memory) changes() string { return filepath.Join(m.dir, "changes") }

// sameAttributes gives one folder the owner and mode of another.
func sameAttributes(from, to string) error {
	var st unix.Stat_t
	if err := unix.Stat(from, &st); err != nil {
		return err
	}
	return errors.Join(os.Lchown(to, int(st.Uid), int(st.Gid)), unix.Chmod(to, st.Mode&0o7777))
}

// commit copies the changes to where they belong. The step must have ended.
func (m *memory) commit() error {
	if m.dir == "" {
		return nil
	}
	if err := copyTree(m.upper, m.changes()); err != nil {
		return fmt.Errorf("write what the step made in memory to the disk: %w", err)
	}
	return nil
}

// close gives the memory back.
func (m *memory) close() {
	if m.dir == "" {
		return
	}
	if err := errors.Join(unix.Unmount(m.dir, unix.MNT_DETACH), os.Remove(m.dir)); err != nil {
		logrus.Warnf("give back the memory of a step: %v", err)
	}
}

type memoryRoot struct {
	executor.Mountable
	memory *memory
}

func (r memoryRoot) Mount(ctx context.Context, readonly bool) (executor.MountableRef, error) {
	ref, err := r.Mountable.Mount(ctx, readonly)
	if err != nil || readonly {
		return ref, err
	}
	return memoryRef{ref, r.memory}, nil
}

type memoryRef struct {
	executor.MountableRef
	memory *memory
}

func (r memoryRef) Mount() ([]mount.Mount, func() error, error) {
	mounts, release, err := r.MountableRef.Mount()
	if err != nil {
		return mounts, release, err
	}
	diverted, err := r.memory.divert(mounts[0].Source) // BuildKit has mounted it, to share it
	if err != nil {
		logrus.Warnf("a step works on the disk, not in memory: %v", err)
		r.memory.close()
		r.memory.dir = ""
		return mounts, release, nil
	}
	return []mount.Mount{diverted}, release, nil
}

// option returns the value of a mount's option, "" if it has none.
func option(m mount.Mount, name string) string {
	for _, o := range m.Options {
		if value, ok := strings.CutPrefix(o, name+"="); ok {
			return value
		}
	}
	return ""
}
