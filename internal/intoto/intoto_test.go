package intoto

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var file = ashlar.File{Name: "a_1_amd64.deb", Digest: ashlar.DigestOf([]byte("a")), Size: 1}

func statement(t testing.TB) []byte {
	t.Helper()
	s, err := NewStatement(PredicateTest, TestResult{Result: TestPassed, PassedTests: []string{"a & b"}}, file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func bundle(t testing.TB, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	payload := statement(t)
	sum := sha256.Sum256(PAE(PayloadType, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	id, err := KeyID(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBundle(payload, sig, id).Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestPAE(t *testing.T) {
	got := string(PAE("http://example.org/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.org/HelloWorld 11 hello world"; got != want {
		t.Errorf("got %q", got)
	}
}

func TestStatementForm(t *testing.T) {
	want := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"a_1_amd64.deb","digest":{"sha256":"` +
		file.Digest.Hex() + `"}}],"predicateType":"https://in-toto.io/attestation/test-result/v0.1",` +
		`"predicate":{"result":"PASSED","configuration":null,"passedTests":["a & b"]}}`
	if diff := cmp.Diff(want, string(statement(t))); diff != "" {
		t.Error(diff)
	}
}

func TestBundleRoundTrip(t *testing.T) {
	key := newKey(t)
	data := bundle(t, key)
	b, err := DecodeBundle(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := b.Encode(); err != nil || !bytes.Equal(again, data) {
		t.Errorf("encoding again differs: %v", err)
	}
	s, err := b.DSSEEnvelope.Verify(key.Public())
	if err != nil || !s.About(file.Digest) || s.About(ashlar.DigestOf(nil)) {
		t.Fatalf("%+v, %v", s, err)
	}
	var result TestResult
	if err := s.Into(PredicateTest, &result); err != nil || result.Result != TestPassed {
		t.Errorf("%+v, %v", result, err)
	}
	if err := s.Into(PredicateVSA, &VSA{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("as another predicate: %v", err)
	}
}

func TestVerifyRefuses(t *testing.T) {
	key := newKey(t)
	b, err := DecodeBundle(bundle(t, key))
	if err != nil {
		t.Fatal(err)
	}
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	for name, pub := range map[string]crypto.PublicKey{"another": newKey(t).Public(), "Ed25519": ed} {
		if _, err := b.DSSEEnvelope.Verify(pub); !fault.Is(err, fault.Denied) {
			t.Errorf("%s key: %v", name, err)
		}
	}
	b.DSSEEnvelope.Payload = bytes.Replace(b.DSSEEnvelope.Payload, []byte("PASSED"), []byte("FAILED"), 1)
	if _, err := b.DSSEEnvelope.Verify(key.Public()); !fault.Is(err, fault.Denied) {
		t.Errorf("changed statement: %v", err)
	}
}

func TestEd25519(t *testing.T) {
	pub, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	payload := statement(t)
	id, err := KeyID(pub)
	if err != nil {
		t.Fatal(err)
	}
	b := NewBundle(payload, ed25519.Sign(private, PAE(PayloadType, payload)), id)
	if _, err := b.DSSEEnvelope.Verify(pub); err != nil {
		t.Error(err)
	}
}

func TestDecodeBundleRefuses(t *testing.T) {
	good := string(bundle(t, newKey(t)))
	for _, c := range []struct{ name, from, to, want string }{
		{"other version", "v0.3", "v0.1", "media type"},
		{"unknown key", `{"mediaType"`, `{"x":1,"mediaType"`, "unknown field"},
		{"log entries", `"publicKey"`, `"tlogEntries":[{}],"publicKey"`, "unknown field"},
		{"key twice", `{"mediaType"`, `{"mediaType":"a","mediaType"`, "twice"},
		{"key twice in another case", `{"mediaType"`, `{"MediaType":"a","mediaType"`, "twice"},
		{"two signatures", `"signatures":[`, `"signatures":[{"sig":"YQ=="},`, "exactly one"},
		{"other payload type", "application/vnd.in-toto+json", "text/plain", "not a"},
		{"no hint", `"hint":"`, `"hint":"","x":"`, "unknown field"},
		{"other key in the envelope", `{"sig":`, `{"keyid":"x","sig":`, "same key"},
		{"text after", "\n", "{}\n", "after"},
		{"deep", `{"mediaType"`, `{"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"mediaType"`, "deep"},
		{"cut", `"dsseEnvelope"`, "\x00", "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			changed := strings.Replace(good, c.from, c.to, 1)
			if changed == good {
				t.Fatal("the test changes nothing")
			}
			_, err := DecodeBundle([]byte(changed))
			if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := DecodeBundle([]byte(good[:len(good)/2])); !fault.Is(err, fault.Invalid) {
		t.Errorf("half a bundle: %v", err)
	}
}

func TestStatementRefuses(t *testing.T) {
	good := string(statement(t))
	for name, c := range map[string][2]string{
		"other type":     {"Statement/v1", "Statement/v0.1"},
		"no subject":     {`"subject":[`, `"subject":[],"x":[`},
		"no digest":      {`"digest":{"sha256":"` + file.Digest.Hex() + `"}`, `"digest":{}`},
		"list predicate": {`"predicate":{`, `"predicate":[],"y":{`},
	} {
		if _, err := DecodeStatement([]byte(strings.Replace(good, c[0], c[1], 1))); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewStatement(PredicateTest, TestResult{}, ashlar.File{Name: "x", Digest: "sha256:0"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("bad digest: %v", err)
	}
}

func FuzzDecodeBundle(f *testing.F) {
	f.Add(bundle(f, newKey(f)))
	f.Add([]byte(`{"mediaType":"` + BundleType + `"}`))
	stranger := newKey(f).Public()
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := DecodeBundle(data)
		if err != nil {
			return
		}
		if _, err := b.DSSEEnvelope.Verify(stranger); err == nil {
			t.Fatal("a signature out of thin air")
		}
		out, err := b.Encode()
		if err != nil {
			t.Fatalf("a bundle that was read cannot be written: %v", err)
		}
		if again, err := DecodeBundle(out); err != nil || !cmp.Equal(again, b) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func FuzzDecodeStatement(f *testing.F) {
	f.Add(statement(f))
	f.Add([]byte(`{"_type":"` + StatementType + `","subject":[{"digest":{"sha256":"00"}}],"predicateType":"x","predicate":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := DecodeStatement(data)
		if err != nil {
			return
		}
		if !json.Valid(s.Predicate) {
			t.Fatal("an invalid predicate")
		}
		if _, err := s.Encode(); err != nil {
			t.Fatalf("a statement that was read cannot be written: %v", err)
		}
		var p Provenance
		_ = s.Into(s.PredicateType, &p)
	})
}
