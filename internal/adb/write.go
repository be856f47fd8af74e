package adb

import (
	"encoding/binary"
	"io"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Writer writes an ADB file.
type Writer struct {
	z    io.WriteCloser
	copy []byte // buffer, made when the first data comes
}

// NewWriter writes the header, the payload and the signatures of an ADB file to
// w. The output depends on nothing but the arguments. It is the caller's affair
// that the signatures are those of the payload. Errors of the arguments are
// fault.Invalid; an error of w comes back as it is. Close finishes the file.
func NewWriter(w io.Writer, c Compression, schema Schema, payload []byte, sigs []Signature) (*Writer, error) {
	if err := checkPayload(payload); err != nil {
		return nil, err
	}
	if len(payload) > MaxPayload || len(sigs) > maxSignatures {
		return nil, fault.New(fault.Invalid, "an ADB block of %d bytes with %d signatures is too much", len(payload), len(sigs))
	}
	z, err := newCompressor(w, c)
	if err != nil {
		return nil, err
	}
	out := &Writer{z: z}
	head := binary.LittleEndian.AppendUint32([]byte(magicPlain), uint32(schema))
	if _, err := z.Write(head); err != nil {
		return nil, err
	}
	if err := out.block(blockADB, payload); err != nil {
		return nil, err
	}
	for _, s := range sigs {
		content := s.encode()
		if len(content) > maxSignature {
			return nil, fault.New(fault.Invalid, "a signature of %d bytes is too long", len(content))
		}
		if err := out.block(blockSig, content); err != nil {
			return nil, err
		}
	}
	return out, nil
}

var zeros [blockAlign]byte

// block writes a block whose content is at hand.
func (w *Writer) block(kind uint32, content []byte) error {
	size := int64(len(content))
	for _, part := range [][]byte{appendBlock(nil, kind, size), content, zeros[:padding(size)]} {
		if _, err := w.z.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// Data writes a DATA block, whose content is prefix and then what r holds, which
// must be size bytes; more or less is a fault.Invalid error. An error of r comes
// back as it is.
func (w *Writer) Data(prefix []byte, size int64, r io.Reader) error {
	if size < 0 {
		return fault.New(fault.Invalid, "data of %d bytes", size)
	}
	whole := size + int64(len(prefix))
	head := append(appendBlock(nil, blockData, whole), prefix...)
	if _, err := w.z.Write(head); err != nil {
		return err
	}
	if w.copy == nil {
		w.copy = make([]byte, 64<<10)
	}
	n, err := io.CopyBuffer(onlyWriter{w.z}, io.LimitReader(r, size), w.copy)
	switch {
	case err != nil:
		return err
	case n < size:
		return fault.New(fault.Invalid, "the data has %d bytes, not %d", n, size)
	}
	if n, err := io.ReadFull(r, w.copy[:1]); n > 0 {
		return fault.New(fault.Invalid, "the data has more than %d bytes", size)
	} else if err != io.EOF {
		return err
	}
	_, err = w.z.Write(zeros[:padding(whole)])
	return err
}

// onlyWriter hides other methods of a writer, so that CopyBuffer uses its buffer.
type onlyWriter struct{ io.Writer }

// Close finishes the file. It does not close the writer below.
func (w *Writer) Close() error { return w.z.Close() }
