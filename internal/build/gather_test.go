package build

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/blob"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// output makes an output folder as the engine leaves it, from paths to contents;
// a content that begins with "->" is a symbolic link.
func output(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if to, link := cutLink(content); err == nil && link {
			err = os.Symlink(to, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func cutLink(content string) (to string, link bool) {
	if len(content) > 2 && content[:2] == "->" {
		return content[2:], true
	}
	return "", false
}

// TestGather checks what of an output is kept: plain files that dpkg makes, and
// sources that a .changes leads to.
func TestGather(t *testing.T) {
	const changes = "Checksums-Sha256:\n 00 1 x_1.dsc\n"
	const dsc = "Checksums-Sha256:\n 00 1 x_1.tar.xz\n"
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []string
		kind  fault.Kind
	}{
		{"packages", map[string]string{"0/a_1_all.deb": "a", "0/b_1_all.udeb": "b", "1/c_1_all.deb": "c"}, []string{"a_1_all.deb", "b_1_all.udeb", "c_1_all.deb"}, ""},
		{"made source", map[string]string{"0/x.changes": changes, "0/x_1.dsc": dsc, "0/x_1.tar.xz": "x", "0/old_1.tar.xz": "o"},
			[]string{"x.changes", "x_1.dsc", "x_1.tar.xz"}, ""},
		{"placed source", map[string]string{"0/x_1.dsc": dsc, "0/x_1.tar.xz": "x"}, nil, ""},
		{"links", map[string]string{"0/a_1_all.deb": "->/etc/passwd", "0/b_1_all.deb": "->../../../../etc/passwd", "0/c_1_all.deb": "c"}, []string{"c_1_all.deb"}, ""},
		{"folder in the place of a file", map[string]string{"0/a_1_all.deb/x": "x"}, nil, ""},
		{"link in the place of the folder", map[string]string{"0": "->/etc"}, nil, fault.Failed},
		{"file in the place of the folder", map[string]string{"1": "x"}, nil, fault.Failed},
		{"nothing", nil, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &Runner{Store: blob.NewMemory()}
			files, err := r.gather(t.Context(), output(t, c.files))
			if c.kind != "" {
				if !fault.Is(err, c.kind) {
					t.Errorf("the error is %v, want kind %q", err, c.kind)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, f := range files {
				names = append(names, f.Name)
			}
			if diff := cmp.Diff(c.want, names); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestScratch checks that a new folder clears away what dead processes left, and
// nothing that is in use.
func TestScratch(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "tmp")
	inUse, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	defer inUse.remove()
	for _, name := range []string{"out-dead/out/0", "other"} {
		if err := os.MkdirAll(filepath.Join(parent, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	second, err := newScratch(parent)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{inUse.dir: true, second.dir: true, filepath.Join(parent, "out-dead"): false, filepath.Join(parent, "other"): true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", filepath.Base(path), err == nil, want)
		}
	}
	second.remove()
	if _, err := os.Stat(second.dir); err == nil {
		t.Error("a removed folder is there")
	}
}
