package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 200_000)

// newFetcher returns a fetcher with the alias debian for base, which does not
// sleep, and the pauses that it was asked to make.
func newFetcher(t *testing.T, bases ...string) (*Fetcher, *[]time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var pauses []time.Duration
	m := &Mirrors{Aliases: map[string][]string{}}
	for _, b := range bases {
		m.Aliases["debian"] = append(m.Aliases["debian"], strings.TrimRight(b, "/")+"/")
	}
	return &Fetcher{Mirrors: m, Store: blob.NewMemory(), TempDir: t.TempDir(), Retry: Retry{
		Attempts: 3,
		Jitter:   func() float64 { return 1 },
		Sleep: func(ctx context.Context, d time.Duration) error {
			mu.Lock()
			defer mu.Unlock()
			pauses = append(pauses, d)
			return ctx.Err()
		},
	}}, &pauses
}

// serve starts a server on loopback and returns its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// whole serves content with ranges and a strong ETag.
func whole(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"v1"`)
	http.ServeContent(w, r, "f", time.Time{}, bytes.NewReader(content))
}

// cut sends the first n bytes of what is asked for and breaks the connection.
func cut(w http.ResponseWriter, n int) {
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Write(content[:n])
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestFetch(t *testing.T) {
	digest := ashlar.DigestOf(content)
	var calls atomic.Int32
	first := func(h http.HandlerFunc) http.HandlerFunc { // h answers the first call, whole the others
		return func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) == 1 {
				h(w, r)
				return
			}
			whole(w, r)
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", code) }
	}
	tests := []struct {
		name   string
		serve  http.HandlerFunc
		req    Request
		kind   fault.Kind // "" means success
		pauses int
	}{
		{"plain", whole, Request{Digest: digest}, "", 0},
		{"any digest", whole, Request{}, "", 0},
		{"right size", whole, Request{Digest: digest, Size: int64(len(content))}, "", 0},
		{"404", status(404), Request{Digest: digest}, fault.NotFound, 0},
		{"403", status(403), Request{Digest: digest}, fault.NotFound, 0},
		{"401", status(401), Request{Digest: digest}, fault.Denied, 0},
		{"503 then well", first(status(503)), Request{Digest: digest}, "", 1},
		{"always 503", status(503), Request{Digest: digest}, fault.Unavailable, 2},
		{"wrong digest", whole, Request{Digest: ashlar.DigestOf(nil)}, fault.Invalid, 0},
		{"wrong size", whole, Request{Digest: digest, Size: 5}, fault.Invalid, 0},
		{"too large by length", whole, Request{Digest: digest, MaxSize: 1000}, fault.Invalid, 0},
		{"too large without length", func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			w.Write(content)
		}, Request{MaxSize: 1000}, fault.Invalid, 0},
		{"truncated then range", first(func(w http.ResponseWriter, _ *http.Request) { cut(w, 1_500_000) }), Request{Digest: digest}, "", 1},
		{"truncated then range without digest", first(func(w http.ResponseWriter, _ *http.Request) { cut(w, 1_500_000) }), Request{}, "", 1},
		{"always truncated", func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			cut(w, 1000)
		}, Request{Digest: digest}, fault.Unavailable, 2},
		{"range ignored", first(func(w http.ResponseWriter, r *http.Request) { cut(w, 1000) }), Request{Digest: digest}, "", 1},
		{"redirect loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, Request{Digest: digest}, fault.Invalid, 0},
		{"redirect to file", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(302)
		}, Request{}, fault.Denied, 0},
		{"wrong range", func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				cut(w, 1000)
			}
			w.Header().Set("Content-Range", "bytes 5-9/10")
			w.WriteHeader(206)
		}, Request{Digest: digest}, fault.Invalid, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			calls.Store(0)
			f, pauses := newFetcher(t, serve(t, tt.serve))
			tt.req.URI = "mirror://debian/pool/f.tar"
			m, err := f.Fetch(t.Context(), tt.req)
			if tt.kind != "" {
				checkFault(t, err, tt.kind, "mirror://debian/pool/f.tar")
			} else if err != nil {
				t.Fatal(err)
			} else if want := (ashlar.Material{Name: "f.tar", URI: tt.req.URI, Digest: digest, Size: int64(len(content))}); m != want {
				t.Errorf("got %+v, want %+v", m, want)
			}
			if len(*pauses) != tt.pauses {
				t.Errorf("paused %v, want %d times", *pauses, tt.pauses)
			}
			if _, err := f.Store.Stat(t.Context(), digest); tt.kind != "" && tt.req.Digest != digest && !fault.Is(err, fault.NotFound) {
				t.Errorf("the store kept the content after a failure: %v", err)
			}
		})
	}
}

// checkFault checks kind, the name in the message, and that there is a remedy.
func checkFault(t *testing.T, err error, kind fault.Kind, names string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Fatalf("got error %v (%s), want kind %s", err, fault.KindOf(err), kind)
	}
	if !strings.Contains(err.Error(), names) || e.Remedy == "" {
		t.Errorf("error lacks %q or a remedy: %v", names, err)
	}
	if strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("error names the host of the mirror: %v", err)
	}
}

func TestRangeAsked(t *testing.T) {
	var ranges []string
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range")+" "+r.Header.Get("If-Range"))
		if len(ranges) == 1 {
			cut(w, 1000)
		}
		whole(w, r)
	})
	f, _ := newFetcher(t, u)
	if _, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/f", Digest: ashlar.DigestOf(content)}); err != nil {
		t.Fatal(err)
	}
	if len(ranges) != 2 || ranges[1] != `bytes=1000- "v1"` {
		t.Errorf("asked for %q", ranges)
	}
}

// A bell is a watchdog that barks when a test says so.
type bell struct{}

func (bell) Reset(time.Duration) bool { return true }
func (bell) Stop() bool               { return true }

func TestStalled(t *testing.T) {
	var calls atomic.Int32
	silent := make(chan struct{})
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Content-Length", fmt.Sprint(len(content)))
			w.Write(content[:1000])
			w.(http.Flusher).Flush()
			close(silent)
			<-r.Context().Done()
			return
		}
		whole(w, r)
	})
	f, _ := newFetcher(t, u)
	var once sync.Once
	f.watchdog = func(bark func()) watchdog {
		once.Do(func() {
			go func() {
				<-silent
				bark()
			}()
		})
		return bell{}
	}
	if _, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/f", Digest: ashlar.DigestOf(content)}); err != nil {
		t.Fatal(err)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls", n)
	}
}

func TestNoDowngrade(t *testing.T) {
	plain := serve(t, whole)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, plain, http.StatusFound) }))
	defer s.Close()
	f, _ := newFetcher(t, s.URL)
	f.Client = s.Client()
	f.Client.CheckRedirect = checkRedirect
	_, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/f", Digest: ashlar.DigestOf(content)})
	checkFault(t, err, fault.Denied, "from https to http")
	_, err = f.Fetch(t.Context(), Request{URI: "http://example.org/f"})
	checkFault(t, err, fault.Denied, "no checksum")
}

func TestFallback(t *testing.T) {
	gone := serve(t, http.NotFound)
	other := serve(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "another file") })
	good := serve(t, whole)
	f, _ := newFetcher(t, gone, other, good)
	if _, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/f", Digest: ashlar.DigestOf(content)}); err != nil {
		t.Error(err)
	}
	f, _ = newFetcher(t, gone, other)
	_, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/f", Digest: ashlar.DigestOf(content)})
	checkFault(t, err, fault.Invalid, string(ashlar.DigestOf([]byte("another file"))))
}

func TestStoreIsTried(t *testing.T) {
	f, _ := newFetcher(t)
	f.Offline = true
	file, err := f.Store.Put(t.Context(), bytes.NewReader(content), "")
	if err != nil {
		t.Fatal(err)
	}
	var seen Progress
	f.Progress = func(p Progress) { seen = p }
	m, err := f.Fetch(t.Context(), Request{URI: "https://example.org/x?y=z", Digest: file.Digest})
	if err != nil || m.Name != "x" || m.Size != file.Size {
		t.Errorf("%+v, %v", m, err)
	}
	if !seen.Cached || !seen.End {
		t.Errorf("progress %+v", seen)
	}
	_, err = f.Fetch(t.Context(), Request{URI: "https://example.org/x", Digest: ashlar.DigestOf(nil)})
	checkFault(t, err, fault.Unavailable, "network is turned off")
}

func TestFileMirror(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	f, _ := newFetcher(t, "file://"+dir)
	f.Offline = true
	if _, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/f"}); err != nil {
		t.Error(err)
	}
	_, err := f.Fetch(t.Context(), Request{URI: "mirror://debian/g"})
	checkFault(t, err, fault.NotFound, "mirror://debian/g")
	for uri, want := range map[string]bool{"mirror://debian/f": true, "mirror://debian/g": false} {
		if got, err := f.Exists(t.Context(), uri); got != want || err != nil {
			t.Errorf("exists %s: %v, %v", uri, got, err)
		}
	}
}

func TestBadRequests(t *testing.T) {
	f, _ := newFetcher(t, "http://example.org")
	for _, req := range []Request{
		{URI: "ftp://example.org/f"}, {URI: "file:///etc/passwd"}, {URI: "mirror://debian/../../etc"}, {URI: "mirror://debian/%2e%2e/f"},
		{URI: "https:///f"}, {URI: "https://u:p@example.org/f"}, {URI: "mirror://other/f"}, {URI: "f"}, {URI: ""},
		{URI: "mirror://debian/f", Digest: "md5:1"}, {URI: "mirror://debian/f", Size: 10, MaxSize: 5},
	} {
		if _, err := f.Fetch(t.Context(), req); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", req, err)
		} else if strings.Contains(err.Error(), "u:p@") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

func TestFetchAll(t *testing.T) {
	var now, most atomic.Int32
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if r.URL.Path == "/bad" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, r.URL.Path)
	})
	f, _ := newFetcher(t, u)
	f.Parallel = 3
	var reqs []Request
	for i := range 40 {
		reqs = append(reqs, Request{URI: fmt.Sprintf("mirror://debian/%d", i)})
	}
	all, err := f.FetchAll(t.Context(), reqs)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range all {
		if want := ashlar.DigestOf(fmt.Appendf(nil, "/%d", i)); m.Digest != want {
			t.Errorf("%d: %+v", i, m)
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d downloads at once", most.Load())
	}
	_, err = f.FetchAll(t.Context(), append(reqs, Request{URI: "mirror://debian/bad"}))
	checkFault(t, err, fault.NotFound, "mirror://debian/bad")
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(content[:10])
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	f, _ := newFetcher(t, u)
	if _, err := f.Fetch(ctx, Request{URI: "mirror://debian/f"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestExists(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method != http.MethodHead:
			t.Errorf("asked with %s", r.Method)
		case r.URL.Path == "/no":
			http.NotFound(w, r)
		case r.URL.Path == "/broken":
			w.WriteHeader(502)
		}
	})
	f, pauses := newFetcher(t, u)
	for path, want := range map[string]bool{"yes": true, "no": false} {
		if got, err := f.Exists(t.Context(), "mirror://debian/"+path); got != want || err != nil {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
	if _, err := f.Exists(t.Context(), "mirror://debian/broken"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("broken: %v", err)
	}
	if len(*pauses) != 2 || (*pauses)[0] != 500*time.Millisecond || (*pauses)[1] != time.Second {
		t.Errorf("pauses %v", *pauses)
	}
}

func TestRetryAfter(t *testing.T) {
	var calls atomic.Int32
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(429)
		}
	})
	f, pauses := newFetcher(t, u)
	if ok, err := f.Exists(t.Context(), "mirror://debian/f"); !ok || err != nil {
		t.Error(ok, err)
	}
	if len(*pauses) != 1 || (*pauses)[0] != 7*time.Second {
		t.Errorf("pauses %v", *pauses)
	}
}
