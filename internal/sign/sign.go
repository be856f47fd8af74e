// Package sign holds the keys and the process that uses them. Nothing outside
// that process sees a private key: a caller describes what is to be signed, and
// handlers running beside the keys recompute it from the files before they sign.
package sign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// A Signer signs with one private key, which may be in a file, in a hardware
// module or at a service.
type Signer interface {
	// Sign returns the signature over message: ASN.1 ECDSA over its SHA-256, or
	// Ed25519.
	Sign(ctx context.Context, message []byte) ([]byte, error)
	// Public returns the public key, an *ecdsa.PublicKey or ed25519.PublicKey.
	Public() crypto.PublicKey
}

// NewSigner returns a Signer that uses key, whatever holds it. Keys other than
// ECDSA P-256 and Ed25519 are fault.Invalid.
func NewSigner(key crypto.Signer) (Signer, error) {
	switch pub := key.Public().(type) {
	case *ecdsa.PublicKey:
		if pub.Curve == elliptic.P256() {
			return signer{key}, nil
		}
	case ed25519.PublicKey:
		return signer{key}, nil
	}
	return nil, fault.New(fault.Invalid, "a key of type %T cannot sign attestations", key.Public()).
		Fix("use an ECDSA P-256 or an Ed25519 key")
}

type signer struct{ key crypto.Signer }

func (s signer) Public() crypto.PublicKey { return s.key.Public() }

func (s signer) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if _, ok := s.key.Public().(ed25519.PublicKey); ok {
		return s.key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	sum := sha256.Sum256(message)
	return s.key.Sign(rand.Reader, sum[:], crypto.SHA256)
}

// Bundle signs a statement's bytes and returns them in a Sigstore bundle.
func Bundle(ctx context.Context, s Signer, statement []byte) (*intoto.Bundle, error) {
	id, err := intoto.KeyID(s.Public())
	if err != nil {
		return nil, err
	}
	sig, err := s.Sign(ctx, intoto.PAE(intoto.PayloadType, statement))
	if err != nil {
		return nil, fault.New(fault.Unavailable, "sign with key %s: %w", id, err)
	}
	return intoto.NewBundle(statement, sig, id), nil
}

// Keys are the private keys of one installation.
type Keys struct {
	Attestation Signer
	// Repository keys sign Release files, all of them at once: while a key is
	// being replaced there are two.
	Repository []*pgp.Key
	// APK keys sign packages and indexes for apk. An installation that was made
	// without may have none.
	APK APKKeys
}

// Generate makes new keys in memory: ECDSA P-256 for attestations and Ed25519
// OpenPGP, in the given name and address, for repositories. GenerateAPK makes
// those for apk.
func Generate(name, email string, now time.Time) (*Keys, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.New(fault.Internal, "make a key: %w", err)
	}
	repository, err := pgp.GenerateKey(name, email, now)
	if err != nil {
		return nil, err
	}
	return &Keys{Attestation: signer{key}, Repository: []*pgp.Key{repository}}, nil
}

// Public is what may be known of keys.
type Public struct {
	// Attestation is the public key for attestations in PEM, as cosign reads it.
	Attestation []byte `json:"attestation"`
	// KeyID names that key in bundles.
	KeyID string `json:"keyId"`
	// Repository are the public OpenPGP keys in ASCII armour, one block each, and
	// Fingerprints theirs in upper-case hexadecimal.
	Repository   []byte   `json:"repository"`
	Fingerprints []string `json:"fingerprints"`
	// APK are the public keys for apk, sorted by name.
	APK []APKPublic `json:"apk,omitempty"`
	// Separate is true if the process that holds the keys has a user of its own,
	// and another one made the pipe to it. Then neither a build step nor a builder
	// who is not root can read them.
	Separate bool `json:"separate"`
}

// Public returns the public parts of the keys.
func (k *Keys) Public() (*Public, error) {
	der, err := x509.MarshalPKIXPublicKey(k.Attestation.Public())
	if err != nil {
		return nil, fault.New(fault.Invalid, "public key: %w", err)
	}
	id, err := intoto.KeyID(k.Attestation.Public())
	if err != nil {
		return nil, err
	}
	p := &Public{Attestation: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), KeyID: id}
	for _, key := range k.Repository {
		armoured, err := key.PublicArmored()
		if err != nil {
			return nil, err
		}
		p.Repository = append(p.Repository, armoured...)
		p.Fingerprints = append(p.Fingerprints, key.Fingerprint())
	}
	p.APK, err = k.APK.public()
	return p, err
}

// ParsePublicKey reads a public key in PEM, as Init and cosign write it.
func ParsePublicKey(b []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fault.New(fault.Invalid, "no public key in PEM form").Fix("give the file attestation.pub of the publisher")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "public key: %w", err)
	}
	return pub, nil
}
