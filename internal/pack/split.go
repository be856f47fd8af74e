package pack

import (
	"path"
	"slices"
	"strings"
)

// A split says what a package takes out of the main one that has a certain name
// and no files listed: what Alpine's abuild gives to a package of such a name.
type split struct {
	suffix  string // of the name
	what    string // what it has, in words
	anyArch bool
	with    string // apk installs it where this is installed and the main package, too

	globs   []string // of paths; what is below them is taken along
	files   []string // of names of files anywhere below usr and lib
	folders []string // names of folders anywhere
	links   []string // globs of symbolic links
}

// splits are the packages that are known. The globs with a triplet in them are of
// Debian's multiarch folders, the others of both.
var splits = []split{
	{
		suffix: "-dev", what: "development files",
		globs: []string{
			"usr/include", "usr/lib/pkgconfig", "usr/lib/*-linux-*/pkgconfig", "usr/share/pkgconfig", "usr/share/aclocal",
			"usr/share/gettext", "usr/bin/*-config", "usr/share/vala/vapi", "usr/share/gir-[0-9]*", "usr/share/qt*/mkspecs",
			"usr/lib/qt*/mkspecs", "usr/lib/cmake", "usr/lib/*-linux-*/cmake", "usr/share/cmake", "usr/lib/glade/modules",
			"usr/share/glade/catalogs",
		},
		files: []string{"*.a", "*.[cho]", "*.prl"}, folders: []string{"include"},
		links: []string{"lib/*.so", "usr/lib/*.so", "usr/lib/*-linux-*/*.so"},
	},
	{
		suffix: "-doc", what: "documentation", anyArch: true, with: "docs",
		globs: []string{
			"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/html", "usr/share/sgml", "usr/share/licenses",
			"usr/share/gtk-doc", "usr/share/ri", "usr/share/help",
		},
	},
	{suffix: "-static", what: "static library", files: []string{"*.a"}},
	{
		suffix: "-libs", what: "libraries",
		globs: []string{"lib/lib*.so.[0-9]*", "usr/lib/lib*.so.[0-9]*", "usr/lib/*-linux-*/lib*.so.[0-9]*"},
	},
	{suffix: "-dbg", what: "debug symbols", globs: []string{"usr/lib/debug"}},
	{
		suffix: "-openrc", what: "OpenRC init scripts", anyArch: true, with: "openrc",
		globs: []string{"etc/conf.d", "etc/init.d", "etc/user/conf.d", "etc/user/init.d"},
	},
	{suffix: "-systemd", what: "systemd files", anyArch: true, with: "systemd", globs: []string{"usr/lib/systemd"}},
	{suffix: "-udev", what: "udev rules", anyArch: true, with: "udev", globs: []string{"usr/lib/udev"}},
	{
		suffix: "-bash-completion", what: "completions for bash", anyArch: true, with: "bash-completion",
		globs: []string{"usr/share/bash-completion/completions"},
	},
	{
		suffix: "-zsh-completion", what: "completions for zsh", anyArch: true, with: "zsh",
		globs: []string{"usr/share/zsh/site-functions"},
	},
	{
		suffix: "-fish-completion", what: "completions for fish", anyArch: true, with: "fish",
		globs: []string{"usr/share/fish/vendor_completions.d", "usr/share/fish/completions"},
	},
	{suffix: "-devhelp", what: "devhelp files", with: "devhelp", globs: []string{"usr/share/devhelp"}},
	{suffix: "-nftrules", what: "nftables ruleset", anyArch: true, with: "nftables-rulesets", globs: []string{"usr/share/nftables.avail/*.nft"}},
	{suffix: "-lang", what: "languages", anyArch: true, with: "lang", globs: []string{"usr/share/locale"}},
	{suffix: "-pyc", what: "compiled Python", anyArch: true, with: "pyc", folders: []string{"__pycache__"}},
}

// splitOf returns what a package of the given name takes, nil if nothing is known.
func splitOf(name string) *split {
	for i := range splits {
		if strings.HasSuffix(name, splits[i].suffix) && name != splits[i].suffix {
			return &splits[i]
		}
	}
	return nil
}

// splitSuffixes returns the ends of names that mean something.
func splitSuffixes() []string {
	var list []string
	for _, s := range splits {
		list = append(list, s.suffix)
	}
	return list
}

// takes reports whether the split takes a file. Static libraries go to a package
// of their own if there is one; then archives is false.
func (s *split) takes(f *file, archives bool) bool {
	if f.node.kind == symlink && matchesAny(s.links, f.path) {
		return true
	}
	for at := range len(f.path) + 1 {
		if at < len(f.path) && f.path[at] != '/' {
			continue
		}
		if matchesAny(s.globs, f.path[:at]) {
			return true
		}
		if (at < len(f.path) || f.node.kind == directory) && slices.Contains(s.folders, path.Base(f.path[:at])) {
			return true
		}
	}
	base := path.Base(f.path)
	if f.node.kind == directory || !strings.HasPrefix(f.path, "usr/") && !strings.HasPrefix(f.path, "lib/") {
		return false
	}
	return matchesAny(s.files, base) && (archives || !strings.HasSuffix(base, ".a"))
}

// matchesAny reports whether one of the globs matches; "*" does not go beyond a
// slash.
func matchesAny(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		ok, err := path.Match(g, name)
		return ok && err == nil
	})
}
