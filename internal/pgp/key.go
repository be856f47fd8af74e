package pgp

import (
	"bytes"
	"crypto"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Key is a private OpenPGP key that signs repositories.
type Key struct {
	entity *openpgp.Entity
}

// GenerateKey makes an Ed25519 key of version 4, the newest that apt of Debian
// 12 reads. It does not expire; now becomes its time of creation.
func GenerateKey(name, email string, now time.Time) (*Key, error) {
	if strings.ContainsAny(name+email, "()<>\x00\r\n") || name == "" {
		return nil, malformed("%q <%s> is no name for a key", name, email)
	}
	entity, err := openpgp.NewEntity(name, "", email, signing(now, packet.PubKeyAlgoEdDSA))
	if err != nil {
		return nil, fault.New(fault.Internal, "make an OpenPGP key: %w", err)
	}
	entity.Subkeys = nil // a key that only signs needs no subkey for encryption
	return &Key{entity: entity}, nil
}

// signing is the configuration for making signatures at a time. No random salt
// goes into them, so that the same key, text and time give the same bytes.
func signing(now time.Time, algorithm packet.PublicKeyAlgorithm) *packet.Config {
	no := false
	return &packet.Config{
		DefaultHash: crypto.SHA512,
		Algorithm:   algorithm,
		Time:        func() time.Time { return now.UTC().Truncate(time.Second) },

		NonDeterministicSignaturesViaNotation: &no,
	}
}

// Fingerprint returns the fingerprint of the key in upper-case hexadecimal.
func (k *Key) Fingerprint() string { return fingerprint(k.entity) }

// Created returns the time at which the key was made, in UTC.
func (k *Key) Created() time.Time { return k.entity.PrimaryKey.CreationTime.UTC() }

// Keyring returns a keyring that trusts this key only.
func (k *Key) Keyring() Keyring {
	public := *k.entity
	public.PrivateKey = nil
	return Keyring{entities: openpgp.EntityList{&public}}
}

// PublicArmored returns the public key in ASCII armour, as apt's Signed-By takes
// it.
func (k *Key) PublicArmored() ([]byte, error) {
	var body bytes.Buffer
	if err := k.entity.Serialize(&body); err != nil {
		return nil, err
	}
	return enarmour(openpgp.PublicKeyType, body.Bytes())
}

// MarshalPrivate returns the private key in ASCII armour, without a passphrase:
// who stores it protects it.
func (k *Key) MarshalPrivate() ([]byte, error) {
	var body bytes.Buffer
	if err := k.entity.SerializePrivateWithoutSigning(&body, nil); err != nil {
		return nil, err
	}
	return enarmour(openpgp.PrivateKeyType, body.Bytes())
}

// UnmarshalPrivate reads what MarshalPrivate made. Anything but exactly one
// private key that can sign is a fault.Invalid error.
func UnmarshalPrivate(b []byte) (*Key, error) {
	body, rest, err := dearmour(openpgp.PrivateKeyType, b)
	if err != nil {
		return nil, err
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, malformed("there is text after the private key")
	}
	entities, err := openpgp.ReadKeyRing(bytes.NewReader(body))
	if err != nil {
		return nil, malformed("no OpenPGP private key: %w", err)
	}
	if len(entities) != 1 {
		return nil, malformed("%d keys where one is wanted", len(entities))
	}
	e := entities[0]
	if self, _ := e.PrimarySelfSignature(); self == nil || e.PrivateKey == nil || e.PrivateKey.Encrypted {
		return nil, malformed("key %s has no usable private part", fingerprint(e))
	}
	return &Key{entity: e}, nil
}

// ClearSign returns text clear-signed by k and every key in more, all dated now.
// White space at the ends of lines, which no clear signature covers, is removed.
// Several signers let a repository change its key without breaking a client.
func (k *Key) ClearSign(text []byte, now time.Time, more ...*Key) ([]byte, error) {
	f, err := newFrame(text)
	if err != nil {
		return nil, err
	}
	f.armour, err = k.sign(bytes.NewReader(f.signed), packet.SigTypeText, now, more)
	if err != nil {
		return nil, err
	}
	return f.encode(), nil
}

// DetachSign returns an armoured detached signature over data by k and every key
// in more, all dated now.
func (k *Key) DetachSign(data io.Reader, now time.Time, more ...*Key) ([]byte, error) {
	return k.sign(data, packet.SigTypeBinary, now, more)
}

// A Signed is a text with its signatures, in the two forms that apt reads.
type Signed struct {
	Clear    []byte `json:"clear"`    // the text clear-signed, as InRelease
	Detached []byte `json:"detached"` // armoured signatures over the text, as Release.gpg
}

// SignBoth returns text signed in both forms by k and every key in more, all
// dated now.
func (k *Key) SignBoth(text []byte, now time.Time, more ...*Key) (Signed, error) {
	var s Signed
	var err error
	if s.Clear, err = k.ClearSign(text, now, more...); err != nil {
		return Signed{}, err
	}
	s.Detached, err = k.DetachSign(bytes.NewReader(text), now, more...)
	return s, err
}

// sign returns the armoured signatures of k and more over data.
func (k *Key) sign(data io.Reader, kind packet.SignatureType, now time.Time, more []*Key) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(data, maxText+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxText {
		return nil, malformed("more than %d bytes to sign", maxText)
	}
	var body bytes.Buffer
	for _, key := range append([]*Key{k}, more...) {
		if err := key.signOne(&body, content, kind, now); err != nil {
			return nil, err
		}
	}
	return enarmour(signatureType, body.Bytes())
}

func (k *Key) signOne(out *bytes.Buffer, content []byte, kind packet.SignatureType, now time.Time) error {
	private := k.entity.PrivateKey
	if now.Before(k.Created()) {
		return malformed("key %s was made at %s, after the time of signing %s", k.Fingerprint(),
			k.Created().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).Fix("check the machine's clock")
	}
	config := signing(now, private.PubKeyAlgo)
	sig := &packet.Signature{
		Version:           private.Version,
		SigType:           kind,
		PubKeyAlgo:        private.PubKeyAlgo,
		Hash:              config.Hash(),
		CreationTime:      config.Now(),
		IssuerKeyId:       &private.KeyId,
		IssuerKeyVersion:  uint8(private.Version),
		IssuerFingerprint: private.Fingerprint,
	}
	h, err := sig.PrepareSign(config)
	if err != nil {
		return fault.New(fault.Internal, "sign with key %s: %w", k.Fingerprint(), err)
	}
	h.Write(content) // clear-signed text is canonical already
	if err := sig.Sign(h, private, config); err != nil {
		return fault.New(fault.Internal, "sign with key %s: %w", k.Fingerprint(), err)
	}
	return sig.Serialize(out)
}
