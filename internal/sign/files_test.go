package sign

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/fault"
)

func TestInit(t *testing.T) {
	dir := initKeys(t, "", Me())
	for name, mode := range map[string]os.FileMode{
		".": os.ModeDir | 0o700, AttestationKey: 0o600, RepositoryKey: 0o600, AttestationPub: 0o644, RepositoryPub: 0o644,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if _, err := Init(New{Dir: dir, Name: "x", Owner: Me(), Now: now}); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second time: %v", err)
	}
	keys, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := keys.Public()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadPublic(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := ReadPublic(t.TempDir()); !fault.Is(err, fault.NotFound) {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		name       string
		passphrase string // of the keys
		given      string
		change     func(dir string) error
		kind       fault.Kind
	}{
		{"wrong passphrase", "right", "wrong", nil, fault.Denied},
		{"no passphrase", "right", "", nil, fault.Denied},
		{"readable by others", "", "", func(d string) error { return os.Chmod(filepath.Join(d, RepositoryKey), 0o640) }, fault.Denied},
		{"another owner", "", "", func(d string) error { return os.Chown(filepath.Join(d, AttestationKey), 61111, 61111) }, fault.Denied},
		{"a link", "", "", func(d string) error {
			p := filepath.Join(d, AttestationKey)
			if err := os.Rename(p, p+".real"); err != nil {
				return err
			}
			return os.Symlink(p+".real", p)
		}, fault.Denied},
		{"no key", "", "", func(d string) error { return os.Remove(filepath.Join(d, AttestationKey)) }, fault.NotFound},
		{"trash", "", "", func(d string) error { return os.WriteFile(filepath.Join(d, AttestationKey), []byte("x"), 0o600) }, fault.Invalid},
		{"repository trash", "", "", func(d string) error { return os.WriteFile(filepath.Join(d, RepositoryKey), []byte("x"), 0o600) }, fault.Invalid},
		{"cut", "p", "p", func(d string) error { return os.Truncate(filepath.Join(d, AttestationKey), 100) }, fault.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "another owner" && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			dir := initKeys(t, c.passphrase, Me())
			if c.change != nil {
				if err := c.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Open(dir, []byte(c.given)); !fault.Is(err, c.kind) {
				t.Errorf("got %v", err)
			}
		})
	}
}
