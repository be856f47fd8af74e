package apk

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar/internal/adb"
)

// TestRealMkpkg makes the same package with the real mkpkg, and wants the same
// bytes of all that is signed, and every field when it is read.
func TestRealMkpkg(t *testing.T) {
	dir := t.TempDir()
	info, scripts, files := v3Sample()
	info.Tags, info.Recommends, info.Layer = []string{"vendor:a=b", "another"}, deps("more even-more>1"), 1
	files = slices.DeleteFunc(files, func(f File) bool { return f.Kind == FIFO }) // mkpkg waits for somebody to write into it
	if err := os.Mkdir(filepath.Join(dir, "tree"), 0o755); err != nil {
		t.Fatal(err)
	}
	realAPK3(t)
	plant(t, filepath.Join(dir, "tree"), files)
	saveKey(t, dir, "ec", v3Key)
	for _, list := range []*[]Dependency{&info.Depends, &info.Provides, &info.Replaces, &info.InstallIf, &info.Recommends} {
		slices.SortFunc(*list, compareDependencies) // mkpkg writes them as they come and then sorts
	}
	args := mkpkgArgs(&info)
	for _, slot := range scripts.slots() {
		if *slot.data != nil {
			save(t, dir, slot.name, *slot.data)
			args = append(args, "--script", slot.name+":"+slot.name)
		}
	}
	mustAPK3(t, dir, args...)
	b, err := os.ReadFile(filepath.Join(dir, "real.apk"))
	if err != nil {
		t.Fatal(err)
	}
	theirs, contents, err := v3Contents(b, V3Signed(v3Key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	checkV3Files(t, files, theirs.Entries, contents)
	var out bytes.Buffer
	packed, err := WriteV3(&out, &V3Spec{Info: info, Scripts: scripts, Files: files, Signers: []crypto.Signer{v3Key}})
	if err != nil {
		t.Fatal(err)
	}
	ours, _, err := v3Contents(out.Bytes(), V3Unchecked())
	if err != nil {
		t.Fatal(err)
	}
	save(t, dir, "ours.apk", out.Bytes())
	if d := cmp.Diff(facts(mustAPK3(t, dir, "adbdump", "real.apk")), facts(mustAPK3(t, dir, "adbdump", "ours.apk"))); d != "" {
		t.Errorf("what apk says of mkpkg's and of ours differs:\n%s", d)
	}
	if d := cmp.Diff(theirs.Info, ours.Info); d != "" || !cmp.Equal(theirs.Scripts, ours.Scripts) {
		t.Errorf("what is read of mkpkg's and of ours differs:\n%s", d)
	}
	if packed.Hash != theirs.Hash || !bytes.Equal(ours.ID, theirs.ID) {
		t.Errorf("the hash is %x, id %x; mkpkg's are %x and %x", packed.Hash, ours.ID, theirs.Hash, theirs.ID)
	}
}

// TestRealReads lets the real apk verify, dump and extract our packages, in every
// compression and signed by each kind of key.
func TestRealReads(t *testing.T) {
	dir := t.TempDir()
	realAPK3(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		t.Fatal(err)
	}
	saveKey(t, dir, "ec", v3Key)
	saveKey(t, dir, "rsa", rsaKey)
	_, _, files := v3Sample()
	for _, c := range []struct {
		name    string
		z       adb.Compression
		signers []crypto.Signer
		refused string
	}{
		{"none", adb.None, []crypto.Signer{v3Key}, ""},
		{"deflate", adb.Deflate, []crypto.Signer{rsaKey}, ""},
		{"zstd", adb.Zstd, []crypto.Signer{v3Key}, ""},
		{"foreign and known key", adb.Deflate, []crypto.Signer{v3OtherKey, v3Key}, ""},
		{"foreign key", adb.Deflate, []crypto.Signer{v3OtherKey}, "UNTRUSTED"},
		{"unsigned", adb.Deflate, nil, "UNTRUSTED"},
	} {
		b, _ := v3Pack(t, c.z, c.signers...)
		save(t, dir, "demo.apk", b)
		out, err := apk3(t, dir, "verify", "--keys-dir", dir+"/keys", "demo.apk")
		if (err == nil) != (c.refused == "") || !strings.Contains(out, c.refused) {
			t.Errorf("%s: verify says %v\n%s", c.name, err, out)
		}
		if c.refused != "" {
			continue
		}
		tree := filepath.Join(dir, c.name)
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		mustAPK3(t, dir, "extract", "--keys-dir", dir+"/keys", "--destination", tree, "demo.apk")
		compareWithPlanted(t, files, tree)
	}
}

// v3Repository writes a repository of the sample, its dependencies left out, and
// returns the name of the package's file.
func v3Repository(t *testing.T, dir, spec string, signers ...crypto.Signer) string {
	t.Helper()
	info, scripts, files := v3Sample()
	info.Depends, info.InstallIf = nil, nil
	var b bytes.Buffer
	packed, err := WriteV3(&b, &V3Spec{Info: info, Scripts: scripts, Files: files, Compression: adb.Deflate})
	if err != nil {
		t.Fatal(err)
	}
	indexed := packed.IndexEntry()
	name, err := V3FileName(spec, &indexed)
	if err != nil {
		t.Fatal(err)
	}
	save(t, dir, "repo/"+name, b.Bytes())
	b.Reset()
	if err := WriteV3Index(&b, &V3Index{Description: "a repository", PkgnameSpec: spec, Entries: []V3IndexEntry{indexed}}, adb.Deflate, signers...); err != nil {
		t.Fatal(err)
	}
	save(t, dir, "repo/Packages.adb", b.Bytes())
	save(t, dir, "repositories", []byte("ndx "+dir+"/repo/Packages.adb\n"))
	return name
}

// TestRealInstall installs an unsigned package by a signed index.
func TestRealInstall(t *testing.T) {
	realAPK3(t)
	_, _, files := v3Sample()
	for _, spec := range []string{"", "${name}-${version}.${hash:8}.apk", "${arch}/${name:3}/${name}_${version}-${hash}.apk"} {
		dir := t.TempDir()
		saveKey(t, dir, "ec", v3Key)
		name := v3Repository(t, dir, spec, v3OtherKey, v3Key)
		if out, err := install(t, dir, dir+"/root", "demo"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		compareWithPlanted(t, files, dir+"/root")
		out, err := apk3(t, dir, "audit", "--root", dir+"/root", "--keys-dir", dir+"/keys", "--full", "--recursive")
		if err != nil || strings.Contains(out, "usr/bin") || strings.Contains(out, "etc/demo.conf") {
			t.Errorf("audit: %v\n%s", err, out)
		}
	}
}

// TestRealRefuses wants the real apk to refuse what was tampered with, as we do.
func TestRealRefuses(t *testing.T) {
	realAPK3(t)
	for _, c := range []struct {
		name    string
		signers []crypto.Signer
		tamper  func(t *testing.T, dir, file string)
		want    string
	}{
		{"nothing", []crypto.Signer{v3Key}, func(*testing.T, string, string) {}, ""},
		{"unsigned index", nil, func(*testing.T, string, string) {}, "UNTRUSTED"},
		{"foreign key", []crypto.Signer{v3OtherKey}, func(*testing.T, string, string) {}, "UNTRUSTED"},
		{"data", []crypto.Signer{v3Key}, func(t *testing.T, _, file string) {
			replaceInV3(t, file, "key = value\n", "key = other\n")
		}, "integrity"},
		{"description", []crypto.Signer{v3Key}, func(t *testing.T, _, file string) {
			replaceInV3(t, file, "A demonstration", "A demolition!!!")
		}, "integrity"},
		{"index", []crypto.Signer{v3Key}, func(t *testing.T, dir, _ string) {
			replaceInV3(t, dir+"/repo/Packages.adb", "A demonstration", "A demolition!!!")
		}, "UNTRUSTED"},
	} {
		dir := t.TempDir()
		saveKey(t, dir, "ec", v3Key)
		name := v3Repository(t, dir, "", c.signers...)
		c.tamper(t, dir, dir+"/repo/"+name)
		out, err := install(t, dir, dir+"/root", "demo")
		if (err == nil) != (c.want == "") || !strings.Contains(out, c.want) {
			t.Errorf("%s: apk says %v, want %q\n%s", c.name, err, c.want, out)
		}
		f, err := os.Open(dir + "/repo/Packages.adb")
		if err != nil {
			t.Fatal(err)
		}
		x, err := ReadV3Index(f, V3Signed(v3Key.Public()))
		f.Close()
		if err == nil {
			var b []byte
			if b, err = os.ReadFile(dir + "/repo/" + name); err != nil {
				t.Fatal(err)
			}
			_, _, err = v3Contents(b, V3Expected([sha256.Size]byte(x.Entries[0].Hash)))
		}
		if (err == nil) != (c.want == "") {
			t.Errorf("%s: we say %v", c.name, err)
		}
	}
}

// TestRealV2AndV3 installs the same package as v2 and as v3 and compares.
func TestRealV2AndV3(t *testing.T) {
	realAPK3(t)
	dir := t.TempDir()
	info, scripts, files := v3Sample()
	info.Depends, info.InstallIf = nil, nil
	var v2, v3 bytes.Buffer
	packed2, err := WriteV2(&v2, &V2Spec{Info: info, Scripts: scripts, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	packed3, err := WriteV3(&v3, &V3Spec{Info: info, Scripts: scripts, Files: files, Compression: adb.Deflate})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(packed2.Info, packed3.Info); d != "" {
		t.Errorf("what is said of v2 and v3 differs:\n%s", d)
	}
	entries := make([]Entry, len(files))
	for i := range files {
		entries[i] = files[i].Entry
	}
	save(t, dir, "repositories", nil)
	var trees [][]string
	var scriptsOf []string
	for name, b := range map[string][]byte{"v2": v2.Bytes(), "v3": v3.Bytes()} {
		save(t, dir, name+".apk", b)
		if out, err := install(t, dir, dir+"/"+name, "--allow-untrusted", name+".apk"); err != nil {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		trees = append(trees, listing(t, dir+"/"+name, entries))
		scriptsOf = append(scriptsOf, installedFacts(t, dir, dir+"/"+name))
	}
	if d := cmp.Diff(trees[0], trees[1]); d != "" {
		t.Errorf("the trees differ:\n%s", d)
	}
	if d := cmp.Diff(scriptsOf[0], scriptsOf[1]); d != "" {
		t.Errorf("the facts that are kept differ:\n%s", d)
	}
}

// TestRealMkndx reads the index of the real mkndx and wants the same in it as in
// ours, of packages of both generations.
func TestRealMkndx(t *testing.T) {
	realAPK3(t)
	dir := t.TempDir()
	saveKey(t, dir, "ec", v3Key)
	x := V3Index{Description: "the packages", PkgnameSpec: "${name}-${version}.apk"}
	args := []string{"mkndx", "--output", "Packages.adb", "--sign-key", "ec.pem", "--description", x.Description,
		"--pkgname-spec", x.PkgnameSpec, "--allow-untrusted"}
	for i, v := range []string{"1.10", "1.9", "1.9_rc1", "2", "1.9-r5"} {
		info, scripts, files := v3Sample()
		info.Version = v
		if i%2 == 1 {
			info.Name, info.Depends, info.Tags = "another", nil, []string{"tag"}
		}
		var b bytes.Buffer
		if v == "2" { // a v2 package
			info.Tags = nil
			packed, err := WriteV2(&b, &V2Spec{Info: info, Scripts: scripts, Files: files})
			if err != nil {
				t.Fatal(err)
			}
			x.Entries = append(x.Entries, packed.V3IndexEntry())
		} else {
			packed, err := WriteV3(&b, &V3Spec{Info: info, Scripts: scripts, Files: files, Compression: adb.Zstd})
			if err != nil {
				t.Fatal(err)
			}
			x.Entries = append(x.Entries, packed.IndexEntry())
		}
		save(t, dir, info.Name+"-"+info.Version+".apk", b.Bytes())
		args = append(args, info.Name+"-"+info.Version+".apk")
	}
	mustAPK3(t, dir, args...)
	theirs := readV3IndexFile(t, dir+"/Packages.adb")
	var b bytes.Buffer
	if err := WriteV3Index(&b, &x, adb.Deflate, v3Key); err != nil {
		t.Fatal(err)
	}
	save(t, dir, "ours.adb", b.Bytes())
	if d := cmp.Diff(theirs, readV3IndexFile(t, dir+"/ours.adb")); d != "" {
		t.Errorf("mkndx's index and ours differ:\n%s", d)
	}
	if d := cmp.Diff(facts(mustAPK3(t, dir, "adbdump", "Packages.adb")), facts(mustAPK3(t, dir, "adbdump", "ours.adb"))); d != "" {
		t.Errorf("what apk says of mkndx's index and of ours differs:\n%s", d)
	}
}

func readV3IndexFile(t *testing.T, name string) *V3Index {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, err := ReadV3Index(f, V3Signed(v3Key.Public()))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestRealReadsIndex lets the real apk read a large index of ours.
func TestRealReadsIndex(t *testing.T) {
	realAPK3(t)
	dir := t.TempDir()
	saveKey(t, dir, "ec", v3Key)
	const n = 8000
	save(t, dir, "Packages.adb", writeV3(t, v3SampleIndex(n), adb.Zstd, v3OtherKey, v3Key))
	if out := mustAPK3(t, dir, "verify", "--keys-dir", dir+"/keys", "Packages.adb"); !strings.Contains(out, "OK") {
		t.Errorf("verify says %s", out)
	}
	if got := strings.Count(mustAPK3(t, dir, "adbdump", "Packages.adb"), "  - name: package-"); got != n {
		t.Errorf("it reads %d packages of %d", got, n)
	}
	save(t, dir, "repositories", []byte("ndx "+dir+"/Packages.adb\n"))
	if out, err := install(t, dir, dir+"/root"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out := mustAPK3(t, dir, "search", "--root", dir+"/root", "--arch", "x86_64", "--keys-dir", dir+"/keys",
		"--repositories-file", dir+"/repositories", "--exact", "-v", "package-1234-doc")
	if !strings.Contains(out, "What package-1234-doc is for") {
		t.Errorf("search says %s", out)
	}
}
