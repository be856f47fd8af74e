package world

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sh returns a package with a shell that runs in a root: that of this machine,
// with its libraries.
func sh() *pkg {
	p := mk("sh").dirs("bin", "lib64")
	program, err := os.ReadFile("/bin/dash")
	if err != nil {
		return p
	}
	p.add(regular("bin/sh", 0o755, string(program)))
	out, err := exec.Command("ldd", "/bin/dash").Output()
	if err != nil {
		return p // it needs none
	}
	for _, m := range regexp.MustCompile(`(/\S+) \(0x`).FindAllSubmatch(out, -1) {
		library := strings.TrimPrefix(string(m[1]), "/")
		if b, err := os.ReadFile("/" + library); err == nil {
			p.dirs(filepath.Dir(library)).add(regular(library, 0o755, string(b)))
		}
	}
	return p
}

// chroot runs scripts in a folder.
type chroot struct{ dir string }

func (c chroot) Run(ctx context.Context, s Script) error {
	file := filepath.Join(c.dir, s.Arg0())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file, s.Body, 0o755); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", append([]string{"/" + s.Arg0()}, s.Args...)...)
	cmd.SysProcAttr, cmd.Dir, cmd.Env = &syscall.SysProcAttr{Chroot: c.dir}, "/", s.Env()
	cmd.Path = "/bin/sh"
	old := syscall.Umask(0o022)
	out, err := cmd.CombinedOutput()
	syscall.Umask(old)
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return errors.Join(os.Remove(file), os.Remove(filepath.Dir(file)))
}

// realInstall lets an apk install into a new folder.
func (s *site) realInstall(t *testing.T, program string, m *sample) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range s.configOf(t, m) {
		save(t, filepath.Join(dir, "etc/apk", name), b)
	}
	args := []string{"--root", dir, "--arch", "x86_64", "--no-cache"}
	if !m.scripts {
		args = append(args, "--no-scripts")
	}
	args = append(append(args, "add", "--initdb"), strings.Fields(m.world)...)
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// configOf returns the files of etc/apk of a sample.
func (s *site) configOf(t testing.TB, m *sample) map[string][]byte {
	t.Helper()
	config := s.config(t)
	for name, text := range m.config {
		config[name] = []byte(text)
	}
	return config
}

// What is installed equals what apk installs, in worlds that each show one thing and
// in ten that show all together, but for what is listed in
// docs/conformance-apk.md.
func TestRealInstall(t *testing.T) {
	for _, c := range []struct {
		variable string
		v3       bool
	}{{"ASHLAR_APK2", false}, {"ASHLAR_APK3", false}, {"ASHLAR_APK3", true}} {
		old := c.variable == "ASHLAR_APK2"
		for _, m := range append(samples(), tenWorlds(old)...) {
			if c.v3 && m.notV3 || old && m.not2 || !old && m.not3 {
				continue
			}
			t.Run(fmt.Sprintf("%s v3=%t %s", c.variable, c.v3, m.name), func(t *testing.T) {
				program := realAPK(t, c.variable)
				if os.Geteuid() != 0 {
					t.Skip("only root can install packages")
				}
				s := publish(t, c.v3, m.packages)
				compareInstalled(t, s, program, &m, old)
			})
		}
	}
}

// compareInstalled installs with apk and into both sinks, and compares.
func compareInstalled(t *testing.T, s *site, program string, m *sample, old bool) {
	theirs := s.realInstall(t, program, m)
	in := Installation{Config: s.configOf(t, m)}
	ours := t.TempDir()
	if m.scripts {
		in.Scripts = chroot{ours}
	}
	report, err := s.installTo(t, ours, m.world, in)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files in %d folders, %d bytes", report.Files, report.Folders, report.Bytes)
	if d := gocmp.Diff(listing(t, theirs, old), listing(t, ours, old)); d != "" {
		t.Errorf("the tree differs (-apk +ours):\n%s", d)
	}
	if d := gocmp.Diff(databaseOf(t, theirs, old), databaseOf(t, ours, old)); d != "" {
		t.Errorf("the database differs (-apk +ours):\n%s", d)
	}
	if !m.scripts {
		s.compareTar(t, m.world, ours, in)
	}
	// apk takes our root for its own.
	if out, err := exec.Command(program, "--root", ours, "--no-network", "--no-cache", "add", "--simulate").CombinedOutput(); err != nil || bytes.Contains(out, []byte("Installing")) {
		t.Errorf("apk on our root: %v\n%s", err, out)
	}
}

// compareTar installs into a tar and compares it with a folder.
func (s *site) compareTar(t *testing.T, world, ours string, in Installation) {
	t.Helper()
	unpacked := t.TempDir()
	b, _, err := s.tarOf(t, world, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tar", "-x", "--xattrs", "--xattrs-include=*", "--numeric-owner", "-p", "-C", unpacked)
	cmd.Stdin = bytes.NewReader(b)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if d := gocmp.Diff(listing(t, ours, false), listing(t, unpacked, false)); d != "" {
		t.Errorf("the tar differs from the folder:\n%s", d)
	}
	if d := gocmp.Diff(databaseOf(t, ours, false), databaseOf(t, unpacked, false)); d != "" {
		t.Errorf("the database in the tar differs:\n%s", d)
	}
}

// extra is what apk makes besides, for its own use.
var extra = regexp.MustCompile(`^((usr/)?lib/apk/(db/(lock|scripts\.tar(\.gz)?|installed|triggers)|exec)|var|var/log|var/log/apk\.log)$`)

// extra2 is what apk 2.14 makes in an empty root.
var extra2 = regexp.MustCompile(`^(dev(/.*)?|proc|tmp|etc|var(/cache(/.*)?)?)$`)

// listing says all there is to say of the files in a folder, a line each.
func listing(t *testing.T, dir string, old bool) []string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." || extra.MatchString(name) || old && extra2.MatchString(name) {
			return err
		}
		line, err := describe(path, name, inodes)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// describe says all there is to say of a file.
func describe(path, name string, inodes map[uint64]string) (string, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return "", err
	}
	line := fmt.Sprintf("%s: mode %o owner %d:%d device %x", name, st.Mode, st.Uid, st.Gid, st.Rdev)
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFDIR && kind != unix.S_IFLNK && st.Mtim.Sec <= buildTime { // others were made by scripts
		line += fmt.Sprint(" time ", st.Mtim.Sec)
	}
	if kind != unix.S_IFDIR && st.Nlink > 1 {
		first := inodes[st.Ino]
		inodes[st.Ino] = cmp.Or(first, name)
		line += fmt.Sprintf(" links %d first %s", st.Nlink, inodes[st.Ino])
	}
	names := make([]byte, 4096)
	if n, err := unix.Llistxattr(path, names); err == nil {
		xattrs := strings.Split(strings.Trim(string(names[:n]), "\x00"), "\x00")
		slices.Sort(xattrs)
		for _, x := range xattrs {
			value := make([]byte, 4096)
			if n, err := unix.Lgetxattr(path, x, value); err == nil {
				line += fmt.Sprintf(" %s=%q", x, value[:n])
			}
		}
	}
	switch kind {
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		return line + " to " + target, err
	case unix.S_IFREG:
		b, err := os.ReadFile(path)
		if len(b) < 300 {
			return line + fmt.Sprintf(" %q", b), err
		}
		return line + fmt.Sprintf(" content %x", sha1.Sum(b)), err
	}
	return line, nil
}

// databaseOf returns the database of a root: of apk 3 as it is, but for the archive
// of scripts, of which only the content counts; of apk 2.14, which is not sorted,
// by package.
func databaseOf(t *testing.T, dir string, old bool) map[string][]string {
	t.Helper()
	db := map[string][]string{"scripts": scriptsOf(t, dir)}
	for _, name := range []string{"lib/apk/db/installed", "lib/apk/db/triggers", "etc/apk/world", "etc/apk/arch"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		separator := "\n"
		if name == "lib/apk/db/installed" {
			separator = "\n\n"
		}
		db[name] = strings.Split(string(b), separator)
		for i, entry := range db[name] {
			if separator == "\n\n" && !strings.Contains(entry, "\nF:") {
				// apk forgets these lines of a package without folders.
				db[name][i] = regexp.MustCompile("\n[rqsf]:.*").ReplaceAllString(entry, "")
			}
		}
		if old {
			slices.Sort(db[name])
		}
	}
	return db
}

// scriptsOf returns the scripts that are kept for later.
func scriptsOf(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "lib/apk/db/scripts.tar"))
	if errors.Is(err, fs.ErrNotExist) {
		var f *os.File
		if f, err = os.Open(filepath.Join(dir, "lib/apk/db/scripts.tar.gz")); err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err2 := gzip.NewReader(f)
		if err2 != nil {
			t.Fatal(err2)
		}
		b, err = io.ReadAll(z)
	}
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		// 2.14 has identities in base64 here; it reads both.
		kept = append(kept, fmt.Sprintf("%s %o %d %s:%s %s", regexp.MustCompile(`\.[QX]1.*\.`).ReplaceAllString(h.Name, ".ID."), h.Mode, h.ModTime.Unix(), h.Uname, h.Gname, body))
	}
	slices.Sort(kept)
	return kept
}
