package build

import (
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// patchFunctions registers patches with a Debian source. In a "3.0 (quilt)"
// source a patch becomes a file of debian/patches and a line of the series, as a
// maintainer would add it; one that applies only with an offset or fuzz is
// rewritten to what it does here, since dpkg-source allows no fuzz. In other
// formats the patch is applied to the tree.
const patchFunctions = `set -eu
umask 022
test -f debian/control || { echo "ashlar: $PWD is no Debian source: debian/control is missing" >&2; exit 1; }
format=$(cat debian/source/format 2>/dev/null || echo 1.0)

refuse() {
  echo "ashlar: patch $1 does not apply" >&2
  exit 1
}

# refresh PATCH OUT: apply with fuzz on the side, and write what changed to OUT.
refresh() {
  patch -p1 -F2 -t -N --no-backup-if-mismatch -b -z .ashlar-orig < "$1" || refuse "$1"
  sed -n '/^\(diff \|--- \|Index: \)/q;p' "$1" > "$2"
  find . -name '*.ashlar-orig' -type f | LC_ALL=C sort | while read -r old; do
    new=${old%.ashlar-orig}
    name=${new#./}
    from=a/$name to=b/$name was=$old is=$new
    test -s "$old" || { from=/dev/null was=/dev/null; }
    test -e "$new" || { to=/dev/null is=/dev/null; }
    diff -u --label "$from" --label "$to" "$was" "$is" >> "$2" || test $? -eq 1
    if test -s "$old"; then mv "$old" "$new"; else rm -f "$old" "$new"; fi
  done
}

# add PATCH: register it at the end of the series.
add() {
  name=$(basename "$1")
  mkdir -p debian/patches
  if test -e "debian/patches/$name"; then
    echo "ashlar: the source already carries debian/patches/$name" >&2
    exit 1
  fi
  echo "ashlar: adding $name to the series"
  if patch -p1 -F0 -t -N --dry-run < "$1" > /dev/null 2>&1; then
    cp "$1" "debian/patches/$name"
  else
    refresh "$1" /tmp/ashlar-refreshed
    mv /tmp/ashlar-refreshed "debian/patches/$name"
    echo "ashlar: $name was refreshed to apply without fuzz"
  fi
  test -z "$(tail -c1 debian/patches/series 2>/dev/null)" || echo >> debian/patches/series
  echo "$name" >> debian/patches/series
}

# take PATCH: one patch, in the way of this source's format.
take() {
  case $format in
    "3.0 (quilt)"*)
      add "$1"
      dpkg-source --before-build . ;;
    *)
      echo "ashlar: applying $(basename "$1")"
      patch -p1 -F2 -t -N --no-backup-if-mismatch < "$1" || refuse "$1" ;;
  esac
}
`

// dpkgPatch plans dpkg/patch: put patches at the end of a Debian source's series.
// With apply they are applied at once, so that a patch that does not fit is
// named here; else dpkg-buildpackage applies them.
func dpkgPatch(s *catalog.Step) (*Step, error) {
	var with struct {
		Patches catalog.Strings `yaml:"patches"`
		Apply   bool            `yaml:"apply"`
	}
	if err := catalog.DecodeWith(*s, &with); err != nil {
		return nil, err
	}
	if len(with.Patches) == 0 {
		return nil, fault.New(fault.Invalid, "dpkg/patch names no patches").At(s.File, s.Line).Fix("list them under with.patches")
	}
	var script strings.Builder
	script.WriteString(patchFunctions)
	for _, p := range with.Patches {
		script.WriteString("take " + quote(p) + "\n")
	}
	return &Step{Script: script.String(), Shell: "sh"}, nil
}
