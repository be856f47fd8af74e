package pgp

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRealApt lets the real apt-get read a repository that we signed, trusting
// the old key alone, the new one alone, and a stranger.
func TestRealApt(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs apt-get")
	}
	dir := t.TempDir()
	old, next, stranger := newKey(t, "old"), newKey(t, "next"), newKey(t, "stranger")
	suite := filepath.Join(dir, "repo", "dists", "x")
	packages := []byte("")
	put(t, filepath.Join(suite, "main/binary-amd64/Packages"), packages)
	now := time.Now()
	release := fmt.Sprintf("Origin: Ashlar\nSuite: x\nCodename: x\nArchitectures: amd64\nComponents: main\nDate: %s\nDescription: - dashes -\nSHA256:\n %x %d main/binary-amd64/Packages\n",
		now.UTC().Format(time.RFC1123), sha256.Sum256(packages), len(packages))
	signed, err := old.ClearSign([]byte(release), now, next)
	if err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(suite, "InRelease")
	put(t, in, signed)
	for _, k := range []*Key{old, next} {
		if out, err := aptUpdate(t, dir, k); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
	if out, err := aptUpdate(t, dir, stranger); err == nil {
		t.Errorf("apt accepts a key that did not sign: %s", out)
	}
	put(t, in, bytes.Replace(signed, []byte("Origin: Ashlar"), []byte("Origin: Evil"), 1))
	if out, err := aptUpdate(t, dir, old); err == nil {
		t.Errorf("apt accepts a changed file: %s", out)
	}
}

func put(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// aptUpdate runs apt-get update in folders of its own, with the key embedded in
// the sources file as users get it.
func aptUpdate(t *testing.T, dir string, k *Key) ([]byte, error) {
	t.Helper()
	armoured, err := k.PublicArmored()
	if err != nil {
		t.Fatal(err)
	}
	var embedded strings.Builder
	for line := range strings.Lines(string(armoured)) {
		if line == "\n" {
			line = ".\n"
		}
		embedded.WriteString(" " + line)
	}
	root := t.TempDir()
	put(t, filepath.Join(root, "x.sources"), []byte("Types: deb\nURIs: file:"+dir+"/repo\nSuites: x\nComponents: main\nArchitectures: amd64\nSigned-By:\n"+embedded.String()))
	put(t, filepath.Join(root, "lists/partial/.keep"), nil)
	put(t, filepath.Join(root, "empty/.keep"), nil)
	put(t, filepath.Join(root, "status"), nil)
	cmd := exec.Command("apt-get", "update",
		"-o", "Dir::Etc::SourceList=/dev/null", "-o", "Dir::Etc::SourceParts="+root, "-o", "Dir::State::Lists="+root+"/lists",
		"-o", "Dir::State::Status="+root+"/status", "-o", "Dir::Cache="+root+"/empty", "-o", "APT::Sandbox::User=root",
		"-o", "APT::Update::Error-Mode=any")
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd.CombinedOutput()
}
