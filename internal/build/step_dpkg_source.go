package build

import (
	"fmt"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// dpkgSource plans dpkg/source: unpack a Debian source package. The files were
// checked against the .dsc when the lock was made, so the .dsc's own signature
// is not asked for again.
func dpkgSource(s *catalog.Step) (*Step, error) {
	var with struct {
		File           string `yaml:"file"`
		Path           string `yaml:"path"`
		RemoveOriginal bool   `yaml:"remove-original"`
	}
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	if with.File == "" {
		return nil, fault.New(fault.Invalid, "dpkg/source names no file").At(s.File, s.Line).Fix("set with.file to the .dsc")
	}
	script := "set -eu\numask 022\n"
	if with.Path == "" {
		script += fmt.Sprintf("dpkg-source --no-check -x %s\n", quote(with.File))
	} else {
		script += fmt.Sprintf("dpkg-source --no-check -x %s %s\n", quote(with.File), quote(with.Path))
	}
	if with.RemoveOriginal {
		script += fmt.Sprintf("sed -n '/^Checksums-Sha256:/,/^[^ ]/s/^ [0-9a-f]* [0-9]* //p' %[1]s | xargs -r rm -f\nrm -f %[1]s\n", quote(with.File))
	}
	return &Step{Script: script, Shell: "sh"}, nil
}
