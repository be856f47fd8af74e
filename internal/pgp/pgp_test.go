package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/ashlar-project/ashlar/internal/fault"
)

var (
	born     = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	signedAt = born.Add(24 * time.Hour)
	release  = "Origin: Ashlar\n-dash\n\n- dash\nFrom here\ntrailing \t\nSHA256:\n 00 1 x\n"
)

func newKey(t testing.TB, name string) *Key {
	t.Helper()
	k, err := GenerateKey(name, name+"@example.org", born)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func clearSigned(t testing.TB, k *Key, text string) []byte {
	t.Helper()
	b, err := k.ClearSign([]byte(text), signedAt)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestClearSignRoundTrip(t *testing.T) {
	k := newKey(t, "k")
	for _, c := range []struct{ name, text, want string }{
		{"plain", "a\nb\n", "a\nb\n"},
		{"no line feed at the end", "a", "a\n"},
		{"white space", "a \t\n\n b\n", "a\n\n b\n"},
		{"dashes", "-a\n- b\n-----BEGIN PGP SIGNATURE-----\n", "-a\n- b\n-----BEGIN PGP SIGNATURE-----\n"},
		{"CRLF", "a\r\nb\r\n", "a\nb\n"},
		{"empty lines at the end", "a\n\n\n", "a\n\n\n"},
		{"empty line first", "\na\n", "\na\n"},
		{"UTF-8", "é\u00a0\n", "é\u00a0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := clearSigned(t, k, c.text)
			text, signers, err := k.Keyring().VerifyClearSigned(b, signedAt)
			if err != nil {
				t.Fatal(err)
			}
			if string(text) != c.want || len(signers) != 1 || signers[0] != k.Fingerprint() {
				t.Errorf("got %q by %v", text, signers)
			}
			crlf := bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
			if text, _, err := k.Keyring().VerifyClearSigned(crlf, signedAt); err != nil || string(text) != c.want {
				t.Errorf("with CRLF line endings: %q, %v", text, err)
			}
			if text, signed, err := Unwrap(b); err != nil || !signed || string(text) != c.want {
				t.Errorf("Unwrap: %q, %v, %v", text, signed, err)
			}
			if again := clearSigned(t, k, c.text); !bytes.Equal(again, b) {
				t.Error("signing twice gives different bytes")
			}
		})
	}
}

func TestClearSignRefuses(t *testing.T) {
	k := newKey(t, "k")
	for name, text := range map[string]string{
		"nothing": "", "blank": " \n", "NUL": "a\x00b", "carriage return": "a\rb\n",
	} {
		if _, err := k.ClearSign([]byte(text), signedAt); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := k.ClearSign([]byte("a"), born.Add(-time.Hour)); !fault.Is(err, fault.Invalid) {
		t.Errorf("signing before the key was made: %v", err)
	}
}

func TestVerifyClearSignedAttacks(t *testing.T) {
	k := newKey(t, "k")
	good := string(clearSigned(t, k, release))
	other := string(clearSigned(t, newKey(t, "other"), "Evil: yes\n"))
	body, sig, _ := strings.Cut(good, "-----BEGIN PGP SIGNATURE-----")
	sig = "-----BEGIN PGP SIGNATURE-----" + sig
	for _, c := range []struct {
		name, file string
		kind       fault.Kind
		want       string
	}{
		{"text before", "Evil: yes\n" + good, fault.Invalid, "does not begin"},
		{"blank line before", "\n" + good, fault.Invalid, "does not begin"},
		{"text after", good + "Evil: yes\n", fault.Invalid, "after the signature"},
		{"second block after", good + other, fault.Invalid, "after the signature"},
		{"second block before", other + good, fault.Invalid, "after the signature"},
		{"nested block", strings.Replace(good, "Origin", "-----BEGIN PGP SIGNED MESSAGE-----\nOrigin", 1), fault.Invalid, "unescaped dash"},
		{"unescaped dash", strings.Replace(good, "- -dash", "-dash", 1), fault.Invalid, "unescaped dash"},
		{"text as a header", strings.Replace(good, "Hash:", "Evil: yes\nHash:", 1), fault.Invalid, "is not allowed"},
		{"text in the hash header", strings.Replace(good, "Hash: SHA512", "Hash: SHA512\tSuite: evil", 1), fault.Invalid, "is not allowed"},
		{"white space line as header end", strings.Replace(good, "\n\nOrigin", "\n \t\nOrigin", 1), "", ""},
		{"changed letter", strings.Replace(good, "Ashlar", "Ashlas", 1), fault.Denied, "bad signature"},
		{"line added at the end", body + "\n" + sig, fault.Denied, "bad signature"},
		{"line removed", strings.Replace(good, "From here\n", "", 1), fault.Denied, "bad signature"},
		{"leading space added", strings.Replace(good, "Origin", " Origin", 1), fault.Denied, "bad signature"},
		{"trailing space added", strings.Replace(good, "Ashlar\n", "Ashlar \t\n", 1), "", ""},
		{"carriage return inside", strings.Replace(good, "Ashlar", "Ash\rlar", 1), fault.Invalid, "carriage return"},
		{"NUL", strings.Replace(good, "Ashlar", "Ash\x00lar", 1), fault.Invalid, "NUL"},
		{"no signature", body, fault.Invalid, "no signature after it"},
		{"truncated signature", good[:len(good)-30], fault.Invalid, ""},
		{"text in the armour", strings.Replace(good, "\n=", "\nEvil: yes\n=", 1), fault.Invalid, "not base64"},
		{"other signer only", other, fault.Denied, "only by keys"},
		{"empty", "", fault.Invalid, "does not begin"},
		{"start only", "-----BEGIN PGP SIGNED MESSAGE-----\n", fault.Invalid, "ends before"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, _, err := k.Keyring().VerifyClearSigned([]byte(c.file), signedAt)
			if c.kind == "" {
				if err != nil || strings.Contains(string(text), "Ashlar \t") {
					t.Fatalf("%q, %v", text, err)
				}
				return
			}
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) || text != nil {
				t.Errorf("got %v", err)
			}
		})
	}
}

// signWith makes a clear-signed text whose signature the test shapes.
func signWith(t *testing.T, k *Key, hash crypto.Hash, kind packet.SignatureType, change func(*packet.Signature)) []byte {
	t.Helper()
	f, err := newFrame([]byte("a\n"))
	if err != nil {
		t.Fatal(err)
	}
	p := k.entity.PrivateKey
	sig := &packet.Signature{
		Version: p.Version, SigType: kind, PubKeyAlgo: p.PubKeyAlgo, Hash: hash, CreationTime: signedAt,
		IssuerKeyId: &p.KeyId, IssuerFingerprint: p.Fingerprint,
	}
	change(sig)
	h := hash.New()
	h.Write(f.signed)
	var body bytes.Buffer
	if err := errors.Join(sig.Sign(h, p, signing(signedAt, p.PubKeyAlgo)), sig.Serialize(&body)); err != nil {
		t.Fatal(err)
	}
	if f.armour, err = enarmour(signatureType, body.Bytes()); err != nil {
		t.Fatal(err)
	}
	return f.encode()
}

func TestUnfitSignatures(t *testing.T) {
	k := newKey(t, "k")
	hour := uint32(3600)
	keep := func(*packet.Signature) {}
	for _, c := range []struct {
		name   string
		hash   crypto.Hash
		kind   packet.SignatureType
		change func(*packet.Signature)
		now    time.Time
		want   string // "" means valid
	}{
		{"good", crypto.SHA256, packet.SigTypeText, keep, signedAt, ""},
		{"binary kind", crypto.SHA512, packet.SigTypeBinary, keep, signedAt, ""},
		{"little clock skew", crypto.SHA512, packet.SigTypeText, keep, signedAt.Add(-time.Minute), ""},
		{"SHA-1", crypto.SHA1, packet.SigTypeText, keep, signedAt, "weak hash"},
		{"SHA-224", crypto.SHA224, packet.SigTypeText, keep, signedAt, "weak hash"},
		{"future", crypto.SHA512, packet.SigTypeText, keep, signedAt.Add(-time.Hour), "in the future"},
		{"expired", crypto.SHA512, packet.SigTypeText, func(s *packet.Signature) { s.SigLifetimeSecs = &hour },
			signedAt.Add(2 * time.Hour), "has expired"},
		{"critical notation", crypto.SHA512, packet.SigTypeText, func(s *packet.Signature) {
			s.Notations = []*packet.Notation{{Name: "x@example.org", Value: []byte("1"), IsCritical: true, IsHumanReadable: true}}
		}, signedAt, "critical notation"},
		{"certification", crypto.SHA512, packet.SigTypeGenericCert, keep, signedAt, "not one over a document"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := k.Keyring().VerifyClearSigned(signWith(t, k, c.hash, c.kind, c.change), c.now)
			switch {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (!fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestExpiredAndRevokedKeys(t *testing.T) {
	config := signing(born, packet.PubKeyAlgoEdDSA)
	config.KeyLifetimeSecs = 7 * 24 * 3600
	e, err := openpgp.NewEntity("short", "", "", config)
	if err != nil {
		t.Fatal(err)
	}
	short := &Key{entity: e}
	b := clearSigned(t, short, "a\n")
	if _, _, err := short.Keyring().VerifyClearSigned(b, signedAt); err != nil {
		t.Errorf("in its life: %v", err)
	}
	_, _, err = short.Keyring().VerifyClearSigned(b, born.Add(8*24*time.Hour))
	if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "is expired") {
		t.Errorf("after its life: %v", err)
	}
	gone := newKey(t, "gone")
	b = clearSigned(t, gone, "a\n")
	before := gone.Keyring()
	if err := gone.entity.RevokeKey(packet.KeyRetired, "", signing(signedAt, packet.PubKeyAlgoEdDSA)); err != nil {
		t.Fatal(err)
	}
	for name, ring := range map[string]Keyring{"revoked": gone.Keyring(), "two copies": before.Join(gone.Keyring())} {
		_, _, err = ring.VerifyClearSigned(b, signedAt.Add(time.Hour))
		if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "is revoked") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSeveralSigners(t *testing.T) {
	a, b, c := newKey(t, "a"), newKey(t, "b"), newKey(t, "c")
	file, err := a.ClearSign([]byte(release), signedAt, b)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		name string
		ring Keyring
		want int
	}{
		{"both", a.Keyring().Join(b.Keyring()), 2}, {"old", a.Keyring(), 1}, {"new", b.Keyring(), 1},
		{"new and a stranger", b.Keyring().Join(c.Keyring()), 1}, {"stranger", c.Keyring(), 0}, {"nobody", Keyring{}, 0},
	} {
		_, signers, err := x.ring.VerifyClearSigned(file, signedAt)
		if len(signers) != x.want || (err == nil) != (x.want > 0) {
			t.Errorf("%s: %v, %v", x.name, signers, err)
		}
	}
	// A good signature does not excuse a bad one by another trusted key.
	wrong := clearSigned(t, b, "other\n")
	_, badSig, _ := bytes.Cut(wrong, []byte(beginSignature))
	bad, _, err := dearmour(signatureType, append([]byte(beginSignature), badSig...))
	if err != nil {
		t.Fatal(err)
	}
	f, _ := parseFrame(clearSigned(t, a, release))
	good, _, _ := dearmour(signatureType, f.armour)
	f.armour, _ = enarmour(signatureType, append(good, bad...))
	if _, _, err := a.Keyring().VerifyClearSigned(f.encode(), signedAt); err != nil {
		t.Errorf("with only the good signer known: %v", err)
	}
	if _, _, err := a.Keyring().Join(b.Keyring()).VerifyClearSigned(f.encode(), signedAt); !fault.Is(err, fault.Denied) {
		t.Errorf("with both known: %v", err)
	}
}

func TestDetached(t *testing.T) {
	k := newKey(t, "k")
	data := []byte("a \r\n-b\x00")
	sig, err := k.DetachSign(bytes.NewReader(data), signedAt)
	if err != nil {
		t.Fatal(err)
	}
	binary, _, err := dearmour(signatureType, sig)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string][]byte{"armoured": sig, "binary": binary} {
		if signers, err := k.Keyring().VerifyDetached(bytes.NewReader(data), s, signedAt); err != nil || len(signers) != 1 {
			t.Errorf("%s: %v, %v", name, signers, err)
		}
		if _, err := k.Keyring().VerifyDetached(strings.NewReader("a"), s, signedAt); !fault.Is(err, fault.Denied) {
			t.Errorf("%s over other data: %v", name, err)
		}
	}
	public, _ := k.PublicArmored()
	for name, s := range map[string][]byte{"empty": nil, "a key": public, "trash": []byte("xxxx"), "cut": binary[:20]} {
		if _, err := k.Keyring().VerifyDetached(bytes.NewReader(data), s, signedAt); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysAndKeyrings(t *testing.T) {
	a, b := newKey(t, "a"), newKey(t, "b")
	private, err := a.MarshalPrivate()
	if err != nil {
		t.Fatal(err)
	}
	again, err := UnmarshalPrivate(private)
	if err != nil || again.Fingerprint() != a.Fingerprint() || !again.Created().Equal(born) {
		t.Fatalf("%v, %v", again, err)
	}
	if x, y := clearSigned(t, a, "a\n"), clearSigned(t, again, "a\n"); !bytes.Equal(x, y) {
		t.Error("the key that was stored signs differently")
	}
	pa, _ := a.PublicArmored()
	pb, _ := b.PublicArmored()
	if p2, _ := again.PublicArmored(); !bytes.Equal(pa, p2) {
		t.Error("the public key differs after storing")
	}
	if _, err := UnmarshalPrivate(pa); !fault.Is(err, fault.Invalid) {
		t.Errorf("a public key as private: %v", err)
	}
	ring, err := ReadKeyring(bytes.NewReader(append(append(pa, '\n'), pb...)))
	if err != nil || len(ring.Fingerprints()) != 2 {
		t.Errorf("two armoured blocks: %v, %v", ring.Fingerprints(), err)
	}
	for name, s := range map[string]string{
		"nothing": "", "trash": "hello", "text after": string(pa) + "hello", "private": string(private),
		"no end": string(pa[:200]),
	} {
		if _, err := ReadKeyring(strings.NewReader(s)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := GenerateKey("a <b>", "", born); !fault.Is(err, fault.Invalid) {
		t.Errorf("bad name: %v", err)
	}
}

func FuzzUnwrap(f *testing.F) {
	k := newKey(f, "k")
	good := clearSigned(f, k, release)
	f.Add(good)
	f.Add([]byte("Format: 3.0\n"))
	f.Add(append(good, good...))
	ring := k.Keyring()
	f.Fuzz(func(t *testing.T, b []byte) {
		text, signed, err := Unwrap(b)
		if err == nil && signed && bytes.Contains(text, []byte("\r")) {
			t.Error("a carriage return in the text")
		}
		got, _, err := ring.VerifyClearSigned(b, signedAt)
		if err == nil && string(got) != strings.Replace(release, "trailing \t", "trailing", 1) {
			t.Errorf("accepted a text that was never signed: %q", got)
		}
	})
}

func FuzzReadKeyring(f *testing.F) {
	k := newKey(f, "k")
	public, _ := k.PublicArmored()
	f.Add(public)
	body, _, _ := dearmour(openpgp.PublicKeyType, public)
	f.Add(body)
	f.Fuzz(func(t *testing.T, b []byte) {
		if ring, err := ReadKeyring(bytes.NewReader(b)); err == nil && len(ring.Fingerprints()) == 0 {
			t.Error("an empty keyring without an error")
		}
	})
}
