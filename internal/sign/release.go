package sign

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// unchecked are the digest lists of a Release that this program does not
// recompute and therefore does not sign.
var unchecked = []string{"MD5Sum", "SHA1", "SHA512"}

// handleRelease signs Releases after recomputing every digest in them.
func handleRelease(ctx context.Context, s *Session, raw json.RawMessage) (any, error) {
	var r releaseRequest
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, fault.New(fault.Internal, "request: %w", err)
	}
	if err := checkReleases(ctx, r.Dir, r.Releases); err != nil {
		return nil, err
	}
	if len(s.Keys.Repository) == 0 {
		return nil, fault.New(fault.Denied, "there is no key for repositories").Fix(makeKeysRemedy)
	}
	first, more := s.Keys.Repository[0], s.Keys.Repository[1:]
	signed := make([]pgp.Signed, len(r.Releases))
	for i, text := range r.Releases {
		var err error
		if signed[i], err = first.SignBoth(text, r.Now, more...); err != nil {
			return nil, err
		}
	}
	return signed, nil
}

// checkReleases recomputes the digest and size of every file that the Releases
// list, from the files below dir.
func checkReleases(ctx context.Context, dir string, texts [][]byte) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fault.New(fault.Denied, "the signer cannot read the indexes: %w", err).
			Fix("the folder and those above it must be open to user %d", os.Geteuid())
	}
	defer root.Close()
	done := map[ashlar.File]bool{}
	for _, text := range texts {
		release, err := parseRelease(text)
		if err != nil {
			return err
		}
		if err := checkFiles(ctx, root, release.Files, done); err != nil {
			return err
		}
	}
	return nil
}

// parseRelease reads a Release and refuses one with digests that are not checked,
// and one that lists nothing: it would be no more than somebody's words.
func parseRelease(text []byte) (*deb.Release, error) {
	paragraph, err := deb.ParseParagraph(text)
	if err != nil {
		return nil, err
	}
	for _, name := range unchecked {
		if paragraph.Get(name) != "" {
			return nil, fault.New(fault.Denied, "the Release has a %s list, and only SHA256 is recomputed before signing", name)
		}
	}
	release, err := deb.ParseRelease(text)
	if err == nil && len(release.Files) == 0 {
		return nil, fault.New(fault.Denied, "the Release lists no file").Fix("write the indexes before the Release is signed")
	}
	return release, err
}

// checkFiles recomputes the listed files, several at a time, and adds them to
// done; what is there already was recomputed before.
func checkFiles(ctx context.Context, root *os.Root, list []ashlar.File, done map[ashlar.File]bool) error {
	c := &checker{root: root, listed: map[string]ashlar.File{}}
	for _, f := range list {
		if _, twice := c.listed[f.Name]; twice {
			return fault.New(fault.Denied, "the Release lists %s twice", f.Name)
		}
		c.listed[f.Name] = f
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range list {
		if done[f] {
			continue
		}
		done[f] = true
		g.Go(func() error { return errors.Join(ctx.Err(), c.check(f)) })
	}
	return g.Wait()
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
