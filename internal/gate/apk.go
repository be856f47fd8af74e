package gate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pack"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/world"
)

// An APKCase is a set of packages for apk that the gate judges.
type APKCase struct {
	Target ashlar.Target
	Set    []ashlar.File // of both generations
	// Others are the packages that installing the set may draw on.
	Others []resolve.OwnPackage
	// Exceptions let files fall short of hardening.
	Exceptions []pack.Exception
	// Root is a root with a shell, from which a tree of the set is tried.
	Root ashlar.Root
	// Scratch is a folder for files under way.
	Scratch string
}

// JudgeAPK adds to a verdict whether each package is there in both generations of
// the format and alike, has only hardened programs and libraries, or says why not,
// can be installed with what it needs, and whether the loader finds all that its
// programs and libraries want. Errors are of the machine.
func JudgeAPK(ctx context.Context, r *build.Runner, c *APKCase, v *ashlar.Verdict) error {
	j := &apkJudge{APKCase: c, runner: r, files: map[string]ashlar.Digest{}}
	if err := j.read(ctx); err != nil {
		return err
	}
	v.Add(j.pairs())
	for _, p := range j.packages {
		v.Add(p.hardened(c.Exceptions))
	}
	if !v.Passed {
		return nil
	}
	checks := make([][]ashlar.Check, len(j.packages))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for i, p := range j.packages {
		group.Go(func() (err error) {
			checks[i], err = j.try(ctx, p)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, c := range slices.Concat(checks...) {
		v.Add(c)
	}
	return nil
}

// An apkJudge is one judgement under way.
type apkJudge struct {
	*APKCase
	runner   *build.Runner
	packages []*apkPackage // of the second generation
	v3       []*apkPackage
	files    map[string]ashlar.Digest // by identity: what can be installed
	universe []world.Package
	turn     sync.Mutex // progress calls come one at a time
}

// An apkPackage is a package of the set that was read whole.
type apkPackage struct {
	ashlar.File
	info  *apk.Info
	tree  []string // a line for each file, which tells whether it is the same
	elf   map[string]*elfcheck.File
	wrong map[string]error // ELF files that cannot be read
}

func newPackage(f ashlar.File) *apkPackage {
	return &apkPackage{File: f, elf: map[string]*elfcheck.File{}, wrong: map[string]error{}}
}

// read reads all packages of the set.
func (j *apkJudge) read(ctx context.Context) error {
	made := map[string]bool{}
	for _, f := range j.Set {
		p, own, err := readAPK(ctx, j.runner.Store, f)
		if err != nil {
			return fault.New(fault.KindOf(err), "%w", err).At(f.Name, 0)
		}
		if own == nil {
			j.v3 = append(j.v3, p)
			continue
		}
		j.packages = append(j.packages, p)
		made[own.Name] = true
		j.offer(own)
	}
	for i := range j.Others {
		if own := &j.Others[i]; !made[own.Name] {
			j.offer(own)
		}
	}
	return nil
}

// offer makes a package one that can be installed.
func (j *apkJudge) offer(p *resolve.OwnPackage) {
	j.universe = append(j.universe, p.Package)
	j.files[string(p.Hash)] = p.Digest
}

// readAPK reads a package whole; own describes it if it is of the second generation.
func readAPK(ctx context.Context, s blob.Store, f ashlar.File) (p *apkPackage, own *resolve.OwnPackage, err error) {
	content, err := s.Open(ctx, f.Digest)
	if err != nil {
		return nil, nil, err
	}
	defer content.Close()
	p = newPackage(f)
	var head [4]byte
	if _, err := content.ReadAt(head[:], 0); err != nil {
		return nil, nil, fault.New(fault.Invalid, "it is too short for a package")
	}
	if apk.IsV3(head[:]) {
		v3, err := apk.OpenV3(content, apk.V3Unchecked())
		if err != nil {
			return nil, nil, err
		}
		p.info = &v3.Info
		return p, nil, v3.Walk(p.take)
	}
	v2, err := apk.OpenV2(content, nil)
	if err != nil {
		return nil, nil, err
	}
	p.info = &v2.Info
	return p, &resolve.OwnPackage{
		Package: world.Package{Info: &v2.Info, Hash: v2.Identity[:], Size: f.Size, File: f.Name}, Digest: f.Digest,
	}, v2.Walk(p.take)
}

// maxELF bounds the size in bytes of a file whose hardening is looked at.
const maxELF = 1 << 30

// take takes a file of the package into account.
func (p *apkPackage) take(e *apk.Entry, r io.Reader) error {
	if e.Path == "" {
		return nil // the root itself, which v2 does not list
	}
	digest := ""
	if e.Kind == apk.RegularFile {
		if e.Size > maxELF {
			return fault.New(fault.Invalid, "%s has %d bytes, more than the gate reads", e.Path, e.Size)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		digest = string(ashlar.DigestOf(b))
		if bytes.HasPrefix(b, []byte(elfcheck.Magic)) {
			if f, err := elfcheck.Read(bytes.NewReader(b), int64(len(b))); err != nil {
				p.wrong[e.Path] = err
			} else {
				p.elf[e.Path] = f
			}
		}
	}
	p.tree = append(p.tree, fmt.Sprintf("%s %s %o %s:%s %s %s", e.Path, e.Kind, e.Mode, e.User, e.Group, digest, e.Target))
	return nil
}

// pairs checks that every package is there in both generations, and alike.
func (j *apkJudge) pairs() ashlar.Check {
	check := ashlar.Check{Name: "both generations", Subject: j.Target.String(), Outcome: ashlar.CheckPassed}
	fail := func(format string, args ...any) ashlar.Check {
		check.Outcome, check.Detail = ashlar.CheckFailed, fmt.Sprintf(format, args...)
		return check
	}
	other := map[string]*apkPackage{}
	for _, p := range j.v3 {
		other[p.info.Name+"-"+p.info.Version] = p
	}
	if len(j.v3) != len(j.packages) {
		return fail("there are %d packages of v2 and %d of v3", len(j.packages), len(j.v3))
	}
	for _, p := range j.packages {
		o := other[p.info.Name+"-"+p.info.Version]
		if o == nil {
			return fail("%s is not there in v3", p.Name)
		}
		slices.Sort(p.tree)
		slices.Sort(o.tree)
		if i := firstDifference(p.tree, o.tree); i != "" {
			return fail("%s and %s do not hold the same: %s", p.Name, o.Name, i)
		}
		if a, b := relations(p.info), relations(o.info); a != b {
			return fail("%s and %s do not say the same: %s, %s", p.Name, o.Name, a, b)
		}
	}
	check.Detail = fmt.Sprintf("all %d packages are there as v2 and as v3, with the same files and relations", len(j.packages))
	return check
}

// relations says what a package has to do with others.
func relations(i *apk.Info) string {
	sorted := func(list []apk.Dependency) string {
		list = slices.Clone(list)
		slices.SortFunc(list, func(a, b apk.Dependency) int { return strings.Compare(a.String(), b.String()) })
		return apk.FormatDependencies(list)
	}
	return fmt.Sprintf("depends %s; provides %s; replaces %s; install_if %s; arch %s",
		sorted(i.Depends), sorted(i.Provides), sorted(i.Replaces), sorted(i.InstallIf), i.Arch)
}

// firstDifference returns the first line that one list has and the other has not.
func firstDifference(a, b []string) string {
	for i := range max(len(a), len(b)) {
		switch {
		case i == len(a):
			return b[i]
		case i == len(b) || a[i] != b[i]:
			return a[i]
		}
	}
	return ""
}

// hardened checks the programs and libraries of a package.
func (p *apkPackage) hardened(exceptions []pack.Exception) ashlar.Check {
	check := ashlar.Check{Name: "hardening", Subject: p.info.Name, Outcome: ashlar.CheckPassed}
	var short, excused []string
	count := 0
	add := func(file string, c elfcheck.Check, what string) {
		for _, x := range exceptions {
			if x.Allows(c, file) {
				excused = append(excused, fmt.Sprintf("%s (%s: %s)", file, c, x.Reason))
				return
			}
		}
		short = append(short, file+": "+what)
	}
	for file, err := range p.wrong {
		add(file, elfcheck.CheckForm, err.Error())
	}
	for file, f := range p.elf {
		if f.Kind == elfcheck.Executable || f.Kind == elfcheck.Shared {
			count++
		}
		for _, s := range f.Shortcomings() {
			add(file, s.Check, s.What)
		}
	}
	slices.Sort(short)
	slices.Sort(excused)
	check.Detail = fmt.Sprintf("%d programs and libraries", count)
	if len(excused) > 0 {
		check.Detail += "; excused: " + strings.Join(excused, ", ")
	}
	if len(short) > 0 {
		check.Outcome, check.Detail = ashlar.CheckFailed, strings.Join(short, "\n")
	}
	return check
}

// try installs a package with what it needs into an empty tree, and lets the
// loader look at its programs and libraries there.
func (j *apkJudge) try(ctx context.Context, p *apkPackage) ([]ashlar.Check, error) {
	check := ashlar.Check{Name: "install", Subject: p.info.Name, Outcome: ashlar.CheckPassed}
	solution, report, tree, err := j.install(ctx, p)
	switch {
	case err != nil && slices.Contains([]fault.Kind{fault.Conflict, fault.Invalid, fault.Denied}, fault.KindOf(err)):
		check.Outcome, check.Detail = ashlar.CheckFailed, err.Error()
		return []ashlar.Check{check}, nil
	case err != nil:
		return nil, err
	}
	check.Detail = fmt.Sprintf("%d files with %d packages", report.Files, len(solution.Install))
	if n := len(report.Skipped); n > 0 {
		check.Detail += fmt.Sprintf("; %d scripts were not run", n)
	}
	loads, err := j.load(ctx, p, tree)
	if err != nil || loads == nil {
		return []ashlar.Check{check}, err
	}
	return []ashlar.Check{check, *loads}, nil
}

// install lays the package and what it needs into a tar in the store.
func (j *apkJudge) install(ctx context.Context, p *apkPackage) (*world.Solution, *world.Report, ashlar.Digest, error) {
	solution, err := world.Solve(world.Request{
		Arch:         j.Target.Arch.Alpine(),
		Repositories: []world.Repository{{Packages: j.universe}},
		World:        []apk.Dependency{{Name: p.info.Name, Match: apk.Equal, Version: p.info.Version}},
	})
	if err != nil {
		return nil, nil, "", err
	}
	spool, err := os.CreateTemp(j.Scratch, "tree-*")
	if err != nil {
		return nil, nil, "", fault.New(fault.Internal, "%w", err)
	}
	defer spool.Close()
	if err := os.Remove(spool.Name()); err != nil {
		return nil, nil, "", fault.New(fault.Internal, "%w", err)
	}
	r, w := io.Pipe()
	var report *world.Report
	go func() {
		var err error
		report, err = world.Install(ctx, world.Installation{Solution: solution, Open: j.open}, world.NewTar(w, spool))
		w.CloseWithError(err)
	}()
	f, err := j.runner.Store.Put(ctx, r, "")
	r.CloseWithError(err)
	if err != nil {
		return nil, nil, "", err
	}
	return solution, report, f.Digest, nil
}

func (j *apkJudge) open(ctx context.Context, c world.Choice) (io.ReadCloser, error) {
	d, ok := j.files[string(c.Hash)]
	if !ok {
		return nil, errors.New("no file of it is known")
	}
	return j.runner.Store.Open(ctx, d)
}

// loadable returns the files of the package that the loader of the distribution can
// be asked about: programs, and libraries that stand by themselves.
func (p *apkPackage) loadable() []string {
	var list []string
	for file, f := range p.elf {
		switch {
		case f.Kind == elfcheck.Executable && f.Interpreter != "",
			f.Kind == elfcheck.Shared && f.SoName != "" && slices.Contains([]string{"lib", "usr/lib"}, path.Dir(file)):
			list = append(list, file)
		}
	}
	slices.Sort(list)
	return list
}
