package attest

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

// A ReadyProvenance is a provenance whose parameters have been decoded. With it
// alone the file can be built again.
type ReadyProvenance struct {
	Subject  []intoto.Descriptor
	Builder  string // its id
	External ExternalParameters
	Internal InternalParameters
	// Unsigned has, by the name of a file that was signed after it was built, the
	// digest that it had before.
	Unsigned map[string]ashlar.Digest

	dependencies int
	digests      map[string]bool // SHA-256 of every dependency, hexadecimal
}

// ReadProvenance decodes the statement of a package's provenance strictly: another
// build type and unknown parameters are fault.Invalid.
func ReadProvenance(s *intoto.Statement) (*ReadyProvenance, error) {
	var p intoto.Provenance
	if err := s.Into(intoto.PredicateProvenance, &p); err != nil {
		return nil, err
	}
	if t := p.BuildDefinition.BuildType; t != BuildTypeDeb && t != BuildTypeApk {
		return nil, fault.New(fault.Invalid, "the build type is %q, this program reads %q and %q", t, BuildTypeDeb, BuildTypeApk)
	}
	r := &ReadyProvenance{Subject: s.Subject, Builder: p.RunDetails.Builder.ID, digests: map[string]bool{}, Unsigned: map[string]ashlar.Digest{}}
	if err := strictly("externalParameters", p.BuildDefinition.ExternalParameters, &r.External); err != nil {
		return nil, err
	}
	if err := strictly("internalParameters", p.BuildDefinition.InternalParameters, &r.Internal); err != nil {
		return nil, err
	}
	if r.Internal.Lock == nil {
		return nil, fault.New(fault.Invalid, "the provenance carries no lock")
	}
	for _, d := range p.BuildDefinition.ResolvedDependencies {
		if len(d.Digest) == 0 {
			return nil, fault.New(fault.Invalid, "the dependency %s has no digest", d.URI)
		}
		r.digests[d.Digest["sha256"]] = true
	}
	for _, d := range p.RunDetails.Byproducts {
		if d.Annotations[noteRole] == roleUnsigned {
			r.Unsigned[d.Name] = ashlar.Digest("sha256:" + d.Digest["sha256"])
		}
	}
	r.dependencies = len(p.BuildDefinition.ResolvedDependencies)
	return r, nil
}

// maxBundle bounds the file of a bundle, in bytes.
const maxBundle = 64 << 20

// OpenProvenance reads the provenance in a bundle without checking its
// signature, for building again: a rebuild that gives the same bytes proves more
// than a signature.
func OpenProvenance(r io.Reader) (*ReadyProvenance, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBundle))
	if err != nil {
		return nil, fault.New(fault.Failed, "read the provenance: %w", err)
	}
	b, err := intoto.DecodeBundle(data)
	if err != nil {
		return nil, err
	}
	s, err := intoto.DecodeStatement(b.DSSEEnvelope.Payload)
	if err != nil {
		return nil, err
	}
	p, err := ReadProvenance(s)
	if err != nil {
		return nil, err
	}
	return p, p.consistent()
}

// strictly decodes JSON whose form has been checked already, without unknown
// fields.
func strictly(what string, raw json.RawMessage, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fault.New(fault.Invalid, "%s: %w", what, err)
	}
	return nil
}

// consistent checks that the parts of a provenance agree with each other.
func (p *ReadyProvenance) consistent() error {
	given, lock := p.External.Definition, p.Internal.Lock
	switch {
	case ashlar.DigestOf([]byte(given.Content)) != given.Digest:
		return fault.New(fault.Invalid, "the definition's text does not have the digest that is named")
	case given.Digest != lock.Inputs.Definition.Digest:
		return fault.New(fault.Invalid, "the lock is of another definition")
	case p.External.Target != lock.Inputs.Target:
		return fault.New(fault.Invalid, "the lock is for another target")
	}
	if err := lock.Validate(); err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	all := lock.Materials()
	for _, x := range lock.Inputs.Indexes {
		all = append(all, ashlar.Material{URI: x.URI, Digest: x.Digest})
	}
	for _, f := range lock.Fetched {
		all = append(all, ashlar.Material{URI: f.Name, Digest: f.Digest})
	}
	for _, m := range all {
		if !p.digests[m.Digest.Hex()] {
			return fault.New(fault.Invalid, "the dependencies leave out %s, which the lock names", m.URI)
		}
	}
	for _, s := range p.Internal.Steps {
		if s.Network && !slices.Contains(p.Internal.Network, s.Build+": "+s.Name) {
			return fault.New(fault.Invalid, "the step %s reached the network and is not named among those that did", s.Name)
		}
	}
	return nil
}

// binaries returns how many packages of the distribution the build roots hold.
func (p *ReadyProvenance) binaries() int {
	seen := map[ashlar.Digest]bool{}
	for _, b := range p.Internal.Lock.Inputs.Builds {
		for _, r := range b.Root.Packages() {
			seen[r.Digest] = true
		}
	}
	return len(seen)
}
