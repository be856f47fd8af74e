package apk

import (
	"bufio"
	"crypto"
	"io"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// PackageSignatures are signatures of one package, V2 or V3 as its generation is.
// They can be made where the keys are and attached elsewhere.
type PackageSignatures struct {
	V2 []byte          `json:"v2,omitempty"` // one gzip member, which goes before the control part
	V3 []adb.Signature `json:"v3,omitempty"`
}

// IsV3 reports whether a file that begins with head, of at least four bytes, is
// an ADB file, as packages and indexes of v3 are.
func IsV3(head []byte) bool { return len(head) >= 4 && string(head[:3]) == "ADB" }

// SignPackage reads a package of either generation from r to its end, checks all
// of it as Walk and Info.Check do, and returns signatures over what was read: by
// the signers of v2, or by those of v3. Errors of form are fault.Invalid, and
// fault.Denied if a digest in it does not hold.
func SignPackage(r io.Reader, v2 []Signer, v3 []crypto.Signer) (*PackageSignatures, error) {
	b := bufio.NewReader(r)
	head, err := b.Peek(4)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if IsV3(head) {
		sigs, err := signV3(b, v3)
		return &PackageSignatures{V3: sigs}, err
	}
	part, err := signV2(b, v2)
	return &PackageSignatures{V2: part}, err
}

// signV2 checks a package and returns the signatures over its control part.
func signV2(r io.Reader, signers []Signer) ([]byte, error) {
	p, err := OpenV2(r, nil)
	if err != nil {
		return nil, err
	}
	if err := p.Walk(func(*Entry, io.Reader) error { return nil }); err != nil {
		return nil, err
	}
	if err := p.Info.Check(); err != nil {
		return nil, err
	}
	return signDigest(p.ControlSHA256[:], signers)
}

// signV3 checks a package and returns the signatures over its description.
func signV3(r io.Reader, signers []crypto.Signer) ([]adb.Signature, error) {
	if len(signers) == 0 {
		return nil, invalid("0 keys to sign with")
	}
	p, err := OpenV3(r, V3Unchecked())
	if err != nil {
		return nil, err
	}
	payload := p.f.Payload
	if err := p.Walk(func(*Entry, io.Reader) error { return nil }); err != nil {
		return nil, err
	}
	if err := p.Info.Check(); err != nil {
		return nil, err
	}
	if err := p.Scripts.Check(p.Info.Triggers); err != nil {
		return nil, fault.Within(err, "package %s", p.Info.Name)
	}
	return adb.Sign(v3SchemaPackage, payload, signers...)
}

// Attach writes the package of the given size in bytes to w with the signatures
// in place of those that it has. A v3 package stays compressed as it is. The same
// package and signatures always give the same bytes; whether they are the
// package's is not checked. Errors of form are fault.Invalid.
func (s *PackageSignatures) Attach(w io.Writer, r io.ReaderAt, size int64) error {
	if len(s.V3) > 0 {
		return s.attachV3(w, io.NewSectionReader(r, 0, size))
	}
	p, err := ReadV2(io.NewSectionReader(r, 0, size))
	if err != nil {
		return err
	}
	if _, err := w.Write(s.V2); err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(r, p.ControlOffset, size-p.ControlOffset))
	return err
}

func (s *PackageSignatures) attachV3(w io.Writer, r io.Reader) error {
	f, err := openV3(r, v3SchemaPackage, adb.Limits{Payload: maxV3Package, Total: maxV3Data}, V3Unchecked())
	if err != nil {
		return err
	}
	defer f.Close()
	out, err := adb.NewWriter(w, f.Compression, v3SchemaPackage, f.Payload, s.V3)
	if err != nil {
		return err
	}
	for {
		d, err := f.Next()
		switch {
		case err == io.EOF:
			return out.Close()
		case err != nil:
			return inV3(err)
		}
		if err := out.Data(nil, d.Size, d); err != nil {
			return err
		}
	}
}
