package world

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// toolWorld returns packages with all that an upgrade or a removal touches.
func toolWorld(version string) []*pkg {
	tool := mk("tool="+version, "depends base sh lib").file("usr/bin/tool", "tool "+version+"\n").file("etc/tool.conf", "conf "+version+"\n").
		add(special(apk.HardLink, "usr/bin/tool2", "usr/bin/tool"), special(apk.Symlink, "usr/bin/tool3", "tool"))
	tool.PostInstall, tool.PostUpgrade, tool.PostDeinstall = logging("post-install", "tool"), logging("post-upgrade", "tool"), logging("post-deinstall", "tool")
	lib := mk("lib="+version, "triggers /usr/lib/plugins", "depends base sh").file("usr/lib/lib", "lib "+version+"\n")
	plugin := mk("plugin="+version, "install_if tool lib").file("usr/lib/plugins/p", "p "+version+"\n")
	return []*pkg{base(), sh(), tool, lib, plugin}
}

// The real apk looks after a root that was made here: it finds every file as it
// should be, upgrades with scripts and triggers, and removes.
func TestRealUpkeep(t *testing.T) {
	for _, c := range []struct {
		variable string
		v3       bool
	}{{"ASHLAR_APK2", false}, {"ASHLAR_APK3", false}, {"ASHLAR_APK3", true}} {
		t.Run(fmt.Sprintf("%s v3=%t", c.variable, c.v3), func(t *testing.T) {
			program := realAPK(t, c.variable)
			if os.Geteuid() != 0 {
				t.Skip("only root can install packages")
			}
			checkUpkeep(t, program, c.v3)
		})
	}
}

func checkUpkeep(t *testing.T, program string, v3 bool) {
	s := publish(t, v3, toolWorld("1.0-r0"))
	dir := t.TempDir()
	if _, err := s.installTo(t, dir, "tool", Installation{Scripts: chroot{dir}}); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(program, append([]string{"--root", dir, "--no-cache"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("apk %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	// The log and what apk keeps for itself is not in packages.
	if out := run("audit", "--system", "/usr", "/etc"); strings.Contains(out, "usr/") || strings.Contains(out, "tool") {
		t.Errorf("audit says:\n%s", out)
	}
	if out := run("info"); !slices.Equal(sorted(strings.Fields(lastLines(out, 5))), []string{"base", "lib", "plugin", "sh", "tool"}) {
		t.Errorf("info says:\n%s", out)
	}
	newer := publish(t, v3, toolWorld("2.0-r0"))
	for name, b := range newer.config(t) {
		save(t, filepath.Join(dir, "etc/apk", name), b)
	}
	run("upgrade")
	for name, want := range map[string]string{"usr/bin/tool": "tool 2.0-r0\n", "usr/bin/tool2": "tool 2.0-r0\n", "etc/tool.conf": "conf 2.0-r0\n", "usr/lib/plugins/p": "p 2.0-r0\n"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("after the upgrade %s is %q, %v", name, b, err)
		}
	}
	run("del", "tool")
	for _, name := range []string{"usr/bin/tool", "usr/bin", "usr/lib/plugins", "etc/tool.conf"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil && name != "usr/bin" {
			t.Errorf("after the removal %s is still there", name)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"tool post-install 1.0-r0", "lib trigger /usr/lib/plugins", "tool post-upgrade 2.0-r0 1.0-r0", "tool post-deinstall 2.0-r0"} {
		if !strings.Contains(string(b), line+"\n") {
			t.Errorf("the log has no %q:\n%s", line, b)
		}
	}
}

func sorted(words []string) []string { return slices.Sorted(slices.Values(words)) }

// lastLines returns the last lines of an output, after warnings.
func lastLines(out string, n int) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.Join(lines[max(len(lines)-n, 0):], "\n")
}
