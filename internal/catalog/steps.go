package catalog

import (
	"regexp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// A StepKind is one kind of step that the format knows.
type StepKind struct {
	Uses  string // "dpkg/build@v1"; "" for a script; for an image its reference
	Does  string // what it does, in a few words
	Built bool   // this program carries it out
	Image bool   // it runs an image
}

// stepKinds is the table of all steps; the script comes first. A step becomes
// available by setting Built here and adding its file in internal/build.
var stepKinds = []StepKind{
	{Does: "run a shell script", Built: true},
	{Uses: "abuild/apk@v1", Does: "write the recipe of a new Alpine package", Built: true},
	{Uses: "abuild/build@v1", Does: "build an Alpine package", Built: true},
	{Uses: "abuild/bump@v1", Does: "change version and names of an Alpine package", Built: true},
	{Uses: "abuild/disable@v1", Does: "turn a function of an Alpine package off", Built: true},
	{Uses: "abuild/setup@v1", Does: "prepare for building Alpine packages", Built: true},
	{Uses: "abuild/source@v1", Does: "add a source to an Alpine package", Built: true},
	{Uses: "abuild/upload@v1", Does: "hand over an Alpine package", Built: true},
	{Uses: "cosign/verify-blob@v1", Does: "check a file's signature with cosign"},
	{Uses: "deb/build@v1", Does: "pack a Debian package from a control file"},
	{Uses: "deb/install@v1", Does: "install a Debian package"},
	{Uses: packStep, Does: "pack a tree as apk and Debian packages", Built: true},
	{Uses: "dpkg/build@v1", Does: "build a Debian source package", Built: true},
	{Uses: "dpkg/bump@v1", Does: "add a version to a Debian changelog", Built: true},
	{Uses: "dpkg/extract@v1", Does: "unpack a Debian package"},
	{Uses: "dpkg/patch@v1", Does: "add patches to a Debian series", Built: true},
	{Uses: "dpkg/source@v1", Does: "unpack a Debian source package", Built: true},
	{Uses: "dpkg/upload@v1", Does: "hand over a Debian package"},
	{Uses: "git/checkout@v1", Does: "check out a commit and compare it"},
	{Uses: "git/patch@v1", Does: "apply a patch to a Git tree", Built: true},
	{Uses: "go/build@v1", Does: "build a Go program"},
	{Uses: "go/bump@v1", Does: "raise Go dependencies"},
	{Uses: "go/bump@v2", Does: "raise Go dependencies"},
	{Uses: "go/hermetic@v1", Does: "fetch Go modules"},
	{Uses: "gpg/verify@v1", Does: "check a file's OpenPGP signature"},
	{Uses: "gradle/mirror@v1", Does: "point Gradle to a mirror"},
	{Uses: "helm/annotations@v1", Does: "annotate a chart"},
	{Uses: "helm/cmd@v1", Does: "run a Helm command"},
	{Uses: "helm/login@v1", Does: "log in to a chart registry"},
	{Uses: "helm/logout@v1", Does: "log out of a chart registry"},
	{Uses: "helm/package@v1", Does: "pack a chart"},
	{Uses: "helm/rudder@v1", Does: "prepare a chart for packing"},
	{Uses: "mvn/mirror@v1", Does: "point Maven to a mirror"},
	{Uses: "mvn/patch@v1", Does: "raise Maven dependencies"},
	{Uses: "npm/bump@v1", Does: "raise npm dependencies with overrides"},
	{Uses: "npm/patch@v1", Does: "raise npm dependencies"},
	{Uses: "patch@v1", Does: "apply patches to files", Built: true},
	{Uses: "sbom@v1", Does: "make an SBOM of a tree"},
	{Uses: "spdx@v1", Does: "write an SPDX document"},
	{Uses: "strip@v1", Does: "strip binaries"},
	{Uses: "yarn/bump@v1", Does: "raise Yarn dependencies everywhere"},
	{Uses: "yarn/bump@v2", Does: "raise Yarn dependencies by path"},
	{Uses: "yarn/patch@v1", Does: "raise Yarn dependencies"},
	{Uses: "yq/patch@v1", Does: "change a YAML file"},
}

// packStep is the one image that this program stands in for.
const packStep = "dhi/build-pkg:0"

// Packs reports whether a step packs what the steps before it left in
// ${target.dir}.
func Packs(uses string) bool { return uses == packStep }

// An image reference has a tag or a digest and, unlike a step, no version "@v1".
var imageForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._:/-]*(:[A-Za-z0-9_][A-Za-z0-9._-]*|@sha256:[0-9a-f]{64})$`)

// Steps returns the table of all named kinds of step, sorted by Uses.
func Steps() []StepKind { return append([]StepKind(nil), stepKinds[1:]...) }

// Known returns the kind of step that a "uses" names, "" being a script, and
// whether the format knows it. An image reference is known, as an image.
func Known(uses string) (StepKind, bool) {
	for _, k := range stepKinds {
		if k.Uses == uses {
			return k, true
		}
	}
	if imageForm.MatchString(uses) {
		return StepKind{Uses: uses, Does: "run an image", Image: true}, true
	}
	return StepKind{}, false
}

// Supported returns nil if this program carries the step out, and an error that
// names the step and its place if not.
func (s Step) Supported() error {
	kind, known := Known(s.Uses)
	switch {
	case !known:
		return s.errorf("unknown step %q", s.Uses).Fix("%s", oneOf(s.Uses, stepNames()))
	case kind.Image && !kind.Built:
		return fault.New(fault.Invalid, "step %s runs an image, which is not built yet", s.Uses).At(s.File, s.Line)
	case !kind.Built:
		return fault.New(fault.Invalid, "step %s is not built yet", s.Uses).At(s.File, s.Line)
	case s.RunAs != "":
		return fault.New(fault.Invalid, "run-as of a step is not supported yet").At(s.File, s.Line).
			Fix("change the user in the step itself, with setpriv or su")
	}
	return nil
}

func stepNames() []string {
	var names []string
	for _, k := range Steps() {
		names = append(names, k.Uses)
	}
	return names
}
