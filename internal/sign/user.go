package sign

import (
	"os/user"
	"strconv"
)

// UserName is the user that the signer runs as on a machine that has it, and
// fallbackID the number, outside of every range that Debian and systemd hand
// out, that it runs as elsewhere.
const (
	UserName   = "_ashlar-sign"
	fallbackID = 61180
)

// SystemUser returns the user for the signer of a caller who is root: that named
// UserName, or one by number that needs no entry in /etc/passwd.
func SystemUser() Owner {
	u, err := user.Lookup(UserName)
	if err != nil {
		return Owner{fallbackID, fallbackID}
	}
	uid, errUID := strconv.Atoi(u.Uid)
	gid, errGID := strconv.Atoi(u.Gid)
	if errUID != nil || errGID != nil || uid == 0 {
		return Owner{fallbackID, fallbackID}
	}
	return Owner{uid, gid}
}
