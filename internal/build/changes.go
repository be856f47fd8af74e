package build

import (
	"io"
	"os"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// listChanges adds the file names that a .changes lists to the set.
func listChanges(root *os.Root, rel string, listed map[string]bool) error {
	f, err := root.Open(rel)
	if err != nil {
		return fault.New(fault.Internal, "read build output: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return fault.New(fault.Internal, "read build output: %w", err)
	}
	in := false
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "Checksums-Sha256:"):
			in = true
		case !strings.HasPrefix(line, " "):
			in = false
		case in:
			if f := strings.Fields(line); len(f) == 3 {
				listed[f[2]] = true
			}
		}
	}
	return nil
}
