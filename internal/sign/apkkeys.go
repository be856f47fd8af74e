package sign

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The keys for apk lie in a keys folder under names that tell the key: clients
// find a key by the name of its file, so it is the key's own and never changes.
// Private keys end in .key, PKCS#8 in PEM, public ones in .pub, for /etc/apk/keys.
const (
	rsaKeyBits     = 4096
	apkRSA         = ".rsa"
	apkEC          = ".ec"
	makeAPKRemedy  = "make some with: ashlar key apk"
	publicKeyBlock = "PUBLIC KEY"
)

var apkKeyForm = regexp.MustCompile(`^ashlar-[0-9a-f]{8}\.(rsa|ec)\.(key|pub)$`)

// APKKeys are the private keys for apk. All of a kind sign: while one replaces
// another there are two.
type APKKeys struct {
	V2 []apk.Signer    // RSA; for packages of v2 and APKINDEX.tar.gz
	V3 []crypto.Signer // ECDSA P-256; for packages of v3 and Packages.adb
}

// An APKPublic is a public key for apk.
type APKPublic struct {
	Name   string `json:"name"`   // of its file, "ashlar-1a2b3c4d.rsa.pub"
	ID     string `json:"id"`     // by which v3 files name it, in hexadecimal
	Format string `json:"format"` // what it signs: "v2" or "v3"
	PEM    []byte `json:"pem"`
}

// GenerateAPK makes new keys for apk: RSA-4096 for v2 and ECDSA P-256 for v3.
// Making the first takes seconds.
func GenerateAPK() (*APKKeys, error) {
	v2, err := rsa.GenerateKey(rand.Reader, rsaKeyBits)
	if err != nil {
		return nil, fault.New(fault.Internal, "make a key: %w", err)
	}
	v3, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fault.New(fault.Internal, "make a key: %w", err)
	}
	return NewAPKKeys(v2, v3)
}

// NewAPKKeys returns the given keys for use with apk, whatever holds them: RSA for
// v2, ECDSA P-256 for v3. Keys of other kinds are fault.Invalid.
func NewAPKKeys(keys ...crypto.Signer) (*APKKeys, error) {
	k := &APKKeys{}
	for _, key := range keys {
		p, err := apkPublic(key.Public())
		if err != nil {
			return nil, err
		}
		if p.Format == "v3" {
			k.V3 = append(k.V3, key)
			continue
		}
		k.V2 = append(k.V2, apk.Signer{KeyName: p.Name, Key: key})
	}
	return k, nil
}

// apkPublic returns what may be known of a key.
func apkPublic(pub crypto.PublicKey) (APKPublic, error) {
	id, err := adb.KeyIDOf(pub)
	if err != nil {
		return APKPublic{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return APKPublic{}, fault.New(fault.Invalid, "public key: %w", err)
	}
	kind, format := apkEC, "v3"
	if _, ok := pub.(*rsa.PublicKey); ok {
		kind, format = apkRSA, "v2"
	}
	return APKPublic{
		Name: "ashlar-" + id.String()[:8] + kind + ".pub", ID: id.String(), Format: format,
		PEM: pem.EncodeToMemory(&pem.Block{Type: publicKeyBlock, Bytes: der}),
	}, nil
}

// Algorithm returns what kind of key it is, "RSA-4096" or "ECDSA-P256".
func (p *APKPublic) Algorithm() (string, error) {
	pub, err := ParsePublicKey(p.PEM)
	if err != nil {
		return "", err
	}
	if key, ok := pub.(*rsa.PublicKey); ok {
		return fmt.Sprintf("RSA-%d", key.N.BitLen()), nil
	}
	return "ECDSA-P256", nil
}

// all returns the private keys.
func (k *APKKeys) all() []crypto.Signer {
	all := make([]crypto.Signer, 0, len(k.V2)+len(k.V3))
	for _, s := range k.V2 {
		all = append(all, s.Key)
	}
	return append(all, k.V3...)
}

// public returns the public keys, sorted by name.
func (k *APKKeys) public() ([]APKPublic, error) {
	var list []APKPublic
	for _, key := range k.all() {
		p, err := apkPublic(key.Public())
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return sortedKeys(list), nil
}

// trusted returns the public keys in the forms that verification takes.
func (k *APKKeys) trusted() (v2 apk.Keyring, v3 []crypto.PublicKey) {
	v2 = apk.Keyring{}
	for _, s := range k.V2 {
		if pub, ok := s.Key.Public().(*rsa.PublicKey); ok {
			v2[s.KeyName] = pub
		}
	}
	for _, key := range k.V3 {
		v3 = append(v3, key.Public())
	}
	return v2, v3
}

// files returns the files of the keys.
func (k *APKKeys) files(passphrase []byte) ([]keyFile, error) {
	var files []keyFile
	for _, key := range k.all() {
		public, err := apkPublic(key.Public())
		if err != nil {
			return nil, err
		}
		private, err := sealPKCS8(key, passphrase)
		if err != nil {
			return nil, err
		}
		files = append(files, keyFile{privateName(public.Name), private, privateMode}, keyFile{public.Name, public.PEM, publicMode})
	}
	return files, nil
}

// privateName returns the name of the file of the private key to a public one.
func privateName(public string) string { return strings.TrimSuffix(public, ".pub") + ".key" }

// AddAPK puts the keys n.APK into a keys folder that Init made. If there are some
// already, old and new sign side by side from then on, until the files of the old
// ones are taken away.
func AddAPK(n New) (*Public, error) {
	if _, err := os.Lstat(filepath.Join(n.Dir, AttestationKey)); err != nil {
		return nil, fault.New(fault.NotFound, "there are no keys").At(n.Dir, 0).Fix(makeKeysRemedy)
	}
	files, err := n.APK.files(n.Passphrase)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := n.put(f); err != nil {
			return nil, err
		}
	}
	return ReadPublic(n.Dir)
}

// apkFiles returns the names of the files for apk in a keys folder that end in a
// suffix, sorted.
func apkFiles(dir, suffix string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.New(fault.Denied, "read the keys folder: %w", err)
	}
	var names []string
	for _, e := range list {
		if apkKeyForm.MatchString(e.Name()) && strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// openAPK reads the private keys for apk of a folder.
func openAPK(dir string, passphrase []byte) (APKKeys, error) {
	names, err := apkFiles(dir, ".key")
	if err != nil {
		return APKKeys{}, err
	}
	var keys []crypto.Signer
	for _, name := range names {
		path := filepath.Join(dir, name)
		content, err := readKey(dir, name)
		if err != nil {
			return APKKeys{}, err
		}
		der, err := unseal(content, pemEncrypted, passphrase, path)
		if err != nil {
			return APKKeys{}, err
		}
		key, err := parsePrivate(der, path)
		if err != nil {
			return APKKeys{}, err
		}
		if p, err := apkPublic(key.Public()); err != nil || privateName(p.Name) != name {
			return APKKeys{}, misnamed(path, privateName(p.Name), err)
		}
		keys = append(keys, key)
	}
	k, err := NewAPKKeys(keys...)
	if err != nil {
		return APKKeys{}, err
	}
	return *k, nil
}

// misnamed says that a file does not have the name of its key.
func misnamed(path, want string, err error) error {
	if err != nil {
		return fault.New(fault.KindOf(err), "%w", err).At(path, 0)
	}
	return fault.New(fault.Invalid, "the key in it belongs into a file %s", want).At(path, 0).Fix("rename the file")
}

// ReadAPKPublic returns the public keys for apk in a folder, sorted by name. One
// under another name than its own is fault.Invalid.
func ReadAPKPublic(dir string) ([]APKPublic, error) {
	names, err := apkFiles(dir, ".pub")
	if err != nil {
		return nil, err
	}
	var list []APKPublic
	for _, name := range names {
		path := filepath.Join(dir, name)
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fault.New(fault.Denied, "read a public key: %w", err)
		}
		pub, err := ParsePublicKey(b)
		if err != nil {
			return nil, fault.New(fault.KindOf(err), "%w", err).At(path, 0)
		}
		p, err := apkPublic(pub)
		if err != nil || p.Name != name {
			return nil, misnamed(path, p.Name, err)
		}
		list = append(list, p)
	}
	return sortedKeys(list), nil
}

func sortedKeys(list []APKPublic) []APKPublic {
	slices.SortFunc(list, func(a, b APKPublic) int { return strings.Compare(a.Name, b.Name) })
	return list
}
