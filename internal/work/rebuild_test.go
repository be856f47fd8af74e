package work

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/attest"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// TestReplanIncludes plans again, from a provenance and what a repository keeps,
// a definition whose steps are in a file that it includes.
func TestReplanIncludes(t *testing.T) {
	const path, common = "package/deb/main/x/debian-12/1.yaml", "package/deb/common.yaml"
	text := "image: example/pkg-x\nincludes: [" + common + "]\n"
	steps := "contents:\n  builds:\n    - name: x deb\n      pipeline:\n        - {name: pack, runs: dpkg-deb -b x}\n"
	material := func(name, content string) ashlar.Material {
		return ashlar.Material{Name: filepath.Base(name), URI: "catalog:" + name, Digest: ashlar.DigestOf([]byte(content)), Size: int64(len(content))}
	}
	lock := &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{
		Definition: material(path, text), Includes: []ashlar.Material{material(common, steps)}, Target: bookworm,
		Builds: []ashlar.BuildInputs{{Name: "x deb"}},
	}}
	published := t.TempDir()
	for _, content := range []string{text, steps} {
		file := filepath.Join(published, shelf.SourcePath(ashlar.DigestOf([]byte(content))))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := httptest.NewServer(http.FileServer(http.Dir(published)))
	defer server.Close()

	def, err := resolve.Pinned(lock, path, []byte(text), func(ashlar.Material) ([]byte, error) { return []byte(steps), nil })
	if err != nil {
		t.Fatal(err)
	}
	s := shop(t)
	s.Fetcher.Offline = false
	built, err := s.planned(def, lock)
	if err != nil {
		t.Fatal(err)
	}
	p := &attest.ReadyProvenance{
		External: attest.ExternalParameters{Definition: attest.DefinitionParameter{Path: path, Content: text}},
		Internal: attest.InternalParameters{Lock: lock, Plan: built.Plan.Key()},
	}
	if err := s.gather(t.Context(), lock, text, server.URL); err != nil {
		t.Fatal(err)
	}
	if again, err := s.replan(t.Context(), lock, p); err != nil || again.Plan.Key() != built.Plan.Key() {
		t.Errorf("planned again: %v", err)
	}
	if err := shop(t).gather(t.Context(), lock, text, ""); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), common) {
		t.Errorf("without the repository: %v", err)
	}
	p.External.Definition.Path = "../1.yaml"
	if _, err := s.replan(t.Context(), lock, p); err == nil {
		t.Error("a definition outside of its catalog was planned")
	}
}
