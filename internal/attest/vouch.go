package attest

import (
	"context"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/sbom"
)

// Vouch returns nil if a trusted key signed that a package of this factory, with
// which another is built, passed its checks; summary is the bundle that says so.
// Else the error is fault.Denied.
func (t Trust) Vouch(p ashlar.RootPackage, summary []byte) error {
	denied := func(why string, args ...any) error {
		return fault.New(fault.Denied, "no summary of earlier checks is to be trusted for it: "+why, args...).
			Fix("build the package again, then this one")
	}
	b, err := intoto.DecodeBundle(summary)
	if err != nil {
		return denied("%w", err)
	}
	key, ok := t.find(b.KeyID())
	if !ok {
		return denied("it is signed by the key %s", b.KeyID())
	}
	s, err := b.DSSEEnvelope.Verify(key.Public)
	if err != nil {
		return denied("%w", err)
	}
	if !s.About(p.Digest) || s.PredicateType != intoto.PredicateVSA {
		return denied("it is a statement of type %s about %s", s.PredicateType, subjects(s))
	}
	var v intoto.VSA
	if err := s.Into(intoto.PredicateVSA, &v); err != nil {
		return denied("%w", err)
	}
	if v.VerificationResult != intoto.TestPassed {
		return denied("it says %q", v.VerificationResult)
	}
	if !slices.Contains(purlsOf(p), v.ResourceURI) {
		return denied("it is about %s", v.ResourceURI)
	}
	return nil
}

// purlsOf returns what a summary may call a package of this factory, which is for the
// architecture of the lock or for all. Its bytes alone do not say what world it is of.
func purlsOf(p ashlar.RootPackage) []string {
	var list []string
	for _, arch := range []string{p.Arch.Alpine(), "noarch"} {
		list = append(list, sbom.ApkPURL(sbom.VendorAshlar, p.Name, p.Version, arch, string(resolve.OwnDistro(p.URI))))
	}
	return list
}

// vouch is Trust.Vouch with the summaries of the evidence.
func (e *Evidence) vouch(_ context.Context, p ashlar.RootPackage) error {
	return e.trust.Vouch(p, e.Summaries[p.Digest])
}
