package resolve

import (
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestAddedFile(t *testing.T) {
	const diff = "--- stone-1.0.orig/Makefile\n+++ stone-1.0/Makefile\n@@ -1 +1 @@\n-a\n+debian/changelog\n" +
		"--- /dev/null\t1970\n+++ stone-1.0/debian/changelog\t2026\n@@ -0,0 +1,3 @@\n+stone (1.0-1) unstable; urgency=low\n+\n+  * Cut.\n" +
		"--- stone-1.0.orig/z\n+++ stone-1.0/z\n@@ -0,0 +1 @@\n+z\n"
	got, err := addedFile(strings.NewReader(diff), "debian/changelog")
	if want := "stone (1.0-1) unstable; urgency=low\n\n  * Cut.\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if _, err := addedFile(strings.NewReader(diff), "debian/rules"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a file that is not added: %v", err)
	}
}
