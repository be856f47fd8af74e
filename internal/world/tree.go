package world

import (
	"path"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A tree is what is in the root, by real path: one that leads through no symbolic
// link. Packages name files by paths that may lead through links of other
// packages, as where /lib is a link to usr/lib; apk follows them, so it is done
// here too, but never out of the root.
type tree map[string]node

// A node is a file, folder or the like.
type node struct {
	kind   apk.Kind
	target string // of a symbolic link
}

// maxHops bounds the links on the way to one file, as Linux does.
const maxHops = 40

// folder returns the real path of a folder, all of which must be there.
func (t tree) folder(p string) (string, error) {
	if n, ok := t[p]; ok && n.kind == apk.Directory {
		return p, nil
	}
	real, hops := "", 0
	for rest := p; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			real = parentOf(real)
			continue
		}
		at := join(real, part)
		n, ok := t[at]
		switch {
		case !ok:
			return "", fault.New(fault.Conflict, "the folder %s is not there", clip(p))
		case n.kind == apk.Directory:
			real = at
		case n.kind != apk.Symlink:
			return "", fault.New(fault.Conflict, "%s is a %s, where a folder should be", clip(at), n.kind)
		default:
			if hops++; hops > maxHops {
				return "", fault.New(fault.Conflict, "%s: too many symbolic links", clip(p))
			}
			if strings.HasPrefix(n.target, "/") {
				real = ""
			}
			rest = n.target + "/" + rest
		}
	}
	return real, nil
}

// place returns the real path at which a file with the given path is, or would be.
func (t tree) place(p string) (string, error) {
	real, err := t.folder(parentOf(p))
	return join(real, path.Base(p)), err
}

// parentOf returns the path of the folder that a file is in, "" for the root.
func parentOf(p string) string { return p[:max(strings.LastIndexByte(p, '/'), 0)] }

// join returns the path of a file in a folder.
func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// clip shortens hostile text for an error message.
func clip(s string) string {
	if len(s) > 200 {
		return s[:197] + "..."
	}
	return s
}
