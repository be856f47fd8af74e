package build

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// abuilt returns a package as abuild makes it, signed by a key of its own.
func abuilt(t *testing.T, name string) []byte {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	content := "dressed\n"
	entry := func(path string, kind apk.Kind, mode uint32, size int) apk.File {
		return apk.File{
			Entry: apk.Entry{Path: path, Kind: kind, Mode: mode, User: "root", Group: "root", Size: int64(size), ModTime: 1},
			Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
		}
	}
	var b bytes.Buffer
	_, err = apk.WriteV2(&b, &apk.V2Spec{
		Info: apk.Info{Name: name, Version: "1.0-r0", Description: "A stone", Arch: "x86_64", License: "MIT", Origin: name, BuildTime: 1},
		Files: []apk.File{
			entry("usr", apk.Directory, 0o755, 0), entry("usr/"+name, apk.RegularFile, 0o644, len(content)),
		},
		Scripts: apk.Scripts{PostInstall: []byte("#!/bin/sh\nexit 0\n")},
		Signers: []apk.Signer{{KeyName: "throw-away.rsa.pub", Key: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTakeAbuilt(t *testing.T) {
	out := t.TempDir()
	dir := filepath.Join(out, abuiltDir, "main", "x86_64")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("stone-1.0-r0.apk", abuilt(t, "stone"))
	write("APKINDEX.tar.gz", []byte("an index of abuild's"))
	r := &Runner{Store: blob.NewMemory()}
	files, err := r.takeAbuilt(t.Context(), out, abuiltDir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff([]string{"stone-1.0-r0.apk", "stone-1.0-r0.v3.apk"}, names); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	tree := func(walk func(func(*apk.Entry, io.Reader) error) error) (tree []string) {
		err := walk(func(e *apk.Entry, r io.Reader) error {
			b, err := io.ReadAll(r)
			if e.Path != "" {
				tree = append(tree, e.Path+" "+e.User+" "+string(b))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return tree
	}
	open := func(i int) blob.Blob {
		b, err := r.Store.Open(t.Context(), files[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	v2, err := apk.OpenV2(open(0), nil)
	if err != nil || len(v2.Signatures) > 0 {
		t.Fatalf("v2: %v, %d signatures", err, len(v2.Signatures))
	}
	v3, err := apk.OpenV3(open(1), apk.V3Unchecked())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(v2.Walk), tree(v3.Walk)); diff != "" {
		t.Errorf("the generations differ (-v2 +v3):\n%s", diff)
	}
	if diff := cmp.Diff(v2.Scripts, v3.Scripts); diff != "" {
		t.Errorf("scripts (-v2 +v3):\n%s", diff)
	}
}

// TestTakeAbuiltRefuses checks that nothing is taken of what a step may have left in
// place of packages.
func TestTakeAbuiltRefuses(t *testing.T) {
	for name, leave := range map[string]func(dir string) error{
		"another name": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "lime-1.0-r0.apk"), abuilt(t, "stone"), 0o644)
		},
		"no package": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "stone-1.0-r0.apk"), []byte("x"), 0o644)
		},
		"a link":   func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "stone-1.0-r0.apk")) },
		"a folder": func(dir string) error { return os.Mkdir(filepath.Join(dir, "stone-1.0-r0.apk"), 0o755) },
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			dir := filepath.Join(out, abuiltDir, "main", "x86_64")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := leave(dir); err != nil {
				t.Fatal(err)
			}
			r := &Runner{Store: blob.NewMemory()}
			files, err := r.takeAbuilt(t.Context(), out, abuiltDir)
			if len(files) > 0 || !fault.Is(err, fault.Failed) && !fault.Is(err, fault.Invalid) {
				t.Errorf("%d files, %v", len(files), err)
			}
		})
	}
}
