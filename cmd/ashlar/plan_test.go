package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar"
)

// TestPlanAndLock pins a definition and shows its plan in the three forms.
func TestPlanAndLock(t *testing.T) {
	h := warm(t)
	def := h.define(t, definition{name: "planned", pipeline: buildHello})
	text := h.run(t, 0, "plan", def).stdout
	for _, want := range []string{"target      debian-12/amd64", "root  essential", "root  base", "step  0 place files", "step  2 dpkg/build@v1", "hello-ashlar_1.0.dsc", "unauthenticated"} {
		if !strings.Contains(text, want) {
			t.Errorf("plan does not show %q:\n%s", want, text)
		}
	}
	var plan struct {
		Key  ashlar.Digest
		Lock ashlar.Lock
	}
	if err := json.Unmarshal([]byte(h.run(t, 0, "plan", "--json", def).stdout), &plan); err != nil || plan.Key.Validate() != nil {
		t.Errorf("plan --json: %v, key %q", err, plan.Key)
	}
	if dot := h.run(t, 0, "plan", "--graph", def).stdout; !strings.HasPrefix(dot, "digraph plan {") || !strings.Contains(dot, "dpkg/build@v1") {
		t.Errorf("plan --graph:\n%s", dot)
	}
	h.lockTwice(t, def)
}

// lockTwice makes the lock two times, and then has a plan use it.
func (h *house) lockTwice(t *testing.T, def string) {
	t.Helper()
	file := strings.TrimSuffix(def, ".yaml") + ".amd64.lock.json"
	var locks [2][]byte
	for i := range locks {
		if o := h.run(t, 0, "lock", def); !strings.Contains(o.stdout, file) {
			t.Errorf("lock says:\n%s", o.stdout)
		}
		var err error
		if locks[i], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if string(locks[0]) != string(locks[1]) {
		t.Error("the same inputs give two locks")
	}
	if o := h.run(t, 0, "plan", "--offline", def); strings.Contains(o.stderr, "not used") {
		t.Errorf("the lock is not used:\n%s", o.stderr)
	}
	broken := strings.Replace(string(locks[0]), "sha256:", "sha256:0", 1)
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	if o := h.run(t, 0, "plan", def); !strings.Contains(o.stderr, file+" is not used") {
		t.Errorf("a damaged lock is used, or nobody is told:\n%s", o.stderr)
	}
}

// TestNetworkIsRecorded lets a step have the network: the statements say so, and
// the usual policy wants it neither published nor installed.
func TestNetworkIsRecorded(t *testing.T) {
	h := warm(t)
	def := h.define(t, definition{name: "networked", pipeline: "- name: look around\n  privileged: true\n  runs: 'true'\n" + pack(hello, helloDoc)})
	if o := h.run(t, 0, "plan", "--allow-network", def); !strings.Contains(o.stdout, "look around  NETWORK") {
		t.Errorf("the plan does not show the network:\n%s", o.stdout)
	}
	h.run(t, 0, "build", "--allow-network", def)
	if got := h.run(t, 7, "publish", "--allow-unauthenticated", def).complaint(t); !strings.Contains(got, "look around") {
		t.Errorf("publishing says: %s", got)
	}
}
