// Package blob stores bytes by their SHA-256. A store checks what it takes in
// and never what it hands out; Verify does that on demand.
package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Store holds immutable blobs by digest. All methods may be called
// concurrently.
type Store interface {
	// Put reads r to its end and stores it. The File has the digest and the size
	// in bytes, no name. If want is not "" and the content has another digest,
	// nothing is stored and the error is fault.Invalid.
	Put(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error)
	// Open returns the blob, or a fault.NotFound error.
	Open(ctx context.Context, d ashlar.Digest) (Blob, error)
	// Stat returns the size of the blob in bytes, or a fault.NotFound error.
	Stat(ctx context.Context, d ashlar.Digest) (int64, error)
}

// A Blob is the open content of one digest.
type Blob interface {
	io.Reader
	io.ReaderAt
	io.Seeker
	io.Closer
	// Size returns the length in bytes.
	Size() int64
}

// Verify reads the blob and reports whether it still has its digest. The error
// is fault.NotFound if it is not there and fault.Denied if it changed.
func Verify(ctx context.Context, s Store, d ashlar.Digest) error {
	b, err := s.Open(ctx, d)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := measure(ctx, io.Discard, b)
	if err != nil {
		return fault.New(fault.Internal, "read blob %s: %w", d, err)
	}
	if got.Digest != d {
		return fault.New(fault.Denied, "stored blob %s was altered: its content is %s", d, got.Digest).
			Fix("delete it from the store; it will be fetched again")
	}
	return nil
}

// ReadAll returns the content of the blob, which must have at most max bytes.
func ReadAll(ctx context.Context, s Store, d ashlar.Digest, max int64) ([]byte, error) {
	b, err := s.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if b.Size() > max {
		return nil, fault.New(fault.Invalid, "blob %s has %d bytes, at most %d are read", d, b.Size(), max)
	}
	all := make([]byte, b.Size())
	if _, err := io.ReadFull(b, all); err != nil {
		return nil, fault.New(fault.Internal, "read blob %s: %w", d, err)
	}
	return all, nil
}

// measure copies r to w and returns digest and size of what passed.
func measure(ctx context.Context, w io.Writer, r io.Reader) (ashlar.File, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(w, h), &contextReader{ctx, r}, make([]byte, 256<<10))
	return ashlar.File{Digest: digestOf(h), Size: n}, err
}

func digestOf(h hash.Hash) ashlar.Digest {
	return ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
}

// A contextReader stops reading when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

func mismatch(got, want ashlar.Digest) error {
	return fault.New(fault.Invalid, "content has digest %s, wanted %s", got, want)
}

func notFound(d ashlar.Digest) error {
	return fault.New(fault.NotFound, "blob %s is not in the store", d)
}

func checkDigest(d ashlar.Digest) error {
	if err := d.Validate(); err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	return nil
}
