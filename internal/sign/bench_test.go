package sign

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ashlar-project/ashlar"
)

// BenchmarkSignReleases signs a suite whose Packages index has the size of one of
// 8,000 packages, plain and compressed.
func BenchmarkSignReleases(b *testing.B) {
	keys, err := Generate("Test", "", now)
	if err != nil {
		b.Fatal(err)
	}
	c, err := Local(b.Context(), keys, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	dir := b.TempDir()
	text := "Suite: bookworm\nDate: Wed, 04 Mar 2026 05:06:07 UTC\nSHA256:\n"
	for name, size := range map[string]int{"Packages": 8 << 20, "Packages.gz": 2 << 20} {
		content := bytes.Repeat([]byte(name[:8]), size/8)
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			b.Fatal(err)
		}
		text += fmt.Sprintf(" %s %d %s\n", ashlar.DigestOf(content).Hex(), len(content), name)
	}
	for b.Loop() {
		if _, err := c.SignReleases(b.Context(), dir, [][]byte{[]byte(text)}, now); err != nil {
			b.Fatal(err)
		}
	}
}
