package apk

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestV3Trust opens a package with different reasons to trust it.
func TestV3Trust(t *testing.T) {
	signed, packed := v3Pack(t, adb.Deflate, v3Key)
	unsigned, _ := v3Pack(t, adb.Deflate)
	both, _ := v3Pack(t, adb.Deflate, v3OtherKey, v3Key)
	for _, c := range []struct {
		name  string
		b     []byte
		trust V3Trust
		ok    bool
	}{
		{"signed", signed, V3Signed(v3Key.Public()), true},
		{"two keys, first", both, V3Signed(v3OtherKey.Public()), true},
		{"two keys, second", both, V3Signed(v3Key.Public()), true},
		{"foreign key", signed, V3Signed(v3OtherKey.Public()), false},
		{"no keys", signed, V3Signed(), false},
		{"not signed", unsigned, V3Signed(v3Key.Public()), false},
		{"expected", unsigned, V3Expected(packed.Hash), true},
		{"not expected", signed, V3Expected([32]byte{}), false},
		{"unchecked", unsigned, V3Unchecked(), true},
		{"no decision", signed, func(*adb.File) error { return nil }, false},
	} {
		_, _, err := v3Contents(c.b, c.trust)
		if c.ok && err != nil || !c.ok && !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestV3WalkStops(t *testing.T) {
	b, _ := v3Pack(t, adb.Zstd)
	p, err := OpenV3(bytes.NewReader(b), V3Unchecked())
	if err != nil {
		t.Fatal(err)
	}
	stop, seen := errors.New("stop"), 0
	err = p.Walk(func(e *Entry, _ io.Reader) error {
		if seen++; e.Path == "usr/bin/demo" {
			return stop
		}
		return nil
	})
	if err != stop || seen == len(p.Entries) {
		t.Errorf("%v after %d files", err, seen)
	}
	if err := p.Walk(nil); !fault.Is(err, fault.Internal) {
		t.Errorf("walking twice: %v", err)
	}
	head, err := ReadV3(bytes.NewReader(b), V3Unchecked())
	if err != nil || head.Info.Name != "demo" || len(head.Entries) == 0 {
		t.Errorf("%v", err)
	}
}

// readReal returns a file that the real apk 3.0.6 has made, and the public key
// that it is signed by.
func readReal(t *testing.T, name string) ([]byte, V3Trust) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/v3-real.pub")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return b, V3Signed(key)
}

// TestReadsMkpkg reads a package that the real mkpkg has made, and packs it again
// with the same bytes of all that is signed.
func TestReadsMkpkg(t *testing.T) {
	b, trust := readReal(t, "v3-mkpkg.apk")
	p, contents, err := v3Contents(b, trust)
	if err != nil {
		t.Fatal(err)
	}
	want := Info{Name: "seed", Version: "1.0-r0", Arch: "x86_64", InstalledSize: 5, ReplacesPriority: 3,
		Depends: deps("a>=1 !b"), Provides: deps("c=1"), Triggers: []string{"/etc/*"}}
	if d := gocmp.Diff(want, p.Info); d != "" {
		t.Errorf("info:\n%s", d)
	}
	var list []string
	spec := V3Spec{Info: p.Info, Scripts: p.Scripts}
	for _, e := range p.Entries {
		list = append(list, fmt.Sprintf("%s: %s %o %s:%s %s", e.Path, e.Kind, e.Mode, e.User, e.Group, e.Target+contents[e.Path]))
		spec.Files = append(spec.Files, File{Entry: e, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(contents[e.Path])), nil }})
	}
	if d := gocmp.Diff([]string{
		": directory 755 root:root ",
		"etc: directory 755 root:root ",
		"etc/a: regular file 4755 root:root conf\n",
		"etc/b: symbolic link 777 root:root a",
		"etc/c: hard link 4755 root:root etc/a",
		"etc/empty: regular file 644 root:root ",
	}, list); d != "" {
		t.Errorf("files:\n%s", d)
	}
	packed, err := WriteV3(io.Discard, &spec)
	if err != nil || packed.Hash != p.Hash {
		t.Errorf("packed again its hash is %x, not %x; %v", packed.Hash, p.Hash, err)
	}
}

// TestReadsMkndx reads an index that the real mkndx has made of that package.
func TestReadsMkndx(t *testing.T) {
	b, trust := readReal(t, "v3-mkndx.adb")
	x, err := ReadV3Index(bytes.NewReader(b), trust)
	if err != nil {
		t.Fatal(err)
	}
	pkg, trust := readReal(t, "v3-mkpkg.apk")
	p, err := ReadV3(bytes.NewReader(pkg), trust)
	if err != nil {
		t.Fatal(err)
	}
	want := &V3Index{Description: "seeds", PkgnameSpec: "${name}-${version}.apk", Entries: []V3IndexEntry{p.IndexEntry(int64(len(pkg)))}}
	if d := gocmp.Diff(want, x); d != "" {
		t.Errorf("the index differs:\n%s", d)
	}
}

// BenchmarkV3 packs and reads a package with 64 MiB of text in 1,000 files.
func BenchmarkV3(b *testing.B) {
	text := noise(64 << 10)
	spec := V3Spec{Info: Info{Name: "large", Version: "1", Arch: "noarch"}, Compression: adb.Deflate}
	for i := range 1000 {
		spec.Files = append(spec.Files, v3Regular(fmt.Sprintf("%04d", i), text, 0o644))
	}
	var out bytes.Buffer
	b.Run("write", func(b *testing.B) {
		b.SetBytes(int64(1000 * len(text)))
		for b.Loop() {
			out.Reset()
			if _, err := WriteV3(&out, &spec); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(out.Len()), "bytes")
	})
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(1000 * len(text)))
		for b.Loop() {
			p, err := OpenV3(bytes.NewReader(out.Bytes()), V3Unchecked())
			if err != nil {
				b.Fatal(err)
			}
			if err := p.Walk(func(*Entry, io.Reader) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
