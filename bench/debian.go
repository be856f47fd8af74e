package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/archive"
	"github.com/ashlar-project/ashlar/internal/work"
)

// debian builds sources of bookworm without a new version and compares the
// packages with those that Debian published.
func debian(ctx context.Context, l *lab) (*section, error) {
	dir := l.path("debian")
	shop, err := l.shop(dir)
	if err != nil {
		return nil, err
	}
	defer shop.Close()
	s := &section{
		Text: "Sources of bookworm built as they are, without a version change, and each package compared with the SHA-256 that Debian's\n" +
			"signed index has for that name and version. It shows that build roots and steps are right; debug packages are not in the\n" +
			"main archive and are left out.",
	}
	var b strings.Builder
	b.WriteString("| package | SHA-256 here | bit-identical to Debian's |\n|---|---|---|\n")
	for _, r := range []recipe{
		{suite: "bookworm", name: "expat", wants: []string{"expat"}, build: true},
		{suite: "bookworm", name: "xz-utils", wants: []string{"xz-utils"}, build: true},
		{suite: "bookworm", name: "redis", wants: []string{"redis"}, build: true, options: "nocheck"},
	} {
		if !strings.Contains(r.name, l.only) {
			continue
		}
		l.logf("debian: %s", r.name)
		list, err := l.buildAsDebian(ctx, shop, r)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		same := 0
		for _, c := range list {
			if c.same {
				same++
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", c.file.Name, c.file.Digest.Short(), c.says)
		}
		s.Rows = append(s.Rows, row{
			Figure: r.name, Asked: "all bit-identical", Seen: fmt.Sprintf("%d of %d", same, len(list)),
			Yardstick: "Debian's .debs", Met: same == len(list) && same > 0,
		})
	}
	s.More = b.String()
	return s, nil
}

// A compared is a package beside Debian's of the same name and version.
type compared struct {
	file ashlar.File
	same bool
	says string
}

// buildAsDebian builds a source and compares its packages.
func (l *lab) buildAsDebian(ctx context.Context, shop *work.Shop, r recipe) ([]compared, error) {
	ref, err := r.write(shop.Dir)
	if err != nil {
		return nil, err
	}
	p, err := shop.Plan(ctx, ref, work.BuildOptions{})
	if err != nil {
		return nil, err
	}
	runner, err := l.runner(ctx, shop)
	if err != nil {
		return nil, err
	}
	defer runner.Engine.Close()
	res, err := runner.Run(ctx, p.Plan)
	if err != nil {
		return nil, err
	}
	universe, err := shop.Archive.Universe(ctx, res.Target, shop.Now())
	if err != nil {
		return nil, err
	}
	var list []compared
	for _, f := range res.Debs() {
		if strings.Contains(f.Name, "-dbgsym_") {
			continue
		}
		theirs, err := published(universe, f.Name)
		if err != nil {
			return nil, err
		}
		c := compared{file: f, same: theirs == f.Digest, says: "yes"}
		switch {
		case theirs == "":
			c.says = "not in the index"
		case !c.same:
			c.says = "**no**: " + theirs.Short()
		}
		list = append(list, c)
	}
	return list, nil
}

// published returns the digest of the package that the archive has under a file
// name, "" if there is none.
func published(u *archive.Universe, file string) (ashlar.Digest, error) {
	name, _, _ := strings.Cut(file, "_")
	versions, err := u.Versions(name)
	if err != nil {
		return "", err
	}
	for _, p := range versions {
		if ashlar.DebFileName(p.Name, p.Version, p.Arch) == file || filepath.Base(p.Filename) == file {
			return p.SHA256, nil
		}
	}
	return "", nil
}
