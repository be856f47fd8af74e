package apk

import (
	"crypto/sha1"
	"crypto/sha256"
	"io"
)

// Info is what is known of a package without looking at its files: the content
// of .PKGINFO in a v2 package, and of the objects package and pkginfo in a v3
// one. Check says whether apk takes it.
type Info struct {
	Name        string // letters, digits and ._+-, beginning with a letter or digit
	Version     string // see ValidateVersion
	Description string // one line
	Arch        string // "x86_64", "aarch64", "noarch", …
	License     string // an SPDX expression, as a rule
	Origin      string // name of the source package
	Maintainer  string
	Packager    string // who ran the build; in v2 packages only, and in no index
	URL         string
	Commit      string // of the recipe, 40 hexadecimal digits, or "" if unknown

	BuildTime        int64 // Unix seconds, 0 if unknown
	InstalledSize    int64 // bytes; apk extracts nothing of a v2 package if it is 0
	ProviderPriority int   // among packages that provide a name without a version, 0 to 65535
	ReplacesPriority int   // among packages that replace each other's files, 0 to 65535
	Layer            int   // 0 root, 1 uvol; known to v3 only

	Depends    []Dependency
	Provides   []Dependency // a name with nothing or with "=" and a version
	Replaces   []Dependency
	InstallIf  []Dependency
	Recommends []Dependency // known to v3 only, and not used by apk 3.0
	Tags       []string     // known to v3 only
	Triggers   []string     // globs of folders, such as "/usr/share/icons/*"
}

// Scripts are the programs of a package that apk runs, nil where there is none.
// Each begins with "#!".
type Scripts struct {
	PreInstall    []byte
	PostInstall   []byte
	PreDeinstall  []byte
	PostDeinstall []byte
	PreUpgrade    []byte
	PostUpgrade   []byte
	Trigger       []byte
}

// Empty reports whether there is no script at all.
func (s *Scripts) Empty() bool {
	for _, slot := range s.slots() {
		if *slot.data != nil {
			return false
		}
	}
	return true
}

// A scriptSlot is one of the scripts, with its name in apk's words.
type scriptSlot struct {
	name string
	data *[]byte
}

// slots returns the scripts in the order in which a v2 package holds them.
func (s *Scripts) slots() []scriptSlot {
	return []scriptSlot{
		{"pre-install", &s.PreInstall},
		{"post-install", &s.PostInstall},
		{"pre-deinstall", &s.PreDeinstall},
		{"post-deinstall", &s.PostDeinstall},
		{"pre-upgrade", &s.PreUpgrade},
		{"post-upgrade", &s.PostUpgrade},
		{"trigger", &s.Trigger},
	}
}

// A Kind says what sort of file an Entry is.
type Kind uint8

// The kinds of file a package can hold.
const (
	RegularFile Kind = iota
	Directory
	Symlink
	HardLink
	CharDevice
	BlockDevice
	FIFO
)

// String returns the kind in words.
func (k Kind) String() string {
	names := [...]string{"regular file", "directory", "symbolic link", "hard link", "character device", "block device", "fifo"}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown kind of file"
}

// An Entry is one file of a package.
type Entry struct {
	// Path is where the file is installed: below the root, with slashes between
	// its parts, none at the ends. The root itself is "", and only v3 lists it.
	Path string
	Kind Kind
	Mode uint32 // permission bits with setuid, setgid and sticky, at most 07777
	// User and Group are the owner's names. A v2 package may have numbers only;
	// then they are here in decimal.
	User, Group string
	Size        int64 // bytes of content, 0 unless it is a regular file
	ModTime     int64 // Unix seconds
	// Target is where a symbolic link points, as it is written, or the Path of
	// an earlier regular file of which a hard link is another name.
	Target       string
	Major, Minor uint32  // of a device
	Xattrs       []Xattr // extended attributes by ascending name

	// Digests of the content, zero where the format does not have them: v2 has
	// SHA-1 (of a symbolic link that of its target), v3 has SHA-256.
	SHA1   [sha1.Size]byte
	SHA256 [sha256.Size]byte
}

// An Xattr is an extended attribute of a file, such as "security.capability".
type Xattr struct {
	Name  string
	Value string // any bytes
}

// A File is an entry to be packed, with its content.
type File struct {
	Entry
	// Open returns the content of a regular file, of exactly Size bytes, from its
	// beginning; for other kinds it may be nil. It is called once or twice, from
	// one goroutine at a time. The digests of the Entry need not be set.
	Open func() (io.ReadCloser, error)
}
