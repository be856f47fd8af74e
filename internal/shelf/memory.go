package shelf

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ashlar-project/ashlar/internal/durable"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Memory is a folder, outside of the repositories, that remembers what was
// published last: what lies in them is their whole state, and an old one has a good
// signature too. So nobody who can write the repositories alone takes them back in
// time. The empty Memory remembers nothing.
type Memory string

// File returns where something is remembered; its name may have slashes.
func (m Memory) File(name string) string { return filepath.Join(string(m), filepath.FromSlash(name)) }

// Last returns what is remembered under a name, "" if nothing is: before the first
// publish, or one from before this was remembered.
func (m Memory) Last(name string) (string, error) {
	if m == "" {
		return "", nil
	}
	b, err := os.ReadFile(m.File(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fault.New(fault.Denied, "read what was published last: %w", err)
	}
	return string(b), nil
}

// Names returns the names below a folder of names under which something is
// remembered, sorted.
func (m Memory) Names(folder string) ([]string, error) {
	if m == "" {
		return nil, nil
	}
	list, err := os.ReadDir(m.File(folder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Denied, "read what was published last: %w", err)
	}
	var names []string
	for _, e := range list {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Remember keeps a value under a name in place of the one before.
func (m Memory) Remember(name, value string) error {
	if m == "" {
		return nil
	}
	if err := durable.MkdirAll(filepath.Dir(m.File(name)), 0o755); err != nil {
		return err
	}
	return durable.WriteFile(m.File(name), []byte(value), 0o644)
}
