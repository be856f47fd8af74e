package pack

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// apkRelations are what a package asks of others, for apk.
type apkRelations struct {
	depends, provides, replaces []apk.Dependency // of depends some may be conflicts
}

// debRelations are the same for dpkg.
type debRelations struct {
	depends, provides, replaces, conflicts []deb.Dependency
}

// FullVersion returns the version of the packages of a format.
func (s *Spec) FullVersion(f Format) string {
	if f == APK {
		return s.Version + "-r" + s.Release
	}
	return s.Version + "-" + s.Release
}

// relate reads the relations of the main package.
func (p *Package) relate(s *Spec, w *with) error {
	for _, f := range s.Formats {
		own := &w.APK.formatWith
		if f == Deb {
			own = &w.Deb
		}
		for _, list := range []struct {
			raw catalog.Raw
			add func(Format, string) error
		}{
			{w.Depends, p.addDepends}, {own.Depends, p.addDepends}, {w.Conflicts, p.addConflict},
			{w.Provides, p.addProvides}, {own.Provides, p.addProvides}, {w.Replaces, p.addReplaces}, {own.Replaces, p.addReplaces},
		} {
			if err := s.each(list.raw, f, list.add); err != nil {
				return err
			}
		}
	}
	return nil
}

// relateSub reads the relations of another package.
func (p *Package) relateSub(s *Spec, w *subWith) error {
	for _, f := range s.Formats {
		if err := s.each(w.Depends, f, p.addDepends); err != nil {
			return err
		}
	}
	return nil
}

// each calls add for every word of a list. Commas and blanks separate words,
// except that a word in Debian's form, "a (>= 1) | b", is one up to the comma.
func (s *Spec) each(raw catalog.Raw, f Format, add func(Format, string) error) error {
	list, err := texts(raw)
	if err != nil {
		return err
	}
	for _, t := range list {
		for piece := range strings.SplitSeq(t.text, ",") {
			words := strings.Fields(piece)
			if strings.ContainsAny(piece, "(|") {
				words = []string{strings.TrimSpace(piece)}
			}
			for _, word := range words {
				word = strings.ReplaceAll(word, "$pkg_full_version", s.FullVersion(f))
				if strings.Contains(word, "$") {
					return errorAt(t.Pos, "%q has a variable that does not exist", word).Fix("$pkg_full_version is the version with the release")
				}
				if err := add(f, word); err != nil {
					return remedy(fault.Within(err, "for %s", f).At(t.File, t.Line), "words are like name, name=1.2-r3 and name>=1.2")
				}
			}
		}
	}
	return nil
}

func (p *Package) addDepends(f Format, word string) error {
	if f == APK {
		return addAPK(&p.apk.depends, word)
	}
	if name, conflict := strings.CutPrefix(word, "!"); conflict {
		return addDeb(&p.deb.conflicts, name, false)
	}
	return addDeb(&p.deb.depends, word, true)
}

func (p *Package) addConflict(f Format, word string) error {
	if f == APK {
		return addAPK(&p.apk.depends, "!"+word)
	}
	return addDeb(&p.deb.conflicts, word, false)
}

func (p *Package) addProvides(f Format, word string) error {
	if f == Deb {
		return addDeb(&p.deb.provides, word, false)
	}
	if err := addAPK(&p.apk.provides, word); err != nil {
		return err
	}
	switch d := p.apk.provides[len(p.apk.provides)-1]; {
	case d.Conflict || d.Match != 0 && d.Match != apk.Equal:
		return fault.New(fault.Invalid, "%q: a name that is provided has no version, or = and one", word)
	}
	return nil
}

func (p *Package) addReplaces(f Format, word string) error {
	if f == Deb {
		return addDeb(&p.deb.replaces, word, false)
	}
	return addAPK(&p.apk.replaces, word)
}

// debOperators are dpkg's operators by apk's.
var debOperators = map[apk.Match]string{
	apk.Equal: "=", apk.Less: "<<", apk.Greater: ">>", apk.Less | apk.Equal: "<=", apk.Greater | apk.Equal: ">=",
}

// addAPK adds a word in apk's form, or in Debian's if apk can say the same.
func addAPK(list *[]apk.Dependency, word string) error {
	if strings.ContainsAny(word, "(|") {
		var err error
		if word, err = apkWord(word); err != nil {
			return err
		}
	}
	d, err := apk.ParseDependency(word)
	if err == nil {
		err = d.Check()
	}
	if err != nil {
		return err
	}
	if !slices.Contains(*list, d) {
		*list = append(*list, d)
	}
	return nil
}

// apkWord returns a word in Debian's form in apk's.
func apkWord(word string) (string, error) {
	negation := ""
	if rest, ok := strings.CutPrefix(word, "!"); ok {
		negation, word = "!", rest
	}
	deps, err := deb.ParseDependencies(word)
	if err != nil {
		return "", err
	}
	for _, d := range deps {
		r := d[0]
		if len(d) > 1 || len(deps) > 1 || r.ArchQual != "" || len(r.Arches)+len(r.Profiles) > 0 {
			break
		}
		for m, op := range debOperators {
			if op == r.Op {
				return negation + r.Name + m.String() + r.Version, nil
			}
		}
		if r.Op == "" {
			return negation + r.Name, nil
		}
	}
	return "", fault.New(fault.Invalid, "%q cannot be said in apk's words", word).Fix("move it to deb.depends, or limit formats to deb")
}

// addDeb adds a word in Debian's form, or in apk's if dpkg can say the same.
func addDeb(list *[]deb.Dependency, word string, alternatives bool) error {
	if !strings.ContainsAny(word, "(|") {
		d, err := apk.ParseDependency(word)
		if err != nil {
			return err
		}
		prefix, _, _ := strings.Cut(d.Name, ":")
		op := debOperators[d.Match]
		if d.Conflict || d.Tag != "" || d.Match != 0 && op == "" || prefix != d.Name && isScanned(prefix) {
			return fault.New(fault.Invalid, "%q cannot be said in Debian's words", word).Fix("move it to apk, such as to apk.depends, or limit formats to apk")
		}
		if word = d.Name; op != "" {
			word += " (" + op + " " + d.Version + ")"
		}
	}
	deps, err := deb.ParseDependencies(word)
	if err != nil {
		return err
	}
	for _, d := range deps {
		if len(d) > 1 && !alternatives {
			return fault.New(fault.Invalid, "%q has alternatives where none are allowed", word)
		}
		if !slices.ContainsFunc(*list, func(e deb.Dependency) bool { return e.String() == d.String() }) {
			*list = append(*list, d)
		}
	}
	return nil
}

// isScanned reports whether names with a prefix are of what apk's tools find in
// packages: "so:", "cmd:", "pc:" and "py3.13:".
func isScanned(prefix string) bool {
	version, py := strings.CutPrefix(prefix, "py")
	return prefix == "so" || prefix == "cmd" || prefix == "pc" || py && version != "" && version[0] >= '0' && version[0] <= '9'
}

// config returns the package that has an oci-config in a file, nil if there is
// none.
func (s *Spec) config(raw catalog.Raw, main *Package) (*Package, error) {
	v := raw.Value()
	if v == nil {
		return nil, nil
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, errorAt(raw.Pos(), "oci-config has no keys").Fix("write environment: and variables below it")
	}
	text, err := yaml.Marshal(v)
	if err != nil {
		return nil, err
	}
	p := &Package{
		Pos: raw.Pos(), Name: s.Name + "-oci-config", Description: "Configuration of images with " + s.Name,
		Formats: s.Formats, AnyArch: true, Config: text,
	}
	for _, f := range s.Formats {
		if err := p.addDepends(f, s.exactly(main.Name, f)); err != nil {
			return nil, fault.Within(err, "oci-config").At(p.File, p.Line)
		}
	}
	return p, nil
}

// exactly returns a word that asks for another package of the same spec.
func (s *Spec) exactly(name string, f Format) string { return name + "=" + s.FullVersion(f) }
