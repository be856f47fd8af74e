// Package sandbox runs a script in a root folder with runc, so that it sees that
// folder and nothing else: no network, no process, device, variable or file of the
// host, few capabilities, the default seccomp filter. What it leaves behind is what
// it wrote into the folder; whatever it started ends with it.
package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxOutput is how much of the end of a script's output is kept, in bytes.
const maxOutput = 4 << 10

// patience is how long runc may take to put away a container.
const patience = 10 * time.Second

// A Script is what is run. It runs as root in the working directory "/", with umask
// 022 and no input.
type Script struct {
	Root string        // the absolute path of the folder that it sees as "/"
	Body []byte        // the program, which begins with "#!" as a rule
	Args []string      // from $1 on
	Env  []string      // the environment, "NAME=value"; runc adds HOME
	Most time.Duration // that it may take, 0 for as long as it likes
}

// Check returns a fault.Unavailable error if scripts cannot be run here: runc is not
// installed; and fault.Denied if the user is not root.
func Check() error {
	if os.Geteuid() != 0 {
		return fault.New(fault.Denied, "only root can run scripts in a sandbox").Fix("run it as root")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		return fault.New(fault.Unavailable, "runc is not installed").Fix("apt-get install runc")
	}
	return nil
}

// Run runs a script and returns when it and all that it started has ended. /proc and
// a /dev with the usual devices are there while it runs; the root may lack the
// folders. If it exits with another status than 0, or takes too long, the error is
// fault.Failed and ends with the last of its output; if the root has something else
// than a folder at /proc or /dev it is fault.Conflict.
func Run(ctx context.Context, s Script) error {
	if err := Check(); err != nil {
		return err
	}
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return fault.New(fault.NotFound, "%w", err)
	}
	defer root.Close()
	missing, err := mountPoints(root)
	if err != nil {
		return err
	}
	bundle, err := os.MkdirTemp("", "ashlar-sandbox-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(bundle)
	if err := writeBundle(bundle, s); err != nil {
		return err
	}
	err = start(ctx, bundle, s.Most)
	for _, name := range missing { // runc makes them, and empty they are now
		if gone := root.Remove(name); gone != nil && !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// mountPoints returns which folders a container needs that the root does not have.
func mountPoints(root *os.Root) ([]string, error) {
	var missing []string
	for _, name := range []string{"dev", "proc"} {
		info, err := root.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, name)
		case err != nil:
			return nil, err
		case !info.IsDir():
			return nil, fault.New(fault.Conflict, "/%s of the root is no folder, so no script can be run in it", name)
		}
	}
	return missing, nil
}

// writeBundle writes what runc wants to know.
func writeBundle(bundle string, s Script) error {
	config, err := json.Marshal(spec(bundle, s))
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(bundle, scriptName), s.Body, 0o700),
		os.WriteFile(filepath.Join(bundle, "config.json"), config, 0o600))
}

// start runs the container of a bundle.
func start(ctx context.Context, bundle string, most time.Duration) error {
	outer := ctx
	if most > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, most)
		defer stop()
	}
	state, id := filepath.Join(bundle, "state"), filepath.Base(bundle)
	var output tail
	cmd := exec.CommandContext(ctx, "runc", "--root", state, "run", "--bundle", bundle, id)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	cmd.Stdout, cmd.Stderr = &output, &output
	cmd.Cancel = func() error { return runc(state, "kill", id, "KILL") } // runc run ends with it
	cmd.WaitDelay = patience
	err := cmd.Run()
	if left := runc(state, "delete", "--force", id); left != nil && err == nil {
		err = left
	}
	switch {
	case err == nil:
		return nil
	case outer.Err() != nil:
		return outer.Err()
	case ctx.Err() != nil:
		return fault.New(fault.Failed, "it did not end within %s%s", most, output.said())
	}
	return fault.New(fault.Failed, "%w%s", err, output.said())
}

// runc runs a command of runc to its end, whatever becomes of the caller.
func runc(state string, args ...string) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	out, err := exec.CommandContext(ctx, "runc", append([]string{"--root", state}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("runc %s: %w: %s", args[0], err, bytes.TrimSpace(out))
	}
	return nil
}

// A tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(b []byte) (int, error) {
	t.b = append(t.b, b...)
	if over := len(t.b) - maxOutput; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

// said returns the output for an error, without what a terminal would act on.
func (t *tail) said() string {
	text := strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.TrimSpace(string(t.b)))
	if text == "" {
		return ""
	}
	return "; it said:\n" + text
}
