package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
)

// worldSize is how many packages the world has, and worldBytes how many bytes of
// files in all.
const (
	worldSize  = 60
	worldBytes = 100 << 20
)

// worlds times solving and installing sixty packages into an empty root, ours and
// apk's, from packages of both generations.
func worlds(ctx context.Context, l *lab) (*section, error) {
	apk2, apk3 := os.Getenv("ASHLAR_APK2"), os.Getenv("ASHLAR_APK3")
	if apk2 == "" || apk3 == "" {
		return nil, errors.New("ASHLAR_APK2 and ASHLAR_APK3 name no apk 2.14 and 3.0 to compare with")
	}
	dir, err := l.fresh("world")
	if err != nil {
		return nil, err
	}
	w := &worldTimes{lab: l, dir: dir, seen: map[string]*times{}}
	if err := w.publish(); err != nil {
		return nil, err
	}
	for range l.atLeast(7) {
		for _, c := range []contestant{{"ashlar", "v2", l.exe}, {"apk 2.14", "v2", apk2}, {"apk 3.0", "v2", apk3}, {"ashlar", "v3", l.exe}, {"apk 3.0", "v3", apk3}} {
			if err := w.run(ctx, c); err != nil {
				return nil, err
			}
		}
	}
	if err := w.same(); err != nil {
		return nil, err
	}
	beat := func(generation, tool string) row {
		return against(fmt.Sprintf("%d packages of %s", worldSize, generation), *w.seen["ashlar "+generation], *w.seen[tool+" "+generation], 1, "`"+tool+"`")
	}
	return &section{
		Text: fmt.Sprintf("A world of %d packages that want one another by library, %d MiB of files of which a few are large and most small, from a\n", worldSize, worldBytes>>20) +
			"repository in a folder into an empty root: check the signed index, solve, check every package, lay its files, write apk's database.\n" +
			"`ashlar install` against `apk add --initdb --root`, the whole process of each, taking turns; they leave the same database.\n" +
			"The scripts of packages have no part in it: there are none.",
		Rows: []row{beat("v2", "apk 2.14"), beat("v2", "apk 3.0"), beat("v3", "apk 3.0")},
	}, nil
}

// worldTimes measures installations.
type worldTimes struct {
	*lab
	dir  string // with a repository of each generation and the key
	seen map[string]*times
}

// A contestant is a program that installs packages of a generation.
type contestant struct{ name, generation, program string }

// root is where a contestant installs to.
func (w *worldTimes) root(name, generation string) string {
	return filepath.Join("world-roots", strings.ReplaceAll(name+"-"+generation, " ", "-"))
}

// run times one installation.
func (w *worldTimes) run(ctx context.Context, c contestant) error {
	root, err := w.fresh(w.root(c.name, c.generation))
	if err != nil {
		return err
	}
	repository := filepath.Join(w.dir, c.generation)
	if c.generation == "v3" {
		repository = filepath.Join(repository, "x86_64", "Packages.adb")
	}
	keys := filepath.Join(w.dir, "keys")
	args := []string{"install", "--quiet", "--root", root, "--keys", keys, "--repository", repository}
	if c.name != "ashlar" {
		args = []string{"--root", root, "--arch", "x86_64", "--keys-dir", keys, "--repository", repository, "--no-cache", "--initdb", "add"}
	}
	for n := range worldSize {
		args = append(args, fmt.Sprintf("pkg%02d", n))
	}
	key := c.name + " " + c.generation
	if w.seen[key] == nil {
		w.seen[key] = &times{}
	}
	settle()
	return w.seen[key].add(func() error { return do(ctx, w.dir, c.program, args...) })
}

// same wants the roots of both programs to have the same database.
func (w *worldTimes) same() error {
	for _, generation := range []string{"v2", "v3"} {
		var got [2][]byte
		for i, name := range []string{"ashlar", "apk 3.0"} {
			b, err := os.ReadFile(filepath.Join(w.path(w.root(name, generation)), "lib/apk/db/installed"))
			if err != nil {
				return err
			}
			got[i] = b
		}
		if !bytes.Equal(got[0], got[1]) {
			return fmt.Errorf("packages of %s are not installed as apk installs them", generation)
		}
	}
	return nil
}

// publish makes the packages, their indexes and the key that signs those.
func (w *worldTimes) publish() error {
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	const keyName = "bench.rsa.pub"
	if err := save(filepath.Join(w.dir, "keys", keyName), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); err != nil {
		return err
	}
	var second apk.Index
	var third apk.V3Index
	r := mathrand.New(mathrand.NewPCG(5, 6))
	for n := range worldSize {
		info, files := worldPackage(r, n)
		var v2, v3 bytes.Buffer
		packed2, err2 := apk.WriteV2(&v2, &apk.V2Spec{Info: info, Files: files})
		packed3, err3 := apk.WriteV3(&v3, &apk.V3Spec{Info: info, Files: files, Compression: adb.Deflate})
		if err := errors.Join(err2, err3); err != nil {
			return err
		}
		second.Entries, third.Entries = append(second.Entries, packed2.IndexEntry()), append(third.Entries, packed3.IndexEntry())
		file := filepath.Join("x86_64", info.Name+"-"+info.Version+".apk")
		if err := errors.Join(save(filepath.Join(w.dir, "v2", file), v2.Bytes()), save(filepath.Join(w.dir, "v3", file), v3.Bytes())); err != nil {
			return err
		}
	}
	index2, err2 := second.EncodeV2(1_700_000_000, 0, apk.Signer{KeyName: keyName, Key: key})
	var index3 bytes.Buffer
	err3 := apk.WriteV3Index(&index3, &third, adb.Deflate, key)
	if err := errors.Join(err2, err3); err != nil {
		return err
	}
	return errors.Join(save(filepath.Join(w.dir, "v2/x86_64/APKINDEX.tar.gz"), index2), save(filepath.Join(w.dir, "v3/x86_64/Packages.adb"), index3.Bytes()))
}

// save writes a file and the folder it is in.
func save(name string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644)
}

// worldPackage makes up a package that wants up to three of those before it.
func worldPackage(r *mathrand.Rand, n int) (apk.Info, []apk.File) {
	info := apk.Info{
		Name: fmt.Sprintf("pkg%02d", n), Version: "1.0-r0", Arch: "x86_64", License: "MIT", Description: "one of many", BuildTime: 1_700_000_000,
		Provides: []apk.Dependency{{Name: fmt.Sprintf("so:lib%02d.so.1", n), Match: apk.Equal, Version: "1.0"}},
	}
	for range min(n, 3) {
		d := apk.Dependency{Name: fmt.Sprintf("so:lib%02d.so.1", r.IntN(n))}
		if !slices.Contains(info.Depends, d) {
			info.Depends = append(info.Depends, d)
		}
	}
	var files []apk.File
	seen := map[string]bool{".": true}
	var folder func(dir string)
	folder = func(dir string) {
		if !seen[dir] {
			seen[dir] = true
			folder(path.Dir(dir))
			files = append(files, apk.File{Entry: apk.Entry{Path: dir, Kind: apk.Directory, Mode: 0o755, User: "root", Group: "root"}})
		}
	}
	left := worldBytes / worldSize
	for f := 0; left > 0; f++ {
		size := 2_000 + r.IntN(20_000)
		if f%20 == 0 {
			size = 100_000 + r.IntN(900_000)
		}
		left -= size
		name, text := fmt.Sprintf("usr/share/%s/part%d/file%03d", info.Name, f/25, f), likeProgram(r, size)
		folder(path.Dir(name))
		files = append(files, apk.File{
			Entry: apk.Entry{Path: name, Mode: 0o644, User: "root", Group: "root", Size: int64(size)},
			Open:  func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil },
		})
	}
	return info, files
}

// likeProgram returns bytes that compress to about 40 %, as those of programs do.
func likeProgram(r *mathrand.Rand, size int) []byte {
	b := make([]byte, 0, size+64)
	for len(b) < size {
		if r.IntN(3) > 0 && len(b) > 100 {
			at := max(r.IntN(len(b)-50), len(b)-1-r.IntN(30_000))
			n := 4 + r.IntN(40)
			b = append(b, b[at:min(at+n, len(b))]...)
			continue
		}
		for range 1 + r.IntN(12) {
			b = append(b, byte(r.IntN(160)))
		}
	}
	return b[:size]
}
