package adb

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Builder makes a payload. Values are written when they are made, so children
// come before what holds them, and equal ones are written once. The payload
// depends on nothing but the calls; in the order in which apk makes them, it is
// the one that apk makes. A payload that grows too large is an error of Payload.
type Builder struct {
	buf   []byte
	table []written // open addressing by hash; empty where size is 0
	count int
	moved int  // how often a shared piece got a better aligned place
	over  bool // it grew too large; nothing is written any more
}

// A written is a piece of data in the payload that may be shared.
type written struct {
	hash     uint64
	at, size uint32
}

// seed decides where pieces stand in the table, but not what is found there.
var seed = maphash.MakeSeed()

// NewBuilder returns a builder of an empty payload.
func NewBuilder() *Builder {
	return &Builder{buf: make([]byte, payloadHeader, 8<<10), table: make([]written, 1<<10)}
}

// align adds zero bytes up to a multiple of n.
func (b *Builder) align(n int) {
	for len(b.buf)%n != 0 {
		b.buf = append(b.buf, 0)
	}
}

// share looks for what has been written from start on, where it is aligned to n.
// If the same bytes lie elsewhere in the payload, what was written after end is
// taken back. It returns the offset of the bytes.
func (b *Builder) share(end, start, n int) int {
	data := b.buf[start:]
	hash := maphash.Bytes(seed, data)
	mask := len(b.table) - 1
	i := int(hash) & mask
	for ; b.table[i].size != 0; i = (i + 1) & mask {
		e := &b.table[i]
		if e.hash != hash || !bytes.Equal(b.buf[e.at:e.at+e.size], data) {
			continue
		}
		if int(e.at)%n == 0 {
			b.buf = b.buf[:end]
			return int(e.at)
		}
		e.at = uint32(start) // the better aligned one serves more
		b.moved++
		return start
	}
	b.table[i] = written{hash: hash, at: uint32(start), size: uint32(len(data))}
	if b.count++; b.count > len(b.table)*3/4 {
		b.grow()
	}
	return start
}

// grow doubles the table.
func (b *Builder) grow() {
	old := b.table
	b.table = make([]written, 2*len(old))
	mask := len(b.table) - 1
	for _, e := range old {
		if e.size == 0 {
			continue
		}
		i := int(e.hash) & mask
		for b.table[i].size != 0 {
			i = (i + 1) & mask
		}
		b.table[i] = e
	}
}

// data writes bytes that write appends, aligned to n, and returns their value.
func (b *Builder) data(kind uint8, n int, write func([]byte) []byte) Value {
	if b.over {
		return Null
	}
	end := len(b.buf)
	b.align(n)
	start := len(b.buf)
	b.buf = write(b.buf)
	if b.over = len(b.buf) > MaxPayload; b.over {
		return Null
	}
	return Value(kind)<<28 | Value(b.share(end, start, n))
}

// Bool returns True or False.
func Bool(v bool) Value {
	if v {
		return True
	}
	return False
}

// Int returns the value of an integer.
func (b *Builder) Int(n uint64) Value {
	switch {
	case n <= offsetMask:
		return Value(typeInt)<<28 | Value(n)
	case n < 1<<32:
		return b.data(typeInt32, 4, func(to []byte) []byte { return binary.LittleEndian.AppendUint32(to, uint32(n)) })
	}
	return b.data(typeInt64, 4, func(to []byte) []byte { return binary.LittleEndian.AppendUint64(to, n) })
}

// Blob returns the value of a blob, Null for an empty one, which the format does
// not have.
func (b *Builder) Blob(p []byte) Value { return blob(b, p) }

// String returns the value of a blob with the bytes of s, Null for "".
func (b *Builder) String(s string) Value { return blob(b, s) }

func blob[T string | []byte](b *Builder, p T) Value {
	switch n := len(p); {
	case n == 0:
		return Null
	case n < 1<<8:
		return b.data(typeBlob8, 1, func(to []byte) []byte { return append(append(to, byte(n)), p...) })
	case n < 1<<16:
		return b.data(typeBlob16, 2, func(to []byte) []byte { return append(binary.LittleEndian.AppendUint16(to, uint16(n)), p...) })
	case n <= MaxPayload:
		return b.data(typeBlob32, 4, func(to []byte) []byte { return append(binary.LittleEndian.AppendUint32(to, uint32(n)), p...) })
	}
	b.over = true
	return Null
}

// Reserve returns the value of a blob of n zero bytes, fewer than 256, that
// nothing shares, and the offset of its first byte in the payload, for the caller
// to fill in.
func (b *Builder) Reserve(n uint8) (v Value, offset int) {
	if b.over = b.over || len(b.buf)+1+int(n) > MaxPayload; b.over {
		return Null, 0
	}
	v = Value(typeBlob8)<<28 | Value(len(b.buf))
	b.buf = append(b.buf, n)
	offset = len(b.buf)
	b.buf = append(b.buf, make([]byte, n)...)
	return v, offset
}

// Object returns the value of an object with these slots, the first of which has
// the number 1. Nulls at the end are left out; without any slot it is Null.
func (b *Builder) Object(slots ...Value) Value { return b.node(typeObject, slots) }

// Array is Object for a list of values of one kind. Most lists of apk's own are
// objects.
func (b *Builder) Array(items ...Value) Value { return b.node(typeArray, items) }

func (b *Builder) node(kind uint8, slots []Value) Value {
	for len(slots) > 0 && slots[len(slots)-1] == Null {
		slots = slots[:len(slots)-1]
	}
	if len(slots) == 0 {
		return Null
	}
	return b.data(kind, 4, func(to []byte) []byte {
		to = binary.LittleEndian.AppendUint32(to, uint32(len(slots)+1))
		for _, v := range slots {
			to = binary.LittleEndian.AppendUint32(to, uint32(v))
		}
		return to
	})
}

// Payload returns the payload with the given root. The builder must not be used
// afterwards. A payload that is too large is a fault.Invalid error.
func (b *Builder) Payload(root Value) ([]byte, error) {
	if b.over {
		return nil, fault.New(fault.Invalid, "more than %d bytes of values, which no offset reaches", MaxPayload)
	}
	binary.LittleEndian.PutUint32(b.buf[4:], uint32(root))
	return b.buf, nil
}
