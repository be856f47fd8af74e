package work

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/gate"
	"github.com/ashlar-project/ashlar/internal/repo"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// PublishOptions say where to publish and what may be.
type PublishOptions struct {
	Tier                 ashlar.Tier
	Base                 string // public address of the repositories
	Arch                 string // "" for amd64
	AllowUnauthenticated bool   // even what came of a source that nothing vouches for
	AllowNetwork         bool   // even what steps made that could reach the network
}

// Publication is one suite that was published to.
type Publication struct {
	Tier     ashlar.Tier `json:"tier"`
	Suite    string      `json:"suite"`
	Sets     int         `json:"sets"`
	Snapshot string      `json:"snapshot"`
	Changed  []string    `json:"changed,omitempty"`
}

// Publish puts the newest record of each definition into the suite of its
// release, and packages for apk into the repository of their distribution.
// Everything is checked before anything is written.
func (s *Shop) Publish(ctx context.Context, refs []Ref, opts PublishOptions) (done []Publication, err error) {
	if opts.Arch == "" {
		opts.Arch = "amd64"
	}
	debs := map[string][]repo.SourceSet{}
	apks := map[ashlar.Distro][]apkrepo.SourceSet{}
	for _, ref := range refs {
		r, err := s.publishable(ctx, ref, opts)
		if err != nil {
			return nil, err
		}
		if err := s.sourceSets(ctx, ref, r, debs, apks); err != nil {
			return nil, err
		}
	}
	if len(debs) > 0 {
		if done, err = s.publishDebs(ctx, debs, opts); err != nil {
			return done, err
		}
	}
	for _, distro := range slices.Sorted(maps.Keys(apks)) {
		p, err := s.PublishAPK(ctx, apkrepo.Target{Distro: distro, Tier: opts.Tier}, apks[distro])
		if err != nil {
			return done, err
		}
		done = append(done, Publication{Tier: opts.Tier, Suite: string(distro), Sets: len(apks[distro]), Snapshot: p.Snapshot, Changed: p.Changed})
	}
	return done, nil
}

// publishDebs publishes source sets for apt, by suite.
func (s *Shop) publishDebs(ctx context.Context, bySuite map[string][]repo.SourceSet, opts PublishOptions) (done []Publication, err error) {
	r, err := s.Repo(opts.Base)
	if err != nil {
		return nil, err
	}
	if err := s.PublishKeys(ctx); err != nil {
		return nil, err
	}
	for _, suite := range slices.Sorted(maps.Keys(bySuite)) {
		end := s.stage(fmt.Sprintf("%s/%s", opts.Tier, suite), "publish")
		p, err := r.Publish(ctx, opts.Tier, suite, bySuite[suite], s.Now())
		if err != nil {
			end("", false, err)
			return done, err
		}
		end(fmt.Sprintf("%d source sets, snapshot %s", len(bySuite[suite]), p.Snapshot), len(p.Changed) == 0, nil)
		done = append(done, Publication{Tier: opts.Tier, Suite: suite, Sets: len(bySuite[suite]), Snapshot: p.Snapshot, Changed: p.Changed})
	}
	return done, nil
}

// publishable returns the newest record of a definition, or why it must not be
// published.
func (s *Shop) publishable(ctx context.Context, ref Ref, opts PublishOptions) (*Record, error) {
	r, err := s.Latest(ref, ashlar.Arch(opts.Arch))
	if err != nil {
		return nil, err
	}
	if err := gate.Failure(r.Verdict); err != nil {
		return nil, err
	}
	policy := s.Config.Publish
	policy.AllowUnauthenticated = policy.AllowUnauthenticated || opts.AllowUnauthenticated
	policy.AllowNetwork = policy.AllowNetwork || opts.AllowNetwork
	if err := policy.CheckPublish(r.evidence(ctx, ref, s.Now())); err != nil {
		return nil, err
	}
	return r, s.proved(ctx, r, policy)
}

// sourceSets adds what a record publishes, by the suite or the distribution.
func (s *Shop) sourceSets(ctx context.Context, ref Ref, r *Record, debs map[string][]repo.SourceSet, apks map[ashlar.Distro][]apkrepo.SourceSet) error {
	var forAPK, forDeb []ashlar.File
	for _, f := range r.Result.Files {
		if path.Ext(f.Name) == ".apk" {
			forAPK = append(forAPK, f)
		} else {
			forDeb = append(forDeb, f)
		}
	}
	apkBundles, debBundles, err := s.bundles(ctx, r)
	if err != nil {
		return err
	}
	target := r.Result.Target
	if len(forAPK) > 0 {
		apks[target.Distro] = append(apks[target.Distro], apkrepo.SourceSet{
			Arch: target.Arch.Alpine(), Packages: forAPK, Bundles: apkBundles, Lock: r.Lock,
		})
	}
	if len(r.Result.Debs()) == 0 {
		return nil
	}
	suite := target.Distro.Codename()
	if suite == "" {
		return fault.New(fault.Invalid, "there is no Debian suite for %s", target.Distro).At(ref.File(), 0)
	}
	debs[suite] = append(debs[suite], repo.SourceSet{Arch: target.Arch, Files: forDeb, Bundles: debBundles, Lock: r.Lock})
	return nil
}

// bundles puts the statements of a record into the store and returns those about
// packages for apk, and the others, sorted by name.
func (s *Shop) bundles(ctx context.Context, r *Record) (apks, others []ashlar.File, err error) {
	for _, name := range slices.Sorted(maps.Keys(r.Bundles)) {
		f, err := s.Store.Put(ctx, bytes.NewReader(r.Bundles[name]), "")
		if err != nil {
			return nil, nil, err
		}
		f.Name = name
		if strings.Contains(name, ".apk.") {
			apks = append(apks, f)
		} else {
			others = append(others, f)
		}
	}
	return apks, others, nil
}

// proved checks every file of a record as a user of the repository will: by its
// content and the statements beside it. The record was written by an earlier run
// and is no evidence itself.
func (s *Shop) proved(ctx context.Context, r *Record, policy attest.Policy) error {
	pub, err := sign.ReadPublic(s.KeysDir())
	if err != nil {
		return err
	}
	trust, err := attest.TrustKey(pub.Attestation)
	if err != nil {
		return err
	}
	for _, f := range r.Result.Files {
		switch path.Ext(f.Name) {
		case ".deb", ".udeb", ".dsc", ".apk":
		default:
			continue
		}
		var bundles [][]byte
		for _, kind := range attest.BundleKinds() {
			if b, ok := r.Bundles[attest.BundleName(f.Name, kind)]; ok {
				bundles = append(bundles, b)
			}
		}
		content, err := s.Store.Open(ctx, f.Digest)
		if err != nil {
			return err
		}
		_, err = attest.Verify(ctx, attest.VerifyRequest{Name: f.Name, File: content, Bundles: bundles, Trust: trust, Policy: policy})
		content.Close()
		if err != nil {
			return fault.New(fault.KindOf(err), "%w", err).Fix("build it again: ashlar build --fresh")
		}
	}
	return nil
}

// PublishKeys puts the public keys where clients find them.
func (s *Shop) PublishKeys(ctx context.Context) error {
	pub, err := sign.ReadPublic(s.KeysDir())
	if err != nil {
		return err
	}
	dir := s.path("repo", "keys")
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, b := range map[string][]byte{sign.AttestationPub: pub.Attestation, sign.RepositoryPub: pub.Repository} {
		if err := durable.WriteFile(s.path("repo", "keys", name), b, 0o644); err != nil {
			return err
		}
	}
	apks, err := s.APKRepo()
	if err != nil {
		return err
	}
	return apks.PublishKeys(ctx, pub.APK, s.Now())
}
