package world

import (
	"crypto/sha1"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/apk"
)

// An access is the access rights of a file.
type access struct {
	mode      uint32
	user      uint32
	group     uint32
	hasXattrs bool
	xattrs    [sha1.Size]byte // a digest of the extended attributes
}

// The access rights that go without saying, to apk.
var (
	usualFolder = access{mode: 0o755}
	usualFile   = access{mode: 0o644}
)

// nobody owns the files of whom the root has not heard.
const nobody = 65534

// digestXattrs returns the digest of extended attributes by which apk knows them.
func digestXattrs(xattrs []apk.Xattr) (sum [sha1.Size]byte) {
	h := sha1.New()
	for _, x := range xattrs {
		for _, s := range []string{x.Name, x.Value} {
			h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(s))))
			h.Write([]byte(s))
		}
	}
	return [sha1.Size]byte(h.Sum(nil))
}

// accounts are the users and groups that the root knows.
type accounts struct {
	users, groups map[string]uint32
}

// maxAccounts bounds the files etc/passwd and etc/group, in bytes.
const maxAccounts = 4 << 20

// parseAccounts reads the names and numbers of a passwd or group file: the first
// and the third field of each line. Of several lines with one name the last counts.
func parseAccounts(b []byte) map[string]uint32 {
	ids := map[string]uint32{}
	for line := range strings.Lines(string(b)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 4)
		if len(fields) < 4 || fields[0] == "" || fields[0][0] == '#' {
			continue
		}
		if id, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
			ids[fields[0]] = uint32(id)
		}
	}
	return ids
}

// lookUp returns the number of a user or group; known says that the root has the
// name. v2 packages name some owners by number.
func lookUp(ids map[string]uint32, name string, numbers bool) (id uint32, known bool) {
	if id, ok := ids[name]; ok {
		return id, true
	}
	if name == "root" {
		return 0, true
	}
	if id, err := strconv.ParseUint(name, 10, 32); numbers && err == nil {
		return uint32(id), true
	}
	return nobody, false
}
