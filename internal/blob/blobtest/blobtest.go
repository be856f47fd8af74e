// Package blobtest holds the contract that every blob.Store keeps.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Run checks the contract on a store that is empty at the start.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, check := range map[string]func(*testing.T, blob.Store){
		"RoundTrip": roundTrip, "Mismatch": mismatch, "Missing": missing, "BadDigest": badDigest,
		"FailedRead": failedRead, "Cancelled": cancelled, "Concurrent": concurrent, "RandomAccess": randomAccess,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func roundTrip(t *testing.T, s blob.Store) {
	ctx := t.Context()
	for _, content := range []string{"", "a", strings.Repeat("long ", 200_000)} {
		want := ashlar.DigestOf([]byte(content))
		for _, ask := range []ashlar.Digest{"", want, want} {
			f, err := s.Put(ctx, strings.NewReader(content), ask)
			if err != nil {
				t.Fatal(err)
			}
			if f.Digest != want || f.Size != int64(len(content)) {
				t.Errorf("put %d bytes: %+v", len(content), f)
			}
		}
		if n, err := s.Stat(ctx, want); err != nil || n != int64(len(content)) {
			t.Errorf("stat: %d, %v", n, err)
		}
		got, err := blob.ReadAll(ctx, s, want, 10<<20)
		if err != nil || string(got) != content {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if err := blob.Verify(ctx, s, want); err != nil {
			t.Error(err)
		}
	}
	if _, err := blob.ReadAll(ctx, s, ashlar.DigestOf([]byte("a")), 0); !fault.Is(err, fault.Invalid) {
		t.Errorf("reading beyond the limit: %v", err)
	}
}

func mismatch(t *testing.T, s blob.Store) {
	ctx := t.Context()
	want := ashlar.DigestOf([]byte("expected"))
	_, err := s.Put(ctx, strings.NewReader("something else"), want)
	if !fault.Is(err, fault.Invalid) {
		t.Fatalf("got %v, want an invalid fault", err)
	}
	got := ashlar.DigestOf([]byte("something else"))
	if msg := err.Error(); !strings.Contains(msg, string(want)) || !strings.Contains(msg, string(got)) {
		t.Errorf("the error does not name both digests: %v", err)
	}
	for _, d := range []ashlar.Digest{got, want} {
		if _, err := s.Stat(ctx, d); !fault.Is(err, fault.NotFound) {
			t.Errorf("after a mismatch %s: %v", d, err)
		}
	}
	if _, err := s.Put(ctx, strings.NewReader("expected"), want); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(ctx, strings.NewReader("something else"), want); !fault.Is(err, fault.Invalid) {
		t.Errorf("mismatch with a blob that is there: %v", err)
	}
}

func missing(t *testing.T, s blob.Store) {
	d := ashlar.DigestOf([]byte("never put"))
	if _, err := s.Open(t.Context(), d); !fault.Is(err, fault.NotFound) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.Stat(t.Context(), d); !fault.Is(err, fault.NotFound) {
		t.Errorf("stat: %v", err)
	}
	if err := blob.Verify(t.Context(), s, d); !fault.Is(err, fault.NotFound) {
		t.Errorf("verify: %v", err)
	}
}

func badDigest(t *testing.T, s blob.Store) {
	for _, d := range []ashlar.Digest{"x", "sha256:../../../etc/passwd", "sha256:" + ashlar.Digest(strings.Repeat("A", 64))} {
		if _, err := s.Put(t.Context(), strings.NewReader(""), d); err == nil {
			t.Errorf("put with digest %q succeeded", d)
		}
		if _, err := s.Open(t.Context(), d); err == nil {
			t.Errorf("open of %q succeeded", d)
		}
		if _, err := s.Stat(t.Context(), d); err == nil {
			t.Errorf("stat of %q succeeded", d)
		}
	}
}

func failedRead(t *testing.T, s blob.Store) {
	boom := errors.New("boom")
	r := io.MultiReader(strings.NewReader("first half"), iotest.ErrReader(boom))
	if _, err := s.Put(t.Context(), r, ""); !errors.Is(err, boom) {
		t.Errorf("got %v, want the reader's error", err)
	}
	if _, err := s.Stat(t.Context(), ashlar.DigestOf([]byte("first half"))); !fault.Is(err, fault.NotFound) {
		t.Errorf("half a blob was kept: %v", err)
	}
}

func cancelled(t *testing.T, s blob.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, strings.NewReader("x"), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want cancelled", err)
	}
}

func concurrent(t *testing.T, s blob.Store) {
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 64 {
		content := bytes.Repeat(fmt.Appendf(nil, "content %d ", i%8), 1000)
		wg.Go(func() {
			f, err := s.Put(ctx, bytes.NewReader(content), ashlar.DigestOf(content))
			if err != nil {
				t.Error(err)
				return
			}
			if err := blob.Verify(ctx, s, f.Digest); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func randomAccess(t *testing.T, s blob.Store) {
	f, err := s.Put(t.Context(), strings.NewReader("0123456789"), "")
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Open(t.Context(), f.Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if b.Size() != 10 {
		t.Errorf("size %d", b.Size())
	}
	if err := iotest.TestReader(b, []byte("0123456789")); err != nil {
		t.Error(err)
	}
}
