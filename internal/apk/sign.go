package apk

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // registers the hashes of signatures
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"io"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on the signature part of a package or index.
const (
	maxSignatures    = 64
	maxSignature     = 64 << 10
	maxSignaturePart = maxSignatures * (maxSignature + 2*tarBlock)
	maxKeyName       = 87 // so that ".SIGN.RSA256." and the name fit into a ustar header
	minKeyBits       = 2048
)

// A Signer signs packages and indexes in the name of one key.
type Signer struct {
	// KeyName is the name of the file with the public key in the folder
	// /etc/apk/keys of the clients, such as "ashlar-5f3a2c01.rsa.pub". Clients
	// find the key by it, so it must be a key's own and never change.
	KeyName string
	// Key holds the private key, which must be RSA of at least 2048 bits; use 4096.
	Key crypto.Signer
}

// Check returns a fault.Invalid error if apk could not use what the signer makes.
func (s Signer) Check() error {
	if err := checkKeyName(s.KeyName); err != nil {
		return err
	}
	if s.Key == nil {
		return invalid("key %s: there is none", s.KeyName)
	}
	key, ok := s.Key.Public().(*rsa.PublicKey)
	if !ok || key.N.BitLen() < minKeyBits {
		return invalid("key %s: apk verifies RSA keys only, of %d bits or more here", s.KeyName, minKeyBits).
			Fix("make an RSA key of 4096 bits")
	}
	return nil
}

// checkKeyName wants a plain file name that fits into the name of a tar entry.
func checkKeyName(name string) error {
	if name == "" || name[0] == '.' || len(name) > maxKeyName || !only(name, "-_.@+") {
		return invalid("%q is not a name for a key file", clip(name)).Fix("use letters, digits and -_.@+")
	}
	return nil
}

// A Signature is a signature that a package or an index carries.
type Signature struct {
	KeyName   string
	Algorithm string // "RSA256" as a rule; "RSA" (SHA-1), "RSA512" or "DSA"
	Value     []byte
}

// algorithms are the signatures that can be verified, by their names.
var algorithms = map[string]crypto.Hash{"RSA": crypto.SHA1, "RSA256": crypto.SHA256, "RSA512": crypto.SHA512}

// A Keyring is the public keys that are trusted, by the names of their files.
type Keyring map[string]*rsa.PublicKey

// Add adds a public key in PEM form, as it is in /etc/apk/keys. An error is
// fault.Invalid.
func (k Keyring) Add(name string, pemKey []byte) error {
	if err := checkKeyName(name); err != nil {
		return err
	}
	block, _ := pem.Decode(pemKey)
	if block == nil {
		return invalid("no key in PEM form").At(name, 0)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return invalid("public key: %w", err).At(name, 0)
	}
	key, ok := pub.(*rsa.PublicKey)
	if !ok {
		return invalid("a key of type %T; only RSA keys can be used", pub).At(name, 0)
	}
	k[name] = key
	return nil
}

// sign returns a gzip member with the signatures of all signers over message,
// for which each must be a good one.
func sign(message []byte, signers []Signer) ([]byte, error) {
	h := crypto.SHA256.New()
	h.Write(message)
	return signDigest(h.Sum(nil), signers)
}

// signDigest is sign for the SHA-256 of the message.
func signDigest(digest []byte, signers []Signer) ([]byte, error) {
	if err := checkSigners(signers); err != nil {
		return nil, err
	}
	var tar []byte
	for _, s := range signers {
		sig, err := s.Key.Sign(rand.Reader, digest, crypto.SHA256)
		if err != nil {
			return nil, fault.New(fault.Unavailable, "sign with key %s: %w", s.KeyName, err)
		}
		if err := rsa.VerifyPKCS1v15(s.Key.Public().(*rsa.PublicKey), crypto.SHA256, digest, sig); err != nil {
			return nil, fault.New(fault.Internal, "the signature of key %s does not fit the key: %w", s.KeyName, err)
		}
		e := Entry{Size: int64(len(sig)), Mode: 0o644, User: "root", Group: "root"}
		tar = appendBlock(tar, signaturePrefix+"RSA256."+s.KeyName, tarLetters[RegularFile], &e)
		tar = append(tar, sig...)
		tar = append(tar, make([]byte, -len(sig)&(tarBlock-1))...)
	}
	return gzipMember(tar, 1), nil
}

// checkSigners wants at least one signer, all of them good.
func checkSigners(signers []Signer) error {
	if len(signers) == 0 || len(signers) > maxSignatures {
		return invalid("%d keys to sign with", len(signers)).Fix("give at least one and at most %d", maxSignatures)
	}
	used := map[string]bool{}
	for _, s := range signers {
		if err := s.Check(); err != nil {
			return err
		}
		if used[s.KeyName] {
			return invalid("two keys are named %s", s.KeyName)
		}
		used[s.KeyName] = true
	}
	return nil
}

const signaturePrefix = ".SIGN."

// isSignaturePart reports whether the first file of a tar is a signature. Newer
// releases of abuild put an extended header before it.
func isSignaturePart(tar []byte) bool {
	t := tarReader{r: bytes.NewReader(tar)}
	e, err := t.next()
	return err == nil && strings.HasPrefix(e.Path, signaturePrefix)
}

// parseSignatures reads the tar of a signature part: nothing but signatures, and
// no end.
func parseSignatures(tar []byte) ([]Signature, error) {
	t := tarReader{r: bytes.NewReader(tar)}
	var signatures []Signature
	for {
		e, err := t.next()
		if err == io.EOF {
			return signatures, endless(&t)
		}
		if err != nil {
			return nil, err
		}
		rest, ok := strings.CutPrefix(e.Path, signaturePrefix)
		algorithm, name, dotted := strings.Cut(rest, ".")
		switch {
		case !ok || !dotted || e.Kind != RegularFile:
			return nil, invalid("signature part: %q is no signature", clip(e.Path))
		case e.Size > maxSignature || len(signatures) == maxSignatures:
			return nil, invalid("signature part: too much in it")
		}
		value, err := io.ReadAll(&t)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, Signature{KeyName: name, Algorithm: algorithm, Value: value})
	}
}

// endless wants a tar that just ends, as those of signatures and control must.
func endless(t *tarReader) error {
	if t.ended {
		return invalid("tar: it has an end, after which apk would read nothing")
	}
	return nil
}

// verify checks the signatures whose keys are in the keyring against digests of
// the message, and returns the name of the first key. Like apk it looks keys up
// by name; unlike apk it wants all those that it knows to hold. Errors are
// fault.Denied.
func (k Keyring) verify(signatures []Signature, digest func(crypto.Hash) []byte) (string, error) {
	by := ""
	for _, s := range signatures {
		key, hash := k[s.KeyName], algorithms[s.Algorithm]
		if key == nil || hash == 0 {
			continue
		}
		if err := rsa.VerifyPKCS1v15(key, hash, digest(hash), s.Value); err != nil {
			return "", fault.New(fault.Denied, "the signature by key %s does not hold", s.KeyName).
				Fix("the content was changed, or another key has this name; fetch both again")
		}
		if by == "" {
			by = s.KeyName
		}
	}
	switch {
	case by != "":
		return by, nil
	case len(signatures) == 0:
		return "", fault.New(fault.Denied, "it is not signed").Fix("take it from a source that signs")
	}
	return "", fault.New(fault.Denied, "it is signed by no key that is trusted, but by %s", clip(signatures[0].KeyName)).
		Fix("trust that key if you know whose it is")
}
