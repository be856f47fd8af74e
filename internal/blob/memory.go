package blob

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/ashlar-project/ashlar"
)

// A Memory is a Store in memory, for tests and small work.
type Memory struct {
	mu    sync.RWMutex
	blobs map[ashlar.Digest][]byte
}

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{blobs: map[ashlar.Digest][]byte{}} }

// Put stores the content of r. See Store.
func (m *Memory) Put(ctx context.Context, r io.Reader, want ashlar.Digest) (ashlar.File, error) {
	if want != "" {
		if err := checkDigest(want); err != nil {
			return ashlar.File{}, err
		}
	}
	var b bytes.Buffer
	f, err := measure(ctx, &b, r)
	if err != nil {
		return ashlar.File{}, err
	}
	if want != "" && f.Digest != want {
		return ashlar.File{}, mismatch(f.Digest, want)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blobs[f.Digest] = b.Bytes()
	return f, nil
}

// Open returns the blob. See Store.
func (m *Memory) Open(_ context.Context, d ashlar.Digest) (Blob, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.blobs[d]
	if !ok {
		return nil, notFound(d)
	}
	return memoryBlob{bytes.NewReader(b)}, nil
}

// Stat returns the size of the blob. See Store.
func (m *Memory) Stat(_ context.Context, d ashlar.Digest) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.blobs[d]
	if !ok {
		return 0, notFound(d)
	}
	return int64(len(b)), nil
}

// Walk calls f for every blob, in the order of the digests.
func (m *Memory) Walk(ctx context.Context, f func(ashlar.File) error) error {
	m.mu.RLock()
	var all []ashlar.File
	for d, b := range m.blobs {
		all = append(all, ashlar.File{Digest: d, Size: int64(len(b))})
	}
	m.mu.RUnlock()
	slices.SortFunc(all, func(a, b ashlar.File) int { return bytes.Compare([]byte(a.Digest), []byte(b.Digest)) })
	for _, file := range all {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f(file); err != nil {
			return err
		}
	}
	return nil
}

type memoryBlob struct{ *bytes.Reader }

func (memoryBlob) Close() error { return nil }
