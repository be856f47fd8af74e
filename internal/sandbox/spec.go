package sandbox

import (
	"path/filepath"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// The script is a file of the bundle, and seen at a path below /dev, so that nothing
// is ever written into the root for it.
const (
	scriptName = "script"
	scriptPath = "/dev/" + scriptName
)

// maxProcesses bounds the processes that a script may have at a time.
const maxProcesses = 1024

// capabilities are what a script of a package needs: to own files, to give them
// away, and to act as somebody else. It can make no device.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// spec returns the container in which a script is run.
func spec(bundle string, s Script) *specs.Spec {
	umask, pids := uint32(0o022), int64(maxProcesses)
	c := &specs.Spec{
		Version:  "1.0.2",
		Hostname: "build",
		Root:     &specs.Root{Path: s.Root},
		Process: &specs.Process{
			User: specs.User{Umask: &umask},
			Args: append([]string{scriptPath}, s.Args...), Env: s.Env, Cwd: "/", NoNewPrivileges: true,
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
			Rlimits: []specs.POSIXRlimit{
				{Type: "RLIMIT_CORE"}, {Type: "RLIMIT_NOFILE", Hard: 4096, Soft: 1024},
			},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
			{Destination: scriptPath, Type: "bind", Source: filepath.Join(bundle, scriptName), Options: []string{"bind", "ro", "nosuid", "nodev"}},
		},
		Linux: &specs.Linux{
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace},
				{Type: specs.UTSNamespace}, {Type: specs.MountNamespace}, {Type: specs.CgroupNamespace},
			},
			Resources: &specs.LinuxResources{
				Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, // runc allows the usual ones
				Pids:    &specs.LinuxPids{Limit: &pids},
			},
			MaskedPaths: []string{
				"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
			},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"},
		},
	}
	c.Linux.Seccomp = seccomp.DefaultProfile(c)
	return c
}
