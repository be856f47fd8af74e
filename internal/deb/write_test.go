package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// spool is a spool in memory.
type spool struct{ bytes.Buffer }

func (*spool) Seek(int64, int) (int64, error) { return 0, nil }

func packDir(path string) PackFile {
	return PackFile{Path: path, Type: tar.TypeDir, Mode: 0o755, User: "root", Group: "root"}
}

func packFile(path string, mode int64, content string) PackFile {
	return PackFile{Path: path, Type: tar.TypeReg, Mode: mode, User: "root", Group: "root", Size: int64(len(content)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func packLink(path, target string, hard bool) PackFile {
	f := PackFile{Path: path, Type: tar.TypeSymlink, Mode: 0o777, User: "root", Group: "root", Target: target}
	if hard {
		f.Type, f.Mode = tar.TypeLink, 0o644
	}
	return f
}

func paragraph(t *testing.T, text string) Paragraph {
	t.Helper()
	p, err := ParseParagraph([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const pebbleControl = `Package: pebble
Source: stones
Version: 1:2.0-3
Architecture: amd64
Maintainer: Ann Other <ann@example.org>
Depends: libc6, sand (>= 1)
Section: misc
Priority: optional
Homepage: https://example.org
Description: small stones
`

// pebble is a package with everything in it.
func pebble(t *testing.T) *WriteSpec {
	long := "usr/share/" + strings.Repeat("long/", 60)
	spec := &WriteSpec{
		Control: paragraph(t, pebbleControl), Conffiles: []string{"etc/pebble.conf"}, ModTime: 1_700_000_000, Spool: new(spool),
		Scripts: []ControlFile{{Name: "postinst", Mode: 0o755, Data: []byte("#!/bin/sh\nexit 0\n")}},
		Files: []PackFile{
			packDir("usr/bin"), packFile("usr/bin/pebble", 0o4755, strings.Repeat("stone", 1000)), packDir("usr"), packDir("etc"),
			packFile("etc/pebble.conf", 0o600, "hard\n"), packLink("usr/bin/pb", "pebble", false), packDir("usr/share"),
			packLink("usr/bin/pebbles", "usr/bin/pebble", true), packFile("usr/share/nothing", 0o644, ""),
		},
	}
	spec.Files[7].Mode = 0o4755
	for i := strings.Index(long, "long/"); i < len(long)-5; i += 5 {
		spec.Files = append(spec.Files, packDir(long[:i+4]))
	}
	spec.Files[1].UID = 1001
	spec.Files[1].User = ""
	spec.Files[7].UID, spec.Files[7].User = 1001, ""
	return spec
}

func writeDeb(t *testing.T, spec *WriteSpec) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, spec); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWrite(t *testing.T) {
	b := writeDeb(t, pebble(t))
	if !bytes.Equal(b, writeDeb(t, pebble(t))) {
		t.Error("the same spec gives other bytes")
	}
	f, err := Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(pebbleControl, "Depends", "Installed-Size: 70\nDepends", 1)
	if diff := cmp.Diff(want, f.Control.String()); diff != "" {
		t.Error(diff)
	}
	var names []string
	for _, c := range f.ControlFiles {
		names = append(names, c.Name)
	}
	if diff := cmp.Diff([]string{"conffiles", "control", "md5sums", "postinst"}, names); diff != "" {
		t.Error(diff)
	}
	sums, _ := f.ControlFile("md5sums")
	const empty = "d41d8cd98f00b204e9800998ecf8427e"
	if lines := strings.Split(string(sums), "\n"); len(lines) != 4 || lines[2] != empty+"  usr/share/nothing" ||
		lines[0][:32] != lines[1][:32] || lines[0][32:] != "  usr/bin/pebble" {
		t.Errorf("md5sums:\n%s", sums)
	}
	conf, _ := f.ControlFile("conffiles")
	if string(conf) != "/etc/pebble.conf\n" {
		t.Errorf("conffiles %q", conf)
	}
	checkWritten(t, f)
}

// checkWritten reads the files of the sample package back.
func checkWritten(t *testing.T, f *File) {
	t.Helper()
	got := map[string]string{}
	err := f.Walk(func(h *tar.Header, r io.Reader) error {
		content, err := io.ReadAll(r)
		got[h.Name] = string(h.Typeflag) + " " + h.Linkname
		if h.ModTime.Unix() != 1_700_000_000 {
			t.Errorf("%s is of %v", h.Name, h.ModTime)
		}
		if h.Name == "usr/bin/pebble" && (h.Mode != 0o4755 || h.Uid != 1001 || h.Uname != "" || h.Gname != "root" || string(content) != strings.Repeat("stone", 1000)) {
			t.Errorf("usr/bin/pebble: %+v, %d bytes", h, len(content))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{".": "5 ", "usr/bin/pb": "2 pebble", "usr/bin/pebbles": "1 usr/bin/pebble", "etc/pebble.conf": "0 "} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if len(got) != len(pebble(t).Files)+1 {
		t.Errorf("%d files", len(got))
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*WriteSpec)
		want   string
	}{
		"no version":      {func(s *WriteSpec) { s.Control.Delete("Version") }, "version"},
		"relations":       {func(s *WriteSpec) { s.Control.Set("Depends", "a (") }, "field Depends"},
		"twice":           {func(s *WriteSpec) { s.Files = append(s.Files, packDir("usr")) }, "it is there twice"},
		"no folder":       {func(s *WriteSpec) { s.Files = append(s.Files, packFile("opt/x", 0o644, "")) }, "the folder it is in is not listed"},
		"in a file":       {func(s *WriteSpec) { s.Files = append(s.Files, packFile("usr/bin/pebble/x", 0o644, "")) }, "the folder it is in"},
		"out of the root": {func(s *WriteSpec) { s.Files = append(s.Files, packFile("usr/../x", 0o644, "")) }, "not the path"},
		"absolute":        {func(s *WriteSpec) { s.Files = append(s.Files, packFile("/x", 0o644, "")) }, "not the path"},
		"the root":        {func(s *WriteSpec) { s.Files = append(s.Files, packDir(".")) }, "not the path"},
		"dangling":        {func(s *WriteSpec) { s.Files = append(s.Files, packLink("usr/x", "usr/nowhere", true)) }, "names no earlier file"},
		"no target":       {func(s *WriteSpec) { s.Files = append(s.Files, packLink("usr/x", "", false)) }, "malformed target"},
		"device":          {func(s *WriteSpec) { s.Files = append(s.Files, PackFile{Path: "usr/null", Type: tar.TypeChar}) }, "a kind of file"},
		"mode":            {func(s *WriteSpec) { s.Files[0].Mode = 0o10755 }, "out of range"},
		"conffile":        {func(s *WriteSpec) { s.Conffiles = []string{"etc/none"} }, "is not a file of the package"},
		"script":          {func(s *WriteSpec) { s.Scripts[0].Name = "../x" }, "no name for a file"},
		"another control": {func(s *WriteSpec) { s.Scripts[0].Name = "control" }, "there twice"},
		"too short":       {func(s *WriteSpec) { s.Files[1].Size++ }, "is not of the"},
		"too long":        {func(s *WriteSpec) { s.Files[1].Size-- }, "is not of the"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := pebble(t)
			c.change(spec)
			if err := Write(io.Discard, spec); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	broken := pebble(t)
	broken.Files[1].Open = func() (io.ReadCloser, error) { return nil, errors.New("gone") }
	if err := Write(io.Discard, broken); err == nil || fault.Is(err, fault.Invalid) {
		t.Errorf("a file that cannot be opened: %v", err)
	}
}

// dpkg reads our package, installs it and finds every file as it should be.
func TestWriteRealDpkg(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("there is no dpkg")
	}
	dir := t.TempDir()
	spec := pebble(t)
	spec.Control.Delete("Depends")
	spec.Control.Set("Architecture", "all")
	spec.Scripts = nil
	file := filepath.Join(dir, "pebble.deb")
	write(t, file, string(writeDeb(t, spec)))
	run := func(argv ...string) string {
		t.Helper()
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %v\n%s", argv, err, out)
		}
		return string(out)
	}
	if out := run("dpkg-deb", "-I", file); !strings.Contains(out, "Installed-Size: 70") {
		t.Error(out)
	}
	if out := run("dpkg-deb", "-c", file); !strings.Contains(out, "-rwsr-xr-x 1001/root") || !strings.Contains(out, "./usr/bin/pb -> pebble") ||
		!strings.Contains(out, "link to ./usr/bin/pebble") {
		t.Error(out)
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can install packages")
	}
	root := filepath.Join(dir, "root")
	for _, d := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(root, "var/lib/dpkg/status"), "")
	run("dpkg", "--root", root, "--log=/dev/null", "-i", file)
	if out := run("dpkg", "--root", root, "--verify", "pebble"); out != "" {
		t.Errorf("dpkg --verify says %s", out)
	}
	write(t, filepath.Join(root, "usr/bin/pebble"), "other")
	if out := run("sh", "-c", "dpkg --root "+root+" --verify pebble; :"); !strings.Contains(out, "/usr/bin/pebble") {
		t.Errorf("dpkg --verify of a changed file says %q", out)
	}
	if status := run("dpkg", "--root", root, "-s", "pebble"); !strings.Contains(status, "/etc/pebble.conf") {
		t.Errorf("no conffile in\n%s", status)
	}
}
