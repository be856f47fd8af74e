package apkrepo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
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
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/shelf"
	"github.com/ashlar-project/ashlar/internal/sign"
)

const manyPackages = 8000

var words = strings.Fields(`archive library shared runtime development tools compress stream network
protocol parser server client format common data plugin module support utility text image
audio graph matrix python perl system kernel device driver language documentation fast small`)

// manyInfos makes up packages whose metadata has the size that Alpine's have.
func manyInfos(n int) []apk.Info {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func() string { return words[rng.IntN(len(words))] }
	list := make([]apk.Info, n)
	for i := range list {
		name := fmt.Sprintf("%s-%s%d", word(), word(), i)
		version := fmt.Sprintf("%d.%d.%d-r%d", rng.IntN(9), rng.IntN(30), rng.IntN(20), 100*rng.IntN(9))
		deps := "so:libc.musl-x86_64.so.1"
		for range rng.IntN(8) {
			deps += fmt.Sprintf(" so:lib%s%d.so.%d", word(), rng.IntN(60), rng.IntN(9))
		}
		provides := fmt.Sprintf("cmd:%s=%s", name, version)
		for range rng.IntN(4) {
			provides += fmt.Sprintf(" so:lib%s%s%d.so.%d=%d.%d", word(), word(), i, rng.IntN(9), rng.IntN(9), rng.IntN(20))
		}
		commit := sha256.Sum256([]byte(name))
		list[i] = apk.Info{
			Name: name, Version: version, Arch: x86, Origin: name, License: []string{"MIT", "GPL-2.0-or-later", "Apache-2.0"}[rng.IntN(3)],
			Description: word() + " " + word() + " for " + word() + " and " + word(), URL: "https://www." + word() + word() + ".example.org/" + word(),
			Maintainer: fmt.Sprintf("%s %s <%d@example.org>", word(), word(), rng.IntN(90)), Commit: fmt.Sprintf("%x", commit[:20]),
			BuildTime: day.Unix() - int64(rng.IntN(1<<26)), InstalledSize: int64(4096 + rng.IntN(1<<22)), Depends: parse(deps), Provides: parse(provides),
		}
	}
	return list
}

func parse(words string) []apk.Dependency {
	deps, err := apk.ParseDependencies(words)
	if err != nil {
		panic(err)
	}
	return deps
}

// known makes what is known of packages without any files, each in both formats.
func known(infos []apk.Info) []*set {
	sets := make([]*set, len(infos))
	for i, info := range infos {
		v3 := sha256.Sum256([]byte(info.Name + info.Version))
		var id apk.Identity
		copy(id[:], v3[5:])
		a := &binary{format: formatV2, info: info, v2: apk.IndexEntry{Info: info, Identity: id, Size: int64(1000 + i)}}
		b := &binary{format: formatV3, info: info, v3: apk.V3IndexEntry{Info: info, Hash: v3[:], Size: int64(1000 + i)}}
		sets[i] = &set{SourceSet: SourceSet{Arch: x86}, origin: info.Origin, version: info.Version, packages: []*binary{a, b}}
	}
	return sets
}

// fullSized signs with keys of the size that users have.
func (r *testRepo) fullSized(tb testing.TB) {
	tb.Helper()
	keys := *testKeys()[0]
	own, err := sign.GenerateAPK()
	if err != nil {
		tb.Fatal(err)
	}
	keys.APK = *own
	r.signWith(tb, &keys)
}

// index makes both signed indexes of sets from nothing and returns them.
func (r *testRepo) index(tb testing.TB, sets []*set) *indexes {
	tb.Helper()
	var x *indexes
	err := r.write(tb.Context(), musl, func(d *durable.Batch) error {
		u, err := r.newUpdate(musl, &generation{}, x86)
		if err != nil {
			return err
		}
		for _, s := range sets {
			u.sets[s.origin] = s
		}
		t, err := r.newTransition(d, musl, &generation{}, day)
		if err != nil {
			return err
		}
		x, err = t.render(tb.Context(), u)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return x
}

// packFolder makes signed packages of v2 in a folder and in the store, with little
// in them, and returns their files.
func (r *testRepo) packFolder(tb testing.TB, dir string, infos []apk.Info) []ashlar.File {
	tb.Helper()
	files := make([]ashlar.File, len(infos))
	noise := make([]byte, 1500)
	for i := range noise {
		noise[i] = byte(rand.IntN(256))
	}
	var g errgroup.Group
	g.SetLimit(shelf.Workers())
	for i, info := range infos {
		g.Go(func() error {
			var b bytes.Buffer
			packed, err := apk.WriteV2(&b, &apk.V2Spec{Info: info, Workers: 1, Signers: r.keys.APK.V2, Files: []apk.File{{
				Entry: apk.Entry{Path: "file", Mode: 0o644, User: "root", Group: "root", Size: int64(len(noise))},
				Open:  func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(noise)), nil },
			}}})
			if err != nil {
				return err
			}
			e := packed.IndexEntry()
			files[i] = ashlar.File{Name: e.FileName(), Digest: ashlar.DigestOf(b.Bytes()), Size: int64(b.Len())}
			return errors.Join(os.WriteFile(filepath.Join(dir, e.FileName()), b.Bytes(), 0o644), os.Link(filepath.Join(dir, e.FileName()), r.store.Path(files[i].Digest)))
		})
	}
	if err := g.Wait(); err != nil {
		tb.Fatal(err)
	}
	return files
}

// writeKeys puts the public keys into a folder for apk.
func (r *testRepo) writeKeys(tb testing.TB, dir string) {
	tb.Helper()
	pub, err := r.keys.Public()
	if err != nil {
		tb.Fatal(err)
	}
	for _, k := range pub.APK {
		if err := os.WriteFile(filepath.Join(dir, k.Name), k.PEM, 0o644); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkIndex makes both signed indexes of 8,000 packages from nothing, in turns
// with apk 2.14, which makes the one of v2 and does not sign it: of metadata that
// is known, and reading every package, whose content and signature are checked as
// apk checks them. It reports the medians. ASHLAR_APK2 names the other one.
func BenchmarkIndex(b *testing.B) {
	const runs = 5
	r := newTestRepo(b)
	infos := manyInfos(manyPackages)
	sets := known(infos)
	dir, keys := b.TempDir(), b.TempDir()
	files := r.packFolder(b, dir, infos) // by smaller keys than the indexes: 8,000 signatures take a while
	believed := r.cfg.Keys
	r.writeKeys(b, keys)
	r.fullSized(b)
	var given []SourceSet
	for _, f := range files {
		given = append(given, SourceSet{Arch: x86, Packages: []ashlar.File{f}})
	}
	var ours, read, theirs []time.Duration
	for range runs {
		ours = append(ours, timed(func() { r.index(b, sets) }))
		read = append(read, timed(func() {
			loaded, err := readSets(b.Context(), r.store, believed, given)
			if err != nil {
				b.Fatal(err)
			}
			r.index(b, loaded)
		}))
		if program := os.Getenv("ASHLAR_APK2"); program != "" {
			theirs = append(theirs, timed(func() { apkIndex(b, program, dir, keys, files) }))
		}
	}
	x := r.index(b, sets)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ours).Seconds(), "known-s")
	b.ReportMetric(median(read).Seconds(), "read-s")
	if len(theirs) > 0 {
		b.ReportMetric(median(theirs).Seconds(), "apk-s")
	}
	b.Logf("8,000 packages, both indexes (%d and %d bytes): known %v; read %v; apk index %v", len(x.files[IndexV2]), len(x.files[IndexV3]), ours, read, theirs)
}

// apkIndex makes an index with apk, which checks signatures by the keys in a
// folder.
func apkIndex(b *testing.B, program, dir, keys string, files []ashlar.File) {
	b.Helper()
	args := []string{"--keys-dir", keys, "index", "--quiet", "--rewrite-arch", x86, "-o", filepath.Join(b.TempDir(), IndexV2)}
	for _, f := range files {
		args = append(args, f.Name)
	}
	c := exec.Command(program, args...)
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
}

// BenchmarkPublishOne puts one more package, in both formats, into a live, signed
// repository of 8,000: indexes, statement, snapshot, everything flushed to the
// disk. It does so first as a process that published there before, and then as one
// that did not.
func BenchmarkPublishOne(b *testing.B) {
	const runs = 11
	r := newTestRepo(b)
	r.fullSized(b)
	err := r.write(b.Context(), musl, func(d *durable.Batch) error {
		u, err := r.newUpdate(musl, &generation{}, x86)
		if err != nil {
			return err
		}
		for _, s := range known(manyInfos(manyPackages)) {
			u.sets[s.origin] = s
		}
		_, err = r.goOn(b.Context(), d, musl, &generation{}, map[string]*update{x86: u}, day)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op")
	for j, name := range []string{"ms", "cold-ms"} {
		var took, cpu []time.Duration
		for i := range runs {
			n := j*runs + i + 1
			sets := r.sets(b, simple(fmt.Sprintf("new%d", n), "1"))
			if name == "cold-ms" {
				clear(r.cache)
			}
			before := cpuTime(b)
			took = append(took, timed(func() {
				if _, err := r.Publish(context.Background(), musl, sets, day.Add(time.Duration(n)*time.Minute)); err != nil {
					b.Fatal(err)
				}
			}))
			cpu = append(cpu, cpuTime(b)-before)
		}
		b.ReportMetric(float64(median(took).Microseconds())/1000, name)
		b.ReportMetric(float64(median(cpu).Microseconds())/1000, "cpu-"+name)
		b.Logf("one more into %d (%s): %v", manyPackages, name, took)
	}
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

// cpuTime returns the processor time that this process has used, which says more
// than the clock on a machine that is busy with other things.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
