package abuild

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestAports reads every recipe of a checkout of Alpine's aports, which
// ASHLAR_APORTS names, and says how many parse completely and why others do not.
func TestAports(t *testing.T) {
	root := os.Getenv("ASHLAR_APORTS")
	if root == "" {
		t.Skip("ASHLAR_APORTS names no checkout of aports")
	}
	var all, whole, files int
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != "APKBUILD" {
			return err
		}
		src, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		all++
		list, err := Distfiles(src)
		if err != nil {
			rel, _ := filepath.Rel(root, p)
			t.Logf("%s: %v", rel, err)
			return nil
		}
		whole++
		files += len(list)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d recipes parse completely; they fetch %d files", whole, all, files)
}
