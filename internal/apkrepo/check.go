package apkrepo

import (
	"bytes"
	"crypto"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

// maxStatement bounds a statement, in bytes.
const maxStatement = 64 << 10

// A CheckRequest says what a client was given and whom it believes. Nothing
// outside of it is consulted.
type CheckRequest struct {
	Statement []byte            // the Sigstore bundle beside the indexes
	Indexes   map[string][]byte // contents by name, IndexV2 and IndexV3 or one of them
	Keys      Keys
	Now       time.Time
	// Repository and Arch, if they are set, are those that the client wants to
	// look at.
	Repository string
	Arch       string
	// Seen is the highest sequence that the client has seen before, 0 for none.
	Seen int64
}

// Check checks that the indexes are signed and are the newest of their repository,
// and returns what is stated of them. It tells a client that is kept from updates:
// by a mirror that stopped, or by somebody who plays back what is old. The error is
// fault.Denied for what is not signed, not stated, of another repository, or older
// than what was seen before, and fault.Unavailable for a statement that has
// expired: nobody vouches any more that the indexes are the newest.
func Check(r CheckRequest) (*intoto.APKIndex, error) {
	state, subjects, err := openStatement(r.Statement, r.Keys.Statements)
	if err != nil {
		return nil, err
	}
	if r.Repository != "" && state.Repository != r.Repository || r.Arch != "" && state.Arch != r.Arch {
		return state, fault.New(fault.Denied, "the statement is about %s for %s", state.Repository, state.Arch).At(Statement, 0).
			Fix("somebody has put the indexes of another repository there; do not use them")
	}
	if len(r.Indexes) == 0 {
		return state, fault.New(fault.Invalid, "no index was given")
	}
	for name, b := range r.Indexes {
		if err := r.checkIndex(name, b, subjects); err != nil {
			return state, err
		}
	}
	switch {
	case state.Sequence < r.Seen:
		return state, fault.New(fault.Denied, "the statement is number %d of its repository, number %d was seen before", state.Sequence, r.Seen).
			At(Statement, 0).Fix("somebody plays back what is old; fetch it from elsewhere")
	case !r.Now.Before(state.Expires):
		return state, fault.New(fault.Unavailable, "the statement expired at %s", state.Expires.Format(time.RFC3339)).At(Statement, 0).
			Fix("the indexes may be old: fetch them again, from elsewhere if that does not help")
	}
	return state, nil
}

// checkIndex checks one index.
func (r *CheckRequest) checkIndex(name string, b []byte, subjects map[string]ashlar.Digest) error {
	var err error
	switch name {
	case IndexV2:
		ring := r.Keys.V2
		if ring == nil {
			ring = apk.Keyring{}
		}
		err = apk.VerifyV2Index(b, ring)
	case IndexV3:
		err = apk.VerifyV3Index(bytes.NewReader(b), r.Keys.V3...)
	default:
		err = fault.New(fault.Invalid, "there is no index of this name")
	}
	if err != nil {
		return apk.InFile(err, name)
	}
	return stated(name, b, subjects)
}

// stated wants a file to be one that a statement is about.
func stated(name string, b []byte, subjects map[string]ashlar.Digest) error {
	if got, want := ashlar.DigestOf(b), subjects[name]; got != want {
		return fault.New(fault.Denied, "it has digest %s, the newest has %s", got.Short(), want.Short()).At(name, 0).
			Fix("fetch it and its statement again: one of them may have been published in between; if that does not help it is not the newest")
	}
	return nil
}

// openStatement checks who signed a statement about indexes and returns what it
// says, and of which files.
func openStatement(b []byte, keys []crypto.PublicKey) (*intoto.APKIndex, map[string]ashlar.Digest, error) {
	st, err := verifyBundle(b, keys)
	if err != nil {
		return nil, nil, apk.InFile(err, Statement)
	}
	return readStatement(st)
}

// verifyBundle returns the statement in a bundle that one of the keys has signed.
func verifyBundle(b []byte, keys []crypto.PublicKey) (*intoto.Statement, error) {
	if len(b) > maxStatement {
		return nil, fault.New(fault.Invalid, "more than %d bytes", maxStatement)
	}
	bundle, err := intoto.DecodeBundle(b)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if id, err := intoto.KeyID(key); err == nil && id == bundle.KeyID() {
			return bundle.DSSEEnvelope.Verify(key)
		}
	}
	return nil, fault.New(fault.Denied, "it is signed by the key %s, which is not trusted", bundle.KeyID())
}

// readStatement reads a statement about indexes without asking who signed it.
func readStatement(st *intoto.Statement) (*intoto.APKIndex, map[string]ashlar.Digest, error) {
	var state intoto.APKIndex
	if err := st.Into(intoto.PredicateAPKIndex, &state); err != nil {
		return nil, nil, apk.InFile(err, Statement)
	}
	subjects, err := subjectsOf(st)
	if err != nil {
		return nil, nil, apk.InFile(err, Statement)
	}
	return &state, subjects, nil
}

// subjectsOf returns the digests of what a statement is about, by name.
func subjectsOf(st *intoto.Statement) (map[string]ashlar.Digest, error) {
	subjects := map[string]ashlar.Digest{}
	for _, s := range st.Subject {
		d, err := ashlar.DigestFromHex(s.Digest["sha256"])
		if err != nil {
			return nil, fault.New(fault.Invalid, "subject %q: %w", s.Name, err)
		}
		subjects[s.Name] = d
	}
	return subjects, nil
}
