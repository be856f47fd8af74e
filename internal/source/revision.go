package source

import (
	"context"
	"os/exec"
	"strings"
)

// A Revision is the state of a folder under git.
type Revision struct {
	URI    string // public address of the origin, "" if it has none
	Commit string // full id, "" if the folder is under no version control
	Dirty  bool   // something below the folder differs from the commit
}

// RevisionOf returns the revision of a folder; the zero value if git is not
// there or the folder is not under it.
func RevisionOf(ctx context.Context, dir string) Revision {
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	r := Revision{Commit: git("rev-parse", "--verify", "-q", "HEAD")}
	if r.Commit == "" {
		return Revision{}
	}
	if uri := git("config", "--get", "remote.origin.url"); strings.HasPrefix(uri, "https://") {
		r.URI = uri // a path or an account of this machine would say nothing to others
	}
	r.Dirty = git("status", "--porcelain", "--", ".") != ""
	return r
}
