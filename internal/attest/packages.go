package attest

import (
	"context"
	"io"
	"path"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/sbom"
)

// A verifiedSet is the output whose bytes have been read.
type verifiedSet struct {
	packages  map[string]builtPackage // by file name
	documents map[string]documents    // by name of the package
}

// documents are what a package says of its licenses: the copyright file, or the
// name of another package that has it for both.
type documents struct {
	copyright []byte
	of        string
}

// isPackage reports whether a file is a binary package, for users or for the
// installer.
func isPackage(name string) bool {
	ext := path.Ext(name)
	return ext == ".deb" || ext == ".udeb" || ext == ".apk"
}

// A builtPackage is what a package says of itself.
type builtPackage struct {
	name, version string
	purl          string
	license       string // as an .apk has it, an SPDX expression as a rule
}

// readPackage reads what a package says of itself and checks that the file bears
// the name that its content gives it.
func (s *verifiedSet) readPackage(ctx context.Context, files Files, f ashlar.File, distro ashlar.Distro) error {
	content, err := openFile(ctx, files, f)
	if err != nil {
		return err
	}
	defer content.Close()
	read := readDeb
	if path.Ext(f.Name) == ".apk" {
		read = readApk
	}
	p, d, want, err := read(content, f.Name, distro)
	if err != nil {
		return err
	}
	if want != f.Name {
		return fault.New(fault.Denied, "the file is named %s and holds %s", f.Name, want)
	}
	s.packages[f.Name] = p
	if path.Ext(f.Name) != ".apk" {
		s.documents[p.name] = d // that of an .apk of the same name has nothing to say of it
	}
	return nil
}

// readDeb reads the control file and the copyright file of a .deb or .udeb. It
// returns the name that the file must have too.
func readDeb(content Content, name string, distro ashlar.Distro) (b builtPackage, d documents, want string, err error) {
	opened, err := deb.Open(content, content.Size())
	if err != nil {
		return b, d, "", fault.New(fault.Invalid, "%w", err).At(name, 0)
	}
	p, err := opened.Package()
	if err != nil {
		return b, d, "", fault.New(fault.Invalid, "%w", err).At(name, 0)
	}
	// Of a data archive that is malformed nothing is said: the gate installed it, or
	// says so.
	if d.copyright, d.of, err = opened.Copyright(); err != nil && !fault.Is(err, fault.Invalid) {
		return b, d, "", fault.New(fault.Denied, "read %s: %w", name, err)
	}
	want = strings.TrimSuffix(ashlar.DebFileName(p.Name, p.Version, p.Arch), ".deb") + path.Ext(name)
	return builtPackage{name: p.Name, version: p.Version, purl: purl(sbom.VendorAshlar, p.Name, p.Version, p.Arch, distro)}, d, want, nil
}

// readApk does the same with an .apk of either generation, and checks every part
// of it against what describes it. Its bytes are those that were recorded, so its
// signatures are not asked for.
func readApk(content Content, name string, distro ashlar.Distro) (b builtPackage, d documents, want string, err error) {
	p, err := openApk(content)
	if err != nil {
		return b, d, "", fault.New(fault.KindOf(err), "%w", err).At(name, 0)
	}
	b = builtPackage{name: p.info.Name, version: p.info.Version, license: p.info.License}
	b.purl = sbom.ApkPURL(sbom.VendorAshlar, b.name, b.version, p.info.Arch, string(distro))
	return b, d, p.file, nil
}

// An openedApk is an .apk of either generation that was read whole. Two that are
// equal in content hold the same but for their signatures.
type openedApk struct {
	info    *apk.Info
	file    string      // the name that its file must have
	content [2][32]byte // digests of all but the signatures
}

func openApk(c Content) (*openedApk, error) {
	var head [4]byte
	if _, err := c.ReadAt(head[:], 0); err != nil {
		return nil, fault.New(fault.Invalid, "it is too short for a package")
	}
	pass := func(*apk.Entry, io.Reader) error { return nil }
	if !apk.IsV3(head[:]) {
		p, err := apk.OpenV2(c, nil)
		if err != nil {
			return nil, err
		}
		return &openedApk{&p.Info, p.Info.Name + "-" + p.Info.Version + ".apk", [2][32]byte{p.ControlSHA256, p.DataSHA256}}, p.Walk(pass)
	}
	p, err := apk.OpenV3(c, apk.V3Unchecked())
	if err != nil {
		return nil, err
	}
	e := p.IndexEntry(c.Size())
	name, err := apk.V3FileName(apk.PublishedV3, &e)
	if err != nil {
		return nil, err
	}
	return &openedApk{&p.Info, name, [2][32]byte{p.Hash}}, p.Walk(pass)
}

// SameContent reports whether two files hold the same .apk, all the same but for the
// signatures. The error is fault.Invalid if one of them is none, and fault.Denied if
// a digest in it does not hold.
func SameContent(a, b Content) (bool, error) {
	one, err := openApk(a)
	if err != nil {
		return false, err
	}
	other, err := openApk(b)
	if err != nil {
		return false, err
	}
	return one.content == other.content, nil
}
