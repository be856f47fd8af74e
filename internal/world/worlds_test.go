package world

import (
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// A sample is a world with the packages that it is made of.
type sample struct {
	name     string
	world    string
	packages []*pkg
	config   map[string]string // more files of etc/apk
	scripts  bool              // it has scripts that are to be run
	notV3    bool              // v3 packages cannot have it
	not2     bool              // apk 2.14 does it otherwise, or not at all
	not3     bool              // apk 3.0 does it otherwise
}

// base is a package with the folders that every root has.
func base() *pkg {
	p := mk("base").dirs("etc", "dev", "proc", "var/log", "usr/lib", "usr/bin")
	p.add(dirEntry("tmp", 0o1777), dirEntry("root", 0o700))
	p.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnginx:x:101:102:web:/var/www:/sbin/nologin\n")
	p.file("etc/group", "root:x:0:root\nwww:x:102:nginx\nshadow:x:42:\n")
	return p.add(ownedBy(regular("etc/shadow", 0o640, "root:*::0:::::\n"), "root", "shadow"))
}

// samples returns the worlds that are compared with the real apk.
func samples() []sample {
	long := "usr/share/doc/" + strings.Repeat("a-long-name/", 12)
	shell := base()
	return []sample{
		{name: "kinds of file", world: "files", packages: []*pkg{
			mk("files").file("usr/share/a", "a\n").file(long+"file", "deep\n").file("empty", "").
				add(regular("usr/share/setuid", 0o6755, "#!/bin/sh\n"), special(apk.Symlink, "usr/share/link", "../../etc/none"),
					special(apk.HardLink, "usr/share/b", "usr/share/a"), special(apk.FIFO, "usr/share/pipe", ""),
					dirEntry("zrv", 0o1775), special(apk.HardLink, "zrv/c", "usr/share/a")),
		}},
		{name: "folder with setgid", world: "group", not3: true, packages: []*pkg{mk("group").add(dirEntry("srv", 0o2775))}},
		{name: "owners", world: "web base", packages: []*pkg{base(),
			mk("web", "depends base").dirs("var/www").add(
				ownedBy(dirEntry("var/www/html", 0o750), "nginx", "www"), ownedBy(regular("var/www/html/index", 0o640, "hi"), "nginx", "www"),
				ownedBy(special(apk.Symlink, "var/www/html/link", "index"), "nginx", "www"),
				ownedBy(regular("var/www/stranger", 0o4711, "x"), "stranger", "strangers")),
		}},
		{name: "numbers for owners", world: "web", notV3: true, packages: []*pkg{
			mk("web").add(ownedBy(dirEntry("srv", 0o755), "7", "8"), ownedBy(regular("srv/a", 0o644, "x"), "1000", "1001")),
		}},
		{name: "devices and attributes", world: "nodes", packages: []*pkg{mk("nodes").dirs("srv").add(
			func() apk.File {
				f := special(apk.CharDevice, "srv/null", "")
				f.Major, f.Minor, f.Mode = 1, 3, 0o666
				return f
			}(),
			func() apk.File {
				f := special(apk.BlockDevice, "srv/disk", "")
				f.Major, f.Minor, f.Mode = 259, 70000, 0o660
				return f
			}(),
			func() apk.File {
				f := regular("srv/ping", 0o755, "binary")
				f.Xattrs = []apk.Xattr{{Name: "security.capability", Value: "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, {Name: "user.note", Value: "a\x00b"}}
				return f
			}(),
		)}},
		{name: "install_if", world: "app docs lang-de", packages: []*pkg{
			mk("app", "depends so:libx.so.1").file("usr/bin/app", "app"), mk("docs"), mk("lang-de"),
			mk("app-doc", "install_if docs app=1.0-r0").file("usr/share/man/app.1", "man"),
			mk("libx", "provides so:libx.so.1=1.2.3").file("usr/lib/libx.so.1", "elf"),
			mk("libx-doc", "install_if docs libx").file("usr/share/man/libx.3", "man"),
			mk("app-de", "install_if app lang-de").file("usr/share/locale/de/app", "hallo"),
			mk("app-fr", "install_if app lang-fr").file("usr/share/locale/fr/app", "salut"),
		}},
		{name: "install_if not", world: "app", not2: true, packages: []*pkg{
			mk("app"), mk("plain", "install_if app !fancy").file("usr/share/plain", "x"), mk("fancy"),
			mk("not-plain", "install_if app !plain").file("usr/share/not-plain", "x"),
		}},
		{name: "provides", world: "mta cmd:edit pc:z shell>=2", packages: []*pkg{
			mk("postfix", "provides mta smtp=3").file("usr/sbin/postfix", "p"), func() *pkg {
				p := mk("exim", "provides mta").file("usr/sbin/exim", "e")
				p.ProviderPriority = 10
				return p
			}(),
			mk("vi", "provides cmd:edit=1 cmd:vi=1"), mk("emacs", "provides cmd:edit=2"),
			mk("z-dev", "provides pc:z=1.2.13", "depends z=1.2.13-r1"), mk("z=1.2.13-r1").file("usr/lib/libz", "z"), mk("z=1.3-r0"),
			mk("busybox", "provides shell=1"), mk("dash", "provides shell=2.1"),
		}},
		{name: "replaces", world: "new old both-a both-b sub-a sub-b", packages: []*pkg{
			mk("old").file("etc/shared", "old\n").file("usr/bin/tool", "old tool\n").file("usr/share/only", "x\n").
				add(special(apk.HardLink, "usr/bin/tool2", "usr/bin/tool")),
			mk("new", "replaces old", "depends old").file("usr/bin/tool", "new tool\n").file("etc/shared", "new\n"),
			func() *pkg {
				p := mk("both-a", "replaces both-b").file("usr/both", "a\n")
				p.ReplacesPriority = 5
				return p
			}(),
			func() *pkg {
				p := mk("both-b", "replaces both-a").file("usr/both", "b\n")
				p.ReplacesPriority = 9
				return p
			}(),
			mk("sub-a", "origin sub").file("usr/lib/sub", "a\n"), mk("sub-b", "origin sub").file("usr/lib/sub", "b\n"),
		}},
		{name: "rights of shared folders", world: "aa bb cc", not2: true, packages: []*pkg{
			mk("aa", "origin cc").add(dirEntry("srv", 0o750), dirEntry("usr", 0o711), dirEntry("opt", 0o755)),
			func() *pkg {
				p := mk("bb").add(dirEntry("srv", 0o700), dirEntry("usr", 0o755), dirEntry("opt", 0o1777))
				p.ReplacesPriority = 3
				return p
			}(),
			mk("cc", "origin cc").add(dirEntry("srv", 0o755), dirEntry("usr", 0o777)),
		}},
		{name: "meta packages", world: "meta", packages: []*pkg{
			mk("meta", "depends inner !never"), mk("inner", "depends leaf"), mk("leaf").file("usr/leaf", "l"), mk("never"),
		}},
		{name: "tags", world: "stable new@edge", packages: []*pkg{
			mk("stable=1").file("usr/stable", "1"), func() *pkg { p := mk("stable=2").file("usr/stable", "2"); p.tag = "edge"; return p }(),
			func() *pkg { p := mk("new=2", "depends helper").file("usr/new", "2"); p.tag = "edge"; return p }(),
			func() *pkg { p := mk("helper=3").file("usr/helper", "3"); p.tag = "edge"; return p }(),
		}},
		{name: "protected", world: "keys conf late", config: map[string]string{
			"keys/same.pub": "same\n", "keys/other.pub": "mine\n", "protected_paths.d/more.list": "# comment\n+srv/*.d\n-etc/open\n",
		}, packages: []*pkg{
			mk("keys").file("etc/apk/keys/same.pub", "same\n").file("etc/apk/keys/other.pub", "theirs\n").
				file("usr/share/keys/x", "x\n").add(special(apk.HardLink, "usr/share/keys/linked", "etc/apk/keys/other.pub")),
			mk("conf").file("etc/conf", "conf\n").file("srv/a.d/x", "x\n").file("etc/open/y", "y\n"),
			mk("late", "replaces conf").file("etc/conf", "late\n").file("srv/a.d/x", "x2\n"),
		}},
		{name: "links to folders", not2: true, world: "layout lib-a lib-b", packages: []*pkg{
			mk("layout").dirs("usr/lib", "usr/bin").add(special(apk.Symlink, "lib", "usr/lib"), special(apk.Symlink, "bin", "usr/../usr/bin")),
			mk("lib-a", "depends layout").file("lib/a", "a\n").file("bin/a", "a\n").file("usr/lib/a2", "a\n"),
			mk("lib-b", "depends layout lib-a").dirs("usr/lib").file("lib/sub/b", "b\n").add(special(apk.HardLink, "lib/sub/b2", "lib/sub/b"), dirEntry("usr/lib/sub", 0o700)),
		}},
		{name: "more than the index says", world: "large", packages: []*pkg{
			func() *pkg {
				p := mk("large").file("usr/large", strings.Repeat("0123456789abcdef", 200_000)).file("usr/small", "s").
					add(special(apk.HardLink, "usr/large2", "usr/large"))
				p.small = 1000
				return p
			}(),
		}},
		{name: "scripts", world: "daemon", scripts: true, packages: []*pkg{shell, sh(),
			func() *pkg {
				p := mk("daemon", "depends base sh")
				p.PreInstall = []byte("#!/bin/sh\necho pre \"$@\" >>/log\n[ ! -e /etc/daemon ] || echo late >>/log\necho daemon:x:300:301:d:/:/bin/sh >>/etc/passwd\necho daemon:x:301: >>/etc/group\necho 'user made' >/etc/daemon.conf\n")
				p.PostInstall = []byte("#!/bin/sh\necho post \"$@\" >>/log\n[ -e /etc/daemon ] || echo early >>/log\numask >>/log\npwd >>/log\n")
				p.PreUpgrade, p.PostDeinstall = logging("pre-upgrade", "daemon"), logging("post-deinstall", "daemon")
				return p.file("etc/daemon", "d\n").file("etc/daemon.conf", "default\n").add(ownedBy(dirEntry("run", 0o755), "root", "daemon"), ownedBy(regular("run/pid", 0o600, ""), "daemon", "daemon"))
			}(),
		}},
		{name: "triggers", world: "icons theme-a theme-b fonts changed", scripts: true, packages: []*pkg{shell, sh(),
			mk("icons", "triggers /usr/share/icons/* /usr/share/icons", "depends base sh").dirs("usr/share/icons"),
			mk("fonts", "triggers /usr/share/fonts/[a-m]* /nothing/here", "depends base sh"),
			mk("theme-a", "depends base").file("usr/share/icons/a/x", "x").file("usr/share/icons/a/deep/x", "x").file("usr/share/fonts/arial/f", "f"),
			mk("theme-b", "depends base").file("usr/share/icons/b/x", "x").file("usr/share/fonts/zapf/f", "f").file("usr/share/fonts/courier/f", "f"),
			mk("changed", "triggers /usr/share/none/*", "depends base sh"),
		}},
		{name: "triggers of changes", world: "all", scripts: true, not2: true, packages: []*pkg{shell, sh(),
			mk("all", "triggers +/usr/share/* +/usr /etc", "depends base sh").file("usr/share/all/x", "x"),
		}},
	}
}
