package adb

import (
	"bytes"
	"encoding/binary"
	"io"
)

// The types of block.
const (
	blockADB  = 0
	blockSig  = 1
	blockData = 2
	blockExt  = 3 // the header is the long one, and holds the type
)

const (
	blockAlign  = 8
	shortHeader = 4
	longHeader  = 16
	maxShort    = 1<<30 - 1 // bytes of a block with a short header, the header included
)

// A block is the header of a block.
type block struct {
	kind uint32
	size int64 // of the content, in bytes
	pad  int   // zero bytes that follow the content
}

// appendBlock appends the header of a block with the given content size.
func appendBlock(to []byte, kind uint32, size int64) []byte {
	if size <= maxShort-shortHeader {
		return binary.LittleEndian.AppendUint32(to, kind<<30|uint32(size+shortHeader))
	}
	to = binary.LittleEndian.AppendUint32(to, blockExt<<30|kind)
	to = binary.LittleEndian.AppendUint32(to, 0)
	return binary.LittleEndian.AppendUint64(to, uint64(size)+longHeader)
}

// padding returns how many zero bytes follow a content of the given size.
func padding(size int64) int {
	if size <= maxShort-shortHeader {
		size += shortHeader
	}
	return int(-size & (blockAlign - 1))
}

// nextBlock reads the header of the next block. It returns io.EOF where the file
// ends in good order.
func (s *stream) nextBlock() (block, error) {
	var h [longHeader]byte
	switch n, err := io.ReadFull(s, h[:shortHeader]); {
	case err == io.EOF && n == 0:
		return block{}, io.EOF
	case err != nil:
		return block{}, s.blame(err)
	}
	word := binary.LittleEndian.Uint32(h[:])
	kind, raw, head := word>>30, uint64(word&maxShort), uint64(shortHeader)
	if kind == blockExt {
		if _, err := io.ReadFull(s, h[shortHeader:]); err != nil {
			return block{}, s.blame(err)
		}
		kind, raw, head = word&maxShort, binary.LittleEndian.Uint64(h[8:]), longHeader
		if binary.LittleEndian.Uint32(h[4:]) != 0 {
			return block{}, malformed("a block's reserved field is in use")
		}
	}
	switch {
	case kind >= blockExt:
		return block{}, malformed("a block has the unknown type %d", kind)
	case raw < head || raw > 1<<62:
		return block{}, malformed("a block has an impossible size")
	}
	return block{kind: kind, size: int64(raw - head), pad: int(-raw & (blockAlign - 1))}, nil
}

// skipPadding reads the zero bytes after a block's content.
func (s *stream) skipPadding(n int) error {
	var p [blockAlign]byte
	if _, err := io.ReadFull(s, p[:n]); err != nil {
		return s.blame(err)
	}
	if p != [blockAlign]byte{} {
		return malformed("a block's padding is not zero")
	}
	return nil
}

// content reads the content of a block and what pads it. Memory grows with what
// really comes, not with what the header says.
func (s *stream) content(b block) ([]byte, error) {
	var buf bytes.Buffer
	buf.Grow(int(min(b.size, 1<<20)) + bytes.MinRead)
	n, err := io.Copy(&buf, io.LimitReader(s, b.size))
	switch {
	case err != nil:
		return nil, s.blame(err)
	case n < b.size:
		return nil, cutShort()
	}
	return buf.Bytes(), s.skipPadding(b.pad)
}
