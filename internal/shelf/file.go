package shelf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// smallFile is the size up to which a blob is read at once, in bytes.
const smallFile = 1 << 20

// Blobs is where the content of what is published is. If it also has a method
// Path(ashlar.Digest) string, files are hard-linked from there when the file
// system allows it.
type Blobs interface {
	Open(ctx context.Context, d ashlar.Digest) (blob.Blob, error)
}

// FileOf returns the digest and size of what r holds.
func FileOf(r io.Reader) (ashlar.File, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return ashlar.File{Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: n}, err
}

// SameContent returns nil if the file at the absolute path has the content,
// fs.ErrNotExist if there is no file, and fault.Conflict if it has other content.
func SameContent(at string, want ashlar.File) error {
	f, err := os.Open(at)
	if err != nil {
		return err
	}
	defer f.Close()
	got, err := FileOf(f)
	if err != nil {
		return err
	}
	if got.Digest != want.Digest {
		return fault.New(fault.Conflict, "its content has digest %s, wanted %s", got.Digest, want.Digest).At(at, 0)
	}
	return nil
}

// OpenFile opens a file as a blob. An error is fault.NotFound.
func OpenFile(name string) (blob.Blob, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return fileBlob{f, info.Size()}, nil
}

type fileBlob struct {
	*os.File
	size int64
}

func (b fileBlob) Size() int64 { return b.size }

// OpenVerified opens a blob and checks that its content has the digest and size
// that the file claims; if not, the error is fault.Denied.
func OpenVerified(ctx context.Context, blobs Blobs, f ashlar.File) (blob.Blob, error) {
	b, err := blobs.Open(ctx, f.Digest)
	if err != nil {
		return nil, err
	}
	checked, err := Checked(b, f)
	if err != nil {
		b.Close()
	}
	return checked, err
}

// Checked returns a blob with the same content, in memory if it is small, after
// checking that it has the digest and size that the file claims; if not, the error
// is fault.Denied. Closing either closes both.
func Checked(b blob.Blob, f ashlar.File) (blob.Blob, error) {
	if b.Size() > smallFile {
		got, err := FileOf(io.NewSectionReader(b, 0, b.Size()))
		if err != nil {
			return nil, err
		}
		return b, sameFile(f, got)
	}
	all := make([]byte, b.Size())
	if _, err := io.ReadFull(b, all); err != nil {
		return nil, fault.New(fault.Internal, "read %s: %w", f.Name, err)
	}
	small := memoryBlob{Reader: bytes.NewReader(all), Closer: b}
	return small, sameFile(f, ashlar.File{Digest: ashlar.DigestOf(all), Size: int64(len(all))})
}

// A memoryBlob is a blob that was read into memory.
type memoryBlob struct {
	*bytes.Reader
	io.Closer
}

func sameFile(want, got ashlar.File) error {
	if got.Size != want.Size || got.Digest != want.Digest {
		return damagedStore(want, got)
	}
	return nil
}

// damagedStore says that a file of the blob store is not what its name says.
func damagedStore(want, got ashlar.File) error {
	return fault.New(fault.Denied, "stored content has %d bytes and digest %s, wanted %s",
		got.Size, got.Digest, want.Digest).At(want.Name, 0).Fix("the store is damaged: build the package again")
}

// Verify checks that the blob of a file has its digest; if not, the error is
// fault.Denied.
func Verify(ctx context.Context, blobs Blobs, f ashlar.File) error {
	b, err := blobs.Open(ctx, f.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := FileOf(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		return err
	}
	if got.Digest != f.Digest {
		return damagedStore(f, got)
	}
	return nil
}

// Bring gives a file of the blob store, whose content was checked, a name in one
// step, whatever had the name before. It is linked or, where that cannot be,
// copied.
func Bring(ctx context.Context, d *durable.Batch, blobs Blobs, f ashlar.File, at string) error {
	if local, ok := blobs.(interface{ Path(ashlar.Digest) string }); ok {
		from := local.Path(f.Digest)
		err := d.Link(from, at)
		if errors.Is(err, fs.ErrExist) { // damaged, or another writer was here first
			err = d.Replace(from, at)
		}
		if !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EMLINK) && !errors.Is(err, unix.EPERM) {
			return err
		}
	}
	b, err := blobs.Open(ctx, f.Digest)
	if err != nil {
		return err
	}
	defer b.Close()
	h := sha256.New()
	temp := d.Temp()
	if err := d.Copy(io.TeeReader(b, h), temp, func() error {
		got := ashlar.File{Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: b.Size()}
		if got.Digest != f.Digest {
			return damagedStore(f, got)
		}
		return nil
	}); err != nil {
		return err
	}
	return d.Rename(temp, at)
}
