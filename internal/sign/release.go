package sign

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// unchecked are the digest lists of a Release that this program does not
// recompute and therefore does not sign.
var unchecked = []string{"MD5Sum", "SHA1", "SHA512"}

// handleRelease signs a Release after recomputing every digest in it.
func handleRelease(ctx context.Context, s *Session, raw json.RawMessage) (any, error) {
	var r releaseRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fault.New(fault.Internal, "request: %w", err)
	}
	if err := checkRelease(ctx, r.Dir, r.Release); err != nil {
		return nil, err
	}
	if len(s.Keys.Repository) == 0 {
		return nil, fault.New(fault.Denied, "there is no key for repositories").Fix(makeKeysRemedy)
	}
	first, more := s.Keys.Repository[0], s.Keys.Repository[1:]
	inRelease, err := first.ClearSign(r.Release, r.Now, more...)
	if err != nil {
		return nil, err
	}
	detached, err := first.DetachSign(bytes.NewReader(r.Release), r.Now, more...)
	if err != nil {
		return nil, err
	}
	return releaseResponse{InRelease: inRelease, Detached: detached}, nil
}

// checkRelease recomputes the digest and size of every file that the Release
// lists, from the files below dir.
func checkRelease(ctx context.Context, dir string, text []byte) error {
	paragraph, err := deb.ParseParagraph(text)
	if err != nil {
		return err
	}
	for _, name := range unchecked {
		if paragraph.Get(name) != "" {
			return fault.New(fault.Denied, "the Release has a %s list, and only SHA256 is recomputed before signing", name)
		}
	}
	release, err := deb.ParseRelease(text)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.New(fault.Denied, "the signer cannot read the indexes: %w", err).
			Fix("the folder and those above it must be open to user %d", os.Geteuid())
	}
	defer root.Close()
	c := &checker{root: root, listed: map[string]ashlar.File{}}
	for _, f := range release.Files {
		if _, twice := c.listed[f.Name]; twice {
			return fault.New(fault.Denied, "the Release lists %s twice", f.Name)
		}
		c.listed[f.Name] = f
	}
	for _, f := range release.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.check(f); err != nil {
			return err
		}
	}
	return nil
}

// A checker recomputes listed files from what is below root.
type checker struct {
	root   *os.Root
	listed map[string]ashlar.File
}

// check recomputes one file from its stored form, or from a stored compressed
// form of it: apt repositories may list a plain index and store only the others.
func (c *checker) check(f ashlar.File) error {
	stored, err := c.open(f)
	if err == nil {
		defer stored.Close()
		return compare(f, stored)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fault.New(fault.Denied, "the signer cannot read %s: %w", f.Name, err)
	}
	for _, suffix := range compress.Suffixes() {
		other, ok := c.listed[f.Name+suffix]
		if !ok {
			continue
		}
		packed, err := c.open(other)
		if err != nil {
			continue
		}
		defer packed.Close()
		plain, err := compress.NewReader(other.Name, packed, f.Size+1)
		if err != nil {
			return err
		}
		defer plain.Close()
		return compare(f, plain)
	}
	return fault.New(fault.Denied, "the Release lists %s, and neither it nor a compressed form of it is there", f.Name).
		Fix("write the index before the Release is signed")
}

// open opens the stored form of a listed file, by its hash or by its name.
func (c *checker) open(f ashlar.File) (fs.File, error) {
	byHash := path.Join(path.Dir(f.Name), "by-hash", "SHA256", f.Digest.Hex())
	for _, name := range []string{byHash, f.Name} {
		info, err := c.root.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if !info.Mode().IsRegular() {
			return nil, fault.New(fault.Denied, "%s is not a regular file", name)
		}
		return c.root.Open(name)
	}
	return nil, fs.ErrNotExist
}

// compare reads content and refuses it if it is not the file that is listed.
func compare(f ashlar.File, content io.Reader) error {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(content, f.Size+1))
	if err != nil {
		return fault.New(fault.Denied, "read %s: %w", f.Name, err)
	}
	got := ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))
	if n != f.Size || got != f.Digest {
		return fault.New(fault.Denied, "%s is not what the Release says: it lists %s, the file has %s", f.Name, f.Digest.Short(), got.Short()).
			Fix("write the indexes again")
	}
	return nil
}
