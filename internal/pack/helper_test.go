package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/elfcheck"
	"github.com/ashlar-project/ashlar/internal/fault"
)

const (
	sourceTime = 1_700_000_000
	testFile   = "catalog/package/main/stone/alpine-3.24/1.yaml"
)

// definition returns a definition with a step of the given parameters, which begin
// on line 14.
func definition(with string) string {
	const head = `# syntax=dhi.io/build:2-alpine3.24
image: dhi.io/pkg-stone
variant: runtime
tags: [stone]
platforms: [linux/amd64]
contents:
  builds:
    - name: stone
      contents:
        packages: [busybox]
      pipeline:
        - uses: dhi/build-pkg:0
          with:
`
	const foot = `os-release: {name: Alpine, id: alpine, version-id: "3.24", pretty-name: Alpine, home-url: "https://example.org", bug-report-url: "https://example.org"}
`
	var text strings.Builder
	text.WriteString(head)
	for line := range strings.Lines(strings.TrimRight(with, "\n") + "\n") {
		text.WriteString("            " + line)
	}
	text.WriteString(foot)
	return text.String()
}

// expanded returns a definition expanded and bound.
func expanded(with string) (*catalog.Expanded, error) {
	d, err := catalog.LoadTexts(map[string][]byte{testFile: []byte(definition(with))}, testFile)
	if err != nil {
		return nil, err
	}
	if len(d.Targets()) == 0 {
		return nil, errors.New("there is no target")
	}
	e, err := d.Expand(d.Targets()[0])
	if err != nil {
		return nil, err
	}
	return e.Bind(testValues())
}

// step returns the step that has the given parameters.
func step(t testing.TB, with string) catalog.Step {
	t.Helper()
	e, err := expanded(with)
	if err != nil {
		t.Fatal(err)
	}
	return e.Builds[0].Pipeline[0]
}

// spec parses parameters.
func spec(t testing.TB, with string) *Spec {
	t.Helper()
	s, err := ParseSpec(step(t, with))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const stone = `name: stone
version: 1.2
rel: 3
description: A stone
license: MIT
url: https://example.org/stone
`

// A testTar is a tar archive to be.
type testTar struct {
	bytes.Buffer
	w *tar.Writer
}

func newTar() *testTar {
	t := &testTar{}
	t.w = tar.NewWriter(t)
	return t
}

// add adds an entry; content is for regular files.
func (a *testTar) add(h tar.Header, content string) *testTar {
	if h.Typeflag == 0 {
		h.Typeflag = tar.TypeReg
	}
	if h.Typeflag == tar.TypeReg {
		h.Size = int64(len(content))
	}
	if h.Mode == 0 {
		h.Mode = 0o755
	}
	if err := a.w.WriteHeader(&h); err != nil {
		panic(err)
	}
	if _, err := io.WriteString(a.w, content); err != nil {
		panic(err)
	}
	return a
}

func (a *testTar) file(path, content string) *testTar {
	return a.add(tar.Header{Name: path, Mode: 0o644}, content)
}

func (a *testTar) program(path, content string) *testTar {
	return a.add(tar.Header{Name: path, Mode: 0o755}, content)
}

func (a *testTar) dir(path string) *testTar {
	return a.add(tar.Header{Name: path + "/", Typeflag: tar.TypeDir}, "")
}

func (a *testTar) link(path, target string) *testTar {
	return a.add(tar.Header{Name: path, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}, "")
}

func (a *testTar) hardLink(path, target string) *testTar {
	return a.add(tar.Header{Name: path, Typeflag: tar.TypeLink, Linkname: target}, "")
}

// read reads what was added so far.
func (a *testTar) read(t testing.TB) (*Tree, error) {
	t.Helper()
	if err := a.w.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := ReadTree(context.Background(), &a.Buffer, t.TempDir(), 1<<30)
	if err == nil {
		t.Cleanup(func() { tree.Close() })
	}
	return tree, err
}

func (a *testTar) tree(t testing.TB) *Tree {
	t.Helper()
	tree, err := a.read(t)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// testOptions are those of most tests.
func testOptions() Options {
	return Options{Arch: "amd64", Time: sourceTime, Maintainer: "Ann Other <ann@example.org>"}
}

// assemble assembles packages.
func assemble(t testing.TB, tree *Tree, s *Spec) *Set {
	t.Helper()
	set, err := Assemble(tree, s, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// binary returns a package of the set.
func (s *Set) binary(t testing.TB, f Format, name string) *Binary {
	t.Helper()
	for _, b := range s.Packages {
		if b.Format == f && b.Name == name {
			return b
		}
	}
	t.Fatalf("there is no %s package %s", f, name)
	return nil
}

// list returns the files of a package, without folders.
func (b *Binary) list() string {
	var names []string
	for _, f := range b.files {
		if f.node.kind != directory {
			names = append(names, f.path)
		}
	}
	return strings.Join(names, " ")
}

// checkError wants an error of a kind with some words in it.
func checkError(t testing.TB, err error, kind fault.Kind, want ...string) {
	t.Helper()
	if !fault.Is(err, kind) {
		t.Errorf("got %v, want an error of kind %q", err, kind)
		return
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %v, want %q in it", err, w)
		}
	}
}

// errReader fails after some bytes.
type errReader struct{ r io.Reader }

var errBroken = errors.New("broken pipe")

func (e errReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err == io.EOF {
		err = errBroken
	}
	return n, err
}

type elfCheck = elfcheck.Check
