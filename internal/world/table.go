package world

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// apk goes through names and folders in the order of its hash tables, and that
// order shows: in what is installed first, in what a trigger is told first. So it
// is kept to: by bucket, and in a bucket the youngest first.

// tableBuckets is the number of buckets of both tables.
const tableBuckets = 20_000

// bucket returns the bucket of a key.
func bucket(key string) uint32 { return murmur3(key, 5381) % tableBuckets }

// inTableOrder sorts items, which are in the order in which they were put into a
// table, as apk would go through that table.
func inTableOrder[T any](items []T, key func(T) string) {
	type place struct {
		bucket uint32
		age    int
		item   T
	}
	places := make([]place, len(items))
	for i, item := range items {
		places[i] = place{bucket(key(item)), i, item}
	}
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(b.age, a.age))
	})
	for i := range places {
		items[i] = places[i].item
	}
}

// murmur3 is MurmurHash3 in its variant of 32 bits.
func murmur3(key string, seed uint32) uint32 {
	mix := func(k uint32) uint32 { return bits.RotateLeft32(k*0xcc9e2d51, 15) * 0x1b873593 }
	h := seed
	rest := []byte(key)
	for ; len(rest) >= 4; rest = rest[4:] {
		h ^= mix(binary.LittleEndian.Uint32(rest))
		h = bits.RotateLeft32(h, 13)*5 + 0xe6546b64
	}
	var tail [4]byte
	if copy(tail[:], rest) > 0 {
		h ^= mix(binary.LittleEndian.Uint32(tail[:]))
	}
	h ^= uint32(len(key))
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}
