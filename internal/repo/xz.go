package repo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"

	"github.com/ulikunitz/xz/lzma"

	"github.com/ashlar-project/ashlar/internal/compress"
)

// An xz file of ours is one stream with one block for each chunk of its text.
// Its index tells where the blocks are, and a new version takes over those that
// did not change.
const (
	xzHeaderSize = 12
	xzFooterSize = 12
	xzCheckCRC32 = 1
	xzCheckSize  = 4
	xzDictionary = 64 << 10 // bytes; must fit xzDictCode
	xzDictCode   = 8        // how the format writes xzDictionary
)

var (
	xzMagic       = []byte{0xfd, '7', 'z', 'X', 'Z', 0}
	xzFooterMagic = []byte("YZ")
	xzFlags       = []byte{0, xzCheckCRC32}
	// header size 12, one filter, LZMA2 with one byte of properties, padding
	xzBlockHeader = withCRC([]byte{2, 0, 0x21, 1, xzDictCode, 0, 0, 0})
)

var errNotOurs = errors.New("not an xz file of this program")

// xzText compresses the text and takes over what it can from old, the same
// form of the text before.
func xzText(t *compress.Text, old []byte) ([]byte, error) {
	known, err := xzBlocks(old)
	if err != nil {
		known = nil // whoever made it, it is no use
	}
	blocks, err := t.Compress(known, xzBlock)
	if err != nil {
		return nil, err
	}
	file := append(append([]byte{}, xzMagic...), withCRC(xzFlags)...)
	index := binary.AppendUvarint([]byte{0}, uint64(len(blocks)))
	for i, chunk := range t.Chunks() {
		file = append(file, blocks[i]...)
		index = binary.AppendUvarint(index, xzUnpadded(blocks[i]))
		index = binary.AppendUvarint(index, uint64(len(chunk)))
	}
	index = withCRC(pad4(index))
	file = append(file, index...)
	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, xzFlags...)
	file = binary.LittleEndian.AppendUint32(file, crc32.ChecksumIEEE(footer))
	file = append(file, footer...)
	return append(file, xzFooterMagic...), nil
}

// xzBlock returns one block that holds the chunk: header, data, padding, check.
func xzBlock(chunk []byte) ([]byte, error) {
	var b bytes.Buffer
	b.Write(xzBlockHeader)
	w, err := lzma.Writer2Config{DictCap: xzDictionary, BufSize: 16 << 10}.NewWriter2(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(chunk); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint32(pad4(b.Bytes()), crc32.ChecksumIEEE(chunk)), nil
}

// xzUnpadded returns the size of a block without its padding. LZMA2 data ends
// with a zero byte and padding is zero bytes, so the size is found by going
// through the chunks of the data.
func xzUnpadded(block []byte) uint64 {
	at := len(xzBlockHeader)
	end := len(block) - xzCheckSize
	for at < end && block[at] != 0 {
		at += lzma2Chunk(block[at:end])
	}
	return uint64(at + 1 + xzCheckSize)
}

// lzma2Chunk returns the length of the LZMA2 chunk at the start of b.
func lzma2Chunk(b []byte) int {
	switch {
	case len(b) < 6:
		return len(b)
	case b[0] < 0x80: // stored
		return 3 + int(b[1])<<8 + int(b[2]) + 1
	case b[0] >= 0xc0: // with new properties
		return 6 + int(b[3])<<8 + int(b[4]) + 1
	}
	return 5 + int(b[3])<<8 + int(b[4]) + 1
}

// xzBlocks returns the blocks of a file that xzText made.
func xzBlocks(file []byte) ([][]byte, error) {
	if len(file) < xzHeaderSize+xzFooterSize || !bytes.HasPrefix(file, xzMagic) || !bytes.HasSuffix(file, xzFooterMagic) {
		return nil, errNotOurs
	}
	footer := file[len(file)-xzFooterSize:]
	size := (uint64(binary.LittleEndian.Uint32(footer[4:])) + 1) * 4
	body := file[xzHeaderSize : len(file)-xzFooterSize]
	if size > uint64(len(body)) {
		return nil, errNotOurs
	}
	index := body[uint64(len(body))-size:]
	body = body[:uint64(len(body))-size]
	count, n := binary.Uvarint(index[1:])
	if n <= 0 || count > uint64(len(index)) {
		return nil, errNotOurs
	}
	index = index[1+n:]
	known := make([][]byte, 0, count)
	for range count {
		unpadded, n := binary.Uvarint(index)
		if n <= 0 {
			return nil, errNotOurs
		}
		index = index[n:]
		if _, n = binary.Uvarint(index); n <= 0 {
			return nil, errNotOurs
		}
		index = index[n:]
		if unpadded > uint64(len(body)) || unpadded < xzCheckSize {
			return nil, errNotOurs
		}
		padded := (unpadded + 3) &^ 3
		if padded > uint64(len(body)) || !bytes.HasPrefix(body, xzBlockHeader) {
			return nil, errNotOurs
		}
		known = append(known, body[:padded:padded])
		body = body[padded:]
	}
	if len(body) > 0 {
		return nil, errNotOurs
	}
	return known, nil
}

func pad4(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// withCRC returns b followed by its CRC32.
func withCRC(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(b), crc32.ChecksumIEEE(b))
}
