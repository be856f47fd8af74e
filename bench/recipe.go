package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/work"
)

// A recipe is a definition made for a measurement.
type recipe struct {
	suite   string   // codename
	name    string   // of the source package, or of the root
	wants   []string // sources whose build dependencies the root has
	build   bool     // unpack the source and build it, without a new version
	options string   // DEB_BUILD_OPTIONS
}

// write writes the definition into a catalog of its own below dir.
func (r recipe) write(dir string) (work.Ref, error) {
	distro := ashlar.DistroOfCodename(r.suite)
	_, release := distro.Split()
	ref := work.Ref{Root: filepath.Join(dir, "catalog"), Path: fmt.Sprintf("package/deb/main/%s/%s/1.yaml", r.name, distro)}
	var b strings.Builder
	fmt.Fprintf(&b, "image: ashlar/bench-%s\nvariant: runtime\ntags: [\"1\"]\nplatforms: [linux/amd64]\ncontents:\n  builds:\n    - name: %s\n", r.name, r.name)
	if r.build {
		b.WriteString("      work-dir: ${source.dir}/${source.name}-${source.upstream-version}\n")
	}
	b.WriteString("      contents:\n        packages:\n")
	for _, w := range r.wants {
		fmt.Fprintf(&b, "          - debsrc://%s/%s\n", r.suite, w)
	}
	if r.build {
		fmt.Fprintf(&b, buildPipeline, r.suite, r.name, r.options)
	} else {
		b.WriteString("      pipeline:\n        - runs: \"true\"\n")
	}
	fmt.Fprintf(&b, "os-release: {name: Debian, id: debian, version-id: %q, version-codename: %s, pretty-name: Debian}\n", release, r.suite)
	if err := os.MkdirAll(filepath.Dir(ref.File()), 0o755); err != nil {
		return ref, err
	}
	return ref, os.WriteFile(ref.File(), []byte(b.String()), 0o644)
}

const buildPipeline = `        files:
          - url: debsrc://%s/%s
            path: ${source.dir}/
      pipeline:
        - uses: dpkg/source@v1
          work-dir: ${source.dir}
          with:
            file: ${source.dsc}
            path: ${source.name}-${source.upstream-version}
        - uses: dpkg/build@v1
          with: {args: -uc -us, options: "%s"}
`
