package work

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
)

// verifiedFormat changes when what is verified of a lock does.
const verifiedFormat = 1

// verifyAgain is after how long a lock is verified again, if it can be: keys expire.
const verifyAgain = 30 * 24 * time.Hour

// A verified lock is what the state folder remembers of having verified one: when, and
// the lock as it was found if that is not as it was given.
type verified struct {
	Verified time.Time    `json:"verified"`
	Found    *ashlar.Lock `json:"found,omitempty"`
}

// verifiedFile is where the verification of a lock is remembered: by its bytes, and
// by whom it was verified against.
func (s *Shop) verifiedFile(lock []byte) (string, error) {
	b, err := json.Marshal([]any{verifiedFormat, ashlar.DigestOf(lock), s.Archive.Trust()})
	if err != nil {
		return "", fault.New(fault.Internal, "%w", err)
	}
	return s.path("verified", ashlar.DigestOf(b).Hex()+".json"), nil
}

// remembered returns what a file remembers, nil if that is nothing.
func remembered(file string) *verified {
	b, err := os.ReadFile(file)
	var v verified
	if err != nil || json.Unmarshal(b, &v) != nil || v.Verified.IsZero() {
		return nil
	}
	return &v
}

// remember notes that a lock was verified.
func (s *Shop) remember(file string, v verified) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fault.New(fault.Internal, "%w", err)
	}
	if err := durable.MkdirAll(s.path("verified"), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(file, b, 0o644)
}

// verify returns a lock as resolve.Verify finds it. What was found is remembered by
// the lock's bytes: nothing is looked up twice while the keyrings stay as they are.
func (s *Shop) verify(ctx context.Context, ref Ref, def *catalog.Expanded, lock *ashlar.Lock, raw []byte) (*ashlar.Lock, error) {
	file, err := s.verifiedFile(raw)
	if err != nil {
		return nil, err
	}
	known := remembered(file)
	if known == nil || s.Now().Sub(known.Verified) > verifyAgain {
		switch found, err := s.lookUp(ctx, ref, def, lock); {
		case err == nil:
			known = &verified{Verified: s.Now().UTC()}
			if !slices.Equal(encoded(found), encoded(lock)) {
				known.Found = found
			}
			if err := s.remember(file, *known); err != nil {
				return nil, err
			}
		case known == nil || !fault.Is(err, fault.Unavailable):
			return nil, err
		}
	}
	if known.Found != nil {
		return known.Found, nil
	}
	return lock, nil
}

// encoded returns the canonical bytes of a lock, nil if it has none.
func encoded(lock *ashlar.Lock) []byte {
	b, err := lock.Encode()
	if err != nil {
		return nil
	}
	return b
}

// lookUp works out what a lock says, and reports what was found to be otherwise.
func (s *Shop) lookUp(ctx context.Context, ref Ref, def *catalog.Expanded, lock *ashlar.Lock) (*ashlar.Lock, error) {
	past, err := s.Archive.Past(ctx, lock.Inputs.Indexes, s.Now(), true)
	if err != nil {
		return nil, err
	}
	found, err := resolve.Verify(ctx, lock, def, resolve.World{Fetcher: s.Fetcher, Store: s.Store, Now: s.Now(), Vouch: s.vouch}, past)
	if err != nil {
		return nil, err
	}
	for _, n := range found.Inputs.Notes {
		if !slices.Contains(lock.Inputs.Notes, n) {
			s.report(Event{Subject: ref.File(), Stage: "lock", State: Noted, Detail: n})
		}
	}
	return found, nil
}
