package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/durable"
)

// A book remembers what was built twice, so that the hour it takes can be spent
// in parts. It is a JSON file.
type book struct {
	file    string
	mu      sync.Mutex
	Entries map[string]entry `json:"entries"` // by the definition's path in the catalog
}

// An entry is what is known of one definition.
type entry struct {
	Key     ashlar.Digest            `json:"key"`              // of the plan that was built
	First   map[string]ashlar.Digest `json:"first,omitempty"`  // packages of the usual build
	Second  map[string]ashlar.Digest `json:"second,omitempty"` // and of the other
	Failure string                   `json:"failure,omitempty"`
	Took    time.Duration            `json:"took,omitempty"` // of the second build, in nanoseconds
}

// openBook reads the book, which may not be there yet.
func openBook(file string) (*book, error) {
	b := &book{file: file, Entries: map[string]entry{}}
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return b, nil
	case err != nil:
		return nil, err
	}
	if err := json.Unmarshal(text, b); err != nil {
		return nil, fmt.Errorf("%s: %w; delete it to begin again", file, err)
	}
	if b.Entries == nil {
		b.Entries = map[string]entry{}
	}
	return b, nil
}

// entry returns what is known of a definition's build key, a new entry if that
// is nothing.
func (b *book) entry(path string, key ashlar.Digest) entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.Entries[path]; e.Key == key {
		return e
	}
	return entry{Key: key}
}

// set writes an entry into the book.
func (b *book) set(path string, e entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Entries[path] = e
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFile(b.file, append(text, '\n'), 0o644)
}

// differs returns the names of the packages that are not the same in both
// builds, sorted.
func (e entry) differs() []string {
	all := maps.Clone(e.First)
	maps.Copy(all, e.Second)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if e.First[name] != e.Second[name] {
			out = append(out, name)
		}
	}
	return out
}

// verdict says in words how the two builds compare.
func (e entry) verdict() string {
	if d := e.differs(); len(d) > 0 {
		return "differs: " + strings.Join(d, ", ")
	}
	return fmt.Sprintf("%d packages bit-identical", len(e.First))
}
