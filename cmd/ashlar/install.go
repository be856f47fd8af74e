package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sandbox"
	"github.com/ashlar-project/ashlar/internal/work"
	"github.com/ashlar-project/ashlar/internal/world"
)

// scriptTime is how long a script of a package may take.
const scriptTime = 10 * time.Minute

// An installing is what `ashlar install` is told.
type installing struct {
	root, keys, arch string
	repositories     []string
	scripts          bool
}

func (a *app) installCommand() *cobra.Command {
	var in installing
	c := &cobra.Command{
		Use: "install --root DIR --keys DIR --repository WHERE... PACKAGE...", Short: "install Alpine packages into an empty root, as apk would",
		Long: `Choose packages of repositories for apk and install them, with all that they want,
into a folder that is empty or not there yet: the same packages, files, owners and
database as apk would. A PACKAGE is a word as apk add takes it: nginx, 'musl>=1.2',
'!busybox', cmd:curl, so:libz.so.1, nginx@edge.

A repository is a folder or an http or https address, as in /etc/apk/repositories:
WHERE, '@edge WHERE' for packages that must be asked for with @edge, 'v3 WHERE' for the
index Packages.adb, 'ndx WHERE' for an index by its own name. Its index must be signed
by one of the keys, and every package must be the one that the index names.

Scripts and triggers of packages are not run, but listed. With --scripts they are run
by runc in the new root alone, without network and with few capabilities. After a
failure the folder is as it was before.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.install(c.Context(), in, args) },
	}
	f := c.Flags()
	f.StringVar(&in.root, "root", "", "folder to install to, empty or not there yet")
	f.StringVar(&in.keys, "keys", "", "folder with the public keys (*.pub) that are trusted")
	f.StringVar(&in.arch, "arch", "x86_64", "architecture, in Alpine's words")
	f.StringArrayVar(&in.repositories, "repository", nil, "folder or address of a repository; may be given again")
	f.BoolVar(&in.scripts, "scripts", false, "run scripts and triggers, in a sandbox")
	return c
}

// An installedPackage is a package as the result names it.
type installedPackage struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Repository string `json:"repository"`
}

// An installedRoot is the result of `ashlar install`.
type installedRoot struct {
	Root     string             `json:"root"`
	Arch     string             `json:"arch"`
	Packages []installedPackage `json:"packages"`
	Files    int                `json:"files"`
	Folders  int                `json:"folders"`
	Bytes    int64              `json:"bytes"`
	NotRun   []string           `json:"notRun,omitempty"`   // scripts, in the order in which apk would run them
	NoOwner  []string           `json:"noOwner,omitempty"`  // paths of files whose owner the root did not have
	Kept     []string           `json:"apkNew,omitempty"`   // paths that a package has as PATH.apk-new
	Unlisted []string           `json:"unlisted,omitempty"` // repositories that are folders, which etc/apk/repositories does not list
}

// install solves a world and installs it.
func (a *app) install(ctx context.Context, in installing, words []string) error {
	if in.root == "" || in.keys == "" || len(in.repositories) == 0 {
		return fault.New(fault.Invalid, "an installation wants --root, --keys and --repository").Fix("see: ashlar install --help")
	}
	request, err := wanted(in.arch, words)
	if err != nil {
		return err
	}
	keys, err := readAPKKeys(in.keys)
	if err != nil {
		return err
	}
	if err := in.allowed(); err != nil {
		return err
	}
	p := a.stages(in.root)
	var sites []*apkSite
	err = p.stage("index", func() error {
		for _, line := range in.repositories {
			s, err := openAPKSite(ctx, line, in.arch, keys)
			if err != nil {
				return err
			}
			a.closers = append(a.closers, s.close)
			sites = append(sites, s)
			request.Repositories = append(request.Repositories, s.Repository)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var solution *world.Solution
	if err := p.stage("solve", func() (err error) { solution, err = world.Solve(*request); return err }); err != nil {
		return err
	}
	var report *world.Report
	err = p.stage("install", func() (err error) {
		report, err = a.installRoot(ctx, in, solution, sites, keys, p)
		return err
	})
	if err != nil {
		return err
	}
	return a.printInstalled(in, solution, sites, report)
}

// allowed checks that this user can do here what is asked for.
func (in *installing) allowed() error {
	if os.Geteuid() != 0 {
		return fault.New(fault.Denied, "only root can give files to their owners").Fix("run it as root")
	}
	if in.scripts {
		return sandbox.Check()
	}
	return nil
}

// wanted returns a request for the words of the command line.
func wanted(arch string, words []string) (*world.Request, error) {
	r := &world.Request{Arch: arch}
	for _, w := range words {
		d, err := apk.ParseDependency(w)
		if err != nil {
			return nil, err
		}
		if slices.Contains(r.Added, d.Name) {
			return nil, fault.New(fault.Invalid, "%s is asked for twice", d.Name).Fix("say all that is wanted of it in one word")
		}
		r.World, r.Added = append(r.World, d), append(r.Added, d.Name)
	}
	return r, nil
}

// stages tells what is under way.
type stages struct {
	report func(work.Event)
	root   string
	now    func() time.Time
}

func (a *app) stages(root string) *stages { return &stages{a.progress(), root, a.now} }

// stage does a part of the work.
func (p *stages) stage(name string, f func() error) error {
	e := work.Event{Subject: p.root, Stage: name, State: work.Begun}
	p.report(e)
	begun := p.now()
	err := f()
	if e.State, e.Took = work.Ended, p.now().Sub(begun); err != nil {
		e.State = work.Failed
	}
	p.report(e)
	return err
}

// installRoot installs a solution. A folder that is not there yet appears when all
// is in it.
func (a *app) installRoot(ctx context.Context, in installing, s *world.Solution, sites []*apkSite, keys *apkKeyring, p *stages) (*world.Report, error) {
	dir, err := filepath.Abs(in.root)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	_, err = os.Lstat(dir)
	if err == nil {
		return a.installInto(ctx, dir, in, s, sites, keys, p)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	part, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".part-")
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err).Fix("make the folder that the root is to be in")
	}
	var report *world.Report
	if err = os.Chmod(part, 0o755); err == nil {
		report, err = a.installInto(ctx, part, in, s, sites, keys, p)
	}
	if err == nil {
		err = os.Rename(part, dir)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(part))
	}
	return report, nil
}

// installInto installs into an empty folder.
func (a *app) installInto(ctx context.Context, dir string, in installing, s *world.Solution, sites []*apkSite, keys *apkKeyring, p *stages) (*world.Report, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).Fix("give --root an empty folder, or one that is not there yet")
	}
	defer root.Close()
	to, err := world.NewDir(root)
	if err != nil {
		return nil, err
	}
	var begun atomic.Int64
	config := keys.config()
	if list := repositoriesFile(sites); list != nil {
		config["repositories"] = list
	}
	installation := world.Installation{
		Solution: s, Config: config, Time: a.now().Unix(), Workers: parallelReads(sites),
		Open: func(ctx context.Context, c world.Choice) (io.ReadCloser, error) {
			p.report(work.Event{Subject: p.root, Stage: "install", Step: c.String(), State: work.Begun, Detail: fmt.Sprintf("%d of %d", begun.Add(1), len(s.Install))})
			return sites[c.Repository].open(ctx, c)
		},
	}
	if in.scripts {
		installation.Scripts = boxed{dir, p}
	}
	return world.Install(ctx, installation, to)
}

// boxed runs scripts of packages in a sandbox.
type boxed struct {
	dir string
	p   *stages
}

// Run runs a script in the root as it is.
func (b boxed) Run(ctx context.Context, s world.Script) error {
	b.p.report(work.Event{Subject: b.p.root, Stage: "install", Step: s.Name(), State: work.Begun})
	return sandbox.Run(ctx, sandbox.Script{Root: b.dir, Body: s.Body, Args: s.Args, Env: s.Env(), Most: scriptTime})
}

// printInstalled prints what was installed.
func (a *app) printInstalled(in installing, s *world.Solution, sites []*apkSite, r *world.Report) error {
	result := installedRoot{Root: in.root, Arch: s.Arch, Files: r.Files, Folders: r.Folders, Bytes: r.Bytes, Kept: r.Kept}
	for _, c := range s.Install {
		result.Packages = append(result.Packages, installedPackage{c.Name, c.Version, sites[c.Repository].at})
	}
	for i := range r.Skipped {
		result.NotRun = append(result.NotRun, r.Skipped[i].Name())
	}
	for _, stranger := range r.Strangers {
		result.NoOwner = append(result.NoOwner, stranger.Path)
	}
	for _, s := range sites {
		if s.line == "" {
			result.Unlisted = append(result.Unlisted, s.at)
		}
	}
	return a.print(result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d packages, %d files, %d folders, %d bytes\n", in.root, len(result.Packages), r.Files, r.Folders, r.Bytes)
		for _, note := range []struct {
			list []string
			what string
		}{
			{result.NotRun, "scripts were not run (--scripts runs them in a sandbox)"},
			{result.NoOwner, "files belong to nobody, since the root does not have their owners"},
			{result.Kept, "protected files were kept; those of packages are beside them as .apk-new"},
			{result.Unlisted, "repositories are folders, which etc/apk/repositories does not list"},
		} {
			if len(note.list) > 0 {
				fmt.Fprintf(w, "%d %s: %s\n", len(note.list), note.what, strings.Join(note.list, " "))
			}
		}
	})
}
