package world

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// An Installation says what to install and with what.
type Installation struct {
	Solution *Solution
	// Open returns the file of a package, from its beginning. It is called by
	// several goroutines at a time, ahead of need, and twice for a package that is
	// too large to be held in memory. What it returns need not be trusted: it is
	// checked against the index.
	Open func(ctx context.Context, c Choice) (io.ReadCloser, error)
	// Config are files of the folder etc/apk by their path below it, which are there
	// before any package: "repositories", "keys/mason.rsa.pub". They belong to root
	// and are readable by all. Lists in "protected_paths.d" protect files from
	// packages, as apk-protected_paths(5) says.
	Config map[string][]byte
	// Scripts runs the scripts of packages. With nil none is run, as by
	// "apk add --no-scripts", and the report has them.
	Scripts Runner
	// Time, in Unix seconds, is that of all in a tar that has no time of its own.
	Time int64
	// Workers is how many packages are read at a time, 0 for one per processor.
	Workers int
}

// A Report says what an installation did.
type Report struct {
	// Skipped are the scripts that were not run since there was no Runner, in the
	// order in which apk would have run them. Those before a Trigger count on the
	// packages before their own only.
	Skipped []Script
	// Strangers are the owners that etc/passwd and etc/group of the root did not
	// have when their files were laid, each once for each file. The files belong to
	// nobody instead. It happens where a pre-install script that was not run makes
	// the owner.
	Strangers []Stranger
	// Kept are the paths of protected files that were there before a package with
	// another content of it, which is beside it with the suffix ".apk-new".
	Kept []string

	Files   int   // of all packages, without folders
	Folders int   // of all packages
	Bytes   int64 // of the content of files
}

// A Stranger is a file whose owner the root does not have.
type Stranger struct {
	Path, User, Group string
}

// A Sink is an empty root to install to: a Dir or a Tar.
type Sink interface {
	// mkdir makes a folder, whose parent is there. If there is one already it is left
	// as it is, and made is false.
	mkdir(real string, e *apk.Entry, a access) (made bool, err error)
	// chmod gives a folder other access rights, if it still has the old ones.
	chmod(real string, old, new access) error
	// put lays a file, in place of what was there, which is no folder. The content is
	// that of a regular file; target is the real path of the file of which a hard
	// link is to be another name.
	put(real string, e *apk.Entry, a access, content content, target string) error
	// read returns the content of a small regular file, or a fault.NotFound error.
	read(real string, max int64) ([]byte, error)
	// digest returns the digest of a file, or none if it is not there; a file without
	// a digest has another one than any.
	digest(real string, kind digestKind) (digest, error)
	// ran is called after a script, which may have changed anything.
	ran()
	// keeps reports whether the contents given to put are held until the end.
	keeps() bool
	// runs reports whether scripts can be run in the root as it is.
	runs() bool
	// finish is called at the end, with the error of the installation if it failed.
	finish(err error, time int64) error
}

// A content is that of a regular file: bytes, or what a reader gives.
type content struct {
	b []byte
	r io.Reader
}

// reader returns a reader of the content.
func (c content) reader() io.Reader {
	if c.r != nil {
		return c.r
	}
	return bytes.NewReader(c.b)
}

// Install installs the packages of a solution into an empty root: their files, and
// the database by which apk knows them, as if "apk add" had done it. Packages are
// checked before anything of them is laid. After an error the root is empty again
// (as far as scripts let it), or the tar is not to be used: fault.Denied if a
// package is not what its index says, fault.Invalid if it is malformed,
// fault.Conflict if packages have the same file or have it where another has a
// folder, fault.Failed if a script failed.
func Install(ctx context.Context, in Installation, to Sink) (*Report, error) {
	i := &installer{Installation: in, sink: to, report: &Report{}}
	err := i.install(ctx)
	if err := errors.Join(err, to.finish(err, in.Time)); err != nil {
		return nil, err
	}
	return i.report, nil
}

// An installer is at work on a root.
type installer struct {
	Installation
	sink      Sink
	report    *Report
	tree      tree
	folders   map[string]*folder
	byAge     []*folder // in the order in which they came up
	files     map[string]*owned
	packages  []*installed
	protected []protection
	accounts  *accounts // nil if they are to be read anew
	touched   bool      // by scripts: there may be files that nobody knows of
}

// An installed is a package that is being installed.
type installed struct {
	Choice
	info      apk.Info // what the package says of itself
	scripts   []storedScript
	instances []*instance
	byFolder  map[string]*instance
}

func (i *installer) install(ctx context.Context) error {
	if err := i.check(); err != nil {
		return err
	}
	if err := i.begin(); err != nil {
		return err
	}
	choices := i.Solution.Install
	f := fetch(ctx, choices, i.Open, i.Workers)
	defer f.close()
	for n := range choices {
		l, err := f.next(ctx, n)
		if err != nil {
			return err
		}
		if err := i.pkg(ctx, choices[n], l); err != nil {
			return fault.Within(err, "package %s", choices[n])
		}
		f.release(l, !i.sink.keeps())
	}
	if err := i.triggers(ctx); err != nil {
		return err
	}
	return i.database()
}

// check checks what the caller gives.
func (i *installer) check() error {
	if i.Workers <= 0 {
		i.Workers = runtime.GOMAXPROCS(0)
	}
	switch {
	case i.Solution == nil || i.Open == nil:
		return fault.New(fault.Internal, "an installation of nothing, or from nowhere")
	case i.Scripts != nil && !i.sink.runs():
		return fault.New(fault.Invalid, "scripts cannot run in a tar").Fix("install without, and run those of the report where it is unpacked")
	}
	for name := range i.Config {
		if name == "" || path.Clean("/" + name)[1:] != name || len(name) > maxConfigPath {
			return fault.New(fault.Invalid, "%q is not a path below etc/apk", clip(name))
		}
	}
	seen := map[string]bool{}
	for _, c := range i.Solution.Install {
		switch {
		case c.Package == nil || c.Info == nil || len(c.Hash) != 20 && len(c.Hash) != 32:
			return fault.New(fault.Internal, "a solution with a package without info or hash")
		case seen[c.Name]:
			return fault.New(fault.Internal, "a solution with two packages %s", clip(c.Name))
		}
		seen[c.Name] = true
	}
	return nil
}

const maxConfigPath = 1000

// begin lays the files of etc/apk.
func (i *installer) begin() error {
	i.tree = tree{"": {kind: apk.Directory}}
	i.folders, i.files = map[string]*folder{}, map[string]*owned{}
	lines := slices.Clone(defaultProtections)
	for _, name := range slices.Sorted(maps.Keys(i.Config)) {
		if path.Dir(name) == "protected_paths.d" && path.Ext(name) == ".list" && !strings.HasPrefix(path.Base(name), ".") {
			lines = append(lines, strings.Split(string(i.Config[name]), "\n")...)
		}
	}
	i.protected = parseProtections(lines)
	for _, name := range slices.Sorted(maps.Keys(i.Config)) {
		if err := i.lay("etc/apk/"+name, i.Config[name]); err != nil {
			return err
		}
	}
	return nil
}

// lay lays a file that is no package's, and the folders that it is in.
func (i *installer) lay(p string, b []byte) error {
	if err := i.layFolder(parentOf(p)); err != nil {
		return err
	}
	real, err := i.tree.place(p)
	if err != nil {
		return err
	}
	if n, ok := i.tree[real]; ok && n.kind == apk.Directory {
		return fault.New(fault.Conflict, "%s is a folder, but apk needs a file there", clip(real))
	}
	i.tree[real] = node{kind: apk.RegularFile}
	e := apk.Entry{Path: p, Mode: 0o644, Size: int64(len(b)), ModTime: i.Time}
	return i.sink.put(real, &e, usualFile, content{b: b}, "")
}

// layFolder makes a folder that is no package's, unless it is there.
func (i *installer) layFolder(p string) error {
	if p == "" {
		return nil
	}
	if err := i.layFolder(parentOf(p)); err != nil {
		return err
	}
	real, err := i.tree.place(p)
	if err != nil {
		return err
	}
	if _, ok := i.tree[real]; ok {
		_, err := i.tree.folder(p)
		return err
	}
	i.tree[real] = node{kind: apk.Directory}
	_, err = i.sink.mkdir(real, &apk.Entry{Path: p, Kind: apk.Directory, Mode: 0o755, ModTime: i.Time}, usualFolder)
	return err
}

// pkg installs a package.
func (i *installer) pkg(ctx context.Context, c Choice, l *loaded) error {
	p := &installed{Choice: c, info: l.info, scripts: storedScripts(&l.scripts), byFolder: map[string]*instance{}}
	i.packages = append(i.packages, p)
	if err := i.run(ctx, p, PreInstall, l.scripts.PreInstall, []string{c.Version}); err != nil {
		return err
	}
	places, err := i.decide(p, l.entries)
	if err != nil {
		return err
	}
	if err := i.write(ctx, c, l, places); err != nil {
		return err
	}
	return i.run(ctx, p, PostInstall, l.scripts.PostInstall, []string{c.Version})
}

// run runs a script, or notes that it was not run.
func (i *installer) run(ctx context.Context, p *installed, kind ScriptKind, body []byte, args []string) error {
	if body == nil {
		return nil
	}
	s := Script{Package: p.Name, Version: p.Version, Kind: kind, Body: body, Args: args}
	if i.Scripts == nil {
		i.report.Skipped = append(i.report.Skipped, s)
		return nil
	}
	if err := i.Scripts.Run(ctx, s); err != nil {
		return fault.New(fault.Failed, "the script %s: %w", s.Name(), err)
	}
	i.sink.ran()
	i.accounts, i.touched = nil, true
	return nil
}
