package adb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// payload makes a payload of 32-bit words, which begin at byte 8.
func payload(root uint32, words ...uint32) []byte {
	b := make([]byte, 4, 8+4*len(words))
	b = binary.LittleEndian.AppendUint32(b, root)
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one with %q", err, want)
	case want != "" && !fault.Is(err, fault.Invalid):
		t.Errorf("error %v is %s, want invalid", err, fault.KindOf(err))
	}
}

func TestValues(t *testing.T) {
	b := NewBuilder()
	ints := []uint64{0, 1, 1<<28 - 1, 1 << 28, 1<<32 - 1, 1 << 32, math.MaxInt64, math.MaxUint64}
	var slots []Value
	for _, n := range ints {
		slots = append(slots, b.Int(n))
	}
	blobs := []string{"a", strings.Repeat("b", 255), strings.Repeat("c", 256), strings.Repeat("d", 65535), strings.Repeat("e", 65536)}
	for _, s := range blobs {
		slots = append(slots, b.String(s))
	}
	inner := b.Object(Null, Bool(true), Bool(false), b.Array(b.String("a"), b.Int(7)), Null, Null)
	p, err := b.Payload(b.Object(append(slots, inner)...))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(p)
	root := d.Root()
	for i, want := range ints {
		if got := root.Int(i + 1); got != want {
			t.Errorf("integer %d is read as %d", want, got)
		}
	}
	for i, want := range blobs {
		if got := root.String(len(ints) + i + 1); got != want {
			t.Errorf("a blob of %d bytes is read as one of %d", len(want), len(got))
		}
	}
	o := root.Object(root.Len())
	if o.Len() != 4 || o.Has(1) || !o.Has(2) || !o.Bool(2) || o.Bool(3) || o.Bool(1) || !o.Has(3) {
		t.Errorf("the inner object has %d slots", o.Len())
	}
	list := o.Object(4)
	if list.Len() != 2 || list.String(1) != "a" || list.Int(2) != 7 {
		t.Errorf("the list has %d slots", list.Len())
	}
	if o.Int(99) != 0 || o.String(99) != "" || o.Bytes(-1) != nil || o.Object(99).Len() != 0 || (Object{}).String(1) != "" {
		t.Error("a slot that is not there has a value")
	}
	if err := d.Err(); err != nil {
		t.Error(err)
	}
	if root.Int63(len(ints)) != 0 || d.Err() == nil {
		t.Error("a number of 64 bits fits 63")
	}
}

func TestEqualValuesAreShared(t *testing.T) {
	b := NewBuilder()
	first := b.Object(b.String("name"), b.Int(1<<40), b.Int(1<<30))
	size := len(b.buf)
	if again := b.Object(b.String("name"), b.Int(1<<40), b.Int(1<<30), Null); again != first || len(b.buf) != size {
		t.Errorf("an equal object is %08x after %08x, in %d bytes", again, first, len(b.buf)-size)
	}
	if other := b.Array(b.String("name"), b.Int(1<<40), b.Int(1<<30)); other.offset() != first.offset() || other.kind() != typeArray {
		t.Errorf("an equal array is %08x after %08x", other, first)
	}
	if b.Object() != Null || b.Object(Null, Null) != Null || b.String("") != Null || b.Blob(nil) != Null {
		t.Error("what is empty is not Null")
	}
	v, at := b.Reserve(4)
	w, _ := b.Reserve(4)
	if v == w {
		t.Error("what is reserved is shared")
	}
	p, err := b.Payload(b.Object(v, w))
	if err != nil {
		t.Fatal(err)
	}
	copy(p[at:], "1234")
	root := NewDecoder(p).Root()
	if root.String(1) != "1234" || root.String(2) != "\x00\x00\x00\x00" {
		t.Errorf("reserved blobs hold %q and %q", root.String(1), root.String(2))
	}
}

// TestSameBytesDifferentKind reads a number and a blob that share their bytes,
// as a writer may have it that shares whatever is equal.
func TestSameBytesDifferentKind(t *testing.T) {
	b := NewBuilder()
	blob := b.String("abc")
	b.align(4)
	number := b.Int(uint64(binary.LittleEndian.Uint32([]byte("\x03abc"))))
	if number.offset() != blob.offset() {
		t.Fatalf("the blob is at %d, the number at %d", blob.offset(), number.offset())
	}
	p, err := b.Payload(b.Object(blob, number, blob))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(p)
	if o := d.Root(); o.String(1) != "abc" || o.Int(2) == 0 || o.String(3) != "abc" || d.Err() != nil {
		t.Errorf("%v", d.Err())
	}
}

func TestManyValues(t *testing.T) {
	b := NewBuilder()
	var items []Value
	for i := range 20_000 {
		items = append(items, b.String(fmt.Sprint("value ", i%15_000)))
	}
	p, err := b.Payload(b.Array(items...))
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(p)
	root := d.Root()
	for i := range 20_000 {
		if got, want := root.String(i+1), fmt.Sprint("value ", i%15_000); got != want {
			t.Fatalf("item %d is %q, want %q", i, got, want)
		}
	}
	if items[0] != items[15_000] || d.Err() != nil {
		t.Errorf("the first and its like are %08x and %08x, %v", items[0], items[15_000], d.Err())
	}
}

func TestPayloadTooLarge(t *testing.T) {
	b := NewBuilder()
	b.over = true
	if b.String("x") != Null || b.Int(1<<40) != Null {
		t.Error("a full payload takes values")
	}
	if v, _ := b.Reserve(1); v != Null {
		t.Error("a full payload takes values")
	}
	_, err := b.Payload(Null)
	checkError(t, err, "no offset reaches")
	b = NewBuilder()
	b.buf = make([]byte, MaxPayload-2, MaxPayload+64)
	if b.String("x") == Null || b.Int(7) == Null || b.over {
		t.Error("the last bytes cannot be used")
	}
	if b.String("y") != Null || !b.over {
		t.Error("more than fits is taken")
	}
}

func TestHostilePayloads(t *testing.T) {
	const obj, arr, b8, b16, b32, i32, i64 = 0xe0000000, 0xd0000000, 0x80000000, 0x90000000, 0xa0000000, 0x20000000, 0x30000000
	for _, c := range []struct {
		name string
		p    []byte
		want string // "" if it is to be accepted
	}{
		{"good", payload(obj|12, 0x00006101, 2, b8|8), ""},
		{"array as root", payload(arr|12, 0x00006101, 2, b8|8), ""},
		{"unknown special", payload(obj|8, 2, 3), "no"},
		{"no header", []byte{0, 0, 0}, "no header"},
		{"newer version", append([]byte{1, 0, 0, 0}, payload(0)[4:]...), "no header of a known version"},
		{"null root", payload(0), ""},
		{"root is true", payload(1), "no object"},
		{"root is a blob", payload(b8|8, 0x00006101), "no object"},
		{"root after the end", payload(obj | 12), "within"},
		{"root far after the end", payload(obj | 0xfffffff), "within"},
		{"root in the header", payload(obj|4, 2, 0), "within"},
		{"root not aligned", payload(obj|10, 2<<16, 0, 0, 0), "not aligned"},
		{"no slots", payload(obj|8, 0), "within"},
		{"many slots", payload(obj|8, 0xffffffff), "within"},
		{"one slot too many", payload(obj|8, 3, 0), "within"},
		{"blob after the end", payload(obj|8, 2, b8|0xfffff), "within"},
		{"blob at the very end", payload(obj|8, 2, b8|16), "within"},
		{"blob too long", payload(obj|12, 0x000061ff, 2, b8|8), "within"},
		{"blob 16 too long", payload(obj|12, 0x0061ffff, 2, b16|8), "within"},
		{"blob 32 too long", payload(obj|12, 0xffffffff, 2, b32|8), "within"},
		{"blob in the header", payload(obj|8, 2, b8), "overlaps"},
		{"int 32 cut", payload(obj|8, 2, i32|16), "within"},
		{"int 64 cut", payload(obj|8, 2, i64|12), "within"},
		{"int 32 not aligned", payload(obj|16, 0, 0, 2, i32|9), "not aligned"},
		{"holds itself", payload(obj|8, 2, obj|8), "before"},
		{"cycle of two", payload(obj|8, 2, obj|16, 2, obj|8), "before"},
		{"child after", payload(obj|8, 2, b8|16, 0x00006101), "before"},
		{"blob over its holder", payload(obj|12, 0x00006107, 2, b8|8), "before"},
		{"blob within a blob", payload(obj|16, 0x61016107, 0x61616161, 3, b8|8, b8|10), "overlaps"},
		{"blob around a blob", payload(obj|16, 0x61016107, 0x61616161, 3, b8|10, b8|8), "overlaps"},
		{"number within a blob", payload(obj|16, 0x61616107, 0x61616161, 3, b8|8, i32|12), "overlaps"},
		{"two sizes at one place", payload(obj|16, 0x61000002, 0x61616161, 3, b8|8, b16|8), "overlaps"},
		{"unknown type", payload(obj|8, 2, 0x40000000), "no"},
		{"error type", payload(obj|8, 2, 0xf0000001), "no"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := NewDecoder(c.p)
			walk(d.Root(), 0, new(int))
			checkError(t, d.Err(), c.want)
		})
	}
}

func TestWrongKinds(t *testing.T) {
	b := NewBuilder()
	p, err := b.Payload(b.Object(b.Int(1), b.String("x"), True, b.Object(True), b.Int(1<<30)))
	if err != nil {
		t.Fatal(err)
	}
	for name, read := range map[string]func(o Object){
		"blob of an integer":        func(o Object) { o.Bytes(1) },
		"blob of a boolean":         func(o Object) { o.Bytes(3) },
		"blob of an object":         func(o Object) { o.Bytes(4) },
		"integer of a blob":         func(o Object) { o.Int(2) },
		"integer of an object":      func(o Object) { o.Int(4) },
		"integer of a boolean":      func(o Object) { o.Int63(3) },
		"boolean of an integer":     func(o Object) { o.Bool(1) },
		"object of a blob":          func(o Object) { o.Object(2) },
		"object of an integer":      func(o Object) { o.Object(1) },
		"object of a large integer": func(o Object) { o.Object(5) },
	} {
		d := NewDecoder(p)
		o := d.Root()
		read(o)
		if !fault.Is(d.Err(), fault.Invalid) {
			t.Errorf("%s: %v", name, d.Err())
		}
		if o.Int(1) != 0 || o.Object(4).Len() != 0 {
			t.Errorf("%s: after the error there are values", name)
		}
	}
}

// TestBlowUp builds a small payload that is huge when it is read in full: lists
// of which all items are the same list, several levels deep.
func TestBlowUp(t *testing.T) {
	b := NewBuilder()
	v := b.String(strings.Repeat("x", 200))
	for range 6 {
		v = b.Array(bytesOf(v, 1000)...)
	}
	p, err := b.Payload(v)
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(p)
	steps := 0
	walk(d.Root(), 0, &steps)
	checkError(t, d.Err(), "share")
	if steps > 1<<21 {
		t.Errorf("%d values of a payload of %d bytes were read", steps, len(p))
	}
}

func bytesOf(v Value, n int) []Value {
	all := make([]Value, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// walk reads all values of an object, whatever they are, as far as they are in
// order.
func walk(o Object, depth int, steps *int) {
	for i := 1; i <= o.Len() && o.d.err == nil; i++ {
		*steps++
		switch v := o.slot(i); {
		case v.isNode() && depth < 50:
			walk(o.Object(i), depth+1, steps)
		case v.kind() >= typeInt && v.kind() <= typeInt64:
			o.Int(i)
		case v.kind() == typeSpecial:
			o.Bool(i)
		default:
			o.Bytes(i)
		}
	}
}

// rebuild writes an object again.
func rebuild(b *Builder, o Object, depth int) Value {
	var slots []Value
	for i := 1; i <= o.Len(); i++ {
		switch v := o.slot(i); {
		case v.isNode() && depth < 50:
			slots = append(slots, rebuild(b, o.Object(i), depth+1))
		case v.kind() == typeSpecial:
			slots = append(slots, v)
		case v.kind() <= typeInt64:
			slots = append(slots, b.Int(o.Int(i)))
		default:
			slots = append(slots, b.Blob(o.Bytes(i)))
		}
	}
	return b.Object(slots...)
}

// FuzzPayload reads every value of a payload; what can be read is written again
// and must come out the same.
func FuzzPayload(f *testing.F) {
	f.Add(payload(0xe000000c, 0x00006101, 2, 0x80000008))
	f.Add(payload(0xe0000008, 2, 0xe0000008))
	b := NewBuilder()
	p, err := b.Payload(b.Object(b.String("abc"), b.Int(1<<40), b.Array(b.Object(b.String("abc"), True), b.Object(b.Int(1<<30)))))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p)
	f.Fuzz(func(t *testing.T, p []byte) {
		d := NewDecoder(p)
		walk(d.Root(), 0, new(int))
		if d.Err() != nil {
			return
		}
		first := again(t, p)
		if second := again(t, first); !bytes.Equal(first, second) {
			t.Errorf("written again it is\n%x, and again\n%x", first, second)
		}
	})
}

func again(t *testing.T, p []byte) []byte {
	t.Helper()
	d := NewDecoder(p)
	b := NewBuilder()
	root := rebuild(b, d.Root(), 0)
	if d.Err() != nil {
		t.Skip(d.Err()) // the values take more room than the budget of a smaller payload
	}
	p, err := b.Payload(root)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
