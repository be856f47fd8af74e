package source

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// git runs git in dir with fixed times and names.
func git(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=A", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_AUTHOR_DATE=1700000000 +0000",
		"GIT_COMMITTER_NAME=A", "GIT_COMMITTER_EMAIL=a@example.org", "GIT_COMMITTER_DATE=1700000001 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// newRepo makes a bare repository "repo.git" with two commits, the older one
// tagged v1, behind a smart HTTP server on loopback. It returns folder, address
// and both commits.
func newRepo(t *testing.T) (dir, addr, older, newer string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	root := t.TempDir()
	work := filepath.Join(root, "work")
	git(t, root, "", "init", "-q", "-b", "main", "work")
	write := func(name, content string, perm os.FileMode) {
		p := filepath.Join(work, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), perm); err != nil {
			t.Fatal(err)
		}
	}
	write("b/run.sh", "#!/bin/sh\n", 0o755)
	write("a.txt", "$Format:%H$\r\n", 0o644)
	write(".gitattributes", "a.txt export-subst\nb export-ignore\n", 0o644)
	write(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = file:///etc\n", 0o644)
	if err := os.Symlink("b/run.sh", filepath.Join(work, "link")); err != nil {
		t.Fatal(err)
	}
	git(t, work, "", "-c", "core.autocrlf=false", "add", "-A")
	git(t, work, "", "update-index", "--add", "--cacheinfo", "160000,"+strings.Repeat("1", 40)+",sub")
	git(t, work, "", "commit", "-q", "-m", "one")
	git(t, work, "", "tag", "-a", "-m", "one", "v1")
	older = git(t, work, "", "rev-parse", "HEAD")
	write("c.txt", "c", 0o644)
	git(t, work, "", "add", "c.txt")
	git(t, work, "", "commit", "-q", "-m", "two")
	newer = git(t, work, "", "rev-parse", "HEAD")
	dir = filepath.Join(root, "repo.git")
	git(t, root, "", "clone", "-q", "--bare", "work", dir)
	return dir, serveGit(t, root), older, newer
}

// serveGit serves the repositories below root and returns the base address.
func serveGit(t *testing.T, root string) string {
	t.Helper()
	backend := filepath.Join(git(t, root, "", "--exec-path"), "git-http-backend")
	h := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"}}
	return serve(t, h.ServeHTTP)
}

func TestGit(t *testing.T) {
	_, addr, older, newer := newRepo(t)
	f, _ := newFetcher(t)
	uri := "git+" + addr + "/repo.git"
	m, err := f.Git(t.Context(), uri+"#"+older, "")
	if err != nil {
		t.Fatal(err)
	}
	if m.URI != uri+"#"+older || m.Name != "repo-"+older[:12]+".tar" {
		t.Errorf("material %+v", m)
	}
	b, err := blob.ReadAll(t.Context(), f.Store, m.Digest, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"644 .gitattributes: a.txt export-subst\nb export-ignore\n",
		"644 .gitmodules: [submodule \"sub\"]\n\tpath = sub\n\turl = file:///etc\n",
		"644 a.txt: $Format:%H$\r\n", "755 b/: ", "755 b/run.sh: #!/bin/sh\n", "777 link->b/run.sh: ", "755 sub/: ",
	}
	if diff := cmp.Diff(want, listTar(t, b)); diff != "" {
		t.Error(diff)
	}
	for _, again := range []struct{ uri, commit string }{{uri + "#v1", older}, {uri, older}, {uri + "#" + older, older}} {
		n, err := f.Git(t.Context(), again.uri, again.commit)
		if err != nil || n != m {
			t.Errorf("%v: %+v, %v", again, n, err)
		}
	}
	n, err := f.Fetch(t.Context(), Request{URI: uri + "#" + newer})
	if err != nil || n.Digest == m.Digest {
		t.Errorf("%+v, %v", n, err)
	}
	if _, err := f.Fetch(t.Context(), Request{URI: uri + "#" + newer, Digest: m.Digest + ""}); err != nil {
		t.Errorf("a tree in the store was fetched: %v", err)
	}
}

// listTar lists an archive and checks owner and time.
func listTar(t *testing.T, b []byte) []string {
	t.Helper()
	var all []string
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 1700000001 {
			t.Errorf("%s: owner %d, time %v", h.Name, h.Uid, h.ModTime)
		}
		name := h.Name
		if h.Linkname != "" {
			name += "->" + h.Linkname
		}
		all = append(all, fmt.Sprintf("%o %s: %s", h.Mode, name, content))
	}
}

func TestGitRefused(t *testing.T) {
	_, addr, older, newer := newRepo(t)
	uri := "git+" + addr + "/repo.git"
	tests := []struct {
		name, uri, commit string
		kind              fault.Kind
	}{
		{"moved tag", uri + "#v1", newer, fault.Denied},
		{"no such tag", uri + "#v9", older, fault.NotFound},
		{"no such commit", uri, strings.Repeat("0", 39) + "1", fault.NotFound},
		{"no such repository", "git+" + addr + "/other.git", older, fault.NotFound},
		{"no commit", uri + "#v1", "", fault.Invalid},
		{"short commit", uri, older[:12], fault.Invalid},
		{"two commits", uri + "#" + older, newer, fault.Invalid},
		{"option as tag", uri + "#--upload-pack=x", older, fault.Invalid},
		{"ssh", "git+ssh://example.org/repo.git", older, fault.Invalid},
		{"ext", "git+ext::sh -c id", older, fault.Invalid},
		{"folder of this machine", "git+file:///etc/.git", older, fault.Denied},
		{"folder behind a host", "git+file://localhost/etc/.git", older, fault.Denied},
		{"password", "git+https://u:secret@example.org/repo.git", older, fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, _ := newFetcher(t)
			_, err := f.Git(t.Context(), tt.uri, tt.commit)
			if !fault.Is(err, tt.kind) || strings.Contains(err.Error(), "secret") {
				t.Errorf("got %v (%s), want %s", err, fault.KindOf(err), tt.kind)
			}
			if left, _ := os.ReadDir(f.TempDir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// hostile stores a commit whose tree has an entry that git itself would not make.
func hostile(t *testing.T, dir, mode, name string) string {
	t.Helper()
	id := git(t, dir, "content", "hash-object", "-w", "--stdin")
	raw := make([]byte, 20)
	for i := range raw {
		fmt.Sscanf(id[2*i:2*i+2], "%02x", &raw[i])
	}
	tree := git(t, dir, mode+" "+name+"\x00"+string(raw), "hash-object", "-w", "--literally", "-t", "tree", "--stdin")
	commit := git(t, dir, "", "commit-tree", "-m", "hostile", tree)
	git(t, dir, "", "update-ref", "refs/heads/hostile", commit)
	return commit
}

func TestGitHostileTree(t *testing.T) {
	dir, addr, _, _ := newRepo(t)
	for _, tt := range []struct{ mode, name string }{
		{"100644", ".."}, {"100644", ".git"}, {"100644", ".GIT"}, {"100644", "a/../../b"}, {"100644", "/etc/passwd"}, {"100644", "."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			commit := hostile(t, dir, tt.mode, tt.name)
			f, _ := newFetcher(t)
			_, err := f.Git(t.Context(), "git+"+addr+"/repo.git", commit)
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestParseTree(t *testing.T) {
	line := func(mode, p string) string { return mode + " blob " + strings.Repeat("1", 40) + "\t" + p + "\x00" }
	for _, bad := range []string{
		line("120000", "a") + line("100644", "a/b"), line("100644", "a") + line("100644", "a"),
		line("100644", ""), line("100644", "a//b"), line("100644", "a/"), "x\x00",
	} {
		if all, err := parseTree([]byte(bad)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: %v, %v", bad, all, err)
		}
	}
}

func TestGitIsolated(t *testing.T) {
	dir, addr, older, _ := newRepo(t)
	home := t.TempDir()
	config := "[url \"http://example.invalid/\"]\n\tinsteadOf = http://\n[core]\n\tfsmonitor = false\n"
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HOME", home)
	t.Setenv("GIT_DIR", "/nonexistent")
	f, _ := newFetcher(t)
	if _, err := f.Git(t.Context(), "git+"+addr+"/repo.git", older); err != nil {
		t.Errorf("the user's configuration had a say: %v", err)
	}
	os.Unsetenv("GIT_DIR")
	f.Mirrors = &Mirrors{Prefixes: []Prefix{{Prefix: "https://example.invalid/", To: []string{"file://" + filepath.Dir(dir) + "/"}, Only: true}}}
	m, err := f.Git(t.Context(), "git+https://example.invalid/repo.git", older)
	if err != nil || m.URI != "git+https://example.invalid/repo.git#"+older {
		t.Errorf("a folder behind a mirror: %+v, %v", m, err)
	}
}

// TestGitTips asks a server that hands out only what a branch or a tag points to
// for an older commit.
func TestGitTips(t *testing.T) {
	dir, _, older, newer := newRepo(t)
	git(t, dir, "", "tag", "-d", "v1")
	git(t, dir, "", "config", "uploadpack.allowReachableSHA1InWant", "false")
	backend := filepath.Join(git(t, dir, "", "--exec-path"), "git-http-backend")
	h := &cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + filepath.Dir(dir), "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"}}
	addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Git-Protocol") // version 2 knows no such refusal
		h.ServeHTTP(w, r)
	})
	for _, commit := range []string{older, newer} {
		f, _ := newFetcher(t)
		if _, err := f.Git(t.Context(), "git+"+addr+"/repo.git", commit); err != nil {
			t.Errorf("%s: %v", commit, err)
		}
	}
}

// TestGitBounds fetches from repositories with too much to keep or to list.
func TestGitBounds(t *testing.T) {
	dir, addr, _, _ := newRepo(t)
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(noise)
	blob := git(t, dir, string(noise), "hash-object", "-w", "--stdin")
	tree := git(t, dir, "100644 blob "+blob+"\tnoise\n", "mktree")
	large := git(t, dir, "", "commit-tree", "-m", "large", tree)
	git(t, dir, "", "update-ref", "refs/heads/large", large)
	f, _ := newFetcher(t)
	uri := "git+" + addr + "/repo.git#" + large
	_, err := f.Fetch(t.Context(), Request{URI: uri, MaxSize: 256 << 10})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "which are allowed") {
		t.Errorf("a large repository: %v", err)
	}
	if _, err := f.Fetch(t.Context(), Request{URI: uri, MaxSize: 2 << 20}); err != nil {
		t.Errorf("one that is not too large: %v", err)
	}
	r := &gitRepo{dir: dir, maxFile: 1 << 20}
	if out, err := r.runUpTo(t.Context(), 100, nil, "ls-tree", "-r", "refs/heads/main"); !fault.Is(err, fault.Invalid) {
		t.Errorf("a long list: %d bytes, %v", len(out), err)
	}
	if left, _ := os.ReadDir(f.TempDir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
