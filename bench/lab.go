package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/sign"
	"github.com/ashlar-project/ashlar/internal/source"
	"github.com/ashlar-project/ashlar/internal/work"
)

// options are the flags of the command.
type options struct {
	reps      int
	state     string
	scratch   string
	exe       string
	page      string
	only      string
	keepGoing bool
}

// A lab is where measurements are made: folders, the program, the mirrors.
type lab struct {
	options
	mirrors *source.Mirrors
}

// newLab checks that measuring is possible here and makes the scratch folder.
func newLab(o options) (*lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the yardsticks need root: chroot and mmdebstrap")
	}
	if o.reps < 1 {
		return nil, fmt.Errorf("-reps %d: nothing would be measured", o.reps)
	}
	if _, err := os.Stat("go.mod"); err != nil {
		return nil, errors.New("run it from the top of the repository")
	}
	for _, p := range []*string{&o.state, &o.scratch, &o.exe} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return nil, err
		}
		*p = abs
	}
	if _, err := os.Stat(o.exe); err != nil {
		return nil, fmt.Errorf("%w; run: make build", err)
	}
	if err := os.MkdirAll(o.scratch, 0o755); err != nil {
		return nil, err
	}
	mirrors, err := source.MirrorsFromApt()
	if err != nil {
		return nil, err
	}
	return &lab{options: o, mirrors: mirrors}, nil
}

func (l *lab) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

// command returns the command that makes a section, without paths of this
// machine.
func (l *lab) command(name string) string {
	only := ""
	if l.only != "" {
		only = " -only " + l.only
	}
	return fmt.Sprintf("go run ./bench -reps %d%s %s", l.reps, only, name)
}

// atLeast returns how often to time something that was asked for n times; fewer
// than five repetitions are a trial, and stay as they are.
func (l *lab) atLeast(n int) int {
	if l.reps < 5 {
		return l.reps
	}
	return max(n, l.reps)
}

// path returns a path in the scratch folder.
func (l *lab) path(elem ...string) string {
	return filepath.Join(append([]string{l.scratch}, elem...)...)
}

// fresh returns a folder of the scratch folder that is empty.
func (l *lab) fresh(name string) (string, error) {
	dir := l.path(name)
	if err := l.discard(dir); err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// discard moves a file or folder out of the way. It is not removed while times
// are taken: a file system that has just freed thousands of inodes can be slow
// to give new ones (ext4 without a journal looks at each, for minutes).
func (l *lab) discard(name string) error {
	trash := l.path("trash")
	if err := os.MkdirAll(trash, 0o755); err != nil {
		return err
	}
	to, err := os.MkdirTemp(trash, "")
	if err != nil {
		return err
	}
	err = os.Rename(name, filepath.Join(to, "it"))
	if errors.Is(err, fs.ErrNotExist) {
		return os.Remove(to)
	}
	return err
}

// sweep removes what was discarded.
func (l *lab) sweep() error { return os.RemoveAll(l.path("trash")) }

// engineConfig returns how the engine of a state folder is run.
func (l *lab) engineConfig(dir string) engine.Config {
	return engine.Config{StateDir: dir, Exe: l.exe, Args: []string{"engine"}}
}

// stop ends the engine of a state folder and discards the folder.
func (l *lab) stop(ctx context.Context, dir string) error {
	err := engine.Stop(context.WithoutCancel(ctx), l.engineConfig(dir))
	return errors.Join(err, l.discard(dir))
}

// shop opens a state folder as the program does. It has no signer: nothing is
// attested here.
func (l *lab) shop(dir string) (*work.Shop, error) {
	return work.Open(work.Config{
		Dir: dir, Mirrors: l.mirrors, MaxAge: 6 * time.Hour, Publish: attest.DefaultPolicy(),
		Engine: func(ctx context.Context) (*engine.Client, error) { return engine.Ensure(ctx, l.engineConfig(dir)) },
		Signer: func(context.Context) (*sign.Conn, error) {
			return nil, errors.New("nothing is signed in a measurement")
		},
		Now: time.Now,
	})
}

// runner returns what executes plans of a shop on the engine of its folder,
// started if need be. The caller closes the engine's client.
func (l *lab) runner(ctx context.Context, s *work.Shop) (*build.Runner, error) {
	client, err := engine.Ensure(ctx, l.engineConfig(s.Dir))
	if err != nil {
		return nil, err
	}
	return &build.Runner{Engine: client, Store: s.Store, Scratch: filepath.Join(s.Dir, "tmp"), Memo: filepath.Join(s.Dir, "bootstrap"), Now: time.Now}, nil
}

// do runs a command; its output is part of the error if it fails.
func do(ctx context.Context, dir, name string, args ...string) error {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, lastLines(out, 15))
	}
	return nil
}

func lastLines(b []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

// settle lets the kernel write out what is pending, so that one measurement
// does not pay for the one before.
func settle() { unix.Sync() }

var fileValue = regexp.MustCompile(`(?m)^(model name|MemTotal|PRETTY_NAME)\s*[:=]\s*"?([^"\n]*)"?$`)

// machine describes this machine, without its name.
func machine() string {
	known := map[string]string{}
	for _, f := range []string{"/proc/cpuinfo", "/proc/meminfo", "/etc/os-release"} {
		b, _ := os.ReadFile(f)
		for _, m := range fileValue.FindAllStringSubmatch(string(b), -1) {
			known[m[1]] = m[2]
		}
	}
	var kb int64
	fmt.Sscan(known["MemTotal"], &kb)
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	release, _, _ := strings.Cut(strings.TrimSpace(string(kernel)), "-")
	return fmt.Sprintf("%d × %s, %d GiB, %s, Linux %s", runtime.NumCPU(), cmp.Or(known["model name"], runtime.GOARCH), (kb+1<<19)>>20,
		cmp.Or(known["PRETTY_NAME"], "unknown system"), release)
}
