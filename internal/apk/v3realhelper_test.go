package apk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/adb"
)

// The tests named TestReal… hold this package against the real apk 3, which the
// environment variable ASHLAR_APK3 names. They run as root, for devices and
// owners.

// realAPK3 returns the program, or skips the test.
func realAPK3(t testing.TB) string {
	t.Helper()
	apk := os.Getenv("ASHLAR_APK3")
	switch {
	case apk == "":
		t.Skip("ASHLAR_APK3 does not name an apk 3 to compare with")
	case os.Getuid() != 0:
		t.Skip("making devices and giving files away takes root")
	}
	return apk
}

// apk3 runs the real apk in a folder and returns what it says.
func apk3(t testing.TB, dir string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(realAPK3(t), args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustAPK3 is apk3 for a call that is to succeed.
func mustAPK3(t testing.TB, dir string, args ...string) string {
	t.Helper()
	out, err := apk3(t, dir, args...)
	if err != nil {
		t.Fatalf("apk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// save writes a file into a folder.
func save(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// saveKey writes a private key and, into the folder keys, the public one.
func saveKey(t testing.TB, dir, name string, key crypto.Signer) {
	t.Helper()
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	save(t, dir, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	save(t, dir, "keys/"+name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}))
}

// plant makes the files of a package in a folder.
func plant(t *testing.T, dir string, files []File) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		path, e := filepath.Join(dir, f.Path), &f.Entry
		switch e.Kind {
		case Directory:
			ok(os.Mkdir(path, 0o700))
		case RegularFile:
			r, err := f.Open()
			ok(err)
			b, err := io.ReadAll(r)
			ok(err)
			ok(os.WriteFile(path, b, 0o600))
		case Symlink:
			ok(os.Symlink(e.Target, path))
		case HardLink:
			ok(os.Link(filepath.Join(dir, e.Target), path))
			continue
		default:
			ok(unix.Mknod(path, uint32(v3Kinds[e.Kind]), int(deviceNumber(e.Major, e.Minor))))
		}
		if e.User == "nobody" {
			ok(os.Lchown(path, 65534, 65534))
		}
		if e.Kind != Symlink {
			ok(unix.Chmod(path, e.Mode))
		}
		for _, x := range e.Xattrs {
			ok(unix.Setxattr(path, x.Name, []byte(x.Value), 0))
		}
		at := unix.NsecToTimespec(e.ModTime * int64(time.Second))
		ok(unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// listing says all there is to say of these files in a folder, a line each.
func listing(t *testing.T, dir string, entries []Entry) []string {
	t.Helper()
	var lines []string
	inodes := map[uint64]string{}
	for i := range entries {
		e := &entries[i]
		path := filepath.Join(dir, e.Path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			lines = append(lines, e.Path+": "+err.Error())
			continue
		}
		l := fmt.Sprintf("%s: mode %o owner %d:%d device %x", e.Path, st.Mode, st.Uid, st.Gid, st.Rdev)
		if e.Kind != Directory && e.Kind != Symlink {
			l += fmt.Sprintf(" time %d links %d", st.Mtim.Sec, st.Nlink)
			if first, ok := inodes[st.Ino]; ok {
				l += " same as " + first
			} else {
				inodes[st.Ino] = e.Path
			}
			names := make([]byte, 4096)
			n, err := unix.Llistxattr(path, names)
			if err != nil {
				n = 0
			}
			for name := range strings.SplitSeq(strings.Trim(string(names[:n]), "\x00"), "\x00") {
				value := make([]byte, 4096)
				if n, err := unix.Lgetxattr(path, name, value); err == nil {
					l += fmt.Sprintf(" %s=%q", name, value[:n])
				}
			}
		}
		switch e.Kind {
		case Symlink:
			target, err := os.Readlink(path)
			l += fmt.Sprintf(" to %s %v", target, err)
		case RegularFile, HardLink:
			b, err := os.ReadFile(path)
			l += fmt.Sprintf(" content %x %v", sha256.Sum256(b), err)
		}
		lines = append(lines, l)
	}
	slices.Sort(lines)
	return lines
}

// mkpkgArgs returns the call that makes the sample with the real mkpkg.
func mkpkgArgs(info *Info) []string {
	args := []string{"mkpkg", "--files", "tree", "--output", "real.apk", "--sign-key", "ec.pem", "--compression", "none"}
	for _, field := range []struct{ name, value string }{
		{"name", info.Name}, {"version", info.Version}, {"description", info.Description}, {"arch", info.Arch}, {"license", info.License},
		{"origin", info.Origin}, {"maintainer", info.Maintainer}, {"url", info.URL}, {"repo-commit", info.Commit},
		{"build-time", fmt.Sprint(info.BuildTime)}, {"provider-priority", fmt.Sprint(info.ProviderPriority)},
		{"replaces-priority", fmt.Sprint(info.ReplacesPriority)}, {"depends", FormatDependencies(info.Depends)},
		{"provides", FormatDependencies(info.Provides)}, {"replaces", FormatDependencies(info.Replaces)},
		{"install-if", FormatDependencies(info.InstallIf)}, {"recommends", FormatDependencies(info.Recommends)},
		{"layer", fmt.Sprint(info.Layer)}, {"tags", strings.Join(info.Tags, " ")},
	} {
		if field.value != "" && field.value != "0" {
			args = append(args, "--info", field.name+":"+field.value)
		}
	}
	for _, trigger := range info.Triggers {
		args = append(args, "--trigger", trigger)
	}
	return args
}

// compareWithPlanted compares a tree with one that is made of the files.
func compareWithPlanted(t *testing.T, files []File, tree string) {
	t.Helper()
	want := t.TempDir()
	plant(t, want, files)
	entries := make([]Entry, len(files))
	for i := range files {
		entries[i] = files[i].Entry
	}
	if d := cmp.Diff(listing(t, want, entries), listing(t, tree, entries)); d != "" {
		t.Errorf("the tree differs:\n%s", d)
	}
}

// install installs the package demo into an empty root.
func install(t *testing.T, dir, root string, args ...string) (string, error) {
	t.Helper()
	return apk3(t, dir, append([]string{"add", "--root", root, "--initdb", "--arch", "x86_64", "--keys-dir", dir + "/keys",
		"--no-scripts", "--no-cache", "--repositories-file", dir + "/repositories"}, args...)...)
}

// replaceInV3 changes bytes of a file below its compression.
func replaceInV3(t *testing.T, file, old, new string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	schema := v3SchemaPackage
	if strings.HasSuffix(file, ".adb") {
		schema = v3SchemaIndex
	}
	f, err := adb.Open(bytes.NewReader(b), schema, adb.Limits{Payload: 1 << 20, Total: 1 << 24})
	if err != nil {
		t.Fatal(err)
	}
	f.Trust()
	changed := 0
	swap := func(b []byte) []byte {
		changed += bytes.Count(b, []byte(old))
		return bytes.ReplaceAll(b, []byte(old), []byte(new))
	}
	var out bytes.Buffer
	w, err := adb.NewWriter(&out, adb.Deflate, schema, swap(f.Payload), f.Signatures)
	if err != nil {
		t.Fatal(err)
	}
	for {
		d, err := f.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Data(swap(content), 0, bytes.NewReader(nil)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || changed == 0 {
		t.Fatalf("%d changes, %v", changed, err)
	}
	if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// installedFacts returns what apk has kept of the package: all facts, but for
// what differs between the formats.
func installedFacts(t *testing.T, dir, root string) string {
	t.Helper()
	b, err := os.ReadFile(root + "/lib/apk/db/installed")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(b)) {
		switch line[0] {
		case 'C', 'S', 'Z', 'f': // identity, size of the package, digests of files, and flags of the format
		default:
			words := strings.Fields(strings.TrimPrefix(line[1:], ":")) // v3 sorts dependencies
			slices.Sort(words)
			kept = append(kept, line[:1]+":"+strings.Join(words, " ")+"\n")
		}
	}
	triggers, err := os.ReadFile(root + "/lib/apk/db/triggers")
	if err != nil {
		t.Fatal(err)
	}
	_, facts, _ := strings.Cut(string(triggers), " ") // after the identity
	slices.Sort(kept)
	return strings.Join(kept, "") + facts + installedScripts(t, root)
}

// installedScripts returns the scripts that apk has kept.
func installedScripts(t *testing.T, root string) string {
	t.Helper()
	f, err := os.Open(root + "/lib/apk/db/scripts.tar.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, fmt.Sprintf("%s %o: %s", h.Name[strings.LastIndexByte(h.Name, '.'):], h.Mode, b))
	}
	slices.Sort(kept)
	return strings.Join(kept, "\n")
}

// facts returns what adbdump says, without sizes of blocks and signatures.
func facts(dump string) []string {
	var lines []string
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
