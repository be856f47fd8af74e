package adb

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// fill makes some values and returns the root; more makes others first.
func fill(b *Builder, more bool) Value {
	var list []Value
	if more {
		list = append(list, b.Object(b.String("first"), b.Int(1<<30)))
	}
	for i := range 40 {
		same, number := b.String("shared"), b.Int(1<<40+uint64(i%2))
		deps := b.Object(b.Object(b.String("dep"), b.Int(uint64(i%3))), b.Object(b.String(strings.Repeat("x", 200+i))))
		list = append(list, b.Object(same, Null, number, True, deps, b.Array(b.Blob([]byte{byte(i)}))))
	}
	return b.Object(list...)
}

// TestCopy wants a copied payload to be the one of making all values again, also
// behind others that move everything.
func TestCopy(t *testing.T) {
	b := NewBuilder()
	old, err := b.Payload(fill(b, false))
	if err != nil {
		t.Fatal(err)
	}
	for _, more := range []bool{false, true} {
		b := NewBuilder()
		want, err := b.Payload(fill(b, more))
		if err != nil {
			t.Fatal(err)
		}
		b = NewBuilder()
		var list []Value
		if more {
			list = append(list, b.Object(b.String("first"), b.Int(1<<30)))
		}
		d, c := NewDecoder(old), NewCopier(b)
		root := d.Root()
		for i := 1; i <= root.Len(); i++ {
			list = append(list, c.Slot(root, i))
		}
		got, err := b.Payload(b.Object(list...))
		if err != nil || d.Err() != nil || !bytes.Equal(got, want) {
			t.Errorf("behind others %t: %d bytes, want %d, %v, %v", more, len(got), len(want), err, d.Err())
		}
	}
}

func TestCopyRefuses(t *testing.T) {
	deep := NewBuilder()
	v := deep.Object(deep.Int(1))
	for range maxDepth + 1 {
		v = deep.Object(v)
	}
	tooDeep, err := deep.Payload(v)
	if err != nil {
		t.Fatal(err)
	}
	unknown := binary.LittleEndian.AppendUint32(make([]byte, payloadHeader), 2)
	unknown = binary.LittleEndian.AppendUint32(unknown, 0xf0000008)
	binary.LittleEndian.PutUint32(unknown[4:], uint32(typeObject)<<28|payloadHeader)
	for name, payload := range map[string][]byte{"too deep": tooDeep, "an unknown type": unknown} {
		d := NewDecoder(payload)
		NewCopier(NewBuilder()).Slot(d.Root(), 1)
		if !fault.Is(d.Err(), fault.Invalid) {
			t.Errorf("%s: %v", name, d.Err())
		}
	}
	if v := NewCopier(NewBuilder()).Slot(Object{}, 1); v != Null {
		t.Errorf("out of nothing came %v", v)
	}
}
