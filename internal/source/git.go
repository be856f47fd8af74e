package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var (
	commitForm = regexp.MustCompile(`^[0-9a-f]{40}$`)
	refForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/+@~^-]{0,200}$`)
)

// A gitSource is one commit of one repository.
type gitSource struct {
	url    string // for git, without "git+" and fragment
	ref    string // tag or branch that must name the commit, may be ""
	commit string
}

// uri returns the address for locks.
func (g gitSource) uri() string { return "git+" + g.url + "#" + g.commit }

// name returns what the tree is called: repository and short commit.
func (g gitSource) name() string {
	return strings.TrimSuffix(FileName(g.url), ".git") + "-" + g.commit[:12] + ".tar"
}

// parseGit reads git+https://host/repo.git#fragment. The commit is the fragment
// or the one given, which a fragment that is a tag must then name.
func parseGit(uri, commit string) (gitSource, error) {
	bad := func(format string, args ...any) (gitSource, error) {
		return gitSource{}, fault.New(fault.Invalid, format, args...).
			Fix("write git+https://host/repo.git#<40 hexadecimal digits>, or a tag and the commit as its checksum")
	}
	bare, fragment, _ := strings.Cut(strings.TrimPrefix(uri, "git+"), "#")
	u, err := url.Parse(bare)
	switch {
	case err == nil && u.Scheme == "file":
		return gitSource{}, fault.New(fault.Denied, "%q is a folder of this machine, and a definition reaches none", uri).
			Fix(`name the repository by its address, and map that to the folder in the mirrors configuration: {"prefixes": [{"prefix": "https://host/", "to": ["file:///folder/"]}]}`)
	case err != nil || !isGit(uri) || !slices.Contains([]string{"https", "http"}, u.Scheme):
		return bad("%q is not the address of a git repository that can be fetched", uri)
	case u.User != nil, u.RawQuery != "", u.Host == "":
		return bad("%s has credentials, a query or no host", u.Redacted())
	}
	g := gitSource{url: bare, ref: fragment, commit: commit}
	if commitForm.MatchString(fragment) {
		if commit != "" && commit != fragment {
			return bad("%s names another commit than its checksum %s", uri, commit)
		}
		g.ref, g.commit = "", fragment
	}
	if !commitForm.MatchString(g.commit) {
		return bad("%s is not pinned to a full commit", uri)
	}
	if g.ref != "" && (!refForm.MatchString(g.ref) || strings.Contains(g.ref, "..")) {
		return bad("%q is not the name of a tag or branch", g.ref)
	}
	return g, nil
}

// Git fetches one commit of a repository and returns its tree as a tar archive in
// the store: sorted by name, owned by root, every time the commit's. Submodules
// are empty folders, as in a plain checkout. uri is git+https://host/repo.git,
// with #<commit>, or with a tag and the full commit given apart. No hook, filter
// or configuration of the repository or the user has a say.
func (f *Fetcher) Git(ctx context.Context, uri, commit string) (ashlar.Material, error) {
	g, err := parseGit(uri, commit)
	if err != nil {
		return ashlar.Material{}, err
	}
	return f.git(ctx, g, Request{})
}

// fetchGit serves a Request for a git address, whose digest is that of the tar
// archive.
func (f *Fetcher) fetchGit(ctx context.Context, req Request) (ashlar.Material, error) {
	g, err := parseGit(req.URI, "")
	if err != nil {
		return ashlar.Material{}, err
	}
	if size, ok := f.present(ctx, req.Digest); ok {
		f.report(Progress{URI: g.uri(), Done: size, Total: size, Cached: true, End: true})
		return ashlar.Material{Name: materialName(req, g), URI: g.uri(), Digest: req.Digest, Size: size}, nil
	}
	return f.git(ctx, g, req)
}

func materialName(req Request, g gitSource) string {
	if req.Name != "" {
		return req.Name
	}
	return g.name()
}

// git tries the mirrors of the repository in turn.
func (f *Fetcher) git(ctx context.Context, g gitSource, req Request) (ashlar.Material, error) {
	urls, err := f.Mirrors.candidates(g.url, false)
	if err != nil {
		return ashlar.Material{}, err
	}
	if urls = f.reachable(urls); len(urls) == 0 {
		return ashlar.Material{}, offline(g.uri())
	}
	if req.MaxSize <= 0 {
		req.MaxSize = DefaultMaxSize
	}
	var tried []error
	for _, u := range urls {
		var file ashlar.File
		err := f.Retry.do(ctx, func() (err error) {
			file, err = f.gitFrom(ctx, u, g, req)
			return err
		})
		if err == nil {
			f.report(Progress{URI: g.uri(), Done: file.Size, Total: file.Size, End: true})
			return ashlar.Material{Name: materialName(req, g), URI: g.uri(), Digest: file.Digest, Size: file.Size}, nil
		}
		if ctx.Err() != nil {
			return ashlar.Material{}, context.Cause(ctx)
		}
		var fatal *storeError
		if errors.As(err, &fatal) {
			return ashlar.Material{}, fatal.err
		}
		tried = append(tried, err)
	}
	return ashlar.Material{}, verdict(g.uri(), tried)
}

// gitFrom fetches the commit from one address into a scratch repository and
// exports its tree.
func (f *Fetcher) gitFrom(ctx context.Context, u string, g gitSource, req Request) (ashlar.File, error) {
	dir, err := os.MkdirTemp(f.TempDir, "ashlar-git-*")
	if err != nil {
		return ashlar.File{}, &storeError{err}
	}
	defer os.RemoveAll(dir)
	repo := &gitRepo{dir: dir, scheme: schemeOf(u), maxFile: req.MaxSize}
	if err := repo.fetch(ctx, u, g); err != nil {
		return ashlar.File{}, err
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(repo.export(ctx, g.commit, pw)) }()
	file, err := f.put(ctx, pr, req)
	pr.CloseWithError(io.ErrClosedPipe)
	return file, err
}

// A gitRepo is a bare scratch repository.
type gitRepo struct {
	dir     string
	scheme  string // the only protocol that git may use
	maxFile int64  // bytes of one file that git may write; what it fetches is one
}

// fetch brings the commit, with as little history as the server allows, and
// makes sure that a tag given with it still names it.
func (r *gitRepo) fetch(ctx context.Context, u string, g gitSource) error {
	if _, err := r.run(ctx, "init", "--quiet", "--bare", "--template=", "."); err != nil {
		return err
	}
	if g.ref != "" {
		return r.fetchRef(ctx, u, g)
	}
	_, err := r.run(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--end-of-options", u, g.commit)
	if err == nil {
		return r.hasCommit(ctx, g.commit)
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	if err := r.fetchTips(ctx, u); err != nil {
		return err
	}
	return r.hasCommit(ctx, g.commit)
}

// maxTips bounds the list of a repository's branches and tags, in bytes.
const maxTips = 16 << 20

// fetchTips brings all branches and tags with their history, for a server that
// hands out nothing else. They are asked for by id, so that git does not write a
// file for each.
func (r *gitRepo) fetchTips(ctx context.Context, u string) error {
	out, err := r.runUpTo(ctx, maxTips, nil, "ls-remote", "--quiet", "--heads", "--tags", "--end-of-options", u)
	if err != nil {
		return err
	}
	var ids strings.Builder
	for line := range strings.Lines(string(out)) {
		if id, ref, _ := strings.Cut(strings.TrimSpace(line), "\t"); commitForm.MatchString(id) && !strings.HasSuffix(ref, "^{}") {
			ids.WriteString(id + "\n")
		}
	}
	if ids.Len() == 0 {
		return fault.New(fault.NotFound, "the repository has no branch and no tag")
	}
	_, err = r.runUpTo(ctx, maxSaid, strings.NewReader(ids.String()), "fetch", "--quiet", "--no-tags", "--stdin", "--end-of-options", u)
	return err
}

// fetchRef brings the commit by the name of a tag or branch.
func (r *gitRepo) fetchRef(ctx context.Context, u string, g gitSource) error {
	_, err := r.run(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--end-of-options", u, "refs/tags/"+g.ref)
	if fault.Is(err, fault.NotFound) {
		_, err = r.run(ctx, "fetch", "--quiet", "--no-tags", "--depth=1", "--end-of-options", u, g.ref)
	}
	if err != nil {
		return err
	}
	out, err := r.run(ctx, "rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}")
	if err != nil {
		return err
	}
	if got := strings.TrimSpace(string(out)); got != g.commit {
		return fault.New(fault.Denied, "%q names commit %s, pinned is %s: upstream moved it", g.ref, got, g.commit)
	}
	return nil
}

// hasCommit checks that the id is that of a commit, not of another object.
func (r *gitRepo) hasCommit(ctx context.Context, commit string) error {
	out, err := r.run(ctx, "cat-file", "-t", commit)
	if err != nil {
		return fault.New(fault.NotFound, "the repository has no commit %s", commit)
	}
	if kind := strings.TrimSpace(string(out)); kind != "commit" {
		return fault.New(fault.Invalid, "%s is a %s, not a commit", commit, kind)
	}
	return nil
}

// ulimit is a script that runs its arguments after the first, which is how many
// blocks of 512 bytes a file may have that they write.
const ulimit = `ulimit -f "$1" && shift && exec "$@"`

// command prepares git so that nothing but the arguments steers it, and no file
// that it or a helper of it writes grows without end.
func (r *gitRepo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := r.unlimited(ctx, args...)
	if cmd.Err == nil {
		blocks := strconv.FormatInt(r.maxFile/512+1, 10)
		cmd.Args = append([]string{"sh", "-c", ulimit, "sh", blocks, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	}
	return cmd
}

func (r *gitRepo) unlimited(ctx context.Context, args ...string) *exec.Cmd {
	cmd := gitCommand(ctx, r.dir, r.scheme, append([]string{"--git-dir=."}, args...)...)
	cmd.Env = append(cmd.Env, "HOME="+r.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
	for _, name := range []string{"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"} {
		if v := os.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// gitCommand prepares git in dir so that no setting of the repository there makes
// it run a program or reach out but over the scheme, "" for none.
func gitCommand(ctx context.Context, dir, scheme string, args ...string) *exec.Cmd {
	settings := []string{
		"core.hooksPath=/dev/null", "core.fsmonitor=false", "core.attributesFile=/dev/null", "gc.auto=0", "maintenance.auto=false",
		"protocol.allow=never", "protocol.version=2", "credential.helper=",
		"fetch.unpackLimit=1", "fetch.recurseSubmodules=false", "submodule.recurse=false", "http.followRedirects=initial", "http.lowSpeedLimit=1", "http.lowSpeedTime=60",
	}
	if scheme != "" {
		settings = append(settings, "protocol."+scheme+".allow=always")
	}
	full := []string{"--no-replace-objects"}
	for _, s := range settings {
		full = append(full, "-c", s)
	}
	cmd := exec.CommandContext(ctx, "git", append(full, args...)...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=true",
		"GIT_ALLOW_PROTOCOL=" + scheme, "GIT_OPTIONAL_LOCKS=0", "GIT_NO_LAZY_FETCH=1",
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// maxSaid bounds what git says on its standard output, in bytes, where a line is
// expected.
const maxSaid = 64 << 10

// run runs git and returns its standard output, which has a line or two; the error
// has the kind that git's words tell.
func (r *gitRepo) run(ctx context.Context, args ...string) ([]byte, error) {
	return r.runUpTo(ctx, maxSaid, nil, args...)
}

// runUpTo runs git on a standard input, nil for none, and returns its standard
// output. It stops git when that has more than max bytes, and returns a
// fault.Invalid error.
func (r *gitRepo) runUpTo(ctx context.Context, max int, stdin io.Reader, args ...string) ([]byte, error) {
	cmd := r.command(ctx, args...)
	var stderr bytes.Buffer
	stdout := &bounded{max: max}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, &tail{max: 4 << 10, b: &stderr}
	err := cmd.Run()
	switch {
	case stdout.over:
		return nil, fault.New(fault.Invalid, "git %s gives more than %d bytes", args[0], max)
	case err == nil:
		return stdout.b.Bytes(), nil
	case r.full():
		return nil, fault.New(fault.Invalid, "the repository has more than %d bytes to fetch, which are allowed", r.maxFile)
	}
	return nil, gitFault(ctx, args[0], stderr.String(), err)
}

// full reports whether git was stopped for what it fetched being too much: the
// kernel ends it without a word then, but leaves the file.
func (r *gitRepo) full() bool {
	packs, _ := filepath.Glob(filepath.Join(r.dir, "objects", "pack", "*"))
	return slices.ContainsFunc(packs, func(p string) bool {
		info, err := os.Stat(p)
		return err == nil && info.Size() >= r.maxFile
	})
}

// A bounded buffer refuses more than max bytes.
type bounded struct {
	max  int
	b    bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.over = b.over || b.b.Len()+len(p) > b.max; b.over {
		return 0, io.ErrShortWrite
	}
	return b.b.Write(p)
}

// gitFault gives the failure of a git command its kind.
func gitFault(ctx context.Context, verb, stderr string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, exec.ErrNotFound) {
		return &storeError{fault.New(fault.Failed, "git is not installed").Fix("install the package git")}
	}
	said := strings.TrimSpace(stderr)
	if _, last, ok := strings.Cut(said, "fatal: "); ok {
		said = last
	}
	said, _, _ = strings.Cut(said, "\n")
	if said == "" {
		said = err.Error()
	}
	kind := fault.Unavailable
	switch lower := strings.ToLower(stderr); {
	case strings.Contains(lower, "no space left"):
		return &storeError{fault.New(fault.Unavailable, "git %s: %s", verb, said).Fix("free some space and run again")}
	case containsAny(lower, "not our ref", "couldn't find remote ref", "not found", "does not exist", "unadvertised object", "does not appear to be a git repository"):
		kind = fault.NotFound
	case containsAny(lower, "transport '", "not allowed", "authentication failed", "could not read username", "terminal prompts disabled", "certificate"):
		kind = fault.Denied
	}
	return fault.New(kind, "git %s: %s", verb, strconv.Quote(said))
}

func containsAny(s string, words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s, w) })
}

// A tail keeps at most max bytes and drops what follows.
type tail struct {
	max int
	b   *bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.b.Write(b[:min(len(b), max(0, t.max-t.b.Len()))])
	return len(b), nil
}
