package apk

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// v3SampleIndex returns an index of n packages.
func v3SampleIndex(n int) *V3Index {
	x := &V3Index{Description: "v3.24 of a demonstration", PkgnameSpec: "${name}-${version}.${hash:8}.apk"}
	common := deps("so:libc.musl-x86_64.so.1 so:libz.so.1 so:libcrypto.so.3 busybox>=1.36 /bin/sh")
	for i := range n {
		name := fmt.Sprintf("package-%d", i/2)
		version := fmt.Sprintf("%d.%d.%d-r%d", i%7, i%11, i%23, i%5)
		if i%2 == 1 {
			name += "-doc"
		}
		hash := sha256.Sum256([]byte(name))
		p := V3IndexEntry{Hash: hash[:], Size: int64(10_000 + i*37), Info: Info{
			Name: name, Version: version, Description: "What " + name + " is for, in some words", Arch: "x86_64", License: "MIT",
			Origin: fmt.Sprintf("package-%d", i/2), Maintainer: fmt.Sprintf("Maintainer %d <m%d@example.org>", i%50, i%50),
			URL: "https://example.org/" + name, Commit: fmt.Sprintf("%040x", i/2), BuildTime: v3Time + int64(i), InstalledSize: int64(50_000 + i*111),
			Depends: common, Provides: deps(fmt.Sprintf("cmd:%s=%s so:lib%s.so.1=1.%d", name, version, name, i%9)),
		}}
		if i%100 == 0 {
			p.Hash = p.Hash[:20]
			p.Info.ProviderPriority = i%1000 + 1
			p.Info.InstallIf = deps(fmt.Sprintf("package-%d=%s docs", i/2, version))
		}
		x.Entries = append(x.Entries, p)
	}
	for i := range x.Entries {
		for _, list := range [][]Dependency{x.Entries[i].Info.Depends, x.Entries[i].Info.InstallIf} {
			slices.SortFunc(list, compareDependencies)
		}
	}
	return x
}

// writeV3 returns an index as a file.
func writeV3(t testing.TB, x *V3Index, c adb.Compression, signers ...crypto.Signer) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := WriteV3Index(&b, x, c, signers...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestV3IndexRoundTrip(t *testing.T) {
	x := v3SampleIndex(500)
	want := *x
	want.Entries = slices.Clone(x.Entries)
	slices.SortFunc(want.Entries, func(x, y V3IndexEntry) int { return compareV3Entries(&x, &y) })
	for _, c := range []adb.Compression{adb.None, adb.Deflate, adb.Zstd} {
		b := writeV3(t, x, c, v3Key, v3OtherKey)
		got, err := ReadV3Index(iotest.HalfReader(bytes.NewReader(b)), V3Signed(v3OtherKey.Public()))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&want, got); d != "" {
			t.Errorf("%s:\n%s", c, d)
		}
		y := *x
		y.Entries = slices.Clone(x.Entries)
		slices.Reverse(y.Entries)
		if !bytes.Equal(b, writeV3(t, &y, c, v3Key, v3OtherKey)) {
			t.Errorf("%s: it depends on the order of the packages", c)
		}
	}
}

func TestV3IndexGolden(t *testing.T) {
	golden(t, "v3-Packages.adb", writeV3(t, v3SampleIndex(5), adb.None, v3Key))
}

func TestV3IndexEmpty(t *testing.T) {
	x, err := ReadV3Index(bytes.NewReader(writeV3(t, &V3Index{Description: "nothing yet"}, adb.Deflate, v3Key)), V3Signed(v3Key.Public()))
	if err != nil || x.Description != "nothing yet" || len(x.Entries) != 0 {
		t.Errorf("%+v, %v", x, err)
	}
	// An index without anything has a null root, and apk reads it as an empty one.
	x, err = ReadV3Index(bytes.NewReader(writeV3(t, &V3Index{}, adb.Deflate, v3Key)), V3Signed(v3Key.Public()))
	if err != nil || len(x.Entries) != 0 {
		t.Errorf("%+v, %v", x, err)
	}
}

func TestV3IndexTrust(t *testing.T) {
	x := v3SampleIndex(3)
	for _, c := range []struct {
		name    string
		signers []crypto.Signer
		trust   V3Trust
		ok      bool
	}{
		{"signed", []crypto.Signer{v3Key}, V3Signed(v3Key.Public()), true},
		{"rotation", []crypto.Signer{v3Key, v3OtherKey}, V3Signed(v3OtherKey.Public()), true},
		{"foreign", []crypto.Signer{v3OtherKey}, V3Signed(v3Key.Public()), false},
		{"unsigned", nil, V3Signed(v3Key.Public()), false},
		{"unchecked", nil, V3Unchecked(), true},
	} {
		_, err := ReadV3Index(bytes.NewReader(writeV3(t, x, adb.Deflate, c.signers...)), c.trust)
		if c.ok && err != nil || !c.ok && !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestWriteV3IndexRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(x *V3Index)
		want   string // "" if it is to be accepted
	}{
		{"good", func(*V3Index) {}, ""},
		{"the same package twice", func(x *V3Index) { x.Entries = append(x.Entries, x.Entries[0]) }, "same file"},
		{"a name and version twice", func(x *V3Index) {
			p := x.Entries[0]
			p.Hash = bytes.Repeat([]byte{1}, 32)
			x.Entries, x.PkgnameSpec = append(x.Entries, p), ""
		}, "same file"},
		{"a name and version twice, by hash", func(x *V3Index) {
			p := x.Entries[0]
			p.Hash = bytes.Repeat([]byte{1}, 32)
			x.Entries = append(x.Entries, p)
		}, ""},
		{"two architectures", func(x *V3Index) {
			p := x.Entries[0]
			p.Info.Arch = "aarch64"
			x.Entries, x.PkgnameSpec = append(x.Entries, p), "${arch}/${name}-${version}.apk"
		}, ""},
		{"version", func(x *V3Index) { x.Entries[1].Info.Version = "1.0git" }, "version"},
		{"provides", func(x *V3Index) {
			x.Entries[1].Info.Provides = []Dependency{{Name: "pc:x", Match: Equal, Version: "1.0-beta"}}
		}, "provides"},
		{"no hash", func(x *V3Index) { x.Entries[1].Hash = nil }, "hash of 0 bytes"},
		{"a long hash", func(x *V3Index) { x.Entries[1].Hash = make([]byte, 64) }, "hash of 64 bytes"},
		{"no size", func(x *V3Index) { x.Entries[1].Size = 0 }, "file of 0 bytes"},
		{"two lines", func(x *V3Index) { x.Description = "a\nb" }, "description"},
		{"long description", func(x *V3Index) { x.Description = strings.Repeat("a", 5000) }, "description"},
		{"spec", func(x *V3Index) { x.PkgnameSpec = "${name}.apk/${version}" }, "pkgname-spec"},
	} {
		x := v3SampleIndex(3)
		c.change(x)
		var b bytes.Buffer
		err := WriteV3Index(&b, x, adb.Deflate, v3Key)
		checkError(t, err, fault.Invalid, c.want)
		if (err != nil) != (b.Len() == 0) {
			t.Errorf("%s: %d bytes were written", c.name, b.Len())
		}
	}
	lost := errors.New("token lost")
	if err := WriteV3Index(io.Discard, v3SampleIndex(1), adb.Deflate, lostSigner{v3Key, lost}); !errors.Is(err, lost) {
		t.Errorf("the signer's error becomes %v", err)
	}
}

// A lostSigner cannot sign.
type lostSigner struct {
	crypto.Signer
	err error
}

func (s lostSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, s.err }

// packV3Index returns an index with the root that build makes, and DATA blocks.
func packV3Index(t *testing.T, build func(h hostileV3) adb.Value, data ...string) []byte {
	t.Helper()
	h := hostileV3{adb.NewBuilder()}
	return h.packAs(t, v3SchemaIndex, build(h), data...)
}

func TestHostileV3Index(t *testing.T) {
	pack := func(build func(h hostileV3) adb.Value, data ...string) []byte { return packV3Index(t, build, data...) }
	good := func(h hostileV3) adb.Value { return h.Object(adb.Null, h.Object(h.info())) }
	one := func(slot int, v func(h hostileV3) adb.Value) func(h hostileV3) adb.Value {
		return func(h hostileV3) adb.Value {
			var s v3Info
			s[v3Name], s[v3Version], s[v3Hashes] = h.String("x"), h.String("1"), h.String(strings.Repeat("h", 32))
			s[slot] = v(h)
			return h.Object(adb.Null, h.Object(s.value(h.Builder)))
		}
	}
	demo, _ := v3Pack(t, adb.None)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"good", pack(good), ""},
		{"a package", demo, "schema is pckg"},
		{"data", pack(good, "data"), "data of files"},
		{"root is a blob", pack(func(h hostileV3) adb.Value { return h.String("x") }), "no object"},
		{"packages is a number", pack(func(h hostileV3) adb.Value { return h.Object(adb.Null, h.Int(1)) }), "no object"},
		{"a package is null", pack(func(h hostileV3) adb.Value { return h.Object(adb.Null, h.Object(adb.Null, h.info())) }), "package name"},
		{"name", pack(one(v3Name, func(h hostileV3) adb.Value { return h.String("a/b") })), "package name"},
		{"version", pack(one(v3Version, func(h hostileV3) adb.Value { return h.String("1/2") })), "version"},
		{"no hash", pack(one(v3Hashes, func(hostileV3) adb.Value { return adb.Null })), "hash of 0"},
		{"short hash", pack(one(v3Hashes, func(h hostileV3) adb.Value { return h.String("abc") })), "hash of 3"},
		{"huge size", pack(one(v3FileSize, func(h hostileV3) adb.Value { return h.Int(1 << 63) })), "too large"},
		{"long spec", pack(func(h hostileV3) adb.Value {
			return h.Object(adb.Null, h.Object(h.info()), h.String(strings.Repeat("s", 5000)))
		}), "too long"},
		{"one package very often", pack(func(h hostileV3) adb.Value {
			p := h.with(v3Hashes, h.String(strings.Repeat("h", 32)))
			all := make([]adb.Value, 200_000)
			for i := range all {
				all[i] = p
			}
			return h.Object(adb.Null, h.Object(all...))
		}), "twice"},
	} {
		_, err := ReadV3Index(bytes.NewReader(c.b), V3Unchecked())
		checkError(t, err, fault.Invalid, c.want)
	}
}

// TestV3IndexCut cuts an index at every byte.
func TestV3IndexCut(t *testing.T) {
	lost := errors.New("connection lost")
	b := writeV3(t, v3SampleIndex(20), adb.Deflate, v3Key)
	for n := range b {
		if _, err := ReadV3Index(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(lost)), V3Unchecked()); !errors.Is(err, lost) {
			t.Fatalf("after %d bytes: %v, want the error of reading", n, err)
		}
		if _, err := ReadV3Index(bytes.NewReader(b[:n]), V3Unchecked()); !fault.Is(err, fault.Invalid) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
	}
}

func TestV3FileName(t *testing.T) {
	p := V3IndexEntry{Info: Info{Name: "demo", Version: "1.0-r2", Arch: "x86_64"}, Hash: bytes.Repeat([]byte{0xab, 0xcd}, 16)}
	for _, c := range []struct{ spec, want, err string }{
		{"", "demo-1.0-r2.apk", ""},
		{"${name}-${version}.apk", "demo-1.0-r2.apk", ""},
		{"${arch}/${name}-${version}.apk", "x86_64/demo-1.0-r2.apk", ""},
		{"${name}-${version}.${hash:8}.apk", "demo-1.0-r2.abcdabcd.apk", ""},
		{"${name:2}/${name}_${hash}.apk", "de/demo_" + strings.Repeat("abcd", 16) + ".apk", ""},
		{"${name}.${version:100}", "demo.1.0-r2", ""},
		{"pool/${hash:2}/${name}-${version}.apk", "pool/ab/demo-1.0-r2.apk", ""},
		{"${version}-${name}.apk", "", "must begin with"},
		{"${name}", "", "must begin with"},
		{"${name}${version}.apk", "", "must begin with"},
		{"${name:2}-${version}.apk", "", "must begin with"},
		{"${name}-${version}/x", "", "must begin with"},
		{"../${name}-${version}.apk", "", "leaves its root"},
		{"a/../${name}-${version}.apk", "", "leaves its root"},
		{"/${name}-${version}.apk", "", "below the folder"},
		{"https://example.org/${name}-${version}.apk", "", "below the folder"},
		{"${name}-${size}.apk", "", "name, version, arch or hash"},
		{"${name}-${version.apk", "", "name, version, arch or hash"},
		{"${name}-${hash:}.apk", "", "number of characters"},
		{"${name}-${hash:0}.apk", "", "number of characters"},
		{"${name}-${hash:x}.apk", "", "number of characters"},
		{"${name}-${hash:8:9}.apk", "", "number of characters"},
		{"${name}-$version.apk", "", "characters"},
		{"${name}-a b.apk", "", "characters"},
		{"${name}-a\n.apk", "", "below the folder"},
		{"${name}-" + strings.Repeat("a", 252), "", "too long"},
		{strings.Repeat("a/", 400) + "${name}-", "", "below the folder"},
	} {
		got, err := V3FileName(c.spec, &p)
		checkError(t, err, fault.Invalid, c.err)
		if got != c.want {
			t.Errorf("%s becomes %q, want %q", c.spec, got, c.want)
		}
	}
	p.Info.Version = strings.Repeat("1", 255)
	if _, err := V3FileName("", &p); !fault.Is(err, fault.Invalid) {
		t.Errorf("a name of 300 bytes: %v", err)
	}
}

// FuzzV3Index reads an index; what is good enough to be written must read the
// same again.
func FuzzV3Index(f *testing.F) {
	f.Add(writeV3(f, v3SampleIndex(3), adb.None, v3Key))
	f.Add(writeV3(f, v3SampleIndex(5), adb.Deflate))
	f.Add(writeV3(f, &V3Index{}, adb.None))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ReadV3Index(bytes.NewReader(b), V3Unchecked())
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: %v", fault.KindOf(err), err)
			}
			return
		}
		var out bytes.Buffer
		if err := WriteV3Index(&out, x, adb.None); err != nil {
			return
		}
		y, err := ReadV3Index(bytes.NewReader(out.Bytes()), V3Unchecked())
		if err != nil {
			t.Fatal(err)
		}
		again := writeV3(t, y, adb.None)
		if !bytes.Equal(out.Bytes(), again) || len(x.Entries) != len(y.Entries) {
			t.Errorf("written again it is another index")
		}
	})
}

// BenchmarkWriteV3Index writes and signs an index of 8,000 packages, as mkndx
// does in 0.41 s when it finds them all in an older index.
func BenchmarkWriteV3Index(b *testing.B) {
	x := v3SampleIndex(8000)
	for _, c := range []adb.Compression{adb.None, adb.Deflate, adb.Zstd} {
		b.Run(c.String(), func(b *testing.B) {
			size := 0
			for b.Loop() {
				var out bytes.Buffer
				if err := WriteV3Index(&out, x, c, v3Key); err != nil {
					b.Fatal(err)
				}
				size = out.Len()
			}
			b.ReportMetric(float64(size), "bytes")
		})
	}
}

func BenchmarkReadV3Index(b *testing.B) {
	index := writeV3(b, v3SampleIndex(8000), adb.Deflate, v3Key)
	for b.Loop() {
		if _, err := ReadV3Index(bytes.NewReader(index), V3Signed(v3Key.Public())); err != nil {
			b.Fatal(err)
		}
	}
}
