package adb

import "testing"

// TestSharedAlignment writes bytes that are there already, but not where an
// aligned value can lie: they are written again, and the new place is used from
// then on.
func TestSharedAlignment(t *testing.T) {
	b := NewBuilder()
	b.String("x") // moves what follows off the alignment
	blob := b.String("abc")
	if blob.offset()%4 == 0 {
		t.Fatal("the blob is aligned")
	}
	number := b.Int(0x63626103)
	if number.offset()%4 != 0 {
		t.Errorf("the number lies at %d", number.offset())
	}
	if again := b.String("abc"); again.offset() != number.offset() || again.kind() != typeBlob8 {
		t.Errorf("the blob is at %d now, the number at %d", again.offset(), number.offset())
	}
}
