package adb

import (
	"encoding/binary"
	"math"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Value is a value as an object holds it: a type in the upper four bits, and
// below them the value itself or the offset in the payload where it lies. The
// zero Value is Null.
type Value uint32

// The values that are no more than their name.
const (
	Null  Value = 0
	True  Value = 1
	False Value = 2
)

// The types of a value.
const (
	typeSpecial = 0x0
	typeInt     = 0x1 // 28 bits, in place
	typeInt32   = 0x2
	typeInt64   = 0x3
	typeBlob8   = 0x8 // the length has 8 bits
	typeBlob16  = 0x9
	typeBlob32  = 0xa
	typeArray   = 0xd // the number of slots, and the slots
	typeObject  = 0xe
)

const offsetMask = 1<<28 - 1

func (v Value) kind() uint8   { return uint8(v >> 28) }
func (v Value) offset() int64 { return int64(v & offsetMask) }

// isNode reports whether v is an array or an object, which differ in nothing but
// their type. Writers do not agree which to use for a list.
func (v Value) isNode() bool { return v.kind() == typeArray || v.kind() == typeObject }

// A Decoder reads the values of a payload, each when it is asked for. The first
// value that is not in order stops it: from then on everything is Null, and Err
// says why. So a caller reads what it wants and asks Err once, before it uses
// any of it.
//
// A value must lie within the payload, before the object that holds it (which
// leaves no room for cycles), and on no part of another value, though several
// may share one place. How much is read through shared places is bounded by the
// size of the payload.
type Decoder struct {
	payload []byte
	use     []uint8 // what each byte is part of: unused, inside, or the type that begins there
	budget  int64   // bytes of values that may still be read
	err     *fault.Error
}

const (
	unused = 0x0
	inside = 0xf
)

// How often values may be read from shared places: in real packages the values
// take less than four times the room of the payload when nothing is shared.
const (
	budgetFactor = 16
	budgetExtra  = 4 << 20
)

// NewDecoder returns a decoder of a payload, which must not be changed while it
// is in use.
func NewDecoder(payload []byte) *Decoder {
	d := &Decoder{payload: payload, use: make([]uint8, len(payload)), budget: budgetFactor*int64(len(payload)) + budgetExtra}
	if err := checkPayload(payload); err != nil {
		d.fail("it has no header of a known version")
		return d
	}
	for i := range payloadHeader {
		d.use[i] = inside
	}
	return d
}

// Err returns what is wrong with the values that were read so far, a
// fault.Invalid error, or nil.
func (d *Decoder) Err() error {
	if d.err == nil {
		return nil
	}
	return d.err
}

// fail keeps the first error.
func (d *Decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = malformed(format, args...)
	}
}

// Root returns the object or array at the root, one without slots if it is Null.
func (d *Decoder) Root() Object {
	if d.err != nil {
		return Object{d: d}
	}
	return d.node(Value(binary.LittleEndian.Uint32(d.payload[4:])), int64(len(d.payload)))
}

// Object returns an object or array of the payload, whose value is known from
// making it.
func (d *Decoder) Object(v Value) Object { return d.node(v, int64(len(d.payload))) }

// An Object is an object or an array: slots with numbers from 1. The zero Object
// and one that is not there have none.
type Object struct {
	d  *Decoder
	at int64 // offset
	n  int   // slots without the one that holds their number
}

// Len returns the number of the last slot, which for a list is its length.
func (o Object) Len() int { return o.n }

// slot returns the value in slot i, Null if there is none.
func (o Object) slot(i int) Value {
	if i < 1 || i > o.n || o.d.err != nil {
		return Null
	}
	return Value(binary.LittleEndian.Uint32(o.d.payload[o.at+4*int64(i):]))
}

// Has reports whether slot i holds anything but Null.
func (o Object) Has(i int) bool { return o.slot(i) != Null }

// Bool returns the boolean in slot i, false if it is Null.
func (o Object) Bool(i int) bool {
	v := o.slot(i)
	if v > False {
		o.d.fail("slot %d holds no boolean", i)
	}
	return v == True
}

// Int returns the integer in slot i, 0 if it is Null.
func (o Object) Int(i int) uint64 {
	v := o.slot(i)
	switch {
	case v == Null:
		return 0
	case v.kind() == typeInt:
		return uint64(v & offsetMask)
	case v.kind() != typeInt32 && v.kind() != typeInt64:
		o.d.fail("slot %d holds no integer", i)
		return 0
	}
	end, ok := o.d.visit(v, o.at)
	switch {
	case !ok:
		return 0
	case v.kind() == typeInt32:
		return uint64(binary.LittleEndian.Uint32(o.d.payload[end-4:]))
	}
	return binary.LittleEndian.Uint64(o.d.payload[end-8:])
}

// Int63 is Int for a number that is to fit an int64; a larger one is an error.
func (o Object) Int63(i int) int64 {
	n := o.Int(i)
	if n > math.MaxInt64 {
		o.d.fail("the number in slot %d is too large", i)
		return 0
	}
	return int64(n)
}

// Bytes returns the blob in slot i, nil if it is Null. It is a part of the
// payload and must not be changed.
func (o Object) Bytes(i int) []byte {
	v := o.slot(i)
	head := int64(0)
	switch {
	case v == Null:
		return nil
	case v.kind() == typeBlob8:
		head = 1
	case v.kind() == typeBlob16:
		head = 2
	case v.kind() == typeBlob32:
		head = 4
	default:
		o.d.fail("slot %d holds no blob", i)
		return nil
	}
	end, ok := o.d.visit(v, o.at)
	if !ok {
		return nil
	}
	return o.d.payload[v.offset()+head : end : end]
}

// String returns the blob in slot i as a string, "" if it is Null.
func (o Object) String(i int) string { return string(o.Bytes(i)) }

// Object returns the object or array in slot i, one without slots if it is Null.
func (o Object) Object(i int) Object {
	v := o.slot(i)
	if o.d == nil {
		return Object{}
	}
	return o.d.node(v, o.at)
}

// node returns an object or array whose holder lies at an offset.
func (d *Decoder) node(v Value, holder int64) Object {
	if v == Null {
		return Object{d: d}
	}
	if !v.isNode() {
		d.fail("a value is no object and no array")
		return Object{d: d}
	}
	end, ok := d.visit(v, holder)
	if !ok {
		return Object{d: d}
	}
	return Object{d: d, at: v.offset(), n: int(end-v.offset())/4 - 1}
}

// visit checks a value that lies somewhere in the payload, and returns the offset
// after its last byte.
func (d *Decoder) visit(v Value, holder int64) (end int64, ok bool) {
	if d.err != nil {
		return 0, false
	}
	end, ok = d.extent(v)
	at := v.offset()
	switch {
	case !ok:
		d.fail("the value at byte %d does not lie within the payload", at)
	case end > holder:
		d.fail("the value at byte %d does not lie before what holds it", at)
	case at&3 != 0 && (v.isNode() || v.kind() <= typeInt64):
		d.fail("the value at byte %d is not aligned", at)
	case end-at > d.budget:
		d.fail("too many values share the same places")
	default:
		d.budget -= end - at
		d.claim(v, end)
	}
	return end, d.err == nil
}

// extent returns the offset after the last byte of a value that lies in the
// payload; ok is false if it does not lie there as a whole.
func (d *Decoder) extent(v Value) (end int64, ok bool) {
	at := v.offset()
	if at > int64(len(d.payload)) {
		return 0, false
	}
	b := d.payload[at:]
	need := [16]int{typeInt32: 4, typeInt64: 8, typeBlob8: 1, typeBlob16: 2, typeBlob32: 4, typeArray: 4, typeObject: 4}[v.kind()]
	if need == 0 || len(b) < need {
		return 0, false
	}
	end = at + int64(need)
	switch v.kind() {
	case typeBlob8:
		end += int64(b[0])
	case typeBlob16:
		end += int64(binary.LittleEndian.Uint16(b))
	case typeBlob32:
		end += int64(binary.LittleEndian.Uint32(b))
	case typeArray, typeObject:
		n := int64(binary.LittleEndian.Uint32(b))
		if n == 0 {
			return 0, false
		}
		end = at + 4*n
	}
	return end, end <= int64(len(d.payload))
}

// claim marks the bytes of a value as used, and fails if some of them, but not
// just all of them, are those of another value.
func (d *Decoder) claim(v Value, end int64) {
	at, kind := v.offset(), v.kind()
	if kind == typeArray {
		kind = typeObject
	}
	switch before := d.use[at]; before {
	case kind:
	case unused:
		for _, u := range d.use[at:end] {
			if u != unused {
				d.fail("the value at byte %d overlaps another", at)
				return
			}
		}
		for i := at + 1; i < end; i++ {
			d.use[i] = inside
		}
		d.use[at] = kind
	case inside:
		d.fail("the value at byte %d overlaps another", at)
	default:
		// A blob and a number, say, whose bytes are the same.
		if other, ok := d.extent(Value(before)<<28 | Value(at)); !ok || other != end {
			d.fail("the value at byte %d overlaps another", at)
		}
	}
}
