// Package serve offers repositories over HTTP: the files of their folder, which any
// web server could serve too, and beside them what makes a client's life easy:
// ready .sources and preferences files, snapshots by any time, health.
package serve

import (
	"bytes"
	"crypto"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/pgp"
	"github.com/ashlar-project/ashlar/internal/repo"
)

// A Config says what to serve. Repo, ArchiveKey and Log must be set.
type Config struct {
	Repo       *repo.Repo
	APK        *apkrepo.Repo     // repositories for apk below the same root; none if nil
	ArchiveKey []byte            // armoured public OpenPGP keys of the repository
	Keys       map[string][]byte // more public keys, and statements about them, served as /keys/<name>
	// Statements are the keys that sign statements about the indexes of APK.
	Statements []crypto.PublicKey
	BaseURL    string        // public address; "" takes it from the request's Host
	Margin     time.Duration // a suite that expires sooner is unhealthy; a day if 0
	Log        *slog.Logger
	Now        func() time.Time // time.Now if nil
}

// A server answers requests.
type server struct {
	Config
	root   *os.Root
	ring   pgp.Keyring
	mux    *http.ServeMux
	prefix string // path of BaseURL, escaped, without a slash at the end
}

var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

// archiveKeyName is the name under /keys/ of the repository's OpenPGP keys.
const archiveKeyName = "archive.asc"

// New returns the handler that serves a repository. The error is fault.Invalid
// if a key or the address is malformed. The repository may still be empty.
func New(cfg Config) (http.Handler, error) {
	s := &server{Config: cfg}
	if s.Margin == 0 {
		s.Margin = 24 * time.Hour
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	var err error
	if s.ring, err = pgp.ReadKeyring(bytes.NewReader(cfg.ArchiveKey)); err != nil {
		return nil, fault.New(fault.Invalid, "the repository's public key: %w", err).Fix("make one with ashlar key init")
	}
	for name := range cfg.Keys {
		if !keyName.MatchString(name) || name == archiveKeyName {
			return nil, fault.New(fault.Invalid, "%q is not a name for a key", name)
		}
	}
	if cfg.BaseURL != "" {
		if _, err := repo.SourcesFile(ashlar.Community, "any", cfg.BaseURL, cfg.ArchiveKey); err != nil {
			return nil, err
		}
		base, err := url.Parse(cfg.BaseURL)
		if err != nil {
			return nil, err
		}
		s.prefix = strings.TrimRight(base.EscapedPath(), "/")
		s.BaseURL = strings.TrimRight(cfg.BaseURL, "/")
	}
	if err := os.MkdirAll(cfg.Repo.Root(), 0o755); err != nil {
		return nil, err
	}
	if s.root, err = os.OpenRoot(cfg.Repo.Root()); err != nil {
		return nil, err
	}
	s.mux = http.NewServeMux()
	s.mux.HandleFunc("/{$}", s.index)
	s.mux.HandleFunc("/healthz", s.health)
	s.mux.HandleFunc("/keys/{name}", s.key)
	s.mux.HandleFunc("/deb/{tier}/{file}", s.setup)
	s.mux.HandleFunc("/", s.file)
	return s.logged(http.HandlerFunc(s.guard)), nil
}

// maxPath bounds the bytes of a path that is looked at.
const maxPath = 4096

// guard lets pass what may be a request for something here: a GET or HEAD of a
// path in its plain form.
func (s *server) guard(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	case !plainPath(r.URL.Path):
		http.Error(w, "not found", http.StatusNotFound)
	default:
		s.mux.ServeHTTP(w, r)
	}
}

// plainPath reports whether the path is "/" or made of names that are neither
// empty nor hidden nor lead upwards, and of printable characters.
func plainPath(p string) bool {
	if p == "/" {
		return true
	}
	rest, ok := strings.CutPrefix(p, "/")
	if !ok || len(p) > maxPath {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; c < ' ' || c == 0x7f || c == '\\' {
			return false
		}
	}
	for name := range strings.SplitSeq(rest, "/") {
		if name == "" || name[0] == '.' {
			return false
		}
	}
	return true
}

// fail answers with the status that fits the error. What went wrong inside is
// logged, not told.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, fs.ErrNotExist) || fault.Is(err, fault.NotFound) {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	status := fault.HTTPStatus(err)
	if status >= http.StatusInternalServerError {
		s.Log.Error("request failed", "path", r.URL.Path, "error", err)
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, http.StatusText(status), status)
		return
	}
	http.Error(w, err.Error(), status)
}

// key serves a public key.
func (s *server) key(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	data, ok := s.Keys[name]
	if name == archiveKeyName {
		data, ok = s.ArchiveKey, true
	}
	if !ok {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	s.small(w, r, name, data)
}

// small serves content that was made for the request.
func (s *server) small(w http.ResponseWriter, r *http.Request, name string, data []byte) {
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", etag(ashlar.DigestOf(data)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

// setup serves the files that set a client up for a tier: <suite>.sources and
// prefer-<mode>.pref.
func (s *server) setup(w http.ResponseWriter, r *http.Request) {
	tier, name := ashlar.Tier(r.PathValue("tier")), r.PathValue("file")
	if suite, ok := strings.CutSuffix(name, ".sources"); ok {
		s.sources(w, r, tier, suite)
		return
	}
	mode, ok := strings.CutPrefix(name, "prefer-")
	mode, isPref := strings.CutSuffix(mode, ".pref")
	if !ok || !isPref {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	if err := s.known(tier, ""); err != nil {
		s.fail(w, r, err)
		return
	}
	file, data, err := repo.Preferences(s.Repo.Origin(), repo.Preference(mode))
	if err != nil {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Disposition", `attachment; filename="`+file+`"`)
	s.small(w, r, file, data)
}

// sources serves the .sources file of a suite.
func (s *server) sources(w http.ResponseWriter, r *http.Request, tier ashlar.Tier, suite string) {
	if err := s.known(tier, suite); err != nil {
		s.fail(w, r, err)
		return
	}
	base, err := s.base(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	data, err := repo.SourcesFile(tier, suite, base, s.ArchiveKey)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Vary", "Host")
	s.small(w, r, suite+".sources", data)
}

// known returns nil if something is published in the tier and, unless it is "",
// the suite, else fault.NotFound or why it cannot be told.
func (s *server) known(tier ashlar.Tier, suite string) error {
	list, err := s.Repo.Suites()
	if err != nil {
		return openFault(err)
	}
	for _, l := range list {
		if l.Tier == tier && (suite == "" || l.Suite == suite) {
			return nil
		}
	}
	return fault.New(fault.NotFound, "nothing is published in suite %s of tier %s", suite, tier)
}

var hostForm = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

// base returns the public address of the repository as the client sees it.
func (s *server) base(r *http.Request) (string, error) {
	if s.BaseURL != "" {
		return s.BaseURL, nil
	}
	if !hostForm.MatchString(r.Host) {
		return "", fault.New(fault.Invalid, "the request's Host is not a host name")
	}
	u := url.URL{Scheme: "http", Host: r.Host}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String(), nil
}
