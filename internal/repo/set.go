package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5" // the Files field of Sources is made of it; Checksums-Sha256 beside it is what counts
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// A SourceSet is everything that the build of one source package made for one
// architecture. It is published as a whole or not at all. The content of every
// file is in the repository's blob store.
type SourceSet struct {
	Arch ashlar.Arch
	// Files are the binary packages, the .dsc with the files it lists, the
	// .buildinfo, and the .changes that names them all.
	Files []ashlar.File
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
	name, version string
	dir           string // its folder in the pool, below the tier
	source        entry  // stanza of Sources; no body if the source is not in this set
	needsAll      bool   // it relies on another set for its packages of architecture all
	binaries      []*binaryPackage
}

const maxControlFile = 4 << 20 // bytes of a .dsc or .changes

var fileForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9+.~_:=@%,-]{0,254}$`)

// readSets reads the source sets, several at a time.
func readSets(ctx context.Context, blobs shelf.Blobs, sets []SourceSet) ([]*set, error) {
	loaded := make([]*set, len(sets))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(shelf.Workers())
	for i, s := range sets {
		g.Go(func() error {
			var err error
			loaded[i], err = readSet(ctx, blobs, s)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return loaded, onePerSource(loaded)
}

// onePerSource refuses two sets of one source and architecture, and two files of
// one name.
func onePerSource(sets []*set) error {
	seen := map[string]string{}
	files := map[string]ashlar.Digest{} // by path in the pool
	for _, s := range sets {
		for _, f := range s.Files {
			at := path.Join(s.dir, f.Name)
			if other, twice := files[at]; twice && other != f.Digest {
				return fault.New(fault.Conflict, "two source sets bring it, with digests %s and %s", other, f.Digest).At(f.Name, 0).
					Fix("build both from one and the same source package")
			}
			files[at] = f.Digest
		}
		key := s.name + " " + string(s.Arch)
		if other, twice := seen[key]; twice {
			return fault.New(fault.Invalid, "source %s is to be published twice for %s: %s and %s", s.name, s.Arch, other, s.version).
				Fix("publish the newer one")
		}
		seen[key] = s.version
	}
	return nil
}

// readSet reads one source set and checks that it is whole.
func readSet(ctx context.Context, blobs shelf.Blobs, from SourceSet) (*set, error) {
	s := &set{SourceSet: from}
	files := map[string]ashlar.File{}
	var changesName string
	for _, f := range slices.Concat(from.Files, from.Bundles) {
		if !fileForm.MatchString(f.Name) {
			return nil, fault.New(fault.Invalid, "%q is not a name for a file in a pool", f.Name)
		}
		if _, twice := files[f.Name]; twice {
			return nil, fault.New(fault.Invalid, "%s is in the source set twice", f.Name)
		}
		files[f.Name] = f
		if path.Ext(f.Name) == ".changes" {
			if changesName != "" {
				return nil, fault.New(fault.Invalid, "the source set has two .changes files: %s and %s", changesName, f.Name)
			}
			changesName = f.Name
		}
	}
	if changesName == "" {
		return nil, fault.New(fault.Policy, "the source set has no .changes file, so nothing says what belongs to it").
			Fix("publish all that the build made, with its .changes")
	}
	changes, err := readControl(ctx, blobs, files[changesName])
	if err != nil {
		return nil, err
	}
	if err := s.identify(changes, changesName); err != nil {
		return nil, err
	}
	if err := s.readSource(ctx, blobs, changes); err != nil {
		return nil, err
	}
	if err := s.complete(changes, changesName, files); err != nil {
		return nil, err
	}
	if err := s.readRest(ctx, blobs); err != nil {
		return nil, err
	}
	return s, s.readBinaries(ctx, blobs)
}

// readRest checks the content of the files that nothing else reads.
func (s *set) readRest(ctx context.Context, blobs shelf.Blobs) error {
	for i, f := range slices.Concat(s.Files, s.Bundles) {
		if i < len(s.Files) && isBinary(f.Name) {
			continue // readBinaries does it
		}
		b, err := shelf.OpenVerified(ctx, blobs, f)
		if err != nil {
			return err
		}
		b.Close()
	}
	return nil
}

// readControl reads a control file, with or without a signature around it.
func readControl(ctx context.Context, blobs shelf.Blobs, f ashlar.File) (deb.Paragraph, error) {
	b, err := readSmall(ctx, blobs, f)
	if err != nil {
		return deb.Paragraph{}, err
	}
	plain, _, err := pgp.Unwrap(b)
	if err != nil {
		return deb.Paragraph{}, fault.New(fault.Invalid, "%w", err).At(f.Name, 0)
	}
	p, err := deb.ParseParagraph(plain)
	if err != nil {
		return p, fault.New(fault.Invalid, "%w", err).At(f.Name, 0)
	}
	return p, nil
}

func readSmall(ctx context.Context, blobs shelf.Blobs, f ashlar.File) ([]byte, error) {
	if f.Size > maxControlFile {
		return nil, fault.New(fault.Invalid, "%d bytes, at most %d are read", f.Size, maxControlFile).At(f.Name, 0)
	}
	b, err := shelf.OpenVerified(ctx, blobs, f)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
}

// identify takes the name and version of the source from the .changes.
func (s *set) identify(changes deb.Paragraph, file string) error {
	s.name, _, _ = strings.Cut(changes.Get("Source"), " ")
	s.version = changes.Get("Version")
	if !fileForm.MatchString(s.name) {
		return fault.New(fault.Invalid, "%q is not the name of a source package", s.name).At(file, changes.Line("Source"))
	}
	if err := deb.ValidateVersion(s.version); err != nil {
		return fault.New(fault.Invalid, "%w", err).At(file, changes.Line("Version"))
	}
	// A binNMU's version differs from its source's: "Source: bzip2 (1.0.8-5)".
	if _, v, ok := strings.Cut(changes.Get("Source"), "("); ok {
		s.version = strings.TrimSuffix(v, ")")
	}
	s.dir = poolDir(s.name)
	return nil
}

// poolDir returns the folder of a source package in the pool, below the tier.
func poolDir(source string) string {
	prefix := source[:1]
	if strings.HasPrefix(source, "lib") && len(source) > 3 {
		prefix = source[:4]
	}
	return path.Join("pool", component, prefix, source)
}

// readSource reads the .dsc and makes its stanza of Sources. It checks that the
// files of the source are there, and every binary package that the .dsc wants
// for the architecture.
func (s *set) readSource(ctx context.Context, blobs shelf.Blobs, changes deb.Paragraph) error {
	i := slices.IndexFunc(s.Files, func(f ashlar.File) bool { return path.Ext(f.Name) == ".dsc" })
	if i < 0 {
		return nil // Publish checks that it was published before
	}
	file := s.Files[i]
	b, err := readSmall(ctx, blobs, file)
	if err != nil {
		return err
	}
	plain, _, err := pgp.Unwrap(b)
	if err != nil {
		return fault.New(fault.Invalid, "%w", err).At(file.Name, 0)
	}
	dsc, err := deb.ParseParagraph(plain)
	if err != nil {
		return fault.New(fault.Invalid, "%w", err).At(file.Name, 0)
	}
	src, err := deb.ParseSource(dsc)
	if err != nil {
		return fault.New(fault.Invalid, "%w", err).At(file.Name, 0)
	}
	if src.Name != s.name || src.Version != s.version {
		return fault.New(fault.Invalid, "it is source %s %s, the .changes says %s %s", src.Name, src.Version, s.name, s.version).At(file.Name, 0)
	}
	s.source = sourceEntry(dsc, src, file, md5.Sum(b), s.dir)
	names, needsAll := wanted(dsc, changes, s.Arch)
	s.needsAll = needsAll
	return s.lacks(names, src.Files)
}

// lacks refuses a set that lacks a binary package or a file of the source.
func (s *set) lacks(binaries []string, files []ashlar.File) error {
	var missing []string
	for _, name := range binaries {
		has := func(f ashlar.File) bool { return strings.HasPrefix(f.Name, name+"_") && isBinary(f.Name) }
		if !slices.ContainsFunc(s.Files, has) {
			missing = append(missing, name)
		}
	}
	for _, want := range files {
		if !slices.Contains(s.Files, want) {
			missing = append(missing, want.Name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fault.New(fault.Policy, "source set %s %s for %s is not whole: missing %s", s.name, s.version, s.Arch, strings.Join(missing, ", ")).
		Fix("publish everything that the build made; all packages of one source go live together")
}

func isBinary(name string) bool {
	ext := path.Ext(name)
	return ext == ".deb" || ext == ".udeb"
}

// wanted returns the binary packages that the .dsc's Package-List names for the
// architecture and the profiles that the build was made with. If there are some
// of architecture all and the build was not asked for them, needsAll is true.
func wanted(dsc, changes deb.Paragraph, arch ashlar.Arch) (names []string, needsAll bool) {
	profiles := strings.Fields(changes.Get("Built-For-Profiles"))
	builtAll := slices.Contains(strings.Fields(changes.Get("Architecture")), string(all))
	for line := range strings.SplitSeq(dsc.Get("Package-List"), "\n") {
		words := strings.Fields(line)
		if len(words) < 4 {
			continue
		}
		arches, formula := "any", ""
		for _, w := range words[4:] {
			if v, ok := strings.CutPrefix(w, "arch="); ok {
				arches = v
			}
			if v, ok := strings.CutPrefix(w, "profile="); ok {
				formula = v
			}
		}
		switch {
		case !profilesHold(formula, profiles):
		case arches == string(all) && !builtAll:
			needsAll = true
		case arches == string(all) || matchArches(arches, arch):
			names = append(names, words[0])
		}
	}
	return names, needsAll
}

// matchArches reports whether one of a comma-separated list of architectures and
// wildcards fits.
func matchArches(list string, arch ashlar.Arch) bool {
	for a := range strings.SplitSeq(list, ",") {
		if deb.MatchArch(a, arch) {
			return true
		}
	}
	return false
}

// profilesHold reports whether a build with the profiles makes a package with
// the restriction, such as "!nodoc" or "!stage1+!nocheck,cross": a plus is an
// and, a comma an or.
func profilesHold(formula string, profiles []string) bool {
	if formula == "" {
		return true
	}
	for alternative := range strings.SplitSeq(formula, ",") {
		holds := true
		for term := range strings.SplitSeq(alternative, "+") {
			name, negated := strings.CutPrefix(term, "!")
			holds = holds && slices.Contains(profiles, name) != negated
		}
		if holds {
			return true
		}
	}
	return false
}

// complete checks that every file which the .changes lists is there with the
// same content.
func (s *set) complete(changes deb.Paragraph, file string, files map[string]ashlar.File) error {
	var list deb.Paragraph // a list of files has the same form in a .changes as in a .dsc
	list.Set("Source", s.name)
	list.Set("Version", s.version)
	list.Set("Checksums-Sha256", changes.Get("Checksums-Sha256"))
	listed, err := deb.ParseSource(list)
	if err != nil {
		return fault.New(fault.Invalid, "%w", err).At(file, 0)
	}
	for _, want := range listed.Files {
		if have, ok := files[want.Name]; ok && have != want {
			return fault.New(fault.Invalid, "%s has digest %s, the .changes says %s", want.Name, have.Digest, want.Digest).At(file, 0)
		}
	}
	for _, f := range s.Files {
		known := func(l ashlar.File) bool { return l.Name == f.Name }
		if isBinary(f.Name) && !slices.ContainsFunc(listed.Files, known) {
			return fault.New(fault.Invalid, "%s is in the source set but not in its .changes", f.Name).At(file, 0)
		}
	}
	return s.lacks(nil, listed.Files)
}

// readBinaries scans the binary packages and checks that they are of this
// source.
func (s *set) readBinaries(ctx context.Context, blobs shelf.Blobs) error {
	for _, f := range s.Files {
		if !isBinary(f.Name) {
			continue
		}
		b, err := scanDeb(ctx, blobs, f, s.dir)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(ashlar.DebFileName(b.pkg.Name, b.pkg.Version, b.pkg.Arch), ".deb") + path.Ext(f.Name)
		switch {
		case name != f.Name:
			return fault.New(fault.Invalid, "the package inside should be called %s", name).At(f.Name, 0)
		case b.pkg.Arch != s.Arch && b.pkg.Arch != all:
			return fault.New(fault.Policy, "it is for %s, the source set for %s", b.pkg.Arch, s.Arch).At(f.Name, 0)
		case b.pkg.Source != s.name || b.pkg.SourceVersion != s.version:
			return fault.New(fault.Policy, "it comes from source %s %s, the source set is %s %s",
				b.pkg.Source, b.pkg.SourceVersion, s.name, s.version).At(f.Name, 0)
		}
		s.binaries = append(s.binaries, b)
	}
	slices.SortFunc(s.binaries, func(a, b *binaryPackage) int { return cmp.Compare(a.pkg.Name, b.pkg.Name) })
	return nil
}

// sourceEntry makes the stanza of Sources out of a .dsc.
func sourceEntry(dsc deb.Paragraph, src *deb.SourcePackage, file ashlar.File, sum [md5.Size]byte, dir string) entry {
	stanza := deb.Paragraph{}
	stanza.Set("Package", src.Name)
	for _, f := range dsc.Fields {
		switch strings.ToLower(f.Name) {
		case "source", "package", "directory", "priority", "section",
			"files", "checksums-sha1", "checksums-sha256", "checksums-sha512":
		default:
			stanza.Set(fieldName(f.Name), f.Value)
		}
	}
	section, priority := sectionOf(dsc)
	stanza.Set("Section", section)
	stanza.Set("Priority", priority)
	stanza.Set("Directory", dir)
	if old := dsc.Get("Files"); old != "" {
		stanza.Set("Files", fmt.Sprintf("\n %s %d %s%s", hex.EncodeToString(sum[:]), file.Size, file.Name, afterBlank(old)))
	}
	stanza.Set("Checksums-Sha256", fmt.Sprintf("\n %s %d %s%s", file.Digest.Hex(), file.Size, file.Name, afterBlank(dsc.Get("Checksums-Sha256"))))
	return entry{name: []byte(src.Name), body: append(stanza.AppendTo(nil), '\n')}
}

// afterBlank returns a list of lines so that it can follow another line.
func afterBlank(list string) string {
	var b bytes.Buffer
	for line := range strings.SplitSeq(list, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			b.WriteString("\n " + line)
		}
	}
	return b.String()
}

// sectionOf returns the section and priority of the first binary package that a
// .dsc lists.
func sectionOf(dsc deb.Paragraph) (section, priority string) {
	for line := range strings.SplitSeq(dsc.Get("Package-List"), "\n") {
		if words := strings.Fields(line); len(words) >= 4 {
			return words[2], words[3]
		}
	}
	return "misc", "optional"
}
