package world

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha1"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// realAPK returns the apk that an environment variable names (ASHLAR_APK2 for
// 2.14, ASHLAR_APK3 for 3.0), or skips the test.
func realAPK(t testing.TB, variable string) string {
	t.Helper()
	program := os.Getenv(variable)
	if program == "" {
		t.Skipf("%s names no apk", variable)
	}
	return program
}

// A randomWorld makes up requests.
type randomWorld struct {
	*rand.Rand
	old  bool // only what apk 2.14 understands in the same way
	easy bool // fewer words, so that there mostly is a solution
}

func (r randomWorld) chance(percent int) bool { return r.IntN(100) < percent }

func (r randomWorld) name() string { return string(rune('a'+r.IntN(9))) + "lib" }

func (r randomWorld) virtual() string {
	return []string{"so:x.1", "cmd:y", "pc:z", "sh", "mta"}[r.IntN(5)]
}

func (r randomWorld) version() string {
	return []string{"1", "1.1", "2", "2.0.1-r3", "3_rc1"}[r.IntN(5)]
}

func (r randomWorld) anyName() string {
	if r.chance(30) {
		return r.virtual()
	}
	return r.name()
}

// word returns a dependency.
func (r randomWorld) word(conflicts int) string {
	w := r.anyName()
	switch {
	case r.chance(conflicts):
		w = "!" + w
		if r.old {
			return w
		}
	case r.old && !strings.HasSuffix(w, "lib"):
		return w // 2.14 never takes a name without a version for one with it
	}
	if percent := 25; r.chance(percent) && (!r.easy || r.chance(percent)) {
		w += []string{"=", "<", ">", "<=", ">=", "~"}[r.IntN(6)] + r.version()
	}
	return w
}

func (r randomWorld) words(most, conflicts int) []apk.Dependency {
	var words []string
	if r.easy {
		most, conflicts = min(most, 2), conflicts/4
	}
	for range r.IntN(most + 1) {
		words = append(words, r.word(conflicts))
	}
	deps, err := apk.ParseDependencies(strings.Join(words, " "))
	if err != nil {
		panic(err)
	}
	return deps
}

// provides returns what a package provides.
func (r randomWorld) provides() []apk.Dependency {
	var words []string
	seen := map[string]bool{}
	for range r.IntN(3) {
		n := r.virtual()
		if r.chance(15) {
			n = r.name()
		}
		if seen[n] {
			continue
		}
		seen[n] = true
		if r.chance(50) || r.easy {
			n += "=" + r.version()
		}
		words = append(words, n)
	}
	deps, err := apk.ParseDependencies(strings.Join(words, " "))
	if err != nil {
		panic(err)
	}
	return deps
}

// entry returns a package.
func (r randomWorld) entry() apk.IndexEntry {
	e := apk.IndexEntry{Info: apk.Info{Name: r.name(), Version: r.version(), Arch: "x86_64", InstalledSize: 1}, Size: 1}
	e.Depends, e.Provides = r.words(3, 8), r.provides()
	if r.chance(20) {
		e.InstallIf = r.words(2, 10)
	}
	if r.chance(25) || r.easy {
		e.ProviderPriority = 1 + r.IntN(3)
	}
	if r.chance(3) {
		e.Arch = "noarch"
	}
	e.Identity = sha1.Sum(fmt.Append(nil, e.Info))
	return e
}

// request returns a request, and the texts of its indexes.
func (r randomWorld) request() (Request, [][]byte) {
	q := Request{Arch: "x86_64"}
	r.easy = r.chance(70)
	var texts [][]byte
	tags := []string{"", "edge", "lab"}
	for i := range 1 + r.IntN(3) {
		x := apk.Index{}
		seen := map[string]bool{}
		for range 3 + r.IntN(20) {
			e := r.entry()
			if !seen[e.FileName()] {
				seen[e.FileName()] = true
				x.Entries = append(x.Entries, e)
			}
		}
		repository := Repository{Packages: FromIndex(&x)}
		if i > 0 {
			repository.Tag = tags[r.IntN(3)]
		}
		q.Repositories = append(q.Repositories, repository)
		texts = append(texts, x.Encode())
	}
	asked := map[string]bool{}
	for range 1 + r.IntN(4) {
		d, err := apk.ParseDependency(r.word(6))
		if err != nil {
			panic(err)
		}
		if tag := tags[r.IntN(3)]; r.chance(25) && tag != "" && !d.Conflict && q.hasTag(tag) {
			d.Tag = tag
		}
		if !asked[d.Name] {
			asked[d.Name] = true
			q.World = append(q.World, d)
		}
	}
	if r.chance(50) {
		for _, d := range q.World[r.IntN(len(q.World)):] {
			q.Added = append(q.Added, d.Name)
		}
	}
	return q, texts
}

func (r *Request) hasTag(tag string) bool {
	for i := range r.Repositories {
		if r.Repositories[i].Tag == tag {
			return true
		}
	}
	return false
}

// simulate returns what an apk would install, nil if it finds no solution.
func simulate(t *testing.T, program, dir string, q *Request, texts [][]byte) ([]string, string) {
	t.Helper()
	write := func(name string, b []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"--root", dir, "--allow-untrusted", "--simulate", "--no-cache", "--arch", q.Arch, "add"}
	var repositories, world strings.Builder
	for i, text := range texts {
		repo := "repo" + strconv.Itoa(i)
		write(repo+"/"+q.Arch+"/APKINDEX.tar.gz", packIndex(t, text))
		if tag := q.Repositories[i].Tag; tag != "" {
			repositories.WriteString("@" + tag + " ")
		}
		repositories.WriteString(dir + "/" + repo + "\n")
	}
	added := map[string]bool{}
	for _, n := range q.Added {
		added[n] = true
	}
	for _, w := range q.World {
		if added[w.Name] {
			args = append(args, w.String())
		} else {
			world.WriteString(w.String() + "\n")
		}
	}
	write("etc/apk/repositories", []byte(repositories.String()))
	write("etc/apk/world", []byte(world.String()))
	write("lib/apk/db/installed", nil)
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return nil, string(out)
	}
	lines := []string{}
	for line := range strings.Lines(string(out)) {
		if m := installLine.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			lines = append(lines, m[1])
		}
	}
	return lines, string(out)
}

// packIndex packs the text of an index as it is, in whatever order.
func packIndex(t testing.TB, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Name: "APKINDEX", Size: int64(len(text)), Mode: 0o644, Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rounds returns how many random worlds to try, ASHLAR_ROUNDS if it is set.
func rounds(t testing.TB, usual int) int {
	t.Helper()
	if s := os.Getenv("ASHLAR_ROUNDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return usual
}

// Random worlds come out as apk 3 solves them: the same packages from the same
// repositories in the same order, or no solution.
func TestRealSolve(t *testing.T) {
	program := realAPK(t, "ASHLAR_APK3")
	r := randomWorld{Rand: rand.New(rand.NewPCG(1, 2))}
	dir := t.TempDir()
	solved, none := 0, 0
	for round := range rounds(t, 200) {
		q, texts := r.request()
		want, out := simulate(t, program, dir, &q, texts)
		got, err := Solve(q)
		switch {
		case (err == nil) != (want != nil):
			t.Errorf("round %d: world %s, added %q: apk says\n%s\nand we %v\n%s", round, apk.FormatDependencies(q.World), q.Added, out, err, texts)
		case err != nil:
			none++
		default:
			solved++
			if d := cmp.Diff(want, shown(got)); d != "" {
				t.Errorf("round %d: world %s, added %q: (-apk +ours)\n%s%s", round, apk.FormatDependencies(q.World), q.Added, d, texts)
			}
		}
	}
	t.Logf("%d worlds solved, %d without a solution", solved, none)
}

// Random worlds that apk 2.14 understands as apk 3 does mostly come out the same.
func TestRealSolveOld(t *testing.T) {
	program := realAPK(t, "ASHLAR_APK2")
	r := randomWorld{Rand: rand.New(rand.NewPCG(3, 4)), old: true}
	dir := t.TempDir()
	same, other, n := 0, 0, rounds(t, 200)
	for range n {
		q, texts := r.request()
		want, _ := simulate(t, program, dir, &q, texts)
		got, err := Solve(q)
		if (err == nil) == (want != nil) && (err != nil || cmp.Equal(want, shown(got))) {
			same++
		} else {
			other++
		}
	}
	t.Logf("%d worlds as apk 2.14, %d otherwise", same, other)
	if other > n/20 {
		t.Errorf("more than one in twenty differs")
	}
}

// Worlds of a real distribution come out as apk 3 solves them, and mostly as 2.14
// does: a hundred of up to
// twelve of its names, some with documentation, from the index (APKINDEX.tar.gz)
// that ASHLAR_APKINDEX names.
func TestRealSolveIndex(t *testing.T) {
	file := os.Getenv("ASHLAR_APKINDEX")
	if file == "" {
		t.Skip("ASHLAR_APKINDEX names no index")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	x, err := apk.ParseV2Index(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, variable := range []string{"ASHLAR_APK2", "ASHLAR_APK3"} {
		t.Run(variable, func(t *testing.T) {
			program, dir := realAPK(t, variable), t.TempDir()
			r := rand.New(rand.NewPCG(7, 8))
			packages, none, other, rounds := 0, 0, 0, rounds(t, 100)
			arch := x.Entries[slices.IndexFunc(x.Entries, func(e apk.IndexEntry) bool { return e.Arch != "noarch" })].Arch
			for round := range rounds {
				q := Request{Arch: arch, Repositories: []Repository{{Packages: FromIndex(&x.Index)}}, World: realWords(t, r, x.Entries)}
				for _, w := range q.World {
					q.Added = append(q.Added, w.Name)
				}
				want, out := simulate(t, program, dir, &q, [][]byte{x.Encode()})
				got, err := Solve(q)
				switch {
				case (err == nil) != (want != nil):
					t.Errorf("round %d: world %s: apk says\n%s\nand we %v", round, apk.FormatDependencies(q.World), out, err)
				case err != nil:
					none++
				default:
					packages += len(got.Install)
					if d := cmp.Diff(want, shown(got)); d != "" {
						other++
						t.Logf("round %d: world %s: (-apk +ours)\n%s", round, apk.FormatDependencies(q.World), d)
					}
				}
			}
			t.Logf("%d worlds of %d packages in all, %d of them otherwise; %d without a solution", rounds-none, packages, other, none)
			if variable == "ASHLAR_APK3" && other > 0 || other > rounds/20 {
				t.Error("too many differ")
			}
		})
	}
}

// realWords returns the names of some packages, or what they provide.
func realWords(t testing.TB, r *rand.Rand, entries []apk.IndexEntry) []apk.Dependency {
	t.Helper()
	words := map[string]bool{}
	for range 1 + r.IntN(12) {
		e := &entries[r.IntN(len(entries))]
		words[e.Name] = true
		if len(e.Provides) > 0 && r.IntN(4) == 0 {
			words[e.Provides[r.IntN(len(e.Provides))].Name] = true
		}
	}
	if r.IntN(3) == 0 {
		words["docs"] = true
	}
	return mustDeps(t, strings.Join(slices.Sorted(maps.Keys(words)), " "))
}
