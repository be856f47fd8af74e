// Package attest turns a build's output and the evidence about it into signed
// statements, and checks such statements for who holds the file. Making has two
// halves: Prepare works everything out from the files and the lock, then each
// statement is signed once.
package attest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The names under which Ashlar builds, one for each level of assurance. Level 3
// says that the signer was out of the builder's reach.
const (
	BuilderL2 = "https://github.com/ashlar-project/ashlar/builder/l2@v1"
	BuilderL3 = "https://github.com/ashlar-project/ashlar/builder/l3@v1"
)

// The build types name the form of the parameters in the provenance of a .deb
// and of an .apk; both are alike.
const (
	BuildTypeDeb = "https://github.com/ashlar-project/ashlar/build/deb@v1"
	BuildTypeApk = "https://github.com/ashlar-project/ashlar/build/apk@v1"
)

// bundleSuffix ends the name of every file of statements.
const bundleSuffix = ".sigstore.json"

// Evidence is everything that is known of one build. The signer reads again, or
// works out again, what it can: see Prepare. The rest is the word of the caller,
// who is the builder: how long steps took and when, the outcome of the tests, the
// verdict of the gate, the executor and its version, the state of the catalog with
// the files beside the definition, the lock's notes, what a checksum file said, and
// which tree a git commit has.
type Evidence struct {
	Definition Definition      `json:"definition"`
	Lock       *ashlar.Lock    `json:"lock"`
	Result     *ashlar.Result  `json:"result"`
	Gate       *ashlar.Verdict `json:"gate,omitempty"` // nil if the gate did not run
	Invocation string          `json:"invocation,omitempty"`
	Now        time.Time       `json:"now"` // when the statements are made, UTC
	// Summaries are the signed verification summaries of the packages of our own that
	// the lock names, by the digest of the package.
	Summaries map[ashlar.Digest][]byte `json:"summaries,omitempty"`

	// Builder is who vouches. The signer sets it, whatever the caller says.
	Builder Builder `json:"builder"`

	unread map[ashlar.Digest]bool // indexes of the gate that are not in the store
	trust  Trust                  // who signed Summaries

	rootDistro ashlar.Distro // of sources and build roots
}

// A Definition is the text that the build followed, and where it is from.
type Definition struct {
	Path    string  `json:"path"` // within the catalog
	Content []byte  `json:"content"`
	Catalog Catalog `json:"catalog"`
}

// A Catalog is a state of the definitions under version control, as the caller
// tells it. Commit is "" where there is none.
type Catalog struct {
	URI    string `json:"uri,omitempty"`    // without user, query and fragment, since it is published
	Commit string `json:"commit,omitempty"` // full, hexadecimal
	Dirty  bool   `json:"dirty,omitempty"`  // there were changes beside the commit
}

// A Builder is the program that built and that vouches.
type Builder struct {
	ID      string      `json:"id"`                // BuilderL2 or BuilderL3
	Program ashlar.File `json:"program,omitempty"` // its executable
	Version string      `json:"version,omitempty"`
}

// Files opens content by digest. The content must be checked by who reads it. The
// error for content that is not there wraps fs.ErrNotExist.
type Files interface {
	Open(ctx context.Context, d ashlar.Digest) (Content, error)
}

// Content is an opened file.
type Content interface {
	io.Reader
	io.ReaderAt
	io.Closer
	Size() int64
}

// outputName is the form of the names of output files. It has no separator, so
// that no name leads out of a folder.
var outputName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.+~_:-]{0,254}$`)

var commitForm = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// check refuses evidence that contradicts itself, before any file is read.
func (e *Evidence) check() error {
	switch {
	case e.Lock == nil || e.Result == nil:
		return fault.New(fault.Invalid, "evidence without a lock or a result")
	case e.Definition.Path != e.definition().Name && "catalog:"+e.Definition.Path != e.definition().URI:
		return fault.New(fault.Denied, "the lock is of the definition %s, the evidence of %s", e.definition().Name, e.Definition.Path)
	case ashlar.DigestOf(e.Definition.Content) != e.definition().Digest:
		return fault.New(fault.Denied, "the definition is not the one that the lock was made from").
			At(e.Definition.Path, 0).Fix("make the lock again, then build again")
	case !utf8.Valid(e.Definition.Content):
		return fault.New(fault.Invalid, "the definition is not UTF-8 text").At(e.Definition.Path, 0)
	case e.Result.Target != e.Lock.Inputs.Target:
		return fault.New(fault.Denied, "the result is for %s, the lock for %s", e.Result.Target, e.Lock.Inputs.Target)
	case e.Definition.Catalog.Commit != "" && !commitForm.MatchString(e.Definition.Catalog.Commit):
		return fault.New(fault.Invalid, "%q is not a full commit id", e.Definition.Catalog.Commit)
	case e.Builder.ID != BuilderL2 && e.Builder.ID != BuilderL3:
		return fault.New(fault.Invalid, "unknown builder %q", e.Builder.ID)
	}
	if err := e.Definition.Catalog.check(); err != nil {
		return err
	}
	if err := e.Lock.Validate(); err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	lock, err := e.Lock.Digest()
	if err != nil {
		return fault.New(fault.Invalid, "the lock: %w", err)
	}
	if lock != e.Result.Lock {
		return fault.New(fault.Denied, "the result is of another lock: %s, not %s", e.Result.Lock.Short(), lock.Short())
	}
	return e.checkNames()
}

// check refuses an address that says more than where the catalog is. The error
// does not repeat it, since what is too much may be a password.
func (c Catalog) check() error {
	if c.URI == "" {
		return nil
	}
	u, err := url.Parse(c.URI)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil || strings.ContainsAny(c.URI, "?#") {
		return fault.New(fault.Denied, "the address of the catalog is not one of scheme, host and path alone, and it would be published").
			Fix("take user, password, query and fragment out of remote.origin.url of the catalog")
	}
	return nil
}

func (e *Evidence) definition() ashlar.Material { return e.Lock.Inputs.Definition }

// checkNames refuses output names that lead elsewhere, that are there twice, or
// that would take the place of a statement.
func (e *Evidence) checkNames() error {
	seen := map[string]bool{}
	for _, f := range append([]ashlar.File{e.Result.Log}, e.Result.Files...) {
		switch {
		case f == (ashlar.File{}):
			continue // no log was kept
		case !outputName.MatchString(f.Name):
			return fault.New(fault.Denied, "the build names an output file %q", f.Name).Fix("an output must be a plain file name")
		case seen[f.Name]:
			return fault.New(fault.Denied, "the build names the output file %s twice", f.Name)
		case strings.HasSuffix(f.Name, bundleSuffix):
			return fault.New(fault.Denied, "the build tried to make a statement of its own, %s", f.Name).
				Fix("statements are made outside of the build; remove the file from the definition's steps")
		}
		seen[f.Name] = true
	}
	if len(e.Result.Packages()) == 0 {
		return fault.New(fault.Invalid, "the result holds no package")
	}
	return nil
}

// checkFiles recomputes the digest of every output and of every pinned input,
// and reads the control file of every package.
func (e *Evidence) checkFiles(ctx context.Context, files Files) (*verifiedSet, error) {
	set := &verifiedSet{packages: map[string]builtPackage{}, documents: map[string]documents{}}
	for _, f := range append([]ashlar.File{e.Result.Log}, e.Result.Files...) {
		if f == (ashlar.File{}) {
			continue
		}
		err := checkContent(ctx, files, f)
		if err != nil {
			return nil, err
		}
		if !isPackage(f.Name) {
			continue
		}
		if err := set.readPackage(ctx, files, f, e.Lock.Inputs.Target.Distro); err != nil {
			return nil, err
		}
	}
	for _, m := range e.Lock.Materials() {
		if m == e.definition() {
			continue // its content is in the evidence
		}
		if err := checkContent(ctx, files, ashlar.File{Name: m.Name, Digest: m.Digest, Size: m.Size}); err != nil {
			return nil, err
		}
	}
	for _, t := range e.Lock.Fetched {
		if err := checkContent(ctx, files, ashlar.File{Name: t.Name, Digest: t.Digest, Size: t.Size}); err != nil {
			return nil, err
		}
	}
	if err := e.checkUnsigned(ctx, files); err != nil {
		return nil, err
	}
	return set, e.checkIndexes(ctx, files)
}

// checkUnsigned checks that signing changed nothing of a package but its signatures.
func (e *Evidence) checkUnsigned(ctx context.Context, files Files) error {
	signed := map[string]ashlar.File{}
	for _, f := range e.Result.Files {
		signed[f.Name] = f
	}
	for _, f := range e.Result.Unsigned {
		if err := checkContent(ctx, files, f); err != nil {
			return err
		}
		of, is := signed[f.Name]
		if !is {
			return fault.New(fault.Denied, "the result says what %s was before it was signed, and does not have it", f.Name)
		}
		was, err := openFile(ctx, files, f)
		if err != nil {
			return err
		}
		defer was.Close()
		now, err := openFile(ctx, files, of)
		if err != nil {
			return err
		}
		defer now.Close()
		if same, err := SameContent(was, now); err != nil {
			return fault.New(fault.KindOf(err), "%w", err).At(f.Name, 0)
		} else if !same {
			return fault.New(fault.Denied, "%s is not the package that was built: more than its signatures differ", f.Name)
		}
	}
	return nil
}

// checkIndexes recomputes the digests of the signed indexes of lock and gate. Those of
// the lock must be in the store, since what it says rests on them; one of the gate that
// is not is remembered as unread.
func (e *Evidence) checkIndexes(ctx context.Context, files Files) error {
	for _, x := range e.Lock.Inputs.Indexes {
		if err := checkContent(ctx, files, ashlar.File{Name: x.URI, Digest: x.Digest}); err != nil {
			return err
		}
	}
	e.unread = map[ashlar.Digest]bool{}
	if e.Gate == nil {
		return nil
	}
	for _, x := range e.Gate.Indexes {
		err := checkContent(ctx, files, ashlar.File{Name: x.URI, Digest: x.Digest})
		if errors.Is(err, fs.ErrNotExist) {
			e.unread[x.Digest] = true
		} else if err != nil {
			return err
		}
	}
	return nil
}

// checkContent reads a file whole and compares digest and size; a size of 0 is
// not known.
func checkContent(ctx context.Context, files Files, f ashlar.File) error {
	content, err := openFile(ctx, files, f)
	if err != nil {
		return err
	}
	defer content.Close()
	h := sha256.New()
	n, err := io.Copy(h, content)
	if err != nil {
		return fault.New(fault.Denied, "read %s: %w", f.Name, err)
	}
	got := ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	if got != f.Digest || f.Size != 0 && n != f.Size {
		return fault.New(fault.Denied, "%s was changed after it was recorded: its SHA-256 is %s, not %s", f.Name, got.Short(), f.Digest.Short()).
			Fix("build again, and find out who can write to the store")
	}
	return ctx.Err()
}

func openFile(ctx context.Context, files Files, f ashlar.File) (Content, error) {
	if err := f.Digest.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "%s: %w", f.Name, err)
	}
	content, err := files.Open(ctx, f.Digest)
	if err != nil {
		return nil, fault.New(fault.Denied, "%s cannot be read again, and nothing is signed unseen: %w", f.Name, err)
	}
	return content, nil
}
