package source

import (
	"os"
	"path/filepath"
	"testing"
)

// newCheckout makes a checkout with one commit and returns it and the commit.
func newCheckout(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	git(t, dir, "", "init", "-q", "-b", "main")
	writeFile(t, filepath.Join(dir, "a.yaml"), "one\n")
	git(t, dir, "", "add", "a.yaml")
	git(t, dir, "", "commit", "-q", "-m", "one")
	return dir, git(t, dir, "", "rev-parse", "HEAD")
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRevisionOf(t *testing.T) {
	if r := RevisionOf(t.Context(), t.TempDir()); r != (Revision{}) {
		t.Errorf("a folder under no version control: %+v", r)
	}
	dir, commit := newCheckout(t)
	want := Revision{Commit: commit}
	if r := RevisionOf(t.Context(), dir); r != want {
		t.Errorf("clean: %+v", r)
	}
	writeFile(t, filepath.Join(dir, "a.yaml"), "two\n")
	want.Dirty = true
	if r := RevisionOf(t.Context(), dir); r != want {
		t.Errorf("changed: %+v", r)
	}
	git(t, dir, "", "checkout", "-q", "a.yaml")
	writeFile(t, filepath.Join(dir, "b.yaml"), "new\n")
	if r := RevisionOf(t.Context(), dir); r != want {
		t.Errorf("with a new file: %+v", r)
	}
	if err := os.Remove(filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	git(t, dir, "", "update-index", "--add", "--cacheinfo", "160000,"+commit+",sub")
	git(t, dir, "", "commit", "-q", "-m", "submodule")
	if r := RevisionOf(t.Context(), dir); !r.Dirty {
		t.Error("a checkout with a submodule is taken for clean")
	}
}

// TestRevisionKeepsSecrets: only what is meant for the public leaves the machine.
func TestRevisionKeepsSecrets(t *testing.T) {
	dir, _ := newCheckout(t)
	for origin, want := range map[string]string{
		"https://example.org/org/repo.git":                              "https://example.org/org/repo.git",
		"https://example.org:8443/org/repo%2Fx":                         "https://example.org:8443/org/repo%2Fx",
		"https://x-access-token:ghp_secret@example.org/org/repo":        "https://example.org/org/repo",
		"https://ghp_secret@example.org/org/repo":                       "https://example.org/org/repo",
		"https://example.org/org/repo?private_token=secret#also-secret": "https://example.org/org/repo",
		"https://example.org/org/repo?#":                                "https://example.org/org/repo",
		"HTTPS://u:secret@example.org/r":                                "https://example.org/r",
		"https://u:%zz@example.org/r":                                   "",
		"https:///srv/secret":                                           "",
		"git@example.org:org/repo":                                      "",
		"/home/secret/repo":                                             "",
		"http://u:secret@example.org/r":                                 "",
	} {
		git(t, dir, "", "config", "remote.origin.url", origin)
		if got := RevisionOf(t.Context(), dir).URI; got != want {
			t.Errorf("%s gives %q, want %q", origin, got, want)
		}
	}
}

// TestRevisionRunsNothing: settings of a checkout name programs, and none runs.
func TestRevisionRunsNothing(t *testing.T) {
	for _, c := range []struct{ name, key, attributes string }{
		{"file system monitor", "core.fsmonitor", ""},
		{"filter", "filter.evil.clean", "*.yaml filter=evil\n"},
		{"long-running filter", "filter.evil.process", "*.yaml filter=evil\n"},
		{"filter with a dot", "filter.e.vil.clean", "*.yaml filter=e.vil\n"},
		{"filter with an equals sign", "filter.e=vil.clean", "*.yaml filter=e=vil\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, commit := newCheckout(t)
			ran := filepath.Join(t.TempDir(), "ran")
			git(t, dir, "", "config", c.key, "touch "+ran+"; cat #")
			writeFile(t, filepath.Join(dir, ".git", "info", "attributes"), c.attributes)
			writeFile(t, filepath.Join(dir, "a.yaml"), "two\n") // other size: git must compare
			if r := RevisionOf(t.Context(), dir); r.Commit != commit || !r.Dirty {
				t.Errorf("%+v", r)
			}
			if _, err := os.Stat(ran); err == nil {
				t.Error("git ran a program that the checkout names")
			}
		})
	}
}
