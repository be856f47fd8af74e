package apk

import (
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// The yardsticks for these are apk 2.14, which writes an index of 8,000 packages
// in 0.26 s, and gzip -9.

const manyPackages = 8000

func BenchmarkIndexKnown(b *testing.B) {
	x := Index{Entries: manyEntries(manyPackages)}
	signer(0)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.EncodeV2(buildTime, 0, signer(0)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIndexFiles makes an index of packages that are files.
func BenchmarkIndexFiles(b *testing.B) {
	dir := b.TempDir()
	for i, e := range manyEntries(manyPackages) {
		e.Depends = append(e.Depends, deps("so:libssl.so.3 so:libz.so.1>=1.2 /bin/sh")...)
		spec := V2Spec{Info: e.Info, Files: []File{file("a", 0o644, noise(1500))}, Workers: 1}
		if i == 0 {
			spec.Signers = []Signer{signer(0)}
		}
		packed, _ := pack(b, &spec)
		if err := os.WriteFile(filepath.Join(dir, e.FileName()), packed, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		x := Index{Entries: readFolder(b, dir)}
		if _, err := x.EncodeV2(buildTime, 0, signer(0)); err != nil {
			b.Fatal(err)
		}
	}
}

// readFolder reads the heads of all packages of a folder.
func readFolder(b *testing.B, dir string) []IndexEntry {
	names, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	entries := make([]IndexEntry, len(names))
	var group sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for w := range workers {
		group.Go(func() {
			for i := w; i < len(names); i += workers {
				if err := readOne(filepath.Join(dir, names[i].Name()), &entries[i]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	group.Wait()
	return entries
}

func readOne(path string, e *IndexEntry) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	p, err := ReadV2(f)
	if err != nil {
		return err
	}
	*e = p.IndexEntry(info.Size())
	return nil
}

func BenchmarkReadV2(b *testing.B) {
	packed, _ := pack(b, helloSpec(signer(0)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadV2(bytes.NewReader(packed)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseV2Index(b *testing.B) {
	x := Index{Entries: manyEntries(manyPackages)}
	packed, err := x.EncodeV2(buildTime, 0, signer(0))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseV2Index(packed, keyring(0)); err != nil {
			b.Fatal(err)
		}
	}
}

// sampleFile returns content to compress: a program of this machine.
func sampleFile(b *testing.B) []byte {
	b.Helper()
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return content
}

func BenchmarkGzip(b *testing.B) {
	plain := sampleFile(b)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			size := 0
			for b.Loop() {
				size = len(gzipMember(plain, workers))
			}
			b.ReportMetric(float64(size), "packed-bytes")
		})
	}
	b.Run("standard", func(b *testing.B) {
		b.SetBytes(int64(len(plain)))
		size := 0
		for b.Loop() {
			var out bytes.Buffer
			z, err := stdgzip.NewWriterLevel(&out, stdgzip.BestCompression)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := z.Write(plain); err != nil {
				b.Fatal(err)
			}
			if err := z.Close(); err != nil {
				b.Fatal(err)
			}
			size = out.Len()
		}
		b.ReportMetric(float64(size), "packed-bytes")
	})
}

func BenchmarkWriteV2(b *testing.B) {
	plain := string(sampleFile(b))
	spec := V2Spec{Info: helloInfo(), Files: []File{file("program", 0o755, plain)}, Scripts: Scripts{Trigger: []byte("#!/bin/sh\n")}}
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := WriteV2(io.Discard, &spec); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWalkV2(b *testing.B) {
	plain := string(sampleFile(b))
	packed, _ := pack(b, &V2Spec{Info: Info{Name: "a", Version: "1", Arch: "x86_64"}, Files: []File{file("program", 0o755, plain)}})
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if _, err := unpack(packed, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompareVersions(b *testing.B) {
	for b.Loop() {
		CompareVersions("1.2.3_rc1_p20240101-r10", "1.2.3_rc1_p20240101-r9")
	}
}
