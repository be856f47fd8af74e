package source

import (
	"context"
	"net/url"
	"os"
	"strings"
)

// A Revision is the state of a folder under git.
type Revision struct {
	URI    string // public address of the origin, "" if it has none
	Commit string // full id, "" if the folder is under no version control
	Dirty  bool   // something below the folder differs from the commit, or it cannot be told
}

// RevisionOf returns the revision of a folder; the zero value if git is not
// there or the folder is not under it. The checkout is hostile: no setting of it
// makes git run a program, and nothing of its origin's address but scheme, host
// and path is returned, since the rest may be a password.
func RevisionOf(ctx context.Context, dir string) Revision {
	git := checkoutGit(ctx, dir)
	commit, err := git("rev-parse", "--verify", "-q", "HEAD")
	if err != nil || commit == "" {
		return Revision{}
	}
	origin, _ := git("config", "--get", "remote.origin.url") // "" on an error
	return Revision{URI: publicAddress(origin), Commit: commit, Dirty: isDirty(git)}
}

// checkoutGit returns a function that runs git on the checkout at dir. What the
// user says still holds, such as whose checkouts are safe to read, unless it is
// about running programs.
func checkoutGit(ctx context.Context, dir string) func(args ...string) (string, error) {
	return func(args ...string) (string, error) {
		cmd := gitCommand(ctx, dir, "", args...)
		for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM"} {
			if v := os.Getenv(name); v != "" {
				cmd.Env = append(cmd.Env, name+"="+v)
			}
		}
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
}

// isDirty reports whether something below the folder differs from the commit. A
// submodule, whose own settings are not looked into, may always differ.
func isDirty(git func(args ...string) (string, error)) bool {
	files, err := git("ls-files", "--stage", "--", ".")
	if err != nil || strings.Contains("\n"+files, "\n160000 ") {
		return true
	}
	// Comparing runs the filters that the checkout names, unless they are empty.
	var noFilters []string
	keys, _ := git("config", "--name-only", "--get-regexp", `^filter\.`) // fails if there are none
	for key := range strings.FieldsFuncSeq(keys, func(r rune) bool { return r == '\n' }) {
		name := key[:strings.LastIndexByte(key, '.')]
		if strings.Contains(name, "=") {
			return true
		}
		noFilters = append(noFilters, "-c", name+".clean=", "-c", name+".process=", "-c", name+".required=false")
	}
	changed, err := git(append(noFilters, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty", "--", ".")...)
	return err != nil || changed != ""
}

// publicAddress returns an https address without user, query and fragment, and
// "" for anything else: a path or an account of this machine would say nothing
// to others.
func publicAddress(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
