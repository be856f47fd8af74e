package archive

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive/archivetest"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/source"
)

// day is when everything in these tests happens.
var day = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var amd64 = ashlar.Target{Distro: "debian-12", Arch: "amd64"}

// A fake is an archive on loopback with the suites bookworm and
// bookworm-security, and a client of it.
type fake struct {
	*archivetest.Server
	t    *testing.T
	key  *pgp.Key
	dir  string // of the client: store and cache
	ring string // keyring file
}

// A suite is what a fake publishes, on the day and signed by the fake's own key
// unless it says otherwise.
type suite = archivetest.Suite

func newKey(t *testing.T, name string) *pgp.Key { return archivetest.NewKey(t, name, day) }

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
	f := &fake{Server: archivetest.NewServer(t), t: t, key: newKey(t, "archive"), dir: t.TempDir()}
	f.ring = archivetest.WriteKeyring(t, filepath.Join(f.dir, "keyring.asc"), f.key)
	f.publish(suite{Name: "bookworm", Packages: packages, Sources: sourceStanza("tool", "1.0", "old dsc", "") + sourceStanza("tool", "2.0", "new dsc", "") + sourceStanza("tool", "3.0", "kept dsc", "Extra-Source-Only: yes\n")})
	f.publish(suite{Name: "bookworm-security", Packages: security, Sources: sourceStanza("tool", "2.0+deb1", "security dsc", "") + sourceStanza("tool", "2.0", "new dsc", ""), ValidUntil: day.AddDate(0, 0, 7)})
	return f
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
			Mirrors: &source.Mirrors{Aliases: map[string][]string{"debian": {f.URL}}}, Store: store,
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
	if s.Date.IsZero() {
		s.Date = day
	}
	if s.Signer == nil {
		s.Signer = f.key
	}
	f.Publish(s)
}
