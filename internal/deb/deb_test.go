package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// makeDeb builds a package with the real dpkg-deb and returns its bytes.
func makeDeb(t testing.TB, compression string) []byte {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"root/DEBIAN/control":   "Package: hello\nVersion: 1:2.0-1\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDepends: libc6 (>= 2.36), a | b\nDescription: greet\n Longer text.\n .\n More.\n",
		"root/DEBIAN/conffiles": "/etc/hello.conf\n",
		"root/DEBIAN/postinst":  "#!/bin/sh\nexit 0\n",
		"root/etc/hello.conf":   "x=1\n",
		"root/bin/hello":        "hello\n",
		"root/usr/share/doc/hello/" + strings.Repeat("long", 40) + "/name": "deep\n",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	for _, err := range []error{
		os.Chmod(filepath.Join(dir, "root/DEBIAN/postinst"), 0o755),
		os.Chmod(filepath.Join(dir, "root/bin/hello"), os.ModeSetuid|0o755),
		os.Symlink("hello", filepath.Join(dir, "root/bin/hi")),
		os.Link(filepath.Join(dir, "root/bin/hello"), filepath.Join(dir, "root/bin/moin")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "x.deb")
	out, err := exec.Command("dpkg-deb", "--root-owner-group", "-Z"+compression, "-b", filepath.Join(dir, "root"), file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// An arMember and a tarEntry are pieces of a hostile package.
type arMember struct{ name, data string }
type tarEntry struct {
	name, link, data string
	kind             byte
}

// makeAr writes an ar archive member by member.
func makeAr(members ...arMember) []byte {
	b := bytes.NewBufferString(arMagic)
	for _, m := range members {
		fmt.Fprintf(b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, 0, 0, 0, "100644", len(m.data), m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// makeTar writes a tar archive entry by entry.
func makeTar(t testing.TB, entries ...tarEntry) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		h := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Size: int64(len(e.data)), Mode: 0o644}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

const helloControl = "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n"

// packed makes a .deb with the given data entries.
func packed(t testing.TB, entries ...tarEntry) []byte {
	return makeAr(arMember{"debian-binary", "2.0\n"},
		arMember{"control.tar", makeTar(t, tarEntry{name: "./control", data: helloControl})},
		arMember{"data.tar", makeTar(t, entries...)})
}

// checkError wants no error, or an invalid one that says so; "3: x" wants it on
// line 3.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	if err != nil {
		err = InFile(err, "file")
	}
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && !fault.Is(err, fault.Invalid):
		t.Errorf("error %v, want an invalid one", err)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %v, want one with %q", err, want)
	}
}
