package enginehost

import (
	"runtime/debug"

	bkversion "github.com/moby/buildkit/version"
)

// tellVersion makes BuildKit name the version of its module, which its own
// release process would have linked in, so that provenance can name it too.
func tellVersion() {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, m := range info.Deps {
		if m.Path == bkversion.Package {
			bkversion.Version = m.Version
		}
	}
}
