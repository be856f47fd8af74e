package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/blob"
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

// BenchmarkBlobs measures a step with 230 blobs, about 160 MB, as one folder and
// mounted one by one: never seen by the daemon, and cached.
func BenchmarkBlobs(b *testing.B) {
	bench := shared.get(b)
	random := rand.New(rand.NewPCG(1, 2))
	for name, mount := range map[string]func(*testing.B, *blob.Scratch, []ashlar.File) []engine.Mount{"folder": folderMount, "single": singleMounts} {
		make230 := func() (llb.State, engine.Request) {
			store := blob.NewScratch(bench.store)
			s := engine.Step{Name: "nothing", Args: []string{"/probe", "nothing"}, Mounts: mount(b, store, manyBlobs(b, bench, random))}
			return s.Run(bench.root).Root(), engine.Request{Blobs: store}
		}
		b.Run(name+"/cold", func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				st, r := make230()
				b.StartTimer()
				if err := bench.solve(b, st, r); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/warm", func(b *testing.B) {
			st, r := make230()
			for b.Loop() {
				if err := bench.solve(b, st, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func singleMounts(_ *testing.B, _ *blob.Scratch, files []ashlar.File) []engine.Mount {
	var mounts []engine.Mount
	for _, f := range files {
		mounts = append(mounts, engine.BlobMount("/in/"+f.Name, f.Digest))
	}
	return mounts
}

func folderMount(b *testing.B, store *blob.Scratch, files []ashlar.File) []engine.Mount {
	st, err := engine.Folder(context.Background(), store, engine.Native, files)
	if err != nil {
		b.Fatal(err)
	}
	return []engine.Mount{{Path: "/in", State: st, ReadOnly: true}}
}

func manyBlobs(b *testing.B, bench *bench, random *rand.Rand) []ashlar.File {
	b.Helper()
	files := make([]ashlar.File, 230)
	for i := range files {
		files[i] = ashlar.File{Name: fmt.Sprintf("%d.deb", i), Digest: randomBlob(b, bench, random)}
	}
	return files
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
