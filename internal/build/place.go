package build

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// placeStep plans the step that puts the pinned files of a build, and the paths
// that its definition writes out, where the pipeline expects them.
func placeStep(b *catalog.Build, sources []ashlar.Source) (*Step, error) {
	s := &Step{Name: "place files", Uses: "files", Shell: "sh", Dir: "/"}
	var script strings.Builder
	script.WriteString("set -eu\numask 022\n")
	fmt.Fprintf(&script, "mkdir -p %s %s %s\n", ashlar.SourceDir, ashlar.TargetDir, ashlar.DebDir)
	for i, src := range sources {
		in := Input{Name: strconv.Itoa(i), Digest: src.Digest}
		s.Inputs = append(s.Inputs, in)
		if err := placeSource(&script, path.Join(InputDir, in.Name), src); err != nil {
			return nil, fault.New(fault.Invalid, "%w", err).At(b.File, b.Line)
		}
	}
	for i := range b.Paths {
		if err := placePath(&script, &b.Paths[i]); err != nil {
			return nil, fault.New(fault.Invalid, "%w", err).At(b.Paths[i].File, b.Paths[i].Line)
		}
	}
	s.Script = script.String()
	return s, nil
}

// placeSource writes the commands that put one pinned file, or the tree that it
// holds as a tar archive, at its path.
func placeSource(w *strings.Builder, from string, src ashlar.Source) error {
	to, err := buildPath(src.Path)
	if err != nil {
		return err
	}
	if src.Tree {
		fmt.Fprintf(w, "mkdir -p %[2]s\ntar -x -f %[1]s -C %[2]s --no-same-owner\n", quote(from), quote(to))
		return nil
	}
	mode, err := octal(src.Mode, "0644")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "install -D -m %s -o %d -g %d %s %s\n", mode, src.UID, src.GID, quote(from), quote(to))
	return nil
}

// placePath writes the commands for a paths entry that names no local file:
// those with a source are pinned in the lock and placed from there.
func placePath(w *strings.Builder, p *catalog.PathEntry) error {
	to, err := buildPath(p.Path)
	if err != nil {
		return err
	}
	q := quote(to)
	switch p.Type {
	case catalog.Symlink:
		fmt.Fprintf(w, "mkdir -p %s\nln -sfn %s %s\n", quote(path.Dir(to)), quote(p.Source), q)
		return nil
	case catalog.Delete:
		fmt.Fprintf(w, "rm -rf %s\n", q)
		return nil
	case catalog.Directory:
		fmt.Fprintf(w, "mkdir -p %s\n", q)
	case catalog.EmptyFile:
		fmt.Fprintf(w, "mkdir -p %s\n: > %s\n", quote(path.Dir(to)), q)
	case catalog.PlainFile:
		if p.Source != "" {
			return nil
		}
		fmt.Fprintf(w, "mkdir -p %s\nprintf %%s %s > %s\n", quote(path.Dir(to)), quote(p.Content), q)
	default:
		return fmt.Errorf("paths entry of unknown type %q", p.Type)
	}
	return placeOwner(w, p, q)
}

// placeOwner writes the commands that set owner and mode of a placed path.
func placeOwner(w *strings.Builder, p *catalog.PathEntry, q string) error {
	if p.UID != 0 || p.GID != 0 {
		fmt.Fprintf(w, "chown %d:%d %s\n", p.UID, p.GID, q)
	}
	if p.Mode == "" {
		return nil
	}
	mode, err := octal(string(p.Mode), "")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "chmod %s %s\n", mode, q)
	return nil
}

// buildPath checks that a path of a definition is absolute and clean.
func buildPath(p string) (string, error) {
	if !path.IsAbs(p) || strings.ContainsRune(p, 0) {
		return "", fmt.Errorf("path %q is not absolute", p)
	}
	clean := path.Clean(p)
	if strings.HasPrefix(clean, "/.ashlar") || clean == "/" {
		return "", fmt.Errorf("path %q is not for a definition to write", p)
	}
	return clean, nil
}

// octal checks a file mode written in octal digits.
func octal(mode, fallback string) (string, error) {
	if mode == "" {
		return fallback, nil
	}
	if n, err := strconv.ParseUint(strings.TrimPrefix(mode, "0o"), 8, 32); err != nil || n > 0o7777 {
		return "", fmt.Errorf("mode %q is not octal digits up to 7777", mode)
	}
	return strings.TrimPrefix(mode, "0o"), nil
}

// quote returns s as one word of a POSIX shell.
func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
