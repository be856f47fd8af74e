package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestLeaks looks from inside a step for everything that is not its business.
func TestLeaks(t *testing.T) {
	b := shared.get(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	abstract := "ashlar-probe-" + fmt.Sprint(os.Getpid())
	hidden, err := net.Listen("unix", "@"+abstract)
	if err != nil {
		t.Fatal(err)
	}
	defer hidden.Close()
	s, _ := b.step("report", "/job/report")
	s.Env = map[string]string{
		"PROBE_HOST": listener.Addr().String(), "PROBE_ABSTRACT": abstract,
		"PROBE_SOCKET": filepath.Join(b.cfg.StateDir, "engine", "engine.sock"),
	}
	out := filepath.Join(t.TempDir(), "out")
	if err := b.solve(t, s.Run(b.root).GetMount("/job"), engine.Request{Out: out}); err != nil {
		t.Fatal(err)
	}
	r := readReport(t, out)
	t.Logf("CapEff %s NoNewPrivs %s Seccomp %s", r.Status["CapEff"], r.Status["NoNewPrivs"], r.Status["Seccomp"])
	t.Logf("calls %v", r.Calls)
	t.Logf("writable %q, devices %q, root %q, descriptors %q", r.Writable, r.Devices, r.Root, r.FDs)
	t.Logf("resolv.conf %q, hosts %q", r.Resolv, r.Hosts)
	checkReport(t, b, r)
}

func checkReport(t *testing.T, b *bench, r report) {
	t.Helper()
	none := func(what string, found []string) {
		t.Helper()
		if len(found) > 0 {
			t.Errorf("%s: %q", what, found)
		}
	}
	none("environment", slices.DeleteFunc(slices.Clone(r.Env), func(e string) bool {
		return strings.HasPrefix(e, "PROBE_") || e == "HOME=/" || e == "PATH="+engine.SearchPath
	}))
	none("routes", r.Routes)
	none("sockets", r.Sockets)
	none("reached", r.Reached)
	none("writable", r.Writable)
	none("unmasked", r.Unmasked)
	none("devices", slices.DeleteFunc(slices.Clone(r.Devices), func(d string) bool {
		return slices.Contains([]string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts/ptmx"}, d)
	}))
	if !slices.Equal(r.Interfaces, []string{"lo"}) {
		t.Errorf("interfaces %q, want lo only", r.Interfaces)
	}
	if !slices.Equal(r.Processes, []string{"/proc/1"}) {
		t.Errorf("processes %q, want its own only", r.Processes)
	}
	if r.Hostname != engine.Hostname {
		t.Errorf("host name %q", r.Hostname)
	}
	if want := "nameserver 192.0.2.1\noptions ndots:1\n"; withoutComments(r.Resolv) != want {
		t.Errorf("resolv.conf %q, want %q", r.Resolv, want)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if regexp.MustCompile(`\b` + regexp.QuoteMeta(name) + `\b`).MatchString(r.Hosts) {
		t.Errorf("hosts names this machine: %q", r.Hosts)
	}
	if r.Status["Seccomp"] != "2" {
		t.Errorf("seccomp mode %q, want 2 (filter)", r.Status["Seccomp"])
	}
	for call, result := range r.Calls {
		if result == "ok" || result == "<nil>" {
			t.Errorf("%s was allowed", call)
		}
	}
	checkMounts(t, b, r.Mounts)
}

// checkMounts wants no file of the host among the mounts, besides what the
// engine made for the step.
func checkMounts(t *testing.T, b *bench, mounts []string) {
	t.Helper()
	for _, line := range mounts {
		f := strings.Fields(line)
		if len(f) < 10 {
			continue
		}
		kind := f[slices.Index(f, "-")+1]
		switch at := f[4]; {
		case at == "/etc/resolv.conf" || at == "/etc/hosts" || at == "/job":
		case kind == "overlay" || kind == "proc" || kind == "sysfs" || kind == "tmpfs" || kind == "devpts" || kind == "mqueue":
		case strings.HasPrefix(kind, "cgroup"):
			if !strings.HasPrefix(f[5], "ro") {
				t.Errorf("writable control group: %s", line)
			}
		default:
			t.Errorf("mount of the host: %s", line)
		}
	}
}

func withoutComments(s string) string {
	return regexp.MustCompile(`(?m)^(#.*)?\n`).ReplaceAllString(s, "")
}

// TestOtherBuilds holds one build while another looks for its files, in its own
// root, in its outputs, and in all processes it can see. Nothing stays for the
// next build either.
func TestOtherBuilds(t *testing.T) {
	b := shared.get(t)
	mark := newMark(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	holding, ended := make(chan struct{}), make(chan error, 1)
	_, st := b.step("hold", mark)
	go func() {
		ended <- b.client.Solve(ctx, st, engine.Request{Blobs: b.store, Progress: func(e engine.Event) {
			if strings.Contains(string(e.Log), "holding") {
				close(holding)
			}
		}})
	}()
	select {
	case <-holding:
	case err := <-ended:
		t.Fatal(err)
	}
	// The needle must not be in the searching step's own arguments.
	search, _ := b.step("search", mark[:len(mark)-1])
	if err := b.solve(t, search.Run(b.root).Root(), engine.Request{}); err != nil {
		t.Errorf("while the other build runs: %v", err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := b.solve(t, search.Run(b.root).Root(), engine.Request{}); err != nil {
		t.Errorf("after the other build: %v", err)
	}
}

// TestLitter wants nothing but files, folders and links out of a build, and the
// links not followed.
func TestLitter(t *testing.T) {
	b := shared.get(t)
	out := filepath.Join(t.TempDir(), "out")
	_, st := b.step("litter", "/job")
	if err := b.solve(t, st, engine.Request{Out: out}); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		got[e.Name()] = info.Mode()
	}
	want := map[string]fs.FileMode{"plain": 0o644, "setuid": 0o755, "folder": fs.ModeDir | 0o777, "link": fs.ModeSymlink | 0o777, "up": fs.ModeSymlink | 0o777}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestKeys looks for a key in the state folder, the way that a definition would
// that knows where it is.
func TestKeys(t *testing.T) {
	b := shared.get(t)
	dir := filepath.Join(b.cfg.StateDir, "keys")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("the-private-key-of-"+fmt.Sprint(os.Getpid())), 0o644); err != nil {
		t.Fatal(err)
	}
	search, _ := b.step("search", "the-private-key-of-")
	if err := b.solve(t, search.Run(b.root).Root(), engine.Request{}); err != nil {
		t.Error(err)
	}
}

// foreign are sources that are not the client's blobs.
func foreign() map[string]llb.State {
	d := string(ashlar.DigestOf(nil))
	return map[string]llb.State{
		"image":        llb.Image("127.0.0.1:1/image"),
		"http":         llb.HTTP("http://127.0.0.1:1/file"),
		"git":          llb.Git("http://127.0.0.1:1/repo.git", "main"),
		"local":        llb.Local("context"),
		"image blob":   llb.ImageBlob("127.0.0.1:1/blobs@" + d),
		"other name":   llb.OCILayoutBlob("example.org/blobs@"+d, llb.ImageBlobOCIStore("", "ashlar")),
		"other store":  llb.OCILayoutBlob("ashlar.invalid/blobs@"+d, llb.ImageBlobOCIStore("", "other")),
		"other client": llb.OCILayoutBlob("ashlar.invalid/blobs@"+d, llb.ImageBlobOCIStore("session", "ashlar")),
		"other layout": llb.OCILayout("ashlar.invalid/blobs@"+d, llb.OCIStore("session", "ashlar")),
	}
}

// TestSourcesDenied wants foreign sources refused before anything runs: by the
// client, by any daemon that is told the policy, and by our own daemon even
// without it.
func TestSourcesDenied(t *testing.T) {
	b := shared.get(t)
	first, _ := b.step("nothing")
	before := first.Run(b.root).Root()
	for name, st := range foreign() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := b.step("nothing")
			s.Mounts = []engine.Mount{{Path: "/in", State: st}}
			graph := s.Run(before).Root()
			if err := b.solve(t, graph, engine.Request{}); !fault.Is(err, fault.Policy) {
				t.Errorf("client: %v", err)
			}
			ran, err := b.direct(t, graph, client.SolveOpt{SourcePolicy: engine.OnlyBlobs()})
			if err == nil || !strings.Contains(err.Error(), "denied by policy") || ran {
				t.Errorf("daemon with the policy: ran %t, %v", ran, err)
			}
			_, err = b.direct(t, st, client.SolveOpt{})
			if err == nil || strings.Contains(err.Error(), "refused") {
				t.Errorf("daemon without the policy: %v", err)
			}
		})
	}
}

// TestEntitlementsDenied asks the daemon itself for privileges.
func TestEntitlementsDenied(t *testing.T) {
	b := shared.get(t)
	run := llb.Scratch().File(llb.Mkfile("/probe", 0o755, []byte("never run")))
	for name, st := range map[string]llb.State{
		"security.insecure": run.Run(llb.Args([]string{"/probe"}), llb.Security(pb.SecurityMode_INSECURE)).Root(),
		"network.host":      run.Run(llb.Args([]string{"/probe"}), llb.Network(pb.NetMode_HOST)).Root(),
	} {
		for _, ask := range [][]string{nil, {name}} {
			t.Run(fmt.Sprint(name, ask), func(t *testing.T) {
				t.Parallel()
				_, err := b.direct(t, st, client.SolveOpt{AllowedEntitlements: ask})
				if err == nil || !strings.Contains(err.Error(), name+" is not allowed") {
					t.Errorf("got %v", err)
				}
			})
		}
	}
}

// direct goes around the client's checks. It reports whether a vertex ran.
func (b *bench) direct(t *testing.T, st llb.State, opt client.SolveOpt) (ran bool, err error) {
	t.Helper()
	c, err := client.New(t.Context(), "unix://"+filepath.Join(b.cfg.StateDir, "engine", "engine.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	folder, err := fsutil.NewFS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	def, err := st.Marshal(t.Context(), llb.LinuxAmd64)
	if err != nil {
		t.Fatal(err)
	}
	opt.LocalMounts = map[string]fsutil.FS{"context": folder}
	updates := make(chan *client.SolveStatus)
	done := make(chan bool)
	go func() {
		some := false
		for u := range updates {
			some = some || len(u.Vertexes) > 0
		}
		done <- some
	}()
	_, err = c.Solve(t.Context(), def, opt, updates)
	return <-done, err
}

// TestGraphDenied wants a graph that no Step made to be refused before it is
// sent.
func TestGraphDenied(t *testing.T) {
	c := &engine.Client{} // connected to nothing
	args := llb.Args([]string{"/probe"})
	none := llb.Network(pb.NetMode_NONE)
	for name, st := range map[string]llb.State{
		"network":       llb.Scratch().Run(args).Root(),
		"host network":  llb.Scratch().Run(args, llb.Network(pb.NetMode_HOST)).Root(),
		"insecure":      llb.Scratch().Run(args, none, llb.Security(pb.SecurityMode_INSECURE)).Root(),
		"cache":         llb.Scratch().Run(args, none, llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("c", llb.CacheMountShared))).Root(),
		"secret":        llb.Scratch().Run(args, none, llb.AddSecret("/s")).Root(),
		"ssh":           llb.Scratch().Run(args, none, llb.AddSSHSocket()).Root(),
		"proxy":         llb.Scratch().Run(args, none, llb.WithProxy(llb.ProxyEnv{HTTPProxy: "http://example.org"})).Root(),
		"control group": llb.Scratch().Run(args, none, llb.WithCgroupParent("/")).Root(),
	} {
		if err := c.Solve(t.Context(), st, engine.Request{}); !fault.Is(err, fault.Policy) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
