package pgp

import (
	"bytes"
	"encoding/base64"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"github.com/ashlar-project/ashlar/internal/fault"
)

const signatureType = "PGP SIGNATURE"

// enarmour returns body in ASCII armour of the given type, with the checksum
// that older readers want.
func enarmour(kind string, body []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := armor.EncodeWithChecksumOption(&out, kind, nil, true)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(body); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// dearmour decodes the armoured block that data begins with, and returns what
// follows it. Unlike the lenient readers it refuses anything that is not header,
// blank line, base64, optional checksum and end line.
func dearmour(kind string, data []byte) (body, rest []byte, err error) {
	line, rest := cutLine(data)
	if string(line) != "-----BEGIN "+kind+"-----" {
		return nil, nil, malformed("an armoured block must begin with -----BEGIN %s-----", kind)
	}
	for {
		if len(rest) == 0 {
			return nil, nil, malformed("the armoured block ends within its headers")
		}
		if line, rest = cutLine(rest); len(line) == 0 {
			break
		}
		if !bytes.Contains(line, []byte(": ")) && !bytes.HasSuffix(line, []byte(":")) {
			return nil, nil, malformed("line %q is no armour header", clip(line))
		}
	}
	var encoded []byte
	checksum := false
	for {
		if len(rest) == 0 {
			return nil, nil, malformed("the armoured block has no end line")
		}
		line, rest = cutLine(rest)
		switch {
		case string(line) == "-----END "+kind+"-----":
			body, err := base64.StdEncoding.Strict().DecodeString(string(encoded))
			if err != nil {
				return nil, nil, malformed("the armoured block is not base64: %w", err)
			}
			return body, rest, nil
		case checksum:
			return nil, nil, malformed("text after the armour's checksum")
		case len(line) == 5 && line[0] == '=':
			checksum = true // a CRC-24 that protects nothing which the signature does not
		default:
			encoded = append(encoded, line...)
		}
	}
}

// cutLine returns the first line of data without its line ending and without
// white space at its end, and the rest.
func cutLine(data []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(data, []byte("\n"))
	return bytes.TrimRight(line, " \t\r"), rest
}

// ReadKeyring reads public keys, binary or in one or more armoured blocks. Keys
// of unknown kinds are left out; a keyring without any usable key, or one of
// more than 16 MiB, is a fault.Invalid error.
func ReadKeyring(r io.Reader) (Keyring, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxKeyring+1))
	if err != nil {
		return Keyring{}, err
	}
	if len(data) > maxKeyring {
		return Keyring{}, malformed("a keyring of more than %d bytes", maxKeyring)
	}
	trimmed := bytes.TrimLeft(data, " \t\r\n")
	if !bytes.HasPrefix(trimmed, []byte("-----BEGIN")) {
		return readKeys(data)
	}
	var all Keyring
	for len(trimmed) > 0 {
		body, rest, err := dearmour(openpgp.PublicKeyType, trimmed)
		if err != nil {
			return Keyring{}, err
		}
		keys, err := readKeys(body)
		if err != nil {
			return Keyring{}, err
		}
		all = all.Join(keys)
		trimmed = bytes.TrimLeft(rest, " \t\r\n")
	}
	return all, nil
}

func readKeys(body []byte) (Keyring, error) {
	entities, err := openpgp.ReadKeyRing(bytes.NewReader(body))
	if err != nil {
		return Keyring{}, malformed("no OpenPGP keyring: %w", err)
	}
	var kept openpgp.EntityList
	for _, e := range entities {
		if self, _ := e.PrimarySelfSignature(); self != nil {
			kept = append(kept, e)
		}
	}
	if len(kept) == 0 {
		return Keyring{}, malformed("the keyring holds no usable public key")
	}
	return Keyring{entities: kept}, nil
}

func malformed(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, format, args...)
}

// clip shortens a line for an error message.
func clip(b []byte) []byte { return b[:min(len(b), 60)] }
