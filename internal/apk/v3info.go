package apk

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/adb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// v3Value returns the value of a dependency.
func (d Dependency) v3Value(b *adb.Builder) adb.Value {
	name := b.String(d.Name)
	match := uint64(d.Match)
	if d.Match&Fuzzy != 0 {
		match |= uint64(Equal) // as apk has it
	}
	if d.Conflict && d.Match == 0 {
		return b.Object(name, adb.Null, b.Int(v3Conflict|v3Any))
	}
	if d.Match == 0 {
		return b.Object(name)
	}
	version := b.String(d.Version)
	if d.Conflict {
		match |= v3Conflict
	}
	if match == uint64(Equal) {
		return b.Object(name, version)
	}
	return b.Object(name, version, b.Int(match))
}

// compareDependencies orders dependencies as apk sorts them, and where it calls
// them equal by what is left, so that the order never depends on the input's.
func compareDependencies(x, y Dependency) int {
	if x.Name != y.Name {
		return strings.Compare(x.Name, y.Name)
	}
	if x.Match != 0 && y.Match != 0 {
		if c := CompareVersions(x.Version, y.Version); c != 0 {
			return c
		}
	}
	if c := cmp.Compare(min(x.Match, 1), min(y.Match, 1)); c != 0 {
		return c // the one without a version first
	}
	return strings.Compare(x.String(), y.String())
}

// v3Dependencies returns the value of a list of dependencies: sorted, each there
// once.
func v3Dependencies(b *adb.Builder, deps []Dependency) adb.Value {
	if !slices.IsSortedFunc(deps, compareDependencies) {
		deps = slices.Clone(deps)
		slices.SortFunc(deps, compareDependencies)
	}
	values := make([]adb.Value, 0, len(deps))
	for _, d := range deps {
		v := d.v3Value(b)
		if len(values) == 0 || values[len(values)-1] != v {
			values = append(values, v)
		}
	}
	return b.Object(values...)
}

// v3Strings returns the value of a list of texts.
func v3Strings(b *adb.Builder, texts []string) adb.Value {
	values := make([]adb.Value, len(texts))
	for i, s := range texts {
		values[i] = b.String(s)
	}
	return b.Object(values...)
}

// A v3Info is the info of a package, by slot.
type v3Info [v3InfoSlots + 1]adb.Value

// value returns the value of the object.
func (s *v3Info) value(b *adb.Builder) adb.Value { return b.Object(s[1:]...) }

// newV3Info returns the slots of an info without hashes and sizes.
func newV3Info(b *adb.Builder, i *Info) *v3Info {
	var s v3Info
	for _, text := range []struct {
		slot int
		s    string
	}{
		{v3Name, i.Name}, {v3Version, i.Version}, {v3Description, i.Description}, {v3Arch, i.Arch}, {v3License, i.License},
		{v3Origin, i.Origin}, {v3Maintainer, i.Maintainer}, {v3URL, i.URL},
	} {
		s[text.slot] = b.String(text.s)
	}
	if commit, err := hex.DecodeString(i.Commit); err == nil { // not one with "-dirty": there is no room to say so
		s[v3Commit] = b.Blob(commit)
	}
	s[v3BuildTime] = v3Number(b, i.BuildTime)
	s[v3ProviderPriority] = v3Number(b, int64(i.ProviderPriority))
	for _, list := range []struct {
		slot int
		deps []Dependency
	}{
		{v3Depends, i.Depends}, {v3Provides, i.Provides}, {v3Replaces, i.Replaces}, {v3InstallIf, i.InstallIf},
		{v3Recommends, i.Recommends},
	} {
		s[list.slot] = v3Dependencies(b, list.deps)
	}
	s[v3Layer] = v3Number(b, int64(i.Layer))
	s[v3Tags] = v3Strings(b, i.Tags)
	return &s
}

// v3Number returns the value of a number, none for 0, which means the same.
func v3Number(b *adb.Builder, n int64) adb.Value {
	if n == 0 {
		return adb.Null
	}
	return b.Int(uint64(n))
}

// readV3Info reads the info of a package. What apk does not do without must be
// there; everything else is taken as it is, since packages are read that others
// have made, and checked by Info.Check where it matters.
func readV3Info(o adb.Object) (Info, error) {
	i := Info{
		Name: o.String(v3Name), Version: o.String(v3Version), Description: o.String(v3Description), Arch: o.String(v3Arch),
		License: o.String(v3License), Origin: o.String(v3Origin), Maintainer: o.String(v3Maintainer), URL: o.String(v3URL),
		Commit: hex.EncodeToString(o.Bytes(v3Commit)), BuildTime: o.Int63(v3BuildTime), InstalledSize: o.Int63(v3InstalledSize),
		Tags: readV3Strings(o.Object(v3Tags)),
	}
	if err := checkV3Texts(&i); err != nil {
		return i, err
	}
	var err error
	if i.ProviderPriority, err = v3Int(o, v3ProviderPriority); err != nil {
		return i, err
	}
	if i.Layer, err = v3Int(o, v3Layer); err != nil {
		return i, err
	}
	for _, list := range []struct {
		slot int
		to   *[]Dependency
	}{
		{v3Depends, &i.Depends}, {v3Provides, &i.Provides}, {v3Replaces, &i.Replaces}, {v3InstallIf, &i.InstallIf},
		{v3Recommends, &i.Recommends},
	} {
		if *list.to, err = readV3Dependencies(o.Object(list.slot)); err != nil {
			return i, fault.Within(err, "package %s", i.Name)
		}
	}
	return i, nil
}

// v3Int reads a small number, such as a priority.
func v3Int(o adb.Object, slot int) (int, error) {
	n := o.Int(slot)
	if n > maxPriority {
		return 0, invalid("a priority or layer of %d", n)
	}
	return int(n), nil
}

// checkV3Texts wants a name and a version that are safe in the name of a file,
// and bounds all texts.
func checkV3Texts(i *Info) error {
	switch {
	case i.Name == "" || len(i.Name) > maxFileName || !isAlnum(i.Name[0]) || !only(i.Name, nameChars):
		return invalid("%q is not a package name", clip(i.Name))
	case i.Version == "" || len(i.Version) > maxFileName || !only(i.Version, nameChars+"~"):
		return invalid("package %s: %q is not a version", i.Name, clip(i.Version))
	}
	for _, s := range []string{i.Description, i.Arch, i.License, i.Origin, i.Maintainer, i.URL, i.Commit} {
		if len(s) > maxV3Text {
			return invalid("package %s: a text of more than %d bytes", i.Name, maxV3Text)
		}
	}
	return nil
}

// readV3Dependencies reads a list of dependencies.
func readV3Dependencies(list adb.Object) ([]Dependency, error) {
	switch {
	case list.Len() == 0:
		return nil, nil
	case list.Len() > maxWords:
		return nil, invalid("more than %d words", maxWords)
	}
	deps := make([]Dependency, 0, list.Len())
	err := v3Nodes(list, func(o adb.Object) error {
		d := Dependency{Name: o.String(v3DepName), Version: o.String(v3DepVersion)}
		match := o.Int(v3DepMatch)
		d.Conflict = match&v3Conflict != 0
		if d.Version != "" {
			d.Match = Match(match &^ v3Conflict)
			if d.Match == 0 {
				d.Match = Equal
			}
			if d.Match == Fuzzy {
				d.Match |= Equal
			}
		}
		switch {
		case d.Name == "":
			return invalid("a dependency without a name")
		case match >= 2*v3Conflict || d.Match.String() == "?":
			return invalid("dependency on %s: %d is no way to compare versions", clip(d.Name), match)
		case len(d.Name)+len(d.Version) > maxV3Text:
			return invalid("a dependency of more than %d bytes", maxV3Text)
		}
		deps = append(deps, d)
		return nil
	})
	return deps, err
}

// readV3Strings reads a list of texts.
func readV3Strings(list adb.Object) []string {
	if list.Len() == 0 {
		return nil
	}
	texts := make([]string, 0, min(list.Len(), maxWords))
	for i := 1; i <= list.Len(); i++ {
		texts = append(texts, list.String(i))
	}
	return texts
}
