package repo

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"

	"github.com/klauspost/compress/gzip"
)

// A gzip file of ours has one member for each chunk of its text. The header of
// a member carries, in the extra field that the format reserves for such use,
// its own length and the SHA-256 of what it holds. So the file itself tells
// which of its members a new version can take over as they are.
const (
	memberID     = "As"
	memberExtra  = 4 + 4 + sha256.Size // id and length of the subfield, size, digest
	memberSizeAt = 10 + 2 + 4          // fixed header, length of the extra field, subfield header
	memberHeader = memberSizeAt + 4 + sha256.Size
	gzipLevel    = 6
)

// gzipText compresses the text and takes over what it can from old, an earlier
// version of the same file; old may be nil or anything.
func gzipText(t *text, old []byte) ([]byte, error) {
	parts, err := t.compress(gzipMembers(old), gzipMember)
	if err != nil {
		return nil, err
	}
	return bytes.Join(parts, nil), nil
}

// gzipMember returns one member that holds the chunk.
func gzipMember(chunk []byte, sum digest) ([]byte, error) {
	extra := make([]byte, 0, memberExtra)
	extra = append(extra, memberID...)
	extra = binary.LittleEndian.AppendUint16(extra, 4+sha256.Size)
	extra = append(extra, 0, 0, 0, 0) // the size, known only afterwards
	extra = append(extra, sum[:]...)
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzipLevel)
	if err != nil {
		return nil, err
	}
	z.Header = gzip.Header{Extra: extra, OS: 255}
	if _, err := z.Write(chunk); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	member := b.Bytes()
	binary.LittleEndian.PutUint32(member[memberSizeAt:], uint32(len(member)))
	return member, nil
}

// gzipMembers finds the members of a file that gzipText made. It stops at the
// first that is not of that form.
func gzipMembers(file []byte) map[digest][]byte {
	known := map[digest][]byte{}
	for len(file) > memberHeader {
		extra := binary.LittleEndian.Uint16(file[10:])
		id := string(file[12:14])
		if file[0] != 0x1f || file[1] != 0x8b || file[3] != 4 || extra != memberExtra || id != memberID {
			break
		}
		size := binary.LittleEndian.Uint32(file[memberSizeAt:])
		if size <= memberHeader || uint64(size) > uint64(len(file)) {
			break
		}
		known[digest(file[memberSizeAt+4:memberHeader])] = file[:size:size]
		file = file[size:]
	}
	return known
}
