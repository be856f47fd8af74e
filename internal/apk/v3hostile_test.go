package apk

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestV3Tampering changes a bit of each byte of a package that is not compressed.
// None may go unnoticed, but for those that count for nothing.
func TestV3Tampering(t *testing.T) {
	info, scripts, files := v3Sample()
	files[11] = v3Regular("usr/bin/demo", "demo binary", 0o4755)
	var out bytes.Buffer
	packed, err := WriteV3(&out, &V3Spec{Info: info, Scripts: scripts, Files: files, Signers: []crypto.Signer{v3Key}})
	if err != nil {
		t.Fatal(err)
	}
	good := out.Bytes()
	for name, trust := range map[string]V3Trust{"signed": V3Signed(v3Key.Public()), "expected": V3Expected(packed.Hash)} {
		unnoticed := 0
		for i := range good {
			b := bytes.Clone(good)
			b[i] ^= 1 << (i * 5 % 8)
			_, _, err := v3Contents(b, trust)
			switch {
			case err == nil:
				unnoticed++
			case fault.KindOf(err) != fault.Invalid && fault.KindOf(err) != fault.Denied:
				t.Errorf("%s: byte %d: %v", name, i, err)
			}
		}
		// By its hash the package is known without the signature, which nobody reads.
		if limit := map[string]int{"signed": 0, "expected": 100}[name]; unnoticed > limit {
			t.Errorf("%s: %d changes went unnoticed", name, unnoticed)
		}
	}
}

// TestV3Cut cuts a package in many places.
func TestV3Cut(t *testing.T) {
	b, packed := v3Pack(t, adb.Deflate)
	lost := errors.New("connection lost")
	for n := 0; n < len(b); n += 3 {
		if _, _, err := v3Contents(b[:n], V3Expected(packed.Hash)); !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Denied) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		p, err := OpenV3(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(lost)), V3Expected(packed.Hash))
		if err == nil {
			err = p.Walk(func(*Entry, io.Reader) error { return nil })
		}
		if !errors.Is(err, lost) {
			t.Errorf("after %d bytes: %v, want the error of reading", n, err)
		}
	}
}

// A hostileV3 makes packages that no writer makes.
type hostileV3 struct {
	*adb.Builder
}

func (h hostileV3) info() adb.Value {
	return h.Object(h.String("x"), h.String("1"), h.String(strings.Repeat("i", 20)), adb.Null, h.String("noarch"))
}

func (h hostileV3) acl() adb.Value { return h.Object(h.Int(0o755), h.String("root"), h.String("root")) }

func (h hostileV3) dir(name string, files ...adb.Value) adb.Value {
	return h.Object(h.String(name), h.acl(), h.Object(files...))
}

// file returns a regular file with the given content.
func (h hostileV3) file(name, content string) adb.Value {
	sum := sha256.Sum256([]byte(content))
	return h.Object(h.String(name), h.acl(), h.Int(uint64(len(content))), h.Int(1), h.Blob(sum[:]))
}

// target returns something with a target.
func (h hostileV3) target(name string, mode uint16, target string) adb.Value {
	sum := sha256.Sum256(nil)
	t := append([]byte{byte(mode), byte(mode >> 8)}, target...)
	return h.Object(h.String(name), h.acl(), h.Int(0), h.Int(1), h.Blob(sum[:]), h.Blob(t))
}

func (h hostileV3) link(name, target string) adb.Value { return h.target(name, 0o120000, target) }

// pack returns a package with that root and these DATA blocks.
func (h hostileV3) pack(t testing.TB, root adb.Value, data ...string) []byte {
	t.Helper()
	return h.packAs(t, v3SchemaPackage, root, data...)
}

// packAs returns a file of the schema with that root and these DATA blocks.
func (h hostileV3) packAs(t testing.TB, schema adb.Schema, root adb.Value, data ...string) []byte {
	t.Helper()
	payload, err := h.Payload(root)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := adb.NewWriter(&b, adb.None, schema, payload, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range data {
		if err := w.Data(nil, int64(len(d)), strings.NewReader(d)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestHostileV3Info(t *testing.T) {
	for _, c := range []struct {
		name string
		root func(h hostileV3) adb.Value
		want string
	}{
		{"good", func(h hostileV3) adb.Value { return h.Object(h.info()) }, ""},
		{"more slots", func(h hostileV3) adb.Value { return h.Object(h.info(), 0, 0, 0, 0, h.Int(7), h.String("new")) }, ""},
		{"no root", func(h hostileV3) adb.Value { return adb.Null }, "package name"},
		{"no info", func(h hostileV3) adb.Value { return h.Object(h.Object(), h.Object(h.dir(""))) }, "package name"},
		{"info is a blob", func(h hostileV3) adb.Value { return h.Object(h.String("x")) }, "no object"},
		{"name is a number", func(h hostileV3) adb.Value { return h.Object(h.Object(h.Int(1), h.String("1"))) }, "no blob"},
		{"name with a path", func(h hostileV3) adb.Value { return h.Object(h.Object(h.String("../../x"), h.String("1"))) }, "package name"},
		{"version with a path", func(h hostileV3) adb.Value { return h.Object(h.Object(h.String("x"), h.String("1/../.."))) }, "version"},
		{"no version", func(h hostileV3) adb.Value { return h.Object(h.Object(h.String("x"))) }, "version"},
		{"long description", func(h hostileV3) adb.Value {
			return h.Object(h.Object(h.String("x"), h.String("1"), 0, h.String(strings.Repeat("d", 70_000))))
		}, "text of more than"},
		{"huge size", func(h hostileV3) adb.Value { return h.Object(h.with(v3InstalledSize, h.Int(1<<63))) }, "too large"},
		{"huge priority", func(h hostileV3) adb.Value { return h.Object(h.with(v3ProviderPriority, h.Int(1<<20))) }, "priority"},
		{"huge layer", func(h hostileV3) adb.Value { return h.Object(h.with(v3Layer, h.Int(1<<20))) }, "priority or layer"},
		{"huge replaces-priority", func(h hostileV3) adb.Value { return h.Object(h.info(), 0, 0, 0, h.Int(1<<20)) }, "priority"},
		{"depends is a text", func(h hostileV3) adb.Value { return h.Object(h.with(v3Depends, h.String("a b"))) }, "no object"},
		{"a dependency is a text", func(h hostileV3) adb.Value { return h.Object(h.with(v3Depends, h.Object(h.String("a")))) }, "no object"},
		{"a dependency without a name", func(h hostileV3) adb.Value {
			return h.Object(h.with(v3Depends, h.Object(h.Object(0, h.String("1")))))
		}, "without a name"},
		{"an unknown match", func(h hostileV3) adb.Value {
			return h.Object(h.with(v3Depends, h.Object(h.Object(h.String("a"), h.String("1"), h.Int(32)))))
		}, "no way to compare"},
		{"a match that never fails", func(h hostileV3) adb.Value {
			return h.Object(h.with(v3Depends, h.Object(h.Object(h.String("a"), h.String("1"), h.Int(7)))))
		}, "no way to compare"},
		{"many words", func(h hostileV3) adb.Value {
			words := make([]adb.Value, maxWords+1)
			for i := range words {
				words[i] = h.Object(h.String("a"))
			}
			return h.Object(h.with(v3Depends, h.Object(words...)))
		}, "more than 50000 words"},
		{"a large script", func(h hostileV3) adb.Value {
			return h.Object(h.info(), 0, h.Object(h.String(strings.Repeat("s", maxScript+1))))
		}, "script of more"},
		{"a trigger is a number", func(h hostileV3) adb.Value { return h.Object(h.info(), 0, 0, h.Object(h.Int(1))) }, "no blob"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := hostileV3{adb.NewBuilder()}
			_, _, err := v3Contents(h.pack(t, c.root(h)), V3Unchecked())
			checkError(t, err, fault.Invalid, c.want)
		})
	}
}

// with returns a good info with one slot set.
func (h hostileV3) with(slot int, v adb.Value) adb.Value {
	var s v3Info
	s[v3Name], s[v3Version], s[slot] = h.String("x"), h.String("1"), v
	return s.value(h.Builder)
}

// A hostilePaths is a case of folders and files that must be refused, or not if
// want is "".
type hostilePaths struct {
	name string
	dirs func(h hostileV3) []adb.Value
	want string
}

func (c hostilePaths) test(t *testing.T) {
	h := hostileV3{adb.NewBuilder()}
	dirs := c.dirs(h)
	_, _, err := v3Contents(h.pack(t, h.Object(h.info(), h.Object(dirs...))), V3Unchecked())
	checkError(t, err, fault.Invalid, c.want)
}

func hostileDirs(dirs ...adb.Value) []adb.Value { return dirs }

func TestHostileV3Paths(t *testing.T) {
	for _, c := range []hostilePaths{
		{"good", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.link("a", "/b")), h.dir("b/c"), h.dir("d"))
		}, ""},
		{"begins with a dot", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link(".a", "b")), h.dir(".b")) }, ""},
		{"dot dot", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("..")) }, "leaves its root"},
		{"dot dot inside", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a/../../b")) }, "leaves its root"},
		{"dot dot at the end", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a/..")) }, "leaves its root"},
		{"dot", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a/./b")) }, "leaves its root"},
		{"absolute", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("/etc")) }, "leaves its root"},
		{"slash at the end", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("etc/")) }, "leaves its root"},
		{"double slash", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a//b")) }, "leaves its root"},
		{"line break", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a\nb")) }, "control"},
		{"zero byte", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a\x00b")) }, "control"},
		{"long", func(h hostileV3) []adb.Value { return hostileDirs(h.dir(strings.Repeat("abcdefg/", 512) + "x")) }, "too long"},
		{"long name", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link(strings.Repeat("a", 256), "b"))) }, "malformed"},
		{"file with a slash", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link("a/b", "c"))) }, "name of a file"},
		{"file dot dot", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a", h.link("..", "c"))) }, "leaves its root"},
		{"file without a name", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a", h.link("", "c"))) }, "name of a file"},
		{"folder twice", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a"), h.dir("a")) }, "twice"},
		{"folders not in order", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("b"), h.dir("a")) }, "order"},
		{"file twice", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link("a", "b"), h.link("a", "c"))) }, "twice"},
		{"files not in order", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link("b", "b"), h.link("a", "c"))) }, "order"},
		{"folder is a link", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.link("a", "/etc")), h.dir("a", h.link("x", "y")))
		}, "symbolic link of the package"},
		{"folder in a link", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link("a", "/etc")), h.dir("a/b/c")) }, "symbolic link of the package"},
		{"folder in a folder's link", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("a", h.link("b", "/etc")), h.dir("a/b/c")) }, "symbolic link of the package"},
		{"folder is a file", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.file("a", "")), h.dir("a")) }, "regular file of the package"},
	} {
		t.Run(c.name, c.test)
	}
}

func TestHostileV3Files(t *testing.T) {
	for _, c := range []hostilePaths{
		{"hard link to nothing", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.target("a", 0o100000, "../etc/shadow"))) }, "no earlier regular file"},
		{"hard link to itself", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.target("a", 0o100000, "a"))) }, "no earlier regular file"},
		{"hard link to a symlink", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.link("a", "/etc/shadow"), h.target("b", 0o100000, "a")))
		}, "no earlier regular file"},
		{"hard link to a later file", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.target("a", 0o100000, "b"), h.file("b", "")))
		}, "no earlier regular file"},
		{"empty symlink", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link("a", ""))) }, "malformed target"},
		{"symlink with a zero byte", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.link("a", "a\x00b"))) }, "malformed target"},
		{"socket", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.target("a", 0o140000, "12345678"))) }, "kind of file"},
		{"folder as a file", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.target("a", 0o040000, ""))) }, "kind of file"},
		{"device without a number", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.target("a", 0o020000, "1234"))) }, "device number"},
		{"short target", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.Object(h.String("a"), h.acl(), 0, 0, 0, h.String("x"))))
		}, "too short"},
		{"no digest", func(h hostileV3) []adb.Value { return hostileDirs(h.dir("", h.Object(h.String("a"), h.acl()))) }, "no SHA-256"},
		{"a short digest", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.Object(h.String("a"), h.acl(), 0, 0, h.String(strings.Repeat("h", 20)))))
		}, "no SHA-256"},
		{"a long digest", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.Object(h.String("a"), h.acl(), 0, 0, h.String(strings.Repeat("h", 64)))))
		}, "no SHA-256"},
		{"huge file", func(h hostileV3) []adb.Value {
			return hostileDirs(h.dir("", h.Object(h.String("a"), h.acl(), h.Int(1<<63), 0, h.String(strings.Repeat("h", 32)))))
		}, "too large"},
		{"no rights", func(h hostileV3) []adb.Value { return hostileDirs(h.Object(h.String("a"))) }, "owner"},
		{"mode", func(h hostileV3) []adb.Value {
			return hostileDirs(h.Object(h.String("a"), h.Object(h.Int(0o100755), h.String("root"), h.String("root"))))
		}, "no permissions"},
		{"owner with a line break", func(h hostileV3) []adb.Value {
			return hostileDirs(h.Object(h.String("a"), h.Object(h.Int(0o755), h.String("ro\not"), h.String("root"))))
		}, "owner"},
		{"attribute without a value", func(h hostileV3) []adb.Value { return hostileDirs(h.xattrs("user.a")) }, "malformed"},
		{"attribute without a name", func(h hostileV3) []adb.Value { return hostileDirs(h.xattrs("\x00a")) }, "malformed"},
		{"attribute twice", func(h hostileV3) []adb.Value { return hostileDirs(h.xattrs("user.a\x001", "user.a\x002")) }, "twice"},
		{"many attributes", func(h hostileV3) []adb.Value {
			var all []string
			for i := range 101 {
				all = append(all, fmt.Sprintf("user.%d\x001", i))
			}
			return hostileDirs(h.xattrs(all...))
		}, "more than 100"},
	} {
		t.Run(c.name, c.test)
	}
}

// xattrs returns a folder with these attributes.
func (h hostileV3) xattrs(all ...string) adb.Value {
	var list []adb.Value
	for _, x := range all {
		list = append(list, h.String(x))
	}
	return h.Object(h.String("a"), h.Object(h.Int(0o755), h.String("root"), h.String("root"), h.Array(list...)))
}

func TestHostileV3Data(t *testing.T) {
	block := func(dir, file byte, content string) string {
		return string([]byte{dir, 0, 0, 0, file, 0, 0, 0}) + content
	}
	for _, c := range []struct {
		name string
		data []string
		want string
		kind fault.Kind
	}{
		{"good", []string{block(1, 1, "one"), block(2, 2, "four")}, "", ""},
		{"none", nil, "missing", fault.Invalid},
		{"one too few", []string{block(1, 1, "one")}, "missing", fault.Invalid},
		{"one too many", []string{block(1, 1, "one"), block(2, 2, "four"), block(2, 2, "four")}, "no file", fault.Invalid},
		{"in another order", []string{block(2, 2, "four"), block(1, 1, "one")}, "bytes for a file of", fault.Invalid},
		{"of another file", []string{block(1, 2, "one"), block(2, 2, "four")}, "another file", fault.Invalid},
		{"of another folder", []string{block(2, 1, "one"), block(2, 2, "four")}, "another file", fault.Invalid},
		{"of the empty file", []string{block(1, 1, "one"), block(2, 1, ""), block(2, 2, "four")}, "bytes for a file of", fault.Invalid},
		{"too long", []string{block(1, 1, "one more")}, "bytes for a file of", fault.Invalid},
		{"too short", []string{block(1, 1, "o")}, "bytes for a file of", fault.Invalid},
		{"no header", []string{"x"}, "bytes for a file of", fault.Invalid},
		{"another content", []string{block(1, 1, "One"), block(2, 2, "four")}, "SHA-256", fault.Denied},
		{"another content at last", []string{block(1, 1, "one"), block(2, 2, "Four")}, "SHA-256", fault.Denied},
	} {
		h := hostileV3{adb.NewBuilder()}
		b := h.pack(t, h.Object(h.info(), h.Object(
			h.dir("", h.file("a", "one")),
			h.dir("d", h.file("empty", ""), h.file("x", "four"), h.link("y", "x")))), c.data...)
		for read, walk := range map[string]func(e *Entry, r io.Reader) error{
			"all":  func(_ *Entry, r io.Reader) error { _, err := io.ReadAll(r); return err },
			"none": func(*Entry, io.Reader) error { return nil },
			"some": func(_ *Entry, r io.Reader) error { _, _ = r.Read(make([]byte, 2)); return nil },
		} {
			p, err := OpenV3(bytes.NewReader(b), V3Unchecked())
			if err != nil {
				t.Fatal(err)
			}
			err = p.Walk(walk)
			if c.want == "" && err != nil || c.want != "" && (!fault.Is(err, c.kind) || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s, reading %s: %v, want %q", c.name, read, err, c.want)
			}
		}
	}
}

// TestV3BlowUp opens a small package that has very many files by sharing them.
func TestV3BlowUp(t *testing.T) {
	h := hostileV3{adb.NewBuilder()}
	var files, dirs []adb.Value
	for i := range 2000 {
		files = append(files, h.link(fmt.Sprintf("%05d", i), "x"))
	}
	shared := h.Object(files...)
	for i := range 2000 {
		dirs = append(dirs, h.Object(h.String(fmt.Sprintf("%05d", i)), h.acl(), shared))
	}
	_, err := OpenV3(bytes.NewReader(h.pack(t, h.Object(h.info(), h.Object(dirs...)))), V3Unchecked())
	checkError(t, err, fault.Invalid, "share")
}
