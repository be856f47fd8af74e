package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// indexes times making the index of 8,000 packages and adding one to it. The
// measurements are benchmarks of internal/repo, which may look inside: they take
// turns with apt-ftparchive themselves.
func indexes(ctx context.Context, _ *lab) (*section, error) {
	seen, err := goBench(ctx, "./internal/repo", "BenchmarkIndex", "BenchmarkPublishOne")
	if err != nil {
		return nil, err
	}
	packages, err1 := reported(seen, "BenchmarkIndex", "packages-s", time.Second)
	all, err2 := reported(seen, "BenchmarkIndex", "all-s", time.Second)
	theirs, err3 := reported(seen, "BenchmarkIndex", "apt-ftparchive-s", time.Second)
	live, err4 := reported(seen, "BenchmarkPublishOne", "ms", time.Millisecond)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	const tool = "`apt-ftparchive packages`, no database"
	return &section{
		Text: "8,000 small packages with metadata of the size that Debian's have, compressed as dpkg-deb does it. *From scratch* reads\n" +
			"every package from the disk, with its SHA-256, and writes Packages and Packages.gz; apt-ftparchive writes Packages alone.\n" +
			"*All indexes* reads the lists of files too and makes Packages, Sources, Contents and Translation in plain, gz and xz. *One\n" +
			"more* is a whole publish of a source set into the live repository of 8,000: merged, signed, by name and by hash, with its\n" +
			"snapshot, flushed to the disk. Times are medians of 5, of 11 for the last.",
		Rows: []row{
			against("Packages of 8,000 from scratch", packages, theirs, 1, tool),
			within("one more package, live and signed", live, 100*time.Millisecond),
		},
		More: fmt.Sprintf("All indexes of the 8,000 from scratch: %s.", all),
	}, nil
}

// reported returns what a benchmark reported, in a unit, as one time.
func reported(seen map[string]float64, benchmark, name string, unit time.Duration) (times, error) {
	v, ok := seen[benchmark+" "+name]
	if !ok {
		return nil, fmt.Errorf("%s reported no %s", benchmark, name)
	}
	return times{time.Duration(v * float64(unit))}, nil
}

// apkIndexes times the same for apk. The measurements are benchmarks of
// internal/apkrepo, which take turns with apk 2.14 themselves.
func apkIndexes(ctx context.Context, _ *lab) (*section, error) {
	if os.Getenv("ASHLAR_APK2") == "" {
		return nil, errors.New("ASHLAR_APK2 names no apk 2.14 to compare with")
	}
	seen, err := goBench(ctx, "./internal/apkrepo", "BenchmarkIndex", "BenchmarkPublishOne")
	if err != nil {
		return nil, err
	}
	known, err1 := reported(seen, "BenchmarkIndex", "known-s", time.Second)
	read, err2 := reported(seen, "BenchmarkIndex", "read-s", time.Second)
	theirs, err3 := reported(seen, "BenchmarkIndex", "apk-s", time.Second)
	live, err4 := reported(seen, "BenchmarkPublishOne", "ms", time.Millisecond)
	cold, err5 := reported(seen, "BenchmarkPublishOne", "cold-ms", time.Millisecond)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	const tool = "`apk index` 2.14, v2 alone, unsigned"
	return &section{
		Text: "8,000 packages with metadata of the size that Alpine's have. Ours makes APKINDEX.tar.gz and Packages.adb, both signed (RSA-4096,\n" +
			"EC P-256) by the signer, who reads both, and the statement about them; apk makes APKINDEX.tar.gz. *Known* has the metadata at\n" +
			"hand; *read* opens every package and checks all of it, its digest and its signature (RSA-2048); apk checks signatures too. *One more* is a whole\n" +
			"publish of a package in both formats into the live repository of 8,000: read and verified, merged, signed, stated, with its\n" +
			"snapshot, flushed to the disk, by a process that published there before and, *cold*, by one that did not. Times are medians of\n" +
			"5, of 11 for the last two.",
		Rows: []row{
			against("both indexes of 8,000, metadata known", known, theirs, 0.5, tool),
			against("both indexes of 8,000, every package read", read, theirs, 1, tool),
			within("one more package, live and signed in both formats", live, 100*time.Millisecond),
			within("the same, cold", cold, 100*time.Millisecond),
		},
	}, nil
}

var metricForm = regexp.MustCompile(`(?m)^(Benchmark\w+?)(?:-\d+)?\s+\d+\s+(.*)$`)
var valueForm = regexp.MustCompile(`([0-9.e+]+) (\S+)`)

// goBench runs benchmarks of a package once each and returns what they report,
// by "name unit".
func goBench(ctx context.Context, pkg string, names ...string) (map[string]float64, error) {
	out := map[string]float64{}
	for _, name := range names {
		c := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^"+name+"$", "-benchtime", "1x", "-timeout", "30m", pkg)
		text, err := c.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", name, err, lastLines(text, 20))
		}
		parseBench(string(text), out)
	}
	return out, nil
}

// parseBench reads the output of `go test -bench` into out.
func parseBench(text string, out map[string]float64) {
	for _, line := range metricForm.FindAllStringSubmatch(text, -1) {
		for _, v := range valueForm.FindAllStringSubmatch(line[2], -1) {
			if f, err := strconv.ParseFloat(v[1], 64); err == nil {
				out[line[1]+" "+v[2]] = f
			}
		}
	}
}
