package apk

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

// tarOf returns a tar of the entries with an end.
func tarOf(entries ...Entry) []byte {
	var b []byte
	for i := range entries {
		b = appendHeader(b, &entries[i], true)
		b = append(b, make([]byte, (entries[i].Size+tarBlock-1)&^(tarBlock-1))...)
	}
	return append(b, make([]byte, 2*tarBlock)...)
}

// entriesOf reads a tar to its end.
func entriesOf(b []byte) ([]Entry, error) {
	t := tarReader{r: bytes.NewReader(b)}
	var entries []Entry
	for {
		e, err := t.next()
		if err == io.EOF {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, e.Entry)
		if _, err := io.Copy(io.Discard, &t); err != nil {
			return entries, err
		}
	}
}

func TestTarRoundTrip(t *testing.T) {
	long := strings.Repeat("long/", 30) + "é"
	want := []Entry{
		{Path: "usr", Kind: Directory, Mode: 0o1777, User: "root", Group: "root", ModTime: buildTime},
		{Path: "usr/file", Mode: 0o4755, User: "daemon", Group: "wheel", Size: 1025, ModTime: maxTarOctal, SHA1: [20]byte{1, 2},
			Xattrs: []Xattr{{"security.capability", "\x01\x00\n=\x02"}, {"user.a", ""}}},
		{Path: "usr/link", Kind: Symlink, Mode: 0o777, User: "root", Group: "root", Target: long, SHA1: [20]byte{3}},
		{Path: "usr/other", Kind: HardLink, Mode: 0o644, User: "1234", Group: "root", Target: "usr/file"},
		{Path: "null", Kind: CharDevice, Mode: 0o666, User: "root", Group: "root", Major: 1, Minor: 3},
		{Path: "disk", Kind: BlockDevice, Mode: 0o600, User: "root", Group: "disk", Major: maxTarDevice, Minor: maxTarDevice},
		{Path: "pipe", Kind: FIFO, Mode: 0o600, User: "root", Group: "root"},
		{Path: long, Kind: Directory, Mode: 0o755, User: "root", Group: "root"},
		{Path: long + "x", Mode: 0, User: "root", Group: "root"},
	}
	b := tarOf(want...)
	got, err := entriesOf(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// The standard library's reader sees the same.
	std := tar.NewReader(bytes.NewReader(b))
	for i, e := range want {
		h, err := std.Next()
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSuffix(h.Name, "/") != e.Path || h.Mode != int64(e.Mode) || h.Uname != e.User || h.Size != e.Size || h.Linkname != e.Target ||
			h.ModTime.Unix() != e.ModTime || h.Devmajor != int64(e.Major) || h.Typeflag != tarLetters[e.Kind] {
			t.Errorf("entry %d is %+v, want %+v", i, h, e)
		}
		for _, x := range e.Xattrs {
			if v, ok := h.PAXRecords[paxXattr+x.Name]; !ok || v != x.Value {
				t.Errorf("entry %d has the attribute %s %q", i, x.Name, v)
			}
		}
	}
}

// resum sets the checksum of the header at an offset.
func resum(b []byte, at int) []byte {
	h := (*[tarBlock]byte)(b[at : at+tarBlock])
	putOctal(h[148:155], checksum(h))
	return b
}

// changed returns a tar of a file and a folder with bytes of its first header
// changed, its checksum made right.
func changed(at int, s string) []byte {
	b := tarOf(Entry{Path: "a", Mode: 0o644, User: "root", Group: "root", Kind: Directory}, Entry{Path: "b", User: "root", Group: "root", Size: 3})
	copy(b[at:], s)
	return resum(b, 0)
}

// records returns a tar whose one entry has the records before it.
func records(s string) []byte {
	b := appendBlock(nil, "x", tarPax, &Entry{Size: int64(len(s))})
	b = append(b, s...)
	b = append(b, make([]byte, -len(s)&(tarBlock-1))...)
	return append(b, tarOf(Entry{Path: "a", Kind: Directory})...)
}

func TestHostileTar(t *testing.T) {
	good := changed(0, "a")
	for _, c := range []struct {
		name string
		tar  []byte
		want string
	}{
		{"good", good, ""},
		{"empty", nil, ""},
		{"old magic", changed(257, "ustar  \x00"), ""},
		{"more zeros", append(bytes.Clone(good), make([]byte, 8192)...), ""},
		{"no end", good[:len(good)-2*tarBlock], ""}, // for the caller to judge
		{"half an end", good[:len(good)-tarBlock], "only one block"},
		{"cut", good[:700], "cut short"},
		{"cut in content", good[:4*tarBlock+1], "cut short"},
		{"cut behind a header", good[:4*tarBlock], "cut short"},
		{"entry after the end", append(bytes.Clone(good), good...), "after the end"},
		{"checksum", append([]byte("x"), good[1:]...), "wrong checksum"},
		{"not ustar", changed(257, "ustas"), "ustar format"},
		{"GNU sparse", changed(156, "S"), "kind of entry"},
		{"GNU long name", changed(156, "L"), "kind of entry"},
		{"GNU long link", changed(156, "K"), "kind of entry"},
		{"global header", changed(156, "g"), "kind of entry"},
		{"old file", changed(156, "\x00"), "kind of entry"},
		{"contiguous", changed(156, "7"), "kind of entry"},
		{"binary size", changed(124, "\x80\x00\x00\x00"), "not octal"},
		{"size with a blank first", changed(124, " 0000000000"), "not octal"},
		{"decimal", changed(100, "0000799"), "not octal"},
		{"GNU prefix", resum(with(changed(257, "ustar  \x00"), 345, "p"), 0), "old GNU"},
		{"prefix", changed(345, "p"), ""},
		{"path record", records("9 path=b\n"), ""},
		{"unknown record", records("12 size=999\n"), ""},
		{"long record", records("99 path=b\n"), "malformed extended"},
		{"short record", records("8 path=b\n"), "malformed extended"},
		{"negative record", records("-9 path=b\n"), "malformed extended"},
		{"record without key", records("5 =b\n"), "malformed extended"},
		{"record without value", records("8 pathb\n"), "malformed extended"},
		{"record twice", records("9 path=b\n9 path=c\n"), "malformed extended"},
		{"zero in a path", records("11 path=b\x00c\n"), "malformed extended"},
		{"checksum record", records("32 APK-TOOLS.checksum.SHA1=beef\n"), "malformed extended"},
		{"empty records", records(""), "extended header of a size"},
		{"two extended headers", append(records("9 path=b\n")[:2*tarBlock:2*tarBlock], records("9 path=b\n")...), "two extended"},
		{"extended header at the end", records("9 path=b\n")[:2*tarBlock], "without an entry"},
		{"extended header before zeros", append(records("9 path=b\n")[:2*tarBlock:2*tarBlock], make([]byte, 2*tarBlock)...), "without an entry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := entriesOf(c.tar)
			checkError(t, err, fault.Invalid, c.want)
		})
	}
}

func with(b []byte, at int, s string) []byte {
	copy(b[at:], s)
	return b
}

func FuzzTar(f *testing.F) {
	f.Add(changed(345, "p"))
	f.Add(records("9 path=b\n26 SCHILY.xattr.user.a=xyz\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := entriesOf(b)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		for i := range entries { // what passes the check is written so that it reads back
			e := entries[i]
			if e.Path == "" || e.check(map[string]Kind{e.Target: RegularFile}) != nil {
				continue
			}
			again, err := entriesOf(tarOf(e))
			if err != nil || len(again) != 1 {
				t.Fatalf("%+v: %v", e, err)
			}
			if e.Kind != RegularFile && e.Kind != Symlink {
				e.SHA1 = [20]byte{}
			}
			if d := cmp.Diff(e, again[0]); d != "" {
				t.Error(d)
			}
		}
	})
}
