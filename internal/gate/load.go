package gate

import (
	"context"
	"fmt"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// loadScript asks musl's loader, in the tree of an installation, for all libraries
// and symbols of the files that it is given. $1 is the path of the loader.
const loadScript = `set -eu
loader=$1
shift
test -e "/mnt$loader" || { echo "there is no loader $loader"; exit 1; }
for f; do
  chroot /mnt "$loader" --list "/$f" > /tmp/said 2>&1 || { echo "$f does not load:"; cat /tmp/said; exit 1; }
done
`

// load lets the loader look at the programs and libraries of a package, in the tree
// of an installation; nil if there are none.
func (j *apkJudge) load(ctx context.Context, p *apkPackage, tree ashlar.Digest) (*ashlar.Check, error) {
	files := p.loadable()
	if len(files) == 0 {
		return nil, nil
	}
	root, err := j.runner.Root(ctx, j.Target.Arch, j.Root)
	if err != nil {
		return nil, err
	}
	installed, err := engine.Image(ctx, j.runner.Blobs(), j.Target.Arch, tree)
	if err != nil {
		return nil, err
	}
	loader := "/lib/ld-musl-" + j.Target.Arch.Alpine() + ".so.1"
	step := engine.Step{
		Name:   "gate: load " + p.info.Name,
		Args:   append([]string{"/bin/sh", "-c", loadScript, "sh", loader}, files...),
		Mounts: []engine.Mount{{Path: "/mnt", State: installed, ReadOnly: true}},
	}
	err = j.runner.Engine.Solve(ctx, step.Run(root).Root(), engine.Request{Blobs: j.runner.Blobs(), Arch: j.Target.Arch, Progress: serially(&j.turn, j.runner.Progress)})
	check := ashlar.Check{Name: "load", Subject: p.info.Name, Detail: fmt.Sprintf("%d programs and libraries find all that they want", len(files))}
	return outcome(check, err)
}
