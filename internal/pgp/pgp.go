// Package pgp reads and makes the OpenPGP signatures of Debian archives:
// clear-signed texts (InRelease, .dsc, .changes) and detached signatures
// (Release.gpg). It is strict where the format is lax: a clear-signed file is
// one signed block and nothing else, so that what is returned is what was
// signed and nothing beside it.
package pgp

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

const (
	maxText       = 64 << 20         // bytes of a clear-signed file
	maxArmour     = 256 << 10        // bytes of an armoured signature block
	maxKeyring    = 16 << 20         // bytes of a keyring
	maxSignatures = 64               // signature packets in one block
	clockSkew     = 10 * time.Minute // how far in the future a signature may be dated
)

// A Keyring is a set of public keys that are trusted for some purpose. The zero
// value trusts nobody.
type Keyring struct {
	entities openpgp.EntityList
}

// Fingerprints returns the primary key fingerprints of the keyring in upper-case
// hexadecimal, in the keyring's order.
func (k Keyring) Fingerprints() []string {
	var all []string
	for _, e := range k.entities {
		all = append(all, fingerprint(e))
	}
	return all
}

// Join returns a keyring that trusts every key of both.
func (k Keyring) Join(other Keyring) Keyring {
	all := append(openpgp.EntityList{}, k.entities...)
	return Keyring{entities: append(all, other.entities...)}
}

func fingerprint(e *openpgp.Entity) string { return upperHex(e.PrimaryKey.Fingerprint) }

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// find returns the keys of the keyring that could have made sig, by the issuer's
// fingerprint or, for old signatures that carry none, its key id.
func (k Keyring) find(sig *packet.Signature) []openpgp.Key {
	if sig.IssuerKeyId == nil && len(sig.IssuerFingerprint) == 0 {
		return nil
	}
	var found []openpgp.Key
	for _, e := range k.entities {
		if sig.CheckKeyIdOrFingerprint(e.PrimaryKey) {
			self, _ := e.PrimarySelfSignature()
			found = append(found, openpgp.Key{
				Entity: e, PublicKey: e.PrimaryKey, SelfSignature: self, Revocations: e.Revocations,
			})
		}
		for _, s := range e.Subkeys {
			if sig.CheckKeyIdOrFingerprint(s.PublicKey) {
				found = append(found, openpgp.Key{
					Entity: e, PublicKey: s.PublicKey, SelfSignature: s.Sig, Revocations: s.Revocations,
				})
			}
		}
	}
	return found
}
