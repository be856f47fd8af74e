package sign

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

var now = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// TestMain makes the test binary serve as the signer process.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "signer" {
		err := ServeSigner(context.Background(), os.Stdin, os.Stdout, Serving{Dir: os.Args[2], Handlers: probes})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == "separated" {
		probeSeparated(os.Args[2])
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// probes are handlers for tests.
var probes = map[string]Handler{
	"who": func(_ context.Context, s *Session, _ json.RawMessage) (any, error) {
		return map[string]int{"uid": os.Getuid(), "env": len(os.Environ())}, nil
	},
	"refuse": func(_ context.Context, s *Session, _ json.RawMessage) (any, error) {
		return nil, fault.New(fault.Policy, "no").At("f", 3).Fix("ask nicely")
	},
	"die": func(context.Context, *Session, json.RawMessage) (any, error) { os.Exit(3); return nil, nil },
	"hang": func(ctx context.Context, _ *Session, _ json.RawMessage) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	},
}

// openDir returns a folder that other users can reach.
func openDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func initKeys(t *testing.T, passphrase string, owner Owner) string {
	t.Helper()
	dir := filepath.Join(openDir(t), "keys")
	if _, err := Init(New{Dir: dir, Passphrase: []byte(passphrase), Name: "Test", Email: "test@example.org", Owner: owner, Now: now}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// testSigner is the contract of Signer, for every implementation.
func testSigner(t *testing.T, s Signer) {
	t.Helper()
	ctx := context.Background()
	statement, err := intoto.NewStatement(intoto.PredicateTest, intoto.TestResult{Result: intoto.TestPassed},
		ashlar.File{Name: "x", Digest: ashlar.DigestOf(nil)})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := statement.Encode()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := Bundle(ctx, s, payload)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bundle.DSSEEnvelope.Verify(s.Public()); err != nil {
		t.Error(err)
	}
	bundle.DSSEEnvelope.Payload = append(bundle.DSSEEnvelope.Payload, ' ')
	if _, err := bundle.DSSEEnvelope.Verify(s.Public()); !fault.Is(err, fault.Denied) {
		t.Errorf("other payload: %v", err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.Sign(over, nil); err == nil {
		t.Error("signed although the context was over")
	}
}

func TestSigners(t *testing.T) {
	memory, err := Generate("Test", "", now)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := Open(initKeys(t, "", Me()), nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := Open(initKeys(t, "open sesame", Me()), []byte("open sesame"))
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, _ := ed25519.GenerateKey(rand.Reader)
	ed, err := NewSigner(edKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Signer{
		"memory": memory.Attestation, "file": plain.Attestation, "encrypted file": sealed.Attestation, "Ed25519": ed,
	} {
		t.Run(name, func(t *testing.T) { testSigner(t, s) })
	}
}

func TestNewSignerRefuses(t *testing.T) {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 1024)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for _, k := range []crypto.Signer{rsaKey, p384} {
		if _, err := NewSigner(k); !fault.Is(err, fault.Invalid) {
			t.Errorf("%T: %v", k, err)
		}
	}
}
