package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/serve"
	"github.com/ashlar-project/ashlar/internal/work"
)

// unsignedAPK packs a package in both formats into the store, as a build leaves
// them.
func unsignedAPK(t *testing.T, s *work.Shop, version string) []ashlar.File {
	t.Helper()
	info := apk.Info{Name: "hello", Version: version, Arch: "x86_64", Origin: "hello", Description: "greets", License: "MIT"}
	content := "hello " + version + "\n"
	files := []apk.File{{
		Entry: apk.Entry{Path: "hello", Mode: 0o644, User: "root", Group: "root", Size: int64(len(content))},
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil },
	}}
	var v2, v3 bytes.Buffer
	_, err2 := apk.WriteV2(&v2, &apk.V2Spec{Info: info, Files: files})
	_, err3 := apk.WriteV3(&v3, &apk.V3Spec{Info: info, Files: files, Compression: adb.Deflate})
	if err := errors.Join(err2, err3); err != nil {
		t.Fatal(err)
	}
	var made []ashlar.File
	for _, b := range [][]byte{v2.Bytes(), v3.Bytes()} {
		f, err := s.Store.Put(t.Context(), bytes.NewReader(b), "")
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, f)
	}
	made[0].Name, made[1].Name = "hello-"+version+".apk", "hello-"+version+ashlar.ApkV3Suffix
	return made
}

// publishHello packs, signs and publishes a package.
func publishHello(t *testing.T, s *work.Shop, to apkrepo.Target, version string) {
	t.Helper()
	made := unsignedAPK(t, s, version)
	signed, err := s.SignAPK(t.Context(), made)
	if err != nil {
		t.Fatal(err)
	}
	renamed := []ashlar.File{signed[0], {Name: made[1].Name, Digest: signed[1].Digest, Size: signed[1].Size}}
	again, err := s.SignAPK(t.Context(), renamed)
	if diff := cmp.Diff(signed, again); err != nil || diff != "" {
		t.Errorf("signed again: %v\n%s", err, diff)
	}
	statement, err := s.Store.Put(t.Context(), strings.NewReader("{}"), "")
	if err != nil {
		t.Fatal(err)
	}
	statement.Name = signed[1].Name + ".provenance.sigstore.json"
	if _, err := s.PublishAPK(t.Context(), to, []apkrepo.SourceSet{{Arch: "x86_64", Packages: signed, Bundles: []ashlar.File{statement}}}); err != nil {
		t.Fatal(err)
	}
}

// TestAPKRepository takes packages that a build left the whole way: signed by the
// signer process, published, stated, verified from a folder and over HTTP, and
// signed again with new keys.
func TestAPKRepository(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { // the signer is another user
			t.Fatal(err)
		}
	}
	h := &house{state: filepath.Join(dir, "state")}
	h.run(t, 0, "key", "init")
	a := &app{out: io.Discard, err: io.Discard, now: time.Now, flags: flags{state: h.state, quiet: true}}
	s, err := a.shop()
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	to := apkrepo.Target{Distro: "musl-1", Tier: ashlar.Community}
	publishHello(t, s, to, "1.0-r100")
	publishHello(t, s, to, "1.0-r101")
	repo := filepath.Join(h.state, "repo/apk/musl-1/community/x86_64")
	if b, err := filepath.Glob(filepath.Join(repo, "hello-1.0-r101.????????.apk.provenance.sigstore.json")); err != nil || len(b) != 1 {
		t.Errorf("statements about the package of v3: %v, %v", b, err)
	}
	o := h.run(t, 0, "verify", "--repository", repo)
	if !strings.Contains(o.stdout, "VERIFIED  musl-1/community for x86_64") {
		t.Errorf("verify says:\n%s", o.stdout)
	}
	base := serveHouse(t, a)
	address := base + "/apk/musl-1/community/x86_64"
	realClients(t, base, filepath.Join(h.state, "repo/keys"))
	before := h.verifyFresh(t, address)
	h.run(t, 3, "verify", "--repository", base+"/apk/musl-1/community/aarch64")
	h.run(t, 2, "verify", "--repository", base)
	h.run(t, 2, "verify", "--repository", "ftp://example.org/apk/a/b/c")

	// New keys: everything is signed by old and new, and stated anew.
	h.run(t, 0, "key", "apk")
	if o := h.run(t, 0, "resign", "--all"); !strings.Contains(o.stdout, "musl-1/community/x86_64") {
		t.Errorf("resign says:\n%s", o.stdout)
	}
	after := h.verifyFresh(t, address)
	if after.Sequence <= before.Sequence || after.Snapshot != before.Snapshot {
		t.Errorf("before %+v, after %+v", before, after)
	}
	keys, err := filepath.Glob(filepath.Join(h.state, "repo/keys/ashlar-*.pub"))
	if err != nil || len(keys) != 4 {
		t.Errorf("published keys %v, %v", keys, err)
	}
	if o := h.run(t, 0, "snapshot", "list", "--distro", "musl-1"); strings.Count(o.stdout, "\n") != 3 || !strings.Contains(o.stdout, "live: x86_64 is "+after.Snapshot) {
		t.Errorf("snapshot list says:\n%s", o.stdout)
	}
	h.freezeAndForge(t, repo, address, before.Sequence, after.Sequence)
}

// serveHouse serves what the app has published, as ashlar serve does, and returns
// the address.
func serveHouse(t *testing.T, a *app) string {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ready, done := make(chan net.Addr, 1), make(chan error, 1)
	go func() {
		done <- a.serve(ctx, serve.Listener{Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Ready: func(addr net.Addr) { ready <- addr }}, "", true)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	select {
	case addr := <-ready:
		return "http://" + addr.String()
	case err := <-done:
		done <- nil
		t.Fatal(err)
		return ""
	}
}

// realClients has every apk that the environment names install the package as a
// user does: with the keys that the server gives, by both kinds of index.
func realClients(t *testing.T, base, keys string) {
	t.Helper()
	names, err := os.ReadDir(keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"ASHLAR_APK2", ""}, {"ASHLAR_APK3", ""}, {"ASHLAR_APK3", "v3 "}} {
		program := os.Getenv(c[0])
		if program == "" || os.Geteuid() != 0 {
			t.Logf("%s names no apk, or this is not root", c[0])
			continue
		}
		root := t.TempDir()
		if err := errors.Join(os.MkdirAll(root+"/etc/apk/keys", 0o755), os.WriteFile(root+"/etc/apk/repositories", []byte(c[1]+base+"/apk/musl-1/community\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		for _, e := range names {
			if strings.HasPrefix(e.Name(), "ashlar-") {
				fetch(t, base+"/keys/"+e.Name(), root+"/etc/apk/keys/"+e.Name())
			}
		}
		cmd := exec.Command(program, "--root", root, "--arch", "x86_64", "--no-progress", "add", "--initdb", "--no-scripts", "--update-cache", "hello")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %s: %v\n%s", program, c[1], err, out)
		}
		if b, err := os.ReadFile(root + "/hello"); err != nil || string(b) != "hello 1.0-r101\n" {
			t.Errorf("%s %s installed %q, %v", program, c[1], b, err)
		}
	}
}

// fetch saves what an address has.
func fetch(t *testing.T, from, to string) {
	t.Helper()
	resp, err := http.Get(from)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", from, resp.Status, err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// verifyFresh verifies a repository and returns what is stated of it.
func (h *house) verifyFresh(t *testing.T, at string) intoto.APKIndex {
	t.Helper()
	var found []intoto.APKIndex
	o := h.run(t, 0, "verify", "--json", "--repository", at)
	if err := json.Unmarshal([]byte(o.stdout), &found); err != nil || len(found) != 1 {
		t.Fatalf("%v\n%s", err, o.stdout)
	}
	return found[0]
}

// freezeAndForge shows a client what is old, and what nobody signed.
func (h *house) freezeAndForge(t *testing.T, repo, address string, old, newest int64) {
	t.Helper()
	live, err := filepath.EvalSymlinks(filepath.Join(repo, apkrepo.IndexV2))
	if err != nil {
		t.Fatal(err)
	}
	generations := filepath.Dir(filepath.Dir(filepath.Dir(live)))
	turn := func(to string) {
		t.Helper()
		link := filepath.Join(generations, "now")
		if err := errors.Join(os.Remove(link), os.Symlink(to, link)); err != nil {
			t.Fatal(err)
		}
	}
	is := filepath.Base(filepath.Dir(filepath.Dir(live)))
	list, err := os.ReadDir(generations)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if e.IsDir() && e.Name() != is {
			turn(e.Name())
		}
	}
	if got := h.verifyFresh(t, address); got.Sequence != old {
		t.Fatalf("the old statement is number %d, want %d", got.Sequence, old)
	}
	if o := h.run(t, 5, "verify", "--repository", "--seen", strconv.FormatInt(newest, 10), address); !strings.Contains(o.complaint(t), "was seen before") {
		t.Errorf("what is played back: %s", o.stderr)
	}
	turn(is)
	h.run(t, 2, "withdraw", "--distro", "musl-1", "hello")
	h.run(t, 3, "withdraw", "--distro", "musl-1", "--reason", "it is rude", "goodbye")
	if o := h.run(t, 0, "withdraw", "--distro", "musl-1", "--reason", "it is rude", "hello"); !strings.Contains(o.stdout, "musl-1/community  1 withdrawn") {
		t.Errorf("withdraw says:\n%s", o.stdout)
	}
	if live, err = filepath.EvalSymlinks(filepath.Join(repo, apkrepo.IndexV2)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(live)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := errors.Join(os.Remove(live), os.WriteFile(live, b, 0o644)); err != nil {
		t.Fatal(err)
	}
	h.run(t, 5, "verify", "--repository", address)
}
