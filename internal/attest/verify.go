package attest

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// A VerifyRequest says what to check. Nothing outside of it is consulted.
type VerifyRequest struct {
	Name    string    // of the file, for the report
	File    io.Reader // its content
	Bundles [][]byte  // the Sigstore bundles that came with it
	Trust   Trust
	Policy  Policy
}

// Trust is who is believed.
type Trust struct {
	Keys []TrustedKey
}

// A TrustedKey is believed to sign for the builders named, and no others: a key
// of level 2 cannot claim level 3.
type TrustedKey struct {
	Public   crypto.PublicKey
	Builders []string
}

// TrustKey returns a Trust in one public key in PEM, for the given builders, or
// for those of both levels if none is given.
func TrustKey(pem []byte, builders ...string) (Trust, error) {
	pub, err := sign.ParsePublicKey(pem)
	if err != nil {
		return Trust{}, err
	}
	if len(builders) == 0 {
		builders = []string{BuilderL2, BuilderL3}
	}
	return Trust{Keys: []TrustedKey{{Public: pub, Builders: builders}}}, nil
}

// A Report says what was checked about a file, in plain words.
type Report struct {
	File     ashlar.File `json:"file"`
	Verified bool        `json:"verified"` // every claim holds
	Level    int         `json:"level"`    // SLSA build level, 0 if not known
	Builder  string      `json:"builder,omitempty"`
	Claims   []Claim     `json:"claims"`
}

// A Claim is one thing that was checked.
type Claim struct {
	Claim  string `json:"claim"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

const maxBundles = 64

// Verify checks a file against the statements that came with it: digest,
// signatures, builder, the form of the provenance and the policy. It needs no
// network. If a claim does not hold it returns the report, and a fault.Denied
// error for a file that is not what a trusted key signed, a fault.Policy error
// for one that is and yet is not wanted.
func Verify(ctx context.Context, r VerifyRequest) (*Report, error) {
	v := &verifier{r: r, report: &Report{}, statements: map[string]signedStatement{}}
	if err := v.measure(ctx); err != nil {
		return nil, err
	}
	if len(r.Bundles) > maxBundles {
		return nil, fault.New(fault.Invalid, "more than %d bundles", maxBundles)
	}
	for i, b := range r.Bundles {
		v.bundle(i, b)
	}
	v.provenance()
	return v.result()
}

// A signedStatement is one that a trusted key signed about the file.
type signedStatement struct {
	*intoto.Statement
	key TrustedKey
}

// A verifier collects claims.
type verifier struct {
	r          VerifyRequest
	report     *Report
	statements map[string]signedStatement // by predicate type
	policy     int                        // index of the first claim that is about policy
}

func (v *verifier) say(ok bool, claim, format string, args ...any) bool {
	v.report.Claims = append(v.report.Claims, Claim{Claim: claim, OK: ok, Detail: fmt.Sprintf(format, args...)})
	return ok
}

// result sums the claims up.
func (v *verifier) result() (*Report, error) {
	for i, c := range v.report.Claims {
		if c.OK {
			continue
		}
		kind := fault.Denied
		if v.policy > 0 && i >= v.policy {
			kind = fault.Policy
		}
		what := strings.ToLower(c.Claim[:1]) + c.Claim[1:]
		return v.report, fault.New(kind, "not verified: it does not hold that %s: %s", what, c.Detail).
			At(v.r.Name, 0).Fix("do not use the file; fetch it again from its publisher")
	}
	v.report.Verified = true
	return v.report, nil
}

// measure takes the digest of the file.
func (v *verifier) measure(ctx context.Context) error {
	h := sha256.New()
	n, err := io.Copy(h, v.r.File)
	if err != nil {
		return fault.New(fault.Failed, "read the file: %w", err).At(v.r.Name, 0)
	}
	v.report.File = ashlar.File{
		Name: v.r.Name, Size: n, Digest: ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil))),
	}
	return ctx.Err()
}

// bundle takes one bundle into account. One that does not hold is a claim that
// fails; one of a type that is there already is ignored only if it is the same.
func (v *verifier) bundle(i int, data []byte) {
	claim := fmt.Sprintf("Statement %d is signed by a trusted key and about this file", i+1)
	b, err := intoto.DecodeBundle(data)
	if err != nil {
		v.say(false, claim, "%v", err)
		return
	}
	key, ok := v.r.Trust.find(b.KeyID())
	if !ok {
		v.say(false, claim, "it is signed by the key %s, which is not trusted", b.KeyID())
		return
	}
	s, err := b.DSSEEnvelope.Verify(key.Public)
	if err != nil {
		v.say(false, claim, "%v", err)
		return
	}
	if !s.About(v.report.File.Digest) {
		v.say(false, claim, "it is about %s, this file has SHA-256 %s", subjects(s), v.report.File.Digest.Hex())
		return
	}
	if _, twice := v.statements[s.PredicateType]; twice {
		v.say(false, claim, "there is another statement of type %s", s.PredicateType)
		return
	}
	v.statements[s.PredicateType] = signedStatement{s, key}
	v.say(true, claim, "%s", predicateWords(s.PredicateType))
}

// find returns the trusted key with the given id.
func (t Trust) find(id string) (TrustedKey, bool) {
	for _, k := range t.Keys {
		if got, err := intoto.KeyID(k.Public); err == nil && got == id {
			return k, true
		}
	}
	return TrustedKey{}, false
}

func subjects(s *intoto.Statement) string {
	var all []string
	for _, d := range s.Subject[:min(3, len(s.Subject))] {
		all = append(all, d.Name+" with SHA-256 "+d.Digest["sha256"])
	}
	return strings.Join(all, ", ")
}

func predicateWords(t string) string {
	words := map[string]string{
		intoto.PredicateProvenance: "how it was built (SLSA provenance)",
		intoto.PredicateTest:       "how it was tested",
		intoto.PredicateSPDX:       "what it consists of (SPDX)",
		intoto.PredicateVSA:        "a summary of earlier checks",
	}
	if w, ok := words[t]; ok {
		return w
	}
	return "of a type that this program does not read: " + t
}

// provenance checks who built the file, from what, and whether that is wanted.
func (v *verifier) provenance() {
	s, ok := v.statements[intoto.PredicateProvenance]
	if !ok {
		v.say(false, "There is a signed provenance", "none came with the file")
		return
	}
	p, err := ReadProvenance(s.Statement)
	if err != nil {
		v.say(false, "The provenance has the form that its build type says", "%v", err)
		return
	}
	v.say(true, "The provenance has the form that its build type says", "no parameter is unknown")
	v.report.Builder, v.report.Level = p.Builder, levelOf(p.Builder)
	if !v.say(slices.Contains(s.key.Builders, p.Builder) && v.report.Level > 0,
		"The key may sign for the builder", "%s", p.Builder) {
		return
	}
	err = p.consistent()
	v.say(err == nil, "Definition, lock and dependencies agree", "%s", agreement(p, err))
	v.policy = len(v.report.Claims)
	v.report.Claims = append(v.report.Claims, v.r.Policy.judge(judged{
		lock: p.Internal.Lock, network: p.Internal.Network, test: v.test(), level: v.report.Level,
	})...)
	v.say(true, "Where the chain leaves the builder's hands is named", "%d packages of the build root were built by the distribution", p.binaries())
}

// test returns the signed test result, or nil.
func (v *verifier) test() *intoto.TestResult {
	s, ok := v.statements[intoto.PredicateTest]
	if !ok {
		return nil
	}
	t := &intoto.TestResult{}
	if err := s.Into(intoto.PredicateTest, t); err != nil {
		return nil
	}
	return t
}

func agreement(p *ReadyProvenance, err error) string {
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s of %d dependencies, each with a digest", p.External.Definition.Path, p.dependencies)
}
