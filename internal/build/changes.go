package build

import (
	"io"
	"os"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// listed returns the file names that a .changes or .dsc lists.
func listed(root *os.Root, rel string) ([]string, error) {
	f, err := root.Open(rel)
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil, fault.New(fault.Internal, "read build output: %w", err)
	}
	in := false
	var names []string
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "Checksums-Sha256:"):
			in = true
		case !strings.HasPrefix(line, " "):
			in = false
		case in:
			if f := strings.Fields(line); len(f) == 3 {
				names = append(names, f[2])
			}
		}
	}
	return names, nil
}
