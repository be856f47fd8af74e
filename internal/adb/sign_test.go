package adb

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Keys of the tests. They are made of small numbers, so that their signatures
// are always the same.
var (
	testEC  = ecKey(1_000_001)
	otherEC = ecKey(1_000_003)
	testRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
)

func ecKey(n int64) *ecdsa.PrivateKey {
	return must(ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(n).FillBytes(make([]byte, 32))))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// withKeys opens a file signed by the signers and verifies it with the keys.
func withKeys(t *testing.T, signers []crypto.Signer, keys ...crypto.PublicKey) (KeyID, error) {
	t.Helper()
	f, err := Open(bytes.NewReader(makeFile(t, None, nil, signers...)), testSchema, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	return f.Verify(keys...)
}

func TestVerify(t *testing.T) {
	ec, other, rs := crypto.Signer(testEC), crypto.Signer(otherEC), crypto.Signer(testRSA())
	for _, c := range []struct {
		name    string
		signers []crypto.Signer
		keys    []crypto.PublicKey
		by      crypto.Signer // nil if the file is to be denied
		want    string        // in the error
	}{
		{"EC", []crypto.Signer{ec}, []crypto.PublicKey{ec.Public()}, ec, ""},
		{"RSA", []crypto.Signer{rs}, []crypto.PublicKey{rs.Public()}, rs, ""},
		{"one of several keys", []crypto.Signer{ec}, []crypto.PublicKey{rs.Public(), other.Public(), ec.Public()}, ec, ""},
		{"rotation, old key", []crypto.Signer{ec, rs}, []crypto.PublicKey{ec.Public()}, ec, ""},
		{"rotation, new key", []crypto.Signer{ec, rs}, []crypto.PublicKey{rs.Public()}, rs, ""},
		{"rotation, both keys", []crypto.Signer{rs, ec}, []crypto.PublicKey{ec.Public(), rs.Public()}, rs, ""},
		{"foreign key", []crypto.Signer{other}, []crypto.PublicKey{ec.Public(), rs.Public()}, nil, "no trusted key"},
		{"not signed", nil, []crypto.PublicKey{ec.Public()}, nil, "not signed"},
		{"no keys", []crypto.Signer{ec}, nil, nil, "no trusted key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, err := withKeys(t, c.signers, c.keys...)
			if c.by == nil {
				if !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want denied with %q", err, c.want)
				}
				return
			}
			if want, _ := KeyIDOf(c.by.Public()); err != nil || id != want {
				t.Errorf("verified by %s, %v; want %s", id, err, want)
			}
		})
	}
}

// TestTampering changes each bit of the payload and of the signature.
func TestTampering(t *testing.T) {
	p := testPayload(t, "a value")
	sigs, err := Sign(testSchema, p, testEC)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(schema Schema, p []byte, s Signature) error {
		_, err := (&File{Schema: schema, Payload: p, Signatures: []Signature{s}}).Verify(testEC.Public())
		return err
	}
	if err := verify(testSchema, p, sigs[0]); err != nil {
		t.Fatal(err)
	}
	if err := verify(testSchema+1, p, sigs[0]); !fault.Is(err, fault.Denied) {
		t.Errorf("another schema: %v", err)
	}
	for i := range 8 * len(p) {
		q := bytes.Clone(p)
		q[i/8] ^= 1 << (i % 8)
		if err := verify(testSchema, q, sigs[0]); !fault.Is(err, fault.Denied) {
			t.Errorf("bit %d of the payload: %v", i, err)
		}
	}
	whole := sigs[0].encode()
	for i := range 8 * len(whole) {
		q := bytes.Clone(whole)
		q[i/8] ^= 1 << (i % 8)
		s, err := parseSignature(q)
		if err == nil {
			err = verify(testSchema, p, s)
		}
		if err == nil || fault.KindOf(err) == fault.Internal {
			t.Errorf("bit %d of the signature: %v", i, err)
		}
	}
	s := sigs[0]
	for n := range s.Value {
		s.Value = sigs[0].Value[:n]
		if err := verify(testSchema, p, s); !fault.Is(err, fault.Denied) {
			t.Errorf("a signature of %d bytes: %v", n, err)
		}
	}
}

// TestOtherSignatures passes over what it does not understand.
func TestOtherSignatures(t *testing.T) {
	p := testPayload(t, "x")
	good, err := Sign(testSchema, p, testEC)
	if err != nil {
		t.Fatal(err)
	}
	weak := good[0]
	weak.Hash = 3
	sigs := []Signature{{Version: 7, Hash: 9, Value: []byte("from the future")}, {Version: 7}, weak, good[0]}
	var out bytes.Buffer
	w, err := NewWriter(&out, Deflate, testSchema, p, sigs)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := Open(&out, testSchema, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	sigs[1].Value = []byte{}
	if d := cmp.Diff(sigs, f.Signatures); d != "" {
		t.Errorf("signatures differ:\n%s", d)
	}
	if _, err := f.Verify(testEC.Public()); err != nil {
		t.Error(err)
	}
	f.Signatures = f.Signatures[:3]
	if _, err := f.Verify(testEC.Public()); !fault.Is(err, fault.Denied) {
		t.Errorf("with signatures of other forms only: %v", err)
	}
}

// A badSigner has the public key of one signer and the private one of another.
type badSigner struct {
	crypto.Signer
	public crypto.PublicKey
	err    error
}

func (b badSigner) Public() crypto.PublicKey { return b.public }

func (b badSigner) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	return b.Signer.Sign(r, digest, opts)
}

func TestSignRefuses(t *testing.T) {
	p := testPayload(t, "x")
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	locked := errors.New("the token is locked")
	for _, c := range []struct {
		name    string
		signers []crypto.Signer
		kind    fault.Kind
		want    string
	}{
		{"Ed25519", []crypto.Signer{ed}, fault.Invalid, "Ed25519"},
		{"P-384", []crypto.Signer{p384}, fault.Invalid, "P-256"},
		{"the same key twice", []crypto.Signer{testEC, otherEC, testEC}, fault.Invalid, "twice"},
		{"65 keys", make([]crypto.Signer, 65), fault.Invalid, "more than"},
		{"another key's signature", []crypto.Signer{badSigner{otherEC, testEC.Public(), nil}}, fault.Failed, "not its signature"},
		{"locked", []crypto.Signer{badSigner{otherEC, testEC.Public(), locked}}, fault.Failed, "locked"},
	} {
		_, err := Sign(testSchema, p, c.signers...)
		if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s with %q", c.name, err, c.kind, c.want)
		}
		if c.name == "locked" && !errors.Is(err, locked) {
			t.Errorf("the cause is lost: %v", err)
		}
	}
	for _, key := range []crypto.PublicKey{ed.Public(), p384.Public(), nil, "key", (*rsa.PublicKey)(nil), &rsa.PublicKey{N: big.NewInt(17), E: 3}} {
		if _, err := withKeys(t, []crypto.Signer{testEC}, key); !fault.Is(err, fault.Invalid) {
			t.Errorf("verifying with %T: %v, want invalid", key, err)
		}
	}
}

// TestRealSignature verifies what the real apk 3.0.6 signed. The file was made
// by "apk --compression none mkpkg" with one script and no files, once with an EC
// and once with an RSA key.
func TestRealSignature(t *testing.T) {
	const pckg Schema = 0x676b6370
	for _, name := range []string{"ec", "rsa"} {
		b, err := os.ReadFile("testdata/real-" + name + ".adb")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("testdata/real-" + name + ".pub")
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		f, err := Open(bytes.NewReader(b), pckg, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Verify(otherEC.Public()); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: another key: %v", name, err)
		}
		if _, err := f.Verify(key); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var out bytes.Buffer
		w, err := NewWriter(&out, f.Compression, f.Schema, f.Payload, f.Signatures)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil || !bytes.Equal(out.Bytes(), b) {
			t.Errorf("%s: written again it differs: %v", name, err)
		}
		d := NewDecoder(f.Payload)
		if info := d.Root().Object(1); info.String(1) != "real" || info.String(2) != "1.2-r3" || d.Err() != nil {
			t.Errorf("%s: name %q, %v", name, info.String(1), d.Err())
		}
	}
}
