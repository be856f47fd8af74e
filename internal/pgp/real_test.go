package pgp

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// aptURI returns the base address of an archive, "/debian" or "/debian-security",
// from the machine's apt configuration.
func aptURI(t *testing.T, archive string) string {
	t.Helper()
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*.sources")
	files = append(files, "/etc/apt/sources.list")
	form := regexp.MustCompile(`(?m)^(?:URIs:|deb)\s.*?(https?://\S+` + archive + `)/?(?:\s|$)`)
	for _, f := range files {
		b, _ := os.ReadFile(f)
		if m := form.FindSubmatch(b); m != nil {
			return string(m[1])
		}
	}
	t.Skipf("apt on this machine has no source for %s", archive)
	return ""
}

func fetch(t *testing.T, url string) []byte {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Skipf("the apt mirror does not answer: %v", err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil || res.StatusCode != http.StatusOK {
		t.Skipf("the apt mirror answers %s: %v", res.Status, err)
	}
	return b
}

func TestRealInRelease(t *testing.T) {
	if testing.Short() {
		t.Skip("needs the machine's apt mirror")
	}
	f, err := os.Open(debianKeyring)
	if err != nil {
		t.Skip("needs the package debian-archive-keyring")
	}
	defer f.Close()
	keys, err := ReadKeyring(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ archive, suite string }{
		{"/debian", "bookworm"}, {"/debian", "bookworm-updates"}, {"/debian", "trixie"},
		{"/debian-security", "bookworm-security"}, {"/debian-security", "trixie-security"},
	} {
		t.Run(c.suite, func(t *testing.T) {
			in := fetch(t, aptURI(t, c.archive)+"/dists/"+c.suite+"/InRelease")
			text, signers, err := keys.VerifyClearSigned(in, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("signed by %v", signers)
			path := filepath.Join(t.TempDir(), "InRelease")
			if err := os.WriteFile(path, in, 0o644); err != nil {
				t.Fatal(err)
			}
			want, err := exec.Command("gpgv", "--output", "-", "--keyring", debianKeyring, path).Output()
			if len(want) == 0 {
				t.Fatalf("gpgv: %v", err)
			}
			if !bytes.Equal(text, want) {
				t.Error("the text differs from what gpgv takes out")
			}
			changed := bytes.Replace(in, []byte("Suite:"), []byte("Suitf:"), 1)
			if _, _, err := keys.VerifyClearSigned(changed, time.Now()); err == nil || !strings.Contains(err.Error(), "bad signature") {
				t.Errorf("a changed file: %v", err)
			}
		})
	}
}

// TestRealVerifiers lets the programs that apt calls judge our signatures.
func TestRealVerifiers(t *testing.T) {
	dir := t.TempDir()
	old, next := newKey(t, "old"), newKey(t, "next")
	text := []byte("Origin: Ashlar\nSuite: bookworm\n- dashed: -\n-----BEGIN\n\nSHA256:\n abc 1 main/Packages  \t\nlast")
	signed, err := old.ClearSign(text, signedAt, next)
	if err != nil {
		t.Fatal(err)
	}
	detached, err := old.DetachSign(bytes.NewReader(text), signedAt, next)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return p
	}
	in, sig, data := write("InRelease", signed), write("Release.gpg", detached), write("Release", text)
	for _, k := range []*Key{old, next} {
		armoured, err := k.PublicArmored()
		if err != nil {
			t.Fatal(err)
		}
		ring := Keyring{}
		if ring, err = ReadKeyring(bytes.NewReader(armoured)); err != nil {
			t.Fatal(err)
		}
		if got, _, err := ring.VerifyClearSigned(signed, signedAt); err != nil || !bytes.HasPrefix(got, []byte("Origin")) {
			t.Errorf("our own: %v", err)
		}
		asc := write(k.Fingerprint()+".asc", armoured)
		gpg := filepath.Join(dir, k.Fingerprint()+".gpg")
		run(t, "gpg", "--batch", "--homedir", dir, "--dearmor", "-o", gpg, asc)
		run(t, "gpgv", "--homedir", dir, "--keyring", gpg, in) // exit 0 or, with unknown co-signers, good
		run(t, "gpgv", "--homedir", dir, "--keyring", gpg, sig, data)
		if _, err := exec.LookPath("sqv"); err == nil {
			run(t, "sqv", "--keyring", asc, sig, data)
		}
	}
}

// run runs a verifier. gpgv exits with 2 when one of several signatures is by a
// key that it does not know; apt reads its status lines, and so does this.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s", name)
	}
	if name == "gpgv" {
		args = append([]string{"--status-fd", "1"}, args...)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if name == "gpgv" {
		if !bytes.Contains(out, []byte("GOODSIG")) || bytes.Contains(out, []byte("BADSIG")) {
			t.Errorf("%s %v: %s", name, args, out)
		}
		return
	}
	if err != nil {
		t.Errorf("%s %v: %v: %s", name, args, err, out)
	}
}
