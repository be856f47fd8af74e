package apkrepo

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// day is when the tests take place.
var day = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

var musl = Target{"musl-1", ashlar.Community}

const x86 = "x86_64"

// testKeys are three sets of keys: the repository's, the ones that replace them,
// and somebody else's. They are smaller than those of users.
var testKeys = sync.OnceValue(func() [3]*sign.Keys {
	var all [3]*sign.Keys
	for i := range all {
		keys, err := sign.Generate("Test", "", day)
		if err != nil {
			panic(err)
		}
		v2, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		v3, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		own, err := sign.NewAPKKeys(v2, v3)
		if err != nil {
			panic(err)
		}
		keys.APK = *own
		all[i] = keys
	}
	return all
})

// both returns keys of which the first and the second pair for apk sign.
func both() *sign.Keys {
	keys := *testKeys()[0]
	next := testKeys()[1].APK
	keys.APK = sign.APKKeys{V2: append(slices.Clip(keys.APK.V2), next.V2...), V3: append(slices.Clip(keys.APK.V3), next.V3...)}
	return &keys
}

// keysOf returns the public keys.
func keysOf(tb testing.TB, keys *sign.Keys) Keys {
	tb.Helper()
	pub, err := keys.Public()
	if err != nil {
		tb.Fatal(err)
	}
	k, err := KeysOf(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// A dirStore is a blob store that does not wait for the disk.
type dirStore string

func (s dirStore) Path(d ashlar.Digest) string { return filepath.Join(string(s), d.Hex()) }

func (s dirStore) Open(_ context.Context, d ashlar.Digest) (blob.Blob, error) {
	return shelf.OpenFile(s.Path(d))
}

func (s dirStore) put(tb testing.TB, name string, b []byte) ashlar.File {
	tb.Helper()
	f := ashlar.File{Name: name, Digest: ashlar.DigestOf(b), Size: int64(len(b))}
	if err := os.WriteFile(s.Path(f.Digest), b, 0o644); err != nil {
		tb.Fatal(err)
	}
	return f
}

// A testRepo is a repository with what is needed to fill it.
type testRepo struct {
	*Repo
	store dirStore
	keys  *sign.Keys // that sign packages
}

func newTestRepo(tb testing.TB) *testRepo {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	t := &testRepo{store: dirStore(filepath.Join(dir, "store"))}
	if err := os.Mkdir(string(t.store), 0o755); err != nil {
		tb.Fatal(err)
	}
	var err error
	if t.Repo, err = Open(Config{Root: filepath.Join(dir, "repo"), Blobs: t.store}); err != nil {
		tb.Fatal(err)
	}
	t.signWith(tb, testKeys()[0])
	return t
}

// signWith changes the keys of the repository.
func (r *testRepo) signWith(tb testing.TB, keys *sign.Keys) {
	tb.Helper()
	conn, err := sign.Local(context.Background(), keys, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	r.keys, r.cfg.Signer, r.cfg.Keys = keys, conn, keysOf(tb, keys)
}

// A testPackage describes a package to be made up.
type testPackage struct {
	name, version, origin, arch, depends string
	content                              string // of its file; something of its name if ""
	formats                              string // "v2", "v3" or "v2 v3", which "" means
}

func (p testPackage) info() apk.Info {
	deps, err := apk.ParseDependencies(p.depends)
	if err != nil {
		panic(err)
	}
	arch := p.arch
	if arch == "" {
		arch = x86
	}
	return apk.Info{
		Name: p.name, Version: p.version, Origin: p.origin, Arch: arch, Description: "test package " + p.name, License: "MIT",
		URL: "https://example.org/" + p.name, BuildTime: day.Unix(), Depends: deps,
	}
}

func (p testPackage) files() []apk.File {
	content := p.content
	if content == "" {
		content = "this is " + p.name + " " + p.version + "\n"
	}
	own := apk.Entry{User: "root", Group: "root", ModTime: day.Unix()}
	dir, file := own, own
	dir.Path, dir.Kind, dir.Mode = "opt", apk.Directory, 0o755
	file.Path, file.Mode, file.Size = "opt/"+p.name, 0o644, int64(len(content))
	return []apk.File{{Entry: dir}, {Entry: file, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}}
}

// build makes the files of a package.
func (r *testRepo) build(tb testing.TB, p testPackage) []ashlar.File {
	tb.Helper()
	var made []ashlar.File
	if p.formats == "" || strings.Contains(p.formats, formatV2) {
		var b bytes.Buffer
		packed, err := apk.WriteV2(&b, &apk.V2Spec{Info: p.info(), Files: p.files(), Signers: r.keys.APK.V2, Workers: 1})
		if err != nil {
			tb.Fatal(err)
		}
		e := packed.IndexEntry()
		made = append(made, r.store.put(tb, e.FileName(), b.Bytes()))
	}
	if p.formats == "" || strings.Contains(p.formats, formatV3) {
		var b bytes.Buffer
		packed, err := apk.WriteV3(&b, &apk.V3Spec{Info: p.info(), Files: p.files(), Signers: r.keys.APK.V3, Compression: adb.Deflate})
		if err != nil {
			tb.Fatal(err)
		}
		e := packed.IndexEntry()
		name, err := FileNameV3(&e)
		if err != nil {
			tb.Fatal(err)
		}
		made = append(made, r.store.put(tb, name, b.Bytes()))
	}
	return made
}

// set makes a source set of packages.
func (r *testRepo) set(tb testing.TB, packages ...testPackage) SourceSet {
	tb.Helper()
	s := SourceSet{Arch: x86}
	for _, p := range packages {
		s.Packages = append(s.Packages, r.build(tb, p)...)
	}
	return s
}

// simple is a source with one package.
func simple(name, version string) testPackage { return testPackage{name: name, version: version} }

// sets makes source sets of one package each.
func (r *testRepo) sets(tb testing.TB, packages ...testPackage) []SourceSet {
	tb.Helper()
	var list []SourceSet
	for _, p := range packages {
		list = append(list, r.set(tb, p))
	}
	return list
}

// publishAt publishes packages, each a source of its own, in musl-1/community.
func (r *testRepo) publishAt(tb testing.TB, now time.Time, packages ...testPackage) *Published {
	tb.Helper()
	done, err := r.Publish(context.Background(), musl, r.sets(tb, packages...), now)
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

// path returns a path in the repository musl-1/community.
func (r *testRepo) path(elem ...string) string {
	return filepath.Join(append([]string{r.Root(), musl.dir()}, elem...)...)
}

func (r *testRepo) read(tb testing.TB, elem ...string) []byte {
	tb.Helper()
	b, err := os.ReadFile(r.path(elem...))
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// checkAt checks the indexes in a folder as a client does, and that every package
// that they list is there as they say. It returns what both list, "name version".
func (r *testRepo) checkAt(tb testing.TB, now time.Time, dir ...string) (v2, v3 []string) {
	tb.Helper()
	indexes := map[string][]byte{IndexV2: r.read(tb, append(dir, IndexV2)...), IndexV3: r.read(tb, append(dir, IndexV3)...)}
	arch := dir[len(dir)-1]
	_, err := Check(CheckRequest{
		Statement: r.read(tb, append(dir, Statement)...), Indexes: indexes, Keys: r.cfg.Keys, Now: now, Repository: musl.String(), Arch: arch,
	})
	if err != nil {
		tb.Error(err)
		return nil, nil
	}
	x, err := apk.ParseV2Index(indexes[IndexV2], r.cfg.Keys.V2)
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range x.Entries {
		v2 = append(v2, e.Name+" "+e.Version)
		p, size := r.open(tb, arch+"/"+e.FileName())
		if p.v2.Identity != e.Identity || size != e.Size || e.Arch != arch {
			tb.Errorf("%s is not the one that %s lists", e.FileName(), IndexV2)
		}
	}
	y, err := apk.ReadV3Index(bytes.NewReader(indexes[IndexV3]), apk.V3Signed(r.cfg.Keys.V3...))
	if err != nil {
		tb.Fatal(err)
	}
	for _, e := range y.Entries {
		v3 = append(v3, e.Name+" "+e.Version)
		name, err := apk.V3FileName(y.PkgnameSpec, &e)
		if err != nil {
			tb.Fatal(err)
		}
		p, size := r.open(tb, name)
		if !bytes.Equal(p.v3.Hash, e.Hash) || size != e.Size {
			tb.Errorf("%s is not the one that %s lists", name, IndexV3)
		}
	}
	return v2, v3
}

// open reads a package of the repository.
func (r *testRepo) open(tb testing.TB, name string) (*binary, int64) {
	tb.Helper()
	b, err := shelf.OpenFile(r.path(name))
	if err != nil {
		tb.Fatal(err)
	}
	defer b.Close()
	keys := keysOf(tb, both()) // it may be signed by an older key than the index
	maps.Copy(keys.V2, r.cfg.Keys.V2)
	keys.V3 = append(keys.V3, r.cfg.Keys.V3...)
	p, err := scan(b, ashlar.File{Name: name, Size: b.Size()}, keys)
	if err != nil {
		tb.Fatal(err)
	}
	return p, b.Size()
}

// listed checks the live indexes and returns what they list, which must be the
// same for both.
func (r *testRepo) listed(tb testing.TB, now time.Time) []string {
	tb.Helper()
	v2, v3 := r.checkAt(tb, now, x86)
	if !slices.Equal(v2, v3) {
		tb.Errorf("%s lists %v, %s %v", IndexV2, v2, IndexV3, v3)
	}
	return v2
}

// overwrite gives a file of the repository other content, also where others link
// to the old.
func overwrite(tb testing.TB, name string, data []byte) {
	tb.Helper()
	if err := os.Remove(name); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o644); err != nil {
		tb.Fatal(err)
	}
}

// tree returns what there is below a folder of the repository: names, and what
// files hold or links lead to.
func (r *testRepo) tree(tb testing.TB, elem ...string) map[string]string {
	tb.Helper()
	root := r.path(elem...)
	found := map[string]string{}
	err := filepath.WalkDir(root, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		if to, err := os.Readlink(name); err == nil {
			found[rel] = "-> " + to
			return nil
		}
		b, err := os.ReadFile(name)
		found[rel] = fmt.Sprint(ashlar.DigestOf(b).Short())
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return found
}
