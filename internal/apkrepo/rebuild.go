package apkrepo

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/shelf"
)

// Rebuild makes both indexes of an architecture again out of the files that were
// published: of each source the highest version that was not withdrawn. Nothing of
// the live indexes is used, so it repairs what was damaged. Every package is
// checked against the digest that it was published with.
func (r *Repo) Rebuild(ctx context.Context, to Target, arch string, now time.Time) (*Published, error) {
	if err := to.check(); err != nil {
		return nil, err
	}
	if err := checkArch(arch); err != nil {
		return nil, err
	}
	var done *Published
	err := r.write(ctx, to, func(d *durable.Batch) error {
		g, err := r.readGeneration(to)
		if err != nil {
			return err
		}
		sets, err := r.everPublished(ctx, to, arch)
		if err != nil {
			return err
		}
		if len(sets) == 0 {
			return fault.New(fault.NotFound, "nothing was ever published in %s for %s", to, arch)
		}
		u, err := r.newUpdate(to, &generation{}, arch)
		if err != nil {
			return err
		}
		for _, s := range sets {
			u.sets[s.origin] = s
		}
		if err := u.check(); err != nil {
			return err
		}
		done, err = r.goOn(ctx, d, to, g, map[string]*update{arch: u}, now)
		return err
	})
	return done, err
}

// everPublished reads the newest published set of every source, by the records.
func (r *Repo) everPublished(ctx context.Context, to Target, arch string) ([]*set, error) {
	dir := filepath.Join(r.cfg.Root, to.dir(), setsDir, arch)
	origins, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var sets []*set
	for _, o := range origins {
		rec, ok, err := newestRecord(filepath.Join(dir, o.Name()))
		if err != nil {
			return nil, err
		}
		if ok {
			sets = append(sets, setOf(rec))
		}
	}
	return sets, r.readPublished(ctx, filepath.Join(r.cfg.Root, to.dir(), arch), sets)
}

// newestRecord returns the record of the highest version of a source that was not
// withdrawn.
func newestRecord(dir string) (record, bool, error) {
	known, err := versions(dir)
	if err != nil {
		return record{}, false, err
	}
	for _, v := range slices.Backward(known) {
		rec, err := readRecord(filepath.Join(dir, v+recordSuffix))
		if err != nil || rec.Withdrawn == "" {
			return rec, err == nil, err
		}
	}
	return record{}, false, nil
}

// setOf returns the set of a record, its packages not yet read.
func setOf(rec record) *set {
	s := &set{SourceSet: SourceSet{Arch: rec.Arch}, origin: rec.Origin, version: rec.Version}
	for _, p := range rec.Packages {
		s.Packages = append(s.Packages, p.File)
	}
	s.packages = make([]*binary, len(s.Packages))
	return s
}

// readPublished reads the heads of all packages of the sets from their folder,
// several at a time.
func (r *Repo) readPublished(ctx context.Context, dir string, sets []*set) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(shelf.Workers())
	for _, s := range sets {
		for i, f := range s.Packages {
			g.Go(func() (err error) {
				if err := ctx.Err(); err != nil {
					return err
				}
				s.packages[i], err = readHead(filepath.Join(dir, f.Name), f)
				return err
			})
		}
	}
	return g.Wait()
}

// readHead reads what an index needs of a package that was published, after
// checking its digest.
func readHead(name string, f ashlar.File) (*binary, error) {
	content, err := shelf.OpenFile(name)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	checked, err := shelf.Checked(content, f)
	if err != nil {
		return nil, apk.InFile(err, name)
	}
	return scan(checked, f, Keys{}, false)
}
