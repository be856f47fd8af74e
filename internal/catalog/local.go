package catalog

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// The limits of what lies beside a definition.
const (
	maxLocalSize  = 64 << 20 // bytes of one file
	maxLocalFiles = 10_000   // files of one folder
)

// OpenLocal opens the regular file at a path relative to the catalog's root, as
// the source of a path entry names it. It refuses what leads out of the root and
// files of more than 64 MiB. The caller closes it.
func (d *Definition) OpenLocal(name string) (*os.File, error) {
	r, err := os.OpenRoot(d.root)
	if err != nil {
		return nil, fault.New(fault.NotFound, "cannot open the catalog: %w", err)
	}
	defer r.Close()
	return openRegular(r, d.root, name, maxLocalSize)
}

// LocalFiles returns the paths, relative to the catalog's root and sorted, of
// the regular files at or below a path. It refuses links and devices, and more
// than 10,000 files.
func (d *Definition) LocalFiles(name string) ([]string, error) {
	if !fs.ValidPath(name) {
		return nil, fault.New(fault.Invalid, "%q is no path within the catalog", name).
			Fix("write it relative to the catalog's root, without \"..\"")
	}
	r, err := os.OpenRoot(d.root)
	if err != nil {
		return nil, fault.New(fault.NotFound, "cannot open the catalog: %w", err)
	}
	defer r.Close()
	var files []string
	err = fs.WalkDir(r.FS(), name, func(p string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fault.New(fault.NotFound, "cannot read: %w", err).At(filepath.Join(d.root, p), 0)
		case e.IsDir():
			return nil
		case !e.Type().IsRegular():
			return fault.New(fault.Invalid, "not a regular file").At(filepath.Join(d.root, p), 0).
				Fix("keep plain files below %s", path.Dir(p))
		case len(files) >= maxLocalFiles:
			return fault.New(fault.Invalid, "more than %d files", maxLocalFiles).At(filepath.Join(d.root, name), 0)
		}
		files = append(files, p)
		return nil
	})
	return files, err
}
