package build

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// abuildBumpWith are the parameters of abuild/bump. Set is another name of Rel.
type abuildBumpWith struct {
	Name             string                    `yaml:"name"`
	Version          string                    `yaml:"version"`
	Rel              string                    `yaml:"rel"`
	Set              string                    `yaml:"set"`
	Depends          catalog.Raw               `yaml:"depends"`
	DependsDev       catalog.Raw               `yaml:"depends_dev"`
	Provides         catalog.Raw               `yaml:"provides"`
	ProviderPriority string                    `yaml:"provider_priority"`
	Replaces         catalog.Raw               `yaml:"replaces"`
	ReplacesPriority string                    `yaml:"replaces_priority"`
	BuildDir         string                    `yaml:"builddir"`
	Subpackages      map[string]bumpSubpackage `yaml:"subpackages"`
}

// A bumpSubpackage is what a subpackage provides and replaces.
type bumpSubpackage struct {
	Provides string `yaml:"provides"`
	Replaces string `yaml:"replaces"`
}

// versionScript sets the version, which a definition may have the shell compute
// out of the source's date.
const versionScript = `case $version in
'' | *[!A-Za-z0-9._~+-]*) echo "ashlar: abuild/bump: \"$version\" is no version" >&2; exit 1 ;;
esac
edit set pkgver "$version"
`

// splitScript ends a recipe with what makes subpackages provide and replace other
// names: their split functions are run by one that sets these afterwards.
const splitScript = `
# abuild/bump: subpackages
_ashlar_split() {
	local entry split
	for entry in $_ashlar_subpackages; do
		[ "${entry%%:*}" != "$subpkgname" ] || break
	done
	split=
	case $entry in
	*:*) split=${entry#*:}; split=${split%%:*} ;;
	esac
	case $split:$subpkgname in
	:*-bash-completion) bashcomp ;;
	:*-zsh-completion) zshcomp ;;
	:*-fish-completion) fishcomp ;;
	:*) "${subpkgname##*-}" ;;
	*) "$split" ;;
	esac
	case $subpkgname in
@settings@	esac
}
_ashlar_subpackages=$subpackages
subpackages=
for _ashlar_entry in $_ashlar_subpackages; do
	case ${_ashlar_entry%%:*} in
	@names@)
		case $_ashlar_entry in
		*:*:*) _ashlar_entry=${_ashlar_entry%%:*}:_ashlar_split:${_ashlar_entry##*:} ;;
		*) _ashlar_entry=${_ashlar_entry%%:*}:_ashlar_split ;;
		esac ;;
	esac
	subpackages="$subpackages $_ashlar_entry"
done
`

// listScript checks that the recipe has the subpackages that were named.
const listScript = `for name in @names@; do
  found=
  for apk in $(HOME=%[1]s abuild -F listpkg); do
    case $apk in "$name"-[0-9]*) found=1 ;; esac
  done
  test -n "$found" || { echo "ashlar: abuild/bump: $PWD/APKBUILD: subpackages= has no $name" >&2; exit 1; }
done
`

// abuildBump plans abuild/bump: give a recipe another version or name, and change
// what its packages depend on, provide and replace. Each parameter is one
// assignment of the recipe, which is changed in place; one that the recipe does
// not have yet is added, but for the name, version and release, which it must have.
func abuildBump(s *catalog.Step) (*Step, error) {
	var with abuildBumpWith
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	if with.Rel != "" && with.Set != "" {
		return nil, fault.New(fault.Invalid, "abuild/bump has rel and set, which are the same").At(s.File, s.Line).Fix("leave set away")
	}
	edits, err := with.edits(s)
	if err != nil {
		return nil, err
	}
	split, err := with.split(s)
	if err != nil {
		return nil, err
	}
	if edits+split == "" {
		return nil, fault.New(fault.Invalid, "abuild/bump changes nothing").At(s.File, s.Line).Fix("set with.version or with.rel")
	}
	return &Step{Script: abuildPrologue + abuildEdit + "\n" + edits + split, Shell: "sh"}, nil
}

// edits returns the commands for the assignments.
func (w *abuildBumpWith) edits(s *catalog.Step) (string, error) {
	var script strings.Builder
	if w.Name != "" {
		if err := checkApkName(s, "name", w.Name); err != nil {
			return "", err
		}
		fmt.Fprintf(&script, "edit set pkgname %s\n", quote(w.Name))
	}
	if w.Version != "" {
		version, err := recipeText(s, "version", w.Version)
		if err != nil {
			return "", err
		}
		script.WriteString("version=" + version + "\n" + versionScript)
	}
	for _, f := range []struct{ key, field, text string }{
		{"rel", "pkgrel", cmp.Or(w.Rel, w.Set)},
		{"replaces_priority", "replaces_priority", w.ReplacesPriority},
		{"provider_priority", "provider_priority", w.ProviderPriority},
	} {
		if f.text == "" {
			continue
		}
		if err := checkDigits(s, f.key, f.text); err != nil {
			return "", err
		}
		fmt.Fprintf(&script, "edit set %s %s\n", f.field, f.text)
	}
	for _, f := range []struct {
		field string
		raw   catalog.Raw
	}{{"replaces", w.Replaces}, {"provides", w.Provides}, {"depends_dev", w.DependsDev}, {"depends", w.Depends}} {
		text, set, err := rawText(s, f.field, f.raw)
		if err != nil {
			return "", err
		}
		if set {
			fmt.Fprintf(&script, "edit set %s %s\n", f.field, quote(text))
		}
	}
	if w.BuildDir != "" {
		text, err := recipeText(s, "builddir", w.BuildDir)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&script, "edit set builddir %s\n", quote(text))
	}
	return script.String(), nil
}

// rawText reads a parameter that may be set to the empty text.
func rawText(s *catalog.Step, key string, raw catalog.Raw) (text string, set bool, err error) {
	switch v := raw.Value().(type) {
	case nil:
		return "", false, nil
	case string:
		text, err = recipeText(s, key, v)
		return text, true, err
	}
	return "", false, fault.New(fault.Invalid, "%s: with.%s is no text", s.Uses, key).At(raw.Pos().File, raw.Pos().Line).
		Fix("write the names in one text, separated by spaces")
}

// split returns the commands for the subpackages.
func (w *abuildBumpWith) split(s *catalog.Step) (string, error) {
	if len(w.Subpackages) == 0 {
		return "", nil
	}
	names := slices.Sorted(maps.Keys(w.Subpackages))
	var settings strings.Builder
	for _, name := range names {
		if err := checkApkName(s, "subpackages", name); err != nil {
			return "", err
		}
		provides, err := recipeText(s, "subpackages", w.Subpackages[name].Provides)
		if err != nil {
			return "", err
		}
		replaces, err := recipeText(s, "subpackages", w.Subpackages[name].Replaces)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&settings, "\t%s)\n\t\tprovides=%s\n\t\treplaces=%s ;;\n", name, provides, replaces)
	}
	text := strings.NewReplacer("@settings@", settings.String(), "@names@", strings.Join(names, "|")).Replace(splitScript)
	list := strings.Replace(fmt.Sprintf(listScript, abuildHome), "@names@", strings.Join(names, " "), 1)
	return "printf %s " + quote(text) + " >> APKBUILD\n" + list, nil
}
