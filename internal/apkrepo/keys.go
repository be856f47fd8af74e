package apkrepo

import (
	"bytes"
	"context"
	"crypto"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/sign"
)

// KeyList is the file beside the public keys with the signed statement that lists
// them, and KeysDir the folder of them all, below the root.
const (
	KeyList = "apk.sigstore.json"
	KeysDir = "keys"
)

// keyForm is the form of the names of key files of ours.
var keyForm = regexp.MustCompile(`^ashlar-[0-9a-f]{8}\.(rsa|ec)\.pub$`)

// PublishKeys puts the public keys where clients get them, <root>/keys, under the
// names that the files must have in /etc/apk/keys, and beside them a statement that
// lists them. Keys that are no longer used go. It does nothing if all is there.
func (r *Repo) PublishKeys(ctx context.Context, keys []sign.APKPublic, now time.Time) error {
	dir := filepath.Join(r.cfg.Root, KeysDir)
	if len(keys) == 0 || r.keysPublished(dir, keys) {
		return nil
	}
	if err := durable.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	list, err := r.cfg.Signer.SignAPKKeys(ctx, now)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, k := range keys {
		if !keyForm.MatchString(k.Name) {
			return fault.New(fault.Invalid, "%q is not the name of a key", k.Name)
		}
		used[k.Name] = true
		if err := durable.WriteFile(filepath.Join(dir, k.Name), k.PEM, 0o644); err != nil {
			return err
		}
	}
	if err := durable.WriteFile(filepath.Join(dir, KeyList), list, 0o644); err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range there {
		if keyForm.MatchString(e.Name()) && !used[e.Name()] {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// keysPublished reports whether the folder has just these keys, and the statement
// lists just them.
func (r *Repo) keysPublished(dir string, keys []sign.APKPublic) bool {
	list, err := os.ReadFile(filepath.Join(dir, KeyList))
	if err != nil {
		return false
	}
	files := map[string][]byte{}
	for _, k := range keys {
		b, err := os.ReadFile(filepath.Join(dir, k.Name))
		if err != nil || !bytes.Equal(b, k.PEM) {
			return false
		}
		files[k.Name] = b
	}
	listed, err := CheckKeys(list, files, r.cfg.Keys.Statements)
	return err == nil && len(listed.Keys) == len(keys)
}

// CheckKeys checks the statement that lists the public keys of a repository, and
// that the files, by name, are keys that it lists. The error is fault.Denied if one
// is not, or the statement is not by one of the keys for statements.
func CheckKeys(list []byte, files map[string][]byte, keys []crypto.PublicKey) (*intoto.APKKeys, error) {
	st, err := verifyBundle(list, keys)
	if err != nil {
		return nil, apk.InFile(err, KeyList)
	}
	var listed intoto.APKKeys
	if err := st.Into(intoto.PredicateAPKKeys, &listed); err != nil {
		return nil, apk.InFile(err, KeyList)
	}
	subjects, err := subjectsOf(st)
	if err != nil {
		return nil, apk.InFile(err, KeyList)
	}
	for name, b := range files {
		if subjects[name] != ashlar.DigestOf(b) {
			return &listed, fault.New(fault.Denied, "it is no key of the repository").At(name, 0).Fix("do not trust it")
		}
	}
	return &listed, nil
}
