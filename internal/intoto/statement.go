// Package intoto reads and writes attestations: in-toto statements, the
// predicates that Ashlar makes, DSSE envelopes and Sigstore bundles. It does no
// I/O and holds no keys. Decoding is strict and bounded: unknown fields,
// duplicate keys and text after the value are refused.
package intoto

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// StatementType is the type of every statement that this package makes.
const StatementType = "https://in-toto.io/Statement/v1"

// PayloadType is the media type of a statement inside a DSSE envelope.
const PayloadType = "application/vnd.in-toto+json"

// The predicate types that this package knows.
const (
	PredicateProvenance = "https://slsa.dev/provenance/v1"
	PredicateVSA        = "https://slsa.dev/verification_summary/v1"
	PredicateTest       = "https://in-toto.io/attestation/test-result/v0.1"
	PredicateSPDX       = "https://spdx.dev/Document"
	PredicateAPKIndex   = "https://github.com/ashlar-project/ashlar/apk-index@v1"
	PredicateAPKKeys    = "https://github.com/ashlar-project/ashlar/apk-keys@v1"
)

const maxSubjects = 10_000

// A Statement says something, the predicate, about its subjects.
type Statement struct {
	Type          string          `json:"_type"`
	Subject       []Descriptor    `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

// A Descriptor names a thing by digest. Digest maps an algorithm ("sha256",
// "gitCommit") to hexadecimal digits.
type Descriptor struct {
	Name             string            `json:"name,omitempty"`
	URI              string            `json:"uri,omitempty"`
	Digest           map[string]string `json:"digest,omitempty"`
	Content          []byte            `json:"content,omitempty"`
	DownloadLocation string            `json:"downloadLocation,omitempty"`
	MediaType        string            `json:"mediaType,omitempty"`
	Annotations      map[string]any    `json:"annotations,omitempty"`
}

// SHA256 returns the digest map of one SHA-256.
func SHA256(d ashlar.Digest) map[string]string { return map[string]string{"sha256": d.Hex()} }

// NewStatement returns a statement about files, with predicate as its JSON.
func NewStatement(predicateType string, predicate any, subjects ...ashlar.File) (*Statement, error) {
	raw, err := encode(predicate)
	if err != nil {
		return nil, fault.New(fault.Internal, "encode the predicate %s: %w", predicateType, err)
	}
	s := &Statement{Type: StatementType, PredicateType: predicateType, Predicate: raw}
	for _, f := range subjects {
		if err := f.Digest.Validate(); err != nil {
			return nil, fault.New(fault.Invalid, "subject %s: %w", f.Name, err)
		}
		s.Subject = append(s.Subject, Descriptor{Name: f.Name, Digest: SHA256(f.Digest)})
	}
	return s, s.validate()
}

// Encode returns the statement as JSON on one line, the bytes to be signed.
func (s *Statement) Encode() ([]byte, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	return encode(s)
}

// About reports whether the file with digest d is a subject. Names do not count.
func (s *Statement) About(d ashlar.Digest) bool {
	for _, subject := range s.Subject {
		if subject.Digest["sha256"] == d.Hex() {
			return true
		}
	}
	return false
}

// Into decodes the predicate strictly into v, after checking that its type is
// the one wanted.
func (s *Statement) Into(predicateType string, v any) error {
	if s.PredicateType != predicateType {
		return fault.New(fault.Invalid, "the statement is a %q, not a %q", s.PredicateType, predicateType)
	}
	return decode("predicate "+predicateType, s.Predicate, v)
}

// DecodeStatement reads the JSON of a statement.
func DecodeStatement(b []byte) (*Statement, error) {
	var s Statement
	if err := decode("statement", b, &s); err != nil {
		return nil, err
	}
	return &s, s.validate()
}

func (s *Statement) validate() error {
	switch {
	case s.Type != StatementType:
		return fault.New(fault.Invalid, "a statement of type %q, this program reads %q", s.Type, StatementType)
	case s.PredicateType == "":
		return fault.New(fault.Invalid, "a statement without a predicate type")
	case len(s.Subject) == 0:
		return fault.New(fault.Invalid, "a statement about nothing")
	case len(s.Subject) > maxSubjects:
		return fault.New(fault.Invalid, "a statement about more than %d subjects", maxSubjects)
	case !bytes.HasPrefix(s.Predicate, []byte("{")):
		return fault.New(fault.Invalid, "a statement whose predicate is no object")
	}
	for _, d := range s.Subject {
		if len(d.Digest) == 0 {
			return fault.New(fault.Invalid, "the subject %q has no digest", d.Name)
		}
	}
	return nil
}

// A Provenance is the SLSA v1 predicate: how a file came to be.
type Provenance struct {
	BuildDefinition BuildDefinition `json:"buildDefinition"`
	RunDetails      RunDetails      `json:"runDetails"`
}

// A BuildDefinition holds the inputs of a build. The two parameter objects have
// the form that BuildType defines.
type BuildDefinition struct {
	BuildType            string          `json:"buildType"`
	ExternalParameters   json.RawMessage `json:"externalParameters"`
	InternalParameters   json.RawMessage `json:"internalParameters,omitempty"`
	ResolvedDependencies []Descriptor    `json:"resolvedDependencies,omitempty"`
}

// RunDetails say who built, when, and what else came of it.
type RunDetails struct {
	Builder    Builder       `json:"builder"`
	Metadata   BuildMetadata `json:"metadata"`
	Byproducts []Descriptor  `json:"byproducts,omitempty"`
}

// A Builder is the platform that is trusted to have built faithfully.
type Builder struct {
	ID                  string            `json:"id"`
	BuilderDependencies []Descriptor      `json:"builderDependencies,omitempty"`
	Version             map[string]string `json:"version,omitempty"`
}

// BuildMetadata identify one run. Times are UTC.
type BuildMetadata struct {
	InvocationID string     `json:"invocationId,omitempty"`
	StartedOn    *time.Time `json:"startedOn,omitempty"`
	FinishedOn   *time.Time `json:"finishedOn,omitempty"`
}

// A TestResult is the test-result v0.1 predicate.
type TestResult struct {
	Result        string       `json:"result"` // TestPassed, TestWarned or TestFailed
	Configuration []Descriptor `json:"configuration"`
	URL           string       `json:"url,omitempty"`
	PassedTests   []string     `json:"passedTests,omitempty"`
	WarnedTests   []string     `json:"warnedTests,omitempty"`
	FailedTests   []string     `json:"failedTests,omitempty"`
}

// The results of a test run.
const (
	TestPassed = "PASSED"
	TestWarned = "WARNED"
	TestFailed = "FAILED"
)

// A VSA is the SLSA verification summary v1 predicate: that a file was checked
// against a policy, so that an installer need not check everything again.
type VSA struct {
	Verifier           Verifier       `json:"verifier"`
	TimeVerified       *time.Time     `json:"timeVerified,omitempty"`
	ResourceURI        string         `json:"resourceUri"`
	Policy             Descriptor     `json:"policy"`
	InputAttestations  []Descriptor   `json:"inputAttestations,omitempty"`
	VerificationResult string         `json:"verificationResult"` // "PASSED" or "FAILED"
	VerifiedLevels     []string       `json:"verifiedLevels"`
	DependencyLevels   map[string]int `json:"dependencyLevels,omitempty"`
	SLSAVersion        string         `json:"slsaVersion,omitempty"`
}

// A Verifier is who checked.
type Verifier struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// An APKIndex is the predicate of Ashlar's own that says of the indexes of an apk
// repository, which never expire and do not say whose they are, that they are the
// newest of that repository. Who is shown others, or a statement that has expired,
// is being kept from updates.
type APKIndex struct {
	Repository string    `json:"repository"` // "musl-1/community"
	Arch       string    `json:"arch"`       // in apk's words, "x86_64"
	Snapshot   string    `json:"snapshot"`   // id of the snapshot with the same indexes
	Sequence   int64     `json:"sequence"`   // grows with every statement about the repository
	Issued     time.Time `json:"issued"`     // UTC
	Expires    time.Time `json:"expires"`    // UTC
}

// APKKeys is the predicate of Ashlar's own that lists the public keys with which
// apk packages and indexes are signed; its subjects are their files.
type APKKeys struct {
	Issued time.Time `json:"issued"` // UTC
	Keys   []APKKey  `json:"keys"`
}

// An APKKey is a public key for apk.
type APKKey struct {
	Name      string `json:"name"`      // of its file, also in /etc/apk/keys
	ID        string `json:"id"`        // by which v3 files name it, in hexadecimal
	Algorithm string `json:"algorithm"` // "RSA-4096" or "ECDSA-P256"
	Format    string `json:"format"`    // what it signs: "v2" or "v3"
}
