package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sign"
	"github.com/ashlar-project/ashlar/internal/source"
	"github.com/ashlar-project/ashlar/internal/world"
)

// Bounds on keys and downloads.
const (
	maxKeys       = 1000
	maxPackage    = 4 << 30  // bytes of a package whose index does not say its size
	slowest       = 32 << 10 // bytes a second, below which a download is given up
	downloadTries = 3
)

// An apkKeyring is the public keys that are trusted.
type apkKeyring struct {
	v2    apk.Keyring        // by the names of their files
	v3    []crypto.PublicKey // any of them may sign
	files map[string][]byte
}

// readAPKKeys reads the keys of a folder, files named *.pub.
func readAPKKeys(dir string) (*apkKeyring, error) {
	list, err := filepath.Glob(filepath.Join(dir, "*.pub"))
	switch {
	case err != nil:
		return nil, fault.New(fault.Invalid, "%w", err)
	case len(list) == 0:
		return nil, fault.New(fault.NotFound, "no public keys").At(dir, 0).Fix("put the keys of the repositories there, as files named *.pub")
	case len(list) > maxKeys:
		return nil, fault.New(fault.Invalid, "more than %d public keys", maxKeys).At(dir, 0)
	}
	keys := &apkKeyring{v2: apk.Keyring{}, files: map[string][]byte{}}
	for _, file := range list {
		f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, fault.New(fault.NotFound, "%w", err)
		}
		b, err := readMost(f, file, maxSmall)
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		pub, err := sign.ParsePublicKey(b)
		if err != nil {
			return nil, apk.InFile(err, file)
		}
		name := filepath.Base(file)
		if key, ok := pub.(*rsa.PublicKey); ok {
			keys.v2[name] = key
		}
		keys.v3, keys.files[name] = append(keys.v3, pub), b
	}
	return keys, nil
}

// config returns the keys as files of etc/apk.
func (k *apkKeyring) config() map[string][]byte {
	files := map[string][]byte{}
	for name, b := range k.files {
		files["keys/"+name] = b
	}
	return files
}

// An apkSite is a repository that packages are taken from, with its index.
type apkSite struct {
	world.Repository
	at     string // where it is, as it was given
	line   string // for etc/apk/repositories, "" for a folder of this machine
	base   string // folder that packages are in, an address unless folder is there
	folder *os.Root
	client *http.Client
}

// openAPKSite reads and checks the index of a repository, which is given as in
// etc/apk/repositories. Where no type is given and there is no index of v2, that of
// v3 is taken.
func openAPKSite(ctx context.Context, line, arch string, keys *apkKeyring) (*apkSite, error) {
	s, kind, err := parseAPKSite(line)
	if err != nil {
		return nil, err
	}
	indexes := map[string][]string{"v2": {apkrepo.IndexV2}, "v3": {apkrepo.IndexV3}, "": {apkrepo.IndexV2, apkrepo.IndexV3}}[kind]
	s.base = s.join(s.at, arch)
	if kind == "ndx" {
		indexes, s.base = []string{path.Base(s.at)}, s.at[:strings.LastIndexByte(s.at, '/')+1]
	}
	get, err := getter(ctx, s.at)
	if err != nil {
		return nil, err
	}
	var b []byte
	for _, name := range indexes {
		if b, err = get(s.join(s.base, name), maxIndex); err == nil {
			return s, s.use(name, kind, b, keys)
		}
		if !fault.Is(err, fault.NotFound) {
			break
		}
	}
	return nil, fault.Within(err, "repository %s", s.at)
}

// parseAPKSite reads a line of etc/apk/repositories: it returns the repository and
// the type of its index, "" if that is not said.
func parseAPKSite(line string) (s *apkSite, kind string, err error) {
	s = &apkSite{}
	words := strings.Fields(line)
	if len(words) > 0 && slices.Contains([]string{"v2", "v3", "ndx"}, words[0]) {
		kind, words = words[0], words[1:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "@") {
		s.Tag, words = words[0][1:], words[1:]
		if s.Tag == "" {
			words = nil
		}
	}
	if len(words) != 1 {
		return nil, "", fault.New(fault.Invalid, "%q is not a repository", line).Fix("write [v2|v3|ndx] [@TAG] WHERE, with one folder or address")
	}
	s.at = strings.TrimRight(words[0], "/")
	if kind == "" && (strings.HasSuffix(s.at, ".adb") || strings.HasSuffix(s.at, ".tar.gz")) {
		kind = "ndx"
	}
	if !strings.Contains(s.at, "://") {
		if s.at, err = filepath.Abs(s.at); err != nil {
			return nil, "", fault.New(fault.Invalid, "%w", err)
		}
		return s, kind, nil
	}
	s.client = source.NewClient()
	return s, kind, nil
}

// join joins a folder, or its address, and a path below it.
func (s *apkSite) join(base, name string) string {
	if s.client == nil {
		return filepath.Join(base, name)
	}
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.TrimRight(base, "/") + "/" + strings.Join(parts, "/")
}

// use takes an index, and finds out where its packages are.
func (s *apkSite) use(name, kind string, b []byte, keys *apkKeyring) (err error) {
	third := kind == "v3" || strings.HasSuffix(name, ".adb")
	if third {
		var x *apk.V3Index
		if x, err = apk.ReadV3Index(bytes.NewReader(b), apk.V3Signed(keys.v3...)); err == nil {
			s.Packages, err = world.FromV3Index(x)
			if x.PkgnameSpec != "" && kind != "ndx" {
				s.base = s.at // it begins at the repository, but for an index by its own name
			}
		}
	} else {
		var x *apk.V2Index
		if x, err = apk.ParseV2Index(b, keys.v2); err == nil {
			s.Packages = world.FromIndex(&x.Index)
		}
	}
	if err != nil {
		return fault.Within(err, "repository %s", s.at)
	}
	if s.client == nil {
		if s.folder, err = os.OpenRoot(s.base); err != nil {
			return fault.New(fault.NotFound, "%w", err)
		}
		return nil
	}
	if kind == "" && third {
		kind = "v3"
	}
	words := []string{kind, "@" + s.Tag, s.at}
	s.line = strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" || w == "@" }), " ")
	return nil
}

// close closes the folder of a repository.
func (s *apkSite) close() error {
	if s.folder == nil {
		return nil
	}
	return s.folder.Close()
}

// repositoriesFile returns etc/apk/repositories, nil if no repository is of use in
// the root.
func repositoriesFile(sites []*apkSite) []byte {
	var b []byte
	for _, s := range sites {
		if s.line != "" {
			b = append(b, s.line+"\n"...)
		}
	}
	return b
}

// parallelReads returns how many packages are read at a time: more than there are
// processors where it is waited for servers.
func parallelReads(sites []*apkSite) int {
	n := runtime.GOMAXPROCS(0)
	if slices.ContainsFunc(sites, func(s *apkSite) bool { return s.client != nil }) {
		n = max(n, 8)
	}
	return n
}

// open opens the file of a package, which has the size that the index says.
func (s *apkSite) open(ctx context.Context, c world.Choice) (io.ReadCloser, error) {
	if s.client != nil {
		return s.download(ctx, c)
	}
	f, err := s.folder.OpenFile(filepath.FromSlash(c.File), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fault.New(fault.NotFound, "%w", err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fault.New(fault.Invalid, "it is no regular file").At(f.Name(), 0)
	case c.Size > 0 && info.Size() != c.Size:
		err = otherSize(info.Size(), c.Size).At(f.Name(), 0)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// otherSize says that a file is not the one that the index names.
func otherSize(is, want int64) *fault.Error {
	return fault.New(fault.Denied, "the file has %d bytes, but the index says %d", is, want).Fix("fetch the index and the file again")
}

// download fetches the file of a package to a file without a name.
func (s *apkSite) download(ctx context.Context, c world.Choice) (io.ReadCloser, error) {
	f, err := os.CreateTemp("", "ashlar-download-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for try := 1; ; try++ {
		err := s.fetch(ctx, c, f)
		if err == nil {
			return f, nil
		}
		if try == downloadTries || !fault.Is(err, fault.Unavailable) || ctx.Err() != nil {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-time.After(time.Duration(try) * time.Second):
		case <-ctx.Done():
		}
	}
}

// fetch fetches the file of a package once, and sets f to its beginning.
func (s *apkSite) fetch(ctx context.Context, c world.Choice, f *os.File) error {
	most := c.Size
	if most <= 0 {
		most = maxPackage
	}
	ctx, stop := context.WithTimeout(ctx, fetchTimeout+time.Duration(most/slowest)*time.Second)
	defer stop()
	at := s.join(s.base, c.File)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return fault.New(fault.Invalid, "%w", err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fault.New(fault.Unavailable, "%w", err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return fault.New(fault.NotFound, "it is not there").At(at, 0)
	case resp.StatusCode != http.StatusOK:
		return fault.New(fault.Unavailable, "the server answers %s", resp.Status).At(at, 0)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return fault.New(fault.Unavailable, "the connection broke after %d bytes: %v", n, err).At(at, 0)
	case n > most || c.Size > 0 && n != c.Size:
		return otherSize(n, c.Size).At(at, 0)
	}
	if err := f.Truncate(n); err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	_, err = f.Seek(0, io.SeekStart)
	return err
}
