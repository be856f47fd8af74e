package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/work"
)

// compile times dpkg-buildpackage in the engine against the same in a chroot.
func compile(ctx context.Context, l *lab) (*section, error) {
	recipes := []recipe{
		{suite: "bookworm", name: "bzip2", wants: []string{"bzip2"}, build: true},
		{suite: "bookworm", name: "jq", wants: []string{"jq"}, build: true, options: "nocheck"},
	}
	s := &section{
		Text: "The step `dpkg/build` in the engine, from its start to its end as the engine reports them (so with what the sandbox costs:\n" +
			"mounting, runc, keeping what the step changed), against the very same script in a plain chroot of the same root: unpacked\n" +
			"once from the engine's, with /proc and /dev mounted, the same user and environment, and a fresh copy of the unpacked source\n" +
			"every time. Both packages come out the same, byte for byte.",
	}
	for _, r := range recipes {
		if !strings.Contains(r.name, l.only) {
			continue
		}
		engineTimes, chrootTimes, err := l.compileOne(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		what := r.name + ", with its tests"
		if r.options != "" {
			what = r.name + ", " + r.options
		}
		s.Rows = append(s.Rows, against(what, engineTimes, chrootTimes, 1.08, "chroot"))
	}
	return s, nil
}

// compileOne times one source package in turns.
func (l *lab) compileOne(ctx context.Context, r recipe) (ours, theirs times, err error) {
	dir := l.path("compile")
	shop, err := l.shop(dir)
	if err != nil {
		return nil, nil, err
	}
	defer shop.Close()
	ref, err := r.write(dir)
	if err != nil {
		return nil, nil, err
	}
	p, err := shop.Plan(ctx, ref, work.BuildOptions{})
	if err != nil {
		return nil, nil, err
	}
	runner, err := l.runner(ctx, shop)
	if err != nil {
		return nil, nil, err
	}
	defer runner.Engine.Close()
	c, err := l.newChroot(ctx, runner, shop.Store, &p.Plan.Builds[0])
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(c.dir)
	runner.Vary.Fresh = true
	n := l.atLeast(7)
	for i := range n {
		settle()
		res, err := runner.Run(ctx, p.Plan)
		if err != nil {
			return nil, nil, err
		}
		ours = append(ours, res.Steps[len(res.Steps)-1].Took)
		settle()
		took, err := c.round(ctx)
		if err != nil {
			return nil, nil, err
		}
		theirs = append(theirs, took)
		if err := c.same(res); err != nil {
			return nil, nil, err
		}
		l.logf("%s %d of %d: engine %.2fs, chroot %.2fs", r.name, i+1, n, ours[i].Seconds(), took.Seconds())
	}
	return ours, theirs, nil
}

// A chroot runs the steps of a build in a plain chroot.
type chroot struct {
	dir   string
	steps []build.Step
}

// newChroot brings the root of a build and the inputs of its steps into a folder.
func (l *lab) newChroot(ctx context.Context, r *build.Runner, store *blob.Dir, b *build.BuildPlan) (*chroot, error) {
	dir, err := l.fresh("chroot")
	if err != nil {
		return nil, err
	}
	c := &chroot{dir: dir, steps: b.Steps}
	if err := l.unpackRoot(ctx, r, b.Root, dir); err != nil {
		return nil, err
	}
	in := filepath.Join(c.dir, build.InputDir)
	if err := os.MkdirAll(in, 0o755); err != nil {
		return nil, err
	}
	for _, s := range b.Steps {
		for _, input := range s.Inputs {
			if err := copyFile(store.Path(input.Digest), filepath.Join(in, input.Name)); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// unpackRoot unpacks a build root into a folder. It travels as one archive that a
// step packs, so that owners and modes are kept.
func (l *lab) unpackRoot(ctx context.Context, r *build.Runner, root ashlar.Root, dir string) error {
	state, err := r.Root(ctx, engine.Native, root)
	if err != nil {
		return err
	}
	seed, err := r.Store.Put(ctx, strings.NewReader("root\n"), "")
	if err != nil {
		return err
	}
	const out = "/.ashlar/out"
	packed := engine.Step{
		Name:   "pack the root",
		Args:   []string{"/bin/tar", "-c", "-f", out + "/root.tar", "--one-file-system", "--exclude=./.ashlar", "-C", "/", "."},
		Mounts: []engine.Mount{{Path: out, State: engine.Blob("seed", seed.Digest)}},
	}.Run(state).GetMount(out)
	tmp := l.path("packed")
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := r.Engine.Solve(ctx, packed, engine.Request{Blobs: r.Blobs(), Out: tmp}); err != nil {
		return err
	}
	return do(ctx, dir, "tar", "-x", "-f", filepath.Join(tmp, "root.tar"), "--numeric-owner", "-C", dir)
}

// round runs all steps on a fresh copy of the source and returns how long the
// last one took.
func (c *chroot) round(ctx context.Context) (time.Duration, error) {
	if err := os.RemoveAll(filepath.Join(c.dir, ashlar.SourceDir)); err != nil {
		return 0, err
	}
	var took time.Duration
	for i := range c.steps {
		begun := time.Now()
		if err := c.run(ctx, &c.steps[i]); err != nil {
			return 0, fmt.Errorf("%s: %w", c.steps[i].Name, err)
		}
		took = time.Since(begun)
		settle()
	}
	return took, nil
}

// enter mounts what programs need in a mount namespace that goes with the
// process, and runs the rest of its arguments in the chroot.
const enter = `mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$@"`

// run runs one step. The environment is the one that a step of the engine has.
func (c *chroot) run(ctx context.Context, s *build.Step) error {
	args := []string{"--mount", "--propagation", "private", "/bin/sh", "-c", enter, "sh", c.dir,
		"/usr/bin/env", "-i", "-C", s.Dir, "PATH=" + engine.SearchPath, "HOME=/root", "LC_ALL=C.UTF-8"}
	for k, v := range s.Env {
		args = append(args, k+"="+v)
	}
	words := strings.Fields(s.Shell)
	args = append(append(args, words...), "-c", s.Script)
	return do(ctx, "/", "unshare", args...)
}

// same returns an error unless the packages that the last round left are those
// of the result.
func (c *chroot) same(res *ashlar.Result) error {
	for _, f := range res.Debs() {
		b, err := os.ReadFile(filepath.Join(c.dir, ashlar.SourceDir, f.Name))
		if err != nil {
			return err
		}
		if ashlar.DigestOf(b) != f.Digest {
			return fmt.Errorf("%s came out otherwise in the chroot: the two did not do the same", f.Name)
		}
	}
	if !slices.ContainsFunc(res.Files, func(f ashlar.File) bool { return strings.HasSuffix(f.Name, ".deb") }) {
		return errors.New("nothing was built")
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
