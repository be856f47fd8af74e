package resolve

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Lock pins all inputs of a definition that was expanded for a target, and
// brings them into the store of the world. The same definition and world give
// the same lock, byte for byte. Errors name the place in the definition.
func Lock(ctx context.Context, def *catalog.Expanded, w World) (*ashlar.Lock, error) {
	l := newLocker(def, w)
	l.keep = w.Store.Put
	for _, i := range w.Indexes {
		l.index(i)
	}
	own, err := l.local(ctx, def.Definition.Path)
	if err != nil {
		return nil, err
	}
	vars, main, err := l.vars(ctx)
	if err != nil {
		return nil, err
	}
	lock := &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{Definition: own, Target: def.Target, Vars: vars}}
	for _, f := range included(def) {
		m, err := l.local(ctx, f.Name)
		if err != nil {
			return nil, err
		}
		lock.Inputs.Includes = append(lock.Inputs.Includes, m)
	}
	bound, err := def.BindEach(Values(lock, len(def.Builds)))
	if err != nil {
		return nil, err
	}
	for i := range bound.Builds {
		in, err := l.build(ctx, &bound.Builds[i], main[i])
		if err != nil {
			return nil, err
		}
		lock.Inputs.Builds = append(lock.Inputs.Builds, *in)
	}
	for _, name := range idNames(l.unavailable) {
		l.note("package %s is in the index, but not in the pool", name)
	}
	lock.Inputs.Indexes, lock.Inputs.Notes = l.indexes, l.notes
	slices.Sort(lock.Inputs.Notes)
	lock.Inputs.Notes = slices.Compact(lock.Inputs.Notes)
	return lock, nil
}

// locker is the state of making one lock, or of making again what a lock pins.
type locker struct {
	World
	def         *catalog.Expanded
	keep        func(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error) // Put of a store, or like it
	pins        *pins                                                                           // nil while a lock is made
	found       map[string]*archive.SourceRef                                                   // by debsrc address
	unavailable map[ID]bool                                                                     // packages that the pool turned out not to have
	indexes     []ashlar.Index                                                                  // sorted by URI, each once
	notes       []string
}

// newLocker returns a locker that keeps nothing.
func newLocker(def *catalog.Expanded, w World) *locker {
	if w.Beside == nil {
		w.Beside = besideDefinition{def.Definition}
	}
	return &locker{World: w, def: def, keep: measure, found: map[string]*archive.SourceRef{}, unavailable: map[ID]bool{}}
}

// vars returns the variables of the lock, and the source package of each build.
func (l *locker) vars(ctx context.Context) (map[string]string, []*archive.SourceRef, error) {
	vars := maps.Clone(l.def.Vars)
	if vars == nil {
		vars = map[string]string{}
	}
	main := make([]*archive.SourceRef, len(l.def.Builds))
	for i := range l.def.Builds {
		var err error
		if main[i], err = l.mainSource(ctx, &l.def.Builds[i]); err != nil {
			return nil, nil, err
		}
		addSourceVars(vars, i, main[i])
		if vars[SourceEpoch] != "" {
			continue
		}
		when, err := l.epoch(ctx, main[i])
		if err != nil {
			return nil, nil, at(err, l.def.Builds[i].Pos)
		}
		if when != "" {
			vars[SourceEpoch] = when
		}
	}
	return vars, main, nil
}

func (l *locker) note(format string, args ...any) {
	l.notes = append(l.notes, fmt.Sprintf(format, args...))
}

// index records that the lock rests on a signed index.
func (l *locker) index(i ashlar.Index) {
	at, found := slices.BinarySearchFunc(l.indexes, i, func(a, b ashlar.Index) int {
		return cmp.Or(strings.Compare(a.URI, b.URI), strings.Compare(string(a.Digest), string(b.Digest)))
	})
	if !found {
		l.indexes = slices.Insert(l.indexes, at, i)
	}
}

// mainSource returns the source package that a build is of: the first debsrc
// without a file among its files; nil if there is none.
func (l *locker) mainSource(ctx context.Context, b *catalog.Build) (*archive.SourceRef, error) {
	for _, f := range b.Files {
		if !IsDebSrc(f.URL) {
			continue
		}
		d, err := ParseDebSrc(f.URL)
		if err != nil {
			return nil, at(err, f.Pos)
		}
		if d.File != "" {
			continue
		}
		ref, err := l.find(ctx, d, all)
		return ref, at(err, f.Pos)
	}
	return nil, nil
}

func all(string) bool { return true }

// build pins the inputs of one build.
func (l *locker) build(ctx context.Context, b *catalog.Build, main *archive.SourceRef) (*ashlar.BuildInputs, error) {
	if err := supported(b); err != nil {
		return nil, err
	}
	sources, err := l.sources(ctx, b)
	if err != nil {
		return nil, err
	}
	named, err := l.anchorDscs(ctx, sources)
	if err != nil {
		return nil, at(err, b.Pos)
	}
	if main != nil {
		named = main.Package
	}
	root, err := l.root(ctx, b, named)
	if err != nil {
		return nil, err
	}
	if root.Sysroot, err = l.sysroot(ctx, b); err != nil {
		return nil, err
	}
	return &ashlar.BuildInputs{Name: b.Name, Root: *root, Sources: sources}, nil
}

// supported refuses by name what a build may ask for in the open format but
// cannot be locked yet.
func supported(b *catalog.Build) error {
	for _, key := range []struct {
		name string
		used bool
	}{
		{"uses", b.Uses != ""}, {"matrix", len(b.Matrix) > 0}, {"caches", len(b.Caches) > 0},
		{"contents.artifacts", len(b.Artifacts) > 0}, {"contents.keyring", len(b.Keyring) > 0},
		{"accounts", b.Accounts.Root || b.Accounts.RunAs != "" || len(b.Accounts.Users)+len(b.Accounts.Groups) > 0},
		{"outputs", len(b.Outputs) > 0}, {"attestations", len(b.Attestations) > 0},
	} {
		if key.used {
			return fault.New(fault.Invalid, "build %q has %s, which is not supported yet", b.Name, key.name).At(b.File, b.Line).
				Fix("build it from packages and files")
		}
	}
	return nil
}

// at gives an error a place in the definition. The kind stays; an error that
// names another file keeps that too, in its words.
func at(err error, pos catalog.Pos) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.KindOf(err), "%w", err).At(pos.File, pos.Line)
}

// sourceVarNames are the variables that a source package gives a build.
var sourceVarNames = []string{catalog.SourceName, catalog.SourceVersion, catalog.SourceUpstreamVersion, catalog.SourceDsc}

// addSourceVars writes the variables of a build's source package. Those of the
// first build that has one stand under their own names; a later build with
// other values has them under "builds.N.", counted from 0.
func addSourceVars(vars map[string]string, build int, ref *archive.SourceRef) {
	if ref == nil {
		return
	}
	dsc, _ := ref.Package.Dsc()
	for i, value := range []string{ref.Package.Name, ref.Package.Version, deb.SplitVersion(ref.Package.Version).Upstream, dsc.Name} {
		name := sourceVarNames[i]
		if old, ok := vars[name]; ok && old != value {
			name = "builds." + strconv.Itoa(build) + "." + name
		}
		vars[name] = value
	}
}

// Values returns, for each of n builds, what the variables of later stages stand
// for under a lock: the input of catalog's BindEach.
func Values(lock *ashlar.Lock, n int) []map[string]string {
	list := make([]map[string]string, max(1, n))
	for i := range list {
		v := map[string]string{catalog.SourceDir: ashlar.SourceDir, catalog.TargetDir: ashlar.TargetDir}
		for _, name := range sourceVarNames {
			value, ok := lock.Inputs.Vars["builds."+strconv.Itoa(i)+"."+name]
			if !ok {
				value, ok = lock.Inputs.Vars[name]
			}
			if ok {
				v[name] = value
			}
		}
		list[i] = v
	}
	return list
}

// included returns the files that a definition includes, each once, in the order
// in which they are read.
func included(def *catalog.Expanded) []ashlar.File {
	var list []ashlar.File
	for _, f := range def.Definition.Includes {
		if !slices.Contains(list, f) {
			list = append(list, f)
		}
	}
	return list
}

// Pinned returns the definition that a lock was made of, expanded for its target,
// from its text at a path within the catalog; what it includes is read by the
// digests that the lock has. The error is fault.Conflict if the lock is not of
// that text.
func Pinned(lock *ashlar.Lock, path string, text []byte, read func(ashlar.Material) ([]byte, error)) (*catalog.Expanded, error) {
	texts := map[string][]byte{}
	for _, m := range lock.Inputs.Includes {
		content, err := read(m)
		if err != nil {
			return nil, err
		}
		texts[strings.TrimPrefix(m.URI, localScheme)] = content
	}
	texts[path] = text
	def, err := catalog.LoadTexts(texts, path)
	if err != nil {
		return nil, err
	}
	expanded, err := def.Expand(lock.Inputs.Target)
	if err != nil {
		return nil, err
	}
	return expanded, sameDefinition(lock, expanded)
}
