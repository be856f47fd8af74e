package adb

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

const testSchema Schema = 0x74736574 // "test"

var testLimits = Limits{Payload: 1 << 20, Total: 8 << 20}

// testPayload returns a payload with one blob.
func testPayload(t testing.TB, s string) []byte {
	t.Helper()
	b := NewBuilder()
	p, err := b.Payload(b.Object(b.String(s)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// makeFile returns an ADB file with these DATA blocks, signed by each signer.
func makeFile(t testing.TB, c Compression, data []string, signers ...crypto.Signer) []byte {
	t.Helper()
	p := testPayload(t, "a value")
	sigs, err := Sign(testSchema, p, signers...)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, err := NewWriter(&out, c, testSchema, p, sigs)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range data {
		// The content comes in pieces, which must make no difference.
		if err := w.Data([]byte(s[:min(2, len(s))]), int64(max(0, len(s)-2)), iotest.HalfReader(strings.NewReader(s[min(2, len(s)):]))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// readFile reads a file to its end, trusting it.
func readFile(r io.Reader, l Limits) (payload []byte, data []string, err error) {
	f, err := Open(r, testSchema, l)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	f.Trust()
	for {
		d, err := f.Next()
		if err == io.EOF {
			return f.Payload, data, nil
		}
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(d)
		if err != nil {
			return nil, nil, err
		}
		data = append(data, string(b))
	}
}

func TestRoundTrip(t *testing.T) {
	large := strings.Repeat("large data ", 30_000)
	for _, c := range []Compression{None, Deflate, Zstd} {
		for _, data := range [][]string{nil, {"one"}, {"1", "12", "1234", "12345678", ""}, {large, "x", large}} {
			t.Run(fmt.Sprintf("%s %d", c, len(data)), func(t *testing.T) {
				b := makeFile(t, c, data, testEC)
				if !bytes.Equal(b, makeFile(t, c, data, testEC)) {
					t.Error("written twice it differs")
				}
				p, got, err := readFile(iotest.OneByteReader(bytes.NewReader(b)), testLimits)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(p, testPayload(t, "a value")) || !cmp.Equal(got, data) {
					t.Errorf("the payload has %d bytes, the data %d blocks", len(p), len(got))
				}
				f, err := Open(bytes.NewReader(b), 0, testLimits)
				if err != nil || f.Compression != c || f.Schema != testSchema || len(f.Signatures) != 1 {
					t.Errorf("%+v, %v", f, err)
				}
			})
		}
	}
}

// TestTrust reads data before and after the payload is trusted.
func TestTrust(t *testing.T) {
	b := makeFile(t, Deflate, []string{"secret", "second"}, testEC)
	sum := sha256.Sum256(testPayload(t, "a value"))
	for _, c := range []struct {
		name  string
		trust func(f *File) error
		want  fault.Kind // "" if it gives trust
	}{
		{"nothing", func(*File) error { return fault.New(fault.Denied, "") }, fault.Denied},
		{"signature", func(f *File) error { _, err := f.Verify(testEC.Public()); return err }, ""},
		{"foreign key", func(f *File) error { _, err := f.Verify(otherEC.Public()); return err }, fault.Denied},
		{"no key", func(f *File) error { _, err := f.Verify(); return err }, fault.Denied},
		{"digest", func(f *File) error { return f.VerifyDigest(sum) }, ""},
		{"another digest", func(f *File) error { return f.VerifyDigest([32]byte{1}) }, fault.Denied},
		{"the caller's word", func(f *File) error { f.Trust(); return nil }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := Open(bytes.NewReader(b), testSchema, testLimits)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.Next(); !fault.Is(err, fault.Denied) {
				t.Errorf("before: %v, want denied", err)
			}
			if err := c.trust(f); err != nil && !fault.Is(err, c.want) || (err == nil) != (c.want == "") {
				t.Errorf("%v, want %q", err, c.want)
			}
			d, err := f.Next()
			switch {
			case c.want != "":
				if !fault.Is(err, fault.Denied) || f.Trusted() {
					t.Errorf("after: %v, want denied", err)
				}
			case err != nil || d.Size != 6 || !f.Trusted():
				t.Errorf("after: %+v, %v", d, err)
			}
		})
	}
}

// TestSkip asks for the next block without having read the one before.
func TestSkip(t *testing.T) {
	f, err := Open(bytes.NewReader(makeFile(t, Zstd, []string{"first", "second", "third"})), testSchema, testLimits)
	if err != nil {
		t.Fatal(err)
	}
	f.Trust()
	first, err := f.Next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Read(make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Next(); err != nil {
		t.Fatal(err)
	}
	if n, err := first.Read(make([]byte, 2)); n != 0 || err == nil {
		t.Errorf("a block that was left is still read: %d, %v", n, err)
	}
	third, err := f.Next()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(third); string(b) != "third" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	for range 2 {
		if _, err := f.Next(); err != io.EOF {
			t.Errorf("after the last: %v", err)
		}
	}
	f.Close()
	f.Close()
}

// part is a piece of a hostile file.
type part []byte

func words(w ...uint32) part {
	var b part
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func join(parts ...part) []byte { return bytes.Join(toBytes(parts), nil) }

func toBytes(parts []part) [][]byte {
	all := make([][]byte, len(parts))
	for i, p := range parts {
		all[i] = p
	}
	return all
}

func TestHostileFiles(t *testing.T) {
	header := part("ADB.test")
	adb := words(12, 0, 0, 0) // an empty payload, four bytes of padding
	const sig, data, ext = 1 << 30, 2 << 30, 3 << 30
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"good", join(header, adb, words(data|5), part("x\x00\x00\x00")), ""},
		{"no data", join(header, adb), ""},
		{"long headers", join(header, words(ext, 0, 24, 0, 0, 0), words(ext|2, 0, 17, 0), part("x\x00\x00\x00\x00\x00\x00\x00")), ""},
		{"uncompressed by number", join(part("ADBc\x00\x01"), header, adb), ""},
		{"empty", nil, "cut short"},
		{"a v2 package", part("\x1f\x8b\x08\x00\x00\x00\x00\x00"), "does not begin"},
		{"no header", part("ADB."), "cut short"},
		{"no blocks", header, "cut short"},
		{"other schema", join(part("ADB.idb\x00"), adb), `"idb\x00"`},
		{"unknown magic", join(part("ADBxtest"), adb), "does not begin"},
		{"unknown compression", join(part("ADBc\x03\x00"), header, adb), "unknown number 3"},
		{"compression cut", part("ADBc"), "cut short"},
		{"compressed twice", join(part("ADBc\x00\x01ADBd"), header, adb), "does not begin"},
		{"no deflate", join(part("ADBd"), header, adb), "damaged"},
		{"no zstd", join(part("ADBc\x02\x00"), header, adb), "damaged"},
		{"deflate cut", makeFile(t, Deflate, nil)[:20], "cut short"},
		{"zstd cut", makeFile(t, Zstd, nil)[:20], "cut short"},
		{"after deflate", append(makeFile(t, Deflate, nil), 0), "follows"},
		{"after zstd", append(makeFile(t, Zstd, nil), 0, 0, 0, 0, 0), "damaged"},
		{"two ADB blocks", join(header, adb, adb), "more than one"},
		{"first a signature", join(header, words(sig|4, 0), adb), "does not begin with an ADB block"},
		{"first data", join(header, words(data|4, 0), adb), "does not begin with an ADB block"},
		{"signature after data", join(header, adb, words(data|5, 0), words(sig|22, 0, 0, 0, 0, 0)), "no DATA block follows"},
		{"ADB after data", join(header, adb, words(data|5, 0), adb), "no DATA block follows"},
		{"empty ADB block", join(header, words(4, 0)), "empty"},
		{"newer version", join(header, words(12, 1, 0, 0)), "version 1"},
		{"ADB too large", join(header, words(12+testPayloadLimit)), "at most"},
		{"ADB cut", join(header, words(1004), make(part, 500)), "cut short"},
		{"header too small", join(header, words(3)), "impossible size"},
		{"long header too small", join(header, words(ext, 0, 15, 0)), "impossible size"},
		{"long header huge", join(header, words(ext, 0, 0, 0xffffffff)), "impossible size"},
		{"long header cut", join(header, words(ext, 0)), "cut short"},
		{"unknown type", join(header, words(ext|7, 0, 24, 0, 0, 0)), "unknown type"},
		{"reserved field", join(header, words(ext, 1, 24, 0, 0, 0)), "reserved"},
		{"padding not zero", join(header, words(12, 0, 0, 1)), "padding"},
		{"padding cut", join(header, words(12, 0, 0)), "cut short"},
		{"last padding cut", join(header, adb, words(data|5), part("x")), "cut short"},
		{"block header cut", join(header, adb, part("\x00\x00")), "cut short"},
		{"signature too short", join(header, adb, words(sig|21, 0, 0, 0, 0, 0)), "too short"},
		{"empty signature", join(header, adb, words(sig|4, 0)), "too short"},
		{"signature too long", join(header, adb, words(sig|4000)), "at most"},
		{"many signatures", join(header, adb, bytes.Repeat(words(sig|22, 0, 0, 0, 0, 0), 65)), "more than 64"},
		{"data cut", join(header, adb, words(data|4000), part("x")), "cut short"},
		{"more than all", join(header, adb, words(data|(9<<20)), make(part, 9<<20)), "when unpacked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readFile(bytes.NewReader(c.b), testLimits)
			checkError(t, err, c.want)
		})
	}
}

const testPayloadLimit = 1 << 20

// TestCut cuts a file at every byte.
func TestCut(t *testing.T) {
	for _, c := range []Compression{None, Deflate, Zstd} {
		b := makeFile(t, c, []string{"some data", "more"}, testEC)
		for n := range b {
			_, data, err := readFile(bytes.NewReader(b[:n]), testLimits)
			// Between blocks an uncompressed file has nothing that says it is whole.
			if c == None && err == nil && len(data) < 2 {
				continue
			}
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%s: after %d bytes of %d: %v", c, n, len(b), err)
			}
		}
	}
}

// TestSourceErrorStays wants the error of the reader below as it is.
func TestSourceErrorStays(t *testing.T) {
	lost := errors.New("connection lost")
	for _, c := range []Compression{None, Deflate, Zstd} {
		b := makeFile(t, c, []string{strings.Repeat("data ", 1000)}, testEC)
		for n := range len(b) {
			_, _, err := readFile(io.MultiReader(bytes.NewReader(b[:n]), iotest.ErrReader(lost)), testLimits)
			if !errors.Is(err, lost) {
				t.Fatalf("%s: after %d bytes: %v", c, n, err)
			}
		}
	}
}

// TestBomb unpacks a few bytes that become too many.
func TestBomb(t *testing.T) {
	for _, c := range []Compression{Deflate, Zstd} {
		var out bytes.Buffer
		w, err := NewWriter(&out, c, testSchema, testPayload(t, "x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Data(nil, 64<<20, io.LimitReader(zeroReader{}, 64<<20)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := Open(&out, testSchema, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		f.Trust()
		d, err := f.Next()
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, d)
		if !fault.Is(err, fault.Invalid) || n > testLimits.Total {
			t.Errorf("%s: %d bytes came out, %v", c, n, err)
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestBlockHeaders(t *testing.T) {
	const edge = maxShort - shortHeader
	for _, size := range []int64{0, 1, 3, 4, 5, 12, edge - 1, edge, edge + 1, 1 << 32, 5<<32 + 3} {
		h := appendBlock(nil, blockData, size)
		if want := map[bool]int{true: shortHeader, false: longHeader}[size <= edge]; len(h) != want {
			t.Errorf("%d bytes: the header has %d", size, len(h))
		}
		s, _, err := newStream(bytes.NewReader(append([]byte("ADBc\x00\x01"), h...)), 100)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.nextBlock()
		if want := (block{kind: blockData, size: size, pad: padding(size)}); err != nil || b != want {
			t.Errorf("%d bytes: %+v, %v; want %+v", size, b, err, want)
		}
		if whole := int64(len(h)) + size + int64(b.pad); whole%blockAlign != 0 {
			t.Errorf("%d bytes: the block takes %d", size, whole)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	p := testPayload(t, "x")
	for name, write := range map[string]func() error{
		"no payload":          func() error { _, err := NewWriter(io.Discard, None, testSchema, nil, nil); return err },
		"unknown compression": func() error { _, err := NewWriter(io.Discard, 9, testSchema, p, nil); return err },
		"many signatures": func() error {
			_, err := NewWriter(io.Discard, None, testSchema, p, make([]Signature, 65))
			return err
		},
		"a long signature": func() error {
			_, err := NewWriter(io.Discard, None, testSchema, p, []Signature{{Value: make([]byte, 4000)}})
			return err
		},
		"too little data": func() error { return writeData(t, p, 5, strings.NewReader("1234")) },
		"too much data":   func() error { return writeData(t, p, 3, strings.NewReader("1234")) },
		"negative size":   func() error { return writeData(t, p, -1, strings.NewReader("")) },
	} {
		if err := write(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	lost := errors.New("disk lost")
	if err := writeData(t, p, 3, iotest.ErrReader(lost)); !errors.Is(err, lost) {
		t.Errorf("an error of the data becomes %v", err)
	}
}

func writeData(t *testing.T, p []byte, size int64, r io.Reader) error {
	t.Helper()
	w, err := NewWriter(io.Discard, Deflate, testSchema, p, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.Data(nil, size, r)
}

// TestWriterErrorStays wants the error of the writer below as it is.
func TestWriterErrorStays(t *testing.T) {
	full := errors.New("disk full")
	for _, c := range []Compression{None, Deflate, Zstd} {
		for room := range 80 {
			w, err := NewWriter(&fullWriter{room, full}, c, testSchema, testPayload(t, "some value"), nil)
			if err == nil {
				if err = w.Data(nil, 3, strings.NewReader("abc")); err == nil {
					err = w.Close()
				}
			}
			if err != nil && !errors.Is(err, full) || err == nil && room < 40 {
				t.Errorf("%s with room for %d bytes: %v", c, room, err)
			}
		}
	}
}

// A fullWriter takes so many bytes and then fails.
type fullWriter struct {
	room int
	err  error
}

func (w *fullWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, w.err
	}
	return n, nil
}

// FuzzFile reads a file with all its data and values; what can be read is
// written again, and must read the same.
func FuzzFile(f *testing.F) {
	for _, c := range []Compression{None, Deflate, Zstd} {
		f.Add(makeFile(f, c, []string{"data", ""}, testEC))
	}
	f.Add(join(part("ADB.test"), words(3<<30, 0, 24, 0, 0, 0)))
	l := Limits{Payload: 1 << 16, Total: 1 << 18}
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := Open(bytes.NewReader(b), testSchema, l)
		if err != nil {
			return
		}
		walk(NewDecoder(file.Payload).Root(), 0, new(int))
		if _, err := file.Verify(otherEC.Public()); err == nil {
			t.Error("signed by a key that signed nothing")
		}
		file.Close()
		payload, data, err := readFile(bytes.NewReader(b), l)
		if err != nil {
			return
		}
		var out bytes.Buffer
		w, err := NewWriter(&out, None, testSchema, payload, file.Signatures)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range data {
			if err := w.Data(nil, int64(len(s)), strings.NewReader(s)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		payload2, data2, err := readFile(&out, Limits{Payload: l.Payload, Total: 2 * l.Total})
		if err != nil || !bytes.Equal(payload, payload2) || !cmp.Equal(data, data2) {
			t.Errorf("written again it is another: %v", err)
		}
	})
}
