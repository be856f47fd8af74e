package apk

import (
	"bytes"
	"crypto"
	"io"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on an APKINDEX.tar.gz, in bytes.
const (
	maxPackedIndex = 256 << 20
	maxPlainIndex  = 1 << 30
)

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
	if buildTime < 0 || buildTime > maxTarOctal {
		return nil, invalid("the time of the index is out of range")
	}
	var packed bytes.Buffer
	gz := newGzipWriter(&packed, workers)
	file := func(name string, content []byte) {
		e := Entry{Path: name, Mode: 0o644, User: "root", Group: "root", Size: int64(len(content)), ModTime: buildTime}
		_, _ = gz.Write(appendHeader(nil, &e, false))
		_, _ = gz.Write(content)
		_, _ = gz.Write(make([]byte, -len(content)&(tarBlock-1)))
	}
	if x.Description != "" {
		file(descriptionName, []byte(x.Description))
	}
	file(indexName, encode(sorted))
	_, _ = gz.Write(make([]byte, 2*tarBlock))
	if err := gz.Close(); err != nil {
		return nil, err
	}
	if len(signers) == 0 {
		return packed.Bytes(), nil
	}
	signatures, err := sign(packed.Bytes(), signers)
	if err != nil {
		return nil, err
	}
	return append(signatures, packed.Bytes()...), nil
}

// A V2Index is an index as it was read.
type V2Index struct {
	Index
	Signatures []Signature
	// SignedBy is the name of the key whose signature holds, "" if ParseV2Index
	// was given no keyring.
	SignedBy string
}

// ParseV2Index reads an APKINDEX.tar.gz. With a keyring, even an empty one, it
// must be signed by a key of it, else that is fault.Denied and nothing of it is
// unpacked; with nil signatures are not looked at. Errors of form are
// fault.Invalid.
func ParseV2Index(b []byte, keys Keyring) (*V2Index, error) {
	x, err := parseV2Index(b, keys)
	switch {
	case err == nil:
		return x, nil
	case fault.Is(err, fault.Invalid):
		return nil, fault.Within(err, "not a well-formed APKINDEX.tar.gz")
	}
	return nil, fault.Within(err, "index")
}

func parseV2Index(b []byte, keys Keyring) (*V2Index, error) {
	if len(b) > maxPackedIndex {
		return nil, invalid("more than %d bytes", maxPackedIndex)
	}
	x, signed, err := parseHead(b)
	if err != nil {
		return nil, err
	}
	if keys != nil {
		if x.SignedBy, err = keys.verify(x.Signatures, func(h crypto.Hash) []byte {
			sum := h.New()
			sum.Write(signed)
			return sum.Sum(nil)
		}); err != nil {
			return nil, err
		}
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
	return x, nil
}

// parseHead reads the signatures, if the first member holds them, and returns
// what they sign.
func parseHead(b []byte) (*V2Index, []byte, error) {
	src := openSource(bytes.NewReader(b))
	defer src.release()
	if err := src.open(); err != nil {
		return nil, nil, err
	}
	head, err := io.ReadAll(io.LimitReader(src, maxSignaturePart+1))
	if err != nil {
		return nil, nil, err
	}
	x := &V2Index{}
	switch {
	case !isSignaturePart(head):
		return x, b, nil
	case len(head) > maxSignaturePart:
		return nil, nil, invalid("signature part: too large")
	}
	x.Signatures, err = parseSignatures(head)
	return x, b[src.end():], err
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
			if x.Entries, err = readEntries(&t, e.Size); err != nil {
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

// readEntries reads the file APKINDEX of the given size.
func readEntries(r io.Reader, size int64) ([]IndexEntry, error) {
	if size > maxPlainIndex {
		return nil, invalid("%s is larger than %d bytes", indexName, maxPlainIndex)
	}
	var b bytes.Buffer
	b.Grow(int(min(size, 32<<20)) + bytes.MinRead)
	if _, err := b.ReadFrom(r); err != nil {
		return nil, err
	}
	return ParseIndex(b.Bytes())
}
