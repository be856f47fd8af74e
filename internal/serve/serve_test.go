package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/repo"
)

var day = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// keySigner signs with a key in memory.
type keySigner struct{ key *pgp.Key }

func (s keySigner) SignReleases(_ context.Context, _ string, releases [][]byte, now time.Time) ([]pgp.Signed, error) {
	signed := make([]pgp.Signed, len(releases))
	for i, text := range releases {
		var err error
		if signed[i], err = s.key.SignBoth(text, now); err != nil {
			return nil, err
		}
	}
	return signed, nil
}

// A site is a small repository and the handler over it.
type site struct {
	http.Handler
	cfg  Config
	repo *repo.Repo
	root string
	now  *time.Time
	log  *bytes.Buffer
}

// newSite makes a repository with an empty suite community/bookworm and, put
// there by hand, a file in its pool.
func newSite(tb testing.TB) *site {
	tb.Helper()
	key, err := pgp.GenerateKey("Test", "test@example.org", day.AddDate(0, 0, -1))
	if err != nil {
		tb.Fatal(err)
	}
	root := tb.TempDir()
	r, err := repo.Open(repo.Config{Root: root, Blobs: blob.NewMemory(), Signer: keySigner{key}, Keyring: key.Keyring()})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range 2 {
		now := day.Add(time.Duration(i) * time.Hour)
		suite := []string{"bookworm", "trixie"}[i]
		if _, err := r.Publish(context.Background(), ashlar.Community, suite, nil, now); err != nil {
			tb.Fatal(err)
		}
	}
	write(tb, root, "deb/community/pool/main/h/hello/hello_1_amd64.deb", "0123456789")
	write(tb, root, "deb/community/pool/main/h/hello/hello_1_amd64.deb.sigstore.json", "{}")
	write(tb, root, "deb/community/pool/main/h/hello/big.tar.gz", strings.Repeat("x", hashedSize+1))
	write(tb, root, "secret", "secret")
	write(tb, filepath.Dir(root), "outside", "secret")
	if err := os.Symlink("../../../../../../outside", filepath.Join(root, "deb/community/pool/main/h/hello/link")); err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink("loop", filepath.Join(root, "deb/community/pool/main/h/hello/loop")); err != nil {
		tb.Fatal(err)
	}
	public, err := key.PublicArmored()
	if err != nil {
		tb.Fatal(err)
	}
	s := &site{repo: r, root: root, now: new(time.Time), log: new(bytes.Buffer)}
	*s.now = day.Add(2 * time.Hour)
	s.cfg = Config{
		Repo: r, ArchiveKey: public, Keys: map[string][]byte{"attest.pub": []byte("PEM")},
		Log: slog.New(slog.NewJSONHandler(s.log, nil)), Now: func() time.Time { return *s.now },
	}
	s.Handler, err = New(s.cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func write(tb testing.TB, root, name, data string) {
	tb.Helper()
	name = filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chtimes(name, day, day); err != nil {
		tb.Fatal(err)
	}
}

// requests is one request a line and what is expected of the answer:
//
//	METHOD path [Header=value …] -> status [Header=value …] ["body"]
//
// A value ends at a blank; _ in it stands for one. A value * is any, a value !
// says that the header must not be there. A body in ~…~ need only be contained.
const requests = `
GET  $pool/hello_1_amd64.deb -> 200 Content-Length=10 Accept-Ranges=bytes Content-Type=application/vnd.debian.binary-package "0123456789"
GET  $pool/hello_1_amd64.deb -> 200 Cache-Control=public,_max-age=31536000,_immutable Last-Modified=Mon,_04_May_2026_12:00:00_GMT X-Content-Type-Options=nosniff
GET  $pool/hello_1_amd64.deb -> 200 ETag="84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
HEAD $pool/hello_1_amd64.deb -> 200 Content-Length=10 ETag=* ""
GET  $pool/hello_1_amd64.deb Range=bytes=2-4 -> 206 Content-Range=bytes_2-4/10 "234"
GET  $pool/hello_1_amd64.deb Range=bytes=-3 -> 206 "789"
GET  $pool/hello_1_amd64.deb Range=bytes=7- -> 206 "789"
GET  $pool/hello_1_amd64.deb Range=bytes=20- -> 416 Content-Range=bytes_*/10
GET  $pool/hello_1_amd64.deb Range=bytes=2-4 If-Range="other" -> 200 "0123456789"
GET  $pool/hello_1_amd64.deb If-None-Match="84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882" -> 304 Content-Length=! ""
GET  $pool/hello_1_amd64.deb If-None-Match="other" -> 200
GET  $pool/hello_1_amd64.deb If-Modified-Since=Mon,_04_May_2026_12:00:00_GMT -> 304 ""
GET  $pool/hello_1_amd64.deb If-Modified-Since=Mon,_04_May_2026_11:59:59_GMT -> 200
GET  $pool/hello_1_amd64.deb.sigstore.json -> 200 Cache-Control=no-cache Content-Type=application/json
GET  $pool/big.tar.gz -> 200 ETag=* Content-Encoding=! Content-Type=application/gzip
GET  $snapshot/20260504T120000Z/pool/main/h/hello/hello_1_amd64.deb -> 200 Cache-Control=public,_max-age=31536000,_immutable "0123456789"

GET  $dists/InRelease -> 200 Cache-Control=no-cache Last-Modified=Mon,_04_May_2026_12:00:00_GMT Content-Type=text/plain;_charset=utf-8 ~Valid-Until~
GET  $dists/InRelease If-Modified-Since=Mon,_04_May_2026_12:00:00_GMT -> 304
GET  $dists/Release.gpg -> 200 Content-Type=application/pgp-signature
GET  $dists/main/binary-amd64/Packages -> 200 Cache-Control=no-cache ""
GET  $dists/main/binary-amd64/by-hash/SHA256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -> 200 Cache-Control=public,_max-age=31536000,_immutable ETag="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
GET  $snapshot/20260504T120000Z/dists/bookworm/InRelease -> 200 Cache-Control=public,_max-age=31536000,_immutable
GET  $snapshot/20260504T130000Z/dists/bookworm/InRelease -> 200
GET  $snapshot/20260601T000000Z/dists/bookworm/InRelease -> 302 Location=$snapshot/20260504T130000Z/dists/bookworm/InRelease
GET  $snapshot/20260504T120001Z/dists/bookworm/InRelease -> 302 Location=$snapshot/20260504T120000Z/dists/bookworm/InRelease
GET  $snapshot/20250504T120001Z/dists/bookworm/InRelease -> 404
GET  $snapshot/20260504T120000Z/dists/trixie/InRelease -> 404

GET  / -> 200 Content-Type=text/html;_charset=utf-8 Content-Security-Policy=default-src_'none' ~http://example.org/deb/community/bookworm.sources~
HEAD / -> 200 ""
GET  /healthz -> 200 Content-Type=application/json Cache-Control=no-store ~"ok"~
HEAD /healthz -> 200 ""
GET  /keys/archive.asc -> 200 ~BEGIN PGP PUBLIC KEY BLOCK~
GET  /keys/attest.pub -> 200 "PEM"
GET  /keys/other -> 404
GET  /deb/community/bookworm.sources -> 200 Content-Type=text/plain;_charset=utf-8 Vary=Host ~URIs: http://example.org/deb/community~
GET  /deb/community/bookworm.sources Host=pkg.example.net:8080 -> 200 ~URIs: http://pkg.example.net:8080/deb/community~
GET  /deb/community/bookworm.sources Host=[::1]:80 -> 200 ~URIs: http://[::1]:80/~
GET  /deb/community/bookworm.sources Host=a"b -> 400
GET  /deb/community/bookworm.sources Host=x@y -> 400
GET  / Host=<script> -> 400
GET  /deb/community/sid.sources -> 404
GET  /deb/other/bookworm.sources -> 404
GET  /deb/community/prefer-hardened.pref -> 200 Content-Disposition=* ~Pin-Priority: 995~
GET  /deb/community/prefer-newest.pref -> 200 ~Pin-Priority: 500~
GET  /deb/community/prefer-other.pref -> 404
GET  /deb/other/prefer-newest.pref -> 404

POST $dists/InRelease -> 405 Allow=GET,_HEAD
PUT  $pool/hello_1_amd64.deb -> 405
DELETE $pool/hello_1_amd64.deb -> 405
OPTIONS / -> 405

GET  $pool/ -> 404
GET  $pool -> 404
GET  /deb -> 404
GET  /deb/ -> 404
GET  /deb/community/ -> 404
GET  /deb/community/pool -> 404
GET  /secret -> 404
GET  /.state/deb/community/lock -> 404
GET  $pool/link -> 404
GET  $pool/hello_1_amd64.deb/below -> 404
GET  $pool/loop -> 404
GET  $pool/$long -> 404
GET  $pool/../../../../../../secret -> 404
GET  $pool/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret -> 404
GET  /deb/community/pool/..%2f..%2f..%2fsecret -> 404
GET  //secret -> 404
GET  /deb/community/pool//main -> 404
GET  /deb/community/pool/main\..\x -> 404
GET  /deb/community/dists/bookworm/%00 -> 404
GET  /sources/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 -> 404
GET  /other/secret -> 404
`

func TestRequests(t *testing.T) {
	s := newSite(t)
	names := strings.NewReplacer("$pool", "/deb/community/pool/main/h/hello", "$dists", "/deb/community/dists/bookworm",
		"$snapshot", "/deb/community/snapshot", "$long", strings.Repeat("x", 300))
	for line := range strings.Lines(requests) {
		line = strings.TrimSpace(names.Replace(line))
		if line == "" {
			continue
		}
		ask, want, _ := strings.Cut(line, " -> ")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, parseRequest(t, ask))
		for _, problem := range compareAnswer(w, want) {
			t.Errorf("%s\n\t%s", line, problem)
		}
	}
}

// parseRequest reads the left side of a line of requests.
func parseRequest(t *testing.T, ask string) *http.Request {
	t.Helper()
	words := strings.Fields(ask)
	target, rawPath := words[1], ""
	if strings.HasPrefix(target, "//") || strings.Contains(target, `\`) {
		target, rawPath = "/", target
	}
	r := httptest.NewRequest(words[0], target, nil)
	r.Host = "example.org"
	if rawPath != "" {
		r.URL.Path = rawPath
	}
	for _, h := range words[2:] {
		name, value, _ := strings.Cut(h, "=")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header.Set(name, strings.ReplaceAll(value, "_", " "))
	}
	return r
}

// compareAnswer holds an answer against the right side of a line of requests.
func compareAnswer(w *httptest.ResponseRecorder, want string) (problems []string) {
	fail := func(what string) { problems = append(problems, what) }
	body, hasBody, part := "", false, false
	for _, quote := range []string{`"`, "~"} {
		if i := strings.Index(want, " "+quote); i >= 0 && strings.HasSuffix(want, quote) && !hasBody {
			body, hasBody, part = strings.TrimSuffix(want[i+2:], quote), true, quote == "~"
			want = want[:i]
		}
	}
	words := strings.Fields(want)
	if got := http.StatusText(w.Code); words[0] != strconv.Itoa(w.Code) {
		fail("status " + strconv.Itoa(w.Code) + " " + got)
	}
	for _, h := range words[1:] {
		name, value, _ := strings.Cut(h, "=")
		value = strings.ReplaceAll(value, "_", " ")
		got, there := w.Header().Get(name), w.Header()[http.CanonicalHeaderKey(name)] != nil
		switch {
		case value == "!" && there, value == "*" && !there, value != "!" && value != "*" && got != value:
			fail(name + ": " + got)
		}
	}
	got := w.Body.String()
	if hasBody && (part && !strings.Contains(got, body) || !part && got != body) {
		fail("body " + got)
	}
	return problems
}

// TestOpenFaults answers requests for files that cannot be opened.
func TestOpenFaults(t *testing.T) {
	s := newSite(t)
	inner := &server{Config: s.cfg}
	for errno, status := range map[syscall.Errno]int{
		syscall.ENOENT: 404, syscall.ENOTDIR: 404, syscall.ELOOP: 404, syscall.ENAMETOOLONG: 404,
		syscall.EMFILE: 503, syscall.ENFILE: 503, syscall.ENOMEM: 503, syscall.EACCES: 500, syscall.EIO: 500,
	} {
		w := httptest.NewRecorder()
		inner.fail(w, httptest.NewRequest("GET", "/x", nil), openFault(&fs.PathError{Op: "openat", Path: "x", Err: errno}))
		if w.Code != status || (w.Header().Get("Cache-Control") == "no-store") != (status >= 500) {
			t.Errorf("%v: %d, %v", errno, w.Code, w.Header())
		}
	}
}

// TestNoFiles asks while the process may not open another file.
func TestNoFiles(t *testing.T) {
	s := newSite(t)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	none := old
	none.Cur = 0
	var answers []*httptest.ResponseRecorder
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/deb/community/pool/main/h/hello/hello_1_amd64.deb", "/deb/community/bookworm.sources", "/", "/healthz",
		"/deb/community/snapshot/20260601T000000Z/dists/bookworm/InRelease"} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", p, nil))
		answers = append(answers, w)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	for i, w := range answers {
		if w.Code != 503 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("request %d: %d, %v", i, w.Code, w.Header())
		}
	}
}

// TestPrefix is behind a proxy that takes a folder off every path.
func TestPrefix(t *testing.T) {
	s := newSite(t)
	for base, prefix := range map[string]string{"https://example.org/a%20b/c/": "/a%20b/c", "https://example.org": ""} {
		s.cfg.BaseURL = base
		h, err := New(s.cfg)
		if err != nil {
			t.Fatal(err)
		}
		ask := func(p string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", p, nil))
			return w
		}
		got := ask("/deb/community/snapshot/20260601T000000Z/pool/main/x/a%3Fb_1:2%25.deb").Header().Get("Location")
		if want := prefix + "/deb/community/snapshot/20260504T130000Z/pool/main/x/a%3Fb_1:2%25.deb"; got != want {
			t.Errorf("redirected to %s, want %s", got, want)
		}
		page := ask("/").Body.String()
		for _, want := range []string{`href="` + prefix + `/keys/archive.asc"`, `href="` + prefix + `/keys/attest.pub"`,
			`href="` + prefix + `/healthz"`, strings.TrimRight(base, "/") + "/deb/community/bookworm.sources"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not say %s:\n%s", want, page)
			}
		}
	}
}

func TestHealth(t *testing.T) {
	s := newSite(t)
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
		return w.Code, w.Body.String()
	}
	check := func(what string, status int, says string) {
		t.Helper()
		if code, body := ask(); code != status || !strings.Contains(body, says) {
			t.Errorf("%s: %d %s", what, code, body)
		}
	}
	check("fresh", 200, `"ok"`)
	*s.now = day.AddDate(0, 0, 6).Add(13 * time.Hour)
	check("about to expire", 503, "expires soon")
	*s.now = day.AddDate(0, 0, 8)
	check("expired", 503, "has expired")
	if _, err := s.repo.Resign(context.Background(), *s.now); err != nil {
		t.Fatal(err)
	}
	check("signed again", 200, `"ok"`)
	name := filepath.Join(s.root, "deb/community/dists/trixie/InRelease")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.root, "deb/community/dists/trixie/InRelease", strings.Replace(string(b), "Origin: Ashlar", "Origin: Mallory", 1))
	check("tampered", 503, "not signed by the archive key")
	write(t, s.root, "deb/community/dists/trixie/InRelease", "nonsense")
	check("unreadable", 503, "cannot be read")
}

func TestAccessLog(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequest("GET", "/deb/community/pool/main/h/hello/hello_1_amd64.deb", nil)
	r.Header.Set("User-Agent", "apt\" \n{}")
	s.ServeHTTP(httptest.NewRecorder(), r)
	var entry struct {
		Msg, Method, Path, Agent string
		Status, Bytes            int
	}
	if err := json.Unmarshal(s.log.Bytes(), &entry); err != nil {
		t.Fatalf("%v in %s", err, s.log)
	}
	if entry.Msg != "request" || entry.Status != 200 || entry.Bytes != 10 || entry.Agent != "apt\" \n{}" {
		t.Errorf("logged %+v", entry)
	}
}

func TestKeepSigned(t *testing.T) {
	var seen []time.Time
	r := resignFunc(func(now time.Time) ([]string, error) {
		seen = append(seen, now)
		if len(seen) == 1 {
			return nil, errors.New("disk full")
		}
		return []string{"community/bookworm"}, nil
	})
	ticks := make(chan time.Time, 2)
	ticks <- day
	ticks <- day.Add(time.Hour)
	close(ticks)
	var log bytes.Buffer
	KeepSigned(context.Background(), r, ticks, slog.New(slog.NewJSONHandler(&log, nil)))
	if len(seen) != 2 || !strings.Contains(log.String(), "disk full") || !strings.Contains(log.String(), "community/bookworm") {
		t.Errorf("called at %v, logged %s", seen, &log)
	}
}

type resignFunc func(now time.Time) ([]string, error)

func (f resignFunc) Resign(_ context.Context, now time.Time) ([]string, error) { return f(now) }

// TestRun serves over a real socket, plain and with TLS, and ends in good order.
func TestRun(t *testing.T) {
	s := newSite(t)
	cert, key, roots := selfSigned(t)
	for _, secure := range []bool{false, true} {
		l := Listener{Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)}
		scheme := "http"
		if secure {
			l.CertFile, l.KeyFile, scheme = cert, key, "https"
		}
		addr := make(chan net.Addr, 1)
		l.Ready = func(a net.Addr) { addr <- a }
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx, s) }()
		base := scheme + "://" + (<-addr).String()
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
		answer, err := client.Get(base + "/deb/community/bookworm.sources")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || !strings.Contains(string(body), "URIs: "+base+"/deb/community\n") {
			t.Errorf("%s: %s, %v", base, body, err)
		}
		if secure {
			old := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MaxVersion: tls.VersionTLS11}}}
			if a, err := old.Get(base + "/"); err == nil {
				a.Body.Close()
				t.Error("TLS 1.1 was accepted")
			}
			if answer.ProtoMajor != 2 {
				t.Errorf("served by %s", answer.Proto)
			}
		}
		client.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if err := (Listener{Addr: "127.0.0.1:0", CertFile: cert}).Run(context.Background(), s); err == nil {
		t.Error("a certificate without a key was accepted")
	}
}

// selfSigned makes a certificate for the loopback address.
func selfSigned(t *testing.T) (certFile, keyFile string, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	write(t, dir, "cert.pem", string(certPEM))
	write(t, dir, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(certPEM)
	return filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), roots
}

// FuzzPath asks for anything: nothing outside of what is public may be answered.
func FuzzPath(f *testing.F) {
	s := newSite(f)
	for _, p := range []string{"/", "/secret", "/../secret", "/deb/community/pool/../../../secret", "/.state/deb/community/lock",
		"/deb/community/dists/bookworm/InRelease", "/sources/sha256/../../secret", "/deb/community/snapshot/20260504T120000Z/pool/../secret"} {
		f.Add("GET", p, "example.org")
	}
	f.Fuzz(func(t *testing.T, method, p, host string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL.Path, r.Host = method, p, host
		w := httptest.NewRecorder()
		s.log.Reset()
		s.ServeHTTP(w, r)
		if strings.Contains(w.Body.String(), "secret") && !strings.Contains(p, "secret") || w.Body.String() == "secret" {
			t.Errorf("%q: %s", p, w.Body)
		}
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%q: status %d", p, w.Code)
		}
	})
}
