package attest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ashlar-project/ashlar/internal/sign"
)

// TestMain makes the test binary serve as the signer process.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "signer" {
		err := sign.ServeSigner(context.Background(), os.Stdin, os.Stdout, sign.Serving{
			Dir: os.Args[2], Handlers: Handlers(testDesk(Store(os.Args[3]), filepath.Join(os.Args[2], "indexes"))),
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSeparateSigner goes the whole way with a signer of another user: only then
// level 3 is claimed, and what that user cannot read is not signed.
func TestSeparateSigner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	b := newBuild(t)
	owner := sign.SystemUser()
	dir := filepath.Join(string(b.store), "keys")
	public, err := sign.Init(sign.New{Dir: dir, Name: "Test", Owner: owner, Now: started})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := sign.StartSigner(t.Context(), sign.Child{Args: []string{"signer", dir, string(b.store)}, User: owner})
	if err != nil {
		t.Fatal(err)
	}
	defer signer.Close()
	b.e.Builder.ID = BuilderL2
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := TrustKey(public.Attestation, BuilderL3)
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.verify(t, bundles, trust, Policy{MinLevel: 3})
	if err != nil || r.Level != 3 {
		t.Errorf("level %d, %v", r.Level, err)
	}
	if err := os.Chmod(b.path(mainFile(b).Digest), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(t.Context(), signer, b.e); err == nil {
		t.Error("signed a file that the signer cannot read")
	}
}
