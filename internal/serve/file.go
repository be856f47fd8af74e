package serve

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

const (
	hashedSize = 64 << 10 // bytes; a file up to this size gets its digest as ETag
	slowest    = 16 << 10 // bytes per second that a client must take
	immutable  = "public, max-age=31536000, immutable"
	revalidate = "no-cache" // may be stored, must be asked about each time
)

// served are the folders of a tier for apt whose files are public.
var served = []string{"dists", "pool", "snapshot", "locks"}

// public reports whether a path, in its plain form and without the leading
// slash, is one of a file to be served.
func public(name string) bool {
	parts := strings.Split(name, "/")
	switch {
	case len(parts) == 3 && parts[0] == "sources" && parts[1] == "sha256":
		return true
	case parts[0] == "apk":
		return publicAPK(parts)
	case len(parts) < 4 || parts[0] != "deb":
		return false
	}
	return slices.Contains(served, parts[2])
}

// file serves a file of the repository's folder.
func (s *server) file(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if !public(name) {
		http.Error(w, "not found", http.StatusNotFound)
		return
	}
	f, info, err := s.open(s.stored(name))
	if fault.Is(err, fault.NotFound) {
		var to string
		if to, err = s.earlier(name, err); to != "" {
			there := url.URL{Path: "/" + to}
			http.Redirect(w, r, s.prefix+there.EscapedPath(), http.StatusFound)
			return
		}
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer f.Close()
	tag, err := fileTag(name, f, info)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("Cache-Control", cacheControl(name))
	w.Header().Set("ETag", tag)
	if isLiveAPK(name) {
		doubtClock(r, info.ModTime())
	}
	limit := time.Minute + time.Duration(info.Size()/slowest)*time.Second
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(limit)) // not every writer has one
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// openFault gives an error of opening a file below the root a kind: NotFound if
// there is no such file for anybody, Unavailable if there is just no room to open
// it, else Internal.
func openFault(err error) error {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return fault.New(fault.NotFound, "%w", err) // os.Root says so of a path that leads out of it
	}
	kind := fault.Internal
	switch errno {
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENAMETOOLONG, unix.EINVAL, unix.ENXIO:
		kind = fault.NotFound
	case unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EINTR, unix.EAGAIN:
		kind = fault.Unavailable
	}
	return fault.New(kind, "%w", err)
}

// open opens a regular file below the root. Links that lead out of the root are
// refused.
func (s *server) open(name string) (*os.File, os.FileInfo, error) {
	f, err := s.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, openFault(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fault.New(fault.NotFound, "%s is not a file", name)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// earlier returns the path of a file in the newest snapshot that is not younger
// than the time in its name, if the name is one of a file in a snapshot that
// does not exist; else "" and the given error.
func (s *server) earlier(name string, notFound error) (string, error) {
	parts := strings.Split(name, "/")
	at := slices.Index(parts, "snapshot") + 1 // deb, tier, snapshot, id or apk, distro, tier, snapshot, id
	if want := map[string]int{"deb": 3, "apk": 4}[parts[0]]; at != want || len(parts) < at+2 || !shelf.IsSnapshotID(parts[at]) {
		return "", notFound
	}
	var id string
	var err error
	if parts[0] == "deb" {
		id, err = s.Repo.SnapshotAt(ashlar.Tier(parts[1]), parts[at])
	} else {
		id, err = s.apkSnapshotAt(parts[1], parts[2], parts[at])
	}
	switch {
	case err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Invalid):
		return "", openFault(err)
	case err != nil || id == parts[at]:
		return "", notFound
	}
	parts[at] = id
	return strings.Join(parts, "/"), nil
}

// fileTag returns the ETag of a file: its digest where the path or a short read
// tells it, else what changes whenever another file gets the name.
func fileTag(name string, f *os.File, info os.FileInfo) (string, error) {
	base := path.Base(name)
	if d := ashlar.Digest("sha256:" + strings.TrimSuffix(base, ".json")); isHashed(name) && d.Validate() == nil {
		return etag(d), nil
	}
	if info.Size() <= hashedSize {
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, info.Size())); err != nil {
			return "", err
		}
		return etag(ashlar.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))), nil
	}
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf(`"%x-%x-%x"`, info.Size(), info.ModTime().UnixNano(), inode), nil
}

func etag(d ashlar.Digest) string { return `"` + d.Hex() + `"` }

// isHashed reports whether the name of a file is its digest.
func isHashed(name string) bool {
	dir := path.Dir(name)
	return strings.HasSuffix(dir, "/by-hash/SHA256") || strings.HasSuffix(dir, "sources/sha256") || path.Base(dir) == "locks"
}

// cacheControl says how long a file may be kept by clients and in between.
func cacheControl(name string) string {
	parts := strings.Split(name, "/")
	if parts[0] == "apk" && !isHashed(name) {
		return cacheAPK(parts)
	}
	inPool := parts[0] == "deb" && (parts[2] == "pool" || parts[2] == "snapshot" && len(parts) > 4 && parts[4] == "pool")
	switch {
	case isHashed(name):
		return immutable
	case inPool && strings.HasSuffix(name, ".json"):
		return revalidate // attestations may be signed again
	case inPool || parts[2] == "snapshot":
		return immutable
	}
	return revalidate
}

// contentTypes of what is not plain text, by the suffix of its name.
var contentTypes = map[string]string{
	".deb": "application/vnd.debian.binary-package", ".udeb": "application/vnd.debian.binary-package",
	".gz": "application/gzip", ".xz": "application/x-xz", ".bz2": "application/x-bzip2", ".zst": "application/zstd",
	".json": "application/json", ".asc": "application/pgp-keys", ".gpg": "application/pgp-signature",
	".html": "text/html; charset=utf-8",
}

// textNames are the suffixes, or whole names, of plain text.
var textNames = map[string]bool{
	"InRelease": true, "Release": true, "Packages": true, "Sources": true, "Translation-en": true,
	".sources": true, ".pref": true, ".dsc": true, ".changes": true, ".buildinfo": true, ".pub": true, ".pem": true,
}

func contentType(name string) string {
	base := path.Base(name)
	if t, ok := contentTypes[path.Ext(base)]; ok {
		return t
	}
	if textNames[base] || textNames[path.Ext(base)] || strings.HasPrefix(base, "Contents-") {
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}
