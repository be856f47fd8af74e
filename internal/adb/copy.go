package adb

// maxDepth bounds the nesting of a value that is copied.
const maxDepth = 16

// A Copier copies values of payloads into a Builder. The payload that comes of it
// is the one that would have come of making every value again in the same order.
type Copier struct {
	b     *Builder
	from  *Decoder // of the objects that were copied last
	memo  memo     // what their values have become
	moved int      // of the Builder, when memo was begun
}

// NewCopier returns a Copier into b.
func NewCopier(b *Builder) *Copier { return &Copier{b: b} }

// Slot copies what is in slot i of an object, with all that hangs on it, and
// returns its value in the new payload, Null if there is nothing. Like the other
// methods of an Object it takes errors to the Err of the object's Decoder.
func (c *Copier) Slot(o Object, i int) Value {
	if o.d == nil {
		return Null
	}
	if c.from != o.d || c.moved != c.b.moved {
		c.from, c.moved, c.memo = o.d, c.b.moved, newMemo(len(o.d.payload)/16)
	}
	return c.copy(o, i, 0)
}

func (c *Copier) copy(o Object, i, depth int) Value {
	v := o.slot(i)
	switch {
	case v.kind() == typeSpecial && v <= False, v.kind() == typeInt:
		return v
	case depth == maxDepth:
		o.d.fail("values are nested too deep")
		return Null
	}
	if known := c.memo.get(v); known != Null && c.moved == c.b.moved {
		if _, ok := o.d.visit(v, o.at); !ok {
			return Null
		}
		return known
	}
	n := c.make(o, i, depth)
	c.memo.put(v, n)
	return n
}

// make copies a value that is not in the memo.
func (c *Copier) make(o Object, i, depth int) Value {
	switch v := o.slot(i); v.kind() {
	case typeInt32, typeInt64:
		return c.b.Int(o.Int(i))
	case typeBlob8, typeBlob16, typeBlob32:
		return c.b.Blob(o.Bytes(i))
	case typeArray, typeObject:
		child := o.Object(i)
		slots := make([]Value, child.Len())
		for j := range slots {
			slots[j] = c.copy(child, j+1, depth+1)
		}
		return c.b.node(v.kind(), slots)
	}
	o.d.fail("slot %d holds a value of an unknown type", i)
	return Null
}

// A memo maps values to values, none of them Null. There are so many of them that
// a map of Go's takes a noticeable time.
type memo struct {
	table [][2]Value // open addressing; empty where the key is Null
	count int
}

// newMemo returns a memo with room for about n values.
func newMemo(n int) memo {
	size := 1 << 10
	for size < n {
		size *= 2
	}
	return memo{table: make([][2]Value, size)}
}

// slot returns the place of a key, or the empty one where it is to be.
func (m *memo) slot(key Value) *[2]Value {
	mask := len(m.table) - 1
	i := int(uint32(key)*0x9e3779b1>>8) & mask
	for m.table[i][0] != key && m.table[i][0] != Null {
		i = (i + 1) & mask
	}
	return &m.table[i]
}

// get returns what a value has become, Null if that is not known.
func (m *memo) get(key Value) Value { return m.slot(key)[1] }

// put notes what a value has become; for Null there is nothing to note.
func (m *memo) put(key, value Value) {
	if value == Null {
		return
	}
	s := m.slot(key)
	if s[0] == Null {
		m.count++
	}
	*s = [2]Value{key, value}
	if m.count <= len(m.table)*3/4 {
		return
	}
	old := m.table
	m.table = make([][2]Value, 2*len(old))
	for _, e := range old {
		if e[0] != Null {
			*m.slot(e[0]) = e
		}
	}
}
