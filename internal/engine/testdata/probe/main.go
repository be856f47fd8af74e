// Probe is the only program in the root that the tests run. It does one small
// thing per verb, and looks for ways out of its sandbox.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	verb, args := os.Args[1], os.Args[2:]
	verbs := map[string]func([]string) error{
		"write": write, "exit": exit, "hold": hold, "fill": fill, "report": report, "search": search, "nothing": func([]string) error { return nil },
		"stamp": stamp, "litter": litter, "plant": plant, "rearrange": rearrange, "list": list,
	}
	if err := verbs[verb](args); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// write FILE TEXT
func write(args []string) error {
	fmt.Println("writing", args[0])
	return os.WriteFile(args[0], []byte(args[1]), 0o644)
}

// stamp FILE: something new at every run
func stamp(args []string) error {
	return os.WriteFile(args[0], []byte(time.Now().String()), 0o644)
}

// litter DIR: leaves what has no place on a host
func litter(args []string) error {
	at := func(name string) string { return filepath.Join(args[0], name) }
	return errors.Join(
		os.WriteFile(at("plain"), []byte("plain"), 0o644), os.WriteFile(at("setuid"), nil, 0o755), os.Chmod(at("setuid"), 0o755|fs.ModeSetuid),
		os.Mkdir(at("folder"), 0o755), os.Chmod(at("folder"), 0o777|fs.ModeSticky|fs.ModeSetgid),
		os.Symlink("/etc/passwd", at("link")), os.Symlink("..", at("up")), syscall.Mkfifo(at("fifo"), 0o666),
		syscall.Mknod(at("null"), syscall.S_IFCHR|0o666, 1<<8|3))
}

// plant: a tree to rearrange
func plant([]string) error {
	return errors.Join(os.MkdirAll("/t/folder/below", 0o755), os.Mkdir("/t/refilled", 0o755), os.WriteFile("/t/refilled/old", nil, 0o644),
		os.WriteFile("/t/gone", nil, 0o644), os.WriteFile("/t/kept", []byte("kept"), 0o644), os.WriteFile("/t/changed", []byte("old"), 0o644))
}

// rearrange: changes the tree in every way that a layer has to note, and refuses
// to see the hint that it was given
func rearrange([]string) error {
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "ASHLAR_") {
			return errors.New("the step sees " + e)
		}
	}
	return errors.Join(os.Remove("/t/gone"), os.RemoveAll("/t/folder"), os.WriteFile("/t/folder", []byte("a file"), 0o640),
		os.RemoveAll("/t/refilled"), os.Mkdir("/t/refilled", 0o700), os.WriteFile("/t/refilled/new", nil, 0o644), os.Link("/t/refilled/new", "/t/linked"),
		os.WriteFile("/t/changed", []byte("new"), 0o644), os.Symlink("kept", "/t/link"), os.Chown("/t/changed", 7, 8))
}

// list FILE: what the tree has
func list(args []string) error {
	var b strings.Builder
	err := filepath.WalkDir("/t", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&b, "%s %s %d:%d %s\n", path, info.Mode(), st.Uid, st.Gid, text)
		return nil
	})
	return errors.Join(err, os.WriteFile(args[0], []byte(b.String()), 0o644))
}

// exit CODE LINES
func exit(args []string) error {
	lines, _ := strconv.Atoi(args[1])
	for i := range lines {
		fmt.Println("line", i+1)
	}
	code, _ := strconv.Atoi(args[0])
	os.Exit(code)
	return nil
}

// hold MARK: writes MARK to a file, says so, and stays
func hold(args []string) error {
	for _, dir := range []string{"/", "/tmp", "/work", "/dev/shm"} {
		_ = os.WriteFile(filepath.Join(dir, "held"), []byte(args[0]), 0o666)
	}
	fmt.Println("holding")
	select {
	case <-time.After(5 * time.Minute):
		return errors.New("nobody ended me")
	}
}

// fill FILE BYTES
func fill(args []string) error {
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	n, _ := strconv.Atoi(args[1])
	for b := bytes.Repeat([]byte("x"), 1<<20); n > 0; n -= len(b) {
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	return f.Close()
}

// search TEXT: looks for the text in the name or content of every file, and in
// the environment and command line of every process
func search(args []string) error {
	needle := []byte(args[0])
	found := false
	for _, root := range []string{"/", "/proc/1/root", "/proc/self/cwd"} {
		_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() && (p == "/proc" || p == "/sys") {
				return fs.SkipDir
			}
			if !d.Type().IsRegular() {
				return nil
			}
			if b, err := os.ReadFile(p); err == nil && p != "/probe" && bytes.Contains(b, needle) {
				found = true
				fmt.Println("found in", p)
			}
			return nil
		})
	}
	others, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range others {
		if p == "/proc/"+strconv.Itoa(os.Getpid()) {
			continue
		}
		for _, f := range []string{"cmdline", "environ"} {
			if b, err := os.ReadFile(filepath.Join(p, f)); err == nil && bytes.Contains(b, needle) {
				found = true
				fmt.Println("found in", p, f)
			}
		}
	}
	if found {
		return errors.New("the text was found")
	}
	return nil
}

// A Report is what a step can see.
type Report struct {
	Env, Interfaces, Routes, Mounts, Processes, Sockets, Devices, Writable, Reached, Root []string
	Hostname, Resolv, Hosts                                                               string
	Unmasked                                                                              []string // files about the host that have content
	Status                                                                                map[string]string
	Calls                                                                                 map[string]string // system call → error
	FDs                                                                                   []string
}

// report FILE
func report(args []string) error {
	r := Report{Env: os.Environ(), Status: map[string]string{}, Calls: map[string]string{}}
	r.Hostname, _ = os.Hostname()
	r.Resolv, r.Hosts = read("/etc/resolv.conf"), read("/etc/hosts")
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		r.Interfaces = append(r.Interfaces, i.Name)
	}
	r.Routes = lines(read("/proc/net/route"))[1:]
	r.Mounts = lines(read("/proc/self/mountinfo"))
	for _, l := range lines(read("/proc/self/status")) {
		k, v, _ := strings.Cut(l, ":")
		r.Status[k] = strings.TrimSpace(v)
	}
	r.Processes, _ = filepath.Glob("/proc/[0-9]*")
	look(&r)
	r.Writable = writable("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/devices", "/sys/fs/cgroup/unified", "/sys/kernel", "/proc/sys/kernel", "/sys/devices", "/proc/sysrq-trigger", "/proc/acpi", "/sys/firmware", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/dev/kmsg", "/dev/mem", "/dev/vda", "/dev/sda")
	for _, p := range []string{"/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug"} {
		if b := make([]byte, 1); readOne(p, b) {
			r.Unmasked = append(r.Unmasked, p)
		}
	}
	reach(&r)
	calls(&r)
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, f := range fds {
		to, _ := os.Readlink("/proc/self/fd/" + f.Name())
		r.FDs = append(r.FDs, f.Name()+" "+to)
	}
	root, _ := os.ReadDir("/")
	for _, f := range root {
		r.Root = append(r.Root, f.Name())
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(args[0], b, 0o644)
}

// look finds sockets and devices.
func look(r *Report) {
	_ = filepath.WalkDir("/", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (p == "/proc" || p == "/sys") {
			return fs.SkipDir
		}
		switch {
		case d.Type()&fs.ModeSocket != 0:
			r.Sockets = append(r.Sockets, p)
		case d.Type()&fs.ModeDevice != 0:
			r.Devices = append(r.Devices, p)
		}
		return nil
	})
	if ls := lines(read("/proc/net/unix")); len(ls) > 1 {
		for _, l := range ls[1:] {
			r.Sockets = append(r.Sockets, "/proc/net/unix: "+l)
		}
	}
}

// writable returns which of the paths could be written (a folder: a file made in it).
func writable(paths ...string) (can []string) {
	for _, p := range paths {
		target := p
		if info, err := os.Stat(p); err != nil || info.Mode()&fs.ModeDevice != 0 && strings.HasPrefix(p, "/proc") {
			continue // masked
		} else if info.IsDir() {
			target = filepath.Join(p, "probe")
			if os.Mkdir(target, 0o755) == nil {
				can = append(can, p)
			}
			continue
		}
		if f, err := os.OpenFile(target, os.O_WRONLY, 0); err == nil {
			f.Close()
			can = append(can, p)
		}
	}
	return can
}

// reach tries to talk to somebody.
func reach(r *Report) {
	for _, to := range []string{"tcp 192.0.2.1:80", "udp 192.0.2.1:53", "tcp 1.1.1.1:53", "tcp " + os.Getenv("PROBE_HOST")} {
		network, addr, _ := strings.Cut(to, " ")
		c, err := net.DialTimeout(network, addr, time.Second)
		if err == nil {
			c.Close()
			r.Reached = append(r.Reached, to)
		}
	}
	for _, path := range []string{os.Getenv("PROBE_SOCKET"), "/run/docker.sock", "/run/containerd/containerd.sock", "/run/buildkit/buildkitd.sock", "@" + os.Getenv("PROBE_ABSTRACT")} {
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			r.Reached = append(r.Reached, path)
		}
	}
}

// calls tries system calls that would break the sandbox or show the host's keys.
func calls(r *Report) {
	try := func(name string, call, a, b, c uintptr) {
		if _, _, e := syscall.Syscall6(call, a, b, c, 0, 0, 0); e != 0 {
			r.Calls[name] = e.Error()
		} else {
			r.Calls[name] = "ok"
		}
	}
	dir := []byte("/tmp\x00")
	try("unshare(user)", syscall.SYS_UNSHARE, syscall.CLONE_NEWUSER, 0, 0)
	try("unshare(mount)", syscall.SYS_UNSHARE, syscall.CLONE_NEWNS, 0, 0)
	try("mount", syscall.SYS_MOUNT, uintptr(unsafe.Pointer(&dir[0])), uintptr(unsafe.Pointer(&dir[0])), 0)
	try("keyctl(get session)", 250, 0, uintptr(0xfffffffd), 0)
	try("keyctl(get user)", 250, 0, uintptr(0xfffffffc), 0)
	try("bpf", 321, 0, 0, 0)
	try("init_module", 175, 0, 0, 0)
	try("kexec_load", 246, 0, 0, 0)
	try("reboot", syscall.SYS_REBOOT, 0, 0, 0)
	try("perf_event_open", 298, 0, 0, 0)
	try("ptrace(parent)", syscall.SYS_PTRACE, 16, 1, 0)
	for _, major := range []int{8, 254, 1} {
		name := fmt.Sprintf("/tmp/dev%d", major)
		err := syscall.Mknod(name, syscall.S_IFBLK|0o600, major<<8)
		if err == nil {
			_, err = os.Open(name)
			os.Remove(name)
		}
		r.Calls[fmt.Sprintf("open block device %d:0", major)] = fmt.Sprint(err)
	}
	r.Calls["sethostname"] = fmt.Sprint(syscall.Sethostname([]byte("x")))
}

func readOne(p string, b []byte) bool {
	f, err := os.Open(p)
	if err != nil {
		return false
	}
	defer f.Close()
	n, _ := f.Read(b)
	return n > 0
}

func read(p string) string {
	b, err := os.ReadFile(p)
	if err != nil {
		return ""
	}
	return string(b)
}

func lines(s string) (ls []string) {
	for sc := bufio.NewScanner(strings.NewReader(s)); sc.Scan(); {
		ls = append(ls, sc.Text())
	}
	return append(ls, "")[:max(1, len(ls))]
}
