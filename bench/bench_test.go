package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
)

func TestMedian(t *testing.T) {
	tests := []struct {
		in   times
		want time.Duration
		text string
	}{
		{nil, 0, "not measured"},
		{times{2 * time.Second}, 2 * time.Second, "2 s"},
		{times{30 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond}, 20 * time.Millisecond, "20 ms (10–30)"},
		{times{4 * time.Second, time.Second, 3 * time.Second, 2 * time.Second}, 2500 * time.Millisecond, "2.5 s (1–4)"},
	}
	for _, tt := range tests {
		if got := tt.in.median(); got != tt.want {
			t.Errorf("median of %v is %v, want %v", []time.Duration(tt.in), got, tt.want)
		}
		if got := tt.in.String(); got != tt.text {
			t.Errorf("text of %v is %q, want %q", []time.Duration(tt.in), got, tt.text)
		}
	}
}

func TestRows(t *testing.T) {
	ours, theirs := times{7 * time.Second}, times{10 * time.Second}
	for _, tt := range []struct {
		row  row
		want row
	}{
		{against("a", ours, theirs, 0.7, "tool"), row{Figure: "a", Asked: "≤ 0.7 ×", Seen: "7 s", Yardstick: "tool: 10 s", Ratio: "0.7", Met: true}},
		{against("a", theirs, ours, 1, "tool"), row{Figure: "a", Asked: "≤ 1 ×", Seen: "10 s", Yardstick: "tool: 7 s", Ratio: "1.43"}},
		{within("b", ours, 6*time.Second), row{Figure: "b", Asked: "≤ 6 s", Seen: "7 s"}},
		{within("b", nil, 100*time.Millisecond), row{Figure: "b", Asked: "≤ 100 ms", Seen: "not measured"}},
	} {
		if diff := cmp.Diff(tt.want, tt.row); diff != "" {
			t.Errorf("row (-want +got):\n%s", diff)
		}
	}
}

func TestRatio(t *testing.T) {
	for _, tt := range []struct {
		ours, theirs times
		want         float64
	}{
		{times{1, 20, 3}, times{2, 10, 2}, 1.5},
		{times{1, 3}, times{2, 2}, 1},
		{times{1, 3}, times{2}, 0},
		{nil, nil, 0},
	} {
		if got := tt.ours.ratio(tt.theirs); got != tt.want {
			t.Errorf("ratio of %d to %d is %g, want %g", tt.ours, tt.theirs, got, tt.want)
		}
	}
}

// TestUpdate puts sections on a page one by one and replaces one of them.
func TestUpdate(t *testing.T) {
	order := []string{"one", "two"}
	section := func(name, text string) *section { return &section{Name: name, Title: name, Text: text, Made: "made"} }
	page := update(nil, section("two", "second"), order)
	page = update(page, section("one", "first"), order)
	want := preamble + "\n" + section("one", "first").markdown() + "\n" + section("two", "second").markdown()
	if diff := cmp.Diff(want, string(page)); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
	page = update(page, section("one", "again"), order)
	if got := strings.Replace(want, "first", "again", 1); got != string(page) {
		t.Errorf("page after a second measurement:\n%s", page)
	}
}

func TestParseBench(t *testing.T) {
	got := map[string]float64{}
	parseBench("goos: linux\nBenchmarkIndex-2   \t       1\t         0 ns/op\t         1.234 all-s\t         0.67 apt-ftparchive-s\nPASS\n", got)
	want := map[string]float64{"BenchmarkIndex ns/op": 0, "BenchmarkIndex all-s": 1.234, "BenchmarkIndex apt-ftparchive-s": 0.67}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("values (-want +got):\n%s", diff)
	}
}

func TestBook(t *testing.T) {
	file := filepath.Join(t.TempDir(), "book.json")
	b, err := openBook(file)
	if err != nil {
		t.Fatal(err)
	}
	e := b.entry("x.yaml", "sha256:1")
	e.First = map[string]ashlar.Digest{"a.deb": "1", "b.deb": "2", "c.deb": "3"}
	e.Second = map[string]ashlar.Digest{"a.deb": "1", "b.deb": "4", "d.deb": "5"}
	if err := b.set("x.yaml", e); err != nil {
		t.Fatal(err)
	}
	if b, err = openBook(file); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"b.deb", "c.deb", "d.deb"}, b.entry("x.yaml", "sha256:1").differs()); diff != "" {
		t.Errorf("what differs (-want +got):\n%s", diff)
	}
	if e := b.entry("x.yaml", "sha256:2"); e.First != nil {
		t.Errorf("another build key has the packages of the old one")
	}
}

func TestChoose(t *testing.T) {
	got, err := choose(figures(), []string{"repro", "warm"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"repro", "warm"}, names(got)); diff != "" {
		t.Errorf("chosen (-want +got):\n%s", diff)
	}
	if _, err := choose(figures(), []string{"nothing"}); err == nil {
		t.Error("a figure that does not exist was chosen")
	}
}

func TestCheckBuildinfo(t *testing.T) {
	v := build.Variation{Days: 400, Locale: "C", Parallel: 1}
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	const good = "Format: 1.0\nBuild-Date: Tue, 08 Jun 2027 11:58:00 +0000\nEnvironment:\n DEB_BUILD_OPTIONS=\"parallel=1\"\n LC_ALL=\"C\"\n"
	if err := checkBuildinfo(good, v, now); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{{"Jun 2027", "Jun 2026"}, {"parallel=1", "parallel=2"}, {`"C"`, `"C.UTF-8"`}, {"Build-Date", "Date"}} {
		if err := checkBuildinfo(strings.Replace(good, change[0], change[1], 1), v, now); err == nil {
			t.Errorf("with %s it passes", change[1])
		}
	}
}

func TestCheckConditions(t *testing.T) {
	v := build.Variation{Hostname: "elsewhere", Umask: "077", Days: 400, Locale: "C", Parallel: 1}
	now := time.Date(2026, 5, 4, 0, 1, 0, 0, time.UTC)
	const line = build.FoundConditions + " host=elsewhere umask=0077 nproc=1 date=2027-06-08 locale=C\n"
	for _, good := range []string{line, "=== x\n" + line + "made\n" + line, strings.ReplaceAll(line, "06-08", "06-07")} {
		if err := checkConditions(good, v, now); err != nil {
			t.Error(err)
		}
	}
	for _, change := range [][2]string{{"elsewhere", "here"}, {"0077", "0022"}, {"nproc=1", "nproc=16"}, {"2027", "2026"}, {"06-08", "06-06"}, {"locale=C", "locale=C.UTF-8"}, {build.FoundConditions, "said:"}} {
		if err := checkConditions(line+strings.Replace(line, change[0], change[1], 1), v, now); err == nil && change[1] != "said:" {
			t.Errorf("with %s it passes", change[1])
		} else if err := checkConditions(strings.Replace(line, change[0], change[1], 1), v, now); err == nil {
			t.Errorf("with %s alone it passes", change[1])
		}
	}
}
