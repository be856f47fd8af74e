package main

import (
	"strings"
	"testing"
)

// TestGate builds source sets that must not be published. Each is a set with one
// flaw, and the gate must name it.
func TestGate(t *testing.T) {
	h := warm(t)
	for _, c := range []struct {
		name string
		set  []tiny
		says []string
	}{
		{"missing package", []tiny{hello}, []string{"whole source set", "did not make them: hello-ashlar-doc"}},
		{"failing install", []tiny{hello, {name: "hello-ashlar-doc", script: "postinst", body: "echo this cannot be set up; exit 3"}},
			[]string{"install: hello-ashlar-doc", "this cannot be set up"}},
		{"failing purge", []tiny{hello, {name: "hello-ashlar-doc", script: "postrm", body: "exit 4"}}, []string{"install: hello-ashlar-doc"}},
		{"failing upgrade", []tiny{hello, helloDoc, {name: "hello", version: "99", script: "preinst", body: `test "$1" != upgrade`}},
			[]string{"upgrade: hello:"}},
		{"file of another package", []tiny{hello, {name: "hello-ashlar-doc", file: "/usr/bin/env"}},
			[]string{"install: hello-ashlar-doc", "trying to overwrite", "coreutils"}},
		{"dependency that nothing fulfils", []tiny{hello, {name: "hello-ashlar-doc", control: "Depends: no-such-thing (>= 3)"}},
			[]string{"cannot be installed", "no-such-thing"}},
		{"dependency on what the set breaks", []tiny{{name: "hello-ashlar", control: "Conflicts: hello-ashlar-doc"}, {name: "hello-ashlar-doc", control: "Depends: hello-ashlar"}},
			[]string{"hello-ashlar-doc", "hello-ashlar"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			def := h.define(t, definition{name: "gate-" + strings.ReplaceAll(c.name, " ", "-"), pipeline: pack(c.set...)})
			got := h.run(t, 7, "build", def).complaint(t)
			for _, want := range c.says {
				if !strings.Contains(got, want) {
					t.Errorf("the gate does not say %q:\n%s", want, got)
				}
			}
			if o := h.try("publish", "--allow-unauthenticated", def); o.code == 0 {
				t.Errorf("a refused set is published:\n%s", o.stdout)
			}
			if at := h.kept("latest", "gate-"+strings.ReplaceAll(c.name, " ", "-")); at != "" {
				t.Errorf("a refused result is the newest of its definition: %s", at)
			}
			h.tidy(t)
		})
	}
	h.works(t)
}
