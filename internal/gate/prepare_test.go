package gate

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/source"
)

// A pool has files in memory. It gives none before two are asked for at once.
type pool struct {
	resolve.Fetcher // nil: nothing else is asked for
	store           *blob.Memory
	files           map[string][]byte // by URI
	begun           atomic.Int32
	both            chan struct{} // closed once two are under way
}

func (p *pool) Fetch(ctx context.Context, req source.Request) (ashlar.Material, error) {
	if p.begun.Add(1) == 2 {
		close(p.both)
	}
	<-p.both
	content, ok := p.files[req.URI]
	if !ok {
		return ashlar.Material{}, fault.New(fault.NotFound, "no %s", req.URI)
	}
	f, err := p.store.Put(ctx, bytes.NewReader(content), req.Digest)
	return ashlar.Material{Name: req.Name, URI: req.URI, Digest: f.Digest, Size: f.Size}, err
}

// debOf makes a .deb with the given control file.
func debOf(t *testing.T, control string) []byte {
	t.Helper()
	tarball := func(name, content string) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatGNU}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", tarball("./control", control)}, {"data.tar", tarball("./x", "x")}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n%s", m.name, 0, 0, 0, "100644", len(m.data), m.data)
		if len(m.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// control reads "name version; Field: value; …" as a control file.
func control(line string) string {
	fields := strings.Split(line, ";")
	name, version, _ := strings.Cut(fields[0], " ")
	text := "Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\nMaintainer: x <x@example.org>\nDescription: x\n"
	for _, f := range fields[1:] {
		text += strings.TrimSpace(f) + "\n"
	}
	return text
}

// archived is what the archive of these tests lists: a root with apt, and
// packages that the sets replace.
const archived = `base 1; Essential: yes
apt 2; Depends: libapt
libapt 2
stone 0.8
stone 0.9; Depends: libstone (>= 2)
libstone 2
libstone 1
broken 0.5; Depends: no-such-thing
ahead 3`

// prepared returns the case of a set on the archive, whose pool lacks packages.
func prepared(t *testing.T, set string, lacks ...string) (*Case, error) {
	t.Helper()
	store := blob.NewMemory()
	p := &pool{store: store, files: map[string][]byte{}, both: make(chan struct{})}
	var all []*deb.Package
	for line := range strings.Lines(archived) {
		text := control(strings.TrimSpace(line))
		pkg, err := deb.ParsePackageText([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		content := debOf(t, text)
		pkg.Filename = "pool/" + pkg.Name + "_" + pkg.Version + "_amd64.deb"
		pkg.SHA256, pkg.Size = ashlar.DigestOf(content), int64(len(content))
		if !slices.Contains(lacks, pkg.Name+" "+pkg.Version) {
			p.files["mirror://debian/"+pkg.Filename] = content
		}
		all = append(all, pkg)
	}
	w := resolve.World{
		Universe: resolve.NewMemory(all...), Fetcher: p, Store: store, Indexes: []ashlar.Index{{URI: "mirror://debian/dists/bookworm/InRelease"}},
		PackageURI: func(p *deb.Package) string { return "mirror://debian/" + p.Filename },
	}
	res := &ashlar.Result{Target: ashlar.Target{Distro: "debian-12", Arch: "amd64"}}
	for line := range strings.Lines(set) {
		f, err := store.Put(t.Context(), bytes.NewReader(debOf(t, control(strings.TrimSpace(line)))), "")
		if err != nil {
			t.Fatal(err)
		}
		f.Name = strings.ReplaceAll(strings.Split(strings.TrimSpace(line), ";")[0], " ", "_") + "_amd64.deb"
		res.Files = append(res.Files, f)
	}
	return Prepare(t.Context(), w, res)
}

// names returns "name version" of packages, sorted.
func names(list []Package) []string {
	var all []string
	for _, p := range list {
		all = append(all, p.Control.Get("Package")+" "+p.Control.Get("Version"))
	}
	slices.Sort(all)
	return all
}

// TestPrepare checks what a case draws on, and which upgrades are tried.
func TestPrepare(t *testing.T) {
	root := []string{"apt 2", "base 1", "libapt 2"}
	for _, tt := range []struct {
		name, set       string
		lacks           []string
		archive         []string // beside the root
		before, untried map[string]string
	}{
		{"upgrade", "stone 1; Depends: libstone", nil, []string{"libstone 2", "stone 0.9"}, map[string]string{"stone": "0.9"}, nil},
		{"new package", "new 1; Depends: libstone", nil, []string{"libstone 2"}, nil, nil},
		{"part of the root", "libapt 3", nil, nil, map[string]string{"libapt": "2"}, nil},
		{"another of the set", "stone 1; Depends: libstone (>= 3)\nlibstone 3", nil, []string{"libstone 2", "stone 0.9"}, map[string]string{"stone": "0.9", "libstone": "2"}, nil},
		{"archive is ahead", "ahead 1", nil, nil, nil, map[string]string{"ahead": "the archive has 3, which is not lower than 1"}},
		{"version before does not install", "broken 1", nil, nil, nil, map[string]string{"broken": "the archive's version cannot be installed: packages cannot be installed together"}},
		{"index ahead of the pool", "stone 1; Depends: libstone", []string{"stone 0.9"}, []string{"libstone 2", "stone 0.8"}, map[string]string{"stone": "0.8"}, nil},
		{"a dependency ahead of the pool", "stone 1; Depends: libstone", []string{"libstone 2"}, []string{"libstone 1", "stone 0.8"}, map[string]string{"stone": "0.8"}, nil},
		{"nothing before in the pool", "stone 1", []string{"stone 0.8", "stone 0.9"}, nil, nil, map[string]string{"stone": "the pool has none of the versions that the index lists"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := prepared(t, tt.set, tt.lacks...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(root, rootNames(c.Root)); diff != "" {
				t.Errorf("root: %s", diff)
			}
			want := append(slices.Clone(root), tt.archive...)
			slices.Sort(want)
			if diff := cmp.Diff(want, names(c.Archive)); diff != "" {
				t.Errorf("archive: %s", diff)
			}
			for name, why := range c.Untried {
				c.Untried[name] = why[:min(len(why), len(tt.untried[name]))]
			}
			for what, pair := range map[string][2]map[string]string{"before": {tt.before, c.Before}, "untried": {tt.untried, c.Untried}} {
				if len(pair[0])+len(pair[1]) > 0 && !cmp.Equal(pair[0], pair[1]) {
					t.Errorf("%s: %s", what, cmp.Diff(pair[0], pair[1]))
				}
			}
			if len(c.Indexes) != 1 {
				t.Errorf("indexes %v", c.Indexes)
			}
		})
	}
}

func rootNames(r ashlar.Root) []string {
	var all []string
	for _, p := range r.Packages() {
		all = append(all, p.Name+" "+p.Version)
	}
	slices.Sort(all)
	return all
}

// TestPrepareFetchesAtOnce fetches from a pool that gives nothing to who asks for
// one package after the other: that would be a deadlock, which a bubble notices.
func TestPrepareFetchesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, err := prepared(t, "stone 1"); err != nil {
			t.Error(err)
		}
	})
}

// TestPrepareRefuses checks that a set that cannot be installed is the set's
// fault only if the pool is whole.
func TestPrepareRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, set string
		lacks     []string
		kind      fault.Kind
		says      []string
	}{
		{"missing dependency", "stone 1; Depends: no-such-thing", nil, fault.Policy, []string{"stone 1 cannot be installed on this snapshot", "no-such-thing"}},
		{"dependency not in the pool", "stone 1; Depends: libstone (>= 2)", []string{"libstone 2"}, fault.Unavailable, []string{"stone 1 cannot be installed", "not in the pool: libstone 2"}},
		{"no apt in the pool", "stone 1", []string{"apt 2"}, fault.Unavailable, []string{"not in the pool: apt 2"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := prepared(t, tt.set, tt.lacks...)
			if !fault.Is(err, tt.kind) {
				t.Fatalf("%v is %s, want %s", err, fault.KindOf(err), tt.kind)
			}
			for _, part := range tt.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%v\ndoes not say %q", err, part)
				}
			}
		})
	}
}
