package repo

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/md5"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// day is when the tests take place, unless real clients look at the clock.
var day = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// A testSource describes a source package to be made up.
type testSource struct {
	name, version string
	packages      []testPackage
	xz            bool // compress packages as Debian does; slow
	lower         bool // write the names of fields in lower case
}

type testPackage struct {
	name, arch, fields string // fields are more lines for the control file
	description        string
	files              map[string]string
	udeb               bool
}

// debBytes makes a .deb.
func debBytes(tb testing.TB, control string, files map[string]string, xz bool) []byte {
	tb.Helper()
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	member := func(name string, data []byte) {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "100644", len(data))
		b.Write(data)
		if len(data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	member("debian-binary", []byte("2.0\n"))
	if xz {
		member("control.tar.xz", xzMember(tb, tarOf(map[string]string{"./control": control})))
		member("data.tar.xz", xzMember(tb, tarOf(files)))
	} else {
		member("control.tar.gz", tarGz(tb, map[string]string{"./control": control}))
		member("data.tar.gz", tarGz(tb, files))
	}
	return b.Bytes()
}

func tarGz(tb testing.TB, files map[string]string) []byte {
	tb.Helper()
	z, err := gzipText(&compress.Text{Plain: tarOf(files)}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return z
}

// tarOf makes an archive of files and the folders above them.
func tarOf(files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	dirs := map[string]bool{}
	dir := func(name string) {
		if !dirs[name] {
			dirs[name] = true
			w.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755})
		}
	}
	dir(".")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		parts := strings.Split(name, "/")
		for i := 2; i < len(parts); i++ {
			dir(strings.Join(parts[:i], "/"))
		}
		w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))})
		w.Write([]byte(files[name]))
	}
	w.Close()
	return b.Bytes()
}

// put stores a file.
func put(tb testing.TB, store dirStore, name string, data []byte) ashlar.File {
	tb.Helper()
	f := ashlar.File{Name: name, Digest: ashlar.DigestOf(data), Size: int64(len(data))}
	if err := os.WriteFile(store.Path(f.Digest), data, 0o644); err != nil {
		tb.Fatal(err)
	}
	return f
}

// A dirStore is a blob store that does not wait for the disk.
type dirStore string

func (s dirStore) Path(d ashlar.Digest) string { return filepath.Join(string(s), d.Hex()) }

func (s dirStore) Open(_ context.Context, d ashlar.Digest) (blob.Blob, error) {
	return shelf.OpenFile(s.Path(d))
}

// control returns the control file of a package of the source.
func (s testSource) control(p testPackage) string {
	description := p.description
	if description == "" {
		description = "test package " + p.name + "\n It does nothing.\n .\n It is there to be listed."
	}
	source := ""
	if s.name != p.name {
		source = "Source: " + s.name + "\n"
	}
	return s.fold(fmt.Sprintf("Package: %s\n%sVersion: %s\nArchitecture: %s\nMaintainer: Test <test@example.org>\nInstalled-Size: 12\n%sSection: utils\nPriority: optional\nDescription: %s\n",
		p.name, source, s.version, p.arch, p.fields, description))
}

var fieldNames = regexp.MustCompile(`(?m)^[A-Z][A-Za-z0-9-]*:`)

// fold writes the names of fields as the source does.
func (s testSource) fold(control string) string {
	if !s.lower {
		return control
	}
	return fieldNames.ReplaceAllStringFunc(control, strings.ToLower)
}

// build makes the source set for an architecture.
func (s testSource) build(tb testing.TB, store dirStore, arch ashlar.Arch) SourceSet {
	tb.Helper()
	upstream := s.version
	if _, after, ok := strings.Cut(upstream, ":"); ok {
		upstream = after
	}
	set := SourceSet{Arch: arch}
	var list, names []string
	for _, p := range s.packages {
		files := p.files
		if files == nil {
			files = map[string]string{"./usr/share/doc/" + p.name + "/copyright": "free\n"}
		}
		name := ashlar.DebFileName(p.name, s.version, ashlar.Arch(p.arch))
		kind := "deb"
		if p.udeb {
			name, kind = trimDeb(name)+".udeb", "udeb"
		}
		set.Files = append(set.Files, put(tb, store, name, debBytes(tb, s.control(p), files, s.xz)))
		wild := "any"
		if p.arch == "all" {
			wild = "all"
		}
		list = append(list, fmt.Sprintf(" %s %s utils optional arch=%s", p.name, kind, wild))
		names = append(names, p.name)
	}
	tarball := put(tb, store, s.name+"_"+upstream+".tar.gz", tarGz(tb, map[string]string{"./" + s.name + "/README": s.version}))
	dsc := fmt.Sprintf("Format: 3.0 (native)\nSource: %s\nBinary: %s\nArchitecture: any all\nVersion: %s\nMaintainer: Test <test@example.org>\nStandards-Version: 4.6.2\nPackage-List:\n%s\nChecksums-Sha256:\n %s %d %s\nFiles:\n %s %d %s\n",
		s.name, strings.Join(names, ", "), s.version, strings.Join(list, "\n"), tarball.Digest.Hex(), tarball.Size, tarball.Name,
		md5Of(tb, store, tarball), tarball.Size, tarball.Name)
	set.Files = append(set.Files, tarball, put(tb, store, s.name+"_"+upstream+".dsc", []byte(s.fold(dsc))))
	set.Files = append(set.Files, put(tb, store, s.name+"_"+upstream+"_"+string(arch)+".buildinfo", []byte("Format: 1.0\n")))
	changes := fmt.Sprintf("Format: 1.8\nSource: %s\nBinary: %s\nArchitecture: source all %s\nVersion: %s\nDistribution: bookworm\nChecksums-Sha256:\n",
		s.name, strings.Join(names, " "), arch, s.version)
	for _, f := range set.Files {
		changes += fmt.Sprintf(" %s %d %s\n", f.Digest.Hex(), f.Size, f.Name)
	}
	set.Files = append(set.Files, put(tb, store, s.name+"_"+upstream+"_"+string(arch)+".changes", []byte(s.fold(changes))))
	return set
}

func md5Of(tb testing.TB, store dirStore, f ashlar.File) string {
	b, err := os.ReadFile(store.Path(f.Digest))
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Sprintf("%x", md5.Sum(b))
}

// simple is a source with one package.
func simple(name, version string) testSource {
	return testSource{name: name, version: version, packages: []testPackage{{name: name, arch: "amd64"}}}
}

// A testSigner signs with keys in memory by the code of the signer process, which
// checks that everything it signs is there.
type testSigner struct {
	keys []*pgp.Key
}

func newSigner(tb testing.TB, made time.Time) *testSigner {
	tb.Helper()
	k, err := pgp.GenerateKey("Test archive", "archive@example.org", made)
	if err != nil {
		tb.Fatal(err)
	}
	return &testSigner{[]*pgp.Key{k}}
}

// attestationKey makes keys complete; nothing is attested here.
var attestationKey = sync.OnceValues(func() (sign.Signer, error) {
	k, err := sign.Generate("Test", "", day)
	if err != nil {
		return nil, err
	}
	return k.Attestation, nil
})

func (s *testSigner) armoured(tb testing.TB) []byte {
	tb.Helper()
	b, err := s.keys[0].PublicArmored()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func (s *testSigner) SignReleases(ctx context.Context, dir string, releases [][]byte, now time.Time) ([]pgp.Signed, error) {
	attestation, err := attestationKey()
	if err != nil {
		return nil, err
	}
	signer, err := sign.Local(ctx, &sign.Keys{Attestation: attestation, Repository: s.keys}, nil)
	if err != nil {
		return nil, err
	}
	defer signer.Close()
	return signer.SignReleases(ctx, dir, releases, now)
}

// A bench is a repository with what is needed to fill it.
type testRepo struct {
	*Repo
	store  dirStore
	signer *testSigner
}

func newTestRepo(tb testing.TB, change func(*Config)) *testRepo {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	store := dirStore(filepath.Join(dir, "store"))
	if err := os.Mkdir(string(store), 0o755); err != nil {
		tb.Fatal(err)
	}
	t := &testRepo{store: store, signer: newSigner(tb, day.AddDate(0, 0, -30))}
	cfg := Config{Root: filepath.Join(dir, "repo"), Blobs: store, Signer: t.signer, BaseURL: "https://example.org", Keyring: t.signer.keys[0].Keyring()}
	if change != nil {
		change(&cfg)
	}
	var err error
	if t.Repo, err = Open(cfg); err != nil {
		tb.Fatal(err)
	}
	return t
}

// publish publishes sources for amd64 in community/bookworm.
func (r *testRepo) publishAt(tb testing.TB, now time.Time, sources ...testSource) *Published {
	tb.Helper()
	done, err := r.tryPublish(tb, now, sources...)
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

func (r *testRepo) tryPublish(tb testing.TB, now time.Time, sources ...testSource) (*Published, error) {
	tb.Helper()
	var sets []SourceSet
	for _, s := range sources {
		sets = append(sets, s.build(tb, r.store, "amd64"))
	}
	return r.Publish(context.Background(), ashlar.Community, "bookworm", sets, now)
}

// index returns the plain content of an index of community/bookworm.
func (r *testRepo) index(tb testing.TB, name string) string {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(r.Root(), "deb/community/dists/bookworm", name))
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}
