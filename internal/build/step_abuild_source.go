package build

import (
	"regexp"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// sourceScript adds a file beside the recipe to its source=, with its checksum.
// abuild applies what ends in .patch, in the order of source=.
const sourceScript = `test -f "$SOURCE" || { echo "ashlar: $PWD/$SOURCE is missing; place it with files or paths" >&2; exit 1; }
line=$(awk '{
  gsub(/["\047]/, " ")
  for (i = 1; i <= NF; i++) if ($i == ENVIRON["SOURCE"]) { print NR; exit }
}' APKBUILD)
test -z "$line" || { echo "ashlar: $PWD/APKBUILD:$line: it names $SOURCE already" >&2; exit 1; }
edit add source "	$SOURCE"
edit add sha512sums "$(sha512sum "$SOURCE")"
`

// sourceForm is what abuild allows in the name of a source.
var sourceForm = regexp.MustCompile(`^[A-Za-z0-9+@_][A-Za-z0-9+@~._-]*$`)

// abuildSource plans abuild/source: add a patch to a recipe.
func abuildSource(s *catalog.Step) (*Step, error) {
	var with struct {
		Source string `yaml:"source,required"`
	}
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	if !sourceForm.MatchString(with.Source) {
		return nil, fault.New(fault.Invalid, "abuild/source: %q is no name of a file beside the APKBUILD", with.Source).At(s.File, s.Line).
			Fix("place the file with files or paths and write its name, of letters, digits and + @ ~ . _ -")
	}
	return &Step{Script: abuildPrologue + abuildEdit + "\nexport SOURCE=" + quote(with.Source) + "\n" + sourceScript, Shell: "sh"}, nil
}
