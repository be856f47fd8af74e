package build

import (
	"fmt"
	"strconv"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pack"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// sourceDateEpoch is the variable by which programs know what time to write.
const sourceDateEpoch = "SOURCE_DATE_EPOCH"

// PackDir is where a step leaves the trees that are packed outside of the sandbox.
const PackDir = "/.ashlar/pack"

// treeSuffix ends the name of a tree's archive, after the number of its step.
const treeSuffix = ".tree.tar"

// buildPkgScript hands a tree over as one archive. What packs it has no use for
// the order or for the times of access, but the same tree should give the same
// bytes, so that the engine sees that nothing changed.
const buildPkgScript = `set -eu
mkdir -p %[1]s
tar -c -f %[1]s/"$(ls %[1]s | wc -l)".tree.tar --format=posix --pax-option=exthdr.name=%%d/PaxHeaders/%%f,delete=atime,delete=ctime --sort=name --numeric-owner --xattrs --xattrs-include='*' -C %[2]s .
`

// packVersion changes when the same tree and description give other packages.
const packVersion = 2

// A Packing says how the tree that a step exports becomes packages. All of it is
// part of the build key.
type Packing struct {
	With       any    `json:"with"`                 // the parameters of the step
	Exceptions string `json:"exceptions,omitempty"` // from hardening: pack.ExceptionsVar
	Epoch      int64  `json:"epoch"`                // the time of all files, in seconds since 1970
	Version    int    `json:"version"`              // packVersion

	spec *pack.Spec
}

// buildPkg plans dhi/build-pkg: pack the tree in ${target.dir}, or the one that
// "root" names. Packing itself happens outside of the sandbox, by package pack.
func buildPkg(s *catalog.Step) (*Step, error) {
	spec, err := pack.ParseSpec(*s)
	if err != nil {
		return nil, err
	}
	return &Step{
		Script: fmt.Sprintf(buildPkgScript, PackDir, quote(ashlar.TargetDir)), Shell: "sh",
		Pack: &Packing{With: s.With.Value(), Version: packVersion, spec: spec},
	}, nil
}

// complete adds what the step itself does not say.
func (p *Packing) complete(lock *ashlar.Lock, epoch int64) error {
	p.Epoch, p.Exceptions = epoch, lock.Inputs.Vars[pack.ExceptionsVar]
	_, err := pack.ParseExceptions(p.spec.Pos, p.Exceptions)
	return err
}

// packEpoch returns the time that the files carry which a build packs: what the
// definition says, else when its source was last changed. It is 0 for a build
// that packs nothing.
func packEpoch(b *catalog.Build, lock *ashlar.Lock) (int64, error) {
	packs := false
	for _, s := range b.Pipeline {
		packs = packs || catalog.Packs(s.Uses)
	}
	if !packs {
		return 0, nil
	}
	text := b.Environment[sourceDateEpoch]
	if text == "" {
		text = lock.Inputs.Vars[resolve.SourceEpoch]
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n <= 0 {
		return 0, fault.New(fault.Invalid, "build %q: it is not known when its source was last changed", b.Name).At(b.File, b.Line).
			Fix("set %s in its environment, in seconds since 1970", sourceDateEpoch)
	}
	return n, nil
}
