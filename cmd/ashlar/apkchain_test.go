package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ashlar-project/ashlar/internal/elfcheck/elftest"
)

// A packed is a definition of the musl world in the parts that the test varies.
type packed struct {
	name     string
	packages string // of a YAML list, beside those that every root has
	script   string
	with     string // the parameters of the step that packs, below its name
}

// definePacked writes the definition into a catalog and returns its path.
func definePacked(t *testing.T, root string, p packed) string {
	t.Helper()
	file := filepath.Join(root, "package/apk/main", p.name, "musl-1/1.yaml")
	text := fmt.Sprintf(`image: test/pkg-%[1]s
variant: runtime
tags: ["1"]
platforms: [linux/amd64]
contents:
  builds:
    - name: %[1]s apk
      work-dir: ${target.dir}
      environment: {SOURCE_DATE_EPOCH: "1700000000"}
      contents:
        repositories:
          - deb mirror://debian bookworm main
          - '@musl ashlar://musl-1/main'
        packages: [debhelper%[2]s]
      pipeline:
        - name: make
          runs: |
            set -eu
            umask 022
%[3]s        - uses: dhi/build-pkg:0
          with:
            name: %[1]s
            version: "1.0"
            rel: "0"
            description: test
            license: MIT OR Apache-2.0
            url: https://example.org
            formats: [apk]
%[4]s`, p.name, p.packages, indent(p.script, 12), indent(p.with, 12))
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o644)); err != nil {
		t.Fatal(err)
	}
	return file
}

// loaderSource is a program in the place of musl's loader: it finds all symbols but
// one.
const loaderSource = `#include <stdio.h>
#include <string.h>
static char text[1 << 16];
int main(int n, char **args) {
  FILE *f = n == 3 && !strcmp(args[1], "--list") ? fopen(args[2], "r") : 0;
  if (!f) return 2;
  size_t size = fread(text, 1, sizeof text, f);
  if (!memmem(text, size, "no_such_symbol", 14)) return 0;
  printf("Error relocating %s: no_such_symbol: symbol not found\n", args[2]);
  return 127;
}
`

// program writes a program for musl that has a word in it.
func program(word string) string {
	spec := elftest.Program("libc.musl-x86_64.so.1")
	spec.Comment += " " + word
	return "mkdir -p usr/bin\nbase64 -d > usr/bin/greet <<'END'\n" + base64.StdEncoding.EncodeToString(elftest.Build(spec)) + "\nEND\nchmod 755 usr/bin/greet\n"
}

// chainDefinitions writes a package with a header and a loader, one that is built with
// it, and one that does not load.
func chainDefinitions(t *testing.T) (stone, greet, broken string) {
	t.Helper()
	root := t.TempDir()
	stone = definePacked(t, root, packed{
		name: "stone",
		script: "mkdir -p lib usr/include usr/bin\necho 'hello, stone' > usr/include/stone.h\n" +
			"printf '#!/bin/sh\\necho hello\\n' > usr/bin/stone\nchmod 755 usr/bin/stone\nln -s stone usr/bin/pebble\n" +
			"cat > /tmp/loader.c <<'END'\n" + loaderSource + "END\n" +
			"gcc -D_GNU_SOURCE -O2 -fPIE -static-pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack -o lib/ld-musl-x86_64.so.1 /tmp/loader.c\nstrip lib/ld-musl-x86_64.so.1\n",
		with: "files: [lib, usr/bin]\nprovides: ['so:libc.musl-x86_64.so.1=1']\nsubpackages:\n  - name: stone-dev\n    description: header\n    files: [usr/include]\n    depends: [stone]\n",
	})
	uses := packed{name: "greet", packages: ", stone-dev@musl", with: "files: [usr]\n",
		script: "mkdir -p usr/share\ncp /sysroot/usr/include/stone.h usr/share/greeting\ntest -e /sysroot/lib/ld-musl-x86_64.so.1\n! touch /sysroot/x 2> /dev/null\n" + program("hello")}
	greet = definePacked(t, root, uses)
	uses.name, uses.script = "broken", program("no_such_symbol")
	return stone, greet, definePacked(t, root, uses)
}

// TestAPKChain takes two definitions the whole way, one of which is built with what the
// other packs: built in the right order, judged, signed, attested, published, served,
// installed by apk, verified, tampered with and rebuilt.
func TestAPKChain(t *testing.T) {
	h := warm(t)
	stone, greet, broken := chainDefinitions(t)
	early := h.run(t, 4, "build", greet).complaint(t)
	if !strings.Contains(early, "stone-dev@musl") || !strings.Contains(early, "build the packages that it wants first") {
		t.Errorf("before what it is built with: %s", early)
	}
	built := h.run(t, 0, "build", "--jobs", "2", greet, stone)
	for _, want := range []string{"gate passed", "SLSA Build L3", "stone-1.0-r0.apk", "stone-dev-1.0-r0.apk", "greet-1.0-r0.apk"} {
		if !strings.Contains(built.stdout, want) {
			t.Errorf("build does not say %q:\n%s", want, built.stdout)
		}
	}
	if again := h.run(t, 0, "build", greet, stone); strings.Count(again.stdout, "unchanged") != 2 {
		t.Errorf("a second build was not known already:\n%s", again.stdout)
	}
	t.Run("load", func(t *testing.T) {
		got := h.run(t, 7, "build", broken).complaint(t)
		for _, want := range []string{"load: broken", "usr/bin/greet does not load", "no_such_symbol: symbol not found"} {
			if !strings.Contains(got, want) {
				t.Errorf("the gate does not say %q:\n%s", want, got)
			}
		}
	})
	h.run(t, 0, "publish", stone, greet)
	if o := h.try("publish", broken); o.code == 0 {
		t.Errorf("what does not load is published:\n%s", o.stdout)
	}
	repo := filepath.Join(h.state, "repo/apk/musl-1/community")
	t.Run("install", func(t *testing.T) { h.installAPK(t) })
	for _, pattern := range []string{"greet-1.0-r0.apk", "greet-1.0-r0.*.apk"} {
		found, err := filepath.Glob(filepath.Join(repo, "x86_64", pattern))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		t.Run(pattern, func(t *testing.T) {
			h.checkAPK(t, found[0], filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(filepath.Dir(greet)))))))
		})
	}
}

// checkAPK verifies a published package, tampers with a copy and rebuilds it without
// its catalog.
func (h *house) checkAPK(t *testing.T, file, catalog string) {
	t.Helper()
	if o := h.run(t, 0, "verify", file); !strings.Contains(o.stdout, "VERIFIED") {
		t.Errorf("verify:\n%s", o.stdout)
	}
	dir := t.TempDir()
	beside, err := filepath.Glob(file + "*")
	if err != nil || len(beside) < 2 {
		t.Fatalf("%v, %v", beside, err)
	}
	copied := filepath.Join(dir, filepath.Base(file))
	for _, name := range beside {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if name == file {
			b[len(b)-1] ^= 1
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if o := h.run(t, 5, "verify", copied); !strings.Contains(o.stdout, "REFUSED") {
		t.Errorf("verify of a tampered file:\n%s", o.stdout)
	}
	h.run(t, 5, "rebuild", copied)
	if err := os.RemoveAll(catalog); err != nil {
		t.Fatal(err)
	}
	o := h.run(t, 0, "rebuild", "--vary-hostname", "elsewhere", "--vary-umask", "077", "--vary-locale", "C", "--vary-parallel", "1", file)
	if !strings.Contains(o.stdout, "IDENTICAL") || !strings.Contains(o.stdout, "but for its signatures") {
		t.Errorf("rebuild says:\n%s", o.stdout)
	}
}

// serveRepository serves what is published on the loopback until the test ends, and
// returns the address.
func (h *house) serveRepository(t *testing.T) string {
	t.Helper()
	cmd := h.command("serve", "--listen", "127.0.0.1:0", "--access-log", "")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // interrupted
	})
	r := bufio.NewReader(said)
	line, err := r.ReadString('\n')
	address, is := strings.CutPrefix(strings.TrimSpace(line), "serving on ")
	if err != nil || !is {
		t.Fatalf("serve says %q, %v", line, err)
	}
	go io.Copy(io.Discard, r)
	return "http://" + address
}

// installAPK verifies the repository over HTTP and lets the real apks install from it.
func (h *house) installAPK(t *testing.T) {
	address := h.serveRepository(t)
	o := h.run(t, 0, "verify", "--repository", address+"/apk/musl-1/community/x86_64")
	if !strings.Contains(o.stdout, "VERIFIED  musl-1/community for x86_64") {
		t.Errorf("verify says:\n%s", o.stdout)
	}
	keys, err := filepath.Glob(filepath.Join(h.state, "repo/keys/ashlar-*.pub"))
	if err != nil || len(keys) == 0 {
		t.Fatalf("keys %v, %v", keys, err)
	}
	for variable, line := range map[string]string{"ASHLAR_APK2": "", "ASHLAR_APK3": "v3 "} {
		t.Run(variable, func(t *testing.T) {
			apk := os.Getenv(variable)
			if apk == "" {
				t.Skipf("%s names no apk", variable)
			}
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "etc/apk/keys"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, key := range keys {
				save(t, filepath.Join(dir, "etc/apk/keys", filepath.Base(key)), get(t, address+"/keys/"+filepath.Base(key)))
			}
			save(t, filepath.Join(dir, "etc/apk/repositories"), []byte(line+address+"/apk/musl-1/community\n"))
			cmd := exec.Command(apk, "--root", dir, "--arch", "x86_64", "--no-cache", "add", "--initdb", "greet", "stone-dev")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			greeting, err := os.ReadFile(filepath.Join(dir, "usr/share/greeting"))
			if err != nil || string(greeting) != "hello, stone\n" {
				t.Errorf("installed %q, %v", greeting, err)
			}
			if out, err := exec.Command(filepath.Join(dir, "lib/ld-musl-x86_64.so.1"), "--list", filepath.Join(dir, "usr/bin/greet")).CombinedOutput(); err != nil {
				t.Errorf("the loader says %v\n%s", err, out)
			}
		})
	}
}

func save(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// get fetches what the server has.
func get(t *testing.T, address string) []byte {
	t.Helper()
	r, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", address, r.Status, err)
	}
	return b
}
