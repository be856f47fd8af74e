package build

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// A Variation changes the conditions under which a plan runs, to show that its
// result does not depend on them. The zero value is the usual conditions. It is
// no part of the build key. The order in which directories list is that of the
// file system under the engine: an engine with its state folder on another one
// varies it.
type Variation struct {
	Hostname string        // "" for engine.Hostname
	UID      int           // 0 for BuildUID; made in the root if it is another
	Umask    string        // "" for 022, as the steps before dpkg/build set it
	Locale   string        // "" for C.UTF-8
	Parallel int           // 0 for the number of processors
	Days     int           // how far the clock is ahead; needs ClockLib
	ClockLib ashlar.Digest // of datefudge.so
	NoTests  bool          // leave out the package's own tests, whatever the definition says
	Fresh    bool          // run the steps even if their result is cached
}

// installLayer returns the root with the packages of a layer installed on it by
// dpkg; debs holds them.
func installLayer(root, debs llb.State, l ashlar.Layer, first bool) llb.State {
	return engine.Step{
		Name:   fmt.Sprintf("root: %s, %d packages", l.Name, len(l.Packages)),
		Args:   []string{"/bin/sh", "-c", layerScript(l, first)},
		Writes: unpacked(l),
		Mounts: []engine.Mount{
			{Path: DebDir, State: debs, ReadOnly: true},
			{Path: "/var/lib/dpkg/updates", Tmpfs: true},
			{Path: PlainDir, Tmpfs: true},
		},
	}.Run(root).Root()
}

// unpacked returns how many bytes a layer takes on a disk at most, judging by its
// packages: the best that xz does with programs and texts is about a tenth.
func unpacked(l ashlar.Layer) int64 {
	var n int64
	for _, p := range l.Packages {
		n += p.Size
	}
	return 10 * n
}

// graph returns the state that holds the outputs of a build under /0 (what lies
// in ashlar.SourceDir), /1 (what lies in ashlar.DebDir), /2 (in PackDir) and /3 (in
// ApkDir). Every step sees the given mounts.
func (b *BuildPlan) graph(root llb.State, mounts []engine.Mount, v Variation) llb.State {
	state := v.prepare(root)
	for i := range b.Steps {
		if v.NoTests && b.Steps[i].Name == testStepName {
			continue
		}
		state = b.Steps[i].run(state, stepName(b.Name, i, &b.Steps[i]), mounts, v)
	}
	take := func(patterns ...string) *llb.CopyInfo {
		return &llb.CopyInfo{CopyDirContentsOnly: true, CreateDestPath: true, IncludePatterns: patterns}
	}
	outputs := llb.Copy(state, ashlar.SourceDir, "/0", take(outputPatterns...)).Copy(state, ashlar.DebDir, "/1", take("*.deb"))
	if b.packs() {
		outputs = outputs.Copy(state, PackDir, "/2", take("*"+treeSuffix))
	}
	if b.usesAbuild() {
		outputs = outputs.Copy(state, ApkDir, "/"+abuiltDir, take("*/*/*.apk"))
	}
	return llb.Scratch().File(outputs, llb.WithCustomName(b.Name+": collect"))
}

// packs reports whether a step of the build leaves a tree to be packed.
func (b *BuildPlan) packs() bool {
	return slices.ContainsFunc(b.Steps, func(s Step) bool { return s.Pack != nil })
}

// outputPatterns are the files that dpkg leaves beside the source tree.
var outputPatterns = []string{"*.deb", "*.udeb", "*.changes", "*.buildinfo", "*.dsc", "*.tar.*", "*.diff.gz", "*.asc"}

// stepName is the name of a step's vertex; the log is put together by it.
func stepName(build string, i int, s *Step) string {
	return fmt.Sprintf("%s: %d %s", build, i, s.Name)
}

// run returns the state after the step.
func (s *Step) run(root llb.State, name string, mounts []engine.Mount, v Variation) llb.State {
	env := map[string]string{"HOME": "/root", "LC_ALL": "C.UTF-8"}
	maps.Copy(env, s.Env)
	step := engine.Step{
		Name:    name,
		Args:    s.varied(v),
		Env:     env,
		Dir:     s.Dir,
		Network: s.Network,
		Mounts:  slices.Clone(mounts),
	}
	for _, in := range s.Inputs {
		step.Mounts = append(step.Mounts, engine.BlobMount(path.Join(InputDir, in.Name), in.Digest))
	}
	v.apply(&step)
	return step.Run(root).Root()
}

// command returns the arguments that run the step's script in its shell.
func (s *Step) command() []string {
	words := strings.Fields(s.Shell)
	switch words[0] {
	case "sh":
		words[0] = "/bin/sh"
	case "bash":
		words[0] = "/bin/bash"
	}
	return append(words, "-c", s.Script)
}

// varied returns the arguments that run the step under other conditions, of which a
// script of a definition says something itself if its shell is one.
func (s *Step) varied(v Variation) []string {
	args := s.command()
	if s.Uses == "runs" && slices.Contains([]string{"sh", "bash", "dash"}, path.Base(args[0])) {
		last := len(args) - 1
		args[last] = v.script() + args[last]
	}
	return args
}

// script returns what a script of a definition begins with under other conditions:
// it is given the umask, and says in the log what conditions it found.
func (v Variation) script() string {
	if v.Umask == "" {
		return ""
	}
	return fmt.Sprintf("umask %s\necho \"%s host=$(uname -n) umask=$(umask) nproc=$(nproc) date=$(date -u +%%F) locale=$LC_ALL\"\n", v.Umask, FoundConditions)
}

// FoundConditions begins the line of the log in which a script says under which
// conditions it was run, if they were not the usual ones.
const FoundConditions = "ashlar: conditions:"

// apply changes the conditions of a step.
func (v Variation) apply(s *engine.Step) {
	s.Fresh = v.Fresh
	s.Hostname = v.Hostname
	if v.UID != 0 {
		s.Env["ASHLAR_UID"] = fmt.Sprint(v.UID)
	}
	if v.Locale != "" {
		s.Env["LC_ALL"] = v.Locale
	}
	if v.Parallel != 0 {
		s.Env["ASHLAR_PARALLEL"] = fmt.Sprint(v.Parallel)
		s.Env["OMP_NUM_THREADS"] = fmt.Sprint(v.Parallel) // nproc goes by it
	}
	if v.Umask != "" {
		s.Env["ASHLAR_UMASK"] = v.Umask
	}
	if v.NoTests {
		s.Env["DEB_BUILD_OPTIONS"] = strings.TrimSpace(s.Env["DEB_BUILD_OPTIONS"] + " nocheck")
	}
	if v.Days != 0 {
		v.shiftClock(s)
	}
}

// shiftClock makes the programs of a step see a clock that is ahead. The times
// of files stay true: datefudge leaves them alone, where libfaketime shifts them
// in some calls and not in others, so that make goes astray.
func (v Variation) shiftClock(s *engine.Step) {
	const lib = "/.ashlar/clock/datefudge.so"
	s.Env["LD_PRELOAD"] = lib
	s.Env["DATEFUDGE"] = fmt.Sprint(-v.Days * 24 * 60 * 60)
	s.Mounts = append(s.Mounts, engine.BlobMount(lib, v.ClockLib))
}

// prepare returns the root with the user that packages are compiled as, if it is
// not the usual one.
func (v Variation) prepare(root llb.State) llb.State {
	if v.UID == 0 || v.UID == BuildUID {
		return root
	}
	return engine.Step{
		Name: "vary: add a user",
		Args: []string{"/bin/sh", "-c", fmt.Sprintf("echo vary:x:%[1]d:%[1]d::/nonexistent:/bin/sh >> /etc/passwd\necho vary:x:%[1]d: >> /etc/group\n", v.UID)},
	}.Run(root).Root()
}
