package deb

import (
	"strings"
	"testing"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/google/go-cmp/cmp"
)

var (
	sumA = strings.Repeat("a", 64)
	sumB = strings.Repeat("b", 64)
)

// dscText is a .dsc with the given lists in place of the plain ones.
func dscText(sums, files string) string {
	return `Format: 3.0 (quilt)
Source: hello
Binary: hello, hello-doc
Architecture: any all
Version: 1:2.0-1
Maintainer: A <a@example.org>
Testsuite: autopkgtest
Build-Depends: debhelper-compat (= 13), libfoo-dev [linux-any]
Build-Depends-Indep: texlive <!nodoc>
Build-Conflicts: bad
Checksums-Sha256:
` + sums + "Files:\n" + files
}

var (
	goodSums  = " " + sumB + " 20 hello_2.0.orig.tar.gz\n " + sumA + " 10 hello_2.0-1.debian.tar.xz\n"
	goodFiles = " " + strings.Repeat("1", 32) + " 20 hello_2.0.orig.tar.gz\n " + strings.Repeat("2", 32) + " 10 hello_2.0-1.debian.tar.xz\n"
)

func TestParseDsc(t *testing.T) {
	got, err := ParseDsc([]byte(dscText(goodSums, goodFiles)))
	if err != nil {
		t.Fatal(err)
	}
	want := &SourcePackage{
		Name: "hello", Version: "1:2.0-1", Format: "3.0 (quilt)", Binary: []string{"hello", "hello-doc"},
		Architecture: []string{"any", "all"}, Maintainer: "A <a@example.org>", Testsuite: "autopkgtest",
		Files: []ashlar.File{
			{Name: "hello_2.0-1.debian.tar.xz", Digest: ashlar.Digest("sha256:" + sumA), Size: 10},
			{Name: "hello_2.0.orig.tar.gz", Digest: ashlar.Digest("sha256:" + sumB), Size: 20},
		},
		BuildDepends: []Dependency{{{Name: "debhelper-compat", Op: "=", Version: "13"}},
			{{Name: "libfoo-dev", Arches: []string{"linux-any"}}}},
		BuildDependsIndep: []Dependency{{{Name: "texlive", Profiles: [][]string{{"!nodoc"}}}}},
		BuildConflicts:    []Dependency{{{Name: "bad"}}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBadDsc(t *testing.T) {
	line := func(sum, size, name string) string { return " " + sum + " " + size + " " + name + "\n" }
	good := dscText(goodSums, goodFiles)
	for _, c := range []struct{ name, text, want string }{
		{"listed twice", dscText(goodSums+line(sumA, "10", "hello_2.0.orig.tar.gz"), goodFiles), "file:14: source hello: Checksums-Sha256: hello_2.0.orig.tar.gz is listed twice"},
		{"path", dscText(line(sumA, "1", "../hello_1.tar.gz"), goodFiles), "not a name"},
		{"absolute path", dscText(line(sumA, "1", "/etc/passwd"), goodFiles), "not a name"},
		{"hidden file", dscText(line(sumA, "1", ".bashrc"), goodFiles), "not a name"},
		{"option", dscText(line(sumA, "1", "--help"), goodFiles), "not a name"},
		{"another package's file", dscText(line(sumA, "1", "hullo_1.tar.gz"), line(sumA[:32], "1", "hullo_1.tar.gz")), "belongs to another"},
		{"other size", dscText(goodSums, strings.Replace(goodFiles, " 10 ", " 11 ", 1)), "11 bytes, Checksums-Sha256 10"},
		{"other files", dscText(goodSums, strings.Replace(goodFiles, "orig", "orag", 1)), "does not"},
		{"fewer files", dscText(goodSums, strings.SplitAfter(goodFiles, "\n")[0]), "lists 1 files, Checksums-Sha256 2"},
		{"short digest", dscText(line(sumA[:32], "1", "hello_1.tar.gz"), goodFiles), "form digest, size, name"},
		{"odd digest", dscText(line(strings.Repeat("z", 64), "1", "hello_1.tar.gz"), goodFiles), "SHA-256"},
		{"negative size", dscText(line(sumA, "-1", "hello_1.tar.gz"), goodFiles), "not a size"},
		{"huge size", dscText(line(sumA, "99999999999999999999", "hello_1.tar.gz"), goodFiles), "not a size"},
		{"four words", dscText(line(sumA, "1", "hello_1.tar.gz x"), goodFiles), "form digest"},
		{"no files", dscText("", ""), "lists no files"},
		{"no SHA-256", strings.Replace(good, "Checksums-Sha256", "Checksums-Sha257", 1), "no Checksums-Sha256"},
		{"format", strings.Replace(good, "3.0 (quilt)", "3.0 (custom)", 1), "format"},
		{"name", strings.Replace(good, "Source: hello", "Source: ../hello", 1), "not the name"},
		{"version", strings.Replace(good, "1:2.0-1", "2.0/1", 1), "character"},
		{"relation", strings.Replace(good, "bad", "bad (", 1), "field Build-Conflicts"},
		{"two paragraphs", good + "\n" + good, "more than one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseDsc([]byte(c.text))
			checkError(t, err, c.want)
		})
	}
}

const releaseText = `Origin: Debian
Label: Debian
Suite: oldstable
Codename: bookworm
Date: Sat, 06 Sep 2025 10:11:02 UTC
Valid-Until: Sat, 13 Sep 2025 10:11:02 UTC
Acquire-By-Hash: yes
Architectures: all amd64 arm64
Components: main contrib
Description: Debian 12
`

func TestRelease(t *testing.T) {
	text := releaseText + "SHA256:\n " + sumB + "  20 main/binary-amd64/Packages\n " + sumA + " 3 contrib/source/Sources.xz\n"
	r, err := ParseRelease([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := &Release{Origin: "Debian", Label: "Debian", Suite: "oldstable", Codename: "bookworm", Description: "Debian 12",
		Date: time.Date(2025, 9, 6, 10, 11, 2, 0, time.UTC), ValidUntil: time.Date(2025, 9, 13, 10, 11, 2, 0, time.UTC),
		AcquireByHash: true, Architectures: []string{"all", "amd64", "arm64"}, Components: []string{"main", "contrib"},
		Files: []ashlar.File{
			{Name: "contrib/source/Sources.xz", Digest: ashlar.Digest("sha256:" + sumA), Size: 3},
			{Name: "main/binary-amd64/Packages", Digest: ashlar.Digest("sha256:" + sumB), Size: 20},
		}}
	if d := cmp.Diff(want, r); d != "" {
		t.Error(d)
	}
	if f, ok := r.File("main/binary-amd64/Packages"); !ok || f.Size != 20 {
		t.Errorf("File = %v, %t", f, ok)
	}
	if _, ok := r.File("none"); ok {
		t.Error("File finds what is not listed")
	}
	if r.Expired(r.ValidUntil) || !r.Expired(r.ValidUntil.Add(time.Second)) || (&Release{}).Expired(r.Date) {
		t.Error("Expired is wrong about the end of validity")
	}
	r.NotAutomatic, r.ButAutomaticUpgrades, r.NoSupportForArchAll = true, true, "Packages"
	r.Snapshots, r.SignedBy, r.Version = "https://example.org/@SNAPSHOTID@/", []string{"ABC", "DEF"}, "12.1"
	again, err := ParseRelease(r.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, again); d != "" {
		t.Errorf("after writing and reading:\n%s", d)
	}
}

func TestBadRelease(t *testing.T) {
	list := "SHA256:\n " + sumA + " 3 main/x\n"
	for _, c := range []struct{ name, text, want string }{
		{"twice", releaseText + list + " " + sumB + " 3 main/x\n", "file:13: SHA256: main/x is listed twice"},
		{"path", releaseText + "SHA256:\n " + sumA + " 3 ../x\n", "not a name"},
		{"no digests", releaseText, "no SHA-256 digests"},
		{"no date", strings.Replace(releaseText, "Date", "Dote", 1) + list, "not a date"},
		{"local date", strings.Replace(releaseText, "UTC", "EST", 1) + list, "not a date in UTC"},
		{"validity", strings.Replace(releaseText, "13 Sep", "33 Sep", 1) + list, "Valid-Until"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseRelease([]byte(c.text))
			checkError(t, err, c.want)
		})
	}
}

func FuzzParseDsc(f *testing.F) {
	f.Add(dscText(goodSums, goodFiles))
	f.Add(dscText("", ""))
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseDsc([]byte(text))
		if err != nil {
			if !fault.Is(err, fault.Invalid) && !fault.Is(err, fault.Internal) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		for _, file := range s.Files {
			if strings.Contains(file.Name, "/") || file.Digest.Validate() != nil || file.Size < 0 {
				t.Errorf("file %+v", file)
			}
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add(releaseText + "SHA256:\n " + sumB + "  20 main/binary-amd64/Packages\n")
	f.Add("Date: Sat, 06 Sep 2025 10:11:02 +0000\nSHA256:\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRelease([]byte(text))
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v is not an invalid error", err)
			}
			return
		}
		for _, file := range r.Files {
			if strings.HasPrefix(file.Name, "/") || strings.Contains(file.Name, "..") && !isPlainPath(file.Name) {
				t.Errorf("file %+v", file)
			}
		}
		if _, err := ParseRelease(r.Encode()); err != nil {
			t.Errorf("what it writes does not parse: %v", err)
		}
	})
}
