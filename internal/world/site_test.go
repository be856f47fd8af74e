package world

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
)

const buildTime = 1_700_000_000

// A pkg describes a package to be made, of either generation.
type pkg struct {
	apk.Info
	apk.Scripts
	files []apk.File
	tag   string // of the repository that it is in
	small int64  // the size that the index gives, if not the true one
}

// make returns a package without files, with some words: "depends a b",
// "provides x=1".
func mk(name string, words ...string) *pkg {
	name, version, ok := strings.Cut(name, "=")
	if !ok {
		version = "1.0-r0"
	}
	p := &pkg{Info: apk.Info{
		Name: name, Version: version, Description: "the package " + name, Arch: "x86_64", License: "MIT", Origin: name,
		Maintainer: "A. Mason <mason@example.org>", URL: "https://example.org/" + name, BuildTime: buildTime,
		Commit: "0123456789abcdef0123456789abcdef01234567",
	}}
	for _, w := range words {
		key, value, _ := strings.Cut(w, " ")
		deps := func() []apk.Dependency {
			d, err := apk.ParseDependencies(value)
			if err != nil {
				panic(err)
			}
			return d
		}
		switch key {
		case "depends":
			p.Depends = deps()
		case "provides":
			p.Provides = deps()
		case "replaces":
			p.Replaces = deps()
		case "install_if":
			p.InstallIf = deps()
		case "origin":
			p.Origin = value
		case "triggers":
			p.Triggers = strings.Fields(value)
			p.Trigger = logging("trigger", name)
		default:
			panic(key)
		}
	}
	return p
}

// logging returns a script that writes down how it was called.
func logging(kind, name string) []byte {
	return []byte("#!/bin/sh\necho " + name + " " + kind + " \"$@\" >>/log\numask >>/log\npwd >>/log\n")
}

// add adds files.
func (p *pkg) add(files ...apk.File) *pkg {
	p.files = append(p.files, files...)
	return p
}

// dirs adds folders, and those above them.
func (p *pkg) dirs(paths ...string) *pkg {
	for _, dir := range paths {
		for ; dir != "" && dir != "."; dir = path.Dir(dir) {
			if !slices.ContainsFunc(p.files, func(f apk.File) bool { return f.Path == dir }) {
				p.files = append(p.files, dirEntry(dir, 0o755))
			}
		}
	}
	return p
}

// file adds a regular file and the folders it is in.
func (p *pkg) file(name, content string) *pkg {
	return p.dirs(path.Dir(name)).add(regular(name, 0o644, content))
}

func dirEntry(name string, mode uint32) apk.File {
	return apk.File{Entry: apk.Entry{Path: name, Kind: apk.Directory, Mode: mode, User: "root", Group: "root", ModTime: buildTime}}
}

func regular(name string, mode uint32, content string) apk.File {
	return apk.File{
		Entry: apk.Entry{Path: name, Mode: mode, User: "root", Group: "root", Size: int64(len(content)), ModTime: buildTime - 7},
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}
}

func special(kind apk.Kind, name, target string) apk.File {
	f := dirEntry(name, 0o777)
	f.Kind, f.Target = kind, target
	if kind == apk.HardLink {
		f.Mode, f.ModTime = 0o644, buildTime-7
	}
	return f
}

// owned gives a file to somebody.
func ownedBy(f apk.File, user, group string) apk.File {
	f.User, f.Group = user, group
	return f
}

var testKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

const testKeyName = "test.rsa.pub"

// publicPEM returns the public key as apk wants it.
func publicPEM(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&testKey().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// A site is repositories in a folder, one for each tag.
type site struct {
	dir          string
	v3           bool
	repositories []Repository // in the order of their tags
}

// publish makes packages of a generation, and their signed indexes.
func publish(t testing.TB, v3 bool, packages []*pkg) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), v3: v3}
	tags := []string{""}
	for _, p := range packages {
		if !slices.Contains(tags, p.tag) {
			tags = append(tags, p.tag)
		}
	}
	for n, tag := range tags {
		var mine []*pkg
		for _, p := range packages {
			if p.tag == tag {
				mine = append(mine, p)
			}
		}
		r := Repository{Tag: tag}
		if v3 {
			r.Packages = s.publishV3(t, n, mine)
		} else {
			r.Packages = s.publishV2(t, n, mine)
		}
		s.repositories = append(s.repositories, r)
	}
	return s
}

// folder returns the folder of the index of a repository.
func (s *site) folder(n int) string {
	return filepath.Join(s.dir, "repo"+string(rune('0'+n)), "x86_64")
}

func (s *site) publishV2(t testing.TB, n int, packages []*pkg) []Package {
	t.Helper()
	x := apk.Index{Description: "test"}
	for _, p := range packages {
		var b bytes.Buffer
		packed, err := apk.WriteV2(&b, &apk.V2Spec{Info: p.Info, Scripts: p.Scripts, Files: p.files})
		if err != nil {
			t.Fatal(err)
		}
		e := packed.IndexEntry()
		if p.small != 0 {
			e.InstalledSize = p.small
		}
		x.Entries = append(x.Entries, e)
		save(t, filepath.Join(s.folder(n), e.FileName()), b.Bytes())
	}
	x.SetArch("x86_64")
	x.Sort()
	b, err := x.EncodeV2(buildTime, 0, apk.Signer{KeyName: testKeyName, Key: testKey()})
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(s.folder(n), "APKINDEX.tar.gz"), b)
	return FromIndex(&x)
}

func (s *site) publishV3(t testing.TB, n int, packages []*pkg) []Package {
	t.Helper()
	x := apk.V3Index{Description: "test"}
	for _, p := range packages {
		var b bytes.Buffer
		packed, err := apk.WriteV3(&b, &apk.V3Spec{Info: p.Info, Scripts: p.Scripts, Files: p.files, Compression: adb.Deflate})
		if err != nil {
			t.Fatal(err)
		}
		e := packed.IndexEntry()
		if p.small != 0 {
			e.InstalledSize = p.small
		}
		x.Entries = append(x.Entries, e)
		save(t, filepath.Join(s.folder(n), p.Name+"-"+p.Version+".apk"), b.Bytes())
	}
	var b bytes.Buffer
	if err := apk.WriteV3Index(&b, &x, adb.Deflate, testKey()); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(s.folder(n), "Packages.adb"), b.Bytes())
	// What a client reads is sorted: lists of words, too.
	read, err := apk.ReadV3Index(&b, apk.V3Signed(testKey().Public()))
	if err != nil {
		t.Fatal(err)
	}
	all, err := FromV3Index(read)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func save(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// open opens the file of a package.
func (s *site) open(_ context.Context, c Choice) (io.ReadCloser, error) {
	return os.Open(filepath.Join(s.folder(c.Repository), c.File))
}

// config returns the files of etc/apk.
func (s *site) config(t testing.TB) map[string][]byte {
	t.Helper()
	var lines strings.Builder
	for n, r := range s.repositories {
		if s.v3 {
			lines.WriteString("ndx ")
		}
		if r.Tag != "" {
			lines.WriteString("@" + r.Tag + " ")
		}
		if s.v3 {
			lines.WriteString(s.folder(n) + "/Packages.adb\n")
		} else {
			lines.WriteString(path.Dir(s.folder(n)) + "\n")
		}
	}
	return map[string][]byte{"repositories": []byte(lines.String()), "keys/" + testKeyName: publicPEM(t)}
}

// solve solves a world, all names of which are given to "apk add".
func (s *site) solve(t testing.TB, world string) *Solution {
	t.Helper()
	r := Request{Arch: "x86_64", Repositories: s.repositories, World: mustDeps(t, world)}
	for _, w := range r.World {
		r.Added = append(r.Added, w.Name)
	}
	solution, err := Solve(r)
	if err != nil {
		t.Fatal(err)
	}
	return solution
}

// fill fills in what an installation needs.
func (s *site) fill(t testing.TB, world string, in *Installation) {
	t.Helper()
	in.Solution, in.Open, in.Time = s.solve(t, world), s.open, buildTime+100
	if in.Config == nil {
		in.Config = s.config(t)
	}
}
