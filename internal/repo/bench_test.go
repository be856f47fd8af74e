package repo

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/compress"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// eightMiB is how the xz format writes the dictionary size that dpkg-deb uses.
const eightMiB = 22

// xzMember compresses like dpkg-deb does: one block, a dictionary of 8 MiB.
func xzMember(tb testing.TB, plain []byte) []byte {
	file, err := xzText(&compress.Text{Plain: plain}, nil) // one chunk
	if err != nil {
		tb.Fatal(err)
	}
	header := file[xzHeaderSize : xzHeaderSize+len(xzBlockHeader)]
	header[4] = eightMiB
	sum := crc32.ChecksumIEEE(header[:8])
	header[8], header[9], header[10], header[11] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	return file
}

var words = strings.Fields(`archive library shared runtime development tools compress stream network
protocol parser server client format common data plugin module support utility text image
audio graph matrix python perl system kernel device driver language documentation fast small`)

// perSource is how many binary packages a source has; in Debian it is two on
// average.
const perSource = 2

// manySources makes up source packages with n binary packages in all, whose
// metadata has the size that Debian's have on average.
func manySources(n int) []testSource {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func() string { return words[rng.IntN(len(words))] }
	list := make([]testSource, n/perSource)
	for i := range n {
		name := fmt.Sprintf("%s-%s%d", word(), word(), i)
		var deps []string
		for range 2 + rng.IntN(8) {
			deps = append(deps, fmt.Sprintf("lib%s%d (>= %d.%d)", word(), rng.IntN(40), rng.IntN(9), rng.IntN(30)))
		}
		long := ""
		for range 3 + rng.IntN(6) {
			long += "\n"
			for range 9 {
				long += " " + word()
			}
		}
		files := map[string]string{
			"./usr/bin/" + name: strings.Repeat(word(), 60), "./usr/share/man/man1/" + name + ".1.gz": name,
			"./usr/share/doc/" + name + "/copyright": name, "./usr/share/doc/" + name + "/changelog.Debian.gz": name,
		}
		s := &list[i/perSource]
		if s.name == "" {
			*s = testSource{xz: true, name: name, version: fmt.Sprintf("%d.%d-%d+cut12u1", rng.IntN(9), rng.IntN(30), 1+rng.IntN(9))}
		}
		s.packages = append(s.packages, testPackage{
			name: name, arch: "amd64", files: files, description: word() + " " + word() + " for " + word() + long,
			fields: fmt.Sprintf("Depends: %s\nSuggests: %s-doc\nHomepage: https://example.org/%s\nMulti-Arch: foreign\n", strings.Join(deps, ", "), name, name),
		})
	}
	return list
}

// large returns a repository of n packages, published.
func large(tb testing.TB, n int) *testRepo {
	tb.Helper()
	r := newTestRepo(tb, nil)
	sets := make([]SourceSet, n/perSource)
	var g errgroup.Group
	g.SetLimit(shelf.Workers())
	for i, s := range manySources(n) {
		g.Go(func() error {
			sets[i] = s.build(tb, r.store, "amd64")
			return nil
		})
	}
	g.Wait()
	start := time.Now()
	if _, err := r.Publish(context.Background(), ashlar.Community, "bookworm", sets, day); err != nil {
		tb.Fatal(err)
	}
	tb.Logf("first publish of %d source sets: %v", len(sets), time.Since(start))
	return r
}

// BenchmarkIndex makes the Packages index of 8,000 small packages from scratch,
// in turns with apt-ftparchive without its database, and reports the medians.
// Ours reads the lists of files too and compresses the index, apt-ftparchive
// does neither.
func BenchmarkIndex(b *testing.B) {
	const n, runs = 8000, 5
	r := large(b, n)
	tier := filepath.Join(r.Root(), "deb/community")
	var ours, theirs, packagesOnly []time.Duration
	for range runs {
		packagesOnly = append(packagesOnly, timed(func() { indexPool(b, tier, false) }))
		ours = append(ours, timed(func() { indexPool(b, tier, true) }))
		theirs = append(theirs, timed(func() { ftparchive(b, tier) }))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(packagesOnly).Seconds(), "packages-s")
	b.ReportMetric(median(ours).Seconds(), "all-s")
	b.ReportMetric(median(theirs).Seconds(), "apt-ftparchive-s")
	b.Logf("8,000 packages from scratch: Packages and Packages.gz %v; with Contents, Translation and xz %v; apt-ftparchive packages %v",
		packagesOnly, ours, theirs)
}

func timed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// indexPool scans every package of a pool and makes indexes of them.
func indexPool(b *testing.B, tier string, everything bool) {
	names, err := filepath.Glob(filepath.Join(tier, "pool/main/*/*/*.deb"))
	if err != nil {
		b.Fatal(err)
	}
	found := make([]*binaryPackage, len(names))
	var g errgroup.Group
	g.SetLimit(shelf.Workers())
	for i, name := range names {
		g.Go(func() (err error) {
			rel, err := filepath.Rel(tier, filepath.Dir(name))
			if err != nil {
				return err
			}
			found[i], err = scanFile(name, rel, everything)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
	u := &update{before: &state{}, arches: []ashlar.Arch{"amd64"}, sets: map[string][]*set{"all": {{SourceSet: SourceSet{Arch: "amd64"}, binaries: found}}}}
	u.init()
	u.sources = &compress.Text{}
	if everything {
		if _, err := u.build(); err != nil {
			b.Fatal(err)
		}
		return
	}
	t, err := u.mergeBinaries(nil, "amd64", false)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := gzipText(t, nil); err != nil {
		b.Fatal(err)
	}
}

func ftparchive(b *testing.B, tier string) {
	c := exec.Command("apt-ftparchive", "packages", "pool/main")
	c.Dir = tier
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Run(); err != nil {
		b.Fatal(err)
	}
	if n := bytes.Count(out.Bytes(), []byte("\nFilename: ")); n != 8000 {
		b.Fatalf("apt-ftparchive lists %d packages", n)
	}
}

// BenchmarkPublishOne puts one more package into a live, signed repository of
// 8,000: all forms of the indexes, by name and by hash, snapshot, signatures,
// everything flushed to the disk.
func BenchmarkPublishOne(b *testing.B) {
	const n, runs = 8000, 11
	r := large(b, n)
	var took, cpu []time.Duration
	for i := range runs {
		set := simple(fmt.Sprintf("new%d", i), "1").build(b, r.store, "amd64")
		before := cpuTime(b)
		took = append(took, timed(func() {
			if _, err := r.Publish(context.Background(), ashlar.Community, "bookworm", []SourceSet{set}, day.Add(time.Duration(i+1)*time.Minute)); err != nil {
				b.Fatal(err)
			}
		}))
		cpu = append(cpu, cpuTime(b)-before)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(took).Milliseconds()), "ms")
	b.ReportMetric(float64(median(cpu).Milliseconds()), "cpu-ms")
	b.Logf("one more into %d (Packages of %d bytes): %v", n, len(r.index(b, "main/binary-amd64/Packages")), took)
}

// scanFile scans a package of the pool whose digest is not known yet.
func scanFile(name, dir string, listed bool) (*binaryPackage, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f := ashlar.File{Name: filepath.Base(name), Digest: ashlar.DigestOf(data), Size: int64(len(data))}
	return scan(wholeBlob{bytes.NewReader(data)}, f, dir, listed)
}

// A wholeBlob is a blob in memory.
type wholeBlob struct{ *bytes.Reader }

func (wholeBlob) Close() error { return nil }

// cpuTime returns the processor time that this process has used, which says more
// than the clock on a machine that is busy with other things.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
