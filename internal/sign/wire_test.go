package sign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	if err := writeFrame(&b, hello{Passphrase: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	whole := b.Bytes()
	var h hello
	for name, data := range map[string][]byte{
		"cut head": whole[:3], "cut body": whole[:len(whole)-1], "huge": {0xff, 0xff, 0xff, 0xff}, "no JSON": {0, 0, 0, 1, 'x'},
	} {
		if err := readFrame(bytes.NewReader(data), &h); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := readFrame(bytes.NewReader(nil), &h); err != io.EOF {
		t.Errorf("nothing: %v", err)
	}
}

// frame returns a message to the signer.
func frame(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeFrame(&b, v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// releaseFrame returns a request for a signed Release over the files in dir.
func releaseFrame(t testing.TB, dir string, text []byte) []byte {
	t.Helper()
	body, err := json.Marshal(releaseRequest{Dir: dir, Releases: [][]byte{text}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return frame(t, request{Verb: verbRelease, Body: body})
}

// signedIn reports whether an answer that follows the greeting holds something
// of OpenPGP, plain or in base64.
func signedIn(out []byte) bool {
	r := bytes.NewReader(out)
	var answer response
	for n := 0; readFrame(r, &answer) == nil; n++ {
		var body any
		if json.Unmarshal(answer.Body, &body) == nil && n > 0 && holdsPGP(body) {
			return true
		}
		answer = response{}
	}
	return false
}

func holdsPGP(v any) bool {
	switch v := v.(type) {
	case string:
		plain, _ := base64.StdEncoding.DecodeString(v)
		return strings.Contains(v, "BEGIN PGP") || bytes.Contains(plain, []byte("BEGIN PGP"))
	case []any:
		return slices.ContainsFunc(v, holdsPGP)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), holdsPGP)
	}
	return false
}

// FuzzServe: whatever is sent, nothing is signed whose files are not there.
func FuzzServe(f *testing.F) {
	keys, err := Generate("Test", "", now)
	if err != nil {
		f.Fatal(err)
	}
	serve := func(ctx context.Context, in []byte) []byte {
		var out bytes.Buffer
		_ = answer(ctx, bytes.NewReader(in), &out, &Session{Keys: keys}, nil)
		return out.Bytes()
	}
	dir, text := releaseDir(f, addLine())
	if !signedIn(serve(f.Context(), releaseFrame(f, dir, text))) {
		f.Fatal("a well-formed request is not signed, so this test would see nothing")
	}
	gone := releaseFrame(f, "/nowhere", text)
	f.Add(gone)
	f.Add(append(frame(f, request{Verb: "nonsense"}), gone...))
	f.Add(releaseFrame(f, "/", []byte("Date: Wed, 04 Mar 2026 05:06:07 UTC\nSHA256:\n")))
	f.Add(gone[:len(gone)/2])
	f.Fuzz(func(t *testing.T, in []byte) {
		if signedIn(serve(t.Context(), in)) {
			t.Fatal("signed something")
		}
	})
}
