package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/work"
)

// definitions returns the definition files that the arguments name: files as
// they are, folders with every .yaml below them. Each comes with the root of its
// catalog: --catalog, or the folder that holds package/, image/ or chart/.
func (a *app) definitions(args []string) ([]work.Ref, error) {
	var refs []work.Ref
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, fault.New(fault.NotFound, "no such definition or folder").At(arg, 0).Fix("name a .yaml file or a folder of them")
		}
		files := []string{arg}
		if info.IsDir() {
			if files, err = definitionsBelow(arg); err != nil {
				return nil, err
			}
		}
		for _, f := range files {
			refs = append(refs, a.ref(f))
		}
	}
	if len(refs) == 0 {
		return nil, fault.New(fault.NotFound, "no definition found in %s", strings.Join(args, " ")).Fix("definitions are .yaml files below package/, image/ or chart/")
	}
	return refs, nil
}

// definitionsBelow returns the definition files below a folder, sorted. Files
// that describe rather than define (info.yaml) are left out, as is testdata.
func definitionsBelow(dir string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && p != dir && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return filepath.SkipDir
		case !d.IsDir() && filepath.Ext(p) == ".yaml" && d.Name() != "info.yaml":
			files = append(files, p)
		}
		return nil
	})
	if err != nil {
		return nil, fault.New(fault.Invalid, "%w", err).At(dir, 0)
	}
	slices.Sort(files)
	return files, nil
}

// ref splits a path into the root of its catalog and the rest.
func (a *app) ref(file string) work.Ref {
	root := a.flags.catalog
	if root == "" {
		root = catalogRoot(file)
	}
	absRoot, errRoot := filepath.Abs(root)
	absFile, errFile := filepath.Abs(file)
	if errRoot == nil && errFile == nil {
		if rel, err := filepath.Rel(absRoot, absFile); err == nil && filepath.IsLocal(rel) {
			return work.Ref{Root: root, Path: filepath.ToSlash(rel)}
		}
	}
	return work.Ref{Root: filepath.Dir(file), Path: filepath.Base(file)}
}

// catalogRoot returns the folder that holds the outermost package/, image/ or
// chart/ of a path, or the file's own folder.
func catalogRoot(file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return filepath.Dir(file)
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		switch filepath.Base(dir) {
		case "package", "image", "chart":
			if up := filepath.Base(filepath.Dir(dir)); up != "package" && up != "image" && up != "chart" {
				root := filepath.Dir(dir)
				if filepath.IsAbs(file) {
					return root
				}
				if root, err = filepath.Rel(mustWD(), root); err != nil {
					return filepath.Dir(dir)
				}
				return root
			}
		}
		if dir == filepath.Dir(dir) {
			return filepath.Dir(file)
		}
	}
}

// mustWD returns the working folder, or "/" if it cannot be told.
func mustWD() string {
	wd, err := os.Getwd()
	if err != nil {
		return "/"
	}
	return wd
}
