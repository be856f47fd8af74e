package build

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/apk"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// abuildApkWith are the parameters of abuild/apk. Those that a recipe has too are
// text for its shell; description, license and url are taken as they are.
type abuildApkWith struct {
	Name             string            `yaml:"name,required"`
	Version          string            `yaml:"version,required"`
	Rel              string            `yaml:"rel,required"`
	Description      string            `yaml:"description,required"`
	License          string            `yaml:"license,required"`
	URL              string            `yaml:"url"`
	Arch             string            `yaml:"arch"`
	Options          string            `yaml:"options"`
	Depends          string            `yaml:"depends"`
	DependsDev       string            `yaml:"depends_dev"`
	Provides         string            `yaml:"provides"`
	ProviderPriority string            `yaml:"provider_priority"`
	Replaces         string            `yaml:"replaces"`
	ReplacesPriority string            `yaml:"replaces_priority"`
	Install          string            `yaml:"install"`
	Subpackages      string            `yaml:"subpackages"`
	Files            []string          `yaml:"files"`
	Functions        map[string]string `yaml:"functions"`
	OCIConfig        catalog.Raw       `yaml:"oci-config"`
}

// ociDir is where an image looks for the configurations that it takes on with its
// packages, each in a file NAME.yaml.
const ociDir = "opt/docker/config"

// abuildApk plans abuild/apk: write a recipe that packs what the steps before put
// under ${target.dir}, all of it or the files that are named.
func abuildApk(s *catalog.Step) (*Step, error) {
	var with abuildApkWith
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	recipe, err := with.recipe(s)
	if err != nil {
		return nil, err
	}
	config, err := with.OCIConfig.YAML()
	if err != nil {
		return nil, err
	}
	script := "set -eu\numask 022\n" +
		"test ! -e APKBUILD || { echo \"ashlar: abuild/apk: $PWD/APKBUILD is there already\" >&2; exit 1; }\n"
	if len(config) > 0 {
		dir := path.Join(ashlar.TargetDir, ociDir)
		script += fmt.Sprintf("mkdir -p %[1]s\nprintf %%s %[2]s > %[1]s/%[3]s.yaml\n", dir, quote(string(config)), with.Name)
	}
	return &Step{Script: script + fmt.Sprintf("printf %%s %s > APKBUILD\n", quote(recipe)), Shell: "sh"}, nil
}

// recipe returns the text of the APKBUILD.
func (w *abuildApkWith) recipe(s *catalog.Step) (string, error) {
	var b strings.Builder
	b.WriteString("# abuild/apk\n")
	if err := w.fields(&b, s); err != nil {
		return "", err
	}
	b.WriteString("\npackage() {\n\tmkdir -p \"$pkgdir\"\n")
	for _, f := range w.Files {
		if !fs.ValidPath(f) || strings.ContainsRune(f, 0) {
			return "", fault.New(fault.Invalid, "abuild/apk: %q is no path below ${target.dir}", f).At(s.File, s.Line).
				Fix("write it without a slash at either end and without dots")
		}
		dir := path.Dir(f)
		fmt.Fprintf(&b, "\tmkdir -p \"$pkgdir\"/%[2]s\n\tcp -a %[1]s \"$pkgdir\"/%[2]s/\n", quote(path.Join(ashlar.TargetDir, f)), quote(dir))
	}
	if len(w.Files) == 0 {
		fmt.Fprintf(&b, "\tcp -a %s/. \"$pkgdir\"/\n", ashlar.TargetDir)
	}
	b.WriteString("}\n")
	if w.OCIConfig.Value() != nil {
		fmt.Fprintf(&b, `
_ashlar_oci_config() {
	pkgdesc="OCI configuration for $pkgname"
	depends="$pkgname"
	amove %[1]s/"$pkgname".yaml || install -D -m 0644 %[2]s/%[1]s/"$pkgname".yaml "$subpkgdir"/%[1]s/"$pkgname".yaml
}
`, ociDir, ashlar.TargetDir)
	}
	for _, name := range slices.Sorted(maps.Keys(w.Functions)) {
		if !functionForm.MatchString(name) || name == "package" {
			return "", fault.New(fault.Invalid, "abuild/apk: %q is no name of a split function", name).At(s.File, s.Line).
				Fix("write letters, digits and _, and no \"package\"")
		}
		fmt.Fprintf(&b, "\n%s() {\n%s\n}\n", name, strings.TrimRight(w.Functions[name], "\n"))
	}
	return b.String(), nil
}

// fields writes the assignments of the recipe.
func (w *abuildApkWith) fields(b *strings.Builder, s *catalog.Step) error {
	if err := checkApkName(s, "name", w.Name); err != nil {
		return err
	}
	if err := apk.ValidateVersion(w.Version + "-r" + w.Rel); err != nil {
		return fault.New(fault.Invalid, "abuild/apk: %w", err).At(s.File, s.Line).Fix("set with.version and with.rel, for example 1.2.3 and 0")
	}
	fmt.Fprintf(b, "pkgname=%s\npkgver=%s\npkgrel=%s\n", w.Name, w.Version, w.Rel)
	url := w.URL
	if url == "" {
		url = "none" // abuild wants one
	}
	fmt.Fprintf(b, "pkgdesc=%s\nurl=%s\nlicense=%s\n", plainText(w.Description), plainText(url), plainText(w.License))
	arch := w.Arch
	if arch == "" {
		arch = "all"
	}
	subpackages, options := w.Subpackages, w.Options
	if w.OCIConfig.Value() != nil {
		subpackages = strings.TrimSpace(subpackages + " $pkgname-oci-config:_ashlar_oci_config:noarch")
		options = strings.TrimSpace(options + " $pkgname-oci-config::!fhs") // it has files under /opt
	}
	for _, f := range []struct{ field, text string }{
		{"arch", arch}, {"options", options}, {"depends", w.Depends}, {"depends_dev", w.DependsDev},
		{"provides", w.Provides}, {"replaces", w.Replaces}, {"install", w.Install}, {"subpackages", subpackages},
	} {
		if f.text == "" {
			continue
		}
		text, err := recipeText(s, f.field, f.text)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "%s=%s\n", f.field, text)
	}
	for _, f := range []struct{ field, text string }{
		{"provider_priority", w.ProviderPriority}, {"replaces_priority", w.ReplacesPriority},
	} {
		if f.text == "" {
			continue
		}
		if err := checkDigits(s, f.field, f.text); err != nil {
			return err
		}
		fmt.Fprintf(b, "%s=%s\n", f.field, f.text)
	}
	return nil
}
