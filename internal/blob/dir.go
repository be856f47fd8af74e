package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Dir is a Store in a folder, shared by any number of processes. Blobs are
// the read-only files blobs/sha256/<hex> below it, the layout of containerd's
// local content store; what is still being written is below ingest.
type Dir struct{ root string }

// NewDir returns the store in the folder path, which is made if it is not there.
// Files that a killed process left half-written are removed.
func NewDir(path string) (*Dir, error) {
	d := &Dir{root: path}
	for _, sub := range []string{d.blobs(), d.ingest()} {
		if err := durable.MkdirAll(sub, 0o755); err != nil {
			return nil, fault.New(fault.Failed, "make the blob store: %w", err).
				Fix("choose a state folder that you can write to")
		}
	}
	return d, d.clean()
}

func (s *Dir) blobs() string  { return filepath.Join(s.root, "blobs", "sha256") }
func (s *Dir) ingest() string { return filepath.Join(s.root, "ingest") }

// Path returns where the blob with the digest is, if it is there. The file is
// read-only and may be hard-linked, never written to.
func (s *Dir) Path(d ashlar.Digest) string { return filepath.Join(s.blobs(), d.Hex()) }

// Root returns the folder of the store.
func (s *Dir) Root() string { return s.root }

// clean removes temporary files that no living process holds.
func (s *Dir) clean() error {
	left, err := filepath.Glob(filepath.Join(s.ingest(), "put-*"))
	if err != nil {
		return err
	}
	for _, name := range left {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			os.Remove(name)
		}
		f.Close()
	}
	return nil
}

// create opens a locked temporary file.
func (s *Dir) create() (*os.File, error) {
	for range 100 {
		f, err := os.CreateTemp(s.ingest(), "put-*")
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			err = unix.Fstat(int(f.Fd()), &st)
		}
		if err == nil && st.Nlink == 1 {
			return f, nil
		}
		f.Close() // another process cleaned it away before it was locked
	}
	return nil, errors.New("temporary files vanish as they are made")
}

// Put stores the content of r. See Store.
func (s *Dir) Put(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error) {
	if want != "" {
		if err := checkDigest(want); err != nil {
			return ashlar.File{}, err
		}
		if _, err := s.Stat(ctx, want); err == nil {
			return s.compare(ctx, r, want)
		}
	}
	f, err := s.create()
	if err != nil {
		return ashlar.File{}, storeFault(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	got, err := measure(ctx, f, r)
	if err != nil {
		return ashlar.File{}, storeFault(err)
	}
	if want != "" && got.Digest != want {
		return ashlar.File{}, mismatch(got.Digest, want)
	}
	if err := errors.Join(f.Chmod(0o444), f.Sync()); err != nil {
		return ashlar.File{}, storeFault(err)
	}
	if err := os.Rename(f.Name(), s.Path(got.Digest)); err != nil {
		return ashlar.File{}, storeFault(err)
	}
	if err := durable.SyncDir(filepath.Dir(s.Path(got.Digest))); err != nil {
		return ashlar.File{}, storeFault(err)
	}
	return got, nil
}

// compare checks that r is the blob that is there already.
func (s *Dir) compare(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error) {
	got, err := measure(ctx, io.Discard, r)
	if err == nil && got.Digest != want {
		err = mismatch(got.Digest, want)
	}
	if err != nil {
		return ashlar.File{}, err
	}
	return got, nil
}

// Open returns the blob. See Store.
func (s *Dir) Open(_ context.Context, d ashlar.Digest) (Blob, error) {
	if err := checkDigest(d); err != nil {
		return nil, err
	}
	f, err := os.Open(s.Path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notFound(d)
	}
	if err != nil {
		return nil, storeFault(err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, storeFault(err)
	}
	return &fileBlob{f, info.Size()}, nil
}

// Stat returns the size of the blob. See Store.
func (s *Dir) Stat(_ context.Context, d ashlar.Digest) (int64, error) {
	if err := checkDigest(d); err != nil {
		return 0, err
	}
	info, err := os.Lstat(s.Path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, notFound(d)
	}
	if err != nil {
		return 0, storeFault(err)
	}
	return info.Size(), nil
}

// Verify reads the blob and reports whether it still has its digest, as the
// function of the same name; its error names the file.
func (s *Dir) Verify(ctx context.Context, d ashlar.Digest) error {
	err := Verify(ctx, s, d)
	if e := (*fault.Error)(nil); fault.Is(err, fault.Denied) && errors.As(err, &e) {
		return e.At(s.Path(d), 0)
	}
	return err
}

// Walk calls f for every blob, in the order of the digests, and stops at the
// first error.
func (s *Dir) Walk(ctx context.Context, f func(ashlar.File) error) error {
	entries, err := os.ReadDir(s.blobs())
	if err != nil {
		return storeFault(err)
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		d, err := ashlar.DigestFromHex(e.Name())
		if err != nil || strings.ToLower(e.Name()) != e.Name() {
			continue
		}
		size, err := s.Stat(ctx, d)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f(ashlar.File{Digest: d, Size: size}); err != nil {
			return err
		}
	}
	return nil
}

// storeFault turns an error of the file system into one with a remedy; an error
// that has a kind already stays as it is.
func storeFault(err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return fault.New(fault.Unavailable, "blob store: %w", err).Fix("free some space and run again; nothing half-written was kept")
	}
	return fmt.Errorf("blob store: %w", err)
}

type fileBlob struct {
	*os.File
	size int64
}

func (b *fileBlob) Size() int64 { return b.size }
