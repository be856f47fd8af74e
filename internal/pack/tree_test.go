package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestReadTree(t *testing.T) {
	long := strings.Repeat("deep/", 40) + "file"
	dir := t.TempDir()
	a := newTar().dir(".").dir("./usr").program("usr/bin/stone", "stone").hardLink("usr/bin/rock", "./usr/bin/stone").
		link("usr/bin/pebble", "/usr/bin/stone").file(long, strings.Repeat("x", 300_000)).
		add(tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, "").
		add(tar.Header{Name: "usr/bin/cap", Uid: 7, Gid: 8, PAXRecords: map[string]string{
			"SCHILY.xattr.security.capability": "cap", "SCHILY.xattr.user.note": "n", "SCHILY.xattr.security.selinux": "s",
		}}, "").dir("usr")
	if err := a.w.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := ReadTree(context.Background(), &a.Buffer, dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	for name, want := range map[string]string{"usr/bin/stone": "stone", "usr/bin/rock": "stone", long: strings.Repeat("x", 300_000)} {
		if b, err := io.ReadAll(tree.open(tree.nodes[name].content)); err != nil || string(b) != want {
			t.Errorf("%s: %d bytes, %v", clip(name), len(b), err)
		}
	}
	if n := tree.nodes["usr/bin/cap"]; n.uid != 7 || n.gid != 8 || len(n.xattrs) != 2 || n.xattrs[capability] != "cap" {
		t.Errorf("%+v", n)
	}
	if tree.nodes["usr/bin/rock"].content != tree.nodes["usr/bin/stone"].content || tree.nodes["dev/null"].kind != special {
		t.Error("kinds of files are mixed up")
	}
	var below []string
	for _, n := range tree.below("usr/bin") {
		below = append(below, n.path)
	}
	if got := strings.Join(below, " "); got != "usr/bin/cap usr/bin/pebble usr/bin/rock usr/bin/stone" {
		t.Errorf("below usr/bin are %s", got)
	}
	if len(tree.below("usr/bi")) != 0 || len(tree.below("")) != len(tree.sorted) || len(tree.below("usr/bin/cap")) != 1 {
		t.Error("below other paths is something else")
	}
}

func TestReadTreeRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		tar  *testTar
		want string
	}{
		"above":              {newTar().file("../x", ""), "leaves the root"},
		"above within":       {newTar().file("usr/../../x", ""), "leaves the root"},
		"absolute":           {newTar().file("/etc/passwd", ""), "leaves the root"},
		"empty part":         {newTar().file("usr//x", ""), "leaves the root"},
		"long part":          {newTar().file(strings.Repeat("x", 300), ""), "leaves the root"},
		"twice":              {newTar().file("a", "").file("./a", ""), "a is there twice"},
		"folder and file":    {newTar().dir("a").file("a", ""), "a is there twice"},
		"through a link":     {newTar().link("usr/lib", "/etc").file("usr/lib/x", ""), "usr/lib, which is no folder"},
		"through a file":     {newTar().file("a/b", "").file("a", ""), "a, which is no folder"},
		"dangling link":      {newTar().hardLink("a", "b"), "names no earlier file"},
		"link above":         {newTar().hardLink("a", "../b"), "names no earlier file"},
		"link to a link":     {newTar().link("b", "c").hardLink("a", "b"), "names no earlier file"},
		"link to a folder":   {newTar().dir("b").hardLink("a", "b"), "names no earlier file"},
		"root is a file":     {newTar().link("./", "x"), "the root is no folder"},
		"kind":               {newTar().add(tar.Header{Name: "x", Typeflag: tar.TypeCont}, ""), "a kind of file"},
		"too many bytes":     {newTar().file("a", strings.Repeat("x", 1<<20)).file("b", "x"), "more than 1048576 bytes"},
		"owner out of range": {newTar().add(tar.Header{Name: "x", Uid: 1 << 40, Format: tar.FormatGNU}, ""), "owner out of range"},
		"large attributes": {newTar().add(tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.x": strings.Repeat("x", 70_000)}}, ""),
			"attributes are too large"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := c.tar.w.Close(); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			_, err := ReadTree(context.Background(), &c.tar.Buffer, dir, 1<<20)
			checkError(t, err, fault.Invalid, "the tree of the build: ", c.want)
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left in the folder: %v, %v", left, err)
			}
		})
	}
	whole := newTar().file("a", strings.Repeat("x", 2000)).Bytes()
	for _, n := range []int{100, 700, 1500} {
		_, err := ReadTree(context.Background(), bytes.NewReader(whole[:n]), t.TempDir(), 1<<20)
		checkError(t, err, fault.Invalid, "cut short")
	}
	_, err := ReadTree(context.Background(), errReader{bytes.NewReader(whole)}, t.TempDir(), 1<<20)
	if !errors.Is(err, errBroken) || fault.Is(err, fault.Invalid) {
		t.Errorf("an error of the reader: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := ReadTree(ctx, bytes.NewReader(whole), t.TempDir(), 1<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled context: %v", err)
	}
}

func FuzzReadTree(f *testing.F) {
	for _, a := range []*testTar{
		newTar().dir("usr").program("usr/x", "content").hardLink("usr/y", "usr/x").link("z", "usr/x"),
		newTar().file(strings.Repeat("long/", 50)+"x", "").add(tar.Header{Name: "x", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}, "z"),
	} {
		a.w.Close()
		f.Add(a.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		tree, err := ReadTree(context.Background(), bytes.NewReader(b), t.TempDir(), 1<<16)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		defer tree.Close()
		for _, n := range tree.sorted {
			if n.path == "" || n.path[0] == '/' || path.Clean(n.path) != n.path || strings.HasPrefix(n.path, "..") {
				t.Errorf("path %q", n.path)
			}
			if n.kind == regular {
				if b, err := io.ReadAll(tree.open(n.content)); err != nil || int64(len(b)) != n.size {
					t.Errorf("%q: %d bytes of %d, %v", n.path, len(b), n.size, err)
				}
			}
		}
	})
}
