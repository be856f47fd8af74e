package attest

import (
	"context"
	"fmt"
	"path"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

// A Prepared statement is ready to be signed.
type Prepared struct {
	Subject   ashlar.File
	Name      string // of the bundle's file, "<subject>.provenance.sigstore.json"
	Statement []byte // in-toto JSON
}

// The kinds of statement, as they stand in the names of bundle files.
const (
	kindProvenance = "provenance"
	kindSPDX       = "spdx"
	kindTest       = "test"
	kindVSA        = "vsa"
)

// BundleKinds returns the kinds of statement that a file may have.
func BundleKinds() []string { return []string{kindProvenance, kindSPDX, kindTest, kindVSA} }

// BundleName returns the name of the bundle that holds a statement of the given
// kind ("provenance", "spdx", "test", "vsa") about a file.
func BundleName(file, kind string) string { return file + "." + kind + bundleSuffix }

// Prepare works out the statements about every .deb, .udeb and .dsc of a result:
// provenance, test results, an SBOM for each binary package, and a verification
// summary if the default policy lets the build be published. It believes no
// digest: every output and every pinned input is read again, and so are the
// indexes. It works out again what the lock says, down to who vouches for each source,
// and plans the definition under it again, so that the plan's key, the steps and which
// of them had the network are its own words. A difference is fault.Denied. What it
// cannot work out again stays the caller's word: see Evidence.
func Prepare(ctx context.Context, given *Evidence, d *Desk) ([]Prepared, error) {
	own := *given
	e := &own
	if err := e.check(); err != nil {
		return nil, err
	}
	set, err := e.checkFiles(ctx, d.files)
	if err != nil {
		return nil, err
	}
	if err := e.replan(ctx, d); err != nil {
		return nil, err
	}
	provenance, err := e.provenance()
	if err != nil {
		return nil, err
	}
	p := &preparer{e: e, set: set, provenance: provenance, test: e.testResult()}
	for _, f := range e.Result.Files {
		if err := p.prepare(f); err != nil {
			return nil, fault.New(fault.KindOf(err), "%s: %w", f.Name, err)
		}
	}
	return p.done, nil
}

// A preparer collects the statements of one build.
type preparer struct {
	e          *Evidence
	set        *verifiedSet
	provenance *intoto.Provenance
	test       *intoto.TestResult
	done       []Prepared
}

func (p *preparer) prepare(f ashlar.File) error {
	if !isPackage(f.Name) && path.Ext(f.Name) != ".dsc" {
		return nil
	}
	if err := p.add(f, kindProvenance, intoto.PredicateProvenance, p.provenance); err != nil {
		return err
	}
	provenance := p.done[len(p.done)-1]
	if err := p.add(f, kindTest, intoto.PredicateTest, p.test); err != nil {
		return err
	}
	if !isPackage(f.Name) {
		return nil
	}
	document, err := p.spdx(f)
	if err != nil {
		return err
	}
	if err := p.add(f, kindSPDX, intoto.PredicateSPDX, document); err != nil {
		return err
	}
	if DefaultPolicy().CheckPublish(p.e) != nil {
		return nil
	}
	return p.add(f, kindVSA, intoto.PredicateVSA, p.e.vsa(p.set.packages[f.Name], provenance))
}

func (p *preparer) add(f ashlar.File, kind, predicateType string, predicate any) error {
	s, err := intoto.NewStatement(predicateType, predicate, f)
	if err != nil {
		return err
	}
	raw, err := s.Encode()
	if err != nil {
		return err
	}
	p.done = append(p.done, Prepared{Subject: f, Name: BundleName(f.Name, kind), Statement: raw})
	return nil
}

// testResult is the statement about the package's own tests and the gate, as the
// caller tells of both: the signer runs neither.
func (e *Evidence) testResult() *intoto.TestResult {
	t := &intoto.TestResult{Configuration: []intoto.Descriptor{
		{Name: e.Definition.Path, URI: e.definition().URI, Digest: intoto.SHA256(e.definition().Digest)},
	}}
	own := e.Result.Tests
	switch {
	case own.Failed > 0:
		t.FailedTests = append(t.FailedTests, fmt.Sprintf("%s: %d failed", testOwn, own.Failed))
	case own.Outcome == ashlar.TestsPassed && own.Passed > 0:
		t.PassedTests = append(t.PassedTests, fmt.Sprintf("%s: %d passed", testOwn, own.Passed))
	case own.Outcome == ashlar.TestsPassed:
		t.PassedTests = append(t.PassedTests, testOwn)
	default:
		t.WarnedTests = append(t.WarnedTests, testOwn+": "+own.Outcome+reason(own.Reason))
	}
	e.addGate(t)
	switch {
	case len(t.FailedTests) > 0:
		t.Result = intoto.TestFailed
	case len(t.WarnedTests) > 0:
		t.Result = intoto.TestWarned
	default:
		t.Result = intoto.TestPassed
	}
	return t
}

// The names of tests begin with one of these.
const (
	testOwn  = "own test suite"
	testGate = "gate: "
)

// addGate adds the checks of the gate, and the indexes that it worked on.
func (e *Evidence) addGate(t *intoto.TestResult) {
	v := e.Gate
	if v == nil {
		t.WarnedTests = append(t.WarnedTests, testGate+"not run")
		return
	}
	for _, x := range v.Indexes {
		t.Configuration = append(t.Configuration, intoto.Descriptor{URI: x.URI, Digest: intoto.SHA256(x.Digest), Annotations: e.notesOn(x.Digest)})
	}
	for _, c := range v.Checks {
		name := testGate + c.Name + " " + c.Subject
		switch c.Outcome {
		case ashlar.CheckPassed:
			t.PassedTests = append(t.PassedTests, name)
		case ashlar.CheckLeftOut:
			t.WarnedTests = append(t.WarnedTests, name+" left out"+reason(c.Detail))
		default:
			t.FailedTests = append(t.FailedTests, name+reason(c.Detail))
		}
	}
	if !v.Passed && len(t.FailedTests) == 0 {
		t.FailedTests = append(t.FailedTests, testGate+"not passed")
	}
}

func reason(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// vsa is the summary that an installer can check alone. It is only made of
// builds that the default policy lets through, and rests on the caller's word
// wherever the policy does: for the tests and the gate.
func (e *Evidence) vsa(p builtPackage, provenance Prepared) *intoto.VSA {
	now := e.Now.UTC()
	return &intoto.VSA{
		Verifier:     intoto.Verifier{ID: e.Builder.ID},
		TimeVerified: &now,
		ResourceURI:  p.purl,
		Policy:       DefaultPolicy().descriptor(),
		InputAttestations: []intoto.Descriptor{{
			Name: provenance.Name, MediaType: intoto.PayloadType,
			Digest: intoto.SHA256(ashlar.DigestOf(provenance.Statement)),
		}},
		VerificationResult: intoto.TestPassed,
		VerifiedLevels:     []string{levelName(levelOf(e.Builder.ID))},
		SLSAVersion:        "1.2",
	}
}

// levelOf returns the SLSA build level that a builder stands for, 0 if unknown.
func levelOf(builder string) int {
	switch builder {
	case BuilderL2:
		return 2
	case BuilderL3:
		return 3
	}
	return 0
}

func levelName(level int) string { return fmt.Sprintf("SLSA_BUILD_LEVEL_%d", level) }
