package intoto

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// BundleType is the media type of the bundles that this package reads and makes.
const BundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// An Envelope is a DSSE envelope: a payload and signatures over it.
type Envelope struct {
	Payload     []byte      `json:"payload"`
	PayloadType string      `json:"payloadType"`
	Signatures  []Signature `json:"signatures"`
}

// A Signature is one signature over the envelope's PAE.
type Signature struct {
	Sig   []byte `json:"sig"`
	KeyID string `json:"keyid,omitempty"`
}

// A Bundle is a Sigstore bundle that carries a DSSE envelope with exactly one
// signature, made by a key that the reader must know: only a hint names it.
type Bundle struct {
	MediaType            string               `json:"mediaType"`
	VerificationMaterial VerificationMaterial `json:"verificationMaterial"`
	DSSEEnvelope         Envelope             `json:"dsseEnvelope"`
}

// VerificationMaterial names the key of a bundle.
type VerificationMaterial struct {
	PublicKey PublicKeyHint `json:"publicKey"`
}

// A PublicKeyHint names a key by the value of KeyID.
type PublicKeyHint struct {
	Hint string `json:"hint"`
}

// PAE returns the pre-authentication encoding of a payload, the bytes that a
// DSSE signature is over.
func PAE(payloadType string, payload []byte) []byte {
	head := fmt.Sprintf("DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload))
	return append([]byte(head), payload...)
}

// KeyID returns the name of a public key in bundles: the SHA-256 of its PKIX
// form in base64, as cosign computes it.
func KeyID(pub crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return "", fault.New(fault.Invalid, "public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.StdEncoding.EncodeToString(sum[:]), nil
}

// NewBundle puts a statement's bytes and the signature over their PAE into a
// bundle. As in cosign's own bundles the key is named by the hint alone: stock
// verifiers compare a key id inside the envelope with a name of another form.
func NewBundle(payload, sig []byte, keyID string) *Bundle {
	return &Bundle{
		MediaType:            BundleType,
		VerificationMaterial: VerificationMaterial{PublicKey: PublicKeyHint{Hint: keyID}},
		DSSEEnvelope: Envelope{
			Payload:     payload,
			PayloadType: PayloadType,
			Signatures:  []Signature{{Sig: sig}},
		},
	}
}

// Encode returns the bundle as JSON on one line with a line feed.
func (b *Bundle) Encode() ([]byte, error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	out, err := encode(b)
	if err != nil {
		return nil, err
	}
	return append(out, '\n'), nil
}

// KeyID returns the hint of the bundle's key.
func (b *Bundle) KeyID() string { return b.VerificationMaterial.PublicKey.Hint }

// DecodeBundle reads a bundle. One that carries anything this program does not
// check, such as certificates or log entries, is refused.
func DecodeBundle(data []byte) (*Bundle, error) {
	var b Bundle
	if err := decode("bundle", data, &b); err != nil {
		return nil, err
	}
	return &b, b.validate()
}

func (b *Bundle) validate() error {
	e := b.DSSEEnvelope
	switch {
	case b.MediaType != BundleType:
		return fault.New(fault.Invalid, "a bundle of media type %q, this program reads %q", b.MediaType, BundleType)
	case len(e.Signatures) != 1:
		return fault.New(fault.Invalid, "the bundle holds %d signatures, it must hold exactly one", len(e.Signatures))
	case b.KeyID() == "":
		return fault.New(fault.Invalid, "the bundle does not name its key")
	case e.Signatures[0].KeyID != "" && e.Signatures[0].KeyID != b.KeyID():
		return fault.New(fault.Invalid, "the bundle and its envelope do not name the same key")
	}
	return e.validate()
}

func (e *Envelope) validate() error {
	switch {
	case len(e.Payload) == 0:
		return fault.New(fault.Invalid, "the envelope is empty")
	case e.PayloadType != PayloadType:
		return fault.New(fault.Invalid, "the envelope holds a %q, not a %q", e.PayloadType, PayloadType)
	case len(e.Signatures) == 0:
		return fault.New(fault.Invalid, "the envelope is not signed")
	}
	return nil
}

// Verify checks that one of the envelope's signatures is by pub, an ECDSA P-256
// or an Ed25519 key, and returns the statement that was signed. A signature that
// does not hold is a fault.Denied error.
func (e *Envelope) Verify(pub crypto.PublicKey) (*Statement, error) {
	if err := e.validate(); err != nil {
		return nil, err
	}
	id, err := KeyID(pub)
	if err != nil {
		return nil, err
	}
	message := PAE(e.PayloadType, e.Payload)
	for _, s := range e.Signatures {
		if s.KeyID != "" && s.KeyID != id {
			continue
		}
		if verify(pub, message, s.Sig) {
			return DecodeStatement(e.Payload)
		}
	}
	return nil, fault.New(fault.Denied, "the signature is not by the key %s, or the statement was changed after signing", id)
}

// verify reports whether sig is pub's signature over message.
func verify(pub crypto.PublicKey, message, sig []byte) bool {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return key.Curve == elliptic.P256() && ecdsa.VerifyASN1(key, sum[:], sig)
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, sig)
	}
	return false
}
