package source

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
)

func TestParseChecksums(t *testing.T) {
	tests := []struct {
		name, in string
		want     string // hex, or part of the error
	}{
		{"coreutils", sumB + "  g\n" + sumA + "  f\n", sumA},
		{"binary mark", sumA + " *f\r\n", sumA},
		{"upper case", strings.ToUpper(sumA) + "  f\n", sumA},
		{"dot slash", sumA + "  ./f\n", sumA},
		{"in a folder", sumA + "  dist/f\n" + sumB + "  dist/g\n", sumA},
		{"exact wins", sumB + "  old/f\n" + sumA + "  f\n", sumA},
		{"bsd", "SHA256 (f) = " + sumA + "\nSHA512 (f) = " + sumB + sumB + "\n", sumA},
		{"openssl", "SHA2-256(f)= " + sumA + "\n", sumA},
		{"other 256 bits", "BLAKE2s (f) = " + sumB + "\nSHA256 (f) = " + sumA, sumA},
		{"bare", sumA + "\n", sumA},
		{"clear-signed", "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n" + sumA + "  f\n-----BEGIN PGP SIGNATURE-----\n", sumA},
		{"twice the same", sumA + "  f\n" + sumA + "  f\n", sumA},
		{"contradiction", sumA + "  f\n" + sumB + "  f\n", "2 different digests"},
		{"not there", sumA + "  g\n" + sumB + "  h\n", "it has g, h"},
		{"only sha512", sumA + sumA + "  f\n", "another hash than SHA-256"},
		{"nothing", "<html>", "no SHA-256 line at all"},
		{"empty", "", "no SHA-256 line at all"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := ParseChecksums("https://example.org/SUMS", []byte(tt.in), "f")
			if len(tt.want) == 64 {
				if err != nil || d.Hex() != tt.want {
					t.Errorf("got %s, %v", d, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "example.org/SUMS") {
				t.Errorf("got %s, %v; want an error with %q", d, err, tt.want)
			}
		})
	}
}

func TestFetchChecksum(t *testing.T) {
	u := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s  f.tar\n", sumA) })
	f, _ := newFetcher(t, u)
	d, m, err := f.FetchChecksum(t.Context(), "mirror://debian/SUMS", "f.tar")
	if err != nil || d.Hex() != sumA || m.URI != "mirror://debian/SUMS" {
		t.Errorf("%s, %+v, %v", d, m, err)
	}
	if _, _, err := f.FetchChecksum(t.Context(), "mirror://debian/SUMS", "g.tar"); !fault.Is(err, fault.NotFound) {
		t.Errorf("got %v", err)
	}
}

func FuzzParseChecksums(f *testing.F) {
	f.Add([]byte(sumA+"  f\n"), "f")
	f.Add([]byte("SHA256 (f) = "+sumA), "f")
	f.Add([]byte(sumA), "")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		d, err := ParseChecksums("x", b, name)
		if err == nil && ashlar.Digest(d).Validate() != nil {
			t.Errorf("returned %q", d)
		}
	})
}
