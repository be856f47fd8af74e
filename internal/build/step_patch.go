package build

import (
	"fmt"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// patchWith are the parameters of patch and git/patch.
type patchWith struct {
	Patch   string          `yaml:"patch"`
	Patches catalog.Strings `yaml:"patches"`
	Options catalog.Strings `yaml:"options"`
	Dir     string          `yaml:"dir"`
}

// plainPatch plans patch: apply patches to a tree with patch(1), stripping one
// path component unless options say otherwise.
func plainPatch(s *catalog.Step) (*Step, error) {
	return patchStep(s, "-p1", func(options, patch string) string {
		return fmt.Sprintf("patch -t -N --no-backup-if-mismatch %s < %s", options, quote(patch))
	})
}

// gitPatch plans git/patch: apply patches to a tree with git apply.
func gitPatch(s *catalog.Step) (*Step, error) {
	return patchStep(s, "", func(options, patch string) string {
		return fmt.Sprintf("git apply -v %s %s", options, quote(patch))
	})
}

// patchStep plans a step that applies each patch with a command; the first that
// does not apply ends it.
func patchStep(s *catalog.Step, usual string, command func(options, patch string) string) (*Step, error) {
	var with patchWith
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	patches := with.Patches
	if with.Patch != "" {
		patches = append(catalog.Strings{with.Patch}, patches...)
	}
	if len(patches) == 0 {
		return nil, fault.New(fault.Invalid, "%s names no patches", label(s)).At(s.File, s.Line).Fix("list them under with.patches")
	}
	options := usual
	if len(with.Options) > 0 {
		var words []string
		for _, o := range strings.Fields(strings.Join(with.Options, " ")) {
			words = append(words, quote(o))
		}
		options = strings.Join(words, " ")
	}
	script := "set -eu\numask 022\n"
	if with.Dir != "" {
		script += "cd " + quote(with.Dir) + "\n"
	}
	for _, p := range patches {
		script += fmt.Sprintf("echo \"ashlar: applying $(basename %[1]s)\"\n%[2]s || { echo \"ashlar: patch $(basename %[1]s) does not apply\" >&2; exit 1; }\n",
			quote(p), command(options, p))
	}
	return &Step{Script: script, Shell: "sh"}, nil
}
