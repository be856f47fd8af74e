package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Record is everything that is known of one build: what went in, what came
// out, what the gate said and what was signed. It lies in a folder of the state
// folder's results, named for the build key, that appears whole or not at all.
type Record struct {
	Definition []byte // the definition's bytes
	Lock       *ashlar.Lock
	Result     *ashlar.Result
	Verdict    *ashlar.Verdict
	// Bundles are the signed statements by file name, such as
	// "bzip2_1.0.8-5+cut12u1_amd64.deb.provenance.sigstore.json". A build that the
	// gate refused has none.
	Bundles map[string][]byte
}

// The files of a record's folder.
const (
	recordDefinition = "definition.yaml"
	recordLock       = "lock.json"
	recordResult     = "result.json"
	recordVerdict    = "verdict.json"
	recordBundles    = "bundles"
)

// save writes the record to results/<key>.
func (s *Shop) save(r *Record) error {
	dir := s.recordDir(r.Result.Key)
	if err := durable.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return fault.New(fault.Internal, "make a folder for the result: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := writeRecord(tmp, r); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fault.New(fault.Internal, "%w", err)
	}
	if err := swap(tmp, dir); err != nil {
		return fault.New(fault.Internal, "keep the result: %w", err)
	}
	if err := durable.SyncDir(filepath.Dir(dir)); err != nil {
		return err
	}
	return s.noteMade(r)
}

// swap gives the folder from the name to in one step, also if another process
// does the same. A folder that has the name, an older record of the same key that
// was built again on request, is called from then.
func swap(from, to string) error {
	for {
		err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		err = unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_EXCHANGE)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

func writeRecord(dir string, r *Record) error {
	lock, err := r.Lock.Encode()
	if err != nil {
		return err
	}
	files := map[string][]byte{recordDefinition: r.Definition, recordLock: lock}
	for name, v := range map[string]any{recordResult: r.Result, recordVerdict: r.Verdict} {
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			return err
		}
		files[name] = append(b, '\n')
	}
	for name, b := range r.Bundles {
		files[filepath.Join(recordBundles, name)] = b
	}
	if err := durable.MkdirAll(filepath.Join(dir, recordBundles), 0o755); err != nil {
		return err
	}
	for name, b := range files {
		if err := durable.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// load reads the record of a build key. It returns fault.NotFound if there is
// none, and fault.Invalid if it cannot be read.
func (s *Shop) load(key ashlar.Digest) (*Record, error) {
	dir := s.recordDir(key)
	r := &Record{Lock: &ashlar.Lock{}, Result: &ashlar.Result{}, Verdict: &ashlar.Verdict{}, Bundles: map[string][]byte{}}
	var err error
	if r.Definition, err = os.ReadFile(filepath.Join(dir, recordDefinition)); errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "no result of build %s", key.Short())
	} else if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	for name, v := range map[string]any{recordLock: r.Lock, recordResult: r.Result, recordVerdict: r.Verdict} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = json.Unmarshal(b, v)
		}
		if err != nil {
			return nil, fault.New(fault.Invalid, "result is damaged: %w", err).At(filepath.Join(dir, name), 0).Fix("delete the folder and build again")
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, recordBundles))
	if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	for _, e := range entries {
		if r.Bundles[e.Name()], err = os.ReadFile(filepath.Join(dir, recordBundles, e.Name())); err != nil {
			return nil, fault.New(fault.Internal, "%w", err)
		}
	}
	return r, nil
}

func (s *Shop) recordDir(key ashlar.Digest) string {
	return filepath.Join(s.Dir, "results", key.Hex())
}

// setLatest remembers the key of the newest result of a definition for an
// architecture.
func (s *Shop) setLatest(ref Ref, arch ashlar.Arch, key ashlar.Digest) error {
	p := s.path("latest", ref.slug(arch))
	if err := durable.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(p, []byte(key), 0o644)
}

// Latest returns the newest record of a definition for an architecture, or
// fault.NotFound.
func (s *Shop) Latest(ref Ref, arch ashlar.Arch) (*Record, error) {
	b, err := os.ReadFile(s.path("latest", ref.slug(arch)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "%s was not built for %s", ref.File(), arch).Fix("run: ashlar build %s", ref.File())
	} else if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	return s.load(ashlar.Digest(b))
}

// slug returns a file name for what is kept about a definition. Catalogs at
// different places may have definitions at the same path.
func (r Ref) slug(arch ashlar.Arch) string {
	return strings.ReplaceAll(strings.TrimSuffix(r.Path, filepath.Ext(r.Path)), "/", "~") + r.suffix(arch)
}

// suffix ends the slugs of all definitions of the catalog.
func (r Ref) suffix(arch ashlar.Arch) string {
	root, err := filepath.Abs(r.Root)
	if err != nil {
		root = r.Root
	}
	return fmt.Sprintf("@%s.%s", ashlar.DigestOf([]byte(root)).Short(), arch)
}
