package apk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestV2RoundTrip(t *testing.T) {
	spec := helloSpec(signer(0))
	spec.Files = append(spec.Files, entry(Directory, "dev", ""), entry(FIFO, "dev/pipe", ""))
	null := entry(CharDevice, "dev/null", "")
	null.Major, null.Minor = 1, 3
	capable := file("usr/bin/capable", 0o755, "x")
	capable.Xattrs = []Xattr{{"security.capability", "\x01\x00\x00\x02\x00\x20"}, {"user.note", "a\nb"}}
	spec.Files = append(spec.Files, null, capable)
	b, packed := pack(t, spec)
	u, err := unpack(b, keyring(0))
	if err != nil {
		t.Fatal(err)
	}
	want := spec.Info
	want.InstalledSize = 0
	for _, f := range spec.Files {
		want.InstalledSize += f.Size
	}
	if d := cmp.Diff(want, u.pkg.Info) + cmp.Diff(packed.Info, u.pkg.Info) + cmp.Diff(spec.Scripts, u.pkg.Scripts); d != "" {
		t.Error(d)
	}
	if u.pkg.SignedBy != signer(0).KeyName || u.pkg.Identity != packed.Identity || u.pkg.ControlSHA256 != packed.ControlSHA256 ||
		u.pkg.DataSHA256 != packed.DataSHA256 || packed.Size != int64(len(b)) {
		t.Errorf("read %+v, written %+v", u.pkg, packed)
	}
	checkOffsets(t, b, u.pkg)
	files := slices.Clone(spec.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	var entries []Entry
	for _, f := range files {
		entries = append(entries, f.Entry)
		if f.Kind == RegularFile {
			r, _ := f.Open()
			content, _ := io.ReadAll(r)
			if u.content[f.Path] != string(content) {
				t.Errorf("%s: another content", f.Path)
			}
		}
	}
	if d := cmp.Diff(entries, u.entries, cmpopts.IgnoreFields(Entry{}, "SHA1")); d != "" {
		t.Error(d)
	}
	if _, ok := u.content["usr/bin/hello-again"]; ok {
		t.Error("a hard link has content of its own")
	}
	if err := u.pkg.Walk(nil); !fault.Is(err, fault.Internal) {
		t.Errorf("walking twice gives %v", err)
	}
}

// checkOffsets wants the digests to be those of the bytes at the offsets.
func checkOffsets(t *testing.T, b []byte, p *V2Package) {
	t.Helper()
	control, data := b[p.ControlOffset:p.DataOffset], b[p.DataOffset:]
	if p.Identity != sha1.Sum(control) || p.ControlSHA256 != sha256.Sum256(control) || p.DataSHA256 != sha256.Sum256(data) {
		t.Error("the digests are not those of the parts")
	}
}

// The same spec gives the same bytes, however it is ordered and worked at.
func TestV2Deterministic(t *testing.T) {
	first, _ := pack(t, helloSpec(signer(0), signer(1)))
	for _, workers := range []int{1, 2, 7} {
		spec := helloSpec(signer(0), signer(1))
		slices.Reverse(spec.Files)
		spec.Workers = workers
		spool, err := os.Create(filepath.Join(t.TempDir(), "spool"))
		if err != nil {
			t.Fatal(err)
		}
		defer spool.Close()
		spec.Spool = spool
		if b, _ := pack(t, spec); !bytes.Equal(b, first) {
			t.Errorf("%d workers: other bytes", workers)
		}
	}
}

// Packages without files or without anything but scripts.
func TestV2Empty(t *testing.T) {
	for _, c := range []struct {
		name string
		spec V2Spec
		size int64
	}{
		{"meta", V2Spec{}, 0},
		{"script", V2Spec{Scripts: Scripts{PreInstall: []byte("#!/bin/sh\n")}}, 1},
		{"empty file", V2Spec{Files: []File{file("a", 0o644, "")}}, 1},
		{"folder", V2Spec{Files: []File{entry(Directory, "a", "")}}, 1},
	} {
		c.spec.Info = Info{Name: "a", Version: "1", Arch: "noarch"}
		b, _ := pack(t, &c.spec)
		u, err := unpack(b, nil)
		if err != nil || u.pkg.Info.InstalledSize != c.size || len(u.entries) != len(c.spec.Files) {
			t.Errorf("%s: %+v, %v", c.name, u.pkg, err)
		}
		_, err = unpack(b, keyring(0))
		checkError(t, err, fault.Denied, "not signed")
	}
}

// A large file is read twice, and must be the same both times.
func TestV2LargeFile(t *testing.T) {
	content := string(mixed(maxInMemory + 1000))
	spec := V2Spec{Info: Info{Name: "a", Version: "1", Arch: "noarch"}, Files: []File{file("large", 0o644, content), file("z", 0o644, "small")}}
	b, _ := pack(t, &spec)
	u, err := unpack(b, nil)
	if err != nil || u.content["large"] != content || u.content["z"] != "small" {
		t.Errorf("the content is another one, %v", err)
	}
	times := 0
	spec.Files[0].Open = func() (io.ReadCloser, error) {
		times++
		return io.NopCloser(strings.NewReader(content[:len(content)-1] + string(rune('0'+times)))), nil
	}
	_, err = WriteV2(io.Discard, &spec)
	checkError(t, err, fault.Conflict, "large: its content changed")
}

func TestWriteV2Refuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*V2Spec)
		want   string
	}{
		{"name", func(s *V2Spec) { s.Info.Name = "" }, "package name"},
		{"layer", func(s *V2Spec) { s.Info.Layer = 1 }, "layer"},
		{"time", func(s *V2Spec) { s.Info.BuildTime = 1 << 40 }, "out of range"},
		{"script", func(s *V2Spec) { s.Scripts.PreInstall = []byte("x") }, "does not begin with #!"},
		{"path", func(s *V2Spec) { s.Files = append(s.Files, file("../x", 0o644, "")) }, "begins with a dot"},
		{"twice", func(s *V2Spec) { s.Files = append(s.Files, s.Files[0]) }, "twice"},
		{"shorter", func(s *V2Spec) { s.Files[4].Size++ }, "usr/bin/hello: its content is shorter"},
		{"longer", func(s *V2Spec) { s.Files[4].Size-- }, "usr/bin/hello: its content is longer"},
		{"key name", func(s *V2Spec) { s.Signers[0].KeyName = "a/b" }, "not a name for a key file"},
		{"same key name", func(s *V2Spec) { s.Signers = append(s.Signers, s.Signers[0]) }, "two keys are named"},
		{"no key", func(s *V2Spec) { s.Signers[0].Key = nil }, "there is none"},
		{"wrong kind of key", func(s *V2Spec) { s.Signers[0].Key = ed25519.PrivateKey(make([]byte, ed25519.PrivateKeySize)) }, "RSA keys only"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := helloSpec(signer(0))
			c.change(spec)
			var b bytes.Buffer
			_, err := WriteV2(&b, spec)
			checkError(t, err, fault.Invalid, c.want)
			if b.Len() > 0 {
				t.Error("something was written")
			}
		})
	}
	spec := helloSpec()
	spec.Files[4].Open = func() (io.ReadCloser, error) { return nil, errFull }
	if _, err := WriteV2(io.Discard, spec); !errors.Is(err, errFull) {
		t.Errorf("%v, want the error of opening", err)
	}
	if _, err := WriteV2(&full{100}, helloSpec()); !errors.Is(err, errFull) {
		t.Errorf("%v, want the error of writing", err)
	}
}

// member returns a gzip member as another tool would write it.
func member(plain []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(plain)
	_ = z.Close()
	return b.Bytes()
}

// cut is a tar of plain files with no end.
func cut(nameContent ...string) []byte {
	var b []byte
	for i := 0; i < len(nameContent); i += 2 {
		e := Entry{Path: nameContent[i], Mode: 0o644, User: "root", Group: "root", Size: int64(len(nameContent[i+1]))}
		b = append(appendHeader(b, &e, false), nameContent[i+1]...)
		b = append(b, make([]byte, -e.Size&(tarBlock-1))...)
	}
	return b
}

var tarEnd = make([]byte, 2*tarBlock)

// stitch returns a package of a control part and a data part, the digest of the
// latter put in.
func stitch(control func(datahash string) []byte, data []byte) []byte {
	part := member(data)
	sum := sha256.Sum256(part)
	return append(member(control(hex.EncodeToString(sum[:]))), part...)
}

// plainControl is a control part with nothing but .PKGINFO.
func plainControl(datahash string) []byte {
	return cut(pkgInfo, "pkgname = a\npkgver = 1\ndatahash = "+datahash+"\n")
}

func TestHostileV2(t *testing.T) {
	data := append(cut("a", "x"), tarEnd...)
	good := stitch(plainControl, data)
	signed, _ := pack(t, helloSpec(signer(0)))
	u, err := unpack(signed, nil)
	if err != nil {
		t.Fatal(err)
	}
	signatures := signed[:u.pkg.ControlOffset]
	control := func(b ...string) func(string) []byte {
		return func(hash string) []byte { return append(plainControl(hash), cut(b...)...) }
	}
	for _, c := range []struct {
		name string
		kind fault.Kind
		apk  []byte
		want string
	}{
		{"good", "", good, ""},
		{"unknown file in control", "", stitch(control(".melange.yaml", "x"), data), ""},
		{"more bytes", fault.Invalid, append(bytes.Clone(good), 0), "follows the data part"},
		{"more members", fault.Invalid, append(bytes.Clone(good), member(nil)...), "follows the data part"},
		{"data in two members", fault.Denied, inTwo(data), "not the one"},
		{"two signature parts", fault.Invalid, slices.Concat(signatures, signatures, good), "apk refuses"},
		{"no data", fault.Invalid, good[:len(good)-len(member(data))], "cut short"},
		{"cut", fault.Invalid, good[:len(good)-9], "cut short"},
		{"other data", fault.Denied, append(bytes.Clone(good[:len(good)-len(member(data))]), member(append(cut("b", "y"), tarEnd...))...), "not the one that the control part names"},
		{"recompressed data", fault.Denied, append(bytes.Clone(good[:len(good)-len(member(data))]), gzipMember(data, 1)...), "not the one"},
		{"no end in data", fault.Invalid, stitch(plainControl, cut("a", "x")), "no end"},
		{"end in control", fault.Invalid, stitch(func(h string) []byte { return append(plainControl(h), tarEnd...) }, data), "it has an end"},
		{"end in signatures", fault.Invalid, append(member(append(cut(".SIGN.RSA256.x", "y"), tarEnd...)), good...), "it has an end"},
		{"file among signatures", fault.Invalid, append(member(cut(".SIGN.RSA256.x", "y", "etc", "z")), good...), "no signature"},
		{"too much signature", fault.Invalid, append(member(cut(".SIGN.RSA256.x", noise(maxSignature+1))), good...), "too much"},
		{"old script", fault.Invalid, stitch(control(".INSTALL", "#!/bin/sh\n"), data), "apk refuses"},
		{"plain file in control", fault.Invalid, stitch(control("etc", "x"), data), "does not belong"},
		{"path in control", fault.Invalid, stitch(control("./x", "x"), data), "does not belong"},
		{"info twice", fault.Invalid, stitch(func(h string) []byte { return append(plainControl(h), plainControl(h)...) }, data), "twice"},
		{"script twice", fault.Invalid, stitch(control(".trigger", "#!x", ".trigger", "#!y"), data), "twice"},
		{"large script", fault.Invalid, stitch(control(".trigger", noise(maxScript+1)), data), "larger than"},
		{"no info", fault.Invalid, stitch(func(string) []byte { return cut(".trigger", "#!x") }, data), "no .PKGINFO"},
		{"large control", fault.Invalid, stitch(control(".x", string(make([]byte, maxControl))), data), "more than"},
		{"an index", fault.Invalid, member(append(cut("APKINDEX", ""), tarEnd...)), "does not belong"},
		{"empty", fault.Invalid, nil, "cut short"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := unpack(c.apk, nil)
			checkError(t, err, c.kind, c.want)
		})
	}
}

// inTwo returns a package with something in a second member of its data part.
func inTwo(data []byte) []byte {
	parts := append(member(data), member(nil)...)
	sum := sha256.Sum256(parts)
	return append(member(plainControl(hex.EncodeToString(sum[:]))), parts...)
}

// dataOf returns a package whose data part the standard library wrote.
func dataOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		h.Uname, h.Gname, h.Mode, h.Format = "root", "root", 0o755, tar.FormatPAX
		content := make([]byte, h.Size)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return stitch(plainControl, b.Bytes())
}

func TestHostileEntries(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3} }
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }
	link := func(kind byte, name, target string) tar.Header {
		return tar.Header{Name: name, Typeflag: kind, Linkname: target}
	}
	sum := func(h tar.Header, s string) tar.Header {
		h.PAXRecords = map[string]string{paxSHA1: s}
		return h
	}
	zeros := sha1.Sum(make([]byte, 3))
	right := hex.EncodeToString(zeros[:])
	for _, c := range []struct {
		name    string
		kind    fault.Kind
		headers []tar.Header
		want    string
	}{
		{"good", "", []tar.Header{dir("a/"), reg("a/b"), link(tar.TypeLink, "a/c", "a/b"), link(tar.TypeSymlink, "a/d", "/etc/../x")}, ""},
		{"good sum", "", []tar.Header{sum(reg("b"), right)}, ""},
		{"wrong sum", fault.Denied, []tar.Header{sum(reg("b"), strings.Repeat("00", 20))}, "checksum does not hold"},
		{"wrong sum of a link", fault.Denied, []tar.Header{sum(link(tar.TypeSymlink, "b", "c"), right)}, "checksum does not hold"},
		{"malformed sum", fault.Invalid, []tar.Header{sum(reg("b"), "xyz")}, "malformed extended header"},
		{"up", fault.Invalid, []tar.Header{reg("../etc/passwd")}, "begins with a dot"},
		{"up inside", fault.Invalid, []tar.Header{dir("a/"), reg("a/../../x")}, "leaves its root"},
		{"absolute", fault.Invalid, []tar.Header{reg("/etc/passwd")}, "does not begin with a name"},
		{"dot slash", fault.Invalid, []tar.Header{dir("./a/")}, "begins with a dot"},
		{"double slash", fault.Invalid, []tar.Header{dir("a/"), reg("a//b")}, "leaves its root"},
		{"root", fault.Invalid, []tar.Header{dir("/")}, "the root is listed"},
		{"hidden", fault.Invalid, []tar.Header{reg(".hidden")}, "begins with a dot"},
		{"signature", fault.Invalid, []tar.Header{reg(".SIGN.RSA256.x")}, "begins with a dot"},
		{"line break", fault.Invalid, []tar.Header{reg("a\nb")}, "control character"},
		{"twice", fault.Invalid, []tar.Header{reg("a"), reg("a")}, "twice"},
		{"folder twice", fault.Invalid, []tar.Header{dir("a/"), dir("a")}, "twice"},
		{"file and folder", fault.Invalid, []tar.Header{reg("a"), dir("a/")}, "twice"},
		{"no folder", fault.Invalid, []tar.Header{reg("a/b")}, "does not come before"},
		{"through a link", fault.Invalid, []tar.Header{link(tar.TypeSymlink, "a", "/etc"), reg("a/passwd")}, "does not come before"},
		{"link out", fault.Invalid, []tar.Header{link(tar.TypeLink, "a", "../../etc/shadow")}, "no earlier"},
		{"link to nothing", fault.Invalid, []tar.Header{link(tar.TypeLink, "a", "b")}, "no earlier"},
		{"link to a symlink", fault.Invalid, []tar.Header{link(tar.TypeSymlink, "s", "/etc/shadow"), link(tar.TypeLink, "t", "s")}, "no earlier"},
		{"empty link", fault.Invalid, []tar.Header{link(tar.TypeSymlink, "s", "")}, "malformed target"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := unpack(dataOf(t, c.headers...), nil)
			checkError(t, err, c.kind, c.want)
		})
	}
}

func TestV2Signatures(t *testing.T) {
	both, _ := pack(t, helloSpec(signer(0), signer(1)))
	one, _ := pack(t, helloSpec(signer(0)))
	tampered := bytes.Clone(both)
	u, err := unpack(both, nil)
	if err != nil || u.pkg.SignedBy != "" || len(u.pkg.Signatures) != 2 || u.pkg.Signatures[0].Algorithm != "RSA256" {
		t.Fatalf("%+v, %v", u.pkg, err)
	}
	tampered[u.pkg.ControlOffset+9] ^= 1 // the system that packed it, in the gzip header
	impostor := keyring(0)
	impostor[signer(0).KeyName] = &testKeys()[2].PublicKey
	for _, c := range []struct {
		name string
		apk  []byte
		keys Keyring
		by   int
		want string
	}{
		{"first of two", both, keyring(0), 0, ""},
		{"second of two", both, keyring(1), 1, ""},
		{"both", both, keyring(0, 1), 0, ""},
		{"foreign key", both, keyring(2), 0, "no key that is trusted"},
		{"no keys", both, Keyring{}, 0, "no key that is trusted"},
		{"tampered", tampered, keyring(0), 0, "does not hold"},
		{"another key of the name", one, impostor, 0, "does not hold"},
	} {
		u, err := unpack(c.apk, c.keys)
		checkError(t, err, fault.Denied, c.want)
		if err == nil && u.pkg.SignedBy != signer(c.by).KeyName {
			t.Errorf("%s: signed by %q", c.name, u.pkg.SignedBy)
		}
	}
}

func TestKeyring(t *testing.T) {
	k := Keyring{}
	if err := k.Add("a.rsa.pub", publicPEM(t, 0)); err != nil || !k["a.rsa.pub"].Equal(&testKeys()[0].PublicKey) {
		t.Errorf("%v, %v", k, err)
	}
	for name, key := range map[string][]byte{"../x": publicPEM(t, 0), "b": nil, "c": []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")} {
		if err := k.Add(name, key); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	small := rsa.PrivateKey{PublicKey: rsa.PublicKey{N: testKeys()[0].Primes[0], E: 65537}}
	checkError(t, Signer{KeyName: "small", Key: &small}.Check(), fault.Invalid, "2048 bits")
}

// forgetful is a spool that keeps nothing.
type forgetful struct{ memory }

func (*forgetful) Write(p []byte) (int, error) { return len(p), nil }

func TestForgetfulSpool(t *testing.T) {
	spec := helloSpec()
	spec.Spool = new(forgetful)
	_, err := WriteV2(io.Discard, spec)
	checkError(t, err, fault.Internal, "the spool gives back less")
}

// What fn does with the content and what it returns is its own business.
func TestWalkStops(t *testing.T) {
	b, _ := pack(t, helloSpec())
	p, err := OpenV2(bytes.NewReader(b), nil)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	err = p.Walk(func(e *Entry, r io.Reader) error {
		if n++; n == 3 {
			return errFull
		}
		return nil
	})
	if err != errFull || n != 3 {
		t.Errorf("%d entries, %v", n, err)
	}
}

func TestReadV2(t *testing.T) {
	b, packed := pack(t, helloSpec(signer(0)))
	full, err := unpack(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ReadV2(bytes.NewReader(b[:full.pkg.DataOffset])) // it reads no data
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(packed.IndexEntry(), p.IndexEntry(int64(len(b)))); d != "" {
		t.Error(d)
	}
}
