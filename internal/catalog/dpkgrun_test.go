package catalog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestDpkgRuns has every way in which a definition names build profiles, and
// leaves the check of build dependencies out.
func TestDpkgRuns(t *testing.T) {
	const uses = "  - uses: dpkg/build@v1\n"
	for _, tt := range []struct {
		name, rest string
		want       []DpkgRun
		lists      [][]string
	}{
		{"none", uses, []DpkgRun{{ChecksDepends: true}}, [][]string{nil}},
		{"build's variable", "      environment: {DEB_BUILD_PROFILES: nodoc nocheck nodoc}\npipeline:\n" + uses,
			[]DpkgRun{{[]string{"nocheck", "nodoc"}, true}}, [][]string{{"nocheck", "nodoc"}}},
		{"step's takes its place", "      environment: {DEB_BUILD_PROFILES: nodoc}\npipeline:\n" + uses + "    environment: {DEB_BUILD_PROFILES: nocheck}\n",
			[]DpkgRun{{[]string{"nocheck"}, true}}, [][]string{{"nocheck"}}},
		{"step's empty one too", "      environment: {DEB_BUILD_PROFILES: nodoc}\npipeline:\n" + uses + "    environment: {DEB_BUILD_PROFILES: ''}\n",
			[]DpkgRun{{nil, true}}, [][]string{nil}},
		{"option", uses + "    with: {args: '-uc -Pnodoc,nocheck -us'}\n", []DpkgRun{{[]string{"nocheck", "nodoc"}, true}}, [][]string{{"nocheck", "nodoc"}}},
		{"long option over the variable", uses + "    with: {args: '--build-profiles=nodoc -d'}\n    environment: {DEB_BUILD_PROFILES: nocheck}\n",
			[]DpkgRun{{[]string{"nodoc"}, false}}, [][]string{{"nodoc"}}},
		{"last option", uses + "    with: {args: '-Pcross -d --build-profiles=nodoc -D'}\n", []DpkgRun{{[]string{"nodoc"}, true}}, [][]string{{"nodoc"}}},
		{"empty option", uses + "    with: {args: '-Pcross -P --no-check-builddeps'}\n    environment: {DEB_BUILD_PROFILES: nocheck}\n",
			[]DpkgRun{{[]string{"nocheck"}, false}}, [][]string{{"nocheck"}}},
		{"two runs", uses + "    with: {args: -Pstage1}\n" + uses + uses + "    with: {args: -Pstage1}\n",
			[]DpkgRun{{[]string{"stage1"}, true}, {nil, true}, {[]string{"stage1"}, true}}, [][]string{{"stage1"}, nil}},
		{"no run", "      environment: {DEB_BUILD_PROFILES: nodoc}\npipeline:\n  - runs: make\n", nil, [][]string{{"nodoc"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rest := tt.rest
			if strings.HasPrefix(rest, "  - ") {
				rest = "      pipeline:\n" + rest
			}
			e, err := expandText(build(rest), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, e.Builds[0].DpkgRuns(), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.lists, e.Builds[0].ProfileLists(), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
