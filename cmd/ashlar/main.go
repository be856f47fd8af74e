// Command ashlar builds, attests, publishes and verifies hardened system
// packages. Each verb is one file; this one wires them together.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

func main() {
	os.Exit(run())
}

// run runs the program and returns its exit code; the meaning of codes is in
// package fault and in the help of the root command.
func run() int {
	log.SetOutput(io.Discard) // of libraries; what matters comes back as an error
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	a := &app{out: os.Stdout, err: os.Stderr, now: time.Now}
	err := a.execute(ctx)
	if closing := a.close(); err == nil {
		err = closing
	}
	if err != nil {
		a.complain(ctx, err)
	}
	if err != nil && ctx.Err() != nil {
		return 130
	}
	return fault.ExitCode(err)
}

// execute runs the verb that the arguments name. What goes wrong before the verb
// begins is wrong use: fault.Invalid.
func (a *app) execute(ctx context.Context) error {
	root, begun := a.root(), false
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	err := root.ExecuteContext(ctx)
	var known *fault.Error
	if err == nil || begun || errors.As(err, &known) {
		return err
	}
	return fault.New(fault.Invalid, "%w", err).Fix("see: ashlar --help")
}

// An app carries what all verbs share.
type app struct {
	out, err io.Writer
	now      func() time.Time
	flags    flags
	closers  []func() error
}

// flags are the options that every verb takes.
type flags struct {
	state        string
	catalog      string
	json         bool
	quiet        bool
	builder      string
	builderTLS   [3]string // CA, certificate, key
	allowNetwork bool
	offline      bool
	mirrors      string
	maxAge       time.Duration
}

const long = `Ashlar builds Debian packages from source under a lock, tests, signs and attests
them, and serves them to apt.

Exit codes: 0 done; 1 the work failed (a step, a test, a comparison); 2 wrong
input; 3 not found; 4 conflict; 5 a signature or permission does not hold;
6 unavailable, try again; 7 refused by policy; 70 a fault of this program;
130 interrupted.`

// root returns the command with all verbs.
func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use: "ashlar", Short: "hardened system packages from source", Long: long,
		SilenceUsage: true, SilenceErrors: true, Version: version(),
	}
	c.SetOut(a.out)
	c.SetErr(a.err)
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fault.New(fault.Invalid, "%w", err).Fix("see: %s --help", c.CommandPath())
	})
	p := c.PersistentFlags()
	p.StringVar(&a.flags.state, "state", defaultState(), "folder for everything that is kept ($ASHLAR_STATE)")
	p.StringVar(&a.flags.catalog, "catalog", "", "folder that the paths inside definitions start from; else the one that holds package/")
	p.BoolVar(&a.flags.json, "json", false, "print results as JSON, progress as JSON lines on standard error")
	p.BoolVarP(&a.flags.quiet, "quiet", "q", false, "print no progress")
	p.StringVar(&a.flags.mirrors, "mirrors", "", "file with mirrors; without it those of this machine's apt are used")
	p.BoolVar(&a.flags.offline, "offline", false, "fetch nothing: use what the state folder has")
	p.DurationVar(&a.flags.maxAge, "max-age", 6*time.Hour, "how old a signed index may be before it is asked for again")
	for _, group := range a.groups() {
		c.AddGroup(&cobra.Group{ID: group.id, Title: group.title})
		for _, verb := range group.verbs {
			verb.GroupID = group.id
			c.AddCommand(verb)
		}
	}
	c.AddCommand(a.engineCommand(), a.signerCommand())
	return c
}

// A verbGroup is a heading of `ashlar help` and its verbs.
type verbGroup struct {
	id, title string
	verbs     []*cobra.Command
}

// groups returns the verbs in the order of the help.
func (a *app) groups() []verbGroup {
	return []verbGroup{
		{"make", "Make packages:", []*cobra.Command{a.checkCommand(), a.lockCommand(), a.planCommand(), a.buildCommand()}},
		{"publish", "Publish and serve them:", []*cobra.Command{a.publishCommand(), a.resignCommand(), a.withdrawCommand(), a.snapshotCommand(), a.serveCommand()}},
		{"use", "Use them:", []*cobra.Command{a.installCommand()}},
		{"verify", "Verify them:", []*cobra.Command{a.verifyCommand(), a.rebuildCommand()}},
		{"manage", "Look after the house:", []*cobra.Command{a.keyCommand(), a.tierCommand(), a.doctorCommand()}},
	}
}

// close releases what verbs opened, last first.
func (a *app) close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	return errors.Join(errs...)
}

// complain prints an error for people, or as JSON.
func (a *app) complain(ctx context.Context, err error) {
	if ctx.Err() != nil {
		fmt.Fprintln(a.err, "ashlar: interrupted; nothing half-done was kept, run the same command to go on")
		return
	}
	var step *engine.StepError
	isStep := errors.As(err, &step)
	if a.flags.json {
		report := map[string]any{"error": err.Error(), "kind": fault.KindOf(err), "code": fault.ExitCode(err)}
		if isStep {
			report["log"] = step.Log
		}
		json.NewEncoder(a.err).Encode(report)
		return
	}
	if isStep && len(step.Log) > 0 {
		fmt.Fprintf(a.err, "the last %d lines of step %q:\n", len(step.Log), step.Name)
		for _, line := range step.Log {
			fmt.Fprintln(a.err, "  "+line)
		}
	}
	fmt.Fprintf(a.err, "ashlar: %v\n", err)
}

// print writes v as JSON with --json, else calls text.
func (a *app) print(v any, text func(w io.Writer)) error {
	if !a.flags.json {
		text(a.out)
		return nil
	}
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// defaultState returns the state folder when no flag names one.
func defaultState() string {
	if dir := os.Getenv("ASHLAR_STATE"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/lib/ashlar"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "ashlar")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".ashlar"
	}
	return filepath.Join(home, ".local", "state", "ashlar")
}

// version returns the module's version and the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v += " " + s.Value[:min(12, len(s.Value))]
		}
	}
	return v
}
