package deb

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

// listing walks a package and returns "type mode name link content" per entry.
func listing(deb []byte) ([]string, error) {
	f, err := Open(bytes.NewReader(deb), int64(len(deb)))
	if err != nil {
		return nil, err
	}
	var list []string
	err = f.Walk(func(h *tar.Header, r io.Reader) error {
		content, err := io.ReadAll(r)
		list = append(list, strings.TrimSpace(strings.Join([]string{string(h.Typeflag), h.FileInfo().Mode().String(), h.Name, h.Linkname, string(content)}, " ")))
		return err
	})
	return list, err
}

func TestOpenRealPackages(t *testing.T) {
	var first []string
	for _, z := range []string{"none", "gzip", "xz", "zstd"} {
		t.Run(z, func(t *testing.T) {
			b := makeDeb(t, z)
			f, err := Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			p, err := f.Package()
			if err != nil {
				t.Fatal(err)
			}
			if p.Name != "hello" || p.Version != "1:2.0-1" || p.Arch != "amd64" || FormatDependencies(p.Depends) != "libc6 (>= 2.36), a | b" {
				t.Errorf("package %+v", p)
			}
			if got := f.Control.Get("description"); got != "greet\n Longer text.\n .\n More." {
				t.Errorf("description %q", got)
			}
			if c, ok := f.ControlFile("conffiles"); !ok || string(c) != "/etc/hello.conf\n" {
				t.Errorf("conffiles %q, %t", c, ok)
			}
			for _, c := range f.ControlFiles {
				if c.Name == "postinst" && c.Mode != 0o755 {
					t.Errorf("postinst has mode %o", c.Mode)
				}
			}
			control, err := ReadControl(bytes.NewReader(b), int64(len(b)))
			if err != nil || string(control) != f.Control.String() {
				t.Errorf("ReadControl = %q, %v; want what Open found", control, err)
			}
			list, err := listing(b)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = list
			}
			if d := cmp.Diff(first, list); d != "" {
				t.Errorf("the listing depends on the compression:\n%s", d)
			}
		})
	}
	all := strings.Join(first, "\n")
	for _, want := range []string{"0 urwxr-xr-x bin/hello  hello", "2 Lrwxrwxrwx bin/hi hello", "1 urwxr-xr-x bin/moin bin/hello", "5 drwxr-xr-x .", "long/name  deep"} {
		if !strings.Contains(all, want) {
			t.Errorf("no entry %q in:\n%s", want, all)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	format := arMember{"debian-binary", "2.0\n"}
	control := arMember{"control.tar", makeTar(t, tarEntry{name: "./control", data: helloControl})}
	data := arMember{"data.tar", makeTar(t)}
	good := makeAr(format, control, data)
	for _, c := range []struct {
		name string
		deb  []byte
		want string // in the error, "" if it is to be accepted
	}{
		{"good", good, ""},
		{"signature member", makeAr(format, control, data, arMember{"_gpgorigin", "x"}), ""},
		{"empty", nil, "cut short"},
		{"no ar", bytes.Repeat([]byte("x"), 100), "no ar archive"},
		{"cut in a header", good[:len(good)-1100], "cut short"},
		{"rubbish after", append(bytes.Clone(good), "rubbish"...), "after the last member"},
		{"no data", makeAr(format, control), "no control.tar and data.tar"},
		{"no format", makeAr(control, data), "debian-binary"},
		{"format 3", makeAr(arMember{"debian-binary", "3.0\n"}, control, data), "format"},
		{"data first", makeAr(format, data, control), "not expected"},
		{"control twice", makeAr(format, control, control, data), "not expected"},
		{"data twice", makeAr(format, control, data, data), "not expected"},
		{"unknown member", makeAr(format, control, data, arMember{"evil", "x"}), "not expected"},
		{"unknown compression", makeAr(format, arMember{"control.tar.rar", "x"}, data), "not expected"},
		{"many members", makeAr(append([]arMember{format}, make17()...)...), "more than"},
		{"size too large", bytes.Replace(good, []byte("4         `"), []byte("999999999 `"), 1), "cut short"},
		{"negative size", bytes.Replace(good, []byte("4         `"), []byte("-4        `"), 1), "no valid size"},
		{"control not a tar", makeAr(format, arMember{"control.tar", strings.Repeat("x", 1024)}, data), "malformed"},
		{"control.tar.xz not xz", makeAr(format, arMember{"control.tar.xz", "xxxxxxxxxxxxxxxxxx"}, data), "malformed"},
		{"no control file", makeAr(format, arMember{"control.tar", makeTar(t, tarEntry{name: "./conffiles"})}, data), "no control file"},
		{"control twice inside", makeAr(format, arMember{"control.tar", makeTar(t, tarEntry{name: "./control", data: helloControl}, tarEntry{name: "control", data: helloControl})}, data), "twice"},
		{"path in the control archive", makeAr(format, arMember{"control.tar", makeTar(t, tarEntry{name: "./a/control", data: helloControl})}, data), "not a plain file"},
		{"link in the control archive", makeAr(format, arMember{"control.tar", makeTar(t, tarEntry{name: "./control", kind: tar.TypeSymlink, link: "/etc/passwd"})}, data), "not a plain file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := listing(c.deb)
			checkError(t, err, c.want)
		})
	}
}

func make17() []arMember {
	members := make([]arMember, 17)
	for i := range members {
		members[i] = arMember{"_x", ""}
	}
	return members
}

func TestHostileEntries(t *testing.T) {
	for _, c := range []struct {
		name    string
		entries []tarEntry
		want    string
	}{
		{"good", []tarEntry{{name: "./", kind: tar.TypeDir}, {name: "./a", data: "x"}, {name: "./b", kind: tar.TypeLink, link: "./a"}}, ""},
		{"backslash", []tarEntry{{name: `./a\x2db`}}, ""},
		{"directory twice", []tarEntry{{name: "./a/", kind: tar.TypeDir}, {name: "./a/", kind: tar.TypeDir}}, ""},
		{"dot dot", []tarEntry{{name: "./../etc/passwd"}}, "leaves its root"},
		{"dot dot inside", []tarEntry{{name: "a/../../x"}}, "leaves its root"},
		{"absolute", []tarEntry{{name: "/etc/passwd"}}, "leaves its root"},
		{"double slash", []tarEntry{{name: "a//b"}}, "leaves its root"},
		{"newline", []tarEntry{{name: "a\nb"}}, "malformed"},
		{"twice", []tarEntry{{name: "./a"}, {name: "a"}}, "twice"},
		{"file and directory", []tarEntry{{name: "./a"}, {name: "a/", kind: tar.TypeDir}}, "twice"},
		{"device", []tarEntry{{name: "./dev/sda", kind: tar.TypeBlock}}, "kind of file"},
		{"fifo", []tarEntry{{name: "./p", kind: tar.TypeFifo}}, "kind of file"},
		{"hard link out", []tarEntry{{name: "./a", kind: tar.TypeLink, link: "../../etc/shadow"}}, "no earlier file"},
		{"hard link to nothing", []tarEntry{{name: "./a", kind: tar.TypeLink, link: "./b"}}, "no earlier file"},
		{"hard link to a symlink", []tarEntry{{name: "s", kind: tar.TypeSymlink, link: "/etc/shadow"}, {name: "./a", kind: tar.TypeLink, link: "./s"}}, "no earlier file"},
		{"empty symlink", []tarEntry{{name: "./a", kind: tar.TypeSymlink}}, "malformed target"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := listing(packed(t, c.entries...))
			checkError(t, err, c.want)
		})
	}
}

func TestTruncatedData(t *testing.T) {
	for _, z := range []string{"gzip", "xz", "zstd"} { // a plain one is guarded by the size in the ar header
		b := makeDeb(t, z)
		f, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		f.data.size -= min(600, f.data.size/2)
		err = f.Walk(func(_ *tar.Header, r io.Reader) error { _, err := io.Copy(io.Discard, r); return err })
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want an invalid error", z, err)
		}
	}
}

func TestExtractFile(t *testing.T) {
	archive := makeTar(t, tarEntry{name: "debian/", kind: tar.TypeDir}, tarEntry{name: "./debian/patches/a.patch", data: "--- a\n"},
		tarEntry{name: "debian/twice", data: "1"}, tarEntry{name: "debian/twice", data: "2"},
		tarEntry{name: "debian/link", kind: tar.TypeSymlink, link: "/etc/passwd"}, tarEntry{name: "debian/empty"})
	get := func(want string, max int64) (string, error) {
		b, err := ExtractFile("x.debian.tar", strings.NewReader(archive), want, max)
		return string(b), err
	}
	if got, err := get("debian/patches/a.patch", 6); err != nil || got != "--- a\n" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := get("debian/empty", 6); err != nil || got != "" {
		t.Errorf("empty file: %q, %v", got, err)
	}
	if _, err := get("debian/none", 6); !fault.Is(err, fault.NotFound) {
		t.Errorf("a file that is not there: %v", err)
	}
	for want, why := range map[string]string{"debian/twice": "twice", "debian/link": "not a regular file", "../x": "not a path", "debian/patches/a.patch": "at most 5"} {
		_, err := get(want, 5)
		checkError(t, err, why)
	}
	_, err := ExtractFile("x.tar", strings.NewReader(archive[:700]), "debian/none", 5)
	checkError(t, err, "cut short")
}

func FuzzOpen(f *testing.F) {
	for _, z := range []string{"none", "gzip", "xz", "zstd"} {
		f.Add(makeDeb(f, z))
	}
	f.Add(packed(f, tarEntry{name: "./a", kind: tar.TypeSymlink, link: ".."}))
	f.Fuzz(func(t *testing.T, b []byte) {
		deb, err := Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("Open: %v is not an invalid error", err)
			}
			return
		}
		_, _ = deb.Package()
		err = deb.Walk(func(h *tar.Header, r io.Reader) error {
			if p := h.Name; strings.HasPrefix(p, "/") || strings.HasPrefix(p, "../") || strings.Contains(p, "/../") {
				t.Errorf("path %q", p)
			}
			_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
			return err
		})
		if err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("Walk: %v is not an invalid error", err)
		}
		if _, err := ReadControl(bytes.NewReader(b), int64(len(b))); err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("ReadControl: %v is not an invalid error", err)
		}
	})
}

func FuzzExtractFile(f *testing.F) {
	archive := makeTar(f, tarEntry{name: "a/b", data: "x"})
	f.Add("x.tar", []byte(archive), "a/b")
	f.Add("x.tar", []byte(archive[:600]), "a/c")
	f.Fuzz(func(t *testing.T, name string, b []byte, want string) {
		got, err := ExtractFile(name, bytes.NewReader(b), want, 1000)
		if len(got) > 1000 || err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.NotFound) {
			t.Errorf("%d bytes, error %v", len(got), err)
		}
	})
}

func BenchmarkReadControl(b *testing.B) {
	deb := makeDeb(b, "xz")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadControl(bytes.NewReader(deb), int64(len(deb))); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePackageText(b *testing.B) {
	stanza := []byte(helloControl + "Filename: pool/main/h/hello/hello_1_all.deb\nSize: 10\nSHA256: " + sumA +
		"\nDepends: libc6 (>= 2.36), libfoo1 (>= 1:1.0~rc1) | libfoo2, libbar:any\nSection: x\nPriority: optional\n")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePackageText(stanza); err != nil {
			b.Fatal(err)
		}
	}
}
