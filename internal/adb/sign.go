package adb

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"io"

	"github.com/ashlar-project/ashlar/internal/fault"
)

const (
	signVersion   = 0
	hashSHA512    = 4
	signHeader    = 2 + keyIDSize // version, hash, key
	keyIDSize     = 16
	maxSignature  = 2048 // bytes of a SIG block's content
	maxSignatures = 64
	minRSA        = 2048 // bits
	maxRSA        = 8 * (maxSignature - signHeader)
)

// A KeyID names a public key by its content: the first 16 bytes of the SHA-512
// of its plain encoding.
type KeyID [keyIDSize]byte

// String returns the id in lower-case hexadecimal.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// KeyIDOf returns the id of a public key: *ecdsa.PublicKey on P-256, or
// *rsa.PublicKey of at least 2,048 bits. Any other key is a fault.Invalid error.
func KeyIDOf(pub crypto.PublicKey) (KeyID, error) {
	var plain []byte
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		if k == nil || k.Curve != elliptic.P256() {
			return KeyID{}, badKey("an EC key that is not on the curve P-256")
		}
		point, err := k.Bytes()
		if err != nil {
			return KeyID{}, badKey("a malformed EC key")
		}
		plain = point
	case *rsa.PublicKey:
		if k == nil || k.N == nil || k.N.BitLen() < minRSA || k.N.BitLen() > maxRSA {
			return KeyID{}, badKey("an RSA key that has not between %d and %d bits", minRSA, maxRSA)
		}
		plain = x509.MarshalPKCS1PublicKey(k)
	case ed25519.PublicKey, *ed25519.PublicKey:
		return KeyID{}, badKey("an Ed25519 key, which apk refuses")
	default:
		return KeyID{}, badKey("a key of type %T", pub)
	}
	sum := sha512.Sum512(plain)
	return KeyID(sum[:keyIDSize]), nil
}

func badKey(format string, args ...any) error {
	return fault.New(fault.Invalid, "this key cannot sign for apk v3: "+format, args...).
		Fix("use an RSA key of 4096 bits or an EC key on the curve P-256")
}

// A Signature is the content of a SIG block.
type Signature struct {
	Version uint8 // 0; of other versions only Value is set, to all that follows
	Hash    uint8 // the number of the hash of the payload, 4 for SHA-512
	Key     KeyID
	Value   []byte // PKCS#1 v1.5 for RSA, ASN.1 DER for EC
}

// encode returns the content of the SIG block.
func (s Signature) encode() []byte {
	b := []byte{s.Version, s.Hash}
	if s.Version == signVersion {
		b = append(b, s.Key[:]...)
	}
	return append(b, s.Value...)
}

// parseSignature parses the content of a SIG block.
func parseSignature(b []byte) (Signature, error) {
	if len(b) < 2 || b[0] == signVersion && len(b) < signHeader {
		return Signature{}, malformed("a signature is too short to be one")
	}
	s := Signature{Version: b[0], Hash: b[1], Value: b[2:]}
	if s.Version == signVersion {
		s.Key, s.Value = KeyID(b[2:signHeader]), b[signHeader:]
	}
	return s, nil
}

// message returns the SHA-512 of what a signature signs, which is not the payload
// itself: the schema, the head of the SIG block, and the payload's own SHA-512.
func (s Signature) message(schema Schema, payload [sha512.Size]byte) []byte {
	m := binary.LittleEndian.AppendUint32(nil, uint32(schema))
	m = append(m, s.Version, s.Hash)
	m = append(m, s.Key[:]...)
	m = append(m, payload[:]...)
	sum := sha512.Sum512(m)
	return sum[:]
}

// holds reports whether s is a signature by a key over a payload of which the
// SHA-512 is given.
func (s Signature) holds(schema Schema, payload [sha512.Size]byte, pub crypto.PublicKey) bool {
	if s.Version != signVersion || s.Hash != hashSHA512 {
		return false
	}
	digest := s.message(schema, payload)
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest, s.Value)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA512, digest, s.Value) == nil
	}
	return false
}

// Sign returns a signature over the payload by each signer, in their order. A
// private key that is at hand always gives the same signature; a signer that
// holds its key elsewhere is handed randomness. What comes back is checked, and
// is a fault.Failed error if it does not hold. A key of a kind that apk does not
// verify, or the same key twice, is a fault.Invalid error.
func Sign(schema Schema, payload []byte, signers ...crypto.Signer) ([]Signature, error) {
	if len(signers) > maxSignatures {
		return nil, fault.New(fault.Invalid, "more than %d signatures on one file", maxSignatures)
	}
	sum := sha512.Sum512(payload)
	var made []Signature
	seen := map[KeyID]bool{}
	for _, signer := range signers {
		id, err := KeyIDOf(signer.Public())
		if err != nil {
			return nil, err
		}
		if seen[id] {
			return nil, fault.New(fault.Invalid, "the key %s is to sign twice", id)
		}
		seen[id] = true
		s := Signature{Version: signVersion, Hash: hashSHA512, Key: id}
		s.Value, err = signer.Sign(randomness(signer), s.message(schema, sum), crypto.SHA512)
		if err != nil {
			return nil, fault.New(fault.Failed, "signing with the key %s: %w", id, err)
		}
		if len(s.Value)+signHeader > maxSignature || !s.holds(schema, sum, signer.Public()) {
			return nil, fault.New(fault.Failed, "what the key %s made is not its signature", id).
				Fix("check the device or service that holds the key")
		}
		made = append(made, s)
	}
	return made, nil
}

// randomness returns what a signer is to draw from: nothing for an EC key at
// hand, which then follows RFC 6979 and is deterministic.
func randomness(s crypto.Signer) io.Reader {
	if _, ok := s.(*ecdsa.PrivateKey); ok {
		return nil
	}
	return rand.Reader
}

// Verify checks the signatures and, if one of them is by one of the keys and
// holds, trusts the payload and returns that key's id. Signatures by other keys
// are passed over. If none holds the error is fault.Denied; a key of a kind that
// apk does not verify is fault.Invalid.
func (f *File) Verify(keys ...crypto.PublicKey) (KeyID, error) {
	ids := make([]KeyID, len(keys))
	for i, k := range keys {
		var err error
		if ids[i], err = KeyIDOf(k); err != nil {
			return KeyID{}, err
		}
	}
	sum := sha512.Sum512(f.Payload)
	known := false
	for _, s := range f.Signatures {
		for i, k := range keys {
			if s.Version != signVersion || !bytes.Equal(s.Key[:], ids[i][:]) {
				continue
			}
			known = true
			if s.holds(f.Schema, sum, k) {
				f.trusted = true
				return ids[i], nil
			}
		}
	}
	return KeyID{}, f.untrusted(known)
}

// untrusted says why no signature gives trust.
func (f *File) untrusted(known bool) error {
	switch {
	case known:
		return fault.New(fault.Denied, "the signature does not hold: the file is not what was signed").
			Fix("fetch the file again; if that does not help, do not use it")
	case len(f.Signatures) == 0:
		return fault.New(fault.Denied, "the file is not signed")
	}
	return fault.New(fault.Denied, "the file is signed by %s, which is no trusted key", f.Signatures[0].Key).
		Fix("add the public key to the trusted ones if its owner is to be trusted")
}
