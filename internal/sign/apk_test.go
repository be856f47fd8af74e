package sign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/intoto"
)

// apkTestKeys are two pairs of keys, smaller than those of users.
var apkTestKeys = sync.OnceValue(func() [2]*APKKeys {
	var pairs [2]*APKKeys
	for i := range pairs {
		v2, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		v3, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			panic(err)
		}
		if pairs[i], err = NewAPKKeys(v2, v3); err != nil {
			panic(err)
		}
	}
	return pairs
})

// initAPK makes a keys folder with keys for apk.
func initAPK(t *testing.T, passphrase string) string {
	t.Helper()
	dir := filepath.Join(openDir(t), "keys")
	if _, err := Init(New{Dir: dir, Passphrase: []byte(passphrase), Name: "Test", Owner: Me(), Now: now, APK: apkTestKeys()[0]}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestAPKKeyFiles(t *testing.T) {
	for _, passphrase := range []string{"", "secret"} {
		dir := initAPK(t, passphrase)
		public, err := ReadPublic(dir)
		if err != nil || len(public.APK) != 2 {
			t.Fatalf("%+v, %v", public, err)
		}
		for _, p := range public.APK {
			kind := map[string]string{"v2": ".rsa", "v3": ".ec"}[p.Format]
			if want := "ashlar-" + p.ID[:8] + kind + ".pub"; p.Name != want {
				t.Errorf("%s is called %s", want, p.Name)
			}
			for name, mode := range map[string]os.FileMode{p.Name: 0o644, privateName(p.Name): 0o600} {
				if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode() != mode {
					t.Errorf("%s: %v, %v", name, info, err)
				}
			}
		}
		public2, err := AddAPK(New{Dir: dir, Passphrase: []byte(passphrase), Owner: Me(), APK: apkTestKeys()[1]})
		if err != nil || len(public2.APK) != 4 || !slices.IsSortedFunc(public2.APK, func(a, b APKPublic) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatalf("%+v, %v", public2, err)
		}
		keys, err := Open(dir, []byte(passphrase))
		if err != nil || len(keys.APK.V2) != 2 || len(keys.APK.V3) != 2 {
			t.Fatalf("%+v, %v", keys, err)
		}
		again, err := keys.Public()
		if diff := cmp.Diff(public2, again); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
		if passphrase != "" {
			if _, err := Open(dir, []byte("wrong")); !fault.Is(err, fault.Denied) {
				t.Errorf("a wrong passphrase: %v", err)
			}
		}
	}
}

func TestAPKKeysRefuse(t *testing.T) {
	if _, err := AddAPK(New{Dir: t.TempDir(), Owner: Me(), APK: apkTestKeys()[0]}); !fault.Is(err, fault.NotFound) {
		t.Errorf("to a folder without keys: %v", err)
	}
	for _, suffix := range []string{".key", ".pub"} {
		dir := initAPK(t, "")
		names, err := apkFiles(dir, suffix)
		if err != nil || len(names) != 2 {
			t.Fatal(names, err)
		}
		if err := os.Rename(filepath.Join(dir, names[0]), filepath.Join(dir, "ashlar-00000000.rsa"+suffix)); err != nil {
			t.Fatal(err)
		}
		if suffix == ".key" {
			_, err = Open(dir, nil)
		} else {
			_, err = ReadPublic(dir)
		}
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "rename") {
			t.Errorf("a key under another name: %v", err)
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewAPKKeys(p384); !fault.Is(err, fault.Invalid) {
		t.Errorf("a key that apk does not know: %v", err)
	}
}

// apkConn returns a signer with both pairs of keys for apk, or with none.
func apkConn(t *testing.T, keyed bool) *Conn {
	t.Helper()
	keys, err := Generate("Test", "", now)
	if err != nil {
		t.Fatal(err)
	}
	if keyed {
		for _, pair := range apkTestKeys() {
			keys.APK.V2, keys.APK.V3 = append(keys.APK.V2, pair.V2...), append(keys.APK.V3, pair.V3...)
		}
	}
	c, err := Local(t.Context(), keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// apkFolder holds packages and indexes of both generations, none signed.
func apkFolder(t testing.TB) (dir string, packages []ashlar.File) {
	t.Helper()
	dir = openDir(t)
	info := apk.Info{Name: "hello", Version: "1.0-r100", Arch: "x86_64", Description: "test"}
	files := []apk.File{{Entry: apk.Entry{Path: "hello", Mode: 0o644, User: "root", Group: "root", Size: 5}, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader("hello")), nil
	}}}
	put := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var b2, b3 bytes.Buffer
	p2, err2 := apk.WriteV2(&b2, &apk.V2Spec{Info: info, Files: files})
	p3, err3 := apk.WriteV3(&b3, &apk.V3Spec{Info: info, Files: files, Compression: adb.Deflate})
	if err2 != nil || err3 != nil {
		t.Fatal(err2, err3)
	}
	for name, b := range map[string][]byte{"v2.apk": b2.Bytes(), "v3.apk": b3.Bytes()} {
		put(name, b)
		packages = append(packages, ashlar.File{Name: name, Digest: ashlar.DigestOf(b), Size: int64(len(b))})
	}
	slices.SortFunc(packages, func(a, b ashlar.File) int { return strings.Compare(a.Name, b.Name) })
	v2, err2 := (&apk.V2RawIndex{}).Merge(nil, []apk.IndexEntry{p2.IndexEntry()}, 0)
	v3, err3 := (&apk.V3RawIndex{}).Merge(nil, []apk.V3IndexEntry{p3.IndexEntry()})
	if err2 != nil || err3 != nil {
		t.Fatal(err2, err3)
	}
	plain, err := v3.Plain()
	if err != nil {
		t.Fatal(err)
	}
	put(APKUnsignedV2, v2.Unsigned())
	put(APKUnsignedV3, plain)
	put(APKDeflatedV3, apk.DeflateV3Index(plain))
	return dir, packages
}

func TestSignAPKPackages(t *testing.T) {
	c := apkConn(t, true)
	dir, packages := apkFolder(t)
	signed, err := c.SignAPKPackages(t.Context(), dir, packages)
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.SignAPKPackages(t.Context(), dir, packages)
	if diff := cmp.Diff(signed, again); err != nil || diff != "" {
		t.Errorf("signatures are not always the same: %v %s", err, diff)
	}
	for i, f := range packages {
		b, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := signed[i].Attach(&out, bytes.NewReader(b), f.Size); err != nil {
			t.Fatal(err)
		}
		for _, pair := range apkTestKeys() {
			v2, v3 := pair.trusted()
			if f.Name == "v2.apk" {
				_, err = apk.OpenV2(bytes.NewReader(out.Bytes()), v2)
			} else {
				_, err = apk.OpenV3(bytes.NewReader(out.Bytes()), apk.V3Signed(v3...))
			}
			if err != nil {
				t.Errorf("%s by one of the keys alone: %v", f.Name, err)
			}
		}
	}
	good := packages[0]
	for name, bad := range map[string]ashlar.File{
		"another digest": {Name: good.Name, Digest: packages[1].Digest, Size: good.Size},
		"another size":   {Name: good.Name, Digest: good.Digest, Size: good.Size + 1},
		"a smaller size": {Name: good.Name, Digest: good.Digest, Size: good.Size - 1},
		"outside":        {Name: "../" + filepath.Base(dir) + "/v2.apk", Digest: good.Digest, Size: good.Size},
		"no package":     {Name: APKUnsignedV2, Digest: good.Digest, Size: good.Size},
		"a folder":       {Name: ".", Digest: good.Digest, Size: good.Size},
	} {
		if _, err := c.SignAPKPackages(t.Context(), dir, []ashlar.File{bad}); !fault.Is(err, fault.Denied) && !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := apkConn(t, false).SignAPKPackages(t.Context(), dir, packages); !fault.Is(err, fault.Denied) || !strings.Contains(err.Error(), "ashlar key apk") {
		t.Errorf("without keys: %v", err)
	}
}

func state() intoto.APKIndex {
	return intoto.APKIndex{Repository: "musl-1/community", Arch: "x86_64", Snapshot: "20260304T050607Z", Sequence: 3, Issued: now, Expires: now.AddDate(0, 0, 7)}
}

func readIn(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSignAPKIndexes(t *testing.T) {
	c := apkConn(t, true)
	dir, _ := apkFolder(t)
	read := func(name string) []byte { return readIn(t, dir, name) }
	signed, err := c.SignAPKIndexes(t.Context(), dir, state())
	if err != nil {
		t.Fatal(err)
	}
	v2 := append(signed.V2, read(APKUnsignedV2)...)
	v3, err := apk.JoinV3Index(read(APKDeflatedV3), signed.V3)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range apkTestKeys() {
		ring, pub := pair.trusted()
		if _, err := apk.ParseV2Index(v2, ring); err != nil {
			t.Error(err)
		}
		if x, err := apk.ReadV3Index(bytes.NewReader(v3), apk.V3Signed(pub...)); err != nil || len(x.Entries) != 1 {
			t.Error(err)
		}
	}
	var got intoto.APKIndex
	st := verified(t, c, signed.Statement, intoto.PredicateAPKIndex, &got)
	if !st.About(ashlar.DigestOf(v2)) || !st.About(ashlar.DigestOf(v3)) || len(st.Subject) != 2 || got != state() {
		t.Errorf("%+v says %+v", st, got)
	}
	again, err := c.SignAPKIndexes(t.Context(), dir, state())
	if err != nil || !bytes.Equal(again.V2, signed.V2) || !cmp.Equal(again.V3, signed.V3) {
		t.Errorf("signatures are not always the same: %v", err)
	}
	for name, change := range map[string]func(s *intoto.APKIndex){
		"for ever":     func(s *intoto.APKIndex) { s.Expires = s.Issued.AddDate(1, 0, 0) },
		"over already": func(s *intoto.APKIndex) { s.Expires = s.Issued },
		"of nothing":   func(s *intoto.APKIndex) { s.Repository = "" },
		"no number":    func(s *intoto.APKIndex) { s.Sequence = 0 },
	} {
		s := state()
		change(&s)
		if _, err := c.SignAPKIndexes(t.Context(), dir, s); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := apkConn(t, false).SignAPKIndexes(t.Context(), dir, state()); !fault.Is(err, fault.Denied) {
		t.Errorf("without keys: %v", err)
	}
	if _, err := c.SignAPKIndexes(t.Context(), dir+"/none", state()); !fault.Is(err, fault.Denied) {
		t.Errorf("no folder: %v", err)
	}
	for name, content := range map[string][]byte{"signed before": v2, "a package": read("v2.apk"), "v3": read(APKUnsignedV3), "trash": []byte("x"), "nothing": nil} {
		checkRefused(t, c, dir, APKUnsignedV2, name, content)
	}
	for name, content := range map[string][]byte{"a package": read("v3.apk"), "v2": read(APKUnsignedV2), "trash": []byte("x"), "nothing": nil} {
		checkRefused(t, c, dir, APKUnsignedV3, name, content)
	}
}

// checkRefused gives a file of a request other content for a while.
func checkRefused(t *testing.T, c *Conn, dir, file, name string, content []byte) {
	t.Helper()
	at := filepath.Join(dir, file)
	good, err := os.ReadFile(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SignAPKIndexes(t.Context(), dir, state()); !fault.Is(err, fault.Invalid) {
		t.Errorf("%s for %s: %v", name, file, err)
	}
	if err := os.WriteFile(at, good, 0o644); err != nil {
		t.Fatal(err)
	}
}

// verified checks a bundle with the signer's key and reads the predicate.
func verified(t *testing.T, c *Conn, raw []byte, predicate string, v any) *intoto.Statement {
	t.Helper()
	pub, err := ParsePublicKey(c.Public().Attestation)
	if err != nil {
		t.Fatal(err)
	}
	b, err := intoto.DecodeBundle(raw)
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.DSSEEnvelope.Verify(crypto.PublicKey(pub))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Into(predicate, v); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestSignAPKKeys(t *testing.T) {
	c := apkConn(t, true)
	raw, err := c.SignAPKKeys(t.Context(), now.Add(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	var got intoto.APKKeys
	st := verified(t, c, raw, intoto.PredicateAPKKeys, &got)
	if !got.Issued.Equal(now) || len(got.Keys) != 4 {
		t.Errorf("%+v", got)
	}
	for i, p := range c.Public().APK {
		k := got.Keys[i]
		if k.Name != p.Name || k.ID != p.ID || k.Format != p.Format || !st.About(ashlar.DigestOf(p.PEM)) {
			t.Errorf("%+v is listed as %+v", p, k)
		}
		if k.Algorithm != map[string]string{"v2": "RSA-2048", "v3": "ECDSA-P256"}[k.Format] {
			t.Errorf("%s is %s", k.Name, k.Algorithm)
		}
	}
}
