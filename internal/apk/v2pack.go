package apk

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/ashlar-project/ashlar/internal/compress"
)

// The gzip member with the content of an index is put together from pieces that
// were compressed each for itself: the head of its tar, the chunks of its text,
// the end. The header of the member tells how long each piece is, in the extra
// field that the format reserves for such use. So the file itself tells where its
// pieces are, and a new version takes over those that did not change.
const (
	pieceID     = "As"
	maxPieces   = (1<<16 - 1 - 4) / 4
	pieceHeader = 10 + 2 + 4 // fixed header, length of the extra field, header of the subfield
	gzipFooter  = 8
)

// packV2Index returns the part of an APKINDEX.tar.gz that is signed, one gzip
// member with a description, "" for none, and the text of the file APKINDEX.
// buildTime, in Unix seconds, is the time of the files in it. From old, the same
// part of the index that the text was made from, it takes over what it can; nil,
// and any other file, is no harm. The output depends on what is packed alone.
func packV2Index(description string, t *compress.Text, buildTime int64, old []byte) ([]byte, error) {
	if len(description) > maxDescription || hasControl(description) {
		return nil, invalid("the description of the index is longer than %d bytes or has a line break", maxDescription)
	}
	if buildTime < 0 || buildTime > maxTarOctal {
		return nil, invalid("the time of the index is out of range")
	}
	head := tarFile(nil, descriptionName, description, buildTime)
	head = appendHeader(head, indexFileEntry(indexName, len(t.Plain), buildTime), false)
	tail := make([]byte, -len(t.Plain)&(tarBlock-1)+2*tarBlock)
	known := pieces(old)
	if len(known) > 2 {
		known = known[1 : len(known)-1]
	}
	parts, err := t.Compress(known, func(b []byte) ([]byte, error) { return deflatePiece(gzipLevel, b), nil })
	if err != nil {
		return nil, err
	}
	parts = append(append([][]byte{deflatePiece(gzipLevel, head)}, parts...), deflatePiece(gzipLevel, tail))
	if len(parts) > maxPieces {
		return nil, invalid("an index of %d bytes", len(t.Plain))
	}
	member := pieceTable(parts)
	for _, p := range parts {
		member = append(member, p...)
	}
	crc := crc32.ChecksumIEEE(head)
	crc = crc32.Update(crc, crc32.IEEETable, t.Plain)
	crc = crc32.Update(crc, crc32.IEEETable, tail)
	member = append(member, lastBlock...)
	member = binary.LittleEndian.AppendUint32(member, crc)
	return binary.LittleEndian.AppendUint32(member, uint32(len(head)+len(t.Plain)+len(tail))), nil
}

// indexFileEntry returns the entry of a file in an APKINDEX.tar.gz.
func indexFileEntry(name string, size int, time int64) *Entry {
	return &Entry{Path: name, Mode: 0o644, User: "root", Group: "root", Size: int64(size), ModTime: time}
}

// tarFile appends a file with its content, unless that is empty.
func tarFile(tar []byte, name, content string, time int64) []byte {
	if content == "" {
		return tar
	}
	tar = appendHeader(tar, indexFileEntry(name, len(content), time), false)
	tar = append(tar, content...)
	return append(tar, make([]byte, -len(content)&(tarBlock-1))...)
}

// pieceTable returns the header of a gzip member with the sizes of its pieces.
func pieceTable(parts [][]byte) []byte {
	h := bytes.Clone(gzipHeader)
	h[3] |= 4 // there is an extra field
	h = binary.LittleEndian.AppendUint16(h, uint16(4+4*len(parts)))
	h = append(h, pieceID...)
	h = binary.LittleEndian.AppendUint16(h, uint16(4*len(parts)))
	for _, p := range parts {
		h = binary.LittleEndian.AppendUint32(h, uint32(len(p)))
	}
	return h
}

// pieces returns the pieces of a member that packV2Index made, nil of any other.
func pieces(member []byte) [][]byte {
	if len(member) < pieceHeader || !bytes.HasPrefix(member, []byte{0x1f, 0x8b, 8, 4}) || string(member[12:14]) != pieceID {
		return nil
	}
	size := int(binary.LittleEndian.Uint16(member[14:]))
	if int(binary.LittleEndian.Uint16(member[10:])) != size+4 || len(member) < pieceHeader+size {
		return nil
	}
	table, rest := member[pieceHeader:pieceHeader+size], member[pieceHeader+size:]
	var found [][]byte
	for ; len(table) >= 4; table = table[4:] {
		n := uint64(binary.LittleEndian.Uint32(table))
		if n > uint64(len(rest)) {
			return nil
		}
		found = append(found, rest[:n:n])
		rest = rest[n:]
	}
	if len(rest) != len(lastBlock)+gzipFooter {
		return nil
	}
	return found
}

// flaters are writers of deflate streams by their level.
var flaters [10]sync.Pool

// deflatePiece compresses b to whole bytes that can follow any others in a
// deflate stream and be followed by any. It flushes now and then, which begins a
// new Huffman table.
func deflatePiece(level int, b []byte) []byte {
	var out bytes.Buffer
	w, ok := flaters[level].Get().(*flate.Writer)
	if !ok {
		var err error
		if w, err = flate.NewWriter(nil, level); err != nil {
			panic(err) // unreachable: the level is in range
		}
	}
	defer flaters[level].Put(w)
	w.Reset(&out)
	for len(b) > 0 {
		n := min(flushSize, len(b))
		_, _ = w.Write(b[:n]) // a buffer takes everything
		_ = w.Flush()
		b = b[n:]
	}
	return out.Bytes()
}
