package durable

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFlush checks that a file has no name before its content is on the disk.
func TestFlush(t *testing.T) {
	for _, files := range []int{1, 2 * many} {
		var d *Batch
		renamed := 0
		d = NewBatch(t.TempDir(), "work", func(op, _ string) error {
			if op == "rename" {
				renamed++
				if len(d.files) > 0 || d.bulk {
					t.Error("renamed before it was flushed")
				}
			}
			return nil
		})
		if err := d.Mkdir("work"); err != nil {
			t.Fatal(err)
		}
		for i := range files {
			if err := d.Put(strings.Repeat("x", i+1)[:min(i+1, 200)]+string(rune('a'+i%26)), []byte("content")); err != nil {
				t.Fatal(err)
			}
		}
		if renamed != 0 {
			t.Error("renamed before the sync")
		}
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(d.Path("xa")); err != nil || string(b) != "content" || renamed != files || len(d.dirs) > 0 {
			t.Errorf("%d of %d renamed, folders %v, %q, %v", renamed, files, d.dirs, b, err)
		}
	}
}

// TestCopy checks that what is refused has no name, and that nothing is written
// once the hook says no.
func TestCopy(t *testing.T) {
	stop := errors.New("stop")
	var halted error
	d := NewBatch(t.TempDir(), "work", func(string, string) error { return halted })
	if err := d.Mkdir("work"); err != nil {
		t.Fatal(err)
	}
	good := func() error { return nil }
	if err := d.Copy(strings.NewReader("content"), "a", good); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(d.Path("a")); err != nil || !bytes.Equal(b, []byte("content")) {
		t.Errorf("%q, %v", b, err)
	}
	if err := d.Copy(strings.NewReader("content"), d.Temp(), func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("refused content: %v", err)
	}
	if err := d.Replace(d.Path("a"), "b"); err != nil {
		t.Error(err)
	}
	halted = stop
	if err := d.Copy(strings.NewReader("content"), "c", good); !errors.Is(err, stop) {
		t.Errorf("after the stop: %v", err)
	}
	if err := d.Rename("a", "c"); !errors.Is(err, stop) {
		t.Errorf("after the stop: %v", err)
	}
}

// TestLock lets one wait for the other.
func TestLock(t *testing.T) {
	at := filepath.Join(t.TempDir(), "lock")
	unlock, err := Lock(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Lock(over, at); !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that is taken: %v", err)
	}
	done := make(chan error)
	go func() {
		second, err := Lock(t.Context(), at)
		if err == nil {
			second()
		}
		done <- err
	}()
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
