package resolve

import (
	"context"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/source"
)

const (
	fetchesAtOnce = 12 // packages fetched at a time
	maxRounds     = 50 // solvings because the pool lacks packages
)

// Settle solves and fetches until every package of the solution is in the store.
// A package that the pool turns out not to have is added to gone, which the
// requests that solve makes must have as their Unavailable, and then it solves
// again. The error is fault.Unavailable if it is the pool's incompleteness that
// stands in the way of a solution; other errors are those of solve and of
// fetching.
func (w World) Settle(ctx context.Context, gone map[ID]bool, solve func() ([]*deb.Package, error)) error {
	for range maxRounds {
		pkgs, err := solve()
		if err != nil {
			return explain(err, gone)
		}
		missing, err := w.fetchPackages(ctx, pkgs)
		if err != nil || len(missing) == 0 {
			return err
		}
		for _, p := range missing {
			gone[idOf(p)] = true
		}
	}
	return fault.New(fault.Unavailable, "the pool still lacks packages after %d solvings", maxRounds).
		Fix("try again when the mirror is complete")
}

// explain says so when a request cannot be fulfilled because of what the pool
// does not have.
func explain(err error, gone map[ID]bool) error {
	if len(gone) == 0 || !fault.Is(err, fault.Conflict) {
		return err
	}
	return fault.New(fault.Unavailable, "%w; in the index but not in the pool: %s", err, strings.Join(idNames(gone), ", ")).
		Fix("try again when the mirror is complete, or use another mirror")
}

// idNames returns "name version" of packages, sorted.
func idNames(ids map[ID]bool) []string {
	var list []string
	for id := range ids {
		list = append(list, id.Name+" "+id.Version)
	}
	slices.Sort(list)
	return list
}

// fetchPackages brings packages into the store and returns those that the pool
// does not have, sorted as given.
func (w World) fetchPackages(ctx context.Context, pkgs []*deb.Package) (missing []*deb.Package, err error) {
	if w.PlanOnly {
		return nil, nil
	}
	var mu sync.Mutex
	gone := map[*deb.Package]bool{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fetchesAtOnce)
	for _, p := range pkgs {
		g.Go(func() error {
			_, err := w.Fetcher.Fetch(ctx, source.Request{URI: w.PackageURI(p), Name: p.Name, Digest: p.SHA256, Size: p.Size})
			if fault.Is(err, fault.NotFound) {
				mu.Lock()
				defer mu.Unlock()
				gone[p] = true
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(pkgs), func(p *deb.Package) bool { return !gone[p] }), nil
}
