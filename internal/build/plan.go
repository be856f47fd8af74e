// Package build turns a lock into packages. NewPlan computes the graph of steps
// (pure, so that it can be read, compared and tested as text); Run hands it to
// the engine and gathers what came out. One file holds one step.
package build

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Plan is what will be run for one definition and target: for each build, a
// root and steps on it. It names every file by digest.
type Plan struct {
	Definition string        `json:"definition"`
	Target     ashlar.Target `json:"target"`
	Lock       ashlar.Digest `json:"lock"`
	Builds     []BuildPlan   `json:"builds"`
}

// A BuildPlan is one entry of contents.builds, ready to run.
type BuildPlan struct {
	Name  string      `json:"name"`
	Root  ashlar.Root `json:"root"`
	Steps []Step      `json:"steps"`
}

// A Step is one process in the build root. It sees the root as the step before
// left it, and its inputs as read-only files under InputDir.
type Step struct {
	Name    string            `json:"name"`
	Uses    string            `json:"uses"`
	Script  string            `json:"script"`
	Shell   string            `json:"shell"`
	Env     map[string]string `json:"env,omitempty"`
	Dir     string            `json:"dir"`
	Network bool              `json:"network,omitempty"`
	Inputs  []Input           `json:"inputs,omitempty"`
	// Pack says how the tree that the step exports is packed, outside of the
	// sandbox; nil for a step that packs nothing.
	Pack *Packing `json:"pack,omitempty"`
}

// An Input is a pinned file that a step finds at InputDir/Name.
type Input struct {
	Name   string        `json:"name"`
	Digest ashlar.Digest `json:"digest"`
}

// InputDir is where a step finds its inputs.
const InputDir = "/.ashlar/in"

// Policy says what a plan may contain.
type Policy struct {
	// AllowNetwork lets steps that a definition marks privileged reach the network.
	AllowNetwork bool
}

// NewPlan returns the plan of a definition under its lock. The definition must
// be the one that the lock names, expanded for the lock's target and bound to
// its variables. The result is a pure function of the arguments.
func NewPlan(def *catalog.Expanded, lock *ashlar.Lock, policy Policy) (*Plan, error) {
	digest, err := lock.Digest()
	if err != nil {
		return nil, err
	}
	plan := &Plan{Definition: lock.Inputs.Definition.URI, Target: lock.Inputs.Target, Lock: digest}
	if len(def.Builds) != len(lock.Inputs.Builds) {
		return nil, fault.New(fault.Conflict, "the lock has %d builds, the definition %d", len(lock.Inputs.Builds), len(def.Builds)).
			At(def.File, def.Line).Fix("make the lock again")
	}
	if len(def.Builds) == 0 {
		return nil, fault.New(fault.Invalid, "nothing to build: contents.builds is empty").At(def.File, def.Line)
	}
	for i := range def.Builds {
		b, err := planBuild(&def.Builds[i], lock, i, policy)
		if err != nil {
			return nil, err
		}
		plan.Builds = append(plan.Builds, *b)
	}
	return plan, nil
}

// planBuild plans one build: its files are placed first, then its steps run.
func planBuild(b *catalog.Build, lock *ashlar.Lock, n int, policy Policy) (*BuildPlan, error) {
	in := lock.Inputs.Builds[n]
	epoch, err := packEpoch(b, lock)
	if err != nil {
		return nil, err
	}
	place, err := placeStep(b, in.Sources)
	if err != nil {
		return nil, err
	}
	plan := &BuildPlan{Name: b.Name, Root: in.Root, Steps: []Step{*place}}
	for i := range b.Pipeline {
		step, err := planStep(b, &b.Pipeline[i], policy)
		if err != nil {
			return nil, err
		}
		if epoch != 0 && step.Env[sourceDateEpoch] == "" {
			step.Env[sourceDateEpoch] = strconv.FormatInt(epoch, 10)
		}
		if step.Pack != nil {
			if err := step.Pack.complete(lock, epoch); err != nil {
				return nil, err
			}
		}
		plan.Steps = append(plan.Steps, *step)
	}
	return plan, nil
}

// A planner makes the script of one kind of step. What it returns is run by the
// step's shell in the step's directory.
type planner func(s *catalog.Step) (*Step, error)

// planners lists the step kinds that this engine builds, one file each.
var planners = map[string]planner{
	"abuild/apk@v1":     abuildApk,
	"abuild/build@v1":   abuildBuild,
	"abuild/bump@v1":    abuildBump,
	"abuild/disable@v1": abuildDisable,
	"abuild/setup@v1":   abuildSetup,
	"abuild/source@v1":  abuildSource,
	"abuild/upload@v1":  abuildUpload,
	"dpkg/source@v1":    dpkgSource,
	"dpkg/patch@v1":     dpkgPatch,
	"dpkg/bump@v1":      dpkgBump,
	"dpkg/build@v1":     dpkgBuild,
	"patch@v1":          plainPatch,
	"git/patch@v1":      gitPatch,

	"dhi/build-pkg:0": buildPkg,
}

// Implemented returns the sorted names of the step kinds that this engine builds.
func Implemented() []string {
	return slices.Sorted(maps.Keys(planners))
}

func planStep(b *catalog.Build, s *catalog.Step, policy Policy) (*Step, error) {
	step, err := dispatch(s)
	if err != nil {
		return nil, err
	}
	if key := unsupported(s); key != "" {
		return nil, fault.New(fault.Invalid, "step %q has %s, which is not supported yet", label(s), key).At(s.File, s.Line).
			Fix("write the step without it")
	}
	if (s.Privileged || b.Privileged) && !policy.AllowNetwork {
		return nil, fault.New(fault.Policy, "step %q is privileged: it wants the network, and policy does not allow it", label(s)).
			At(s.File, s.Line).Fix("take the step's downloads into files, or allow it with --allow-network")
	}
	step.Network = s.Privileged || b.Privileged
	step.Name, step.Uses = label(s), s.Uses
	if s.Uses == "" {
		step.Uses = "runs"
	}
	step.Env = maps.Clone(b.Environment)
	if step.Env == nil {
		step.Env = map[string]string{}
	}
	maps.Copy(step.Env, s.Environment)
	step.Dir = cmp.Or(s.WorkDir, b.WorkDir, ashlar.SourceDir)
	step.Shell = cmp.Or(step.Shell, s.Shell, b.Shell, "bash")
	if strings.TrimSpace(step.Shell) == "" {
		return nil, fault.New(fault.Invalid, "step %q has a shell without a name", label(s)).At(s.File, s.Line).Fix("name one, such as bash, or leave the key out")
	}
	return step, nil
}

// unsupported returns the key of a step that it cannot do without and this engine
// does not carry out, or "".
func unsupported(s *catalog.Step) string {
	switch {
	case s.RunAs != "":
		return "run-as"
	case len(s.Caches) > 0:
		return "caches"
	case slices.ContainsFunc(s.Secrets, func(x catalog.Secret) bool { return !x.Optional }):
		return "secrets"
	}
	return ""
}

// dispatch finds the planner of a step, and refuses by name what it cannot do.
func dispatch(s *catalog.Step) (*Step, error) {
	switch {
	case s.Uses == "" && s.Runs == "":
		return nil, fault.New(fault.Invalid, "step has neither uses nor runs").At(s.File, s.Line)
	case s.Uses == "":
		return &Step{Script: s.Runs}, nil
	}
	if p, ok := planners[s.Uses]; ok {
		return p(s)
	}
	if err := s.Supported(); err != nil {
		return nil, err
	}
	return nil, fault.New(fault.Internal, "step %s is said to be supported but has no planner", s.Uses).At(s.File, s.Line)
}

// label returns what a person calls the step.
func label(s *catalog.Step) string {
	return cmp.Or(s.Name, s.Uses, "runs")
}

// Digest returns the digest of the step: script, environment, inputs.
func (s *Step) Digest() ashlar.Digest {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // unreachable: strings, maps of strings and booleans always encode
	}
	return ashlar.DigestOf(b)
}

// Key returns the build key: the digest of everything that a build sees, and of
// nothing else. Two locks that pin the same bytes from different mirrors or at
// different times have the same key.
func (p *Plan) Key() ashlar.Digest {
	type layer struct {
		Packages []string
		Order    []ashlar.Run
	}
	type keyed struct {
		Target  ashlar.Target
		Root    []layer
		Sysroot []string `json:",omitempty"`
		Steps   []Step
	}
	var form []keyed
	for _, b := range p.Builds {
		k := keyed{Target: p.Target, Steps: b.Steps}
		for _, l := range b.Root.Layers {
			kl := layer{Order: l.Order}
			for _, d := range l.Packages {
				kl.Packages = append(kl.Packages, fmt.Sprintf("%s:%s@%s", d.Name, d.Arch, d.Digest))
			}
			sort.Strings(kl.Packages)
			k.Root = append(k.Root, kl)
		}
		if s := b.Root.Sysroot; s != nil {
			k.Sysroot = append(k.Sysroot, s.Path)
			for _, p := range s.Packages {
				k.Sysroot = append(k.Sysroot, fmt.Sprintf("%s@%s", p.Name, p.Digest))
			}
		}
		form = append(form, k)
	}
	b, err := json.Marshal([]any{rootImplementation, form})
	if err != nil {
		panic(err) // unreachable, as above
	}
	return ashlar.DigestOf(b)
}

// Encode returns the plan as indented JSON.
func (p *Plan) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(p)
	return b.Bytes(), err
}
