package engine

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// blobStore is what the daemon sees of a blob.Store: it can read a blob whose
// digest it knows. It cannot list, write or delete.
type blobStore struct {
	blobs blob.Store
	lost  *lost
}

var _ content.Store = blobStore{}

// Info returns the size of a blob.
func (s blobStore) Info(ctx context.Context, d digest.Digest) (content.Info, error) {
	size, err := s.blobs.Stat(ctx, ashlar.Digest(d))
	if err != nil {
		return content.Info{}, s.translate(d, err)
	}
	return content.Info{Digest: d, Size: size}, nil
}

// ReaderAt opens a blob.
func (s blobStore) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	b, err := s.blobs.Open(ctx, ashlar.Digest(desc.Digest))
	if err != nil {
		return nil, s.translate(desc.Digest, err)
	}
	return b, nil
}

// translate remembers the blob store's own error, which says more than what
// comes back through the daemon, and returns what containerd understands.
func (s blobStore) translate(d digest.Digest, err error) error {
	s.lost.note(err)
	if fault.Is(err, fault.NotFound) {
		return fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
	}
	return err
}

// Update is refused.
func (blobStore) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errReadOnly
}

// Walk is refused.
func (blobStore) Walk(context.Context, content.WalkFunc, ...string) error { return errReadOnly }

// Delete is refused.
func (blobStore) Delete(context.Context, digest.Digest) error { return errReadOnly }

// Status is refused.
func (blobStore) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errReadOnly
}

// ListStatuses is refused.
func (blobStore) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, errReadOnly
}

// Abort is refused.
func (blobStore) Abort(context.Context, string) error { return errReadOnly }

// Writer is refused.
func (blobStore) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errReadOnly
}

var errReadOnly = fmt.Errorf("the client's blobs can only be read by digest: %w", errdefs.ErrNotImplemented)
