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

// apkFrame returns a request about files for apk.
func apkFrame(t testing.TB, verb string, body any) []byte {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return frame(t, request{Verb: verb, Body: raw})
}

// signedIn reports whether an answer that follows the greeting holds something
// of OpenPGP, plain or in base64, or signatures for apk.
func signedIn(out []byte) bool {
	r := bytes.NewReader(out)
	var answer response
	for n := 0; readFrame(r, &answer) == nil; n++ {
		var body any
		if json.Unmarshal(answer.Body, &body) == nil && n > 0 && holdsSignature(body) {
			return true
		}
		answer = response{}
	}
	return false
}

// subjectOfIndex is part of the payload of every statement about indexes, in
// base64, whatever is before it.
var subjectOfIndex = []byte(base64.StdEncoding.EncodeToString([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"APKINDEX`)))

func holdsSignature(v any) bool {
	switch v := v.(type) {
	case string:
		plain, _ := base64.StdEncoding.DecodeString(v)
		return strings.Contains(v, "BEGIN PGP") || bytes.Contains(plain, []byte("BEGIN PGP")) || bytes.Contains(plain, subjectOfIndex)
	case []any:
		return slices.ContainsFunc(v, holdsSignature)
	case map[string]any:
		return v["v2"] != nil || v["v3"] != nil || slices.ContainsFunc(slices.Collect(maps.Values(v)), holdsSignature)
	}
	return false
}

// FuzzServe: whatever is sent, nothing is signed whose files are not there.
func FuzzServe(f *testing.F) {
	keys, err := Generate("Test", "", now)
	if err != nil {
		f.Fatal(err)
	}
	keys.APK = *apkTestKeys()[0]
	serve := func(ctx context.Context, in []byte) []byte {
		var out bytes.Buffer
		_ = answer(ctx, bytes.NewReader(in), &out, &Session{Keys: keys}, nil)
		return out.Bytes()
	}
	dir, text := releaseDir(f, addLine())
	if !signedIn(serve(f.Context(), releaseFrame(f, dir, text))) {
		f.Fatal("a well-formed request is not signed, so this test would see nothing")
	}
	folder, packages := apkFolder(f)
	for dir, signs := range map[string]bool{folder: true, "/nowhere": false} {
		for _, in := range [][]byte{
			apkFrame(f, verbAPKPackage, apkPackageRequest{dir, packages}),
			apkFrame(f, verbAPKIndex, apkIndexRequest{dir, state()}),
		} {
			if signedIn(serve(f.Context(), in)) != signs {
				f.Fatalf("asked for signatures over files in %s, the signer does otherwise than it should", dir)
			}
			if !signs {
				f.Add(in)
			}
		}
	}
	f.Add(apkFrame(f, verbAPKKeys, apkKeysRequest{now}))
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
