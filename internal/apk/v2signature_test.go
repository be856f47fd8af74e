package apk

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"testing"
	"time"
)

// abuild puts an extended header before the signature since it writes POSIX tars.
func TestExtendedSignature(t *testing.T) {
	b, _ := pack(t, helloSpec(signer(0)))
	if u, err := unpack(extended(t, b), keyring(0)); err != nil || u.pkg.SignedBy != signer(0).KeyName {
		t.Errorf("package: %v", err)
	}
	index, err := (&Index{Description: "x"}).EncodeV2(0, 1, signer(0))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := ParseV2Index(extended(t, index), keyring(0)); err != nil || x.SignedBy != signer(0).KeyName {
		t.Errorf("index: %v", err)
	}
}

// extended returns a signed file with an extended header before its signature.
func extended(t *testing.T, b []byte) []byte {
	t.Helper()
	r := bytes.NewReader(b)
	z, err := gzip.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	z.Multistream(false)
	old := tar.NewReader(z)
	h, err := old.Next()
	if err != nil {
		t.Fatal(err)
	}
	h.Format, h.AccessTime, h.ChangeTime = tar.FormatPAX, time.Unix(0, 0), time.Unix(0, 0)
	value, err := io.ReadAll(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, z); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	pack := gzip.NewWriter(&out)
	w := tar.NewWriter(pack)
	if err := errors.Join(w.WriteHeader(h), write(w, value), w.Flush(), pack.Close()); err != nil {
		t.Fatal(err)
	}
	return append(out.Bytes(), b[len(b)-r.Len():]...)
}

func write(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
