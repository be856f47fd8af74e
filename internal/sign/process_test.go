package sign

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// start starts the test binary as the signer on a folder that New made.
func start(t *testing.T, dir, passphrase string, user Owner) (*Conn, error) {
	t.Helper()
	c, err := StartSigner(t.Context(), Child{Args: []string{"signer", dir}, Passphrase: []byte(passphrase), User: user})
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

func TestProcess(t *testing.T) {
	dir := initKeys(t, "secret", Me())
	c, err := start(t, dir, "secret", Me())
	if err != nil {
		t.Fatal(err)
	}
	want, err := ReadPublic(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*want, c.Public()); diff != "" {
		t.Errorf("a process of the same user must not call itself separate: %s", diff)
	}
	var who map[string]int
	if err := c.Call(t.Context(), "who", nil, &who); err != nil || who["env"] != 1 {
		t.Errorf("%v, %v", who, err)
	}
	err = c.Call(t.Context(), "refuse", nil, &who)
	if !fault.Is(err, fault.Policy) || err.Error() != "f:3: no (ask nicely)" {
		t.Errorf("an error on its way back: %v", err)
	}
	if err := c.Call(t.Context(), "nonsense", nil, &who); !fault.Is(err, fault.Internal) {
		t.Errorf("an unknown request: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Call(t.Context(), "who", nil, &who); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after closing: %v", err)
	}
	if _, err := start(t, dir, "wrong", Me()); !fault.Is(err, fault.Denied) {
		t.Errorf("wrong passphrase: %v", err)
	}
	if _, err := start(t, t.TempDir(), "", Me()); !fault.Is(err, fault.NotFound) {
		t.Errorf("no keys: %v", err)
	}
}

func TestProcessDies(t *testing.T) {
	dir := initKeys(t, "", Me())
	c, err := start(t, dir, "", Me())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), "die", nil, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
	if c, err = start(t, dir, "", Me()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "hang", nil, nil); err != context.DeadlineExceeded {
		t.Errorf("a request that is cancelled: %v", err)
	}
	if err := c.Call(t.Context(), "who", nil, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("after that: %v", err)
	}
}

// TestSeparateUser proves what level 3 rests on: the signer has a user of its
// own, and nobody else but root can read its keys or its memory.
func TestSeparateUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	owner := SystemUser()
	dir := initKeys(t, "", owner)
	c, err := start(t, dir, "", owner)
	if err != nil {
		t.Fatal(err)
	}
	if !c.Public().Separate {
		t.Error("the signer does not know that it is separate")
	}
	var who map[string]int
	if err := c.Call(t.Context(), "who", nil, &who); err != nil || who["uid"] != owner.UID {
		t.Errorf("%v, %v", who, err)
	}
	for _, path := range []string{filepath.Join(dir, AttestationKey), filepath.Join(dir, RepositoryKey), dir} {
		if out, err := asNobody("cat", path); err == nil {
			t.Errorf("another user can read %s: %q", path, out)
		}
	}
	if _, err := Open(dir, nil); !fault.Is(err, fault.Denied) {
		t.Errorf("the caller opens the signer's keys itself: %v", err)
	}
	if _, err := start(t, dir, "", Owner{61181, 61181}); !fault.Is(err, fault.Denied) {
		t.Errorf("a signer of yet another user: %v", err)
	}
}

// probeSeparated prints what separated says of one kind of input.
func probeSeparated(kind string) {
	var in io.Reader = os.Stdin
	switch kind {
	case "own pipe": // as of a builder of the same user, whatever started that one
		r, _, err := os.Pipe()
		if err != nil {
			panic(err)
		}
		in = r
	case "no file":
		in = strings.NewReader("")
	}
	fmt.Print(separated(in))
}

// TestSeparated: only a pipe that another user made is proof. Who the parent
// process belongs to is none: when a builder of the same user has ended, the
// parent is process 1, which is root's.
func TestSeparated(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	fifo := filepath.Join(openDir(t), "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, kind string
		user       Owner
		want       string
	}{
		{"another's pipe", "stdin", SystemUser(), "true"},
		{"pipe of the same user", "own pipe", SystemUser(), "false"},
		{"pipe in a folder", "fifo", SystemUser(), "false"},
		{"no file", "no file", SystemUser(), "false"},
		{"root", "stdin", Me(), "false"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(selfExe, "separated", c.kind)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(c.user.UID), Gid: uint32(c.user.GID)}}
			in, err := cmd.StdinPipe() // made by root
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			if c.kind == "fifo" {
				f, err := os.OpenFile(fifo, os.O_RDWR, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				cmd.Stdin = f
			}
			if out, err := cmd.Output(); err != nil || string(out) != c.want {
				t.Errorf("separate: %s, %v; want %s", out, err, c.want)
			}
		})
	}
}

func asNobody(name string, args ...string) ([]byte, error) {
	return exec.Command("setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", name}, args...)...).CombinedOutput()
}
