package attest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// cosignProgram returns stock cosign: $ASHLAR_COSIGN, or the one that the module
// in tools pins, which takes minutes to compile the first time.
func cosignProgram(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("ASHLAR_COSIGN"); p != "" {
		return p
	}
	if testing.Short() {
		t.Skip("compiling cosign takes minutes; set ASHLAR_COSIGN to one that is there")
	}
	cmd := exec.Command("go", "tool", "-n", "cosign")
	cmd.Dir = filepath.Join("..", "..", "tools")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("cosign cannot be compiled here: %v: %s", err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

// cosign runs stock cosign with the flags that docs/verify.md gives. Its home is
// empty, so that nothing it knows from elsewhere helps it.
func cosign(t *testing.T, program, pub, kind, bundle, file string) (string, error) {
	t.Helper()
	cmd := exec.Command(program, "verify-blob-attestation", "--key", pub, "--insecure-ignore-tlog",
		"--type", kind, "--bundle", bundle, file)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=/usr/bin:/bin", "http_proxy=http://127.0.0.1:1", "https_proxy=http://127.0.0.1:1"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestCosign(t *testing.T) {
	program := cosignProgram(t)
	b := newBuild(t)
	signer, _ := localSigner(t, b)
	bundles, err := Sign(t.Context(), signer, b.e)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	content, err := os.ReadFile(b.path(b.e.Result.Files[3].Digest))
	if err != nil {
		t.Fatal(err)
	}
	file, pub := write(mainDeb, content), write("attestation.pub", signer.Public().Attestation)
	content[len(content)-1] ^= 1
	tampered := write("tampered.deb", content)
	other, _ := localSigner(t, b)
	otherPub := write("other.pub", other.Public().Attestation)
	for kind, predicate := range map[string]string{
		kindProvenance: "slsaprovenance1", kindSPDX: "spdxjson",
		kindTest: "https://in-toto.io/attestation/test-result/v0.1",
		kindVSA:  "https://slsa.dev/verification_summary/v1",
	} {
		bundle := write(BundleName(mainDeb, kind), bundles[BundleName(mainDeb, kind)])
		if out, err := cosign(t, program, pub, predicate, bundle, file); err != nil || !strings.Contains(out, "Verified OK") {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
		if out, err := cosign(t, program, pub, predicate, bundle, tampered); err == nil {
			t.Errorf("%s of a tampered file: %s", kind, out)
		}
		if out, err := cosign(t, program, otherPub, predicate, bundle, file); err == nil {
			t.Errorf("%s with another key: %s", kind, out)
		}
		if out, err := cosign(t, program, pub, "openvex", bundle, file); err == nil {
			t.Errorf("%s as another type: %s", kind, out)
		}
	}
}
