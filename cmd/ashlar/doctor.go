package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A diagnosis is one thing that a machine must have to do the work.
type diagnosis struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Needed bool   `json:"needed"` // else only some verbs need it
	Detail string `json:"detail,omitempty"`
	Fix    string `json:"fix,omitempty"`
}

// minDisk is the free space that a few builds need, in bytes.
const minDisk = 10 << 30

func (a *app) doctorCommand() *cobra.Command {
	var stop bool
	c := &cobra.Command{
		Use: "doctor", Short: "is this machine able to do the work, and what to install if not",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if stop {
				return engine.Stop(c.Context(), a.engineConfig())
			}
			return a.doctor()
		},
	}
	c.Flags().BoolVar(&stop, "stop", false, "end the engine that runs for this state folder")
	return c
}

func (a *app) doctor() error {
	list := []diagnosis{
		platform(), privilege(), tool("runc", true, "runc", "run build steps"),
		tool("git", false, "git", "sources from git repositories"),
		overlay(), keyring(), a.mirror(), a.disk(),
	}
	missing := 0
	for _, d := range list {
		if !d.OK && d.Needed {
			missing++
		}
	}
	err := a.print(list, func(w io.Writer) {
		for _, d := range list {
			mark := "ok     "
			switch {
			case !d.OK && d.Needed:
				mark = "MISSING"
			case !d.OK:
				mark = "absent "
			}
			fmt.Fprintf(w, "%s  %-18s %s\n", mark, d.Name, d.Detail)
			if !d.OK && d.Fix != "" {
				fmt.Fprintf(w, "         %-18s → %s\n", "", d.Fix)
			}
		}
	})
	if err == nil && missing > 0 {
		return fault.New(fault.Failed, "%d things that building needs are missing", missing).Fix("see the list above; on Debian as root, scripts/setup installs them")
	}
	return err
}

func platform() diagnosis {
	d := diagnosis{Name: "platform", Needed: true, Detail: runtime.GOOS + "/" + runtime.GOARCH}
	d.OK = runtime.GOOS == "linux" && runtime.GOARCH == "amd64"
	if !d.OK {
		d.Fix = "building needs Linux on amd64; elsewhere use --builder with the address of a buildkitd"
	}
	return d
}

func privilege() diagnosis {
	d := diagnosis{Name: "privilege", Needed: true, OK: os.Geteuid() == 0, Detail: "root: the signer runs as another user, attestations say SLSA Build L3"}
	if !d.OK {
		d.Detail = fmt.Sprintf("user %d", os.Geteuid())
		d.Fix = "run as root, or start a rootless buildkitd (rootlesskit, newuidmap from uidmap, /etc/subuid) and give its address with --builder"
	}
	return d
}

func tool(name string, needed bool, pkg, why string) diagnosis {
	d := diagnosis{Name: name, Needed: needed, Fix: "apt-get install " + pkg + " (to " + why + ")"}
	path, err := exec.LookPath(name)
	d.OK, d.Detail = err == nil, path
	if err != nil {
		d.Detail = "not on PATH"
	}
	return d
}

func overlay() diagnosis {
	d := diagnosis{Name: "overlayfs", Detail: "supported by the kernel", Fix: "modprobe overlay; without it every layer is copied, which is slow"}
	b, err := os.ReadFile("/proc/filesystems")
	d.OK = err == nil && strings.Contains(string(b), "overlay")
	if !d.OK {
		d.Detail = "the kernel does not list it"
	}
	return d
}

func keyring() diagnosis {
	const path = "/usr/share/keyrings/debian-archive-keyring.gpg"
	d := diagnosis{Name: "archive keys", Needed: true, Detail: path, Fix: "apt-get install debian-archive-keyring"}
	_, err := os.Stat(path)
	d.OK = err == nil
	return d
}

func (a *app) mirror() diagnosis {
	d := diagnosis{Name: "mirror", Needed: true, Detail: "mirror://debian is known", Fix: "give a file with --mirrors, or add a Debian archive to /etc/apt/sources.list.d"}
	m, err := a.mirrors()
	d.OK = err == nil && len(m.Aliases["debian"]) > 0
	switch {
	case err != nil:
		d.Detail = err.Error()
	case !d.OK:
		d.Detail = "neither apt on this machine nor --mirrors names a Debian archive"
	}
	return d
}

func (a *app) disk() diagnosis {
	d := diagnosis{Name: "disk", Needed: true, Fix: "free some space, or put the state folder elsewhere with --state"}
	dir := a.flags.state
	for dir != "/" && dir != "." {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		d.Detail = err.Error()
		return d
	}
	free := int64(st.Bavail) * st.Bsize
	d.OK = free >= minDisk
	d.Detail = fmt.Sprintf("%d GiB free for %s", free>>30, a.flags.state)
	return d
}
