package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/apk"
)

// packKinds are the packages of bookworm whose files are packed, by what they have.
// Together they have about 100 MB.
var packKinds = []struct {
	kind  string
	names []string
}{
	{"libraries", []string{"libc6", "libssl3", "libgnutls30", "libstdc++6", "libglib2.0-0"}},
	{"programs", []string{"coreutils", "openssh-client"}},
	{"documents", []string{"git-doc", "debian-policy", "bash-doc"}},
	{"headers and static libraries", []string{"libstdc++-12-dev", "linux-libc-dev"}},
}

// A packed is the files of one kind and what became of them.
type packed struct {
	kind      string
	files     []apk.File
	tar       string // of the v2 package, plain
	plain     int64
	gzip      int64
	v2, v3    int64
	different bool // with another number of processors
}

// packing times making packages of files against gzip -9 of the same tar archive.
func packing(ctx context.Context, l *lab) (s *section, err error) {
	dir, err := l.fresh("pack")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.discard(dir)) }()
	all, err := l.packFiles(ctx, dir)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if err := p.prepare(dir); err != nil {
			return nil, err
		}
	}
	var zip, v2, v3, single effort
	for rep := range l.reps {
		l.logf("pack, round %d", rep+1)
		for _, one := range []struct {
			to   *effort
			make func(*packed) error
		}{
			{&zip, func(p *packed) error { return p.zip(ctx) }},
			{&v2, func(p *packed) error { _, _, err := p.writeV2(dir, 0); return err }},
			{&v3, func(p *packed) error { _, _, err := p.writeV3(dir); return err }},
			{&single, func(p *packed) error { _, _, err := p.writeV2(dir, 1); return err }},
		} {
			settle()
			if err := one.to.add(all, one.make); err != nil {
				return nil, err
			}
		}
	}
	return packSection(all, zip, v2, v3, single), nil
}

// An effort is how long something took, and how much of processors.
type effort struct{ wall, processor times }

// add measures fn for all kinds together.
func (e *effort) add(all []*packed, fn func(*packed) error) error {
	begun := processorTime()
	err := e.wall.add(func() error {
		for _, p := range all {
			if err := fn(p); err != nil {
				return err
			}
		}
		return nil
	})
	e.processor = append(e.processor, processorTime()-begun)
	return err
}

// processorTime returns what this process and its children that have ended used.
func processorTime() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if unix.Getrusage(who, &r) == nil {
			sum += time.Duration(r.Utime.Nano() + r.Stime.Nano())
		}
	}
	return sum
}

// packFiles downloads the packages and lists their files.
func (l *lab) packFiles(ctx context.Context, dir string) ([]*packed, error) {
	apt, err := l.newApt(ctx, "bookworm")
	if err != nil {
		return nil, err
	}
	var all []*packed
	for i, k := range packKinds {
		debs, tree := filepath.Join(dir, fmt.Sprint("debs", i)), filepath.Join(dir, fmt.Sprint("tree", i))
		if err := os.MkdirAll(debs, 0o755); err != nil {
			return nil, err
		}
		if err := do(ctx, debs, "apt-get", apt.args(append([]string{"download"}, k.names...)...)...); err != nil {
			return nil, err
		}
		names, err := filepath.Glob(filepath.Join(debs, "*.deb"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if err := do(ctx, debs, "dpkg-deb", "-x", name, tree); err != nil {
				return nil, err
			}
		}
		p := &packed{kind: k.kind}
		if p.files, err = filesOf(tree); err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// filesOf lists the files of a tree, all of one time and of root.
func filesOf(tree string) ([]apk.File, error) {
	var files []apk.File
	inodes := map[uint64]int{}
	err := filepath.WalkDir(tree, func(name string, e fs.DirEntry, err error) error {
		if err != nil || name == tree {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(name, &st); err != nil {
			return err
		}
		f := apk.File{Entry: apk.Entry{Path: strings.TrimPrefix(name, tree+"/"), Mode: st.Mode & 0o7777, User: "root", Group: "root", ModTime: 1_700_000_000}}
		switch first, linked := inodes[st.Ino]; {
		case e.IsDir():
			f.Kind = apk.Directory
		case e.Type() == fs.ModeSymlink:
			f.Kind, f.Mode = apk.Symlink, 0o777
			f.Target, err = os.Readlink(name)
		case linked:
			f.Kind, f.Target = apk.HardLink, files[first].Path
		default:
			f.Size = st.Size
			f.Open = func() (io.ReadCloser, error) { return os.Open(name) }
			inodes[st.Ino] = len(files)
		}
		files = append(files, f)
		return err
	})
	return files, err
}

var packInfo = apk.Info{Name: "stone", Version: "1-r0", Arch: "x86_64", Description: "a stone", License: "MIT", URL: "https://example.org"}

// writeV2 writes a v2 package into a file; its digest and size are returned.
func (p *packed) writeV2(dir string, workers int) ([sha256.Size]byte, int64, error) {
	return toFile(filepath.Join(dir, "v2.apk"), func(w io.Writer) error {
		spool, err := os.Create(filepath.Join(dir, "spool"))
		if err != nil {
			return err
		}
		_, err = apk.WriteV2(w, &apk.V2Spec{Info: packInfo, Files: p.files, Workers: workers, Spool: spool})
		return errors.Join(err, spool.Close())
	})
}

// writeV3 does the same with a v3 package.
func (p *packed) writeV3(dir string) ([sha256.Size]byte, int64, error) {
	return toFile(filepath.Join(dir, "v3.apk"), func(w io.Writer) error {
		_, err := apk.WriteV3(w, &apk.V3Spec{Info: packInfo, Files: p.files, Compression: adb.Deflate})
		return err
	})
}

// toFile writes a file and returns its SHA-256 and size.
func toFile(name string, write func(io.Writer) error) (sum [sha256.Size]byte, size int64, err error) {
	f, err := os.Create(name)
	if err != nil {
		return sum, 0, err
	}
	defer f.Close()
	h := sha256.New()
	if err := write(io.MultiWriter(f, h)); err != nil {
		return sum, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return sum, 0, err
	}
	return [sha256.Size]byte(h.Sum(nil)), info.Size(), nil
}

// zip compresses the archive with gzip -9.
func (p *packed) zip(ctx context.Context) error {
	return do(ctx, "", "sh", "-c", `exec gzip -9 -n <"$1" >"$1.gz"`, "sh", p.tar)
}

// prepare packs the files with one and with two processors, keeps the archive that
// is in the v2 package for gzip to compress, and notes all sizes.
func (p *packed) prepare(dir string) error {
	sums := map[[sha256.Size]byte]bool{}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, processors := range []int{1, 2} {
		runtime.GOMAXPROCS(processors)
		sum2, v2, err := p.writeV2(dir, 0)
		if err != nil {
			return err
		}
		sum3, v3, err := p.writeV3(dir)
		if err != nil {
			return err
		}
		p.v2, p.v3 = v2, v3
		sums[sum2], sums[sum3] = true, true
	}
	p.different = len(sums) != 2
	p.tar = filepath.Join(dir, strings.ReplaceAll(p.kind, " ", "-")+".tar")
	if err := dataTar(filepath.Join(dir, "v2.apk"), p.tar); err != nil {
		return err
	}
	if err := p.zip(context.Background()); err != nil {
		return err
	}
	for name, to := range map[string]*int64{p.tar: &p.plain, p.tar + ".gz": &p.gzip} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		*to = info.Size()
	}
	return nil
}

// dataTar writes the archive that the second gzip member of an unsigned package is.
func dataTar(pkg, tar string) error {
	b, err := os.ReadFile(pkg)
	if err != nil {
		return err
	}
	r := bytes.NewReader(b)
	z, err := gzip.NewReader(r)
	if err != nil {
		return err
	}
	z.Multistream(false)
	if _, err := io.Copy(io.Discard, z); err != nil {
		return err
	}
	if err := z.Reset(r); err != nil {
		return err
	}
	_, _, err = toFile(tar, func(w io.Writer) error { _, err := io.Copy(w, z); return err })
	return err
}

// packSection returns what is said of the measurements.
func packSection(all []*packed, zip, v2, v3, single effort) *section {
	var sum packed
	var b strings.Builder
	b.WriteString("| what | plain | gzip -9 | v2 | v3 |\n|---|---|---|---|---|\n")
	line := func(p *packed) {
		fmt.Fprintf(&b, "| %s | %.1f MB | %.2f MB | %s | %s |\n", p.kind, mb(p.plain), mb(p.gzip), larger(p.v2, p.gzip), larger(p.v3, p.gzip))
	}
	for _, p := range all {
		line(p)
		sum.plain, sum.gzip, sum.v2, sum.v3 = sum.plain+p.plain, sum.gzip+p.gzip, sum.v2+p.v2, sum.v3+p.v3
		sum.different = sum.different || p.different
	}
	sum.kind = "all"
	line(&sum)
	const third, tool = 1.0 / 3, "`gzip -9`, one thread"
	rows := []row{
		against("v2, as many threads as processors", v2.wall, zip.wall, third, tool),
		against("v2, one thread", single.wall, zip.wall, third, tool),
		against("v3, one thread", v3.wall, zip.wall, third, tool),
	}
	for i := range rows {
		rows[i].Asked = "≤ 1/3 ×"
	}
	largest := func(size func(*packed) int64) *packed {
		return slices.MaxFunc(all, func(a, b *packed) int {
			return cmp.Compare(float64(size(a))/float64(a.gzip), float64(size(b))/float64(b.gzip))
		})
	}
	sized := func(figure string, size func(*packed) int64) row {
		worst := largest(size)
		return row{
			Figure: figure, Asked: "≤ +3 %", Seen: larger(size(&sum), sum.gzip) + "; " + worst.kind + " " + larger(size(worst), worst.gzip),
			Yardstick: tool, Met: float64(size(worst)) <= 1.03*float64(worst.gzip),
		}
	}
	same := row{Figure: "same bytes with one and with two processors", Asked: "all", Seen: "all", Met: !sum.different}
	if sum.different {
		same.Seen = "not all"
	}
	rows = append(rows, sized("size of v2; the worst kind", func(p *packed) int64 { return p.v2 }),
		sized("size of v3; the worst kind", func(p *packed) int64 { return p.v3 }), same)
	var names []string
	for _, k := range packKinds {
		names = append(names, k.names...)
	}
	return &section{
		Text: fmt.Sprintf("%.0f MB of files of bookworm (%s)\nin four packages. Ours starts with files on the disk and ends with a whole package in a file: read, hashed, archived, compressed.\n"+
			"gzip compresses the archives that are in the v2 packages, and nothing else is in its time.", mb(sum.plain), strings.Join(names, ", ")),
		Rows: rows,
		More: b.String() + fmt.Sprintf("\nProcessor time, which other work on the machine changes less: gzip %s, v2 %s, on one thread %s, v3 %s.",
			zip.processor, v2.processor, single.processor, v3.processor),
	}
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// larger returns by how much a size is larger than another.
func larger(size, than int64) string {
	return fmt.Sprintf("%+.2f %%", 100*(float64(size)/float64(than)-1))
}
