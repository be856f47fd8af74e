package work

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/repo"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/sign"
	"github.com/ashlar-project/ashlar/internal/source"
)

// A Config says where a shop keeps its things and what it may do.
type Config struct {
	Dir     string          // the state folder
	Mirrors *source.Mirrors // where files come from
	Offline bool            // fetch nothing
	MaxAge  time.Duration   // how old a signed index may be before it is asked for again
	Plans   build.Policy    // what a plan may contain
	Publish attest.Policy   // what may be published

	// Engine and Signer connect when they are first needed.
	Engine func(ctx context.Context) (*engine.Client, error)
	Signer func(ctx context.Context) (*sign.Conn, error)

	Now    func() time.Time
	Report func(Event) // told of everything that is under way; called one at a time
}

// A Shop is a state folder with the doors to the outside that its work needs.
// Its methods may be called concurrently.
type Shop struct {
	Config
	Store   *blob.Dir
	Fetcher *source.Fetcher
	Archive *archive.Archive

	mu     sync.Mutex // guards what follows, and Report
	engine *engine.Client
	signer *sign.Conn
	told   map[ashlar.Digest]State // what was reported of each vertex
}

// Open returns the shop of a state folder, which it makes if it is not there.
func Open(cfg Config) (*Shop, error) {
	abs, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fault.New(fault.Invalid, "state folder: %w", err)
	}
	cfg.Dir = abs
	if err := durable.MkdirAll(cfg.Dir, 0o755); err != nil {
		return nil, fault.New(fault.Denied, "make the state folder: %w", err).At(cfg.Dir, 0).Fix("name one that you may write with --state or $ASHLAR_STATE")
	}
	store, err := blob.NewDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Shop{Config: cfg, Store: store}
	s.Fetcher = &source.Fetcher{Mirrors: cfg.Mirrors, Store: store, Offline: cfg.Offline, TempDir: s.path("tmp")}
	s.Archive = archive.Open(archive.Config{Fetcher: s.Fetcher, Dir: s.path("indexes"), MaxAge: cfg.MaxAge})
	if err := durable.MkdirAll(s.path("tmp"), 0o700); err != nil {
		return nil, err
	}
	return s, nil
}

// path returns a path in the state folder.
func (s *Shop) path(elem ...string) string {
	return filepath.Join(append([]string{s.Dir}, elem...)...)
}

// Close ends the connections.
func (s *Shop) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.engine != nil {
		err = s.engine.Close()
	}
	if s.signer != nil {
		if e := s.signer.Close(); err == nil {
			err = e
		}
	}
	s.engine, s.signer = nil, nil
	return err
}

// connect returns the engine, connecting to it the first time.
func (s *Shop) connect(ctx context.Context) (*engine.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.engine == nil {
		c, err := s.Engine(ctx)
		if err != nil {
			return nil, err
		}
		s.engine = c
	}
	return s.engine, nil
}

// keys returns the signer, starting it the first time and when the one before is
// gone: a server runs for months.
func (s *Shop) keys(ctx context.Context) (*sign.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signer == nil || s.signer.Broken() {
		c, err := s.Signer(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		s.signer = c
	}
	return s.signer, nil
}

// KeysDir is where the keys are: the public ones for everybody, the private ones
// for the signer alone.
func (s *Shop) KeysDir() string { return s.path("keys") }

// RepoDir is the root of the published repositories.
func (s *Shop) RepoDir() string { return s.path("repo") }

// Repo returns the repositories, signed by the shop's signer.
func (s *Shop) Repo(base string) (*repo.Repo, error) {
	var ring pgp.Keyring
	switch pub, err := sign.ReadPublic(s.KeysDir()); {
	case fault.Is(err, fault.NotFound): // nothing can have been signed yet
	case err != nil:
		return nil, err
	default:
		if ring, err = pgp.ReadKeyring(bytes.NewReader(pub.Repository)); err != nil {
			return nil, err
		}
	}
	return repo.Open(repo.Config{Root: s.RepoDir(), Blobs: s.Store, Signer: releaseSigner{s}, Keyring: ring, Newest: shelf.Memory(s.path("published")), BaseURL: base})
}

// APKRepo returns the repositories for apk, signed by the shop's signer.
func (s *Shop) APKRepo() (*apkrepo.Repo, error) {
	cfg := apkrepo.Config{Root: s.RepoDir(), Blobs: s.Store, Signer: apkSigner{s}, Newest: shelf.Memory(s.path("published-apk"))}
	switch pub, err := sign.ReadPublic(s.KeysDir()); {
	case err == nil:
		if cfg.Keys, err = apkrepo.KeysOf(pub); err != nil {
			return nil, err
		}
	case !fault.Is(err, fault.NotFound): // without keys the repositories can be read
		return nil, err
	}
	return apkrepo.Open(cfg)
}

// An apkSigner starts the signer when something is to be signed.
type apkSigner struct{ *Shop }

func (a apkSigner) SignAPKIndexes(ctx context.Context, dir string, state intoto.APKIndex) (*sign.APKIndexSignatures, error) {
	c, err := a.keys(ctx)
	if err != nil {
		return nil, err
	}
	return c.SignAPKIndexes(ctx, dir, state)
}

func (a apkSigner) SignAPKKeys(ctx context.Context, now time.Time) ([]byte, error) {
	c, err := a.keys(ctx)
	if err != nil {
		return nil, err
	}
	return c.SignAPKKeys(ctx, now)
}

// A releaseSigner starts the signer when something is to be signed.
type releaseSigner struct{ *Shop }

func (r releaseSigner) SignReleases(ctx context.Context, dir string, releases [][]byte, now time.Time) ([]pgp.Signed, error) {
	k, err := r.keys(ctx)
	if err != nil {
		return nil, err
	}
	return k.SignReleases(ctx, dir, releases, now)
}

// report tells of an event.
func (s *Shop) report(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Report != nil {
		s.Report(e)
	}
}

// stage reports the beginning of a stage and returns the function that reports
// its end.
func (s *Shop) stage(subject, stage string) func(detail string, cached bool, err error) {
	begun := s.Now()
	s.report(Event{Subject: subject, Stage: stage, State: Begun})
	return func(detail string, cached bool, err error) {
		e := Event{Subject: subject, Stage: stage, State: Ended, Detail: detail, Took: s.Now().Sub(begun)}
		switch {
		case err != nil:
			e.State = Failed
		case cached:
			e.State = Cached
		}
		s.report(e)
	}
}

// runner returns what executes plans for an architecture, reporting steps as of
// the subject.
func (s *Shop) runner(ctx context.Context, subject, stage string, arch ashlar.Arch, vary build.Variation) (*build.Runner, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Runs(ctx, arch); err != nil {
		return nil, fault.Within(err, "%s", subject)
	}
	return &build.Runner{
		Engine: c, Store: s.Store, Scratch: s.path("tmp"), Memo: s.path("bootstrap"), Now: s.Now, Vary: vary,
		Progress: func(e engine.Event) { s.step(subject, stage, e) },
	}, nil
}

// step reports what the engine tells of a step.
func (s *Shop) step(subject, stage string, e engine.Event) {
	w := Event{Subject: subject, Stage: stage, Step: e.Name}
	switch {
	case len(e.Log) > 0:
		return
	case e.Error != "":
		w.State = Failed
	case !e.Completed.IsZero():
		w.State, w.Took = Ended, e.Completed.Sub(e.Started)
		if e.Cached {
			w.State = Cached
		}
	case !e.Started.IsZero():
		w.State = Begun
	default:
		return
	}
	if s.news(e.Vertex, w.State) {
		s.report(w)
	}
}

// news reports whether a vertex is in a state that was not told of: solves that
// share a vertex each tell.
func (s *Shop) news(vertex ashlar.Digest, state State) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told == nil {
		s.told = map[ashlar.Digest]State{}
	}
	if s.told[vertex] == state || state == Begun && s.told[vertex] != "" {
		return false
	}
	s.told[vertex] = state
	return true
}

// A Ref is a definition: a path within a catalog.
type Ref struct {
	Root string // folder of the catalog
	Path string // slash-separated, relative to Root
}

// File returns the path of the definition as a user would write it.
func (r Ref) File() string { return filepath.Join(r.Root, filepath.FromSlash(r.Path)) }

// LockFile returns the path of the lock that may be committed beside the
// definition.
func (r Ref) LockFile(arch ashlar.Arch) string {
	f := r.File()
	return f[:len(f)-len(filepath.Ext(f))] + "." + string(arch) + ".lock.json"
}

// logFile makes the file that receives the live log of a build; the whole log
// of a build that succeeds is in the store as well.
func (s *Shop) logFile(ref Ref, arch ashlar.Arch) (*os.File, error) {
	if err := durable.MkdirAll(s.path("logs"), 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(s.path("logs", ref.slug(arch)+".log"))
	if err != nil {
		return nil, fault.New(fault.Internal, "make the log file: %w", err)
	}
	return f, nil
}
