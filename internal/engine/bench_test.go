package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// BenchmarkStart measures a child from nothing to its first answer.
func BenchmarkStart(b *testing.B) {
	bench := own(b)
	for b.Loop() {
		b.StopTimer()
		if err := engine.Stop(b.Context(), bench.cfg); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		c, err := engine.Ensure(b.Context(), bench.cfg)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkFind measures what a command pays when the child runs already.
func BenchmarkFind(b *testing.B) {
	bench := shared.get(b)
	for b.Loop() {
		c, err := engine.Ensure(b.Context(), bench.cfg)
		if err != nil {
			b.Fatal(err)
		}
		_ = c.Close()
	}
}

// BenchmarkWarm measures a solve whose only step is cached.
func BenchmarkWarm(b *testing.B) {
	bench := shared.get(b)
	st := engine.Step{Name: "nothing", Args: []string{"/probe", "nothing"}}.Run(bench.root).Root()
	for b.Loop() {
		if err := bench.solve(b, st, engine.Request{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExec measures steps that do nothing, twenty in a row: divide by 20.
func BenchmarkExec(b *testing.B) {
	bench := shared.get(b)
	for b.Loop() {
		st := bench.root
		for range 20 {
			st = engine.Step{Name: "nothing", Args: []string{"/probe", "nothing"}, Fresh: true, Env: map[string]string{"N": fmt.Sprint(rand.Int64())}}.Run(st).Root()
		}
		if err := bench.solve(b, st, engine.Request{}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBlobs measures a step with 230 blobs, about 160 MB, mounted one by
// one: never seen by the daemon, and cached.
func BenchmarkBlobs(b *testing.B) {
	bench := shared.get(b)
	random := rand.New(rand.NewPCG(1, 2))
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			st := manyBlobs(b, bench, random)
			b.StartTimer()
			if err := bench.solve(b, st, engine.Request{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("warm", func(b *testing.B) {
		st := manyBlobs(b, bench, random)
		if err := bench.solve(b, st, engine.Request{}); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if err := bench.solve(b, st, engine.Request{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func manyBlobs(b *testing.B, bench *bench, random *rand.Rand) llb.State {
	b.Helper()
	s := engine.Step{Name: "nothing", Args: []string{"/probe", "nothing"}}
	for i := range 230 {
		s.Mounts = append(s.Mounts, engine.BlobMount(fmt.Sprintf("/in/%d.deb", i), randomBlob(b, bench, random)))
	}
	return s.Run(bench.root).Root()
}

func randomBlob(b *testing.B, bench *bench, random *rand.Rand) ashlar.Digest {
	b.Helper()
	content := make([]byte, 0, 700<<10)
	for len(content) < cap(content) {
		content = fmt.Appendf(content, "%016x", random.Uint64())
	}
	f, err := bench.store.Put(context.Background(), bytes.NewReader(content), "")
	if err != nil {
		b.Fatal(err)
	}
	return f.Digest
}
