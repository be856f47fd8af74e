package shelf

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// snapshotTime is the form of a snapshot's id.
const snapshotTime = "20060102T150405Z"

// ahead is how far the date of a publication may run before the clock: apt
// refuses one that is more than ten seconds in the future.
const ahead = 8 * time.Second

// SnapshotID returns the id of the snapshot of a date, "20261123T190340Z".
func SnapshotID(date time.Time) string { return date.UTC().Format(snapshotTime) }

// IsSnapshotID reports whether s has the form of a snapshot's id.
func IsSnapshotID(s string) bool {
	t, err := time.Parse(snapshotTime, s)
	return err == nil && t.Format(snapshotTime) == s
}

// SnapshotIDs returns the ids of the snapshots in a folder, oldest first; none if
// it does not exist.
func SnapshotIDs(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range list {
		if IsSnapshotID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// SnapshotAt returns the newest of the ids, which are sorted, that is not younger
// than the given one, or fault.NotFound.
func SnapshotAt(ids []string, id string) (string, error) {
	at, exact := slices.BinarySearch(ids, id)
	switch {
	case exact:
		return id, nil
	case at == 0:
		return "", fault.New(fault.NotFound, "there is no snapshot from %s or before", id)
	}
	return ids[at-1], nil
}

// NextDate returns the date of the next publication, in whole seconds: now, or
// just after the last date and the newest snapshot. A snapshot's id is its date,
// so no two are the same. If that is too far ahead of now the error is
// fault.Unavailable.
func NextDate(last time.Time, snapshots []string, now time.Time) (time.Time, error) {
	if len(snapshots) > 0 {
		if t, err := time.Parse(snapshotTime, snapshots[len(snapshots)-1]); err == nil && t.After(last) {
			last = t
		}
	}
	date := now.UTC().Truncate(time.Second)
	if date.After(last) {
		return date, nil
	}
	date = last.Add(time.Second)
	if date.After(now.Add(ahead)) {
		return date, fault.New(fault.Unavailable, "the newest publication of the repository is dated %s, it is %s now",
			last.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)).Fix("check the clock, or publish several source sets in one go")
	}
	return date, nil
}
