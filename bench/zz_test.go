package main

import (
	"context"
	"os"
	"testing"

	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/work"
)

func TestZZ(t *testing.T) {
	os.Chdir("..")
	ctx := context.Background()
	l, err := newLab(options{reps: 1, state: "/tmp/bx/st", scratch: "/tmp/bx/s", exe: "/tmp/bx/ashlar"})
	if err != nil {
		t.Fatal(err)
	}
	shop, err := l.shop(l.state)
	if err != nil {
		t.Fatal(err)
	}
	p, err := shop.Plan(ctx, work.Ref{Root: "catalog", Path: "package/deb/main/bzip2/debian-12/1.yaml"}, work.BuildOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.runner(ctx, shop)
	if err != nil {
		t.Fatal(err)
	}
	st, err := r.Root(ctx, p.Plan.Builds[0].Root)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Engine.Solve(ctx, st, engine.Request{Blobs: shop.Store, Out: "/tmp/bx/root"}); err != nil {
		t.Fatal(err)
	}
}
