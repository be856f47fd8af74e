package repo

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/gzip"

	"github.com/ashlar-project/ashlar/internal/compress"
)

// A gzip file of ours has one member for each chunk of its text. The header of
// a member carries its own length, in the extra field that the format reserves
// for such use. So the file itself tells where its members are, and a new version
// takes over those that did not change.
const (
	memberID     = "As"
	memberExtra  = 4 + 4      // header of the subfield, length
	memberSizeAt = 10 + 2 + 4 // fixed header, length of the extra field, header of the subfield
	memberHeader = memberSizeAt + 4
	gzipLevel    = 6
)

// gzipText compresses the text and takes over what it can from old, the same
// form of the text before.
func gzipText(t *compress.Text, old []byte) ([]byte, error) {
	parts, err := t.Compress(gzipMembers(old), gzipMember)
	if err != nil {
		return nil, err
	}
	return bytes.Join(parts, nil), nil
}

// gzipMember returns one member that holds the chunk.
func gzipMember(chunk []byte) ([]byte, error) {
	extra := append([]byte(memberID), 4, 0, 0, 0, 0, 0) // the length is known only afterwards
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

// gzipMembers returns the members of a file that gzipText made, nil of any
// other.
func gzipMembers(file []byte) [][]byte {
	var members [][]byte
	for len(file) > 0 {
		if len(file) < memberHeader || file[0] != 0x1f || file[1] != 0x8b || file[3] != 4 ||
			binary.LittleEndian.Uint16(file[10:]) != memberExtra || string(file[12:14]) != memberID {
			return nil
		}
		size := binary.LittleEndian.Uint32(file[memberSizeAt:])
		if size < memberHeader || uint64(size) > uint64(len(file)) {
			return nil
		}
		members = append(members, file[:size:size])
		file = file[size:]
	}
	return members
}
