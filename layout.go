package ashlar

// Where things are inside a build. They are part of the contract with a
// definition, and a build path ends up in debug information, so they never change.
const (
	// SourceDir is ${source.dir}: where sources are placed and dpkg leaves its
	// results. It is the path that Debian's own build daemons use.
	SourceDir = "/build/reproducible-path"
	// TargetDir is ${target.dir}: the root of what a definition assembles by hand.
	TargetDir = "/target"
	// SysrootDir is the root of the apk packages that a build wants beside Debian's.
	SysrootDir = "/sysroot"
	// DebDir is where steps other than dpkg/build leave their .deb files.
	DebDir = "/debian/deb"
)
