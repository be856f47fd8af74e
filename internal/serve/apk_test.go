package serve

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/sign"
)

var musl = apkrepo.Target{Distro: "musl-1", Tier: ashlar.Community}

// apkTestKeys are the keys of the repository, the pair for apk that follows, and
// somebody else's.
var apkTestKeys = sync.OnceValue(func() [3]*sign.Keys {
	var all [3]*sign.Keys
	for i := range all {
		keys, err := sign.Generate("Test", "", day)
		if err != nil {
			panic(err)
		}
		v2, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		v3, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		own, err := sign.NewAPKKeys(v2, v3)
		if err != nil {
			panic(err)
		}
		keys.APK = *own
		all[i] = keys
	}
	return all
})

// rotating returns keys of which two pairs sign for apk.
func rotating() *sign.Keys {
	keys := *apkTestKeys()[0]
	next := apkTestKeys()[1].APK
	keys.APK = sign.APKKeys{V2: append(slices.Clip(keys.APK.V2), next.V2...), V3: append(slices.Clip(keys.APK.V3), next.V3...)}
	return &keys
}

// An apkSite is a site with repositories for apk.
type apkSite struct {
	*site
	apk   *apkrepo.Repo
	store *blob.Memory
	keys  *sign.Keys
}

// newAPKSite makes a site with repositories for apk in which nothing is published.
func newAPKSite(tb testing.TB) *apkSite {
	tb.Helper()
	s := &apkSite{site: newSite(tb), store: blob.NewMemory()}
	for dir := s.root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			tb.Fatal(err)
		}
	}
	s.signWith(tb, apkTestKeys()[0])
	return s
}

// signWith makes the repositories be signed by these keys and serves them.
func (s *apkSite) signWith(tb testing.TB, keys *sign.Keys) {
	tb.Helper()
	conn, err := sign.Local(tb.Context(), keys, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	pub := conn.Public()
	trusted, err := apkrepo.KeysOf(&pub)
	if err != nil {
		tb.Fatal(err)
	}
	s.keys = keys
	if s.apk, err = apkrepo.Open(apkrepo.Config{Root: s.root, Blobs: s.store, Signer: conn, Keys: trusted}); err != nil {
		tb.Fatal(err)
	}
	if err := s.apk.PublishKeys(tb.Context(), pub.APK, day); err != nil {
		tb.Fatal(err)
	}
	s.cfg.APK, s.cfg.Statements = s.apk, []crypto.PublicKey{keys.Attestation.Public()}
	for _, k := range pub.APK {
		s.cfg.Keys[k.Name] = k.PEM
	}
	if s.Handler, err = New(s.cfg); err != nil {
		tb.Fatal(err)
	}
}

// publish publishes packages of both formats, each a source of its own.
func (s *apkSite) publish(tb testing.TB, now time.Time, infos ...apk.Info) *apkrepo.Published {
	tb.Helper()
	var sets []apkrepo.SourceSet
	for _, info := range infos {
		sets = append(sets, s.set(tb, info))
	}
	done, err := s.apk.Publish(tb.Context(), musl, sets, now)
	if err != nil {
		tb.Fatal(err)
	}
	return done
}

// noise is content that nothing compresses.
var noise = sync.OnceValue(func() string {
	b := make([]byte, 3000)
	_, _ = rand.Read(b)
	return string(b)
})

// set makes a source set of one package in both formats, with a file opt/NAME and
// another of noise.
func (s *apkSite) set(tb testing.TB, info apk.Info) apkrepo.SourceSet {
	tb.Helper()
	content := info.Name + " " + info.Version + "\n"
	own := apk.Entry{User: "root", Group: "root", ModTime: day.Unix()}
	dir := own
	dir.Path, dir.Kind, dir.Mode = "opt", apk.Directory, 0o755
	files := []apk.File{{Entry: dir}}
	for name, content := range map[string]string{info.Name: content, info.Name + ".noise": noise()} {
		file := own
		file.Path, file.Mode, file.Size = "opt/"+name, 0o644, int64(len(content))
		files = append(files, apk.File{Entry: file, Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }})
	}
	var v2, v3 bytes.Buffer
	p2, err := apk.WriteV2(&v2, &apk.V2Spec{Info: info, Files: files, Signers: s.keys.APK.V2})
	if err != nil {
		tb.Fatal(err)
	}
	p3, err := apk.WriteV3(&v3, &apk.V3Spec{Info: info, Files: files, Signers: s.keys.APK.V3, Compression: adb.Deflate})
	if err != nil {
		tb.Fatal(err)
	}
	e2, e3 := p2.IndexEntry(), p3.IndexEntry()
	name, err := apkrepo.FileNameV3(&e3)
	if err != nil {
		tb.Fatal(err)
	}
	return apkrepo.SourceSet{Arch: "x86_64", Packages: []ashlar.File{s.put(tb, e2.FileName(), v2.Bytes()), s.put(tb, name, v3.Bytes())}}
}

func (s *apkSite) put(tb testing.TB, name string, b []byte) ashlar.File {
	tb.Helper()
	f, err := s.store.Put(tb.Context(), bytes.NewReader(b), "")
	if err != nil {
		tb.Fatal(err)
	}
	f.Name = name
	return f
}

func package1(name, version string) apk.Info {
	return apk.Info{Name: name, Version: version, Arch: "x86_64", Description: "test", License: "MIT", BuildTime: day.Unix()}
}

const apkRequests = `
GET  $repo/x86_64/one-1-r100.apk -> 200 Content-Type=application/octet-stream Content-Encoding=! Cache-Control=public,_max-age=31536000,_immutable ETag=* Last-Modified=* Accept-Ranges=bytes
HEAD $repo/x86_64/one-1-r100.apk -> 200 ETag=* Content-Length=* ""
GET  $repo/x86_64/one-1-r100.apk Range=bytes=0-1 -> 206 "$gzip"
GET  $repo/x86_64/APKINDEX.tar.gz -> 200 Content-Type=application/gzip Content-Encoding=! Cache-Control=no-cache Last-Modified=Mon,_04_May_2026_13:00:00_GMT
HEAD $repo/x86_64/APKINDEX.tar.gz -> 200 Last-Modified=Mon,_04_May_2026_13:00:00_GMT Content-Length=* ""
GET  $repo/x86_64/APKINDEX.tar.gz Range=bytes=0-1 -> 206 "$gzip"
GET  $repo/x86_64/Packages.adb -> 200 Content-Type=application/octet-stream Cache-Control=no-cache Last-Modified=Mon,_04_May_2026_13:00:00_GMT ~ADBd~
GET  $repo/x86_64/index.sigstore.json -> 200 Content-Type=application/json Cache-Control=no-cache

GET  $repo/x86_64/APKINDEX.tar.gz If-Modified-Since=Mon,_04_May_2026_13:00:00_GMT -> 304 ""
GET  $repo/x86_64/APKINDEX.tar.gz If-Modified-Since=Mon,_04_May_2026_12:59:59_GMT -> 200
GET  $repo/x86_64/APKINDEX.tar.gz If-Modified-Since=Mon,_04_May_2026_13:00:01_GMT -> 200
GET  $repo/x86_64/APKINDEX.tar.gz If-Modified-Since=Mon,_04_May_2026_13:09:59_GMT -> 200
GET  $repo/x86_64/APKINDEX.tar.gz If-Modified-Since=Mon,_04_May_2026_13:10:00_GMT -> 304
GET  $repo/x86_64/Packages.adb If-Modified-Since=Mon,_04_May_2026_20:00:00_GMT -> 304
GET  $repo/x86_64/one-1-r100.apk If-Modified-Since=Fri,_01_Jan_2100_00:00:00_GMT -> 304

GET  $repo/snapshot/20260504T120000Z/x86_64/APKINDEX.tar.gz -> 200 Cache-Control=public,_max-age=31536000,_immutable Last-Modified=Mon,_04_May_2026_12:00:00_GMT
GET  $repo/snapshot/20260504T120000Z/x86_64/APKINDEX.tar.gz If-Modified-Since=Mon,_04_May_2026_12:00:01_GMT -> 304
GET  $repo/snapshot/20260504T120000Z/x86_64/one-1-r100.apk -> 200 Cache-Control=public,_max-age=31536000,_immutable
GET  $repo/snapshot/20260504T120001Z/x86_64/APKINDEX.tar.gz -> 302 Location=*
GET  $repo/snapshot/20260504T120001Z/x86_64/one-1-r100.apk -> 302 Location=*
GET  $repo/snapshot/20250504T120001Z/x86_64/one-1-r100.apk -> 404
GET  $repo/snapshot/20260504T120000Z/x86_64/none-1.apk -> 404
GET  $repo/snapshot/20260504T120000Z/aarch64/one-1-r100.apk -> 404
GET  $repo/snapshot/20260504T120000Z/x86_64/live -> 404
GET  $repo/sets/x86_64/one/1-r100.json -> 200 Content-Type=application/json ~"origin": "one"~

GET  $repo/live/now/x86_64/APKINDEX.tar.gz -> 404
GET  $repo/live/now -> 404
GET  $repo/x86_64 -> 404
GET  $repo/x86_64/ -> 404
GET  $repo/x86_64/../x86_64/one-1-r100.apk -> 404
GET  $repo/aarch64/APKINDEX.tar.gz -> 404
GET  /apk -> 404
GET  /apk/musl-1 -> 404
GET  /.state/apk/musl-1/community/lock -> 404
GET  /keys/$key -> 200 Content-Type=text/plain;_charset=utf-8 ~BEGIN PUBLIC KEY~
GET  /keys/ashlar-00000000.rsa.pub -> 404
GET  /healthz -> 200 ~"repository": "musl-1/community"~
GET  / -> 200 ~echo http://example.org/apk/musl-1/community~
GET  / -> 200 ~wget -P /etc/apk/keys http://example.org/keys/$key~
`

func TestAPKRequests(t *testing.T) {
	s := newAPKSite(t)
	s.publish(t, day, package1("one", "1-r100"))
	s.publish(t, day.Add(time.Hour), package1("two", "1-r100"))
	names := strings.NewReplacer("$repo", "/apk/musl-1/community", "$gzip", "\x1f\x8b", "$key", s.keys.APK.V2[0].KeyName)
	for line := range strings.Lines(apkRequests) {
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
		if to := w.Header().Get("Location"); to != "" && !strings.HasPrefix(to, "/apk/musl-1/community/snapshot/20260504T120000Z/x86_64/") {
			t.Errorf("%s\n\tit leads to %s", line, to)
		}
	}
}

// TestAPKHealth wants statements to be in order and in time.
func TestAPKHealth(t *testing.T) {
	s := newAPKSite(t)
	s.publish(t, day, package1("one", "1-r100"))
	at := filepath.Join(s.root, "apk/musl-1/community/live/now/x86_64")
	good, err := os.ReadFile(filepath.Join(at, apkrepo.IndexV2))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		now     time.Time
		index   []byte
		problem string
	}{
		{"in order", day.Add(time.Hour), good, ""},
		{"expires soon", day.AddDate(0, 0, 6).Add(time.Hour), good, "expires soon"},
		{"expired", day.AddDate(0, 0, 8), good, "has expired"},
		{"another index", day.Add(time.Hour), []byte("trash"), "not what the repository stated"},
	} {
		*s.now = c.now
		if err := os.Remove(filepath.Join(at, apkrepo.IndexV2)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, apkrepo.IndexV2), c.index, 0o644); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
		var report struct {
			APK []apkHealth `json:"apk"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &report); err != nil || len(report.APK) != 1 {
			t.Fatalf("%s, %v", w.Body, err)
		}
		if got := report.APK[0].Problem; (c.problem == "") != (got == "") || !strings.Contains(got, c.problem) {
			t.Errorf("%s: %q", c.name, got)
		}
		if c.problem != "" && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%s: %d", c.name, w.Code)
		}
	}
	if err := os.Remove(filepath.Join(at, apkrepo.Statement)); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "cannot be read") {
		t.Errorf("without a statement: %d %s", w.Code, w.Body)
	}
}
