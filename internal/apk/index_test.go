package apk

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

// sampleIndex is an index of a few packages.
func sampleIndex() *Index {
	full := indexEntry(ptr(helloInfo()), Identity{1, 2, 3}, 4321)
	full.InstalledSize = 99
	full.Extra = []ExtraField{{'x', "attested"}}
	bare := func(name, version string) IndexEntry {
		return IndexEntry{Info: Info{Name: name, Version: version, Arch: "noarch"}, Identity: Identity{4}, Size: 5}
	}
	return &Index{Description: "test v1", Entries: []IndexEntry{
		bare("zlib", "1.3-r0"), full, bare("hello", "1.2.3-r10"), bare("hello", "1.2.3-r9"), bare("a+b", "1"), bare("a", "01"), bare("a", "1"),
	}}
}

func TestIndexText(t *testing.T) {
	x := sampleIndex()
	x.Sort()
	text := x.Encode()
	golden(t, "APKINDEX", text)
	got, err := ParseIndex(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(x.Entries, got); d != "" {
		t.Error(d)
	}
	var names []string
	for i := range got {
		names = append(names, got[i].FileName())
	}
	want := []string{"a-01.apk", "a-1.apk", "a+b-1.apk", "hello-1.2.3_rc1-r4.apk", "hello-1.2.3-r9.apk", "hello-1.2.3-r10.apk", "zlib-1.3-r0.apk"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
}

func TestParseIndex(t *testing.T) {
	const head = "C:Q1AQIDAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\n"
	for _, c := range []struct{ name, text, want, unusable string }{
		{"empty", "", "", ""},
		{"plain", head, "", ""},
		{"many blank lines", "\n\n" + head + "\n\n\n", "", ""},
		{"lower case", head + "y:z\nr:x\nF:usr\nq:1\n", "", ""},
		{"upper case", head + "X:z\n", "", "field X: it is unknown"},
		{"other sign", head + "+:z\n", "", "field +: it is unknown"},
		{"no identity", head[len("C:Q1AQIDAAAAAAAAAAAAAAAAAAAAAAA=\n"):], "", "no identity"},
		{"identity of v3", "C:Q2AQIDAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\n", "", "not the identity"},
		{"dependency", head + "D:a=\n", "", "field D: dependency"},
		{"number", head + "S:x\n", "", "not a number"},
		{"version of a library", head + "p:pc:librtmp=v2.4\n", "", ""},
		{"no name", "V:1\n", "no name or no version", ""},
		{"no version", "P:a\n\n", "x:2: package a", ""},
		{"no field", "P:a\nhello\n", `x:2: package a: "hello" is not a field`, ""},
		{"one letter", "P\n", "not a field", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseIndex([]byte(c.text))
			checkError(t, InFile(err, "x"), fault.Invalid, c.want)
			for _, e := range got {
				if (e.Unusable == "") != (c.unusable == "") || !strings.Contains(e.Unusable, c.unusable) {
					t.Errorf("unusable because %q, want %q", e.Unusable, c.unusable)
				}
			}
		})
	}
	got, err := ParseIndex([]byte(head + "y:z\nr:x\n"))
	if err != nil || len(got) != 1 || !cmp.Equal(got[0].Extra, []ExtraField{{'y', "z"}}) {
		t.Errorf("%+v, %v: a field of one's own is lost", got, err)
	}
}

func TestV2Index(t *testing.T) {
	x := sampleIndex()
	b, err := x.EncodeV2(buildTime, 1, signer(0), signer(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, workers := range []int{2, 0} {
		other := sampleIndex()
		slices.Reverse(other.Entries)
		if again, err := other.EncodeV2(buildTime, workers, signer(0), signer(1)); err != nil || !bytes.Equal(b, again) {
			t.Errorf("the index depends on order or workers, %v", err)
		}
	}
	if d := cmp.Diff(sampleIndex(), x); d != "" {
		t.Errorf("encoding changes the index: %s", d)
	}
	plain, err := x.EncodeV2(buildTime, 1)
	if err != nil || !bytes.HasSuffix(b, plain) {
		t.Errorf("what is signed is not the unsigned index, %v", err)
	}
	x.Sort()
	for _, c := range []struct {
		name string
		b    []byte
		keys Keyring
		by   string
		want string
	}{
		{"unchecked", b, nil, "", ""},
		{"unsigned and unchecked", plain, nil, "", ""},
		{"first", b, keyring(0), signer(0).KeyName, ""},
		{"second", b, keyring(1, 2), signer(1).KeyName, ""},
		{"unsigned", plain, keyring(0), "", "not signed"},
		{"foreign", b, keyring(2), "", "no key that is trusted"},
		{"tampered", append(b[:len(b)-1:len(b)-1], b[len(b)-1]^1), keyring(0), "", "does not hold"},
		{"something behind", append(b[:len(b):len(b)], 0), keyring(0), "", "does not hold"},
	} {
		got, err := ParseV2Index(c.b, c.keys)
		checkError(t, err, fault.Denied, c.want)
		if err != nil {
			continue
		}
		if d := cmp.Diff(*x, got.Index); d != "" || got.SignedBy != c.by {
			t.Errorf("%s: signed by %q\n%s", c.name, got.SignedBy, d)
		}
	}
}

func TestEncodeV2Refuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Index)
		want   string
	}{
		{"good", func(*Index) {}, ""},
		{"description", func(x *Index) { x.Description = strings.Repeat("x", 161) }, "description"},
		{"twice", func(x *Index) { x.Entries = append(x.Entries, x.Entries[0]) }, "zlib-1.3-r0.apk is in the index twice"},
		{"unusable", func(x *Index) { x.Entries[0].Unusable = "x" }, "cannot be used"},
		{"no size", func(x *Index) { x.Entries[0].Size = 0 }, "0 bytes"},
		{"dependency", func(x *Index) { x.Entries[0].Provides = deps("pc:jemalloc=5.3.0_") }, "package zlib: provides"},
		{"own field", func(x *Index) { x.Entries[0].Extra = []ExtraField{{'p', "x"}} }, "field of one's own"},
		{"own upper case", func(x *Index) { x.Entries[0].Extra = []ExtraField{{'X', "x"}} }, "field of one's own"},
		{"own line break", func(x *Index) { x.Entries[0].Extra = []ExtraField{{'x', "a\nP:b"}} }, "field of one's own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := sampleIndex()
			c.change(x)
			_, err := x.EncodeV2(buildTime, 1)
			checkError(t, err, fault.Invalid, c.want)
		})
	}
	_, err := sampleIndex().EncodeV2(-1, 1)
	checkError(t, err, fault.Invalid, "time")
}

func TestHostileIndex(t *testing.T) {
	text := string(sampleIndex().Encode())
	tar := append(cut(descriptionName, "d", indexName, text), tarEnd...)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"good", member(tar), ""},
		{"long description", member(append(cut(descriptionName, noise(161), indexName, text), tarEnd...)), ""},
		{"empty", nil, "cut short"},
		{"no gzip", []byte(text), "malformed"},
		{"no tar", member([]byte(text)), "tar"},
		{"empty member", member(nil), "no APKINDEX"},
		{"no index", member(append(cut(descriptionName, "d"), tarEnd...)), "no APKINDEX"},
		{"twice", member(append(cut(indexName, text, indexName, text), tarEnd...)), "twice"},
		{"other file", member(append(cut(indexName, text, "x", text), tarEnd...)), "does not belong"},
		{"no end", member(cut(indexName, text)), "no end"},
		{"two members", append(member(tar), member(nil)...), "something follows"},
		{"behind it", append(member(tar), 1), "something follows"},
		{"a package", stitch(plainControl, tar), "does not belong"},
		{"only signatures", member(cut(".SIGN.RSA256.x", "y")), "cut short"},
		{"folder", member(tarOf(Entry{Path: indexName, Kind: Directory})), "not a plain file"},
		{"malformed text", member(append(cut(indexName, "x"), tarEnd...)), "not a field"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseV2Index(c.b, nil)
			checkError(t, err, fault.Invalid, c.want)
		})
	}
}

func TestIndexOfPackages(t *testing.T) {
	spec := helloSpec(signer(0))
	b, packed := pack(t, spec)
	p, err := ReadV2(iotest.HalfReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	e := p.IndexEntry(int64(len(b)))
	if e.Packager != "" || e.Replaces != nil || e.Triggers != nil || e.ReplacesPriority != 0 {
		t.Errorf("%+v holds what no index does", e)
	}
	if d := cmp.Diff(packed.IndexEntry(), e); d != "" {
		t.Error(d)
	}
	x := Index{Entries: []IndexEntry{e}}
	packedIndex, err := x.EncodeV2(buildTime, 0, signer(0))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseV2Index(packedIndex, keyring(0))
	if err != nil || len(got.Entries) != 1 || got.Entries[0].Identity != packed.Identity || got.Entries[0].Size != packed.Size {
		t.Errorf("%+v, %v", got, err)
	}
}

// manyEntries is an index of a real one's size and sort of content.
func manyEntries(n int) []IndexEntry {
	r := noise(1 << 16)
	word := func(i, size int) string { return r[i*37%60000:][:size] }
	entries := make([]IndexEntry, n)
	for i := range entries {
		name := fmt.Sprintf("%s-%d", strings.ReplaceAll(word(i, 6), "\n", "x"), i)
		e := indexEntry(&Info{
			Name: name, Version: fmt.Sprintf("%d.%d.%d-r%d", i%7, i%13, i%5, i%3), Arch: "x86_64", Origin: name, License: "GPL-2.0-or-later",
			Description: "package " + fmt.Sprintf("%x", word(i, 20)), URL: "https://example.org/" + name, Maintainer: "A. Mason <mason@example.org>",
			Commit: fmt.Sprintf("%040x", i*7919), BuildTime: buildTime + int64(i), InstalledSize: int64(i) * 777,
			Depends:  deps("so:libc.musl-x86_64.so.1 so:libcrypto.so.3 busybox>=1.36"),
			Provides: deps(fmt.Sprintf("cmd:%s=1.%d-r0 so:lib%s.so.1=1.%d", name, i, name, i)),
		}, Identity{byte(i), byte(i >> 8), 3}, int64(1000+i))
		for k := range e.Identity {
			e.Identity[k] = byte(i*k*k>>3 ^ i*31)
		}
		entries[i] = e
	}
	return entries
}

func FuzzIndex(f *testing.F) {
	f.Add(sampleIndex().Encode())
	f.Add([]byte("C:Q1AQIDAAAAAAAAAAAAAAAAAAAAAAA=\nP:a\nV:1\nD:b>1\nX:\nx:y\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := ParseIndex(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		x := Index{Entries: entries}
		x.Sort()
		if x.Check() != nil {
			return
		}
		again, err := ParseIndex(x.Encode())
		if d := cmp.Diff(x.Entries, again); err != nil || d != "" {
			t.Errorf("it changes when it is written and read: %v\n%s", err, d)
		}
	})
}

func FuzzV2Index(f *testing.F) {
	x := sampleIndex()
	b, err := x.EncodeV2(buildTime, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append(member(cut(".SIGN.RSA256.x", "y")), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := ParseV2Index(b, nil); err != nil && !fault.Is(err, fault.Invalid) {
			t.Errorf("%v is not an invalid error", err)
		}
		if _, err := ParseV2Index(b, Keyring{}); err == nil || !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Denied) {
			t.Errorf("%v: an index is trusted without a key", err)
		}
		_, _ = ReadV2(io.LimitReader(bytes.NewReader(b), 1<<20))
	})
}
