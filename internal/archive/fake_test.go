package archive

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"context"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/source"
)

// day is when everything in these tests happens.
var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var amd64 = ashlar.Target{Distro: "debian-12", Arch: "amd64"}

// A fake is an archive on loopback with the suites bookworm and
// bookworm-security, and a client of it.
type fake struct {
	t    *testing.T
	key  *pgp.Key
	dir  string // of the client: store and cache
	ring string // keyring file

	mu    sync.Mutex
	files map[string][]byte // by path
	asked map[string]int
	down  bool
	url   string
}

// A suite is what a fake publishes.
type suite struct {
	name       string
	date       time.Time
	validUntil time.Time
	packages   string
	sources    string
	arches     []string
	noByHash   bool
	signer     *pgp.Key // nil means the fake's own
}

func newKey(t *testing.T, name string) *pgp.Key {
	t.Helper()
	k, err := pgp.GenerateKey(name, name+"@example.org", day.AddDate(0, -1, 0))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func writeKeyring(t *testing.T, path string, k *pgp.Key) string {
	t.Helper()
	b, err := k.PublicArmored()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

const packages = `Package: base
Version: 1.0
Architecture: amd64
Essential: yes
Filename: pool/main/b/base/base_1.0_amd64.deb
Size: 10
SHA256: 1111111111111111111111111111111111111111111111111111111111111111

Package: tool
Version: 2.0
Architecture: all
Provides: virtual, virtual-two (= 2),
 virtual-three
Filename: ./pool/main/t/tool/tool_2.0+x~1_all.deb
Size: 20
SHA256: 2222222222222222222222222222222222222222222222222222222222222222

Package: foreign
Version: 1
Architecture: arm64
Filename: pool/f.deb
Size: 1
SHA256: 3333333333333333333333333333333333333333333333333333333333333333
`

const security = `Package: tool
Version: 2.0
Architecture: all
Provides: virtual
Filename: pool/updates/main/t/tool/tool_2.0_all.deb
Size: 20
SHA256: 2222222222222222222222222222222222222222222222222222222222222222

Package: base
Version: 1.1
Architecture: amd64
Essential: yes
Filename: pool/updates/main/b/base/base_1.1_amd64.deb
Size: 11
SHA256: 4444444444444444444444444444444444444444444444444444444444444444
`

// sourceStanza returns a stanza of a Sources index, whose .dsc is dsc.
func sourceStanza(name, version, dsc, more string) string {
	d := ashlar.DigestOf([]byte(dsc))
	return fmt.Sprintf("Package: %s\nVersion: %s\nFormat: 3.0 (native)\nDirectory: pool/main/%s\n%sChecksums-Sha256:\n %s %d %s_%s.dsc\n %s 4 %s_%s.tar.gz\n\n",
		name, version, name, more, d.Hex(), len(dsc), name, version, ashlar.DigestOf([]byte("tar\n")).Hex(), name, version)
}

// newFake returns a fake that has published both suites.
func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{t: t, key: newKey(t, "archive"), dir: t.TempDir(), files: map[string][]byte{}, asked: map[string]int{}}
	f.ring = writeKeyring(t, filepath.Join(f.dir, "keyring.asc"), f.key)
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = s.URL
	f.publish(suite{name: "bookworm", packages: packages, sources: sourceStanza("tool", "1.0", "old dsc", "") + sourceStanza("tool", "2.0", "new dsc", "") + sourceStanza("tool", "3.0", "kept dsc", "Extra-Source-Only: yes\n")})
	f.publish(suite{name: "bookworm-security", packages: security, sources: sourceStanza("tool", "2.0+deb1", "security dsc", "") + sourceStanza("tool", "2.0", "new dsc", ""), validUntil: day.AddDate(0, 0, 7)})
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := strings.TrimPrefix(r.URL.Path, "/debian/")
	f.asked[p]++
	b, ok := f.files[p]
	switch {
	case f.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case !ok:
		http.NotFound(w, r)
	default:
		w.Write(b)
	}
}

// archive returns a client, as a new process would.
func (f *fake) archive(change ...func(*Config)) *Archive {
	f.t.Helper()
	store, err := blob.NewDir(f.dir)
	if err != nil {
		f.t.Fatal(err)
	}
	cfg := Config{
		Fetcher: &source.Fetcher{
			Mirrors: &source.Mirrors{Aliases: map[string][]string{"debian": {f.url + "/debian/"}}}, Store: store,
			Retry: source.Retry{Attempts: 2, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }},
		},
		Dir: filepath.Join(f.dir, "indexes"), Keyrings: []string{f.ring}, MaintainerKeyrings: []string{},
		Suites: map[ashlar.Distro][]Suite{"debian-12": {{"debian", "bookworm", []string{"main"}}, {"debian", "bookworm-security", []string{"main"}}}},
	}
	for _, c := range change {
		c(&cfg)
	}
	return Open(cfg)
}

// publish replaces a suite.
func (f *fake) publish(s suite) {
	f.t.Helper()
	if s.date.IsZero() {
		s.date = day
	}
	if s.signer == nil {
		s.signer = f.key
	}
	if s.arches == nil {
		s.arches = []string{"amd64"}
	}
	rel := &deb.Release{Codename: s.name, Date: s.date, ValidUntil: s.validUntil, AcquireByHash: true, Architectures: s.arches, Components: []string{"main"}}
	add := func(name, text string) {
		rel.Files = append(rel.Files, ashlar.File{Name: name, Digest: ashlar.DigestOf([]byte(text)), Size: int64(len(text))})
		packed := gz(f.t, text)
		d := ashlar.DigestOf(packed)
		rel.Files = append(rel.Files, ashlar.File{Name: name + ".gz", Digest: d, Size: int64(len(packed))})
		f.put(s.name, name+".gz", packed)
		if !s.noByHash {
			f.put(s.name, filepath.Dir(name)+"/by-hash/SHA256/"+d.Hex(), packed)
		}
	}
	add("main/binary-amd64/Packages", s.packages)
	add("main/source/Sources", s.sources)
	signed, err := s.signer.ClearSign(rel.Encode(), s.date)
	if err != nil {
		f.t.Fatal(err)
	}
	f.put(s.name, "InRelease", signed)
}

// put serves a file of a suite.
func (f *fake) put(suite, name string, b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files["dists/"+suite+"/"+name] = b
}

// edit changes what is served below a prefix; nil means not at all.
func (f *fake) edit(contains string, change func([]byte) []byte) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for p, b := range f.files {
		if strings.Contains(p, contains) {
			n++
			if b = change(b); b == nil {
				delete(f.files, p)
			} else {
				f.files[p] = b
			}
		}
	}
	if n == 0 {
		f.t.Fatalf("nothing is served as %s", contains)
	}
}

// times returns how often a path was asked for.
func (f *fake) times(p string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[p]
}

func (f *fake) setDown(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func gz(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := compress.NewGzipWriter(&b)
	if _, err := w.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
