package catalog

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Load reads the definition at the slash-separated path below the catalog's root
// folder, with what it includes, and checks its form. Nothing is expanded yet.
func Load(root, name string) (*Definition, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fault.New(fault.NotFound, "cannot open the catalog: %w", err).
			Fix("name the folder that holds package/, image/ and chart/")
	}
	defer r.Close()
	return load(root, name, func(p string) ([]byte, error) { return readBounded(r, root, p, maxFileSize) })
}

// LoadTexts is Load for files that are at hand, by their slash-separated paths
// below the catalog's root. Files beside the definition cannot be opened.
func LoadTexts(texts map[string][]byte, name string) (*Definition, error) {
	return load("", name, func(p string) ([]byte, error) {
		text, ok := texts[p]
		switch {
		case !ok:
			return nil, fault.New(fault.NotFound, "its text is not at hand").At(p, 0)
		case len(text) > maxFileSize:
			return nil, tooLarge("", p, maxFileSize)
		}
		return text, nil
	})
}

// load is Load with the reading of files as a parameter.
func load(root, name string, read func(string) ([]byte, error)) (*Definition, error) {
	l := loader{root: root, read: read}
	text, err := read(name)
	if err != nil {
		return nil, err
	}
	d := &Definition{Path: name, Digest: ashlar.DigestOf(text), Syntax: syntaxOf(text), root: root}
	if d.tree, err = l.tree(name, text); err != nil {
		return nil, err
	}
	d.Includes = l.included
	if err := d.Spec.decodeFrom(d.tree); err != nil {
		return nil, err
	}
	if err := d.findDistro(); err != nil {
		return nil, err
	}
	return d, nil
}

// A loader reads a file and the files that it includes.
type loader struct {
	root     string
	read     func(string) ([]byte, error)
	stack    []string // the files being read, outermost first
	included []ashlar.File
}

// tree parses a file and merges it over the files that it includes.
func (l *loader) tree(name string, text []byte) (*node, error) {
	tree, err := parse(filepath.Join(l.root, name), text)
	if err != nil {
		return nil, err
	}
	if tree.kind != mapping {
		return nil, tree.errorf("a definition is keys with values, this is %s", tree.describe())
	}
	includes := tree.get("includes")
	if includes == nil {
		return tree, nil
	}
	l.stack = append(l.stack, name)
	defer func() { l.stack = l.stack[:len(l.stack)-1] }()
	var base *node
	for _, item := range includes.items {
		part, err := l.include(item)
		if err != nil {
			return nil, err
		}
		base = merge(base, part)
	}
	return merge(base, tree), nil
}

// include reads the file that an entry of includes names.
func (l *loader) include(item *node) (*node, error) {
	switch {
	case item.kind != scalar || !fs.ValidPath(item.value):
		return nil, item.errorf("cannot include %s", item.describe()).Fix("write a path relative to the catalog's root, without \"..\"")
	case slices.Contains(l.stack, item.value):
		chain := strings.Join(append(slices.Clone(l.stack), item.value), " → ")
		return nil, item.errorf("files include each other in a circle: %s", chain)
	case len(l.included) >= maxIncludes:
		return nil, item.errorf("more than %d included files", maxIncludes)
	}
	text, err := l.read(item.value)
	if err != nil {
		return nil, item.errorf("cannot include %s: %w", item.value, err)
	}
	l.included = append(l.included, ashlar.File{Name: item.value, Digest: ashlar.DigestOf(text), Size: int64(len(text))})
	return l.tree(item.value, text)
}

// merge returns base with over put on it: mappings are merged key by key, lists
// are appended, anything else is replaced. Neither is changed.
func merge(base, over *node) *node {
	switch {
	case base == nil || base.kind != over.kind || over.kind == scalar:
		return over
	case over.kind == sequence:
		m := *over
		m.items = slices.Concat(base.items, over.items)
		return &m
	}
	m := *over
	m.keys, m.items = slices.Clone(base.keys), slices.Clone(base.items)
	for i, key := range over.keys {
		at := slices.IndexFunc(m.keys, func(k *node) bool { return k.value == key.value })
		if at < 0 {
			m.keys, m.items = append(m.keys, key), append(m.items, over.items[i])
			continue
		}
		m.keys[at], m.items[at] = key, merge(m.items[at], over.items[i])
	}
	return &m
}

// decodeFrom sets s from a tree and fills in the defaults.
func (s *Spec) decodeFrom(tree *node) error {
	*s = Spec{}
	if err := decode(tree, reflect.ValueOf(s).Elem(), "key", ""); err != nil {
		return err
	}
	if s.Variant == "" {
		s.Variant = "runtime"
	}
	if len(s.Platforms) == 0 {
		s.Platforms = []string{"linux/amd64", "linux/arm64"}
	}
	for i := range s.Builds {
		for j := range s.Builds[i].Pipeline {
			if err := s.Builds[i].Pipeline[j].check(); err != nil {
				return err
			}
		}
	}
	return nil
}

// check refuses a step that does nothing, or two things.
func (s *Step) check() error {
	kind, known := Known(s.Uses)
	switch {
	case s.Uses == "" && s.Runs == "":
		return s.errorf("a step that does nothing").Fix("give it \"uses\" or \"runs\"")
	case s.Uses != "" && s.Runs != "" && known && !kind.Image:
		return s.errorf("a step with both \"uses\" and \"runs\"").Fix("make it two steps")
	case s.Uses == "" && s.With.node != nil:
		return s.errorf("\"with\" belongs to a step with \"uses\"")
	}
	return nil
}

var (
	syntaxLine   = regexp.MustCompile(`\A# syntax=([\x21-\x7e]{1,200})\n`)
	syntaxDistro = regexp.MustCompile(`-(debian|alpine)([0-9.]+)(-dev)?$`)
	distroFolder = regexp.MustCompile(`^(debian-[0-9]+|alpine-[0-9]+\.[0-9]+|musl-[0-9]+|helm)$`)
)

func syntaxOf(text []byte) string {
	if m := syntaxLine.FindSubmatch(text); m != nil {
		return string(m[1])
	}
	return ""
}

// findDistro finds what the definition is for: its folder says so, else its
// os-release, else its syntax line. If folder and os-release disagree, the
// folder counts, and Bind will refuse.
func (d *Definition) findDistro() error {
	var release ashlar.Distro
	if o := d.Spec.OSRelease; o.ID != "" && o.VersionID != "" {
		release = ashlar.Distro(o.ID + "-" + o.VersionID)
	}
	folder := ashlar.Distro(path.Base(path.Dir(d.Path)))
	syntax := syntaxDistro.FindStringSubmatch(d.Syntax)
	switch {
	case distroFolder.MatchString(string(folder)):
		d.Distro = folder
	case release != "":
		d.Distro = release
	case syntax != nil:
		d.Distro = ashlar.Distro(syntax[1] + "-" + syntax[2])
	default:
		return d.Spec.errorf("cannot tell which distribution this is for").Fix("put it into a folder such as debian-13")
	}
	if release != "" && release != d.Distro {
		d.mismatch = d.Spec.OSRelease.errorf("os-release says %s, but the file is in the folder %s", release, d.Distro).
			Fix("correct one of them")
	}
	return nil
}

// Targets returns what the definition can be expanded for: its distro on each of
// its platforms, in the order that it lists them.
func (d *Definition) Targets() []ashlar.Target {
	var targets []ashlar.Target
	for _, p := range d.Spec.Platforms {
		targets = append(targets, ashlar.Target{Distro: d.Distro, Arch: ashlar.Arch(path.Base(p))})
	}
	return targets
}

// readBounded reads a regular file below root that is not larger than limit.
func readBounded(r *os.Root, root, name string, limit int64) ([]byte, error) {
	f, err := openRegular(r, root, name, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		return nil, fault.New(fault.Unavailable, "cannot read: %w", err).At(filepath.Join(root, name), 0)
	case int64(len(b)) > limit:
		return nil, tooLarge(root, name, limit)
	}
	return b, nil
}

// openRegular opens a regular file below root. It follows no link out of the
// root and does not wait for a pipe.
func openRegular(r *os.Root, root, name string, limit int64) (*os.File, error) {
	shown := filepath.Join(root, name)
	if !fs.ValidPath(name) {
		return nil, fault.New(fault.Invalid, "%q is no path within the catalog", name).Fix("write it relative to the catalog's root, without \"..\"")
	}
	f, err := r.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.NotFound, "no such file in the catalog").At(shown, 0)
	case err != nil:
		return nil, fault.New(fault.Invalid, "cannot open: %w", err).At(shown, 0)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fault.New(fault.Unavailable, "cannot open: %w", err).At(shown, 0)
	case !info.Mode().IsRegular():
		err = fault.New(fault.Invalid, "not a regular file").At(shown, 0)
	case info.Size() > limit:
		err = tooLarge(root, name, limit)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func tooLarge(root, name string, limit int64) error {
	return fault.New(fault.Invalid, "file is larger than %d bytes", limit).At(filepath.Join(root, name), 0)
}
