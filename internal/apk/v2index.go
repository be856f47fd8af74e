package apk

import (
	"bytes"
	"crypto"
	"io"

	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on an APKINDEX.tar.gz, in bytes.
const (
	maxPackedIndex = 256 << 20
	maxPlainIndex  = 1 << 30
)

// maxFirstHeader bounds the header of the first file, an extended one before it
// included, in bytes. So little is unpacked to see whether it is a signature.
const maxFirstHeader = 16 << 10

// The files of an APKINDEX.tar.gz.
const (
	indexName       = "APKINDEX"
	descriptionName = "DESCRIPTION"
)

// EncodeV2 returns the APKINDEX.tar.gz of the index: its entries sorted, in one
// gzip member, and before it one with the signatures of all signers, if there
// are any. buildTime, in Unix seconds, is the time of the files in it. The same
// index gives the same bytes, whatever the order of its entries and the number
// of workers, the goroutines that compress (0: one per processor). What a client
// would misread (Check) is fault.Invalid.
func (x *Index) EncodeV2(buildTime int64, workers int, signers ...Signer) ([]byte, error) {
	sorted := x.sorted()
	if err := x.check(sorted); err != nil {
		return nil, err
	}
	t := &compress.Text{Plain: make([]byte, 0, 512*len(sorted)), Workers: workers}
	var text []byte
	for _, e := range sorted {
		text = e.AppendTo(text[:0])
		t.Add([]byte(e.Name), text)
	}
	packed, err := packV2Index(x.Description, t, buildTime, nil)
	if err != nil || len(signers) == 0 {
		return packed, err
	}
	signatures, err := sign(packed, signers)
	return append(signatures, packed...), err
}

// VerifyV2Index checks that an APKINDEX.tar.gz is signed by a key of the keyring,
// and no more of it. If it is not, the error is fault.Denied.
func VerifyV2Index(b []byte, keys Keyring) error {
	_, err := (&V2Index{}).verify(b, keys)
	if err != nil {
		return notIndex(err)
	}
	return nil
}

// A V2Index is an index as it was read.
type V2Index struct {
	Index
	Signatures []Signature
	// SignedBy is the name of the key whose signature holds, "" if ParseV2Index
	// was given no keyring.
	SignedBy string

	text []byte // of the file APKINDEX
}

// ParseV2Index reads an APKINDEX.tar.gz. With a keyring, even an empty one, it
// must be signed by a key of it, else that is fault.Denied and nothing of it is
// unpacked; with nil signatures are not looked at. Errors of form are
// fault.Invalid.
func ParseV2Index(b []byte, keys Keyring) (*V2Index, error) {
	x, err := parseV2Index(b, keys)
	if err != nil {
		return nil, notIndex(err)
	}
	return x, nil
}

// notIndex says that the file is no good index.
func notIndex(err error) error {
	if fault.Is(err, fault.Invalid) {
		return fault.Within(err, "not a well-formed APKINDEX.tar.gz")
	}
	return fault.Within(err, "index")
}

func parseV2Index(b []byte, keys Keyring) (*V2Index, error) {
	x := &V2Index{}
	if _, err := x.open(b, keys); err != nil {
		return nil, err
	}
	var err error
	x.Entries, err = ParseIndex(x.text)
	return x, err
}

// verify reads the signatures, checks them unless keys is nil, and returns what is
// signed.
func (x *V2Index) verify(b []byte, keys Keyring) (signed []byte, err error) {
	if len(b) > maxPackedIndex {
		return nil, invalid("more than %d bytes", maxPackedIndex)
	}
	if x.Signatures, signed, err = parseHead(b); err != nil || keys == nil {
		return signed, err
	}
	x.SignedBy, err = keys.verify(x.Signatures, func(h crypto.Hash) []byte {
		sum := h.New()
		sum.Write(signed)
		return sum.Sum(nil)
	})
	return signed, err
}

// open checks signatures and form and reads all but the entries. It returns what
// is signed.
func (x *V2Index) open(b []byte, keys Keyring) (signed []byte, err error) {
	if signed, err = x.verify(b, keys); err != nil {
		return nil, err
	}
	src := openSource(bytes.NewReader(signed))
	defer src.release()
	if err := src.open(); err != nil {
		return nil, err
	}
	if err := x.parseTar(&limited{r: src, left: maxPlainIndex}); err != nil {
		return nil, err
	}
	src.end()
	switch more, err := src.more(); {
	case err != nil:
		return nil, err
	case more:
		return nil, invalid("something follows the index")
	}
	return signed, nil
}

// parseHead reads the signatures, if the first member holds them, and returns
// what they sign.
func parseHead(b []byte) (signatures []Signature, signed []byte, err error) {
	src := openSource(bytes.NewReader(b))
	defer src.release()
	if err := src.open(); err != nil {
		return nil, nil, err
	}
	head, err := io.ReadAll(io.LimitReader(src, maxFirstHeader))
	if err != nil {
		return nil, nil, err
	}
	if !isSignaturePart(head) {
		return nil, b, nil
	}
	rest, err := io.ReadAll(io.LimitReader(src, maxSignaturePart))
	if err != nil {
		return nil, nil, err
	}
	if head = append(head, rest...); len(head) > maxSignaturePart {
		return nil, nil, invalid("signature part: too large")
	}
	signatures, err = parseSignatures(head)
	return signatures, b[src.end():], err
}

// parseTar reads DESCRIPTION and APKINDEX.
func (x *V2Index) parseTar(r io.Reader) error {
	t := tarReader{r: r}
	seen := map[string]bool{}
	for {
		e, err := t.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if e.Kind != RegularFile || seen[e.Path] {
			return invalid("%q is there twice or is not a plain file", clip(e.Path))
		}
		seen[e.Path] = true
		switch e.Path {
		case descriptionName:
			if e.Size > maxDescription {
				continue // apk passes over it too
			}
			b, err := io.ReadAll(&t)
			if err != nil {
				return err
			}
			x.Description = string(b)
		case indexName:
			if x.text, err = readText(&t, e.Size); err != nil {
				return err
			}
		default:
			return invalid("%q does not belong there", clip(e.Path))
		}
	}
	switch {
	case !seen[indexName]:
		return invalid("it has no %s", indexName)
	case !t.ended:
		return invalid("tar: it has no end")
	}
	return nil
}

// readText reads the file APKINDEX of the given size.
func readText(r io.Reader, size int64) ([]byte, error) {
	if size > maxPlainIndex {
		return nil, invalid("%s is larger than %d bytes", indexName, maxPlainIndex)
	}
	var b bytes.Buffer
	b.Grow(int(min(size, 32<<20)) + bytes.MinRead)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}
