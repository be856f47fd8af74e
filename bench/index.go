package main

import (
	"context"
	"errors"
	"fmt"
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
	one := func(benchmark, unit string) (times, error) {
		v, ok := seen[benchmark+" "+unit]
		if !ok {
			return nil, fmt.Errorf("%s reported no %s", benchmark, unit)
		}
		return times{time.Duration(v * float64(time.Second))}, nil
	}
	packages, err1 := one("BenchmarkIndex", "packages-s")
	all, err2 := one("BenchmarkIndex", "all-s")
	theirs, err3 := one("BenchmarkIndex", "apt-ftparchive-s")
	live, err4 := one("BenchmarkPublishOne", "ms")
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	live[0] /= 1000
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
