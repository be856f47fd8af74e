package build

import (
	"fmt"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// bumpScript prepends a changelog entry. Its date is that of the entry before:
// dpkg takes SOURCE_DATE_EPOCH from it, so two builds of one lock agree, and a
// rebuild differs from the distribution's own package in no time stamp.
const bumpScript = `set -eu
umask 022
source=$(dpkg-parsechangelog -S Source)
old=$(dpkg-parsechangelog -S Version)
suite=$(dpkg-parsechangelog -S Distribution)
date=$(dpkg-parsechangelog -S Date)
if dpkg --compare-versions "$NEW_VERSION" lt "$old"; then
  echo "ashlar: version $NEW_VERSION would be lower than $old, the version of the source" >&2
  exit 1
fi
{
  printf '%s (%s) %s; urgency=medium\n\n' "$source" "$NEW_VERSION" "$suite"
  printf '%s\n' "$CHANGES" | sed 's/^/  * /'
  printf '\n -- %s <%s>  %s\n\n' "${DEBFULLNAME:-Ashlar}" "${DEBEMAIL:-ashlar@localhost}" "$date"
} > /tmp/ashlar-changelog
cat debian/changelog >> /tmp/ashlar-changelog
cat /tmp/ashlar-changelog > debian/changelog
rm /tmp/ashlar-changelog
`

// dpkgBump plans dpkg/bump: give the source a new version with a changelog entry.
// It refuses a version that is not Debian's form, or that goes down.
func dpkgBump(s *catalog.Step) (*Step, error) {
	var with struct {
		Version   string          `yaml:"version"`
		Changelog catalog.Strings `yaml:"changelog"`
	}
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	if err := deb.ValidateVersion(with.Version); err != nil {
		return nil, fault.New(fault.Invalid, "dpkg/bump: %w", err).At(s.File, s.Line).Fix("set with.version, for example ${source.version}+cut12u1")
	}
	var lines []string
	for _, l := range with.Changelog {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	if len(lines) == 0 {
		lines = []string{"Rebuild."}
	}
	vars := fmt.Sprintf("NEW_VERSION=%s\nCHANGES=%s\n", quote(with.Version), quote(strings.Join(lines, "\n")))
	return &Step{Script: vars + bumpScript, Shell: "sh"}, nil
}
