package engine

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
)

// Hostname is what every step sees as the name of its machine.
const Hostname = "build"

// SearchPath is the PATH of a step that sets none.
const SearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A Step is one command run in a sandbox: no network, a fixed host name, no
// environment but Env and PATH, no device or socket of the host.
type Step struct {
	Name     string            // for progress and errors
	Args     []string          // the command, not passed through a shell
	Env      map[string]string // the whole environment; PATH is SearchPath unless set
	Dir      string            // working directory, "" for "/"; made if it does not exist
	User     string            // "uid:gid" or a name of the root's passwd, "" for root
	Mounts   []Mount
	Hostname string // what the step sees as the name of its machine, "" for Hostname
	ReadOnly bool   // the root itself cannot be written
	Fresh    bool   // run even if the result is cached
	// Network gives the step the daemon's network, the host's loopback included.
	// Solve refuses it unless the request allows it. Names are not resolved unless
	// a mount brings an /etc/resolv.conf.
	Network bool
	// Writes is how many bytes the step is going to write at most, 0 if that is
	// not known. The embedded engine lets such a step work in memory.
	Writes int64
}

// writesHint is the variable by which Writes reaches the embedded engine, which
// takes it out of the environment; a stock daemon leaves it there.
const writesHint = "ASHLAR_WRITES"

// A Mount places content into a step.
type Mount struct {
	Path     string    // absolute path in the step
	State    llb.State // the content, llb.Scratch() for an empty folder
	Source   string    // path within State, "" for all of it
	ReadOnly bool      // else what the step writes is found with ExecState.GetMount(Path)
	Tmpfs    bool      // an empty folder in memory instead of State
}

// Run returns the step run on root. Its Root method is the changed root, its
// GetMount method the changed content of a mount that is not read-only.
func (s Step) Run(root llb.State) llb.ExecState {
	network := pb.NetMode_NONE
	if s.Network {
		network = pb.NetMode_UNSET
	}
	opts := []llb.RunOption{
		llb.Args(s.Args),
		llb.Network(network),
		llb.Security(pb.SecurityMode_SANDBOX),
		llb.Hostname(cmp.Or(s.Hostname, Hostname)),
		llb.WithCustomName(s.Name),
		llb.Dir(cmp.Or(s.Dir, "/")),
		llb.AddEnv("PATH", cmp.Or(s.Env["PATH"], SearchPath)),
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if name != "PATH" {
			opts = append(opts, llb.AddEnv(name, s.Env[name]))
		}
	}
	if s.Writes > 0 {
		opts = append(opts, llb.AddEnv(writesHint, strconv.FormatInt(s.Writes, 10)))
	}
	if s.User != "" {
		opts = append(opts, llb.User(s.User))
	}
	if s.ReadOnly {
		opts = append(opts, llb.ReadonlyRootFS())
	}
	if s.Fresh {
		opts = append(opts, llb.IgnoreCache)
	}
	for _, m := range s.Mounts {
		opts = append(opts, m.option())
	}
	// Only the content of root counts: a state may carry an environment, a user
	// or a network of its own.
	return llb.NewState(root.Output()).Run(opts...)
}

func (m Mount) option() llb.RunOption {
	var opts []llb.MountOption
	if m.Source != "" {
		opts = append(opts, llb.SourcePath(m.Source))
	}
	if m.ReadOnly {
		opts = append(opts, llb.Readonly)
	}
	if m.Tmpfs {
		return llb.AddMount(m.Path, llb.Scratch(), llb.Tmpfs())
	}
	return llb.AddMount(m.Path, m.State, opts...)
}
