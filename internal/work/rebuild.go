package work

import (
	"bytes"
	"context"
	"io"
	"path"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/source"
)

// A Comparison says how a package that was built again compares with the one at
// hand.
type Comparison struct {
	File      string        `json:"file"`
	Identical bool          `json:"identical"`
	Want      ashlar.Digest `json:"want"`
	Got       ashlar.Digest `json:"got"`
	Key       ashlar.Digest `json:"key"` // of the plan that was run
	// Unsigned is the digest that the file had before it was signed, if it was: then
	// Identical says that Got is that.
	Unsigned ashlar.Digest `json:"unsigned,omitempty"`
	// Siblings are the other files of the same build, as they came out this time.
	Siblings []ashlar.File `json:"siblings,omitempty"`
}

// Rebuild builds a package again from its provenance alone: the definition and
// the lock are in it, and everything that the lock names is in the store, on its
// mirror, or below from, the base of a repository that keeps sources ("" for
// none). The steps really run. The provenance must have been verified.
func (s *Shop) Rebuild(ctx context.Context, file ashlar.File, p *attest.ReadyProvenance, from string, vary build.Variation) (*Comparison, error) {
	lock := p.Internal.Lock
	if err := s.gather(ctx, lock, p.External.Definition.Content, from); err != nil {
		return nil, err
	}
	planned, err := s.replan(ctx, lock, p)
	if err != nil {
		return nil, err
	}
	vary.Fresh = true
	done := s.stage(file.Name, "rebuild")
	r, err := s.runner(ctx, file.Name, "rebuild", lock.Inputs.Target.Arch, vary)
	if err != nil {
		return nil, err
	}
	res, err := r.Run(ctx, planned.Plan)
	done("", false, err)
	if err != nil {
		return nil, err
	}
	c := &Comparison{File: file.Name, Want: file.Digest, Key: res.Key}
	return c, s.compare(ctx, c, p, subjectName(p, file), res.Files)
}

// compare looks for the file that was built again, by the name that it is published
// under.
func (s *Shop) compare(ctx context.Context, c *Comparison, p *attest.ReadyProvenance, name string, made []ashlar.File) error {
	want := c.Want
	if d, ok := p.Unsigned[name]; ok {
		c.Unsigned, want = d, d
	}
	for _, f := range made {
		published, err := s.PublishedName(ctx, f)
		if err != nil {
			return err
		}
		if published == name {
			c.Got, c.Identical = f.Digest, f.Digest == want
		} else {
			c.Siblings = append(c.Siblings, f)
		}
	}
	if c.Got == "" {
		return fault.New(fault.Failed, "building from the provenance made no %s", name).At(c.File, 0)
	}
	return nil
}

// PublishedName returns the name under which a file that a build made is published.
func (s *Shop) PublishedName(ctx context.Context, f ashlar.File) (string, error) {
	if path.Ext(f.Name) != ".apk" {
		return f.Name, nil
	}
	content, err := s.Store.Open(ctx, f.Digest)
	if err != nil {
		return "", err
	}
	defer content.Close()
	return apkName(io.NewSectionReader(content, 0, content.Size()), f.Name)
}

// subjectName returns the name that a file had when it was built: the one at hand
// may be another, as apt-get download writes a ":" as "%3a".
func subjectName(p *attest.ReadyProvenance, file ashlar.File) string {
	for _, s := range p.Subject {
		if s.Digest["sha256"] == file.Digest.Hex() && s.Name != "" {
			return s.Name
		}
	}
	return file.Name
}

// gather brings every file of a lock into the store.
func (s *Shop) gather(ctx context.Context, lock *ashlar.Lock, definition, from string) error {
	if _, err := s.Store.Put(ctx, strings.NewReader(definition), lock.Inputs.Definition.Digest); err != nil {
		return err
	}
	if from != "" {
		for _, m := range lock.Materials() {
			if _, err := s.Store.Stat(ctx, m.Digest); err == nil {
				continue
			}
			uri := strings.TrimSuffix(from, "/") + "/" + shelf.SourcePath(m.Digest)
			if _, err := s.Fetcher.Fetch(ctx, source.Request{URI: uri, Name: m.Name, Digest: m.Digest, Size: m.Size}); err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
		}
	}
	return resolve.Check(ctx, lock, nil, resolve.World{Fetcher: s.Fetcher, Store: s.Store, Now: s.Now()})
}

// replan plans the definition that a provenance carries under its lock, and
// refuses one whose plan is not the one that the provenance names: this program
// would then not build what was built.
func (s *Shop) replan(ctx context.Context, lock *ashlar.Lock, p *attest.ReadyProvenance) (*Planned, error) {
	given := p.External.Definition
	def, err := resolve.Pinned(lock, given.Path, []byte(given.Content), func(m ashlar.Material) ([]byte, error) {
		return blob.ReadAll(ctx, s.Store, m.Digest, maxDefinition)
	})
	if err != nil {
		return nil, err
	}
	planned, err := s.planned(def, lock)
	if err != nil {
		return nil, err
	}
	if got := planned.Plan.Key(); got != p.Internal.Plan {
		return nil, fault.New(fault.Conflict, "this version of Ashlar plans other steps (%s) than those that were run (%s)", got.Short(), p.Internal.Plan.Short()).
			Fix("rebuild with the version that the provenance names")
	}
	return planned, nil
}

// Provenance returns what the provenance among the bundles says, without
// checking its signature; the record is our own.
func (r *Record) Provenance(file string) (*attest.ReadyProvenance, error) {
	b, ok := r.Bundles[attest.BundleName(file, "provenance")]
	if !ok {
		return nil, fault.New(fault.NotFound, "no provenance of %s", file)
	}
	return attest.OpenProvenance(bytes.NewReader(b))
}

// Level says in words which level the attestations claim.
func (r *Record) Level() string {
	packages := r.Result.Packages()
	if len(packages) == 0 {
		return "not attested"
	}
	switch p, err := r.Provenance(packages[0].Name); {
	case err != nil:
		return "not attested"
	case p.Builder == attest.BuilderL3:
		return "SLSA Build L3"
	}
	return "SLSA Build L2"
}
