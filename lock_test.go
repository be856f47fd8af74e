package ashlar_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
)

func exampleLock() *ashlar.Lock {
	m := func(name string) ashlar.Material {
		return ashlar.Material{Name: name, URI: "mirror://debian/pool/" + name, Digest: ashlar.DigestOf([]byte(name)), Size: 1}
	}
	patch := ashlar.Source{Material: m("fix.patch"), Path: "/p", Anchor: ashlar.Anchor{Kind: ashlar.AnchoredByIndex}, From: []ashlar.Material{m("other.dsc"), m("a.dsc")}}
	return &ashlar.Lock{Format: ashlar.LockFormat, Inputs: ashlar.Inputs{
		Definition: m("def.yaml"), Includes: []ashlar.Material{m("common.yaml")}, Target: ashlar.Target{Distro: "debian-12", Arch: "amd64"}, Vars: map[string]string{"b": "<2>", "a": "1"},
		Builds: []ashlar.BuildInputs{{
			Name:    "one",
			Root:    ashlar.Root{Layers: []ashlar.Layer{{Name: "essential", Packages: []ashlar.RootPackage{{Name: "dpkg", URI: "mirror://debian/pool/dpkg", Digest: ashlar.DigestOf(nil)}}}}},
			Sources: []ashlar.Source{{Material: m("a.dsc"), Path: "/a"}, patch},
		}},
	}}
}

func TestLockRoundTrip(t *testing.T) {
	lock := exampleLock()
	b, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ashlar.DecodeLock(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lock, back); diff != "" {
		t.Errorf("lock differs after a round trip:\n%s", diff)
	}
	again, err := back.Encode()
	if err != nil || string(again) != string(b) {
		t.Errorf("the same lock has other bytes: %v", err)
	}
}

func TestMaterialsNamesEachOnce(t *testing.T) {
	var names []string
	for _, m := range exampleLock().Materials() {
		names = append(names, m.Name)
	}
	if diff := cmp.Diff([]string{"def.yaml", "common.yaml", "a.dsc", "fix.patch", "other.dsc", "dpkg"}, names); diff != "" {
		t.Error(diff)
	}
}

// TestMaterialsNamesEveryDigest: a second digest for an address is not hidden
// behind the first.
func TestMaterialsNamesEveryDigest(t *testing.T) {
	lock := exampleLock()
	first := lock.Inputs.Builds[0]
	second := ashlar.BuildInputs{Name: "two", Root: first.Root, Sources: []ashlar.Source{first.Sources[0]}}
	second.Sources[0].Digest = ashlar.DigestOf([]byte("something else"))
	lock.Inputs.Builds = append(lock.Inputs.Builds, second)
	var names []string
	for _, m := range lock.Materials() {
		names = append(names, m.Name+" "+m.Digest.Short())
	}
	want := []string{}
	for _, n := range []string{"def.yaml", "common.yaml", "a.dsc", "fix.patch", "other.dsc"} {
		want = append(want, n+" "+ashlar.DigestOf([]byte(n)).Short())
	}
	want = append(want, "a.dsc "+second.Sources[0].Digest.Short(), "dpkg "+ashlar.DigestOf(nil).Short())
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	lock.Inputs.Builds[1].Sources[0].Digest = "sha256:0"
	if b, err := lock.Encode(); err != nil {
		t.Fatal(err)
	} else if _, err := ashlar.DecodeLock(b); err == nil {
		t.Error("a second digest that is none is accepted")
	}
}

// TestCallsOfDpkg: what stands in a lock becomes lines of a script that root runs.
func TestCallsOfDpkg(t *testing.T) {
	for _, c := range []struct {
		run  ashlar.Run
		good bool
	}{
		{ashlar.Run{Do: "unpack", Packages: []string{"dpkg"}}, true},
		{ashlar.Run{Do: "configure", Packages: []string{"dpkg:amd64"}}, true},
		{ashlar.Run{Do: "configure"}, true},
		{ashlar.Run{Do: "touch /owned; configure", Packages: []string{"dpkg"}}, false},
		{ashlar.Run{Packages: []string{"dpkg"}}, false},
		{ashlar.Run{Do: "unpack", Packages: []string{"--root=/"}}, false},
		{ashlar.Run{Do: "unpack", Packages: []string{"libc6"}}, false},
	} {
		lock := exampleLock()
		layer := &lock.Inputs.Builds[0].Root.Layers[0]
		layer.Packages[0].Arch, layer.Order = "amd64", []ashlar.Run{c.run}
		b, err := lock.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ashlar.DecodeLock(b); (err == nil) != c.good {
			t.Errorf("%+v: %v", c.run, err)
		}
	}
}

func TestDecodeLockRefuses(t *testing.T) {
	lock := exampleLock()
	lock.Inputs.Indexes = []ashlar.Index{{URI: "mirror://debian/dists/x/InRelease", Digest: ashlar.DigestOf([]byte("index"))}}
	lock.Fetched = []ashlar.Fetched{{Name: "modules", Key: ashlar.DigestOf([]byte("key")), Digest: ashlar.DigestOf([]byte("tree"))}}
	good, err := lock.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown field": {`"format": 1`, `"format": 1, "formt": 1`},
		"other format":  {`"format": 1`, `"format": 2`},
		"bad digest":    {"sha256:", "sha1:"},
		"not JSON":      {"{", ""},
		"bad index":     {string(ashlar.DigestOf([]byte("index"))), "sha256:1"},
		"bad tree":      {string(ashlar.DigestOf([]byte("tree"))), "sha256:1"},
		"bad key":       {string(ashlar.DigestOf([]byte("key"))), "sha256:1"},
		"key twice":     {`"name": "one"`, `"name": "two", "name": "one"`},
		"other case":    {`"inputs"`, `"Inputs"`},
		"other order": {`"distro": "debian-12",
      "arch": "amd64"`, `"arch": "amd64", "distro": "debian-12"`},
		"text after": {"\n}\n", "\n}\n{}"},
	} {
		if !strings.Contains(string(good), change[0]) {
			t.Fatalf("%s: the test changes nothing", name)
		}
		if _, err := ashlar.DecodeLock([]byte(strings.Replace(string(good), change[0], change[1], 1))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestDecodeLockTakesBlanks: an editor may have laid the file out anew.
func TestDecodeLockTakesBlanks(t *testing.T) {
	good, err := exampleLock().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, blanks := range map[string]string{"tabs": "\t", "Windows": "\r\n", "none": ""} {
		text := strings.ReplaceAll(strings.ReplaceAll(string(good), "  ", blanks), "\n", blanks)
		if lock, err := ashlar.DecodeLock([]byte(text)); err != nil || !cmp.Equal(lock, exampleLock()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestMaterialsOfSysroot: the packages of a sysroot are inputs as all others.
func TestMaterialsOfSysroot(t *testing.T) {
	lock := exampleLock()
	own := ashlar.RootPackage{Name: "zlib-dev", URI: "ashlar://musl-1/main/zlib-dev-1-r0.apk", Digest: ashlar.DigestOf([]byte("zlib")), Size: 3}
	lock.Inputs.Builds[0].Root.Sysroot = &ashlar.Sysroot{Path: ashlar.SysrootDir, Packages: []ashlar.RootPackage{own}}
	all := lock.Materials()
	if got := all[len(all)-1]; got != (ashlar.Material{Name: own.Name, URI: own.URI, Digest: own.Digest, Size: own.Size}) {
		t.Errorf("the last is %+v", got)
	}
	if n := len(lock.Inputs.Builds[0].Root.Packages()); n != 1 {
		t.Errorf("%d packages for dpkg", n)
	}
	lock.Inputs.Builds[0].Root.Sysroot.Packages[0].Digest = "sha256:0"
	if err := lock.Validate(); err == nil || !strings.Contains(err.Error(), own.URI) {
		t.Errorf("a digest that is none: %v", err)
	}
}

func TestNouns(t *testing.T) {
	for arch, want := range map[ashlar.Arch]string{"amd64": "x86_64", "arm64": "aarch64", "i386": "x86", "armhf": "armv7", "ppc64el": "ppc64le", "riscv64": "riscv64", "s390x": "s390x"} {
		if got := arch.Alpine(); got != want {
			t.Errorf("Alpine calls %s %s, want %s", arch, got, want)
		}
	}
	res := ashlar.Result{Files: []ashlar.File{{Name: "a-1-r0.apk"}, {Name: "a.dsc"}, {Name: "a_1_all.deb"}, {Name: "a_1_amd64.udeb"}}}
	if got := res.Packages(); len(got) != 2 || got[0].Name != "a-1-r0.apk" || got[1].Name != "a_1_all.deb" {
		t.Errorf("packages %v", got)
	}
	if d, err := ashlar.DigestFromHex(strings.ToUpper(ashlar.DigestOf(nil).Hex())); err != nil || d != ashlar.DigestOf(nil) {
		t.Errorf("digest from upper-case digits: %s, %v", d, err)
	}
	if _, err := ashlar.DigestFromHex("12"); err == nil {
		t.Error("two digits are taken for a digest")
	}
	for suite, want := range map[string]ashlar.Distro{"bookworm": "debian-12", "trixie-security": "debian-13", "nowhere": ""} {
		if got := ashlar.DistroOfCodename(suite); got != want {
			t.Errorf("distro of %s is %q, want %q", suite, got, want)
		}
	}
	if got := ashlar.Distro("alpine-3.24").Codename(); got != "" {
		t.Errorf("Alpine has the codename %q", got)
	}
	if got := ashlar.DebFileName("zlib1g", "1:1.2.13.dfsg-1+cut12u1", "amd64"); got != "zlib1g_1.2.13.dfsg-1+cut12u1_amd64.deb" {
		t.Errorf("file name %s", got)
	}
}
