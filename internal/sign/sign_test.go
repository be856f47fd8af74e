package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/pgp"
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
func openDir(t *testing.T) string {
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

func TestInit(t *testing.T) {
	dir := initKeys(t, "", Me())
	for name, mode := range map[string]os.FileMode{
		".": os.ModeDir | 0o700, AttestationKey: 0o600, RepositoryKey: 0o600, AttestationPub: 0o644, RepositoryPub: 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Init(New{Dir: dir, Name: "x", Owner: Me(), Now: now}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second time: %v", err)
	}
	keys, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadPublic(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadPublic(t.TempDir()); !fault.Is(err, fault.NotFound) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		passphrase string // of the keys
		given      string
		change     func(dir string) error
		kind       fault.Kind
	}{
		{"wrong passphrase", "right", "wrong", nil, fault.Denied},
		{"no passphrase", "right", "", nil, fault.Denied},
		{"readable by others", "", "", func(d string) error { return os.Chmod(filepath.Join(d, RepositoryKey), 0o640) }, fault.Denied},
		{"another owner", "", "", func(d string) error { return os.Chown(filepath.Join(d, AttestationKey), 61111, 61111) }, fault.Denied},
		{"a link", "", "", func(d string) error {
			p := filepath.Join(d, AttestationKey)
			if err := os.Rename(p, p+".real"); err != nil {
				return err
			}
			return os.Symlink(p+".real", p)
		}, fault.Denied},
		{"no key", "", "", func(d string) error { return os.Remove(filepath.Join(d, AttestationKey)) }, fault.NotFound},
		{"trash", "", "", func(d string) error { return os.WriteFile(filepath.Join(d, AttestationKey), []byte("x"), 0o600) }, fault.Invalid},
		{"repository trash", "", "", func(d string) error { return os.WriteFile(filepath.Join(d, RepositoryKey), []byte("x"), 0o600) }, fault.Invalid},
		{"cut", "p", "p", func(d string) error { return os.Truncate(filepath.Join(d, AttestationKey), 100) }, fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "another owner" && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			dir := initKeys(t, c.passphrase, Me())
			if c.change != nil {
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(dir, []byte(c.given)); !fault.Is(err, c.kind) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// start starts the test binary as the signer on a folder that New made.
func start(t *testing.T, dir, passphrase string, user Owner) (*Conn, error) {
	t.Helper()
	c, err := StartSigner(t.Context(), Child{Args: []string{"signer", dir}, Passphrase: []byte(passphrase), User: user})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestProcess(t *testing.T) {
	dir := initKeys(t, "secret", Me())
	c, err := start(t, dir, "secret", Me())
	if err != nil {
		t.Fatal(err)
	}
	want, err := ReadPublic(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, c.Public()); diff != "" {
		t.Errorf("a process of the same user must not call itself separate: %s", diff)
	}
	var who map[string]int
	if err := c.Call(t.Context(), "who", nil, &who); err != nil || who["env"] != 1 {
		t.Errorf("%v, %v", who, err)
	}
	err = c.Call(t.Context(), "refuse", nil, &who)
	if !fault.Is(err, fault.Policy) || err.Error() != "f:3: no (ask nicely)" {
		t.Errorf("an error on its way back: %v", err)
	}
	if err := c.Call(t.Context(), "nonsense", nil, &who); !fault.Is(err, fault.Internal) {
		t.Errorf("an unknown request: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Call(t.Context(), "who", nil, &who); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after closing: %v", err)
	}
	if _, err := start(t, dir, "wrong", Me()); !fault.Is(err, fault.Denied) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := start(t, t.TempDir(), "", Me()); !fault.Is(err, fault.NotFound) {
		t.Errorf("no keys: %v", err)
	}
}

func TestProcessDies(t *testing.T) {
	dir := initKeys(t, "", Me())
	c, err := start(t, dir, "", Me())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "die", nil, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if c, err = start(t, dir, "", Me()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "hang", nil, nil); err != context.DeadlineExceeded {
		t.Errorf("a request that is cancelled: %v", err)
	}
	if err := c.Call(t.Context(), "who", nil, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after that: %v", err)
	}
}

// TestSeparateUser proves what level 3 rests on: the signer has a user of its
// own, and nobody else but root can read its keys or its memory.
func TestSeparateUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	owner := SystemUser()
	dir := initKeys(t, "", owner)
	c, err := start(t, dir, "", owner)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Public().Separate {
		t.Error("the signer does not know that it is separate")
	}
	var who map[string]int
	if err := c.Call(t.Context(), "who", nil, &who); err != nil || who["uid"] != owner.UID {
		t.Errorf("%v, %v", who, err)
	}
	for _, path := range []string{filepath.Join(dir, AttestationKey), filepath.Join(dir, RepositoryKey), dir} {
		if out, err := asNobody("cat", path); err == nil {
			t.Errorf("another user can read %s: %q", path, out)
		}
	}
	if _, err := Open(dir, nil); !fault.Is(err, fault.Denied) {
		t.Errorf("the caller opens the signer's keys itself: %v", err)
	}
	if _, err := start(t, dir, "", Owner{61181, 61181}); !fault.Is(err, fault.Denied) {
		t.Errorf("a signer of yet another user: %v", err)
	}
}

func asNobody(name string, args ...string) ([]byte, error) {
	return exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", name}, args...)...).CombinedOutput()
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	if err := writeFrame(&b, hello{Passphrase: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	var h hello
	for name, data := range map[string][]byte{
		"cut head": whole[:3], "cut body": whole[:len(whole)-1], "huge": {0xff, 0xff, 0xff, 0xff}, "no JSON": {0, 0, 0, 1, 'x'},
	} {
		if err := readFrame(bytes.NewReader(data), &h); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := readFrame(bytes.NewReader(nil), &h); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
}

func FuzzServe(f *testing.F) {
	keys, err := Generate("Test", "", now)
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	writeFrame(&b, request{Verb: verbRelease, Body: json.RawMessage(`{"dir":"/nowhere","release":"","now":"2026-01-01T00:00:00Z"}`)})
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		_ = answer(t.Context(), bytes.NewReader(in), &out, &Session{Keys: keys}, nil)
		if strings.Contains(out.String(), "inRelease") {
			t.Fatal("signed something")
		}
	})
}

// releaseDir makes indexes and the Release that lists them.
func releaseDir(t *testing.T, spoil spoiler) (dir string, text []byte) {
	t.Helper()
	dir = openDir(t)
	plain := []byte(strings.Repeat("Package: a\n\n", 100))
	var packed bytes.Buffer
	w := compress.NewGzipWriter(&packed)
	w.Write(plain)
	w.Close()
	var lines []string
	for name, b := range map[string][]byte{"Packages": plain, "Packages.gz": packed.Bytes()} {
		name = "main/binary-amd64/" + name
		lines = append(lines, fmt.Sprintf(" %s %d %s", ashlar.DigestOf(b).Hex(), len(b), name))
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	lines = spoil(t, dir, lines)
	return dir, []byte("Origin: Ashlar\nSuite: bookworm\nCodename: bookworm\nDate: Wed, 04 Mar 2026 05:06:07 UTC\nSHA256:\n" + strings.Join(lines, "\n") + "\n")
}

// A spoiler changes the indexes below dir, or the lines of the Release.
type spoiler func(t *testing.T, dir string, lines []string) []string

const plainIndex = "main/binary-amd64/Packages"

func rewriteIndex(content string) spoiler {
	return func(t *testing.T, dir string, lines []string) []string {
		if err := os.WriteFile(filepath.Join(dir, plainIndex), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return lines
	}
}

func removeIndex(name string) spoiler {
	return func(t *testing.T, dir string, lines []string) []string {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return lines
	}
}

func addLine(lines ...string) spoiler {
	return func(_ *testing.T, _ string, l []string) []string { return append(l, lines...) }
}

func moveByHash(t *testing.T, dir string, lines []string) []string {
	for _, line := range lines {
		f := strings.Fields(line)
		to := filepath.Join(dir, filepath.Dir(f[2]), "by-hash", "SHA256", f[0])
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, f[2]), to); err != nil {
			t.Fatal(err)
		}
	}
	return lines
}

func otherPlain(t *testing.T, dir string, lines []string) []string {
	for i, line := range lines {
		if strings.HasSuffix(line, "Packages") {
			lines[i] = strings.Replace(line, strings.Fields(line)[0], strings.Repeat("0", 64), 1)
		}
	}
	return removeIndex(plainIndex)(t, dir, lines)
}

func linkIndex(t *testing.T, dir string, lines []string) []string {
	removeIndex(plainIndex)(t, dir, lines)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, plainIndex)); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestSignReleases(t *testing.T) {
	keys, err := Generate("Test", "", now)
	if err != nil {
		t.Fatal(err)
	}
	next, err := pgp.GenerateKey("Next", "", now)
	if err != nil {
		t.Fatal(err)
	}
	keys.Repository = append(keys.Repository, next)
	c, err := Local(t.Context(), keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Public().Separate {
		t.Error("a local signer calls itself separate")
	}
	differs := "is not what the Release says"
	for _, x := range []struct {
		name  string
		spoil spoiler
		want  string // "" means signed
	}{
		{"whole", addLine(), ""},
		{"plain form not stored", removeIndex(plainIndex), ""},
		{"by hash only", moveByHash, ""},
		{"changed index", rewriteIndex(strings.Repeat("Package: b\n\n", 100)), differs},
		{"longer index", rewriteIndex(strings.Repeat("Package: a\n\n", 101)), differs},
		{"nothing stored", removeIndex("main"), "is there"},
		{"compressed form of something else", otherPlain, differs},
		{"other digests", addLine("MD5Sum:", " d41d8cd98f00b204e9800998ecf8427e 0 x"), "MD5Sum"},
		{"outside the folder", addLine(" " + ashlar.DigestOf(nil).Hex() + " 0 ../../../../dev/null"), "../"},
		{"a link out of the folder", linkIndex, "escapes"},
	} {
		t.Run(x.name, func(t *testing.T) {
			dir, text := releaseDir(t, x.spoil)
			signed, err := c.SignReleases(t.Context(), dir, [][]byte{text, text}, now)
			if x.want == "" && err == nil {
				for _, s := range signed {
					checkSigned(t, keys, text, s)
				}
			} else if x.want == "" || err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want %q", err, x.want)
			}
		})
	}
}

// checkSigned checks both forms of a signed Release with every key alone.
func checkSigned(t *testing.T, keys *Keys, text []byte, s pgp.Signed) {
	t.Helper()
	for _, k := range keys.Repository {
		if got, _, err := k.Keyring().VerifyClearSigned(s.Clear, now); err != nil || !bytes.Equal(got, text) {
			t.Errorf("InRelease: %v", err)
		}
		if _, err := k.Keyring().VerifyDetached(bytes.NewReader(text), s.Detached, now); err != nil {
			t.Errorf("Release.gpg: %v", err)
		}
	}
}
