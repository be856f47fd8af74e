package world

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
)

// rawV2 packs files into a v2 package without looking at them, and returns what a
// signed index would say of it.
func rawV2(t testing.TB, name string, files []apk.File) ([]byte, Package) {
	t.Helper()
	gz := func(end bool, fill func(w *tar.Writer)) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		w := tar.NewWriter(z)
		fill(w)
		if end {
			_ = w.Close()
		} else {
			_ = w.Flush()
		}
		_ = z.Close()
		return b.Bytes()
	}
	data := gz(true, func(w *tar.Writer) {
		for _, f := range files {
			h := tar.Header{
				Name: f.Path, Linkname: f.Target, Mode: int64(f.Mode), Uname: f.User, Gname: f.Group, Size: f.Size, Format: tar.FormatPAX,
				Typeflag: tarTypes[f.Kind], Devmajor: int64(f.Major), Devminor: int64(f.Minor),
			}
			if f.Kind == apk.HardLink {
				h.Typeflag = tar.TypeLink
			}
			text := strings.Repeat("x", int(f.Size))
			if f.Kind == apk.RegularFile {
				sum := sha1.Sum([]byte(text))
				h.PAXRecords = map[string]string{"APK-TOOLS.checksum.SHA1": hex.EncodeToString(sum[:])}
			}
			if w.WriteHeader(&h) == nil {
				_, _ = io.WriteString(w, text)
			}
		}
	})
	control := gz(false, func(w *tar.Writer) {
		info := fmt.Sprintf("pkgname = %s\npkgver = 1\nsize = 1\narch = x\nreplaces = a b c\ndatahash = %x\n", name, sha256.Sum256(data))
		_ = w.WriteHeader(&tar.Header{Name: ".PKGINFO", Size: int64(len(info)), Format: tar.FormatUSTAR})
		_, _ = io.WriteString(w, info)
	})
	id := sha1.Sum(control)
	return append(control, data...), Package{Info: &apk.Info{Name: name, Version: "1", Arch: "x", InstalledSize: 1}, Hash: id[:], Size: 1}
}

// validV3 packs files into a v3 package, or returns nil if they cannot be.
func validV3(name string, files []apk.File) ([]byte, Package) {
	var b bytes.Buffer
	info := apk.Info{Name: name, Version: "1", Arch: "x"}
	packed, err := apk.WriteV3(&b, &apk.V3Spec{Info: info, Files: files, Compression: adb.None})
	if err != nil {
		return nil, Package{}
	}
	return b.Bytes(), Package{Info: &packed.Info, Hash: packed.Hash[:], Size: packed.Size}
}

// A tempter makes up files that want to go where they must not.
type tempter struct {
	program []byte
	outside string
	tame    bool // names are well formed, so that links matter
}

func (p *tempter) next() int {
	if len(p.program) == 0 {
		return 0
	}
	n := int(p.program[0])
	p.program = p.program[1:]
	return n
}

// part returns a name, most of them harmless.
func (p *tempter) part() string {
	parts := []string{"a", "b", "c", "a", "b", "a", "etc", "lib", "apk", "db", "passwd", "b", "..", ".", "", "a b", "x\ny", strings.Repeat("n", 300)}
	if p.tame {
		parts = parts[:12]
	}
	return parts[p.next()%len(parts)]
}

func (p *tempter) path() string {
	parts := make([]string, 1+p.next()%3)
	for i := range parts {
		parts[i] = p.part()
	}
	return strings.Join(parts, "/")
}

func (p *tempter) target() string {
	targets := []string{"..", "../..", "/", p.outside, p.outside + "/file", "../outside", "../../outside/file", "a", "b", "a/b", "../a", ".", "/etc", "c"}
	return targets[p.next()%len(targets)]
}

// files returns some files; with folders all that they are in is listed.
func (p *tempter) files(folders bool) []apk.File {
	var files []apk.File
	seen := map[string]bool{}
	for range 1 + p.next()%6 {
		f := apk.File{Entry: apk.Entry{Path: p.path(), User: "root", Group: "root", Mode: 0o755, ModTime: 1}}
		for at := range f.Path {
			if dir := f.Path[:at]; folders && f.Path[at] == '/' && !seen[dir] {
				seen[dir] = true
				files = append(files, dirEntry(dir, 0o755))
			}
		}
		if seen[f.Path] && folders {
			continue
		}
		seen[f.Path] = true
		switch f.Kind = apk.Kind(p.next() % 7); f.Kind {
		case apk.RegularFile:
			f.Size = int64(p.next() % 50)
			text := strings.Repeat("x", int(f.Size))
			f.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
		case apk.Symlink:
			f.Target = p.target()
		case apk.HardLink:
			if f.Target = p.target(); len(files) > 0 && p.next()%3 > 0 {
				f.Target = files[p.next()%len(files)].Path
			}
		case apk.CharDevice, apk.BlockDevice:
			f.Major, f.Minor = 1, 3
		}
		files = append(files, f)
	}
	return files
}

// A package can do nothing outside of the root, whatever it holds, and both sinks
// take or refuse the same.
func FuzzInstall(f *testing.F) {
	f.Add([]byte{0, 1, 0, 0, 2, 0, 2, 0, 0, 0, 0, 0})             // a → .., then a/b
	f.Add([]byte{1, 2, 0, 0, 2, 3, 1, 1, 0, 1, 0, 9, 1, 1, 0, 1}) // a link to the outside
	f.Add([]byte{0, 3, 1, 5, 9, 0, 20, 1, 12, 0, 0, 9, 2, 13, 12, 0})
	f.Add([]byte("\x02\x05aaabbbccc/../../etc/passwd"))
	f.Add([]byte{3, 1, 0, 0, 2, 2, 1, 1, 0, 5, 0, 30, 0, 0, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11})
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		program := make([]byte, 60)
		for i := range program {
			program[i] = byte(r.IntN(256))
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		top := t.TempDir()
		save(t, top+"/outside/file", []byte("canary"))
		p := &tempter{program: program, outside: top + "/outside"}
		flags := p.next()
		p.tame = flags&5 != 0
		contents := map[string][]byte{}
		var solution Solution
		for _, name := range []string{"a", "b", "c"} {
			var b []byte
			var pkg Package
			if flags&1 == 0 {
				b, pkg = rawV2(t, name, p.files(flags&2 == 0))
			} else if b, pkg = validV3(name, p.files(true)); b == nil {
				continue
			}
			pkg.File = name
			contents[name] = b
			solution.Install = append(solution.Install, Choice{Package: &pkg})
		}
		solution.Arch = "x"
		in := Installation{Solution: &solution, Time: 1, Workers: 2, Open: func(_ context.Context, c Choice) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(contents[c.File])), nil
		}, Config: map[string][]byte{"repositories": []byte("x\n")}}
		var b bytes.Buffer
		_, err := Install(t.Context(), in, NewTar(&b, nil))
		if err == nil {
			checkTar(t, b.Bytes())
		}
		if os.Geteuid() != 0 {
			return
		}
		installInto(t, in, top, err)
	})
}

// installInto installs into a folder in top, and wants nothing else there to
// change, and the error that came of the tar.
func installInto(t *testing.T, in Installation, top string, tarErr error) {
	t.Helper()
	if err := os.Mkdir(top+"/root", 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(top + "/root")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	to, err := NewDir(root)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Install(t.Context(), in, to)
	if (err == nil) != (tarErr == nil) {
		t.Errorf("in a folder: %v, in a tar: %v", err, tarErr)
	}
	var outside []string
	if err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "root" && filepath.Dir(path) == top {
			return fs.SkipDir
		}
		info, err := d.Info()
		outside = append(outside, fmt.Sprintf("%s %v", strings.TrimPrefix(path, top), info.Mode()))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if want := " drwxr-xr-x,/outside drwxr-xr-x,/outside/file -rw-r--r--"; strings.Join(outside, ",") != want {
		t.Errorf("outside is now %q", outside)
	}
	if b, err := os.ReadFile(top + "/outside/file"); err != nil || string(b) != "canary" {
		t.Errorf("the file outside is now %q, %v", b, err)
	}
	if entries, err2 := os.ReadDir(top + "/root"); err != nil && (err2 != nil || len(entries) > 0) {
		t.Errorf("it left %v, %v", entries, err2)
	}
}
