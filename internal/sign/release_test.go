package sign

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// releaseDir makes indexes and the Release that lists them.
func releaseDir(t testing.TB, spoil spoiler) (dir string, text []byte) {
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
type spoiler func(t testing.TB, dir string, lines []string) []string

const plainIndex = "main/binary-amd64/Packages"

func rewriteIndex(content string) spoiler {
	return func(t testing.TB, dir string, lines []string) []string {
		if err := os.WriteFile(filepath.Join(dir, plainIndex), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return lines
	}
}

func removeIndex(name string) spoiler {
	return func(t testing.TB, dir string, lines []string) []string {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		return lines
	}
}

func addLine(lines ...string) spoiler {
	return func(_ testing.TB, _ string, l []string) []string { return append(l, lines...) }
}

func moveByHash(t testing.TB, dir string, lines []string) []string {
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

func otherPlain(t testing.TB, dir string, lines []string) []string {
	for i, line := range lines {
		if strings.HasSuffix(line, "Packages") {
			lines[i] = strings.Replace(line, strings.Fields(line)[0], strings.Repeat("0", 64), 1)
		}
	}
	return removeIndex(plainIndex)(t, dir, lines)
}

func linkIndex(t testing.TB, dir string, lines []string) []string {
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
