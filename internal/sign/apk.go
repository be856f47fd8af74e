package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

// The files with the indexes of an apk repository.
const (
	APKIndexV2 = "APKINDEX.tar.gz"
	APKIndexV3 = "Packages.adb"
)

// Bounds on what the signer reads and says.
const (
	maxAPKIndex     = 256 << 20 // bytes
	maxAPKStatement = 90 * 24 * time.Hour
)

// An apkPackageRequest asks for signatures of packages below a folder. The answer
// is a []apk.PackageSignatures.
type apkPackageRequest struct {
	Dir   string        `json:"dir"`
	Files []ashlar.File `json:"files"` // names are paths below the folder
}

// An apkIndexRequest asks for signatures of two indexes in a folder and for a
// statement about what comes of them. The answer is an APKIndexSignatures.
type apkIndexRequest struct {
	Dir   string          `json:"dir"`
	State intoto.APKIndex `json:"state"`
}

// The files of such a request.
const (
	APKUnsignedV2 = "v2.unsigned" // what apk.V2RawIndex.Unsigned returns
	APKUnsignedV3 = "v3.unsigned" // what apk.V3RawIndex.Plain returns
	APKDeflatedV3 = "v3.deflated" // what apk.DeflateV3Index made of it
)

// APKIndexSignatures are the signatures of both indexes of a repository, and a
// signed statement, in a Sigstore bundle, that the indexes with these signatures
// are the newest.
type APKIndexSignatures struct {
	V2        []byte          `json:"v2"` // one gzip member, which goes before the index
	V3        []adb.Signature `json:"v3"`
	Statement []byte          `json:"statement"`
}

// An apkKeysRequest asks for a statement about the public keys. The answer is a
// bundle.
type apkKeysRequest struct {
	Now time.Time `json:"now"`
}

// SignAPKPackages returns signatures for packages of either generation, files
// below the folder dir, by all keys of their generation. The signer reads each
// file once, checks that it is a well-formed package with the digest and size of
// the file, and signs what it read. See apk.PackageSignatures.Attach.
func (c *Conn) SignAPKPackages(ctx context.Context, dir string, files []ashlar.File) ([]apk.PackageSignatures, error) {
	var signed []apk.PackageSignatures
	if err := c.Call(ctx, verbAPKPackage, apkPackageRequest{dir, files}, &signed); err != nil {
		return nil, err
	}
	if len(signed) != len(files) {
		return nil, fault.New(fault.Internal, "the signer was asked about %d packages and answered about %d", len(files), len(signed))
	}
	return signed, nil
}

// SignAPKIndexes returns signatures by all keys over two indexes in the folder dir,
// which are the files APKUnsignedV2 and APKUnsignedV3, and the statement that the
// indexes which come of that are the newest: the signatures before the one, and
// apk.JoinV3Index of APKDeflatedV3 and the others. The signer reads both and
// refuses what is no well-formed index.
func (c *Conn) SignAPKIndexes(ctx context.Context, dir string, state intoto.APKIndex) (*APKIndexSignatures, error) {
	var signed APKIndexSignatures
	if err := c.Call(ctx, verbAPKIndex, apkIndexRequest{dir, state}, &signed); err != nil {
		return nil, err
	}
	return &signed, nil
}

// SignAPKKeys returns a signed statement, in a Sigstore bundle, that lists the
// public keys for apk.
func (c *Conn) SignAPKKeys(ctx context.Context, now time.Time) ([]byte, error) {
	var bundle []byte
	err := c.Call(ctx, verbAPKKeys, apkKeysRequest{now}, &bundle)
	return bundle, err
}

// decodeRequest reads the body of a request for which there must be keys for apk.
func decodeRequest(s *Session, raw json.RawMessage, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fault.New(fault.Internal, "request: %w", err)
	}
	if len(s.Keys.APK.V2) == 0 || len(s.Keys.APK.V3) == 0 {
		return fault.New(fault.Denied, "there are no keys for apk").Fix(makeAPKRemedy)
	}
	return nil
}

// openBelow opens the folder of a request.
func openBelow(dir string) (*os.Root, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.New(fault.Denied, "the signer cannot read the folder: %w", err).
			Fix("the folder and those above it must be open to user %d", os.Geteuid())
	}
	return root, nil
}

// openRegular opens a regular file below root.
func openRegular(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fault.New(fault.Denied, "the signer cannot read %s: %w", name, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fault.New(fault.Denied, "%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// handleAPKPackages signs packages after reading and checking all of each.
func handleAPKPackages(ctx context.Context, s *Session, raw json.RawMessage) (any, error) {
	var r apkPackageRequest
	if err := decodeRequest(s, raw, &r); err != nil {
		return nil, err
	}
	root, err := openBelow(r.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	signed := make([]*apk.PackageSignatures, len(r.Files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, f := range r.Files {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if signed[i], err = signPackage(root, f, &s.Keys.APK); err != nil {
				return fault.Within(err, "%s", f.Name)
			}
			return nil
		})
	}
	return signed, g.Wait()
}

// signPackage signs one package.
func signPackage(root *os.Root, want ashlar.File, keys *APKKeys) (*apk.PackageSignatures, error) {
	f, err := openRegular(root, want.Name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	seen := &countingReader{r: io.TeeReader(io.LimitReader(f, want.Size+1), h)}
	signed, err := apk.SignPackage(seen, keys.V2, keys.V3)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, seen); err != nil {
		return nil, fault.New(fault.Denied, "read: %w", err)
	}
	if got := ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))); got != want.Digest || seen.n != want.Size {
		return nil, fault.New(fault.Denied, "it has %d bytes and digest %s, wanted %d and %s", seen.n, got.Short(), want.Size, want.Digest.Short())
	}
	return signed, nil
}

// A countingReader counts what is read.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// readBelow reads a file below root.
func readBelow(root *os.Root, name string) ([]byte, error) {
	f, err := openRegular(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxAPKIndex+1))
	switch {
	case err != nil:
		return nil, fault.New(fault.Denied, "read %s: %w", name, err)
	case len(b) > maxAPKIndex:
		return nil, fault.New(fault.Denied, "%s has more than %d bytes", name, maxAPKIndex)
	}
	return b, nil
}

// handleAPKIndex signs indexes after reading them, and states that they are the
// newest.
func handleAPKIndex(ctx context.Context, s *Session, raw json.RawMessage) (any, error) {
	var r apkIndexRequest
	if err := decodeRequest(s, raw, &r); err != nil {
		return nil, err
	}
	if err := checkState(&r.State); err != nil {
		return nil, err
	}
	root, err := openBelow(r.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var signed APKIndexSignatures
	var v2, v3 ashlar.File
	var g errgroup.Group
	g.Go(func() (err error) {
		signed.V2, v2, err = signV2(root, s.Keys.APK.V2)
		return err
	})
	g.Go(func() (err error) {
		signed.V3, v3, err = signV3(root, s.Keys.APK.V3)
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	signed.Statement, err = statement(ctx, s, intoto.PredicateAPKIndex, r.State, v2, v3)
	return &signed, err
}

// signV2 returns the signatures of an index of v2 below root, and the file that it
// becomes with them.
func signV2(root *os.Root, signers []apk.Signer) ([]byte, ashlar.File, error) {
	var f ashlar.File
	b, err := readBelow(root, APKUnsignedV2)
	if err != nil {
		return nil, f, err
	}
	x, err := apk.ReadV2Raw(b, nil)
	if err != nil {
		return nil, f, err
	}
	if len(x.Unsigned()) != len(b) {
		return nil, f, fault.New(fault.Invalid, "the index is signed already")
	}
	part, err := x.Sign(signers...)
	h := sha256.New()
	h.Write(part)
	h.Write(b)
	return part, indexFile(APKIndexV2, h, len(part)+len(b)), err
}

// signV3 does the same for an index of v3. That its compressed form is the same
// index is not checked: if it is not, no client will take it.
func signV3(root *os.Root, signers []crypto.Signer) ([]adb.Signature, ashlar.File, error) {
	var f ashlar.File
	b, err := readBelow(root, APKUnsignedV3)
	if err != nil {
		return nil, f, err
	}
	x, err := apk.ReadV3Raw(bytes.NewReader(b), apk.V3Unchecked())
	if err != nil {
		return nil, f, err
	}
	sigs, err := x.Sign(signers...)
	if err != nil {
		return nil, f, err
	}
	deflated, err := readBelow(root, APKDeflatedV3)
	if err != nil {
		return nil, f, err
	}
	whole, err := apk.JoinV3Index(deflated, sigs)
	h := sha256.New()
	h.Write(whole)
	return sigs, indexFile(APKIndexV3, h, len(whole)), err
}

// indexFile describes a file by the hash of its content.
func indexFile(name string, h hash.Hash, size int) ashlar.File {
	return ashlar.File{Name: name, Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))), Size: int64(size)}
}

// checkState refuses a state that no client could use.
func checkState(s *intoto.APKIndex) error {
	switch {
	case s.Repository == "" || s.Arch == "" || s.Snapshot == "" || s.Sequence <= 0:
		return fault.New(fault.Invalid, "a statement that does not say which indexes of which repository it is about")
	case !s.Expires.After(s.Issued) || s.Expires.Sub(s.Issued) > maxAPKStatement:
		return fault.New(fault.Invalid, "a statement issued %s that expires %s", s.Issued.Format(time.RFC3339), s.Expires.Format(time.RFC3339)).
			Fix("let it be valid for at most %d days", maxAPKStatement/(24*time.Hour))
	}
	return nil
}

// handleAPKKeys states which public keys there are.
func handleAPKKeys(ctx context.Context, s *Session, raw json.RawMessage) (any, error) {
	var r apkKeysRequest
	if err := decodeRequest(s, raw, &r); err != nil {
		return nil, err
	}
	list, err := s.Keys.APK.public()
	if err != nil {
		return nil, err
	}
	predicate := intoto.APKKeys{Issued: r.Now.UTC().Truncate(time.Second)}
	var subjects []ashlar.File
	for _, k := range list {
		algorithm, aerr := k.Algorithm()
		err = errors.Join(err, aerr)
		predicate.Keys = append(predicate.Keys, intoto.APKKey{Name: k.Name, ID: k.ID, Algorithm: algorithm, Format: k.Format})
		subjects = append(subjects, ashlar.File{Name: k.Name, Digest: ashlar.DigestOf(k.PEM), Size: int64(len(k.PEM))})
	}
	if err != nil {
		return nil, err
	}
	return statement(ctx, s, intoto.PredicateAPKKeys, predicate, subjects...)
}

// statement signs a statement and returns its bundle.
func statement(ctx context.Context, s *Session, predicateType string, predicate any, subjects ...ashlar.File) ([]byte, error) {
	st, err := intoto.NewStatement(predicateType, predicate, subjects...)
	if err != nil {
		return nil, err
	}
	payload, err := st.Encode()
	if err != nil {
		return nil, err
	}
	b, err := Bundle(ctx, s.Keys.Attestation, payload)
	if err != nil {
		return nil, err
	}
	return b.Encode()
}
