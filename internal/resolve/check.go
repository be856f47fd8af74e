package resolve

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// Check makes a committed lock usable: it brings every file that the lock names
// and the store does not have, in parallel and checked against its digest. It
// returns nil if all are there then. The error is fault.Unavailable if some can
// no longer be had, and names them: then the lock must be made again. Of the
// world it uses Fetcher and Store. Files beside the definition are read through
// def, which may be nil when they are in the store.
func Check(ctx context.Context, lock *ashlar.Lock, def *catalog.Expanded, w World) error {
	c := &checker{World: w, def: def, from: map[string][]ashlar.Material{}}
	for _, b := range lock.Inputs.Builds {
		for _, s := range b.Sources {
			if len(s.From) > 0 {
				c.from[s.URI] = s.From
			}
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchesAtOnce)
	var derived []ashlar.Material // taken out of other files, so after those
	for _, m := range lock.Materials() {
		if _, err := w.Store.Stat(ctx, m.Digest); err == nil {
			continue
		}
		if c.from[m.URI] != nil {
			derived = append(derived, m)
			continue
		}
		g.Go(func() error { return c.bring(gctx, m) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, m := range derived {
		if err := c.derive(ctx, m); err != nil {
			return err
		}
	}
	return c.verdict()
}

// checker is the state of one Check.
type checker struct {
	World
	def  *catalog.Expanded
	from map[string][]ashlar.Material // by URI: what a patch by reference is taken from

	mu   sync.Mutex
	gone []string
}

// bring fetches one file. One that does not exist any more is remembered; other
// errors end the check.
func (c *checker) bring(ctx context.Context, m ashlar.Material) error {
	if name, ok := strings.CutPrefix(m.URI, localScheme); ok {
		return c.bringLocal(ctx, name, m)
	}
	if strings.HasPrefix(m.URI, ownScheme) { // built here or nowhere
		c.lost(m.URI)
		return nil
	}
	_, err := c.Fetcher.Fetch(ctx, requestOf(m))
	if fault.Is(err, fault.NotFound) {
		c.lost(m.URI)
		return nil
	}
	return err
}

func (c *checker) bringLocal(ctx context.Context, name string, m ashlar.Material) error {
	if c.def == nil {
		c.lost(m.URI)
		return nil
	}
	f, err := c.def.Definition.OpenLocal(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := c.Store.Put(ctx, f, m.Digest); err != nil {
		return fault.New(fault.Conflict, "the file is not the one that the lock pins: %w", err).At(name, 0).Fix("make the lock again")
	}
	return nil
}

// derive takes a patch by reference out of its source package again.
func (c *checker) derive(ctx context.Context, m ashlar.Material) error {
	from := c.from[m.URI]
	if slices.ContainsFunc(from, func(f ashlar.Material) bool { return slices.Contains(c.gone, f.URI) }) {
		c.lost(m.URI)
		return nil
	}
	d, err := ParseDebSrc(m.URI)
	if err != nil {
		return err
	}
	content, err := extract(ctx, c.Store, d, from)
	if err != nil {
		return err
	}
	file, err := c.Store.Put(ctx, bytes.NewReader(content), "")
	if err != nil {
		return err
	}
	if file.Digest != m.Digest {
		return fault.New(fault.Invalid, "%s: the file has %s, the lock pins %s", m.URI, file.Digest, m.Digest).Fix("make the lock again")
	}
	return nil
}

func (c *checker) lost(uri string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = append(c.gone, uri)
}

// verdict returns the error for files that can no longer be had.
func (c *checker) verdict() error {
	if len(c.gone) == 0 {
		return nil
	}
	slices.Sort(c.gone)
	shown := c.gone[:min(len(c.gone), 5)]
	return fault.New(fault.NotFound, "%d files of the lock are neither kept nor on a mirror any more: %s", len(c.gone), strings.Join(shown, ", ")).
		Fix("make the lock again")
}
