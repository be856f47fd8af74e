package engine_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// TestPlatform makes the graph of a step for each architecture: the root and the
// step are of that architecture alone.
func TestPlatform(t *testing.T) {
	for _, arch := range []ashlar.Arch{"amd64", "arm64"} {
		store := blob.NewMemory()
		layer, err := store.Put(t.Context(), strings.NewReader("layer"), "")
		if err != nil {
			t.Fatal(err)
		}
		root, err := engine.Image(t.Context(), store, arch, layer.Digest)
		if err != nil {
			t.Fatal(err)
		}
		step := engine.Step{Name: "x", Args: []string{"/x"}, Mounts: []engine.Mount{{Path: "/job", State: llb.Scratch()}}}
		def, err := engine.Marshal(&engine.Client{}, t.Context(), step.Run(root).GetMount("/job"), arch)
		if err != nil {
			t.Fatal(err)
		}
		execs := 0
		for _, b := range def.Def {
			var op pb.Op
			if err := op.UnmarshalVT(b); err != nil {
				t.Fatal(err)
			}
			if op.GetExec() != nil {
				execs++
			}
			if source := op.GetSource(); source != nil {
				if got := imageArch(t, store, source.Identifier); got != string(arch) {
					t.Errorf("%s: the root is for %s", arch, got)
				}
			}
			if p := op.Platform; p != nil && (p.OS != "linux" || p.Architecture != string(arch)) {
				t.Errorf("%s: %T is for %s/%s", arch, op.Op, p.OS, p.Architecture)
			}
		}
		if execs != 1 {
			t.Errorf("%s: %d steps", arch, execs)
		}
	}
}

// imageArch returns what the image with an address is made for.
func imageArch(t *testing.T, store blob.Store, identifier string) string {
	t.Helper()
	_, digest, _ := strings.Cut(identifier, "@")
	var manifest ocispecs.Manifest
	var config ocispecs.Image
	decode(t, store, ashlar.Digest(digest), &manifest)
	decode(t, store, ashlar.Digest(manifest.Config.Digest), &config)
	return config.Architecture
}

func decode(t *testing.T, store blob.Store, d ashlar.Digest, v any) {
	t.Helper()
	b, err := blob.ReadAll(t.Context(), store, d, 1<<20)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRuns asks the daemon for its own architecture and for another.
func TestRuns(t *testing.T) {
	b := shared.get(t)
	if err := b.client.Runs(t.Context(), engine.Native); err != nil {
		t.Error(err)
	}
	other := ashlar.Arch("arm64")
	if engine.Native == other {
		other = "amd64"
	}
	err := b.client.Runs(t.Context(), other)
	if !fault.Is(err, fault.Invalid) || strings.Count(err.Error(), "linux/"+string(engine.Native)) != 1 || !strings.Contains(err.Error(), "linux/"+string(other)) || !strings.Contains(err.Error(), "--builder tcp://") {
		t.Errorf("got %v", err)
	}
}
