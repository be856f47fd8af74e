package attest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// verbAttest is the request that Handlers answers.
const verbAttest = "attest"

// Handlers returns what the signer process answers beside Release files: it
// takes Evidence, works the statements out as Prepare does, and signs them. The
// builder's level is what the process knows of itself.
func Handlers(d *Desk) map[string]sign.Handler {
	return map[string]sign.Handler{
		verbAttest: func(ctx context.Context, s *sign.Session, raw json.RawMessage) (any, error) {
			var e Evidence
			if err := json.Unmarshal(raw, &e); err != nil {
				return nil, fault.New(fault.Internal, "evidence: %w", err)
			}
			e.Builder = Builder{ID: BuilderL2, Program: d.program, Version: d.version}
			if s.Separate {
				e.Builder.ID = BuilderL3
			}
			pub, err := s.Keys.Public()
			if err != nil {
				return nil, err
			}
			if e.trust, err = TrustKey(pub.Attestation); err != nil {
				return nil, err
			}
			prepared, err := Prepare(ctx, &e, d)
			if err != nil {
				return nil, err
			}
			return signAll(ctx, s.Keys.Attestation, prepared)
		},
	}
}

// signAll signs every statement once and returns the bundles by file name.
func signAll(ctx context.Context, s sign.Signer, prepared []Prepared) (map[string][]byte, error) {
	bundles := map[string][]byte{}
	for _, p := range prepared {
		b, err := sign.Bundle(ctx, s, p.Statement)
		if err != nil {
			return nil, err
		}
		if bundles[p.Name], err = b.Encode(); err != nil {
			return nil, err
		}
	}
	return bundles, nil
}

// A Caller reaches a signer; *sign.Conn is one.
type Caller interface {
	Call(ctx context.Context, verb string, in, out any) error
}

// Sign has the signer make the statements about a build, and returns the bundles
// by file name, "<file>.provenance.sigstore.json" and so on. The signer refuses,
// with fault.Denied, evidence that does not match the files.
func Sign(ctx context.Context, signer Caller, e *Evidence) (map[string][]byte, error) {
	var bundles map[string][]byte
	if err := signer.Call(ctx, verbAttest, e, &bundles); err != nil {
		return nil, err
	}
	return bundles, nil
}

// A Store reads the files of a content store's folder, blobs/sha256/<hex> below
// it, following no link and believing no name.
type Store string

// Open opens the file of a digest. Anything but a regular file is fault.Denied.
func (s Store) Open(_ context.Context, d ashlar.Digest) (Content, error) {
	if err := d.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	path := filepath.Join(string(s), "blobs", "sha256", d.Hex())
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fault.New(fault.Denied, "open the content %s: %w", d.Short(), err).
			Fix("the store must be open to user %d, and hold only plain files", os.Geteuid())
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fault.New(fault.Denied, "the content %s is not a regular file", d.Short()).At(path, 0)
	}
	return &storeFile{f, info.Size()}, nil
}

type storeFile struct {
	*os.File
	size int64
}

func (f *storeFile) Size() int64 { return f.size }
