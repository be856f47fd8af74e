package main

import (
	"os"
	"strings"
	"testing"
)

// TestForeign builds for an architecture that the engine of this machine does not
// run: the refusal names the remedy, and comes before anything is fetched.
func TestForeign(t *testing.T) {
	h := warm(t)
	def := h.define(t, definition{name: "foreign", pipeline: pack(hello, helloDoc)})
	text, err := os.ReadFile(def)
	if err != nil {
		t.Fatal(err)
	}
	both := strings.Replace(string(text), "linux/amd64", "linux/amd64, linux/arm64", 1)
	if err := os.WriteFile(def, []byte(both), 0o644); err != nil {
		t.Fatal(err)
	}
	o := h.run(t, 2, "build", "--arch", "arm64", def)
	for _, want := range []string{"linux/arm64", "--builder tcp://"} {
		if said := o.complaint(t); !strings.Contains(said, want) {
			t.Errorf("the error does not say %q: %s", want, said)
		}
	}
	if strings.Contains(o.stderr, "lock") {
		t.Errorf("it was locked first:\n%s", o.stderr)
	}
	h.works(t)
}
