package work

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// own returns the packages of the newest record of every definition of a catalog
// that was built for a target: what ashlar://DISTRO/main stands for. Only records
// that passed the gate count.
func (s *Shop) own(ctx context.Context, catalog Ref, target ashlar.Target) ([]resolve.OwnPackage, error) {
	names, err := os.ReadDir(s.path("latest")) // sorted
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	var all []resolve.OwnPackage
	for _, name := range names {
		if !strings.HasSuffix(name.Name(), catalog.suffix(target.Arch)) {
			continue
		}
		key, err := os.ReadFile(s.path("latest", name.Name()))
		if err != nil {
			return nil, fault.New(fault.Internal, "%w", err)
		}
		r, err := s.load(ashlar.Digest(key))
		if fault.Is(err, fault.NotFound) || err == nil && (r.Result.Target != target || !r.Verdict.Passed) {
			continue
		} else if err != nil {
			return nil, err
		}
		for _, f := range r.Result.Packages() {
			if !isV2(f.Name) {
				continue
			}
			p, err := resolve.ReadOwn(ctx, s.Store, f)
			if err != nil {
				return nil, fault.Within(err, "%s", f.Name)
			}
			all = append(all, *p)
		}
	}
	return all, nil
}

// isV2 reports whether a file is named as a package of the second generation, whose
// version ends in a revision.
func isV2(name string) bool {
	base, is := strings.CutSuffix(name, ".apk")
	_, version, err := apk.SplitName(base)
	return is && err == nil && apk.ValidateVersion(version) == nil
}

// summaries returns the signed summaries about the packages of our own that a lock
// names, by digest. One that is not known is left out: the signer says so.
func (s *Shop) summaries(lock *ashlar.Lock) (map[ashlar.Digest][]byte, error) {
	list := map[ashlar.Digest][]byte{}
	for _, b := range lock.Inputs.Builds {
		if b.Root.Sysroot == nil {
			continue
		}
		for _, p := range b.Root.Sysroot.Packages {
			bundle, err := s.summary(p)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fault.New(fault.Internal, "%w", err)
			}
			if bundle != nil {
				list[p.Digest] = bundle
			}
		}
	}
	return list, nil
}

// summary returns the signed summary about a package that was built here.
func (s *Shop) summary(p ashlar.RootPackage) ([]byte, error) {
	key, err := os.ReadFile(s.path("made", p.Digest.Hex()))
	if err != nil {
		return nil, err
	}
	d := ashlar.Digest(key)
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(s.recordDir(d), recordBundles, attest.BundleName(path.Base(p.URI), "vsa")))
}

// noteMade remembers of which build each package is that others may be built with.
func (s *Shop) noteMade(r *Record) error {
	for _, f := range r.Result.Files {
		if !isV2(f.Name) {
			continue
		}
		if err := durable.MkdirAll(s.path("made"), 0o755); err != nil {
			return err
		}
		if err := durable.WriteFile(s.path("made", f.Digest.Hex()), []byte(r.Result.Key), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// vouch returns nil for a package of our own that our key vouches for.
func (s *Shop) vouch(_ context.Context, p ashlar.RootPackage) error {
	pub, err := sign.ReadPublic(s.KeysDir())
	if err != nil {
		return err
	}
	trust, err := attest.TrustKey(pub.Attestation)
	if err != nil {
		return err
	}
	bundle, err := s.summary(p)
	if err != nil {
		return fault.New(fault.Denied, "it is not known who built it: %w", err).Fix("make the lock again")
	}
	return trust.Vouch(p, bundle)
}
