package build

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxOutput bounds one file that a build leaves, in bytes.
const maxOutput = 8 << 30

// A Runner executes plans.
type Runner struct {
	Engine   *engine.Client
	Store    blob.Store         // where inputs come from and outputs go
	Scratch  string             // a folder for files under way, on the disk of the store
	Memo     string             // a folder that remembers bootstrap images
	Progress func(engine.Event) // may be nil
	Log      io.Writer          // receives the live log; may be nil
	Now      func() time.Time   // the clock, for the times in the result
	Vary     Variation          // the zero value for a usual build

	once    sync.Once
	scratch *blob.Scratch
}

// Blobs returns the store that the engine needs for what a Runner makes it do:
// Store, and what was made of it for the engine alone.
func (r *Runner) Blobs() *blob.Scratch {
	r.once.Do(func() { r.scratch = blob.NewScratch(r.Store) })
	return r.scratch
}

// Run executes the plan and returns what it made, with every output and the
// whole log in the store. On an error nothing of the outputs is kept; the error
// of a step that fails names it and ends with the last lines of its log.
func (r *Runner) Run(ctx context.Context, plan *Plan) (*ashlar.Result, error) {
	res := &ashlar.Result{Key: plan.Key(), Lock: plan.Lock, Target: plan.Target, Started: r.Now().UTC()}
	version, err := r.Engine.Version(ctx)
	if err != nil {
		return nil, err
	}
	res.Engine = version
	rec := newRecorder(plan, r.Log, r.Progress)
	for i := range plan.Builds {
		files, err := r.runBuild(ctx, plan.Target, &plan.Builds[i], rec)
		if err != nil {
			return nil, explain(err, rec)
		}
		res.Files = append(res.Files, files...)
	}
	sort.Slice(res.Files, func(i, j int) bool { return res.Files[i].Name < res.Files[j].Name })
	for i := 1; i < len(res.Files); i++ {
		if res.Files[i].Name == res.Files[i-1].Name {
			return nil, fault.New(fault.Failed, "two builds of %s both made %s", plan.Definition, res.Files[i].Name)
		}
	}
	if len(res.Packages()) == 0 {
		return nil, fault.New(fault.Failed, "%s made no package: no .deb in %s or %s, and no step packs %s", plan.Definition, ashlar.SourceDir, ashlar.DebDir, ashlar.TargetDir)
	}
	log := rec.log()
	f, err := r.Store.Put(ctx, strings.NewReader(log), "")
	if err != nil {
		return nil, err
	}
	res.Log = ashlar.File{Name: "build.log", Digest: f.Digest, Size: f.Size}
	res.Steps = rec.steps()
	res.Tests = testResult(plan, log)
	res.Finished = r.Now().UTC()
	return res, nil
}

// runBuild executes one build and stores its outputs.
func (r *Runner) runBuild(ctx context.Context, target ashlar.Target, b *BuildPlan, rec *recorder) ([]ashlar.File, error) {
	root, err := r.Root(ctx, target.Arch, b.Root)
	if err != nil {
		return nil, err
	}
	mounts, err := r.sysroot(ctx, target.Arch, b.Root.Sysroot)
	if err != nil {
		return nil, err
	}
	req := engine.Request{Arch: target.Arch, Progress: rec.event, Network: b.hasNetwork()}
	return r.export(ctx, b.graph(root, mounts, r.Vary), req, func(dir string) ([]ashlar.File, error) {
		files, err := r.gather(ctx, dir)
		if err == nil && b.packs() {
			var packed []ashlar.File
			packed, err = r.packTrees(ctx, b, target.Arch, dir, rec)
			files = append(files, packed...)
		}
		if err == nil && b.usesAbuild() {
			var made []ashlar.File
			made, err = r.takeAbuilt(ctx, dir, abuiltDir)
			files = append(files, made...)
		}
		return files, err
	})
}

// export solves a state as the request says and returns what take finds in the
// folder that the state is written to.
func (r *Runner) export(ctx context.Context, state llb.State, req engine.Request, take func(dir string) ([]ashlar.File, error)) ([]ashlar.File, error) {
	tmp, err := newScratch(r.Scratch)
	if err != nil {
		return nil, err
	}
	defer tmp.remove()
	req.Blobs, req.Out = r.Blobs(), filepath.Join(tmp.dir, "out")
	if err := r.Engine.Solve(ctx, state, req); err != nil {
		return nil, err
	}
	return take(req.Out)
}

// gather stores the files below dir. What a build leaves is hostile: only plain
// files count, and links are neither followed nor kept.
func (r *Runner) gather(ctx context.Context, dir string) ([]ashlar.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	defer root.Close()
	found, err := outputs(root)
	if err != nil {
		return nil, err
	}
	lists := map[string][]string{} // what each .changes and .dsc names
	var files []ashlar.File
	for _, rel := range found {
		f, err := r.store(ctx, root, rel)
		if err != nil {
			return nil, err
		}
		if f == nil {
			continue
		}
		if strings.HasSuffix(f.Name, ".changes") || strings.HasSuffix(f.Name, ".dsc") {
			if lists[f.Name], err = listed(root, rel); err != nil {
				return nil, err
			}
		}
		files = append(files, *f)
	}
	return made(files, lists), nil
}

// outputs returns the paths of what lies in the folders of the output. A step
// may have made such a folder a link to anywhere.
func outputs(root *os.Root) ([]string, error) {
	var list []string
	for dir, from := range map[string]string{"0": ashlar.SourceDir, "1": ashlar.DebDir} {
		info, err := root.Lstat(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fault.New(fault.Internal, "read build output: %w", err)
		case !info.IsDir():
			return nil, fault.New(fault.Failed, "a step made %s something else than a folder", from).Fix("leave packages in that folder")
		}
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil {
			return nil, fault.New(fault.Internal, "read build output: %w", err)
		}
		for _, e := range entries {
			list = append(list, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(list)
	return list, nil
}

// store puts one output into the store; it returns nil for what is no plain file.
func (r *Runner) store(ctx context.Context, root *os.Root, rel string) (*ashlar.File, error) {
	info, err := root.Lstat(rel)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil
	}
	if info.Size() > maxOutput {
		return nil, fault.New(fault.Failed, "output %s has %d bytes, more than the %d allowed", rel, info.Size(), int64(maxOutput))
	}
	in, err := root.Open(rel)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	defer in.Close()
	f, err := r.Store.Put(ctx, in, "")
	if err != nil {
		return nil, err
	}
	f.Name = filepath.Base(rel)
	return &f, nil
}

// made leaves out the files that were placed, not made: a source file counts
// only if a .changes names it, or the .dsc that a .changes names.
func made(files []ashlar.File, lists map[string][]string) []ashlar.File {
	named := map[string]bool{}
	for list, names := range lists {
		if filepath.Ext(list) != ".changes" {
			continue
		}
		for _, n := range names {
			named[n] = true
			for _, of := range lists[n] {
				named[of] = true
			}
		}
	}
	var kept []ashlar.File
	for _, f := range files {
		switch filepath.Ext(f.Name) {
		case ".deb", ".udeb", ".changes", ".buildinfo":
			kept = append(kept, f)
		default:
			if named[f.Name] {
				kept = append(kept, f)
			}
		}
	}
	return kept
}

// hasNetwork reports whether a step of the build reaches the network.
func (b *BuildPlan) hasNetwork() bool {
	for _, s := range b.Steps {
		if s.Network {
			return true
		}
	}
	return false
}

// explain turns the failure of a step into an error that says what failed and
// how its log ends.
func explain(err error, rec *recorder) error {
	if patch := rec.rejected(); patch != "" {
		return fault.New(fault.Failed, "%s\n%w", patch, err).Fix("adapt the patch to this version of the source")
	}
	return fmt.Errorf("%w", err)
}
