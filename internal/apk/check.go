package apk

import (
	"bytes"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Bounds on what a package says of itself, in bytes. apk formats what an index
// says of a package in a buffer of 2048, reads a line into one of 128 KiB and
// refuses larger scripts.
const (
	maxHeader   = 1850
	maxLine     = 127 << 10
	maxScript   = 256 << 10
	maxFileName = 255
	maxPriority = 65535
)

// Check returns a fault.Invalid error if apk would refuse the package, or
// misread it: a malformed name, version or dependency (one that was taken from a
// library's .pc file, say), a line break in a text, a number out of range, more
// than apk's buffers hold.
func (i *Info) Check() error {
	if err := i.checkTexts(); err != nil {
		return err
	}
	if err := i.checkNumbers(); err != nil {
		return fault.Within(err, "package %s", clip(i.Name))
	}
	if err := i.checkWords(); err != nil {
		return fault.Within(err, "package %s", clip(i.Name))
	}
	return nil
}

// checkTexts checks name, version and the lines of text.
func (i *Info) checkTexts() error {
	if i.Name == "" || !isAlnum(i.Name[0]) || !only(i.Name, nameChars) {
		return invalid("%q is not a package name", clip(i.Name)).
			Fix("use letters, digits and ._+- and begin with a letter or a digit")
	}
	if err := ValidateVersion(i.Version); err != nil {
		return fault.Within(err, "package %s", clip(i.Name))
	}
	if len(i.Name)+len(i.Version)+len("-.apk") > maxFileName {
		return invalid("package %s: its name is too long for a file name", clip(i.Name))
	}
	if i.Arch == "" || !only(i.Arch, "-_") {
		return invalid("package %s: %q is not an architecture", i.Name, clip(i.Arch))
	}
	total := 0
	for _, text := range []struct{ what, s string }{
		{"name", i.Name}, {"version", i.Version}, {"architecture", i.Arch}, {"description", i.Description}, {"licence", i.License},
		{"origin", i.Origin}, {"maintainer", i.Maintainer}, {"packager", i.Packager}, {"address", i.URL}, {"commit", i.Commit},
	} {
		if hasControl(text.s) {
			return invalid("package %s: the %s has a line break or another control character", i.Name, text.what)
		}
		total += len(text.s)
	}
	if total > maxHeader {
		return invalid("package %s: description and other texts have more than %d bytes together, which apk cannot hold", i.Name, maxHeader).
			Fix("shorten the description")
	}
	return checkCommit(i)
}

// checkCommit wants a whole commit identity, as v3 holds it in binary form.
func checkCommit(i *Info) error {
	hash := strings.TrimSuffix(i.Commit, "-dirty")
	if hash != "" && (len(hash) != 40 || span(hash, isHex) != 40) {
		return invalid("package %s: commit %q is not of 40 hexadecimal digits", i.Name, clip(i.Commit))
	}
	return nil
}

func (i *Info) checkNumbers() error {
	switch {
	case i.BuildTime < 0:
		return invalid("the build time is before 1970")
	case i.InstalledSize < 0:
		return invalid("the installed size is negative")
	case i.ProviderPriority < 0 || i.ProviderPriority > maxPriority, i.ReplacesPriority < 0 || i.ReplacesPriority > maxPriority:
		return invalid("a priority is not between 0 and %d", maxPriority)
	case i.Layer < 0 || i.Layer > 1:
		return invalid("layer %d is neither 0 nor 1", i.Layer)
	}
	return nil
}

// checkWords checks the lists.
func (i *Info) checkWords() error {
	for _, list := range []struct {
		what string
		deps []Dependency
		kind wordKind
	}{
		{"depends", i.Depends, anyWord}, {"provides", i.Provides, provided}, {"replaces", i.Replaces, positive},
		{"install_if", i.InstallIf, anyWord}, {"recommends", i.Recommends, anyWord},
	} {
		if err := checkDependencies(list.deps, list.kind); err != nil {
			return fault.Within(err, "%s", list.what)
		}
	}
	for _, tag := range i.Tags {
		if tag == "" || !only(tag, nameChars+",:/[]=") {
			return invalid("tag %q is malformed", clip(tag))
		}
	}
	line := 0
	for _, trigger := range i.Triggers {
		if line += len(trigger) + 1; line > maxLine {
			return invalid("the triggers are longer than apk can hold")
		}
		if !strings.HasPrefix(strings.TrimPrefix(trigger, "+"), "/") || hasControl(trigger) || strings.Contains(trigger, " ") {
			return invalid("trigger %q is not an absolute path without blanks", clip(trigger))
		}
	}
	return nil
}

// A wordKind says what a list of dependencies may hold.
type wordKind uint8

const (
	anyWord  wordKind = iota
	positive          // no conflicts
	provided          // no conflicts, and only "=" before a version
)

func checkDependencies(deps []Dependency, kind wordKind) error {
	line := 0
	for _, d := range deps {
		if err := d.Check(); err != nil {
			return err
		}
		if line += d.size() + 1; line > maxLine {
			return invalid("they are longer than the %d bytes of a line that apk can hold", maxLine)
		}
		switch {
		case kind != anyWord && d.Conflict:
			return invalid("%q: a conflict has no meaning here", d)
		case kind == provided && d.Match != 0 && d.Match != Equal:
			return invalid("%q: only = is allowed here", d)
		}
	}
	return nil
}

// Check returns a fault.Invalid error if apk could not run the scripts, or if
// there are triggers without a trigger script or the other way round.
func (s *Scripts) Check(triggers []string) error {
	for _, slot := range s.slots() {
		switch data := *slot.data; {
		case data == nil:
		case len(data) > maxScript:
			return invalid("the script %s is larger than %d bytes", slot.name, maxScript)
		case !bytes.HasPrefix(data, []byte("#!")):
			return invalid("the script %s does not begin with #!", slot.name).Fix("begin it with #!/bin/sh")
		}
	}
	if (s.Trigger != nil) != (len(triggers) > 0) {
		return invalid("a trigger script and triggers need each other").Fix("give both or none")
	}
	return nil
}

// Bounds on the files of a package.
const (
	maxEntries   = 1_000_000
	maxPath      = 4000 // bytes; apk takes somewhat less than 4096
	maxOwner     = 31   // bytes of a user or group name
	maxXattrs    = 100
	maxXattr     = 64 << 10 // bytes of a name and value, the kernel's own bound
	maxMode      = 0o7777
	maxTarOctal  = 1<<33 - 1 // eleven octal digits
	maxTarDevice = 1<<21 - 1 // seven octal digits
)

// CheckEntries returns a fault.Invalid error if the files cannot be packed as
// they are: they must be sorted by Path, each there once and with all its parent
// folders before it; a hard link must name an earlier regular file and say of it
// what the file says of itself; no path may begin with a dot, since apk leaves
// such files out.
func CheckEntries(entries []Entry) error {
	if len(entries) > maxEntries {
		return invalid("more than %d files", maxEntries)
	}
	seen := make(map[string]Kind, len(entries))
	last := ""
	for i := range entries {
		e := &entries[i]
		if i > 0 && e.Path <= last {
			return invalid("%s: it is there twice or not in order", clip(e.Path)).Fix("sort the files by their path")
		}
		last = e.Path
		if err := e.check(seen); err != nil {
			return err
		}
		if e.Kind == HardLink {
			file, _ := slices.BinarySearchFunc(entries[:i], e.Target, func(e Entry, path string) int { return strings.Compare(e.Path, path) })
			if err := sameFile(e, &entries[file]); err != nil {
				return err
			}
		}
		seen[e.Path] = e.Kind
	}
	return nil
}

// sameFile wants a hard link to say of the file what the file says of itself.
func sameFile(link, file *Entry) error {
	if link.Mode != file.Mode || link.User != file.User || link.Group != file.Group || link.ModTime != file.ModTime ||
		!slices.Equal(link.Xattrs, file.Xattrs) {
		return invalid("%s: the hard link has another owner, mode, time or attributes than its file %s", clip(link.Path), clip(file.Path)).
			Fix("give both the same, since they are one file")
	}
	return nil
}

// check checks one entry; seen are the kinds of the entries before it.
func (e *Entry) check(seen map[string]Kind) *fault.Error {
	if e.Path == "" {
		if e.Kind != Directory {
			return invalid("the root is a %s", e.Kind)
		}
	} else if why := checkPath(e.Path); why != "" {
		return invalid("path %q %s", clip(e.Path), why)
	} else if at := strings.LastIndexByte(e.Path, '/'); at >= 0 {
		if kind, ok := seen[e.Path[:at]]; !ok || kind != Directory {
			return invalid("%s: the folder it is in does not come before it", clip(e.Path)).Fix("list every folder too")
		}
	}
	if err := e.checkNumbers(); err != nil {
		return fault.Within(err, "%s", clip(e.Path))
	}
	if err := e.checkTarget(seen); err != nil {
		return fault.Within(err, "%s", clip(e.Path))
	}
	return e.checkXattrs()
}

// checkPath says what is wrong with the path of a file in a package, "" if
// nothing is.
func checkPath(p string) string {
	switch {
	case len(p) > maxPath:
		return "is too long"
	case p == "" || p[0] == '/':
		return "does not begin with a name"
	case p[0] == '.':
		return "begins with a dot, and apk would leave it out"
	case hasControl(p):
		return "has a control character in it"
	}
	return checkParts(p)
}

// checkParts says what is wrong with the names that a path is made of, "" if
// nothing is.
func checkParts(p string) string {
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || len(part) > maxFileName {
			return "leaves its root or is malformed"
		}
	}
	return ""
}

func (e *Entry) checkNumbers() *fault.Error {
	regular, device := e.Kind == RegularFile, e.Kind == CharDevice || e.Kind == BlockDevice
	switch {
	case e.Mode > maxMode:
		return invalid("mode %o has bits that are no permissions", e.Mode)
	case e.User == "" || e.Group == "" || len(e.User) > maxOwner || len(e.Group) > maxOwner || !only(e.User, "-_.$") || !only(e.Group, "-_.$"):
		return invalid("%q is not an owner", clip(e.User+":"+e.Group)).Fix("name its user and its group")
	case e.Size < 0 || e.Size > maxTarOctal || e.Size > 0 && !regular:
		return invalid("a %s of %d bytes", e.Kind, e.Size)
	case e.ModTime < 0 || e.ModTime > maxTarOctal:
		return invalid("its time is out of range")
	case !device && (e.Major != 0 || e.Minor != 0) || e.Major > maxTarDevice || e.Minor > maxTarDevice:
		return invalid("a %s with device number %d,%d", e.Kind, e.Major, e.Minor)
	case e.Kind > FIFO:
		return invalid("%s", e.Kind)
	}
	return nil
}

// checkTarget checks where links point.
func (e *Entry) checkTarget(seen map[string]Kind) *fault.Error {
	switch e.Kind {
	case Symlink:
		if e.Target == "" || len(e.Target) > maxPath || strings.ContainsRune(e.Target, 0) {
			return invalid("the symbolic link has a malformed target")
		}
	case HardLink:
		if kind, ok := seen[e.Target]; !ok || kind != RegularFile {
			return invalid("the hard link names no earlier regular file")
		}
	default:
		if e.Target != "" {
			return invalid("a %s with a target", e.Kind)
		}
	}
	return nil
}

func (e *Entry) checkXattrs() *fault.Error {
	if len(e.Xattrs) > maxXattrs {
		return invalid("%s: more than %d extended attributes", clip(e.Path), maxXattrs)
	}
	last := ""
	for _, x := range e.Xattrs {
		if x.Name <= last || len(x.Name) > maxFileName || hasControl(x.Name) || strings.Contains(x.Name, "=") || len(x.Value) > maxXattr {
			return invalid("%s: extended attribute %q is malformed or not in order", clip(e.Path), clip(x.Name))
		}
		last = x.Name
	}
	return nil
}

// hasControl reports whether s has a control character, such as a line break.
func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}
