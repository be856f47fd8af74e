package apk

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// testKeys are made once: they take a while.
var testKeys = sync.OnceValue(func() [3]*rsa.PrivateKey {
	var keys [3]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// signer returns one of three signers.
func signer(n int) Signer {
	return Signer{KeyName: fmt.Sprintf("test-%d.rsa.pub", n), Key: testKeys()[n]}
}

// keyring returns a keyring with some of the signers' keys.
func keyring(numbers ...int) Keyring {
	k := Keyring{}
	for _, n := range numbers {
		k[signer(n).KeyName] = &testKeys()[n].PublicKey
	}
	return k
}

// publicPEM returns the public key of a signer as apk wants it in a file.
func publicPEM(t testing.TB, n int) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&testKeys()[n].PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// file returns a regular file.
func file(path string, mode uint32, content string) File {
	return File{
		Entry: Entry{Path: path, Mode: mode, User: "root", Group: "root", Size: int64(len(content)), ModTime: buildTime},
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

// entry returns a file of another kind.
func entry(kind Kind, path, target string) File {
	mode := uint32(0o755)
	if kind == Symlink {
		mode = 0o777
	}
	return File{Entry: Entry{Path: path, Kind: kind, Mode: mode, User: "root", Group: "root", ModTime: buildTime, Target: target}}
}

func hardLink(path, target string, mode uint32) File {
	f := entry(HardLink, path, target)
	f.Mode = mode
	return f
}

const buildTime = 1_700_000_000

// helloInfo is a package with something in every field that v2 knows.
func helloInfo() Info {
	return Info{
		Name: "hello", Version: "1.2.3_rc1-r4", Description: "says hello – to everyone", Arch: "x86_64", License: "MIT AND 0BSD",
		Origin: "hello-src", Maintainer: "A. Mason <mason@example.org>", Packager: "Build <build@example.org>",
		URL: "https://example.org/hello", Commit: "0123456789abcdef0123456789abcdef01234567",
		BuildTime: buildTime, ProviderPriority: 10, ReplacesPriority: 5,
		Depends:   deps("!goodbye so:libc.musl-x86_64.so.1 musl>=1.2 sh~1"),
		Provides:  deps("cmd:hello=1.2.3_rc1-r4 greeter"),
		Replaces:  deps("oldhello<2"),
		InstallIf: deps("greetings=1.2.3_rc1-r4 docs"),
		Triggers:  []string{"/usr/share/hello/*", "/etc/hello"},
	}
}

func deps(s string) []Dependency {
	d, err := ParseDependencies(s)
	if err != nil {
		panic(err)
	}
	return d
}

// helloFiles are files of every kind that any user can install but xattrs and
// devices.
func helloFiles() []File {
	long := "usr/share/hello/" + strings.Repeat("long/", 20) + "name"
	files := []File{
		entry(Directory, "usr", ""), entry(Directory, "usr/bin", ""), entry(Directory, "usr/share", ""), entry(Directory, "usr/share/hello", ""),
		file("usr/bin/hello", 0o4755, "#!/bin/sh\necho hello\n"), file("usr/share/hello/empty", 0o644, ""),
		file("usr/share/hello/big", 0o640, noise(700_000)), file("usr/share/hello-not-in-it", 0o644, "sorts before the folder's files\n"),
		hardLink("usr/bin/hello-again", "usr/bin/hello", 0o4755), entry(Symlink, "usr/bin/hi", "hello"),
		entry(Symlink, "usr/share/hello/far", "/"+strings.Repeat("away/", 40)), entry(Directory, "etc", ""), file("etc/hello", 0o600, "conf = 1\n"),
	}
	for at := strings.Index(long, "long/"); at < strings.LastIndexByte(long, '/'); at += len("long/") {
		files = append(files, entry(Directory, long[:at+4], ""))
	}
	return append(files, file(long, 0o644, "deep\n"))
}

// noise returns text that compresses, but not to nothing, the same every time.
func noise(size int) string {
	r := mathrand.New(mathrand.NewPCG(1, 2))
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(4))*byte(r.IntN(4))
	}
	return string(b)
}

// helloSpec is a package with everything in it.
func helloSpec(signers ...Signer) *V2Spec {
	return &V2Spec{
		Info: helloInfo(), Files: helloFiles(), Signers: signers,
		Scripts: Scripts{PreInstall: []byte("#!/bin/sh\nexit 0\n"), PostUpgrade: []byte("#!/bin/sh\necho up\n"), Trigger: []byte("#!/bin/sh\necho \"$@\"\n")},
	}
}

// pack writes a package.
func pack(t testing.TB, spec *V2Spec) ([]byte, *V2Packed) {
	t.Helper()
	var b bytes.Buffer
	packed, err := WriteV2(&b, spec)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), packed
}

// unpacked is what a package holds.
type unpacked struct {
	pkg     *V2Package
	entries []Entry
	content map[string]string
}

// unpack reads all of a package.
func unpack(b []byte, keys Keyring) (unpacked, error) {
	u := unpacked{content: map[string]string{}}
	var err error
	if u.pkg, err = OpenV2(bytes.NewReader(b), keys); err != nil {
		return u, err
	}
	return u, u.pkg.Walk(func(e *Entry, r io.Reader) error {
		content, err := io.ReadAll(r)
		u.entries = append(u.entries, *e)
		if e.Kind == RegularFile {
			u.content[e.Path] = string(content)
		}
		return err
	})
}

// checkError wants an error of a kind with some words in it, or none if there
// are no words.
func checkError(t *testing.T, err error, kind fault.Kind, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("unexpected error: %v", err)
	case want != "" && (!fault.Is(err, kind) || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one of kind %q with %q in it", err, kind, want)
	}
}

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file in testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; if it should, run the test with -update:\n%s", name, got)
	}
}

func ptr[T any](v T) *T { return &v }
