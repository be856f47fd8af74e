package world

import (
	"context"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// maxMatches bounds how many patterns are held against folders.
const maxMatches = 200_000_000

// triggers runs the triggers of all packages, each with the folders that it asks
// for, in apk's order.
func (i *installer) triggers(ctx context.Context) error {
	folders := slices.Clone(i.byAge)
	inTableOrder(folders, func(f *folder) string { return f.path })
	matched := 0
	args := make([][]string, len(i.packages))
	for n, p := range i.packages {
		if len(p.info.Triggers) == 0 {
			continue
		}
		if matched += len(p.info.Triggers) * len(folders); matched > maxMatches {
			return fault.New(fault.Invalid, "package %s: more triggers and folders than can be looked through", p)
		}
		args[n] = matching(p.info.Triggers, folders)
	}
	for n, p := range i.packages {
		if args[n] == nil {
			continue
		}
		if err := i.run(ctx, p, Trigger, triggerOf(p), args[n]); err != nil {
			return fault.Within(err, "package %s", p)
		}
	}
	return nil
}

// matching returns the folders that match one of the patterns, nil if the trigger
// is not to be run. A "+" before a pattern asks only for folders that have changed;
// it has the trigger run even if there is none.
func matching(patterns []string, folders []*folder) []string {
	var args []string
	for _, f := range folders {
		rooted := "/" + f.path
		for _, pattern := range patterns {
			pattern, changed := strings.CutPrefix(pattern, "+")
			if !strings.HasPrefix(pattern, "/") || !matches(pattern, rooted) {
				continue
			}
			if args == nil {
				args = []string{}
			}
			if !changed || f.changed {
				args = append(args, rooted)
			}
			break
		}
	}
	return args
}

// triggerOf returns the trigger script of a package.
func triggerOf(p *installed) []byte {
	for _, s := range p.scripts {
		if s.name == string(Trigger) {
			return s.body
		}
	}
	return nil
}

// sortedPackages returns the packages in the order of the database.
func (i *installer) sortedPackages() []*installed {
	return slices.SortedFunc(slices.Values(i.packages), func(a, b *installed) int {
		if a.Name != b.Name {
			return compareNames(a.Name, b.Name)
		}
		return apk.CompareVersions(a.Version, b.Version)
	})
}
