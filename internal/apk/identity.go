package apk

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// An Identity tells packages of the same name and version apart: the SHA-1 of
// the compressed control part of a v2 package. Values can be compared with ==.
type Identity [sha1.Size]byte

// String returns the identity as indexes have it, "Q1" and base64.
func (id Identity) String() string { return string(id.appendTo(nil)) }

func (id Identity) appendTo(b []byte) []byte {
	return base64.StdEncoding.AppendEncode(append(b, "Q1"...), id[:])
}

// ParseIdentity reads an identity as String writes it, or as "X1" and
// hexadecimal digits, which apk takes too. Errors are fault.Invalid.
func ParseIdentity(s string) (Identity, error) {
	var id Identity
	digits, isBase64 := strings.CutPrefix(s, "Q1")
	if isBase64 && len(digits) == base64.StdEncoding.EncodedLen(len(id)) {
		var b [sha1.Size + 1]byte
		if n, err := base64.StdEncoding.Strict().Decode(b[:], []byte(digits)); err == nil && n == len(id) {
			return Identity(b[:n]), nil
		}
	}
	if digits, ok := strings.CutPrefix(s, "X1"); ok && len(digits) == 2*len(id) {
		if _, err := hex.Decode(id[:], []byte(digits)); err == nil {
			return id, nil
		}
	}
	return Identity{}, invalid("%q is not the identity of a v2 package", clip(s))
}
