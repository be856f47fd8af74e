package adb

import (
	"crypto/sha256"
	"encoding/binary"
	"io"
	"strconv"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Schema says what the root of an ADB file describes: four characters, such as
// "pckg", read as a little-endian integer.
type Schema uint32

// String returns the four characters of the schema, quoted if they are not plain
// letters.
func (s Schema) String() string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(s))
	for _, c := range b {
		if c < 'a' || c > 'z' {
			return strconv.Quote(string(b))
		}
	}
	return string(b)
}

const (
	fileHeader    = 8 // bytes: magic and schema
	payloadHeader = 8 // bytes: versions and the root
)

// MaxPayload is the largest payload there can be, in bytes: an offset has 28 bits.
const MaxPayload = 1 << 28

// Limits bound what Open reads.
type Limits struct {
	Payload int64 // bytes of the payload
	Total   int64 // bytes of the whole file, unpacked
}

// A File is an ADB file that is being read. Nothing in it is trusted until
// Verify, VerifyDigest or Trust has been called.
type File struct {
	Compression Compression
	Schema      Schema
	Payload     []byte      // content of the ADB block; a Decoder reads it
	Signatures  []Signature // in the order of the file

	in      *stream
	trusted bool
	next    block // header of the DATA block that comes next, if more
	more    bool
	data    *Data // the block that was handed out last, nil if none
}

// Open reads the header, the payload and the signatures of an ADB file of the
// given schema, 0 for any, and stops before the data. Errors of form and size are
// fault.Invalid; an error of r comes back as it is. Close gives memory back; it
// does not close r.
func Open(r io.Reader, schema Schema, l Limits) (*File, error) {
	in, c, err := newStream(r, l.Total)
	if err != nil {
		return nil, err
	}
	f := &File{Compression: c, Schema: schema, in: in}
	if err := f.read(min(l.Payload, MaxPayload)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// read reads everything up to the first DATA block.
func (f *File) read(most int64) error {
	var h [fileHeader]byte
	if _, err := io.ReadFull(f.in, h[:]); err != nil {
		return f.in.blame(err)
	}
	if string(h[:4]) != magicPlain {
		return malformed("its content does not begin with %s", magicPlain)
	}
	got := Schema(binary.LittleEndian.Uint32(h[4:]))
	if f.Schema != 0 && got != f.Schema {
		return malformed("its schema is %s, not %s", got, f.Schema)
	}
	f.Schema = got
	b, err := f.in.nextBlock()
	switch {
	case err == io.EOF:
		return cutShort()
	case err != nil:
		return err
	case b.kind != blockADB:
		return malformed("it does not begin with an ADB block")
	case b.size > most:
		return fault.New(fault.Invalid, "the ADB block has %d bytes, at most %d are allowed", b.size, most)
	}
	if f.Payload, err = f.in.content(b); err != nil {
		return err
	}
	if err := checkPayload(f.Payload); err != nil {
		return err
	}
	return f.readSignatures()
}

// checkPayload looks at the header of a payload.
func checkPayload(p []byte) error {
	switch {
	case len(p) < payloadHeader:
		return malformed("the ADB block is empty")
	case p[0] != 0:
		return fault.New(fault.Invalid, "the ADB block is of version %d, which this program does not know", p[0]).
			Fix("use a newer version of this program")
	}
	return nil
}

// readSignatures reads SIG blocks up to the header of another.
func (f *File) readSignatures() error {
	for {
		b, err := f.in.nextBlock()
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case b.kind == blockData:
			f.next, f.more = b, true
			return nil
		case b.kind != blockSig:
			return malformed("it has more than one ADB block")
		case b.size > maxSignature:
			return malformed("a signature has %d bytes, at most %d are allowed", b.size, maxSignature)
		case len(f.Signatures) == maxSignatures:
			return malformed("it has more than %d signatures", maxSignatures)
		}
		content, err := f.in.content(b)
		if err != nil {
			return err
		}
		s, err := parseSignature(content)
		if err != nil {
			return err
		}
		f.Signatures = append(f.Signatures, s)
	}
}

// VerifyDigest trusts the payload if its SHA-256 is the one given, which somebody
// trusted has said, such as a signed index. If not, the error is fault.Denied.
func (f *File) VerifyDigest(sum [sha256.Size]byte) error {
	if sha256.Sum256(f.Payload) != sum {
		return fault.New(fault.Denied, "the ADB block is not the one that is expected: its SHA-256 differs").
			Fix("fetch the file again; if that does not help, do not use it")
	}
	f.trusted = true
	return nil
}

// Trust trusts the payload on the caller's word: because it has checked the file
// as a whole, or only looks at it and uses nothing of it.
func (f *File) Trust() { f.trusted = true }

// Trusted reports whether the payload is trusted.
func (f *File) Trusted() bool { return f.trusted }

// A Data is the content of a DATA block. It can be read until the next one is
// asked for.
type Data struct {
	Size int64 // in bytes

	in   *stream
	left int64
	pad  int
}

// Next returns the next DATA block, or io.EOF after the last, when the file has
// been read to its end. What is left of the block before is skipped. Without
// trust in the payload it is a fault.Denied error.
func (f *File) Next() (*Data, error) {
	if !f.trusted {
		return nil, fault.New(fault.Denied, "the data of a file that is not trusted is not read").
			Fix("check its signature or its digest first")
	}
	if f.data != nil {
		if err := f.finish(); err != nil {
			return nil, err
		}
	}
	if !f.more {
		return nil, io.EOF
	}
	f.data = &Data{Size: f.next.size, in: f.in, left: f.next.size, pad: f.next.pad}
	f.more = false
	return f.data, nil
}

// finish reads what is left of the block that was handed out, and the header of
// the next.
func (f *File) finish() error {
	d := f.data
	if _, err := io.Copy(io.Discard, d); err != nil {
		return err
	}
	if err := f.in.skipPadding(d.pad); err != nil {
		return err
	}
	f.data, d.in = nil, nil
	b, err := f.in.nextBlock()
	switch {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	case b.kind != blockData:
		return malformed("a block that is no DATA block follows one")
	}
	f.next, f.more = b, true
	return nil
}

// Read reads the content of the block. A file that ends within it is a
// fault.Invalid error.
func (d *Data) Read(p []byte) (int, error) {
	switch {
	case d.left == 0:
		return 0, io.EOF
	case d.in == nil:
		return 0, errClosed
	}
	n, err := d.in.Read(p[:min(int64(len(p)), d.left)])
	d.left -= int64(n)
	switch {
	case err == io.EOF && d.left > 0:
		return n, cutShort()
	case err == io.EOF:
		err = nil
	}
	return n, err
}

// Close gives the memory of the decompressor back. Closing twice does nothing.
func (f *File) Close() error {
	f.in.close()
	return nil
}
