package apk

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// joinV3 makes a Packages.adb of an index that Merge made.
func joinV3(t testing.TB, x *V3RawIndex) []byte {
	t.Helper()
	sigs, err := x.Sign(v3Key, v3OtherKey)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x.Plain()
	if err != nil {
		t.Fatal(err)
	}
	b, err := JoinV3Index(DeflateV3Index(plain), sigs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rawIndexes returns both indexes of the entries, and the lists that they are of.
func rawIndexes(t testing.TB, entries []IndexEntry, others []V3IndexEntry) (*V2RawIndex, *V3RawIndex) {
	t.Helper()
	made, err := (&V2RawIndex{Description: "test"}).Merge(dropNoV2, entries, buildTime)
	if err != nil {
		t.Fatal(err)
	}
	part, err := made.Sign(signer(0))
	if err != nil {
		t.Fatal(err)
	}
	x, err := ReadV2Raw(append(part, made.Unsigned()...), keyring(0))
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := (&V3RawIndex{Description: "test", PkgnameSpec: "x86_64/${name}-${version}.${hash:8}.apk"}).Merge(dropNoV3, others)
	if err != nil {
		t.Fatal(err)
	}
	y, err := ReadV3Raw(bytes.NewReader(joinV3(t, fresh)), V3Signed(v3OtherKey.Public()))
	if err != nil {
		t.Fatal(err)
	}
	return x, y
}

func dropNoV2(*RawEntry) bool   { return false }
func dropNoV3(*V3RawEntry) bool { return false }

// TestMerge adds to indexes and takes away from them what are the same packages,
// and wants what would have come of making the indexes at once.
func TestMerge(t *testing.T) {
	all := manyEntries(3000)
	others := v3SampleIndex(3000).Entries
	for i := range others { // each name and version once
		others[i].Version = fmt.Sprintf("%d-r0", i)
	}
	part := func(from, to int) (v2 []IndexEntry, v3 []V3IndexEntry) {
		for i := range all {
			if i%1000 >= from && i%1000 < to {
				v2, v3 = append(v2, all[i]), append(v3, others[i])
			}
		}
		return v2, v3
	}
	old2, old3 := part(0, 990)
	x, y := rawIndexes(t, old2, old3)
	if len(x.Entries) != len(old2) || len(y.Entries) != len(old3) || x.SignedBy != signer(0).KeyName {
		t.Fatalf("%d and %d entries, signed by %s", len(x.Entries), len(y.Entries), x.SignedBy)
	}
	gone2, gone3 := map[string]bool{}, map[string]bool{}
	goneList2, goneList3 := part(0, 5)
	for i := range goneList2 {
		gone2[goneList2[i].Name], gone3[goneList3[i].Version] = true, true
	}
	add2, add3 := part(990, 1000)
	want2, want3 := part(5, 1000)
	slices.Reverse(add2)
	got, err := x.Merge(func(e *RawEntry) bool { return gone2[e.Name] }, add2, buildTime)
	if err != nil {
		t.Fatal(err)
	}
	want, err := (&Index{Description: "test", Entries: want2}).EncodeV2(buildTime, 0)
	if err != nil || !bytes.Equal(got.Unsigned(), want) {
		t.Errorf("v2: the merged index is not the one made at once, %v", err)
	}
	next, err := y.Merge(func(e *V3RawEntry) bool { return gone3[e.Version] }, add3)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := next.Plain()
	if err != nil {
		t.Fatal(err)
	}
	if once := writeV3(t, &V3Index{Description: "test", PkgnameSpec: y.PkgnameSpec, Entries: want3}, adb.None); !bytes.Equal(plain, once) {
		t.Error("v3: the merged index is not the one made at once")
	}
	read, err := ReadV3Index(bytes.NewReader(joinV3(t, next)), V3Signed(v3Key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	// What was merged can be merged again, as what was read can be.
	twice, err := next.Merge(dropNoV3, goneList3)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := (&V3RawIndex{Description: "test", PkgnameSpec: y.PkgnameSpec}).Merge(nil, slices.Concat(old3, add3))
	if err != nil || !bytes.Equal(joinV3(t, twice), joinV3(t, whole)) {
		t.Errorf("v3: merged twice it is not the one made at once, %v", err)
	}
	again, err := got.Merge(dropNoV2, goneList2, buildTime)
	if err != nil {
		t.Fatal(err)
	}
	if want, err = (&Index{Description: "test", Entries: slices.Concat(old2, add2)}).EncodeV2(buildTime, 0); err != nil || !bytes.Equal(again.Unsigned(), want) {
		t.Errorf("v2: merged twice it is not the one made at once, %v", err)
	}
	slices.SortFunc(want3, func(a, b V3IndexEntry) int { return compareV3Entries(&a, &b) })
	if d := cmp.Diff(want3, read.Entries); d != "" {
		t.Error(d)
	}
}

func TestMergeRefuses(t *testing.T) {
	all, others := manyEntries(10), v3SampleIndex(10).Entries
	x, y := rawIndexes(t, all, others)
	for name, added := range map[string]IndexEntry{"twice": all[3], "malformed": {Info: Info{Name: "a", Version: "x", Arch: "a"}, Size: 1}} {
		if _, err := x.Merge(dropNoV2, []IndexEntry{added}, buildTime); !fault.Is(err, fault.Invalid) {
			t.Errorf("v2, %s: %v", name, err)
		}
	}
	if _, err := (&V2RawIndex{Description: strings.Repeat("x", 161)}).Merge(dropNoV2, all, buildTime); !fault.Is(err, fault.Invalid) {
		t.Errorf("v2, a long description: %v", err)
	}
	for name, added := range map[string]V3IndexEntry{"twice": others[3], "no hash": {Info: others[3].Info, Size: 1}} {
		if _, err := y.Merge(dropNoV3, []V3IndexEntry{added}); !fault.Is(err, fault.Invalid) {
			t.Errorf("v3, %s: %v", name, err)
		}
	}
	if _, err := (&V3RawIndex{PkgnameSpec: "../${name}-"}).Merge(dropNoV3, others); !fault.Is(err, fault.Invalid) {
		t.Errorf("v3, a spec that leads out: %v", err)
	}
}

func TestRawRefuses(t *testing.T) {
	good := "C:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\nA:x86_64\nS:1\nI:1\n\n"
	if e, err := rawEntries([]byte(good)); err != nil || len(e) != 1 || e[0].Origin != "a" || string(e[0].Text) != good {
		t.Fatalf("%+v, %v", e, err)
	}
	for name, text := range map[string]string{
		"no end":      good[:len(good)-1],
		"no name":     strings.Replace(good, "P:a\n", "", 1),
		"no version":  strings.Replace(good, "V:1\n", "", 1),
		"no size":     strings.Replace(good, "S:1\n", "", 1),
		"no identity": good[strings.Index(good, "P:"):],
		"two names":   "P:b\n" + good,
		"no field":    "what\n" + good,
		"twice":       good + good,
		"order":       strings.Replace(good, "P:a", "P:b", 1) + good,
		"empty line":  "\n\n" + good,
	} {
		if _, err := rawEntries([]byte(text)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x := v3SampleIndex(2)
	x.Entries[1] = x.Entries[0]
	x.Entries[1].Hash = bytes.Repeat([]byte{1}, 32) // another file, the same name and version
	if _, err := ReadV3Raw(bytes.NewReader(writeV3(t, x, adb.None)), V3Unchecked()); !fault.Is(err, fault.Invalid) {
		t.Errorf("v3, a package twice: %v", err)
	}
	if _, err := ReadV2Raw([]byte("x"), keyring(0)); err == nil {
		t.Error("an index of one letter")
	}
}

// TestPieces wants nothing but what packV2Index made to be taken apart.
func TestPieces(t *testing.T) {
	x, err := (&V2RawIndex{}).Merge(dropNoV2, manyEntries(2000), buildTime)
	if err != nil {
		t.Fatal(err)
	}
	packed := x.Unsigned()
	if n := len(pieces(packed)); n < 5 {
		t.Errorf("%d pieces", n)
	}
	for _, b := range [][]byte{nil, packed[:100], packed[:len(packed)-1], append(bytes.Clone(packed), 0), gzipMember([]byte("x"), 1)} {
		if pieces(b) != nil {
			t.Errorf("pieces in %d bytes", len(b))
		}
	}
	// What is no index of ours is no harm.
	other := &V2RawIndex{packed: packed[:100]}
	if again, err := other.Merge(dropNoV2, manyEntries(2000), buildTime); err != nil || !bytes.Equal(again.Unsigned(), packed) {
		t.Errorf("after another file: %v", err)
	}
}

// FuzzRaw: indexes that are read can be merged with nothing, and what comes of it
// reads the same.
func FuzzRaw(f *testing.F) {
	packed, err := (&Index{Entries: manyEntries(3)}).EncodeV2(buildTime, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add(writeV3(f, v3SampleIndex(3), adb.None))
	f.Fuzz(func(t *testing.T, b []byte) {
		if x, err := ReadV2Raw(b, nil); err == nil && !strings.ContainsFunc(x.Description, isControl) && len(x.Description) <= maxDescription {
			again, err := x.Merge(dropNoV2, nil, buildTime)
			if err != nil {
				t.Fatal(err)
			}
			if y, err := ReadV2Raw(again.Unsigned(), nil); err != nil || len(y.Entries) != len(x.Entries) {
				t.Errorf("%d entries became %+v, %v", len(x.Entries), y, err)
			}
		}
		x, err := ReadV3Raw(bytes.NewReader(b), V3Unchecked())
		if err != nil {
			return
		}
		again, err := x.Merge(dropNoV3, nil)
		if err != nil {
			return // its head may be one that we would not write
		}
		plain, err := again.Plain()
		if err != nil {
			t.Fatal(err)
		}
		if y, err := ReadV3Raw(bytes.NewReader(plain), V3Unchecked()); err != nil || len(y.Entries) != len(x.Entries) {
			t.Errorf("%d packages became %+v, %v", len(x.Entries), y, err)
		}
	})
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
