package work

import (
	"path"
	"path/filepath"
	"slices"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// WithNeeds returns the definitions with those beside them that make packages which
// they are built with or which their packages depend on, and what those need in
// turn. A definition lies beside another if both are for one distribution, in one
// folder of sources: package/apk/main/*/musl-1. What cannot be read is left out.
func WithNeeds(refs []Ref, arch ashlar.Arch) ([]Ref, error) {
	all := slices.Clone(refs)
	known := map[string]map[string]Ref{} // by pattern
	for i := 0; i < len(all); i++ {      // it grows
		def, err := expand(all[i], arch)
		if err != nil {
			continue
		}
		pattern := beside(all[i])
		makers, ok := known[pattern]
		if !ok {
			if makers, err = makersOf(all[i].Root, pattern, arch); err != nil {
				return nil, err
			}
			known[pattern] = makers
		}
		n := ownNames(def)
		for _, name := range append(n.wants, n.needs...) {
			if maker, ok := makers[name]; ok && !slices.Contains(all, maker) {
				all = append(all, maker)
			}
		}
	}
	return all, nil
}

// beside returns the pattern of the definitions beside one.
func beside(ref Ref) string {
	version := path.Dir(ref.Path) // package/apk/main/curl/musl-1
	return filepath.Join(ref.Root, filepath.FromSlash(path.Dir(path.Dir(version))), "*", path.Base(version), "*.yaml")
}

// makersOf returns definitions by the names of what they make.
func makersOf(root, pattern string, arch ashlar.Arch) (map[string]Ref, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	makers := map[string]Ref{}
	for _, file := range files {
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return nil, fault.New(fault.Internal, "%w", err)
		}
		ref := Ref{Root: root, Path: filepath.ToSlash(rel)}
		def, err := expand(ref, arch)
		if err != nil {
			continue
		}
		for _, name := range ownNames(def).makes {
			makers[name] = ref
		}
	}
	return makers, nil
}
