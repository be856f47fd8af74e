package archive

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

// maxInRelease bounds the size in bytes of an InRelease file.
const maxInRelease = 16 << 20

// clockSkew is how far in the future a Release may be dated.
const clockSkew = 10 * time.Minute

// A release is a verified InRelease.
type release struct {
	suite   Suite
	index   ashlar.Index
	content *deb.Release
	checked time.Time // when a mirror was last asked for it
}

// A state is what the cache remembers of a suite. It is trusted for nothing: the
// InRelease that it points at is verified again.
type state struct {
	Format    int           `json:"format"`
	InRelease ashlar.Digest `json:"in_release"`
	Checked   time.Time     `json:"checked"`
}

const stateFormat = 1

func (a *Archive) statePath(s Suite) (string, error) {
	return a.cachePath("suites", s.Alias+"_"+strings.ReplaceAll(s.Name, "/", "_")+".json")
}

// release returns the current verified Release of a suite. It asks a mirror when
// what it has is older than MaxAge, and goes on with what it has when no mirror
// answers or a mirror lags behind.
func (a *Archive) release(ctx context.Context, s Suite, now time.Time) (*release, error) {
	key := s.inRelease()
	defer a.locks.lock(key)()
	a.mu.Lock()
	old := a.releases[key]
	a.mu.Unlock()
	var oldErr error
	if old == nil {
		old, oldErr = a.remembered(ctx, s, now)
	} else {
		oldErr = a.current(old, now)
	}
	if old != nil && oldErr == nil {
		if age := now.Sub(old.checked); age >= 0 && age < a.cfg.MaxAge {
			a.keep(key, old)
			return old, nil
		}
	}
	fresh, err := a.download(ctx, s, now)
	switch {
	case err == nil && old != nil && oldErr == nil && fresh.content.Date.Before(old.content.Date):
		fresh = old // never back in time
	case fault.Is(err, fault.Unavailable) && old != nil && oldErr == nil && ctx.Err() == nil:
		a.keep(key, old)
		return old, nil
	case fault.Is(err, fault.Unavailable) && oldErr != nil && ctx.Err() == nil && !errors.Is(oldErr, fs.ErrNotExist):
		return nil, oldErr
	case err != nil:
		return nil, err
	}
	fresh.checked = now
	if err := a.remember(fresh); err != nil {
		return nil, err
	}
	a.keep(key, fresh)
	return fresh, nil
}

func (a *Archive) keep(key string, r *release) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.releases[key] = r
}

// download fetches the InRelease and verifies it.
func (a *Archive) download(ctx context.Context, s Suite, now time.Time) (*release, error) {
	m, err := a.cfg.Fetcher.Fetch(ctx, source.Request{URI: s.inRelease(), MaxSize: maxInRelease})
	if err != nil {
		return nil, err
	}
	return a.verify(ctx, s, m.Digest, now)
}

// remembered returns the release that the cache points at, still valid now. The
// error is fs.ErrNotExist if there is none that can be used.
func (a *Archive) remembered(ctx context.Context, s Suite, now time.Time) (*release, error) {
	p, err := a.statePath(s)
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(p)
	if err != nil {
		return nil, fs.ErrNotExist
	}
	var st state
	if json.Unmarshal(b, &st) != nil || st.Format != stateFormat {
		return nil, fs.ErrNotExist
	}
	if _, err := a.cfg.Fetcher.Store.Stat(ctx, st.InRelease); err != nil {
		return nil, fs.ErrNotExist
	}
	r, err := a.verify(ctx, s, st.InRelease, now)
	if err != nil {
		return nil, err
	}
	r.checked = st.Checked
	return r, nil
}

// remember notes in the cache that this is the suite's release.
func (a *Archive) remember(r *release) error {
	p, err := a.statePath(r.suite)
	if err != nil {
		return err
	}
	b, err := json.Marshal(state{Format: stateFormat, InRelease: r.index.Digest, Checked: r.checked})
	if err != nil {
		return err
	}
	return durable.WriteFile(p, append(b, '\n'), 0o644)
}

// verify checks an InRelease in the store as authentic does, and that it is valid
// now.
func (a *Archive) verify(ctx context.Context, s Suite, d ashlar.Digest, now time.Time) (*release, error) {
	r, err := a.authentic(ctx, s, d, now)
	if err != nil {
		return nil, err
	}
	return r, a.current(r, now)
}

// authentic checks the digest and the signature of an InRelease in the store, and
// that it is of the suite. Whether it is still valid is not its question.
func (a *Archive) authentic(ctx context.Context, s Suite, d ashlar.Digest, now time.Time) (*release, error) {
	b, err := blob.ReadAll(ctx, a.cfg.Fetcher.Store, d, maxInRelease)
	if err != nil {
		return nil, err
	}
	if got := ashlar.DigestOf(b); got != d {
		return nil, fault.New(fault.Denied, "the stored index %s was altered: its content is %s", d.Short(), got.Short()).At(s.inRelease(), 0).
			Fix("delete it from the store")
	}
	keyring, err := a.keyring()
	if err != nil {
		return nil, err
	}
	text, signers, err := keyring.VerifyClearSigned(b, now)
	if err != nil {
		return nil, (&fault.Error{Kind: fault.Denied, What: "its signature does not hold: " + whatOf(err), Err: err}).At(s.inRelease(), 0).
			Fix("check the clock, the mirror and the keyring; nothing of this index was used")
	}
	content, err := deb.ParseRelease(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(s.inRelease(), 0).Fix("use another mirror")
	}
	r := &release{suite: s, content: content, index: ashlar.Index{
		URI: s.inRelease(), Digest: d, Date: content.Date.UTC().Format(time.RFC3339), Signers: signers,
	}}
	if content.Codename != s.Name && content.Suite != s.Name {
		return nil, fault.New(fault.Denied, "the mirror gave the index of %q (%s) for that of %q", content.Codename, content.Suite, s.Name).At(s.inRelease(), 0).
			Fix("use another mirror")
	}
	return r, nil
}

// current checks that a release is valid at a time.
func (a *Archive) current(r *release, now time.Time) error {
	switch c := r.content; {
	case c.Date.After(now.Add(clockSkew)):
		return fault.New(fault.Denied, "the index is dated %s, which is in the future", c.Date.Format(time.RFC3339)).At(r.index.URI, 0).
			Fix("set the clock of this machine")
	case c.Expired(now) && !a.cfg.AllowExpired:
		return fault.New(fault.Denied, "the index was valid until %s", c.ValidUntil.Format(time.RFC3339)).At(r.index.URI, 0).
			Fix("use a mirror that is up to date, or check the clock; on a machine that is cut off, allow expired indexes")
	}
	return nil
}
