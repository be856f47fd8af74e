package work

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// BuildOptions say how a definition is built.
type BuildOptions struct {
	Arch   string // "" for amd64
	Relock bool   // resolve inputs anew even if there is a lock
	Fresh  bool   // run the steps even if their result is known
}

func (o *BuildOptions) arch() ashlar.Arch {
	if o.Arch == "" {
		return "amd64"
	}
	return ashlar.Arch(o.Arch)
}

// A Planned is a definition with its lock and plan.
type Planned struct {
	Definition *catalog.Expanded
	Lock       *ashlar.Lock
	Plan       *build.Plan
}

// Plan returns the lock and the plan of a definition.
func (s *Shop) Plan(ctx context.Context, ref Ref, opts BuildOptions) (*Planned, error) {
	def, err := expand(ref, opts.arch())
	if err != nil {
		return nil, err
	}
	for _, b := range def.Builds {
		for _, step := range b.Pipeline {
			if err := step.Supported(); err != nil { // before anything is fetched
				return nil, err
			}
		}
	}
	lock, err := s.lock(ctx, ref, def, opts.Relock)
	if err != nil {
		return nil, err
	}
	return s.planned(def, lock)
}

// planned binds a definition to its lock and plans it.
func (s *Shop) planned(def *catalog.Expanded, lock *ashlar.Lock) (*Planned, error) {
	bound, err := def.BindEach(resolve.Values(lock, len(def.Builds)))
	if err != nil {
		return nil, err
	}
	plan, err := build.NewPlan(bound, lock, s.Plans)
	if err != nil {
		return nil, err
	}
	return &Planned{Definition: bound, Lock: lock, Plan: plan}, nil
}

// expand loads a definition and expands it for the one target that it has with
// the architecture.
func expand(ref Ref, arch ashlar.Arch) (*catalog.Expanded, error) {
	def, err := catalog.Load(ref.Root, ref.Path)
	if err != nil {
		return nil, err
	}
	for _, t := range def.Targets() {
		if t.Arch == arch {
			return def.Expand(t)
		}
	}
	return nil, fault.New(fault.Invalid, "the definition is not for %s", arch).At(ref.File(), 0).Fix("add linux/%s to platforms, or build for another architecture", arch)
}

// lock returns a lock of the definition whose files are all in the store: the
// one committed beside it, the one that an earlier run kept, or a new one.
func (s *Shop) lock(ctx context.Context, ref Ref, def *catalog.Expanded, anew bool) (*ashlar.Lock, error) {
	arch := def.Target.Arch
	kept := s.path("locks", ref.slug(arch)+".json")
	if !anew {
		for _, file := range []string{ref.LockFile(arch), kept} {
			raw, err := readLock(file)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return nil, err
			}
			if lock, err := s.usable(ctx, ref, def, file, raw, file != kept); lock != nil || err != nil {
				return lock, err
			}
		}
	}
	lock, err := s.resolve(ctx, ref, def)
	if err != nil {
		return nil, err
	}
	if err := durable.MkdirAll(s.path("locks"), 0o755); err != nil {
		return nil, err
	}
	return lock, s.writeLock(kept, lock)
}

// writeLock writes a new lock to a file. It was made of what indexes and files say
// now, so it counts as verified.
func (s *Shop) writeLock(file string, lock *ashlar.Lock) error {
	b, err := lock.Encode()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(file, b, 0o644); err != nil {
		return err
	}
	known, err := s.verifiedFile(b)
	if err != nil {
		return err
	}
	return s.remember(known, verified{Verified: s.Now().UTC()})
}

// maxLock bounds the size in bytes of a lock.
const maxLock = 64 << 20

// readLock returns the bytes of a lock file. The error wraps fs.ErrNotExist if there
// is none.
func readLock(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fault.New(fault.Denied, "read the lock: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxLock+1))
	if err == nil && len(raw) > maxLock {
		err = fmt.Errorf("it has more than %d bytes", maxLock)
	}
	if err != nil {
		return nil, fault.New(fault.Denied, "read the lock: %w", err).At(file, 0)
	}
	return raw, nil
}

// errUnfit wraps why a lock that is of the definition must not be used with it.
type errUnfit struct{ error }

func (e errUnfit) Unwrap() error { return e.error }

// usable returns the lock in a file as it was verified, if it is one of this
// definition and all its files can be had, else nil; why not is reported, since the
// build goes on with other inputs then. What only keeps it from finding out is an
// error: nothing is built from other inputs because a mirror was down for a moment. So
// is a committed lock that is of the definition as it is now, but claims what is not
// so: somebody has changed it, and other inputs would hide that.
func (s *Shop) usable(ctx context.Context, ref Ref, def *catalog.Expanded, file string, raw []byte, committed bool) (*ashlar.Lock, error) {
	lock, err := s.try(ctx, ref, def, raw)
	var unfit errUnfit
	switch kind := fault.KindOf(err); {
	case err == nil:
		return lock, nil
	case !slices.Contains([]fault.Kind{fault.Conflict, fault.Invalid, fault.NotFound, fault.Denied}, kind):
		return nil, err
	case errors.As(err, &unfit) && committed:
		return nil, fault.New(kind, "the lock is not to be trusted: %w", unfit.error).At(file, 0).
			Fix("find out who changed it; `ashlar lock %s` makes it again, and `ashlar build --relock` does without it", ref.File())
	}
	s.report(Event{Subject: ref.File(), Stage: "lock", State: Noted, Detail: file + " is not used: " + err.Error()})
	return nil, nil
}

// try returns a lock as it was verified. The error is errUnfit if the lock is of the
// definition but is not right.
func (s *Shop) try(ctx context.Context, ref Ref, def *catalog.Expanded, raw []byte) (*ashlar.Lock, error) {
	lock, err := ashlar.DecodeLock(raw)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	if err := resolve.Fresh(ctx, lock, def); err != nil {
		return nil, err
	}
	if err := resolve.Check(ctx, lock, def, resolve.World{Fetcher: s.Fetcher, Store: s.Store, Now: s.Now()}); fault.Is(err, fault.NotFound) {
		return nil, err
	} else if err != nil {
		return nil, errUnfit{err}
	}
	if lock, err = s.verify(ctx, ref, def, lock, raw); err != nil {
		return nil, errUnfit{err}
	}
	return lock, nil
}

// resolve makes a new lock.
func (s *Shop) resolve(ctx context.Context, ref Ref, def *catalog.Expanded) (lock *ashlar.Lock, err error) {
	done := s.stage(ref.File(), "lock")
	defer func() { done("", false, err) }()
	target, err := resolve.RootTarget(def)
	if err != nil {
		return nil, err
	}
	world, err := resolve.NewWorld(ctx, s.Archive, s.Fetcher, target, s.Now())
	if err != nil {
		return nil, err
	}
	world.Own = func(ctx context.Context, t ashlar.Target) ([]resolve.OwnPackage, error) { return s.own(ctx, ref, t) }
	if lock, err = resolve.Lock(ctx, def, world); err != nil {
		return nil, err
	}
	for _, n := range lock.Inputs.Notes {
		s.report(Event{Subject: ref.File(), Stage: "lock", State: Noted, Detail: n})
	}
	return lock, nil
}

// WriteLock makes a new lock and writes it beside the definition.
func (s *Shop) WriteLock(ctx context.Context, ref Ref, arch ashlar.Arch) (*ashlar.Lock, error) {
	def, err := expand(ref, arch)
	if err != nil {
		return nil, err
	}
	lock, err := s.resolve(ctx, ref, def)
	if err != nil {
		return nil, err
	}
	return lock, s.writeLock(ref.LockFile(arch), lock)
}
