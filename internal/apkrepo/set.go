package apkrepo

import (
	"cmp"
	"context"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A SourceSet is everything that the build of one source package made for one
// architecture. It is published as a whole or not at all. The content of every
// file is in the blob store of the repositories.
type SourceSet struct {
	Arch string // in apk's words, "x86_64"
	// Packages are signed .apk files, of v2, of v3, or each package in both. They
	// are named as they will be published: see FileNameV3. All are of one origin
	// and one version.
	Packages []ashlar.File
	// Bundles are attestations. They are served beside the file whose name they
	// begin with, and the only files that may be replaced: a new signature over
	// the same claim.
	Bundles []ashlar.File
	// Lock, if there is one, is kept with every file that it names.
	Lock *ashlar.Lock
}

// A set is a SourceSet that was read and found whole.
type set struct {
	SourceSet
	origin, version string
	packages        []*binary
}

// A binary is a package that was read.
type binary struct {
	file   ashlar.File
	format string // formatV2 or formatV3
	info   apk.Info
	v2     apk.IndexEntry // of a package of v2
	v3     apk.V3IndexEntry
}

// The generations of the format.
const (
	formatV2 = "v2"
	formatV3 = "v3"
)

var fileForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.~_:=@%,-]{0,254}$`)

// readSets reads source sets, several packages at a time.
func readSets(ctx context.Context, blobs shelf.Blobs, keys Keys, sets []SourceSet) ([]*set, error) {
	loaded := make([]*set, len(sets))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(shelf.Workers())
	for i, from := range sets {
		s := &set{SourceSet: from, packages: make([]*binary, len(from.Packages))}
		loaded[i] = s
		if err := s.checkNames(); err != nil {
			return nil, err
		}
		for j, f := range from.Packages {
			g.Go(func() (err error) {
				s.packages[j], err = readPackage(ctx, blobs, keys, f, s.Arch)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return loaded, checkSets(loaded)
}

// checkSets checks each set and refuses two of one source and architecture.
func checkSets(sets []*set) error {
	seen := map[[2]string]bool{}
	for _, s := range sets {
		if err := s.check(); err != nil {
			return err
		}
		key := [2]string{s.Arch, s.origin}
		if seen[key] {
			return fault.New(fault.Invalid, "source %s is to be published twice for %s", s.origin, s.Arch).Fix("publish the newer one")
		}
		seen[key] = true
	}
	return nil
}

// checkNames checks what can be checked before anything is read.
func (s *set) checkNames() error {
	if err := checkArch(s.Arch); err != nil {
		return err
	}
	if len(s.Packages) == 0 {
		return fault.New(fault.Policy, "the source set has no package").Fix("publish all that the build made")
	}
	seen := map[string]bool{}
	for _, f := range slices.Concat(s.Packages, s.Bundles) {
		if !fileForm.MatchString(f.Name) {
			return fault.New(fault.Invalid, "%q is not a name for a file in a repository", f.Name)
		}
		if seen[f.Name] {
			return fault.New(fault.Invalid, "%s is in the source set twice", f.Name)
		}
		seen[f.Name] = true
	}
	for _, f := range s.Packages {
		if path.Ext(f.Name) != ".apk" {
			return fault.New(fault.Invalid, "a package must be called .apk").At(f.Name, 0)
		}
	}
	for _, f := range s.Bundles {
		about := func(p ashlar.File) bool { return strings.HasPrefix(f.Name, p.Name+".") }
		if !slices.ContainsFunc(s.Packages, about) || path.Ext(f.Name) != ".json" {
			return fault.New(fault.Invalid, "it is no statement about a package of the source set").At(f.Name, 0).
				Fix("call it PACKAGE.apk.KIND.sigstore.json")
		}
	}
	return nil
}

// check wants the packages to be of one source and version, each there in the same
// formats.
func (s *set) check() error {
	s.origin, s.version = s.packages[0].origin(), s.packages[0].info.Version
	names := map[string]*binary{} // the first of each name
	count := map[string]int{}     // of each format
	for _, b := range s.packages {
		if b.origin() != s.origin || b.info.Version != s.version {
			return fault.New(fault.Policy, "it comes from source %s %s, others of the source set from %s %s", b.origin(), b.info.Version, s.origin, s.version).
				At(b.file.Name, 0).Fix("publish what one build made")
		}
		count[b.format]++
		first, twice := names[b.info.Name]
		if !twice {
			names[b.info.Name] = b
			continue
		}
		if first.format == b.format {
			return fault.New(fault.Invalid, "the source set has it twice, also as %s", first.file.Name).At(b.file.Name, 0)
		}
		if why := differ(&first.info, &b.info); why != "" {
			return fault.New(fault.Policy, "%s says of its %s something else than it does", first.file.Name, why).At(b.file.Name, 0).
				Fix("pack both formats of one package from the same files")
		}
	}
	for format, n := range count {
		if n != len(names) {
			return fault.New(fault.Policy, "source set %s %s for %s has %d packages, and only %d in format %s", s.origin, s.version, s.Arch, len(names), n, format).
				Fix("pack all of them in the same formats")
		}
	}
	return nil
}

// origin returns the name of the source package.
func (b *binary) origin() string { return cmp.Or(b.info.Origin, b.info.Name) }

// differ says in what, that matters to a client's choice, two forms of a package
// differ, "" if in nothing.
func differ(a, b *apk.Info) string {
	words := func(deps []apk.Dependency) string {
		list := strings.Fields(apk.FormatDependencies(deps))
		slices.Sort(list)
		return strings.Join(slices.Compact(list), " ")
	}
	switch {
	case a.Arch != b.Arch:
		return "architecture"
	case words(a.Depends) != words(b.Depends):
		return "dependencies"
	case words(a.Provides) != words(b.Provides):
		return "provides"
	case words(a.InstallIf) != words(b.InstallIf):
		return "install_if"
	}
	return ""
}

// readPackage reads a package, which must be signed by one of the keys, to its end
// and checks it.
func readPackage(ctx context.Context, blobs shelf.Blobs, keys Keys, f ashlar.File, arch string) (*binary, error) {
	content, err := shelf.OpenVerified(ctx, blobs, f)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	b, err := scan(content, f, keys)
	if err != nil {
		return nil, err
	}
	if b.info.Arch != arch && b.info.Arch != noarch {
		return nil, fault.New(fault.Policy, "it is for %s, the source set for %s", b.info.Arch, arch).At(f.Name, 0)
	}
	if !fileForm.MatchString(b.origin()) {
		return nil, fault.New(fault.Invalid, "%q is not the name of a source package", b.origin()).At(f.Name, 0)
	}
	want := b.v2.FileName()
	if b.format == formatV3 {
		if want, err = FileNameV3(&b.v3); err != nil {
			return nil, fault.Within(err, "%s", f.Name)
		}
	}
	if f.Name != want {
		return nil, fault.New(fault.Invalid, "the package inside should be called %s", want).At(f.Name, 0)
	}
	return b, nil
}

// scan reads and checks all of a package and its signature.
func scan(content blob.Blob, f ashlar.File, keys Keys) (*binary, error) {
	head := make([]byte, 4)
	if n, err := content.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, fault.New(fault.Internal, "read %s: %w", f.Name, err)
	} else if n < len(head) {
		return nil, fault.New(fault.Invalid, "not a package").At(f.Name, 0)
	}
	read := scanV2
	if apk.IsV3(head) {
		read = scanV3
	}
	b, err := read(io.NewSectionReader(content, 0, content.Size()), f, keys)
	if err == nil {
		err = b.info.Check()
	}
	if err != nil {
		return nil, apk.InFile(err, f.Name)
	}
	b.file = f
	return b, nil
}

// pass goes through the files of a package.
func pass(*apk.Entry, io.Reader) error { return nil }

func scanV2(r io.Reader, f ashlar.File, keys Keys) (*binary, error) {
	ring := keys.V2
	if ring == nil {
		ring = apk.Keyring{} // no key, by which nothing is signed
	}
	p, err := apk.OpenV2(r, ring)
	if err != nil {
		return nil, err
	}
	if err := p.Walk(pass); err != nil {
		return nil, err
	}
	return &binary{format: formatV2, info: p.Info, v2: p.IndexEntry(f.Size), v3: p.V3IndexEntry(f.Size)}, nil
}

func scanV3(r io.Reader, f ashlar.File, keys Keys) (*binary, error) {
	p, err := apk.OpenV3(r, apk.V3Signed(keys.V3...))
	if err != nil {
		return nil, err
	}
	if err := p.Walk(pass); err != nil {
		return nil, err
	}
	return &binary{format: formatV3, info: p.Info, v3: p.IndexEntry(f.Size)}, nil
}
