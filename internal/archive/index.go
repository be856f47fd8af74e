package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

const (
	maxIndex  = 512 << 20           // bytes of a plain index
	textsDir  = "texts"             // of the cache: <hex> and <hex>.table
	keepTexts = 14 * 24 * time.Hour // after their last use
)

// suffixes are the forms of an index in the order of preference: gzip before xz,
// because unpacking xz costs more time than the smaller download saves.
var suffixes = []string{".gz", ".xz", ""}

// index returns the lookup table of an index that the release lists under name
// ("main/binary-amd64/Packages"), fetching and building what is missing.
func (a *Archive) index(ctx context.Context, r *release, name string, k kind, now time.Time) (*table, error) {
	plain, ok := r.content.File(name)
	if !ok || plain.Size > maxIndex {
		return nil, fault.New(fault.NotFound, "it lists no %s of a size that can be read", name).At(r.index.URI, 0).
			Fix("check the components and the architecture")
	}
	defer a.locks.lock(string(plain.Digest))()
	a.mu.Lock()
	t := a.tables[plain.Digest]
	a.mu.Unlock()
	if t != nil {
		return t, nil
	}
	textPath, err := a.cachePath(textsDir, plain.Digest.Hex())
	if err != nil {
		return nil, err
	}
	if t, err = openTable(textPath, plain.Digest, k); err != nil {
		if t, err = a.build(ctx, r, plain, k, now); err != nil {
			return nil, err
		}
	}
	touch(textPath, now)
	a.mu.Lock()
	a.tables[plain.Digest] = t
	a.mu.Unlock()
	return t, nil
}

// build fetches an index and makes text and table in the cache.
func (a *Archive) build(ctx context.Context, r *release, plain ashlar.File, k kind, now time.Time) (*table, error) {
	packed, suffix, err := a.fetchIndex(ctx, r, plain.Name)
	if err != nil {
		return nil, err
	}
	textPath, err := a.cachePath(textsDir, plain.Digest.Hex())
	if err != nil {
		return nil, err
	}
	a.prune(now)
	b, err := a.cfg.Fetcher.Store.Open(ctx, packed.Digest)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	in, err := compress.NewReader("index"+suffix, b, plain.Size)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(packed.URI, 0)
	}
	defer in.Close()
	text, err := unpack(in, plain, textPath)
	if err != nil {
		return nil, fault.New(fault.KindOf(err), "%w", err).At(packed.URI, 0).Fix("run again; if it stays, use another mirror")
	}
	side, err := buildTable(text, plain.Digest, k)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(packed.URI, 0).Fix("use another mirror")
	}
	if err := replaceFile(textPath+".table", func(f *os.File) error { _, err := f.Write(side); return err }); err != nil {
		return nil, cacheFault(err)
	}
	return openTable(textPath, plain.Digest, k)
}

// fetchIndex brings the best packed form of an index that the release lists and
// a mirror has, by its digest where the archive can be asked so.
func (a *Archive) fetchIndex(ctx context.Context, r *release, name string) (ashlar.Material, string, error) {
	dir := "dists/" + r.suite.Name + "/"
	var last error
	for _, suffix := range suffixes {
		f, ok := r.content.File(name + suffix)
		if !ok {
			continue
		}
		req := source.Request{URI: r.suite.URI(dir + f.Name), Digest: f.Digest, Size: f.Size, MaxSize: maxIndex}
		named := req.URI
		if r.content.AcquireByHash {
			req.URI = r.suite.URI(dir + path.Dir(f.Name) + "/by-hash/SHA256/" + f.Digest.Hex())
		}
		m, err := a.cfg.Fetcher.Fetch(ctx, req)
		if fault.Is(err, fault.NotFound) && req.URI != named {
			req.URI = named
			m, err = a.cfg.Fetcher.Fetch(ctx, req)
		}
		if err == nil {
			m.URI = named
			return m, suffix, nil
		}
		if last = reword(err, named, "the mirror is being updated or has damaged files: run again later, or use another"); !fault.Is(err, fault.NotFound) {
			break
		}
	}
	if last == nil {
		last = fault.New(fault.NotFound, "it lists no packed form of %s that can be read", name).At(r.index.URI, 0)
	}
	return ashlar.Material{}, "", last
}

// reword returns err with another file and remedy, which say more to the reader
// than those it came with.
func reword(err error, file, remedy string) error {
	return (&fault.Error{Kind: fault.KindOf(err), What: whatOf(err), Err: err}).At(file, 0).Fix("%s", remedy)
}

// whatOf returns what an error says is wrong, without file and remedy.
func whatOf(err error) string {
	var e *fault.Error
	if errors.As(err, &e) {
		return e.What
	}
	return err.Error()
}

// unpack reads an index of known size and digest into memory and into the file
// at textPath. Hashing and writing go on while the next part is unpacked.
func unpack(r io.Reader, plain ashlar.File, textPath string) ([]byte, error) {
	text := make([]byte, plain.Size)
	h := sha256.New()
	err := replaceFile(textPath, func(f *os.File) error {
		parts := make(chan []byte, 16)
		written := make(chan error, 1)
		go func() { written <- drain(parts, h, f) }()
		err := readParts(r, text, parts)
		close(parts)
		if err = errors.Join(err, <-written); err != nil {
			return err
		}
		if got := ashlar.Digest("sha256:" + hexOf(h)); got != plain.Digest {
			return fault.New(fault.Invalid, "the unpacked index has digest %s, the signed release says %s", got, plain.Digest)
		}
		return nil
	})
	if err != nil {
		return nil, cacheFault(err)
	}
	return text, nil
}

// readParts fills text from r and sends each part on; r must end with it.
func readParts(r io.Reader, text []byte, parts chan<- []byte) error {
	const part = 1 << 20
	for at := 0; at < len(text); at += part {
		end := min(at+part, len(text))
		if _, err := io.ReadFull(r, text[at:end]); err != nil {
			return fault.New(fault.Invalid, "the index ends early or is damaged: %w", err)
		}
		parts <- text[at:end]
	}
	if n, err := r.Read(make([]byte, 1)); n > 0 || err != io.EOF {
		return fault.New(fault.Invalid, "the index is longer than the signed release says")
	}
	return nil
}

// drain hashes and writes the parts; it takes them all even after an error.
func drain(parts <-chan []byte, h hash.Hash, w io.Writer) error {
	var failed error
	for p := range parts {
		h.Write(p)
		if failed == nil {
			_, failed = w.Write(p)
		}
	}
	return failed
}

// replaceFile writes a cache file beside its path and renames it. It does not
// wait for the disk: what a crash leaves is found damaged and made again.
func replaceFile(p string, write func(*os.File) error) error {
	f, err := os.CreateTemp(path.Dir(p), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(write(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), p)
}

// cacheFault gives an error of the file system a remedy.
func cacheFault(err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return known
	}
	return fault.New(fault.Unavailable, "write the index cache: %w", err).Fix("free some space and run again")
}

// touch marks the text as used.
func touch(textPath string, now time.Time) {
	if info, err := os.Stat(textPath); err == nil && now.Sub(info.ModTime()).Abs() > 24*time.Hour {
		os.Chtimes(textPath, now, now)
	}
}

// prune removes texts that were not used for long, and what a killed process
// left. Failing to is no harm.
func (a *Archive) prune(now time.Time) {
	all, _ := filepath.Glob(filepath.Join(a.cfg.Dir, textsDir, "*"))
	left, _ := filepath.Glob(filepath.Join(a.cfg.Dir, textsDir, ".new-*"))
	for _, p := range append(all, left...) {
		if filepath.Ext(p) == ".table" {
			continue
		}
		if info, err := os.Stat(p); err == nil && now.Sub(info.ModTime()) > keepTexts {
			os.Remove(p)
			os.Remove(p + ".table")
		}
	}
}

// discard removes a damaged text and its table from the cache, so that the next
// use makes them again, and returns the error to report.
func (a *Archive) discard(t *table, uri string) error {
	textPath := filepath.Join(a.cfg.Dir, textsDir, t.digest.Hex())
	os.Remove(textPath)
	os.Remove(textPath + ".table")
	a.mu.Lock()
	delete(a.tables, t.digest)
	clear(a.universes)
	a.mu.Unlock()
	return fault.New(fault.Unavailable, "the cached index was damaged and has been removed").At(uri, 0).Fix("run again; it is made anew")
}
