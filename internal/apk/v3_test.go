package apk

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"io"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Keys of the tests, made of small numbers so that signatures are always the same.
var v3Key, v3OtherKey = v3TestKey(2_000_003), v3TestKey(2_000_029)

func v3TestKey(n int64) *ecdsa.PrivateKey {
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), big.NewInt(n).FillBytes(make([]byte, 32)))
	if err != nil {
		panic(err)
	}
	return k
}

const v3Time = 1_700_000_000

// v3Sample returns a description of a package with something of everything.
func v3Sample() (Info, Scripts, []File) {
	info := Info{
		Name: "demo", Version: "1.2.3_rc4-r5", Description: "A demonstration", Arch: "x86_64", License: "MIT AND Apache-2.0",
		Origin: "demo-src", Maintainer: "A Maintainer <a@example.org>", URL: "https://example.org/demo",
		Commit: strings.Repeat("0123456789abcdef", 3)[:40], BuildTime: v3Time, ProviderPriority: 10, ReplacesPriority: 5,
		Depends:   deps("zlib busybox>=1.36 !uclibc so:libc.musl-x86_64.so.1 busybox<2 bash~5 tool=1.0-r0 !old<1.0"),
		Provides:  deps("so:libdemo.so.1=1.2.3 demo-any cmd:demo=1.2.3_rc4-r5"),
		Replaces:  deps("demo-old olddemo<2"),
		InstallIf: deps("demo-base=1.2.3_rc4-r5 docs"),
		Triggers:  []string{"/usr/share/demo/*", "/usr/lib/demo"},
	}
	scripts := Scripts{PostInstall: []byte("#!/bin/sh\nexit 0\n"), PreUpgrade: []byte("#!/bin/sh\nexit 0\n"), Trigger: []byte("#!/bin/sh\necho \"$@\"\n")}
	file := v3Regular
	node := func(kind Kind, path string, mode uint32) File {
		return File{Entry: Entry{Path: path, Kind: kind, Mode: mode, User: "root", Group: "root", ModTime: v3Time}}
	}
	link := func(kind Kind, path, target string, mode uint32) File {
		f := node(kind, path, mode)
		f.Target = target
		return f
	}
	files := []File{
		node(Directory, "dev", 0o755),
		node(CharDevice, "dev/demo", 0o660),
		node(BlockDevice, "dev/demob", 0o600),
		node(FIFO, "dev/pipe", 0o644),
		node(Directory, "etc", 0o755),
		file("etc/demo.conf", "key = value\n", 0o640),
		node(Directory, "usr", 0o755),
		node(Directory, "usr/a", 0o750),
		file("usr/a/z", "three names\n", 0o755),
		link(HardLink, "usr/b", "usr/a/z", 0o755),
		node(Directory, "usr/bin", 0o755),
		file("usr/bin/demo", strings.Repeat("demo binary ", 30_000), 0o4755),
		link(Symlink, "usr/bin/demo2", "demo", 0o777),
		file("usr/bin/empty", "", 0o644),
		link(HardLink, "usr/bin/three", "usr/a/z", 0o755),
		node(Directory, "usr/lib", 0o755),
		node(Directory, "usr/lib-x", 0o755),
		file("usr/lib-x/file", "x", 0o600),
		link(Symlink, "usr/lib/libdemo.so", "../../"+strings.Repeat("long/", 25)+"libdemo.so.1", 0o777),
		file("usr/lib/same", "key = value\n", 0o640),
		node(Directory, "var", 0o755),
		node(Directory, "var/empty", 0o1777),
	}
	files[1].Major, files[1].Minor = 4001, 300
	files[2].Major, files[2].Minor = 4000, 17
	files[5].User, files[5].Group = "nobody", "nogroup"
	files[11].Xattrs = []Xattr{{Name: "user.demo", Value: "a\x00value"}, {Name: "user.other", Value: "x"}}
	return info, scripts, files
}

// v3Regular returns a regular file.
func v3Regular(path, content string, mode uint32) File {
	return File{
		Entry: Entry{Path: path, Mode: mode, User: "root", Group: "root", Size: int64(len(content)), ModTime: v3Time},
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

// v3Pack packs the sample.
func v3Pack(t testing.TB, c adb.Compression, signers ...crypto.Signer) ([]byte, *V3Packed) {
	t.Helper()
	info, scripts, files := v3Sample()
	var b bytes.Buffer
	p, err := WriteV3(&b, &V3Spec{Info: info, Scripts: scripts, Files: files, Compression: c, Signers: signers})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), p
}

// v3Contents reads a package to its end and returns the contents by path.
func v3Contents(b []byte, trust V3Trust) (*V3Package, map[string]string, error) {
	p, err := OpenV3(bytes.NewReader(b), trust)
	if err != nil {
		return nil, nil, err
	}
	contents := map[string]string{}
	err = p.Walk(func(e *Entry, r io.Reader) error {
		b, err := io.ReadAll(r)
		contents[e.Path] = string(b)
		return err
	})
	return p, contents, err
}

func TestV3RoundTrip(t *testing.T) {
	info, scripts, files := v3Sample()
	for _, c := range []adb.Compression{adb.None, adb.Deflate, adb.Zstd} {
		t.Run(c.String(), func(t *testing.T) {
			b, packed := v3Pack(t, c, v3Key)
			again, _ := v3Pack(t, c, v3Key)
			if !bytes.Equal(b, again) || packed.Size != int64(len(b)) {
				t.Errorf("two packages of %d and %d bytes differ; the size is said to be %d", len(b), len(again), packed.Size)
			}
			p, contents, err := v3Contents(b, V3Signed(v3OtherKey.Public(), v3Key.Public()))
			if err != nil {
				t.Fatal(err)
			}
			want := info
			want.InstalledSize = packed.Info.InstalledSize
			for _, list := range []*[]Dependency{&want.Depends, &want.Provides, &want.Replaces, &want.InstallIf} {
				slices.SortFunc(*list, compareDependencies)
			}
			if d := gocmp.Diff(want, p.Info); d != "" {
				t.Errorf("info:\n%s", d)
			}
			if d := gocmp.Diff(scripts, p.Scripts); d != "" {
				t.Errorf("scripts:\n%s", d)
			}
			if p.Hash != packed.Hash || len(p.ID) != v3IDSize || len(p.Signatures) != 1 {
				t.Errorf("hash %x, id %x, %d signatures", p.Hash, p.ID, len(p.Signatures))
			}
			checkV3Files(t, files, p.Entries, contents)
		})
	}
}

// checkV3Files compares what was read with what was packed.
func checkV3Files(t *testing.T, packed []File, entries []Entry, contents map[string]string) {
	t.Helper()
	if !slices.IsSortedFunc(entries, func(x, y Entry) int { return compareV3(&x, &y) }) || entries[0].Path != "" {
		t.Error("the entries are not in order or without a root")
	}
	entries = slices.Clone(entries[1:])
	slices.SortFunc(entries, func(x, y Entry) int { return strings.Compare(x.Path, y.Path) })
	if len(entries) != len(packed) {
		t.Fatalf("%d entries of %d", len(entries), len(packed))
	}
	for i, got := range entries {
		want := packed[i].Entry
		got.SHA256 = want.SHA256
		if want.Kind == Directory {
			want.ModTime = 0
		}
		switch want.Path { // its content has moved to the name that comes first
		case "usr/a/z":
			want.Kind, want.Target, want.Size = HardLink, "usr/b", 0
		case "usr/b":
			want.Kind, want.Target, want.Size = RegularFile, "", int64(len("three names\n"))
		case "usr/bin/three":
			want.Target = "usr/b"
		}
		if d := gocmp.Diff(want, got); d != "" {
			t.Errorf("%s:\n%s", want.Path, d)
		}
		content := ""
		if f := packed[i]; f.Kind == RegularFile && f.Path != "usr/a/z" {
			r, _ := f.Open()
			b, _ := io.ReadAll(r)
			content = string(b)
		}
		if want.Path == "usr/b" {
			content = "three names\n"
		}
		if contents[want.Path] != content {
			t.Errorf("%s has %d bytes, want %d", want.Path, len(contents[want.Path]), len(content))
		}
	}
}

// TestV3Golden holds the bytes of a package against those written once.
func TestV3Golden(t *testing.T) {
	info, scripts, files := v3Sample()
	files[11] = v3Regular("usr/bin/demo", "demo binary", 0o4755)
	var b bytes.Buffer
	if _, err := WriteV3(&b, &V3Spec{Info: info, Scripts: scripts, Files: files, Signers: []crypto.Signer{v3Key}}); err != nil {
		t.Fatal(err)
	}
	golden(t, "v3-demo.apk", b.Bytes())
}

// TestV3Order packs the files in another order, and with digests that are known.
func TestV3Order(t *testing.T) {
	want, _ := v3Pack(t, adb.Deflate)
	info, scripts, files := v3Sample()
	for i := range files {
		if f := &files[i]; f.Kind == RegularFile {
			r, _ := f.Open()
			b, _ := io.ReadAll(r)
			f.SHA256 = sha256.Sum256(b)
		}
	}
	slices.Reverse(files)
	slices.Reverse(info.Depends)
	info.Depends = append(info.Depends, info.Depends...)
	var b bytes.Buffer
	if _, err := WriteV3(&b, &V3Spec{Info: info, Scripts: scripts, Files: files, Compression: adb.Deflate}); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Error("it depends on the order of the files or of the dependencies")
	}
}

func TestV3SmallPackages(t *testing.T) {
	for _, c := range []struct {
		name    string
		scripts Scripts
		files   []File
		size    int64
		entries int
	}{
		{"nothing", Scripts{}, nil, 0, 0},
		{"a script", Scripts{PreInstall: []byte("#!/bin/sh\n")}, nil, 1, 0},
		{"an empty file", Scripts{}, []File{v3Regular("a", "", 0o644)}, 1, 2},
		{"a file", Scripts{}, []File{v3Regular("a", "12345", 0o644)}, 5, 2},
		{"a root of its own", Scripts{}, []File{{Entry: Entry{Kind: Directory, Mode: 0o700, User: "root", Group: "root"}}}, 1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			packed, err := WriteV3(&b, &V3Spec{Info: Info{Name: "x", Version: "1", Arch: "noarch"}, Scripts: c.scripts, Files: c.files})
			if err != nil {
				t.Fatal(err)
			}
			p, _, err := v3Contents(b.Bytes(), V3Expected(packed.Hash))
			if err != nil {
				t.Fatal(err)
			}
			if p.Info.InstalledSize != c.size || len(p.Entries) != c.entries || !gocmp.Equal(p.Scripts, c.scripts) {
				t.Errorf("installed size %d, want %d; %d entries, want %d", p.Info.InstalledSize, c.size, len(p.Entries), c.entries)
			}
			if c.name == "a root of its own" && p.Entries[0].Mode != 0o700 {
				t.Errorf("mode %o", p.Entries[0].Mode)
			}
		})
	}
}

func TestWriteV3Refuses(t *testing.T) {
	lost := errors.New("disk lost")
	for _, c := range []struct {
		name   string
		change func(s *V3Spec)
		kind   fault.Kind
		want   string
	}{
		{"version", func(s *V3Spec) { s.Info.Version = "1.0-beta" }, fault.Invalid, "version"},
		{"no version", func(s *V3Spec) { s.Info.Version = "" }, fault.Invalid, "version"},
		{"name", func(s *V3Spec) { s.Info.Name = "../x" }, fault.Invalid, "package name"},
		{"provides", func(s *V3Spec) { s.Info.Provides[0].Version = "v1" }, fault.Invalid, "provides"},
		{"provides with >", func(s *V3Spec) { s.Info.Provides[0].Match = Greater }, fault.Invalid, "provides"},
		{"depends", func(s *V3Spec) { s.Info.Depends[0].Name = "a b" }, fault.Invalid, "depends"},
		{"pinned", func(s *V3Spec) { s.Info.Depends[0].Tag = "edge" }, fault.Invalid, "pinned"},
		{"tag", func(s *V3Spec) { s.Info.Tags = []string{"a b"} }, fault.Invalid, "tag"},
		{"two lines", func(s *V3Spec) { s.Info.Description = "a\nb" }, fault.Invalid, "line break"},
		{"script", func(s *V3Spec) { s.Scripts.PreInstall = []byte("echo") }, fault.Invalid, "#!"},
		{"trigger without script", func(s *V3Spec) { s.Scripts.Trigger = nil }, fault.Invalid, "trigger"},
		{"owner is a number", func(s *V3Spec) { s.Files[5].User = "1000" }, fault.Invalid, "number"},
		{"group is a number", func(s *V3Spec) { s.Files[5].Group = "100" }, fault.Invalid, "number"},
		{"no owner", func(s *V3Spec) { s.Files[5].User = "" }, fault.Invalid, "owner"},
		{"path", func(s *V3Spec) { s.Files[5].Path = "etc/../x" }, fault.Invalid, "leaves its root"},
		{"no folder", func(s *V3Spec) { s.Files = s.Files[5:6] }, fault.Invalid, "folder"},
		{"twice", func(s *V3Spec) { s.Files = append(s.Files, s.Files[5]) }, fault.Invalid, "twice"},
		{"link to nothing", func(s *V3Spec) { s.Files[9].Target = "usr/zzz" }, fault.Invalid, "hard link"},
		{"link of another mode", func(s *V3Spec) { s.Files[9].Mode = 0o644 }, fault.Invalid, "hard link"},
		{"link of another owner", func(s *V3Spec) { s.Files[14].User = "nobody" }, fault.Invalid, "hard link"},
		{"link with attributes", func(s *V3Spec) { s.Files[14].Xattrs = []Xattr{{"user.a", "b"}} }, fault.Invalid, "hard link"},
		{"smaller", func(s *V3Spec) { s.Files[5].Size++ }, fault.Invalid, "etc/demo.conf"},
		{"larger", func(s *V3Spec) { s.Files[5].Size-- }, fault.Invalid, "etc/demo.conf"},
		{"another content", func(s *V3Spec) { s.Files[5].SHA256[0] = 1 }, fault.Conflict, "changed"},
		{"another size with a digest", func(s *V3Spec) { s.Files[5].SHA256[0] = 1; s.Files[5].Size++ }, fault.Invalid, "etc/demo.conf"},
		{"no content", func(s *V3Spec) { s.Files[5].Open = nil }, fault.Internal, "etc/demo.conf"},
		{"no content with a digest", func(s *V3Spec) { s.Files[5].SHA256[0] = 1; s.Files[5].Open = nil }, fault.Internal, "etc/demo.conf"},
		{"does not open", func(s *V3Spec) { s.Files[5].Open = func() (io.ReadCloser, error) { return nil, lost } }, fault.Internal, "disk lost"},
		{"does not read", func(s *V3Spec) {
			s.Files[5].Open = func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(lost)), nil }
		}, fault.Internal, "disk lost"},
		{"unknown compression", func(s *V3Spec) { s.Compression = 7 }, fault.Invalid, "7"},
		{"the same key twice", func(s *V3Spec) { s.Signers = append(s.Signers, s.Signers...) }, fault.Invalid, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			info, scripts, files := v3Sample()
			spec := V3Spec{Info: info, Scripts: scripts, Files: files, Signers: []crypto.Signer{v3Key}}
			c.change(&spec)
			var b bytes.Buffer
			_, err := WriteV3(&b, &spec)
			if !fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s with %q", err, c.kind, c.want)
			}
			if strings.Contains(c.want, "disk lost") && !errors.Is(err, lost) {
				t.Errorf("the cause is lost: %v", err)
			}
			if c.kind == fault.Invalid && b.Len() > 0 && !strings.Contains(c.name, "with a digest") {
				t.Errorf("%d bytes were written before", b.Len())
			}
		})
	}
}

func TestDeviceNumbers(t *testing.T) {
	for _, c := range []struct {
		major, minor uint32
		want         uint64
	}{
		{0, 0, 0}, {1, 3, 0x103}, {8, 17, 0x811}, {0xfff, 0xff, 0xfffff}, {1, 0x100, 0x100100}, {0x1000, 0, 0x100000000000},
		{0xffffffff, 0xffffffff, 0xffffffffffffffff},
	} {
		n := deviceNumber(c.major, c.minor)
		if major, minor := splitDevice(n); n != c.want || major != c.major || minor != c.minor {
			t.Errorf("%d,%d is %#x, want %#x, and again %d,%d", c.major, c.minor, n, c.want, major, minor)
		}
	}
}

func TestV3Dependencies(t *testing.T) {
	for _, word := range []string{"a", "!a", "a=1", "!a=1", "a<1", "a<=1", "a>1", "a>=1", "a~1", "a>~1", "a<~1", "!a>=1",
		"a><Q1qqqqqqqqqqqqqqqqqqqqqqqqqqo=", "so:libc.musl-x86_64.so.1"} {
		want, err := ParseDependency(word)
		if err != nil {
			t.Fatal(err)
		}
		b := adb.NewBuilder()
		payload, err := b.Payload(v3Dependencies(b, []Dependency{want, want}))
		if err != nil {
			t.Fatal(err)
		}
		d := adb.NewDecoder(payload)
		got, err := readV3Dependencies(d.Root())
		if err := cmp.Or(err, d.Err()); err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s becomes %v, %v", word, got, err)
		}
	}
}

// FuzzV3 reads a package in full; what can be read and is good enough to be
// written must read the same again.
func FuzzV3(f *testing.F) {
	b, err := os.ReadFile("testdata/v3-demo.apk")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	h := hostileV3{adb.NewBuilder()}
	f.Add(h.pack(f, h.Object(h.info(), h.Object(h.dir("", h.file("a", "one"), h.link("b", "a")), h.dir("c"))), "\x01\x00\x00\x00\x01\x00\x00\x00one"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, contents, err := v3Contents(b, V3Unchecked())
		if err != nil {
			if k := fault.KindOf(err); k != fault.Invalid && k != fault.Denied {
				t.Errorf("%s: %v", k, err)
			}
			return
		}
		spec := V3Spec{Info: p.Info, Scripts: p.Scripts}
		for _, e := range p.Entries {
			content := contents[e.Path]
			spec.Files = append(spec.Files, File{Entry: e, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }})
		}
		var out bytes.Buffer
		if _, err := WriteV3(&out, &spec); err != nil {
			return // it is worse than what is written here
		}
		if _, again, err := v3Contents(out.Bytes(), V3Unchecked()); err != nil || len(again) < len(contents) {
			t.Errorf("written again it has %d files instead of %d: %v", len(again), len(contents), err)
		}
	})
}
