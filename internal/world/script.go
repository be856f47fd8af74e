package world

import (
	"context"
	"encoding/hex"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// A ScriptKind says when apk runs a script. Only these three are run in an empty
// root.
type ScriptKind string

// The kinds of script.
const (
	PreInstall  ScriptKind = "pre-install"  // before the first file of its package is there
	PostInstall ScriptKind = "post-install" // when all files of its package are there
	Trigger     ScriptKind = "trigger"      // when all packages are there
)

// A Script is a program of a package, with all that apk would run it with.
//
// apk runs scripts one at a time: the pre-install and the post-install script of a
// package around the laying of its files, package by package in the order of
// installation; and, when all packages are there, triggers in the same order. It
// enters the root (chroot), where the working directory is "/", with umask 022 and
// no input.
type Script struct {
	Package string // its name
	Version string // of the package
	Kind    ScriptKind
	// Body is the program, which begins with "#!" as a rule. It is no file of the root.
	Body []byte
	// Args are the arguments from $1 on: of pre-install and post-install one, the
	// version that is installed; of a trigger the folders that it is to look at, as
	// absolute paths in the root ("/usr/share/icons/hicolor"), at least one unless
	// all its patterns begin with "+". All folders that match count, for all are new.
	Args []string
}

// Name returns what apk calls the script: "busybox-1.36.1-r2.trigger".
func (s *Script) Name() string { return s.Package + "-" + s.Version + "." + string(s.Kind) }

// Arg0 returns the path, relative to the root, at which apk 2.14 puts the script
// for as long as it runs, and 3.0 where it cannot run it from memory.
func (s *Script) Arg0() string { return "lib/apk/exec/" + s.Name() }

// Env returns the whole environment of the script, as apk 3.0 makes it. apk 2.14
// sets PATH alone.
func (s *Script) Env() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "APK_SCRIPT=" + string(s.Kind), "APK_PACKAGE=" + s.Package}
}

// A Runner runs scripts in the root that is being made. An error of Run ends the
// installation. (apk notes that a script failed, goes on, and fails in the end.)
type Runner interface {
	Run(ctx context.Context, s Script) error
}

// A storedScript is a script with its name in apk's words.
type storedScript struct {
	name string
	body []byte
}

// storedScripts returns the scripts that a package has, in the order in which apk
// keeps them.
func storedScripts(s *apk.Scripts) []storedScript {
	var stored []storedScript
	for _, script := range []storedScript{
		{"pre-install", s.PreInstall}, {"post-install", s.PostInstall},
		{"pre-deinstall", s.PreDeinstall}, {"post-deinstall", s.PostDeinstall},
		{"pre-upgrade", s.PreUpgrade}, {"post-upgrade", s.PostUpgrade}, {"trigger", s.Trigger},
	} {
		if script.body != nil {
			stored = append(stored, script)
		}
	}
	return stored
}

// storedName returns the name of a script in apk's archive of scripts.
func storedName(p *Package, script string) string {
	id := p.identity()
	return p.String() + ".X1" + hex.EncodeToString(id[:]) + "." + script
}
