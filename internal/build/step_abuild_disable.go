package build

import (
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// disableScript turns check() off in the way of a recipe's own options, at its
// end, so that nothing in it can turn it on again.
const disableScript = `printf '\n# abuild/disable\noptions="$options !check"\n' >> APKBUILD
echo "ashlar: check() is turned off"
`

// abuildDisable plans abuild/disable: leave a function of a recipe out. Only its
// tests can be left out; without another function there would be no package.
func abuildDisable(s *catalog.Step) (*Step, error) {
	var with struct {
		Function string `yaml:"function,required"`
	}
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	if with.Function != "check" {
		return nil, fault.New(fault.Invalid, "abuild/disable: %q cannot be turned off", with.Function).At(s.File, s.Line).
			Fix("only check can be")
	}
	return &Step{Script: abuildPrologue + disableScript, Shell: "sh"}, nil
}
