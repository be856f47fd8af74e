package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// Bounds on what is fetched of a repository.
const (
	fetchTimeout = 2 * time.Minute
	maxSmall     = 1 << 20   // bytes of a key or statement
	maxIndex     = 256 << 20 // bytes of an index
)

// apkAddress is the form of the address, or of the path, of the live indexes of an
// architecture.
var apkAddress = regexp.MustCompile(`^(.*)/apk/([^/]+/[^/]+)/([^/]+)$`)

// checkFresh checks that the indexes for apk at an address, or in a folder, are the
// newest: by the key for statements alone, for it vouches for the keys for apk too.
func (a *app) checkFresh(ctx context.Context, at string, t *trustFlags) (*intoto.APKIndex, error) {
	trust, err := a.trust(t)
	if err != nil {
		return nil, err
	}
	var statements []crypto.PublicKey
	for _, k := range trust.Keys {
		statements = append(statements, k.Public)
	}
	if !strings.Contains(at, "://") {
		if at, err = filepath.Abs(at); err != nil {
			return nil, fault.New(fault.Invalid, "%w", err)
		}
	}
	parts := apkAddress.FindStringSubmatch(strings.TrimRight(at, "/"))
	if parts == nil {
		return nil, fault.New(fault.Invalid, "%q is not where a repository for apk has its indexes", at).
			Fix("give ADDRESS/apk/DISTRO/TIER/ARCH")
	}
	get, err := getter(ctx, at)
	if err != nil {
		return nil, err
	}
	q := apkrepo.CheckRequest{Now: a.now(), Repository: parts[2], Arch: parts[3], Seen: t.seen, Indexes: map[string][]byte{}}
	if q.Keys, err = apkKeys(parts[1]+"/"+apkrepo.KeysDir+"/", get, statements); err != nil {
		return nil, err
	}
	folder := strings.TrimRight(at, "/") + "/"
	if q.Statement, err = get(folder+apkrepo.Statement, maxSmall); err != nil {
		return nil, err
	}
	for _, name := range []string{apkrepo.IndexV2, apkrepo.IndexV3} {
		if q.Indexes[name], err = get(folder+name, maxIndex); err != nil {
			return nil, err
		}
	}
	return apkrepo.Check(q)
}

// apkKeys fetches the public keys for apk and checks that they are the
// repository's.
func apkKeys(folder string, get getFunc, statements []crypto.PublicKey) (apkrepo.Keys, error) {
	keys := apkrepo.Keys{V2: apk.Keyring{}, Statements: statements}
	list, err := get(folder+apkrepo.KeyList, maxSmall)
	if err != nil {
		return keys, err
	}
	listed, err := apkrepo.CheckKeys(list, nil, statements)
	if err != nil {
		return keys, err
	}
	files := map[string][]byte{}
	for _, k := range listed.Keys {
		if files[k.Name], err = get(folder+url.PathEscape(k.Name), maxSmall); err != nil {
			return keys, err
		}
		pub, err := sign.ParsePublicKey(files[k.Name])
		if err != nil {
			return keys, apk.InFile(err, k.Name)
		}
		if key, ok := pub.(*rsa.PublicKey); ok {
			keys.V2[k.Name] = key
		} else {
			keys.V3 = append(keys.V3, pub)
		}
	}
	_, err = apkrepo.CheckKeys(list, files, statements)
	return keys, err
}

// A getFunc returns the content of a file of at most so many bytes.
type getFunc func(at string, most int64) ([]byte, error)

// getter returns what reads files of a folder, or of the web.
func getter(ctx context.Context, at string) (getFunc, error) {
	if !strings.Contains(at, "://") {
		return func(at string, most int64) ([]byte, error) {
			f, err := os.Open(at)
			if err != nil {
				return nil, fault.New(fault.NotFound, "%w", err)
			}
			defer f.Close()
			return readMost(f, at, most)
		}, nil
	}
	if u, err := url.Parse(at); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fault.New(fault.Invalid, "%q is not an address", at).Fix("write it as https://host/apk/DISTRO/TIER/ARCH")
	}
	client := &http.Client{Timeout: fetchTimeout}
	return func(at string, most int64) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%w", err)
		}
		req.Header.Set("Cache-Control", "no-cache")
		resp, err := client.Do(req)
		if err != nil {
			return nil, fault.New(fault.Unavailable, "%w", err)
		}
		defer resp.Body.Close()
		switch resp.StatusCode {
		case http.StatusOK:
			return readMost(resp.Body, at, most)
		case http.StatusNotFound:
			return nil, fault.New(fault.NotFound, "it is not there").At(at, 0)
		}
		return nil, fault.New(fault.Unavailable, "the server answers %s", resp.Status).At(at, 0)
	}, nil
}

func readMost(r io.Reader, at string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	switch {
	case err != nil:
		return nil, fault.New(fault.Unavailable, "read: %w", err).At(at, 0)
	case int64(len(b)) > most:
		return nil, fault.New(fault.Invalid, "more than %d bytes", most).At(at, 0)
	}
	return b, nil
}

// verifyRepositories checks indexes for apk and says what was checked.
func (a *app) verifyRepositories(ctx context.Context, places []string, t *trustFlags) error {
	var errs []error
	var found []*intoto.APKIndex
	for _, at := range places {
		state, err := a.checkFresh(ctx, at, t)
		if err == nil {
			found = append(found, state)
		}
		errs = append(errs, err)
	}
	perr := a.print(found, func(w io.Writer) {
		for _, s := range found {
			fmt.Fprintf(w, "VERIFIED  %s for %s: number %d, issued %s, valid until %s, snapshot %s\n", s.Repository, s.Arch,
				s.Sequence, s.Issued.Format(time.RFC3339), s.Expires.Format(time.RFC3339), s.Snapshot)
		}
	})
	return errors.Join(append(errs, perr)...)
}
