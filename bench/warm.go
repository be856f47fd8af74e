package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/work"
)

// catalogRefs returns the definitions of the catalog for a distro that -only
// lets through, sorted by path.
func (l *lab) catalogRefs(distro ashlar.Distro) ([]work.Ref, error) {
	files, err := filepath.Glob(filepath.Join("catalog/package/*/main/*", string(distro), "*.yaml"))
	if err != nil {
		return nil, err
	}
	var refs []work.Ref
	for _, f := range files {
		if path := strings.TrimPrefix(filepath.ToSlash(f), "catalog/"); filepath.Base(f) != "info.yaml" && strings.Contains(path, l.only) {
			refs = append(refs, work.Ref{Root: "catalog", Path: path})
		}
	}
	return refs, nil
}

// sourceName returns the source package that a definition is filed under, with the
// world that it is built for unless that is bookworm.
func sourceName(r work.Ref) string {
	words := strings.Split(r.Path, "/")
	if words[4] == "debian-12" {
		return words[3]
	}
	return words[3] + "@" + words[4]
}

// known returns the definitions whose result the shop has as they are now.
func known(ctx context.Context, s *work.Shop, refs []work.Ref) ([]work.Ref, error) {
	var out []work.Ref
	for _, ref := range refs {
		target := ashlar.Target{Distro: ashlar.Distro(strings.Split(ref.Path, "/")[4]), Arch: "amd64"}
		r, err := s.Latest(ref, target.Arch)
		if err != nil {
			continue
		}
		p, err := s.Plan(ctx, ref, work.BuildOptions{})
		if err != nil {
			return nil, err
		}
		if p.Plan.Key() == r.Result.Key {
			out = append(out, ref)
		}
	}
	return out, nil
}

// warm times builds of definitions to which nothing changed.
func warm(ctx context.Context, l *lab) (*section, error) {
	if _, err := os.Stat(l.state); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no state folder %s; build the catalog first: make catalog", l.state)
	}
	shop, err := l.shop(l.state)
	if err != nil {
		return nil, err
	}
	defer shop.Close()
	refs, err := l.catalogRefs("debian-12")
	if err != nil {
		return nil, err
	}
	built, err := known(ctx, shop, refs)
	if err != nil {
		return nil, err
	}
	if len(built) == 0 {
		return nil, fmt.Errorf("none of %d definitions is built in %s; run: make catalog", len(refs), l.state)
	}
	each := make([]times, len(built))
	var together times
	for range l.reps {
		for i, ref := range built {
			if err := each[i].add(func() error { return l.unchanged(ctx, ref) }); err != nil {
				return nil, err
			}
		}
		if err := together.add(func() error { return l.unchanged(ctx, built...) }); err != nil {
			return nil, err
		}
	}
	slowest := 0
	var list []string
	for i, t := range each {
		list = append(list, fmt.Sprintf("%s %d ms", sourceName(built[i]), t.median().Milliseconds()))
		if t.median() > each[slowest].median() {
			slowest = i
		}
	}
	return &section{
		Text: "`ashlar build` of definitions that are built already: parse and expand, find the lock and that all its files are there,\n" +
			"plan, compare the build key. The whole process is timed. There is no yardstick; the limits are what a person calls at once.",
		Rows: []row{
			within("the slowest definition: "+sourceName(built[slowest]), each[slowest], 500*time.Millisecond),
			within(fmt.Sprintf("%d definitions in one command", len(built)), together, 2*time.Second),
		},
		More: "Medians: " + strings.Join(list, ", ") + ".",
	}, nil
}

// unchanged builds definitions and returns an error unless all were unchanged.
func (l *lab) unchanged(ctx context.Context, refs ...work.Ref) error {
	args := []string{"--state", l.state, "--quiet", "--json", "build"}
	for _, r := range refs {
		args = append(args, r.File())
	}
	c := exec.CommandContext(ctx, l.exe, args...)
	var complaint bytes.Buffer
	c.Stderr = &complaint
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("ashlar build: %w: %s", err, lastLines(complaint.Bytes(), 5))
	}
	var results []struct {
		Definition string
		Cached     bool
	}
	if err := json.Unmarshal(out, &results); err != nil {
		return fmt.Errorf("ashlar build printed no JSON: %w", err)
	}
	for _, r := range results {
		if !r.Cached {
			return fmt.Errorf("%s was built anew: it was not up to date", r.Definition)
		}
	}
	return nil
}
