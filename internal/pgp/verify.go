package pgp

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// minRSA is the smallest RSA modulus, in bits, that is trusted.
const minRSA = 2048

// revoked is what is said of a revoked key.
const revoked = "is revoked"

// strongHashes are the hashes that a signature may be made with.
var strongHashes = []crypto.Hash{
	crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512,
}

// VerifyClearSigned checks a clear-signed file and returns the text that was
// signed, its lines ending in line feeds, and the primary key fingerprints of
// the keyring's keys that signed it. Signatures by keys outside the keyring are
// ignored; at least one must be by a key inside that is neither expired nor
// revoked at now, with a strong hash, and a signature by a key inside that does
// not match the text refuses the whole. A file that is not one clear-signed
// block is fault.Invalid, one whose signatures do not hold is fault.Denied.
func (k Keyring) VerifyClearSigned(b []byte, now time.Time) (text []byte, signers []string, err error) {
	f, err := parseFrame(b)
	if err != nil {
		return nil, nil, err
	}
	sigs, err := signaturePackets(f.armour)
	if err != nil {
		return nil, nil, err
	}
	signers, err = k.verify(bytes.NewReader(f.signed), sigs, now)
	if err != nil {
		return nil, nil, err
	}
	return f.text, signers, nil
}

// VerifyDetached checks a detached signature, armoured or binary, over data by
// the same rules as VerifyClearSigned.
func (k Keyring) VerifyDetached(data io.Reader, sig []byte, now time.Time) (signers []string, err error) {
	if len(sig) > maxArmour {
		return nil, malformed("a signature of more than %d bytes", maxArmour)
	}
	sigs, err := signaturePackets(sig)
	if err != nil {
		return nil, err
	}
	return k.verify(data, sigs, now)
}

// signatureBody returns the packets of a signature block, armoured or binary,
// and refuses text after an armoured one.
func signatureBody(b []byte) ([]byte, error) {
	if !bytes.HasPrefix(b, []byte("-----BEGIN")) {
		return b, nil
	}
	body, rest, err := dearmour(signatureType, b)
	if err == nil && len(bytes.TrimSpace(rest)) > 0 {
		err = malformed("there is text after the signature, and nothing vouches for it")
	}
	return body, err
}

// signaturePackets reads a signature block, armoured or binary, that holds
// signatures and nothing else. Signatures of versions and algorithms that this
// program does not know are left out.
func signaturePackets(b []byte) ([]*packet.Signature, error) {
	body, err := signatureBody(b)
	if err != nil {
		return nil, err
	}
	var sigs []*packet.Signature
	packets := packet.NewOpaqueReader(bytes.NewReader(body))
	for n := 0; ; n++ {
		raw, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, malformed("the signature block is damaged: %w", err)
		}
		if n == maxSignatures {
			return nil, malformed("more than %d signatures", maxSignatures)
		}
		if raw.Tag != 2 {
			return nil, malformed("the signature block holds a packet that is no signature")
		}
		if parsed, err := raw.Parse(); err == nil {
			if sig, ok := parsed.(*packet.Signature); ok {
				sigs = append(sigs, sig)
			}
		}
	}
	if len(sigs) == 0 {
		return nil, malformed("the signature block holds no signature that can be read")
	}
	return sigs, nil
}

// A candidate is a signature that a key of the keyring claims to have made.
type candidate struct {
	sig  *packet.Signature
	keys []openpgp.Key
	hash hash.Hash
}

// verify hashes data once for all signatures by known keys, and judges them.
func (k Keyring) verify(data io.Reader, sigs []*packet.Signature, now time.Time) ([]string, error) {
	var found []candidate
	var writers []io.Writer
	var unfit []string // why signatures that could have counted do not
	for _, sig := range sigs {
		keys := k.find(sig)
		if len(keys) == 0 {
			continue
		}
		if why := unfitSignature(sig, now); why != "" {
			unfit = append(unfit, "key "+fingerprint(keys[0].Entity)+": "+why)
			continue
		}
		h, err := sig.PrepareVerify()
		if err != nil {
			return nil, malformed("signature: %w", err)
		}
		if sig.SigType == packet.SigTypeText {
			writers = append(writers, openpgp.NewCanonicalTextHash(h))
		} else {
			writers = append(writers, h)
		}
		found = append(found, candidate{sig, keys, h})
	}
	if _, err := io.Copy(io.MultiWriter(writers...), data); err != nil {
		return nil, err
	}
	return judge(found, unfit, sigs, now)
}

// judge decides on the signatures of known keys, whose hashes have seen all data.
func judge(found []candidate, unfit []string, sigs []*packet.Signature, now time.Time) ([]string, error) {
	var signers []string
	for _, c := range found {
		fp := fingerprint(c.keys[0].Entity)
		if err := c.keys[0].PublicKey.VerifySignature(c.hash, c.sig); err != nil {
			return nil, fault.New(fault.Denied, "bad signature: key %s did not sign this text", fp).
				Fix("the file was changed or damaged after signing; fetch it again")
		}
		if why := c.unfit(now); why != "" {
			unfit = append(unfit, "key "+fp+" "+why)
		} else if !slices.Contains(signers, fp) {
			signers = append(signers, fp)
		}
	}
	switch {
	case len(signers) > 0:
		return signers, nil
	case len(unfit) > 0:
		return nil, fault.New(fault.Denied, "no valid signature: %s", strings.Join(unfit, "; ")).
			Fix("update the keyring, or have the file signed again")
	}
	return nil, fault.New(fault.Denied, "signed only by keys that the keyring does not hold: %s",
		strings.Join(issuers(sigs), ", ")).Fix("add the signer's key to the keyring if you trust it")
}

// unfit says why a matching signature does not count, or "". A keyring may hold
// several copies of one key: a revocation in any of them holds, and so does a
// longer life.
func (c *candidate) unfit(now time.Time) string {
	all := map[string]bool{}
	for i := range c.keys {
		all[unfitKey(&c.keys[i], c.sig, now)] = true
	}
	switch {
	case all[revoked]:
		return revoked
	case all[""]:
		return ""
	}
	return slices.Sorted(maps.Keys(all))[0]
}

// unfitSignature says why a signature cannot count whatever it is over, or "".
func unfitSignature(sig *packet.Signature, now time.Time) string {
	switch {
	case sig.SigType != packet.SigTypeText && sig.SigType != packet.SigTypeBinary:
		return "the signature is not one over a document"
	case !slices.Contains(strongHashes, sig.Hash):
		return "the signature uses the weak hash " + sig.Hash.String()
	case sig.CreationTime.After(now.Add(clockSkew)):
		return "the signature is dated in the future, " + sig.CreationTime.UTC().Format(time.RFC3339)
	case sig.SigExpired(later(now, sig.CreationTime)):
		return "the signature has expired"
	}
	for _, n := range sig.Notations {
		if n.IsCritical {
			return "the signature carries a critical notation that this program does not know"
		}
	}
	return ""
}

// later returns the later of two times: within the allowed clock skew, a
// signature is judged at its own time.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// unfitKey says why a key's signature does not count although it matches, or "".
func unfitKey(key *openpgp.Key, sig *packet.Signature, now time.Time) string {
	self, identity := key.Entity.PrimarySelfSignature()
	at := later(now, sig.CreationTime)
	switch {
	case key.Entity.Revoked(at), key.Revoked(at), identity != nil && identity.Revoked(at):
		return revoked
	case key.Entity.PrimaryKey.KeyExpired(self, at), key.PublicKey.KeyExpired(key.SelfSignature, at),
		self.SigExpired(at), key.SelfSignature.SigExpired(at):
		return "is expired"
	case sig.CreationTime.Before(key.PublicKey.CreationTime):
		return "is younger than its signature"
	case !key.SelfSignature.FlagsValid || !key.SelfSignature.FlagSign:
		return "is not meant for signing documents"
	}
	return weakKey(key.PublicKey)
}

// weakKey says why the kind of a key is not trusted, or "".
func weakKey(pub *packet.PublicKey) string {
	switch pub.PubKeyAlgo {
	case packet.PubKeyAlgoDSA:
		return "is a DSA key, which is too weak"
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSASignOnly:
		if n, ok := pub.PublicKey.(*rsa.PublicKey); ok && n.N.BitLen() < minRSA {
			return "is an RSA key of fewer than 2048 bits"
		}
	}
	return ""
}

// issuers names the keys that the signatures claim to be by.
func issuers(sigs []*packet.Signature) []string {
	var all []string
	for _, s := range sigs {
		name := "a key it does not name"
		if len(s.IssuerFingerprint) > 0 {
			name = upperHex(s.IssuerFingerprint)
		} else if s.IssuerKeyId != nil {
			name = fmt.Sprintf("%016X", *s.IssuerKeyId)
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
