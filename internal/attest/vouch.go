package attest

import (
	"context"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
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
	return nil
}

// vouch is Trust.Vouch with the summaries of the evidence.
func (e *Evidence) vouch(_ context.Context, p ashlar.RootPackage) error {
	return e.trust.Vouch(p, e.Summaries[p.Digest])
}
