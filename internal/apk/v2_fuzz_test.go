package apk

import (
	"bytes"
	"io"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Whole packages, as they are.
func FuzzV2(f *testing.F) {
	data := append(cut("a", "x"), tarEnd...)
	f.Add(stitch(plainControl, data))
	f.Add(append(member(cut(".SIGN.RSA256.x", "y")), stitch(plainControl, data)...))
	small := V2Spec{Info: helloInfo(), Files: []File{entry(Directory, "usr", ""), file("usr/a", 0o644, "x"), entry(Symlink, "usr/b", "a"), hardLink("usr/c", "usr/a", 0o644)},
		Scripts: Scripts{Trigger: []byte("#!/bin/sh\n")}}
	b, _ := pack(f, &small)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := OpenV2(bytes.NewReader(b), nil)
		if err == nil {
			err = p.Walk(func(e *Entry, r io.Reader) error {
				if why := checkPath(e.Path); why != "" {
					t.Errorf("path %q %s", e.Path, why)
				}
				_, err := io.Copy(io.Discard, io.LimitReader(r, 1<<20))
				return err
			})
		}
		if err != nil && !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Denied) {
			t.Errorf("%v is neither invalid nor denied", err)
		}
	})
}

// The parts of a package as they are before they are compressed, where bytes
// can be changed without breaking gzip.
func FuzzV2Parts(f *testing.F) {
	f.Add(cut(".trigger", "#!x"), append(cut("a", "x"), tarEnd...))
	f.Add([]byte{}, tarOf(Entry{Path: "a", Kind: Directory}, Entry{Path: "a/b", Kind: Symlink, Target: ".."}))
	f.Fuzz(func(t *testing.T, control, data []byte) {
		packed := stitch(func(hash string) []byte { return append(plainControl(hash), control...) }, data)
		u, err := unpack(packed, nil)
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Denied) {
				t.Errorf("%v is neither invalid nor denied", err)
			}
			return
		}
		seen := map[string]Kind{}
		for i := range u.entries {
			if err := u.entries[i].check(seen); err != nil {
				t.Error(err)
			}
			seen[u.entries[i].Path] = u.entries[i].Kind
		}
	})
}
