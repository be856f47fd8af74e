// Package archivetest is a small signed Debian archive for tests: as a server on
// loopback, or as files.
package archivetest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// A Suite is what an archive publishes under one name: the texts of its indexes,
// and how they are signed.
type Suite struct {
	Name       string
	Date       time.Time
	ValidUntil time.Time
	Packages   string   // of main for amd64
	Sources    string   // of main
	Arches     []string // nil means amd64
	NoByHash   bool     // indexes are not there by their digest
	Signer     *pgp.Key
}

// Files returns the files of the suite by their paths below dists/<name>: the
// InRelease, and each index under its name and its digest, packed with gzip.
func (s Suite) Files(t testing.TB) map[string][]byte {
	t.Helper()
	if s.Arches == nil {
		s.Arches = []string{"amd64"}
	}
	rel := &deb.Release{
		Codename: s.Name, Date: s.Date, ValidUntil: s.ValidUntil, AcquireByHash: true,
		Architectures: s.Arches, Components: []string{"main"},
	}
	files := map[string][]byte{}
	for _, index := range []struct{ name, text string }{
		{"main/binary-amd64/Packages", s.Packages}, {"main/source/Sources", s.Sources},
	} {
		packed := Gzip(t, index.text)
		d := ashlar.DigestOf(packed)
		rel.Files = append(rel.Files,
			ashlar.File{Name: index.name, Digest: ashlar.DigestOf([]byte(index.text)), Size: int64(len(index.text))},
			ashlar.File{Name: index.name + ".gz", Digest: d, Size: int64(len(packed))})
		files[index.name+".gz"] = packed
		if !s.NoByHash {
			files[path.Dir(index.name)+"/by-hash/SHA256/"+d.Hex()] = packed
		}
	}
	signed, err := s.Signer.ClearSign(rel.Encode(), s.Date)
	if err != nil {
		t.Fatal(err)
	}
	files["InRelease"] = signed
	return files
}

// Gzip returns the text in the form of gzip, not made smaller, so that it is the same
// with every version of the compressor.
func Gzip(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// NewKey returns a new key that was made a month before a time.
func NewKey(t testing.TB, name string, now time.Time) *pgp.Key {
	t.Helper()
	k, err := pgp.GenerateKey(name, name+"@example.org", now.AddDate(0, -1, 0))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// WriteKeyring writes the public half of a key to a file and returns its path.
func WriteKeyring(t testing.TB, path string, k *pgp.Key) string {
	t.Helper()
	b, err := k.PublicArmored()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// PackageStanza returns the stanza of a Packages index for a package whose .deb
// has the given content, and the path of that in the pool.
func PackageStanza(name, version, arch string, content []byte, more string) (stanza, file string) {
	file = "pool/main/" + name[:1] + "/" + name + "/" + ashlar.DebFileName(name, version, ashlar.Arch(arch))
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: %s\n%sFilename: %s\nSize: %d\nSHA256: %s\n\n",
		name, version, arch, more, file, len(content), ashlar.DigestOf(content).Hex()), file
}

// SourceStanza returns the stanza of a Sources index for a source package with
// the files, its .dsc among them, and the folder of that in the pool. More are
// whole lines, such as relations.
func SourceStanza(name, version, more string, files map[string][]byte) (stanza, dir string) {
	dir = "pool/main/" + name[:1] + "/" + name
	list := ""
	for _, f := range slices.Sorted(maps.Keys(files)) {
		list += fmt.Sprintf("\n %s %d %s", ashlar.DigestOf(files[f]).Hex(), len(files[f]), f)
	}
	return fmt.Sprintf("Package: %s\nVersion: %s\nFormat: 3.0 (native)\nDirectory: %s\n%sChecksums-Sha256:%s\n\n", name, version, dir, more, list), dir
}

// A Server is an archive on loopback. Its methods may be called concurrently.
type Server struct {
	URL string

	t     testing.TB
	mu    sync.Mutex
	files map[string][]byte // by path
	asked map[string]int
	down  bool
}

// NewServer returns a server without files. It ends with the test.
func NewServer(t testing.TB) *Server {
	s := &Server{t: t, files: map[string][]byte{}, asked: map[string]int{}}
	h := httptest.NewServer(s)
	t.Cleanup(h.Close)
	s.URL = h.URL + "/debian/"
	return s
}

// ServeHTTP answers for the files.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := strings.TrimPrefix(r.URL.Path, "/debian/")
	s.asked[p]++
	b, ok := s.files[p]
	switch {
	case s.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case !ok:
		http.NotFound(w, r)
	default:
		w.Write(b)
	}
}

// Publish replaces the files of a suite that the suite has now.
func (s *Server) Publish(suite Suite) {
	s.t.Helper()
	for name, b := range suite.Files(s.t) {
		s.Put("dists/"+suite.Name+"/"+name, b)
	}
}

// Put serves a file.
func (s *Server) Put(path string, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = b
}

// File returns what is served at a path, nil if nothing is.
func (s *Server) File(path string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[path]
}

// Edit changes what is served at paths that contain a text; a change to nil takes
// the file away. It fails the test if there is no such path.
func (s *Server) Edit(contains string, change func([]byte) []byte) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for p, b := range s.files {
		if !strings.Contains(p, contains) {
			continue
		}
		n++
		if b = change(b); b == nil {
			delete(s.files, p)
		} else {
			s.files[p] = b
		}
	}
	if n == 0 {
		s.t.Fatalf("nothing is served as %s", contains)
	}
}

// Times returns how often a path was asked for.
func (s *Server) Times(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[path]
}

// Asked returns how often anything was asked for.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, times := range s.asked {
		n += times
	}
	return n
}

// SetDown makes every answer 503, or ends that.
func (s *Server) SetDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}
