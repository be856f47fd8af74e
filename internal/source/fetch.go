// Package source brings files from outside into the blob store: over https and
// http, from Debian mirrors by alias, and from git at a commit. What comes in is
// checked against the digest while it streams; nothing is kept of what does not
// match.
package source

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// DefaultMaxSize is how many bytes a file may have if the request does not say.
const DefaultMaxSize = 4 << 30

// A Fetcher brings files into its store. Mirrors and Store must be set; the
// other fields have usable zero values. Its methods may be called concurrently.
type Fetcher struct {
	Mirrors  *Mirrors
	Store    blob.Store
	Client   *http.Client   // nil means NewClient()
	Retry    Retry          // how often and how fast to try again
	Progress func(Progress) // called from any goroutine, may be nil
	Parallel int            // downloads at once in FetchAll, 0 means 8
	Stall    time.Duration  // give up on a connection that is silent this long, 0 means one minute
	Offline  bool           // use only what is in the store and behind file addresses
	TempDir  string         // for git, "" means the system's

	watchdog func(bark func()) watchdog // for tests, nil goes by the clock
	once     sync.Once
	shared   *http.Client // of NewClient, so that connections are used again
}

// A Request asks for one file.
type Request struct {
	URI     string        // https, http, mirror or git+https
	Name    string        // of the material, "" means the last element of the URI
	Digest  ashlar.Digest // "" accepts any content, over https or from an alias
	Size    int64         // in bytes, 0 means unknown
	MaxSize int64         // in bytes, 0 means DefaultMaxSize
}

// Progress tells how far one download is.
type Progress struct {
	URI    string // as locks name it
	Done   int64  // bytes
	Total  int64  // bytes, 0 if unknown
	Cached bool   // it was in the store already
	End    bool   // this is the last report on this URI
}

// NewClient returns an HTTP client for fetching: no downgrade from https to
// http, at most ten redirects, and time limits on every phase but the body.
func NewClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true // digests are of the bytes as they are stored
	t.MaxIdleConnsPerHost = 16
	t.ResponseHeaderTimeout = time.Minute
	return &http.Client{Transport: t, CheckRedirect: checkRedirect}
}

// Alias returns the address that locks use for another: see Mirrors.Alias.
func (f *Fetcher) Alias(uri string) string { return f.Mirrors.Alias(uri) }

func (f *Fetcher) client() *http.Client {
	if f.Client != nil {
		return f.Client
	}
	f.once.Do(func() { f.shared = NewClient() })
	return f.shared
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= 10:
		return fault.New(fault.Invalid, "more than ten redirects")
	case req.URL.Scheme != "https" && req.URL.Scheme != "http":
		return fault.New(fault.Denied, "redirected to the scheme %q", req.URL.Scheme)
	case req.URL.Scheme == "http" && via[len(via)-1].URL.Scheme == "https":
		return fault.New(fault.Denied, "redirected from https to http")
	}
	return nil
}

// Fetch returns the file as a material whose content is in the store; its URI is
// the one for locks. A file whose digest is in the store already is not
// downloaded. The error is fault.NotFound if every mirror says that there is no
// such file, fault.Invalid if the content has another digest or size, and
// fault.Unavailable if trying again later may help.
func (f *Fetcher) Fetch(ctx context.Context, req Request) (ashlar.Material, error) {
	if isGit(req.URI) {
		return f.fetchGit(ctx, req)
	}
	m := ashlar.Material{Name: req.Name, URI: f.Mirrors.Alias(req.URI), Digest: req.Digest}
	if m.Name == "" {
		m.Name = FileName(req.URI)
	}
	if err := f.check(&req); err != nil {
		return ashlar.Material{}, err
	}
	if size, ok := f.present(ctx, req.Digest); ok {
		m.Size = size
		f.report(Progress{URI: m.URI, Done: size, Total: size, Cached: true, End: true})
		return m, nil
	}
	urls, err := f.Mirrors.candidates(req.URI, req.Digest != "")
	if err != nil {
		return ashlar.Material{}, err
	}
	if urls = f.reachable(urls); len(urls) == 0 {
		return ashlar.Material{}, offline(m.URI)
	}
	file, err := f.fromAny(ctx, urls, m.URI, req)
	if err != nil {
		return ashlar.Material{}, err
	}
	m.Digest, m.Size = file.Digest, file.Size
	f.report(Progress{URI: m.URI, Done: m.Size, Total: m.Size, End: true})
	return m, nil
}

// check validates a request and fills in its limit.
func (f *Fetcher) check(req *Request) error {
	if req.MaxSize <= 0 {
		req.MaxSize = DefaultMaxSize
	}
	if req.Digest != "" {
		if err := req.Digest.Validate(); err != nil {
			return fault.New(fault.Invalid, "%s: %w", req.URI, err).Fix("write sha256: and 64 hexadecimal digits")
		}
	} else if schemeOf(req.URI) == "http" {
		return fault.New(fault.Denied, "%s is plain http and has no checksum", req.URI).Fix("use https, or give its SHA-256")
	}
	if req.Size > req.MaxSize {
		return fault.New(fault.Invalid, "%s has %d bytes, at most %d are allowed", f.Mirrors.Alias(req.URI), req.Size, req.MaxSize)
	}
	if req.Size > 0 {
		req.MaxSize = req.Size
	}
	return checkURI(req.URI)
}

// present returns the size of the content if the store has it.
func (f *Fetcher) present(ctx context.Context, d ashlar.Digest) (int64, bool) {
	if d == "" {
		return 0, false
	}
	size, err := f.Store.Stat(ctx, d)
	return size, err == nil
}

// reachable leaves out what needs the network when there is none.
func (f *Fetcher) reachable(urls []string) []string {
	if !f.Offline {
		return urls
	}
	var local []string
	for _, u := range urls {
		if schemeOf(u) == "file" {
			local = append(local, u)
		}
	}
	return local
}

func offline(uri string) error {
	return fault.New(fault.Unavailable, "%s is not in the store, and the network is turned off", uri).
		Fix("run once with the network, or point its mirror at a folder with file:///")
}

// fromAny tries the addresses in order until one gives the file.
func (f *Fetcher) fromAny(ctx context.Context, urls []string, alias string, req Request) (ashlar.File, error) {
	var tried []error
	for _, u := range urls {
		file, err := f.from(ctx, u, alias, req)
		if err == nil {
			return file, nil
		}
		if ctx.Err() != nil {
			return ashlar.File{}, context.Cause(ctx)
		}
		var fatal *storeError
		if errors.As(err, &fatal) {
			return ashlar.File{}, fatal.err
		}
		tried = append(tried, err)
	}
	return ashlar.File{}, verdict(alias, tried)
}

// A storeError is no fault of a mirror, so that no other is tried.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

// verdict makes one error of what the mirrors said: a mirror that may come back
// decides before one that has other bytes, and that before one without the file.
func verdict(uri string, tried []error) error {
	fixes := []struct {
		kind fault.Kind
		fix  string
	}{
		{fault.Unavailable, "check the network and the mirrors configuration, then run again"},
		{fault.Denied, "point the mirrors configuration at a server that can be trusted"},
		{fault.Invalid, "check the checksum against upstream's own; if it is right, the server has another file: use another mirror"},
		{fault.NotFound, "the server dropped it: take a version that is still there, or a mirror that keeps old files"},
	}
	for _, f := range fixes {
		for _, err := range tried {
			if fault.Is(err, f.kind) {
				return fault.New(f.kind, "fetch %s: %w", uri, err).Fix("%s", f.fix)
			}
		}
	}
	return fault.New(fault.Internal, "fetch %s: %w", uri, errors.Join(tried...))
}

// from downloads from one address into the store.
func (f *Fetcher) from(ctx context.Context, u, alias string, req Request) (ashlar.File, error) {
	if schemeOf(u) == "file" {
		return f.fromFile(ctx, u, req)
	}
	var file ashlar.File
	err := f.Retry.do(ctx, func() error {
		d := &download{f: f, ctx: ctx, url: u, alias: alias, req: req}
		defer d.close()
		var err error
		file, err = f.put(ctx, d, req)
		if d.err != nil {
			return d.err
		}
		return err
	})
	return file, err
}

// put stores what r gives and tells a mismatch from trouble with the store.
func (f *Fetcher) put(ctx context.Context, r io.Reader, req Request) (ashlar.File, error) {
	limited := &limitReader{r: r, left: req.MaxSize}
	file, err := f.Store.Put(ctx, limited, req.Digest)
	switch {
	case limited.err != nil:
		return ashlar.File{}, limited.err
	case fault.Is(err, fault.Invalid):
		return ashlar.File{}, err
	case err != nil:
		return ashlar.File{}, &storeError{err}
	case req.Size > 0 && file.Size != req.Size:
		return ashlar.File{}, fault.New(fault.Invalid, "it has %d bytes, wanted %d", file.Size, req.Size)
	}
	return file, nil
}

// A limitReader fails when more than its limit comes, and remembers any error.
type limitReader struct {
	r    io.Reader
	left int64
	err  error
}

func (l *limitReader) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		err = fault.New(fault.Invalid, "it is larger than what is allowed")
	}
	if err != nil && err != io.EOF {
		l.err = err
	}
	return n, err
}

// fromFile reads a mirror in the file system.
func (f *Fetcher) fromFile(ctx context.Context, u string, req Request) (ashlar.File, error) {
	file, err := openFileURL(u)
	if err != nil {
		return ashlar.File{}, err
	}
	defer file.Close()
	return f.put(ctx, file, req)
}

// openFileURL opens the regular file that a file address names.
func openFileURL(u string) (*os.File, error) {
	parsed, err := url.Parse(u)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err)
	}
	info, err := os.Stat(parsed.Path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "no such file").At(parsed.Path, 0)
	}
	if err == nil && !info.Mode().IsRegular() {
		return nil, fault.New(fault.Invalid, "not a regular file").At(parsed.Path, 0)
	}
	if err != nil {
		return nil, fault.New(fault.Unavailable, "%w", err)
	}
	file, err := os.Open(parsed.Path)
	if err != nil {
		return nil, fault.New(fault.Unavailable, "%w", err)
	}
	return file, nil
}

// FetchAll fetches several files at a time and returns their materials in the
// order of the requests. After the first error it stops the others and returns
// that error.
func (f *Fetcher) FetchAll(ctx context.Context, reqs []Request) ([]ashlar.Material, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(f.parallel())
	all := make([]ashlar.Material, len(reqs))
	for i, req := range reqs {
		g.Go(func() (err error) {
			all[i], err = f.Fetch(ctx, req)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return all, nil
}

func (f *Fetcher) parallel() int {
	if f.Parallel > 0 {
		return f.Parallel
	}
	return 8
}

// Exists reports whether a server has the file, without downloading it. The
// error says that it could not be found out.
func (f *Fetcher) Exists(ctx context.Context, uri string) (bool, error) {
	urls, err := f.Mirrors.candidates(uri, true)
	if err != nil {
		return false, err
	}
	alias := f.Mirrors.Alias(uri)
	if urls = f.reachable(urls); len(urls) == 0 {
		return false, offline(alias)
	}
	var tried []error
	for _, u := range urls {
		err := f.Retry.do(ctx, func() error { return f.probe(ctx, u) })
		if err == nil {
			return true, nil
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		tried = append(tried, err)
	}
	if err := verdict(alias, tried); !fault.Is(err, fault.NotFound) {
		return false, err
	}
	return false, nil
}

// probe asks one address for its headers.
func (f *Fetcher) probe(ctx context.Context, u string) error {
	if schemeOf(u) == "file" {
		file, err := openFileURL(u)
		if err == nil {
			file.Close()
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, f.stall())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, u, nil)
	if err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	resp, err := f.send(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	return statusFault(resp)
}

func (f *Fetcher) stall() time.Duration {
	if f.Stall > 0 {
		return f.Stall
	}
	return time.Minute
}

func (f *Fetcher) report(p Progress) {
	if f.Progress != nil {
		f.Progress(p)
	}
}

func isGit(uri string) bool { return strings.HasPrefix(uri, "git+") }
