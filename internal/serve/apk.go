package serve

import (
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apkrepo"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// The parts of the path of a file for apk:
//
//	apk distro tier arch file
//	apk distro tier snapshot id arch file
//	apk distro tier locks file
//	apk distro tier sets arch origin file
const (
	apkFolder   = 3 // the architecture, or one of the other folders
	apkSnapshot = 7 // parts of the path of a file in a snapshot
)

// publicAPK reports whether such a path is one of a file to be served.
func publicAPK(parts []string) bool {
	if len(parts) <= apkFolder+1 {
		return false
	}
	switch parts[apkFolder] {
	case "snapshot":
		return len(parts) == apkSnapshot
	case "sets":
		return len(parts) == 7
	case "live":
		return false // it is reached by the names of the indexes
	}
	return len(parts) == apkFolder+2
}

// isIndexAPK reports whether a file beside packages is not a package, nor about
// one.
func isIndexAPK(file string) bool {
	return slices.Contains([]string{apkrepo.IndexV2, apkrepo.IndexV3, apkrepo.Statement}, file)
}

// isLiveAPK reports whether a path is one of a live index for apk.
func isLiveAPK(name string) bool {
	parts := strings.Split(name, "/")
	return parts[0] == "apk" && len(parts) == apkFolder+2 && isIndexAPK(parts[apkFolder+1])
}

// stored returns where the file of a path is. A client of apk looks for packages
// in the folder of the index, and a snapshot has no more than the indexes: its
// packages are those of the repository, which never change.
func (s *server) stored(name string) string {
	parts := strings.Split(name, "/")
	if len(parts) != apkSnapshot || parts[0] != "apk" || parts[apkFolder] != "snapshot" || isIndexAPK(parts[apkSnapshot-1]) {
		return name
	}
	if _, err := s.root.Stat(path.Join(path.Dir(name), apkrepo.IndexV2)); err != nil {
		return name // there is no such snapshot
	}
	return path.Join(path.Join(parts[:apkFolder]...), parts[apkSnapshot-2], parts[apkSnapshot-1])
}

// apkSnapshotAt returns the id of the newest snapshot of a repository that is not
// younger than the given id.
func (s *server) apkSnapshotAt(distro, tier, id string) (string, error) {
	if s.APK == nil {
		return "", fault.New(fault.NotFound, "there are no repositories for apk")
	}
	return s.APK.SnapshotAt(apkrepo.Target{Distro: ashlar.Distro(distro), Tier: ashlar.Tier(tier)}, id)
}

// cacheAPK says how long a file for apk may be kept.
func cacheAPK(parts []string) string {
	file := parts[len(parts)-1]
	if strings.HasSuffix(file, ".apk") || parts[apkFolder] == "snapshot" && isIndexAPK(file) {
		return immutable
	}
	return revalidate // indexes; attestations may be signed again
}

// clockMargin is how far a client's clock may run ahead without its missing a
// publication.
const clockMargin = 10 * time.Minute

// doubtClock drops the condition of a request if the client may have asked before
// the file was there. apk 3 does not send the time that the server gave, but that
// of its own clock when it last asked; a client whose clock runs ahead by a minute
// would not see what is published within that minute.
func doubtClock(r *http.Request, modified time.Time) {
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	if err == nil && !since.Equal(modified.Truncate(time.Second)) && since.Before(modified.Add(clockMargin)) {
		r.Header.Del("If-Modified-Since")
	}
}

// An apkHealth is what /healthz says of the indexes of one architecture.
type apkHealth struct {
	Repository string    `json:"repository"` // "musl-1/community"
	Arch       string    `json:"arch"`
	Issued     time.Time `json:"issued"`
	Expires    time.Time `json:"expires"`
	Problem    string    `json:"problem,omitempty"`
}

// apkIndexes returns the health of all indexes for apk.
func (s *server) apkIndexes() ([]apkHealth, error) {
	if s.APK == nil {
		return nil, nil
	}
	list, err := s.APK.Live()
	if err != nil {
		return nil, err
	}
	report := []apkHealth{}
	for i := range list {
		x := &list[i]
		report = append(report, apkHealth{
			Repository: x.Target.String(), Arch: x.Arch, Issued: x.Issued, Expires: x.Expires, Problem: s.apkProblem(x),
		})
	}
	return report, nil
}

// apkProblem says what is wrong with the indexes of an architecture, "" if nothing
// is.
func (s *server) apkProblem(x *apkrepo.Index) string {
	if x.Err != nil {
		s.Log.Error("read the indexes for apk", "repository", x.String(), "error", x.Err)
		return "its statement cannot be read"
	}
	now := s.Now()
	if err := s.APK.CheckLive(x.Target, x.Arch, s.Statements); err != nil {
		s.Log.Error("check the indexes for apk", "repository", x.String(), "error", err)
		return "its indexes are not what the repository stated"
	}
	switch left := x.Expires.Sub(now); {
	case left <= 0:
		return "its statement has expired"
	case left < s.Margin:
		return "its statement expires soon and was not signed again"
	}
	return ""
}

// apkKeys returns the names of the public keys for apk, sorted.
func (s *server) apkKeys() []string {
	var names []string
	for name := range s.Keys {
		if strings.HasSuffix(name, ".rsa.pub") || strings.HasSuffix(name, ".ec.pub") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
