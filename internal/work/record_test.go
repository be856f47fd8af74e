package work

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sign"
	"github.com/ashlar-project/ashlar/internal/source"
)

var bookworm = ashlar.Target{Distro: "debian-12", Arch: "amd64"}

// shop opens a shop in a folder of the test's own, with nothing to connect to.
func shop(t *testing.T) *Shop {
	t.Helper()
	s, err := Open(Config{Dir: t.TempDir(), Mirrors: &source.Mirrors{}, Offline: true, Now: func() time.Time { return time.Unix(1e9, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func record(key string) *Record {
	lock := &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{Target: bookworm, Vars: map[string]string{"a": "b"}}}
	return &Record{
		Definition: []byte("image: x\n"), Lock: lock,
		Result:  &ashlar.Result{Key: ashlar.DigestOf([]byte(key)), Target: bookworm, Files: []ashlar.File{{Name: "x_1_amd64.deb", Size: 3}}},
		Verdict: &ashlar.Verdict{Passed: true},
		Bundles: map[string][]byte{"x_1_amd64.deb.provenance.sigstore.json": []byte("{}")},
	}
}

func TestRecordRoundTrip(t *testing.T) {
	s := shop(t)
	want := record("one")
	for range 2 { // the second time it takes the place of the first
		if err := s.save(want); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.load(want.Result.Key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	left, err := filepath.Glob(filepath.Join(s.Dir, "results", ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestDamagedRecord checks that each file of a record is missed or found broken.
func TestDamagedRecord(t *testing.T) {
	for _, c := range []struct {
		file string
		kind fault.Kind
	}{
		{recordDefinition, fault.NotFound}, {recordLock, fault.Invalid}, {recordResult, fault.Invalid}, {recordVerdict, fault.Invalid},
	} {
		t.Run(c.file, func(t *testing.T) {
			s, r := shop(t), record("one")
			if err := s.save(r); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(filepath.Join(s.recordDir(r.Result.Key), c.file)); err != nil {
				t.Fatal(err)
			}
			if _, err := s.load(r.Result.Key); !fault.Is(err, c.kind) {
				t.Errorf("load returns %v, want kind %q", err, c.kind)
			}
		})
	}
}

func TestLatest(t *testing.T) {
	s := shop(t)
	def := Ref{Root: "catalog", Path: "package/deb/main/x/debian-12/1.yaml"}
	if _, err := s.Latest(def, "amd64"); !fault.Is(err, fault.NotFound) {
		t.Errorf("before any build: %v", err)
	}
	for _, key := range []string{"one", "two"} {
		r := record(key)
		if err := s.save(r); err != nil {
			t.Fatal(err)
		}
		if err := s.setLatest(def, "amd64", r.Result.Key); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Latest(def, "amd64")
	if err != nil || r.Result.Key != ashlar.DigestOf([]byte("two")) {
		t.Errorf("the newest is %v, %v", r, err)
	}
	for what, other := range map[string]struct {
		ref  Ref
		arch ashlar.Arch
	}{
		"another architecture": {def, "arm64"},
		"another definition":   {Ref{Root: "catalog", Path: "package/deb/main/y/debian-12/1.yaml"}, "amd64"},
		"another catalog":      {Ref{Root: "elsewhere/catalog", Path: def.Path}, "amd64"},
	} {
		if _, err := s.Latest(other.ref, other.arch); !fault.Is(err, fault.NotFound) {
			t.Errorf("for %s: %v", what, err)
		}
	}
}

func TestRef(t *testing.T) {
	r := Ref{Root: "catalog", Path: "package/deb/main/x/debian-12/1.yaml"}
	if got, want := r.File(), filepath.FromSlash("catalog/package/deb/main/x/debian-12/1.yaml"); got != want {
		t.Errorf("File is %s", got)
	}
	if got, want := r.LockFile("amd64"), filepath.FromSlash("catalog/package/deb/main/x/debian-12/1.amd64.lock.json"); got != want {
		t.Errorf("LockFile is %s", got)
	}
	if got := r.slug("amd64"); !regexp.MustCompile(`^package~deb~main~x~debian-12~1@[0-9a-f]{12}\.amd64$`).MatchString(got) {
		t.Errorf("slug is %s", got)
	}
}

// TestOpenRefusesAFile checks the error for a state folder that is none.
func TestOpenRefusesAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Config{Dir: filepath.Join(file, "state"), Mirrors: &source.Mirrors{}})
	if !fault.Is(err, fault.Denied) {
		t.Errorf("Open returns %v", err)
	}
	if _, err := os.Stat(filepath.Join(file, "state")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat returns %v", err)
	}
}

// TestStageEvents checks what a watcher is told of a stage, and that a vertex that
// several solves share is told of once.
func TestStageEvents(t *testing.T) {
	s := shop(t)
	var got []State
	s.Report = func(e Event) { got = append(got, e.State) }
	s.stage("x", "build")("", false, nil)
	s.stage("x", "build")("", true, nil)
	s.stage("x", "build")("", false, errors.New("no"))
	if diff := cmp.Diff([]State{Begun, Ended, Begun, Cached, Begun, Failed}, got); diff != "" {
		t.Error(diff)
	}
	vertex := ashlar.DigestOf([]byte("v"))
	for i, c := range []struct {
		state State
		news  bool
	}{{Begun, true}, {Begun, false}, {Ended, true}, {Begun, false}, {Ended, false}} {
		if s.news(vertex, c.state) != c.news {
			t.Errorf("%d: news of %q is %v", i, c.state, !c.news)
		}
	}
}

// TestSaveTwice keeps records of one key from several goroutines, as processes
// that build the same would.
func TestSaveTwice(t *testing.T) {
	s := shop(t)
	var g errgroup.Group
	for range 8 {
		g.Go(func() error { return s.save(record("one")) })
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := s.load(record("one").Result.Key); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(filepath.Join(s.Dir, "results"))
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestTells(t *testing.T) {
	lock := func(definition, signer string) *ashlar.Lock {
		return &ashlar.Lock{Inputs: ashlar.Inputs{
			Definition: ashlar.Material{Digest: ashlar.DigestOf([]byte(definition))},
			Builds:     []ashlar.BuildInputs{{Sources: []ashlar.Source{{Anchor: ashlar.Anchor{Kind: ashlar.AnchoredByIndex, Signers: []string{signer}}}}}},
		}}
	}
	r := &Record{Lock: lock("a", "X")}
	for name, c := range map[string]struct {
		lock *ashlar.Lock
		want bool
	}{
		"the same":              {lock("a", "X"), true},
		"another comment":       {lock("b", "X"), false},
		"vouched for otherwise": {lock("a", "Y"), false},
		"no builds":             {&ashlar.Lock{Inputs: ashlar.Inputs{Definition: r.Lock.Inputs.Definition}}, false},
	} {
		if got := r.tells(c.lock); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestSignerAgain loses the signer between two requests.
func TestSignerAgain(t *testing.T) {
	s := shop(t)
	keys, err := sign.Generate("Test", "", s.Now())
	if err != nil {
		t.Fatal(err)
	}
	started := 0
	s.Signer = func(ctx context.Context) (*sign.Conn, error) {
		started++
		return sign.Local(ctx, keys, nil)
	}
	first, err := s.keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := s.keys(t.Context()); again != first || err != nil {
		t.Errorf("while it lives: another one, %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if second, err := s.keys(t.Context()); second == first || err != nil || started != 2 {
		t.Errorf("after its end: %d started, %v", started, err)
	}
}
