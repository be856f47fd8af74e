package attest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/source"
)

// A Desk is what the signer works with: the files of the builder's store, of which it
// believes none, and keyrings of its own.
type Desk struct {
	files   Files
	store   blob.Store
	archive *archive.Archive
	program ashlar.File
	version string
}

// NewDesk returns a desk. Program is the builder's executable, version its version.
// Of the archive's configuration it uses the keyrings, the suites, and Dir, a folder
// that nobody else can write to; it never fetches anything.
func NewDesk(files Files, program ashlar.File, version string, cfg archive.Config) *Desk {
	store := rereading{files}
	cfg.Fetcher = &source.Fetcher{Mirrors: &source.Mirrors{}, Store: store, Offline: true}
	return &Desk{files: files, store: store, archive: archive.Open(cfg), program: program, version: version}
}

// checkLock works out again what the lock says, and refuses with fault.Denied one that
// says more than the signer finds. It looks into the signed indexes that the lock names,
// which must be in the store and whose signatures it checks itself. What it cannot work
// out without catalog and network it takes from the lock: the bytes beside the
// definition, the digest that a checksum file gave, and the tree of a git commit.
func (e *Evidence) checkLock(ctx context.Context, d *Desk, def *catalog.Expanded) error {
	past, err := d.archive.Past(ctx, e.Lock.Inputs.Indexes, e.Now, false)
	if err != nil {
		return err
	}
	found, err := resolve.Verify(ctx, e.Lock, def, resolve.World{
		Fetcher: lockedFetcher{e.Lock, d.store}, Store: d.store, Beside: lockedBeside{e.Lock, d.store}, Now: e.Now, Vouch: e.vouch,
	}, past)
	if err != nil {
		return err
	}
	return sameFindings(e.Lock, found)
}

// sameFindings refuses a lock that says otherwise than what was found.
func sameFindings(lock, found *ashlar.Lock) error {
	for i, b := range found.Inputs.Builds {
		for j, is := range b.Sources {
			was := lock.Inputs.Builds[i].Sources[j]
			if was.Anchor.Kind != is.Anchor.Kind || was.Anchor.By != is.Anchor.By || !slices.Equal(was.Anchor.Signers, is.Anchor.Signers) {
				return fault.New(fault.Denied, "the lock says that %s vouches for %s; the signer finds %s", who(was.Anchor), is.Name, who(is.Anchor)).
					Fix("build again; if it stays, make the lock again")
			}
		}
	}
	same := func(a, b ashlar.Index) bool {
		return a.URI == b.URI && a.Digest == b.Digest && a.Date == b.Date && slices.Equal(a.Signers, b.Signers)
	}
	if !slices.EqualFunc(lock.Inputs.Indexes, found.Inputs.Indexes, same) {
		return fault.New(fault.Denied, "the lock names signed indexes whose signatures or dates the signer does not find so").
			Fix("build again; if it stays, make the lock again")
	}
	return nil
}

// who says in words who vouches for a source.
func who(a ashlar.Anchor) string {
	words := []string{string(a.Kind)}
	if a.By != "" {
		words = append(words, a.By)
	}
	return strings.Join(append(words, a.Signers...), " ")
}

// maxReread bounds the bytes of a file that is read into memory.
const maxReread = 1 << 30

// A rereading store reads files whole and checks their digests each time, so that
// nobody can change them between the check and the use. Nothing can be put into it.
type rereading struct{ files Files }

func (r rereading) Put(context.Context, io.Reader, ashlar.Digest) (ashlar.File, error) {
	return ashlar.File{}, fault.New(fault.Internal, "the signer stores nothing")
}

func (r rereading) Open(ctx context.Context, d ashlar.Digest) (blob.Blob, error) {
	content, err := r.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	if content.Size() > maxReread {
		return nil, fault.New(fault.Invalid, "the content %s has more than %d bytes", d.Short(), maxReread)
	}
	b := make([]byte, content.Size())
	if _, err := io.ReadFull(content, b); err != nil {
		return nil, fault.New(fault.Denied, "read the content %s: %w", d.Short(), err)
	}
	if ashlar.DigestOf(b) != d {
		return nil, fault.New(fault.Denied, "the content %s was changed after it was recorded", d.Short()).Fix("build again, and find out who can write to the store")
	}
	return inMemory{bytes.NewReader(b)}, nil
}

func (r rereading) Stat(ctx context.Context, d ashlar.Digest) (int64, error) {
	content, err := r.open(ctx, d)
	if err != nil {
		return 0, err
	}
	return content.Size(), content.Close()
}

func (r rereading) open(ctx context.Context, d ashlar.Digest) (Content, error) {
	content, err := r.files.Open(ctx, d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	return content, err
}

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// A lockedFetcher knows what a lock pins and fetches nothing.
type lockedFetcher struct {
	lock  *ashlar.Lock
	store blob.Store
}

// find returns the first source of the lock for which f is true, nil if there is none.
func (l lockedFetcher) find(f func(*ashlar.Source) bool) *ashlar.Source {
	for _, b := range l.lock.Inputs.Builds {
		for i := range b.Sources {
			if f(&b.Sources[i]) {
				return &b.Sources[i]
			}
		}
	}
	return nil
}

func (l lockedFetcher) Fetch(ctx context.Context, req source.Request) (ashlar.Material, error) {
	m := ashlar.Material{Name: req.Name, URI: l.Alias(req.URI), Digest: req.Digest}
	if m.Name == "" {
		m.Name = source.FileName(req.URI)
	}
	var err error
	m.Size, err = l.store.Stat(ctx, req.Digest)
	return m, err
}

func (l lockedFetcher) FetchChecksum(_ context.Context, uri, name string) (ashlar.Digest, ashlar.Material, error) {
	s := l.find(func(s *ashlar.Source) bool {
		return s.Anchor.Kind == ashlar.AnchoredByChecksum && standsFor(s.Anchor.By, uri) && source.FileName(s.URI) == name
	})
	if s == nil {
		return "", ashlar.Material{}, fault.New(fault.Conflict, "the lock names no file %s by the checksums of %s", name, uri)
	}
	return s.Digest, ashlar.Material{URI: s.Anchor.By}, nil
}

func (l lockedFetcher) Git(_ context.Context, uri, commit string) (ashlar.Material, error) {
	repository, fragment, _ := strings.Cut(uri, "#")
	if commit == "" {
		commit = fragment
	}
	s := l.find(func(s *ashlar.Source) bool { return s.Tree && s.URI == repository+"#"+commit })
	if s == nil {
		return ashlar.Material{}, fault.New(fault.Conflict, "the lock names no tree of %s", uri)
	}
	return s.Material, nil
}

func (l lockedFetcher) Exists(context.Context, string) (bool, error) { return false, nil }

// Alias returns the address under which the lock has another. The signer does not know
// the builder's mirrors: the path below a mirror must be the end of the address.
func (l lockedFetcher) Alias(uri string) string {
	if s := l.find(func(s *ashlar.Source) bool { return standsFor(s.URI, uri) }); s != nil {
		return s.URI
	}
	return uri
}

// standsFor reports whether a lock may have an address for another.
func standsFor(locked, uri string) bool {
	_, path, _ := strings.Cut(strings.TrimPrefix(locked, "mirror://"), "/")
	return locked == uri || strings.HasPrefix(locked, "mirror://") && path != "" && strings.HasPrefix(uri, "http") && strings.HasSuffix(uri, "/"+path)
}

// besideScheme begins the addresses of files beside a definition.
const besideScheme = "catalog:"

// lockedBeside are the files beside a definition as a lock pins them.
type lockedBeside struct {
	lock  *ashlar.Lock
	store blob.Store
}

func (l lockedBeside) Open(name string) (io.ReadCloser, error) {
	for _, b := range l.lock.Inputs.Builds {
		for _, s := range b.Sources {
			if s.URI == besideScheme+name {
				return l.store.Open(context.Background(), s.Digest)
			}
		}
	}
	return nil, fault.New(fault.Conflict, "the lock names no file %s", name)
}

func (l lockedBeside) Files(name string) ([]string, error) {
	var files []string
	for _, b := range l.lock.Inputs.Builds {
		for _, s := range b.Sources {
			file, is := strings.CutPrefix(s.URI, besideScheme)
			if is && (file == name || strings.HasPrefix(file, name+"/")) && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}
