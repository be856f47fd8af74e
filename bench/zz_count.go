package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/resolve"
	"github.com/ashlar-project/ashlar/internal/source"
)

func main() {
	ctx := context.Background()
	dir := os.Args[1]
	m, _ := source.MirrorsFromApt()
	st, _ := blob.NewDir(dir)
	f := &source.Fetcher{Mirrors: m, Store: st}
	a := archive.Open(archive.Config{Fetcher: f, Dir: filepath.Join(dir, "indexes"), MaxAge: 24 * time.Hour})
	now := time.Now()
	for _, suite := range []string{"bookworm", "trixie"} {
		t := ashlar.Target{Distro: ashlar.DistroOfCodename(suite), Arch: "amd64"}
		u, err := a.Universe(ctx, t, now)
		if err != nil {
			panic(err)
		}
		count := func(names ...string) {
			req := resolve.Request{Arch: "amd64"}
			for _, n := range names {
				r, err := a.Sources(ctx, suite, n, now)
				if err != nil {
					fmt.Println(n, err)
					return
				}
				req.AddSource(r[0].Package, nil)
			}
			s, err := resolve.SolveRoot(u, req)
			if err != nil {
				fmt.Println(names, err)
				return
			}
			fmt.Print(suite, names, len(s.All()))
			for _, l := range s.Layers {
				fmt.Print(" ", l.Name, len(l.Packages))
			}
			var size int64
			for _, p := range s.All() {
				size += p.Size
			}
			fmt.Println(" MB", size>>20)
		}
		count("bzip2", "jq", "expat")
		count("bzip2")
		count("jq")
		count("expat")
		for _, n := range []string{"curl", "redis", "tiff", "libpng1.6", "sqlite3", "openssl", "bash", "xz-utils", "zlib", "gzip", "tar", "sed", "nginx", "libzstd", "busybox", "git", "haproxy", "pcre2", "libarchive", "nghttp2"} {
			count(n)
		}
	}
}
