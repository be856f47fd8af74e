package apk

import (
	"crypto"
	"crypto/sha256"
	"io"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The third generation, in the files named v3*.go: packages and indexes are ADB
// files, whose values have the meaning that is written down here.

// The schemas of ADB files.
const (
	v3SchemaPackage adb.Schema = 0x676b6370 // "pckg"
	v3SchemaIndex   adb.Schema = 0x78646e69 // "indx"
)

// Slots of a package, the root of its file.
const (
	v3PackageInfo = 1 + iota
	v3PackagePaths
	v3PackageScripts
	v3PackageTriggers
	v3PackageReplacesPriority
)

// Slots of the info of a package.
const (
	v3Name = 1 + iota
	v3Version
	v3Hashes
	v3Description
	v3Arch
	v3License
	v3Origin
	v3Maintainer
	v3URL
	v3Commit // 20 bytes
	v3BuildTime
	v3InstalledSize
	v3FileSize // in an index only
	v3ProviderPriority
	v3Depends
	v3Provides
	v3Replaces
	v3InstallIf
	v3Recommends
	v3Layer
	v3Tags
	v3InfoSlots = v3Tags
)

// Slots of a dependency.
const (
	v3DepName    = 1 + iota
	v3DepVersion // none if any version will do
	v3DepMatch   // bits of a Match and v3Conflict; none stands for Equal
)

// v3Conflict is the bit for "!" beside those of a Match, and v3Any what apk
// writes beside it where any version will do.
const (
	v3Conflict = 16
	v3Any      = uint64(Equal | Less | Greater)
)

// Slots of a folder and of a file.
const (
	v3DirName = 1 + iota
	v3DirACL
	v3DirFiles

	v3FileName   = v3DirName
	v3FileACL    = v3DirACL
	v3FileLength = 3
	v3FileTime   = 4
	v3FileHash   = 5 // SHA-256 of a regular file and of its other names
	v3FileTarget = 6 // of all that is no regular file
)

// Slots of the access rights of a folder or file.
const (
	v3Mode = 1 + iota
	v3User
	v3Group
	v3Xattrs // "name\x00value" each
)

// Slots of an index, the root of its file.
const (
	v3IndexDescription = 1 + iota
	v3IndexPackages
	v3IndexPkgnameSpec
)

// v3ScriptSlots is how many scripts there can be.
const v3ScriptSlots = 7

// v3ScriptsBySlot returns the scripts in the order of their slots.
func v3ScriptsBySlot(s *Scripts) [v3ScriptSlots]*[]byte {
	return [...]*[]byte{&s.Trigger, &s.PreInstall, &s.PostInstall, &s.PreDeinstall, &s.PostDeinstall, &s.PreUpgrade, &s.PostUpgrade}
}

// Bounds on v3 files, in bytes.
const (
	maxV3Package = 64 << 20  // of what describes a package
	maxV3Index   = 128 << 20 // of an index
	maxV3Data    = 64 << 30  // of a package with its files, unpacked
	maxV3Text    = 64 << 10  // of a description or other text
)

// v3IndexLimits bound an index with its signatures.
var v3IndexLimits = adb.Limits{Payload: maxV3Index, Total: maxV3Index + maxV3Text*4}

// A V3Trust decides whether a v3 file is to be trusted, and says so to it, before
// anything in it is looked at. Its error, or one of kind fault.Denied if it gives
// no trust, is that of reading the file.
type V3Trust func(f *adb.File) error

// V3Signed trusts what one of the keys has signed. What is not is fault.Denied.
func V3Signed(keys ...crypto.PublicKey) V3Trust {
	return func(f *adb.File) error {
		_, err := f.Verify(keys...)
		return err
	}
}

// V3Expected trusts the package of which a trusted index says that it has this
// hash; another is fault.Denied.
func V3Expected(hash [sha256.Size]byte) V3Trust {
	return func(f *adb.File) error { return f.VerifyDigest(hash) }
}

// V3Unchecked trusts anything: for a file that has been checked as a whole, or
// that is only looked at.
func V3Unchecked() V3Trust {
	return func(f *adb.File) error {
		f.Trust()
		return nil
	}
}

// openV3 opens an ADB file if it is to be trusted.
func openV3(r io.Reader, schema adb.Schema, l adb.Limits, trust V3Trust) (*adb.File, error) {
	f, err := adb.Open(r, schema, l)
	if err != nil {
		return nil, inV3(err)
	}
	if err = trust(f); err == nil && !f.Trusted() {
		err = fault.New(fault.Denied, "the file is not trusted")
	}
	if err != nil {
		f.Close()
		return nil, inV3(err)
	}
	return f, nil
}

// inV3 says of an error that it is about a v3 file; errors of reading stay.
func inV3(err error) error {
	switch fault.KindOf(err) {
	case fault.Invalid, fault.Denied:
		return fault.Within(err, "apk v3")
	}
	return err
}

// v3Nodes calls read for each object of a list.
func v3Nodes(list adb.Object, read func(o adb.Object) error) error {
	for i := 1; i <= list.Len(); i++ {
		if err := read(list.Object(i)); err != nil {
			return err
		}
	}
	return nil
}
