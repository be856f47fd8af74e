package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A hostile is a step of a definition that looks for what it must not have.
type hostile struct {
	script string   // in testdata/hostile
	args   []string // in the step
	proof  []string // on the host: the script must find it there
	tries  []string // what its log must say that it tried
}

// A probe script says what it tries and finds, and exits with code 9 so that
// nothing of the build is kept.
func (h *house) attack(t *testing.T, x hostile) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("testdata/hostile", x.script))
	if err != nil {
		t.Fatal(err)
	}
	proof, _ := exec.Command("/bin/bash", append([]string{filepath.Join("testdata/hostile", x.script)}, x.proof...)...).CombinedOutput() // exits with 9
	if !strings.Contains(string(proof), "FOUND ") {
		t.Errorf("the probe finds nothing where there is something:\n%s", proof)
	}
	name := "hostile-" + strings.TrimSuffix(x.script, ".sh")
	def := h.define(t, definition{
		name: name, local: map[string]string{"probe.sh": string(script)},
		pipeline: "- name: probe\n  runs: bash /local/probe.sh " + strings.Join(x.args, " ") + "\n",
	})
	o := h.run(t, 1, "build", "--fresh", def)
	if got := o.complaint(t); !strings.Contains(got, "exit code 9") {
		t.Errorf("the probe did not come to its end: %s", got)
	}
	log, err := os.ReadFile(h.kept("logs", name))
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range x.tries {
		if !strings.Contains(string(log), "TRIED "+try) {
			t.Errorf("the probe did not try %q", try)
		}
	}
	if strings.Contains(string(log), "FOUND ") || t.Failed() {
		t.Errorf("the probe says:\n%s", log)
	}
}

// kept returns the path of what a folder of the state keeps about a test's
// definition, "" if nothing.
func (h *house) kept(folder, name string) string {
	found, err := filepath.Glob(filepath.Join(h.state, folder, "package~deb~main~"+name+"~debian-12~1@*"))
	if err != nil || len(found) != 1 {
		return ""
	}
	return found[0]
}

// TestHostileKey lets a step look for the signing keys.
func TestHostileKey(t *testing.T) {
	h := warm(t)
	h.attack(t, hostile{
		script: "key.sh", proof: []string{filepath.Join(h.state, "keys")},
		tries: []string{"names and contents below /", "the environment", "other processes", "the host's disks", "the kernel's memory", "another namespace"},
	})
}

// TestHostileSocket lets a step look for the engine's socket and for ways out,
// while there is something to be found on the host.
func TestHostileSocket(t *testing.T) {
	h := warm(t)
	abstract := fmt.Sprintf("ashlar-test-%d", os.Getpid())
	listener, err := net.Listen("unix", "@"+abstract)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	served := strings.TrimPrefix(h.server.URL, "http://")
	h.attack(t, hostile{
		script: "socket.sh",
		args:   []string{"/", abstract, host, served, "172.17.0.1:22", "169.254.169.254:80", "192.0.2.1:53"},
		proof:  []string{filepath.Join(h.state, "engine"), abstract, host, served},
		tries: []string{"sockets below /", "abstract sockets", "well-known sockets", "variables that lead to a socket", "tcp " + served,
			"the host by vsock", "devices", "names of the host", "interfaces and resolver"},
	})
}

// TestHostileNeighbour lets a step look for the files of a build that runs beside
// it, and of the one before it.
func TestHostileNeighbour(t *testing.T) {
	h := warm(t)
	halves := []string{fmt.Sprintf("neighbour-%d", os.Getpid()), "-left-this"}
	mark := strings.Join(halves, "")
	victim := h.define(t, definition{name: "victim", pipeline: fmt.Sprintf(`- name: leave marks
  runs: |
    for d in /tmp /var/tmp /root /dev/shm /var/cache /build/reproducible-path; do echo %[1]s > $d/%[1]s; done
- name: stay
  environment: {MARK: %[1]s}
  runs: |
    echo %[1]s > /dev/shm/%[1]s
    exec -a %[1]s sleep 3600
`, mark)})
	running := h.begin(t, "build", victim)
	running.awaitProcess(t, mark)
	h.attack(t, hostile{
		script: "cache.sh", args: halves,
		proof: []string{halves[0], halves[1], filepath.Join(h.state, "engine")},
		tries: []string{"names and contents below /", "processes of another build", "folders of the engine", "mounts that are writable and not ours", "going up from the root"},
	})
	running.interrupt(t)
}
