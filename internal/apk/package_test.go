package apk

import (
	"bytes"
	"crypto"
	"testing"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// resign signs a package and attaches the signatures.
func resign(b []byte, v2 []Signer, v3 []crypto.Signer) ([]byte, error) {
	sigs, err := SignPackage(bytes.NewReader(b), v2, v3)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = sigs.Attach(&out, bytes.NewReader(b), int64(len(b)))
	return out.Bytes(), err
}

// TestSignPackage wants what is signed afterwards to be what is signed at once,
// whoever signed it before.
func TestSignPackage(t *testing.T) {
	v2 := []Signer{signer(0), signer(1)}
	want, _ := pack(t, helloSpec(v2...))
	for _, spec := range []*V2Spec{helloSpec(), helloSpec(signer(2)), helloSpec(v2...)} {
		b, _ := pack(t, spec)
		if got, err := resign(b, v2, nil); err != nil || !bytes.Equal(got, want) {
			t.Errorf("the signed v2 package is another one, %v", err)
		}
	}
	v3 := []crypto.Signer{v3Key, v3OtherKey}
	for _, c := range []adb.Compression{adb.None, adb.Deflate, adb.Zstd} {
		want, _ := v3Pack(t, c, v3...)
		for _, signers := range [][]crypto.Signer{nil, {v3OtherKey}, v3} {
			b, _ := v3Pack(t, c, signers...)
			if got, err := resign(b, nil, v3); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the signed v3 package is another one (%s), %v", c, err)
			}
		}
	}
}

func TestSignPackageRefuses(t *testing.T) {
	v2, _ := pack(t, helloSpec())
	v3, _ := v3Pack(t, adb.None)
	spoil := func(b []byte, at int) []byte {
		b = bytes.Clone(b)
		b[at] ^= 1
		return b
	}
	invalidInfo, _ := pack(t, helloSpec())
	for _, c := range []struct {
		name string
		b    []byte
		v2   []Signer
		v3   []crypto.Signer
		kind fault.Kind
	}{
		{"no key for v2", v2, nil, []crypto.Signer{v3Key}, fault.Invalid},
		{"no key for v3", v3, []Signer{signer(0)}, nil, fault.Invalid},
		{"changed v2 data", spoil(v2, len(v2)-20), []Signer{signer(0)}, nil, fault.Invalid},
		{"changed v3 data", spoil(v3, len(v3)-4), nil, []crypto.Signer{v3Key}, fault.Denied},
		{"cut v2", v2[:len(v2)-1], []Signer{signer(0)}, nil, fault.Invalid},
		{"cut v3", v3[:len(v3)-8], nil, []crypto.Signer{v3Key}, fault.Invalid},
		{"something after v2", append(bytes.Clone(invalidInfo), 0), []Signer{signer(0)}, nil, fault.Invalid},
		{"nothing", nil, []Signer{signer(0)}, []crypto.Signer{v3Key}, fault.Invalid},
	} {
		if _, err := SignPackage(bytes.NewReader(c.b), c.v2, c.v3); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
