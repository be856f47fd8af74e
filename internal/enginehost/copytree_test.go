package enginehost

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCopyTree copies every kind of file and compares both trees as tar and stat
// see them.
func TestCopyTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners and devices need root")
	}
	from, to := t.TempDir(), t.TempDir()
	script := `set -e
mkdir -p a/b empty; echo one > a/one; ln a/one a/b/hard; ln -s ../one a/b/soft; ln -s /nowhere dangling
mknod whiteout c 0 0; mkfifo pipe; echo s > suid; chown 7:8 suid; chmod 4755 suid; : > nothing
chmod 1777 empty; chmod 0700 a; touch -h -d @1000000000.5 a/one a/b/soft a/b empty suid whiteout`
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = from
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := unix.Setxattr(filepath.Join(from, "a"), "trusted.overlay.opaque", []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	if err := copyTree(to, from); err != nil {
		t.Fatal(err)
	}
	if want, got := listing(t, from), listing(t, to); got != want {
		t.Errorf("the copy is\n%s\nand the original\n%s", got, want)
	}
	mark := make([]byte, 1)
	if _, err := unix.Getxattr(filepath.Join(to, "a"), "trusted.overlay.opaque", mark); err != nil || mark[0] != 'y' {
		t.Errorf("the mark of an opaque folder: %q, %v", mark, err)
	}
}

// listing returns everything that can be seen of a tree, inode numbers aside.
func listing(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", `find . -printf '%P %y %m %U:%G %n %s %T@ %l\n' | grep -v ' d ' | sort
find . -type d -printf '%P %m %U:%G %T@\n' | sort
find . -type f | sort | xargs sha256sum`)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
