package sign

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
	"github.com/ashlar-project/ashlar/internal/pgp"
)

// The files of a keys folder. A second repository key may lie beside the first
// while one replaces the other.
const (
	AttestationKey = "attestation.key" // private, PKCS#8 in PEM
	AttestationPub = "attestation.pub" // public, PEM, for cosign
	RepositoryKey  = "repository.key"  // private, OpenPGP
	RepositoryPub  = "repository.asc"  // public, OpenPGP in ASCII armour, for apt
	repositoryNext = "repository.next.key"
)

// The kinds of PEM blocks. The encrypted forms hold scrypt and secretbox
// parameters and content; the first is the one that cosign writes and reads.
const (
	pemPlain            = "PRIVATE KEY"
	pemEncrypted        = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemEncryptedOpenPGP = "ENCRYPTED OPENPGP PRIVATE KEY"
	maxKeyFile          = 64 << 10
	privateMode         = fs.FileMode(0o600)
	publicMode          = fs.FileMode(0o644)
	groupAndOthers      = fs.FileMode(0o077)
	passphraseRemedy    = "give the passphrase that the keys were made with"
	makeKeysRemedy      = "make keys with: ashlar key init"
)

// An Owner is the user that a keys folder belongs to.
type Owner struct{ UID, GID int }

// Me returns the user that runs this process.
func Me() Owner { return Owner{os.Geteuid(), os.Getegid()} }

// New says what keys to make.
type New struct {
	Dir        string
	Passphrase []byte // encrypts the private keys; none leaves them readable by Owner only
	Name       string // of the OpenPGP key
	Email      string
	Owner      Owner
	Now        time.Time
	APK        *APKKeys // to be stored too; see GenerateAPK
}

// Init makes keys and puts them into a folder of mode 0700, private files with
// mode 0600. A folder that holds keys already is fault.Conflict: keys are never
// overwritten.
func Init(n New) (*Public, error) {
	for _, name := range []string{AttestationKey, RepositoryKey} {
		if _, err := os.Lstat(filepath.Join(n.Dir, name)); err == nil {
			return nil, fault.New(fault.Conflict, "there is a key already").At(filepath.Join(n.Dir, name), 0).
				Fix("use another folder, or move the old keys away")
		}
	}
	keys, err := Generate(n.Name, n.Email, n.Now)
	if err != nil {
		return nil, err
	}
	if n.APK != nil {
		keys.APK = *n.APK
	}
	public, err := keys.Public()
	if err != nil {
		return nil, err
	}
	attestation, err := sealPKCS8(keys.Attestation.(signer).key, n.Passphrase)
	if err != nil {
		return nil, err
	}
	repository, err := sealRepository(keys.Repository[0], n.Passphrase)
	if err != nil {
		return nil, err
	}
	// Others must be able to pass through the folders above.
	if err := errors.Join(durable.MkdirAll(filepath.Dir(n.Dir), 0o755), durable.MkdirAll(n.Dir, 0o700)); err != nil {
		return nil, fault.New(fault.Failed, "make the keys folder: %w", err)
	}
	files := []keyFile{
		{AttestationKey, attestation, privateMode}, {RepositoryKey, repository, privateMode},
		{AttestationPub, public.Attestation, publicMode}, {RepositoryPub, public.Repository, publicMode},
	}
	more, err := keys.APK.files(n.Passphrase)
	if err != nil {
		return nil, err
	}
	for _, f := range append(files, more...) {
		if err := n.put(f); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(os.Chmod(n.Dir, 0o700), os.Lchown(n.Dir, n.Owner.UID, n.Owner.GID)); err != nil {
		return nil, fault.New(fault.Failed, "protect the keys folder: %w", err)
	}
	return public, nil
}

// A keyFile is a file of a keys folder.
type keyFile struct {
	name string
	data []byte
	mode fs.FileMode
}

func (n New) put(f keyFile) error {
	path := filepath.Join(n.Dir, f.name)
	err := durable.WriteFile(path, f.data, f.mode)
	if err == nil {
		err = os.Lchown(path, n.Owner.UID, n.Owner.GID)
	}
	if err != nil {
		return fault.New(fault.Failed, "write a key: %w", err).At(path, 0)
	}
	return nil
}

func sealPKCS8(key crypto.Signer, passphrase []byte) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fault.New(fault.Internal, "encode a key: %w", err)
	}
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: pemPlain, Bytes: der}), nil
	}
	return seal(pemEncrypted, der, passphrase)
}

func sealRepository(key *pgp.Key, passphrase []byte) ([]byte, error) {
	armoured, err := key.MarshalPrivate()
	if err != nil || len(passphrase) == 0 {
		return armoured, err
	}
	return seal(pemEncryptedOpenPGP, armoured, passphrase)
}

func seal(kind string, content, passphrase []byte) ([]byte, error) {
	sealed, err := encrypted.Encrypt(content, passphrase)
	if err != nil {
		return nil, fault.New(fault.Internal, "encrypt a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: sealed}), nil
}

// Open reads the private keys of a folder. Files that others can read, and files
// that belong to somebody else, are fault.Denied, as is a wrong passphrase.
func Open(dir string, passphrase []byte) (*Keys, error) {
	content, err := readKey(dir, AttestationKey)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, AttestationKey)
	der, err := unseal(content, pemEncrypted, passphrase, path)
	if err != nil {
		return nil, err
	}
	attestation, err := parsePrivate(der, path)
	if err != nil {
		return nil, err
	}
	keys := &Keys{}
	if keys.Attestation, err = NewSigner(attestation); err != nil {
		return nil, err
	}
	for _, name := range []string{RepositoryKey, repositoryNext} {
		content, err := readKey(dir, name)
		if fault.Is(err, fault.NotFound) && name == repositoryNext {
			continue
		}
		if err == nil {
			content, err = unseal(content, pemEncryptedOpenPGP, passphrase, filepath.Join(dir, name))
		}
		if err != nil {
			return nil, err
		}
		key, err := pgp.UnmarshalPrivate(content)
		if err != nil {
			return nil, fault.New(fault.Invalid, "%w", err).At(filepath.Join(dir, name), 0)
		}
		keys.Repository = append(keys.Repository, key)
	}
	keys.APK, err = openAPK(dir, passphrase)
	return keys, err
}

// readKey returns the content of a private file that only its owner, the user of
// this process, can read.
func readKey(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.NotFound, "there is no key").At(path, 0).Fix(makeKeysRemedy)
	case err != nil:
		return nil, fault.New(fault.Denied, "read a key: %w", err).At(path, 0).
			Fix("the file must belong to user %d, and the folders above it be open to it", os.Geteuid())
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fault.New(fault.Internal, "%w", err).At(path, 0)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fault.New(fault.Denied, "a key must be a regular file").At(path, 0)
	case fs.FileMode(st.Mode)&groupAndOthers != 0:
		return nil, fault.New(fault.Denied, "other users can read this key").At(path, 0).Fix("chmod 600 the file, and replace the key if somebody may have read it")
	case int(st.Uid) != os.Geteuid():
		return nil, fault.New(fault.Denied, "this key belongs to user %d, not to user %d who wants to use it", st.Uid, os.Geteuid()).At(path, 0)
	}
	return io.ReadAll(io.LimitReader(f, maxKeyFile))
}

// unseal decrypts content if it is a PEM block of the given encrypted kind, and
// else returns what is in it.
func unseal(content []byte, kind string, passphrase []byte, path string) ([]byte, error) {
	block, _ := pem.Decode(content)
	switch {
	case block != nil && block.Type == kind:
		if len(passphrase) == 0 {
			return nil, fault.New(fault.Denied, "the key is encrypted").At(path, 0).Fix(passphraseRemedy)
		}
		plain, err := encrypted.Decrypt(block.Bytes, passphrase)
		if err != nil {
			return nil, fault.New(fault.Denied, "the key cannot be decrypted").At(path, 0).Fix(passphraseRemedy)
		}
		return plain, nil
	case kind == pemEncryptedOpenPGP:
		return content, nil // plain OpenPGP armour
	case block != nil && block.Type == pemPlain:
		return block.Bytes, nil
	}
	return nil, fault.New(fault.Invalid, "no private key in PEM form").At(path, 0).Fix(makeKeysRemedy)
}

func parsePrivate(der []byte, path string) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "private key: %w", err).At(path, 0)
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Invalid, "a key of type %T cannot sign", key).At(path, 0)
	}
	return private, nil
}

// ReadPublic returns the public keys of a folder that Init made, without any
// private key.
func ReadPublic(dir string) (*Public, error) {
	attestation, err := os.ReadFile(filepath.Join(dir, AttestationPub))
	if err == nil {
		var repository []byte
		if repository, err = os.ReadFile(filepath.Join(dir, RepositoryPub)); err == nil {
			return publicOf(dir, attestation, repository)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.NotFound, "there are no keys").At(dir, 0).Fix(makeKeysRemedy)
	}
	return nil, fault.New(fault.Denied, "read the public keys: %w", err)
}

func publicOf(dir string, attestation, repository []byte) (*Public, error) {
	pub, err := ParsePublicKey(attestation)
	if err != nil {
		return nil, err
	}
	id, err := intoto.KeyID(pub)
	if err != nil {
		return nil, err
	}
	ring, err := pgp.ReadKeyring(bytes.NewReader(repository))
	if err != nil {
		return nil, err
	}
	keys, err := ReadAPKPublic(dir)
	return &Public{Attestation: attestation, KeyID: id, Repository: repository, Fingerprints: ring.Fingerprints(), APK: keys}, err
}
