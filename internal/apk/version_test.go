package apk

import (
	"strings"
	"testing"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// ascending are versions each of which is newer than the one before.
var ascending = []string{
	"0", "0.00", "0.1", "0.1.0", "0.9_alpha", "0.9_alpha1_alpha", "0.9_alpha1", "0.9_alpha10", "0.9_beta", "0.9_pre2", "0.9_rc1", "0.9_rc1-r1", "0.9_rc1_p1",
	"0.9_rc2", "0.9-r0", "0.9-r1", "0.9-r10", "0.9~0a1", "0.9~0a1-r1", "0.9~0b", "0.9_cvs", "0.9_cvs2024", "0.9_svn3", "0.9_git20240101", "0.9_hg", "0.9_p-r9",
	"0.9_p~ff", "0.9_p0", "0.9_p1", "0.9_p1-r1", "0.9_p1_p1", "0.9a", "0.9a-r1", "0.9a_p1", "0.9b_rc1", "0.9b", "0.9.0", "0.9.05", "0.9.1", "0.9.1.1",
	"0.9.9", "0.9.10", "0.9.10a", "0.10", "1_alpha", "1_rc", "1", "1a", "1.0", "1.00", "1.000", "1.01", "1.0999", "1.1", "1.9", "1.10",
	"2", "10", "20240101", "99999999999999999", "100000000000000000000000000", "200000000000000000000000000",
}

func TestCompareVersions(t *testing.T) {
	for i, a := range ascending {
		for j, b := range ascending {
			c := CompareVersions(a, b)
			if (c < 0) != (i < j) || (c > 0) != (i > j) {
				t.Errorf("comparing %s and %s gives %d", a, b, c)
			}
		}
	}
	for _, c := range [][2]string{{"1", "01"}, {"1-r1", "1-r01"}, {"1_p1", "1_p01"}, {"1.5x!", "1.5x?"}, {"", "x"}, {"1.", "1._"}} {
		if CompareVersions(c[0], c[1]) != 0 || CompareVersions(c[1], c[0]) != 0 {
			t.Errorf("%q and %q differ", c[0], c[1])
		}
	}
}

func TestValidateVersion(t *testing.T) {
	for _, v := range ascending[:len(ascending)-2] {
		if err := ValidateVersion(v); err != nil {
			t.Errorf("%s: %v", v, err)
		}
	}
	for _, c := range []struct{ version, want string }{
		{"", "does not begin"},
		{"a", "does not begin"},
		{"v2.4", "does not begin"},
		{"5.3.0_", "cannot stand"},
		{"1.", "cannot stand"},
		{"1..2", "cannot stand"},
		{"1.2ab", "cannot stand"},
		{"1.2a3", "cannot stand"},
		{"1.2a.3", "cannot stand"},
		{"1_foo", "cannot stand"},
		{"1_pre_", "cannot stand"},
		{"1_Alpha", "cannot stand"},
		{"1~", "cannot stand"},
		{"1~xyz", "cannot stand"},
		{"1~a~b", "cannot stand"},
		{"1~a_p1", "cannot stand"},
		{"1-1", "cannot stand"},
		{"1-r", "cannot stand"},
		{"1-r1-r2", "cannot stand"},
		{"1-r1_p1", "cannot stand"},
		{"1-r1.2", "cannot stand"},
		{"1:2", "cannot stand"},
		{"1 ", "cannot stand"},
		{"1\n", "cannot stand"},
		{"123456789012345678", "more than 17 digits"},
		{"1." + strings.Repeat("1.", 80) + "1", "more than"},
	} {
		checkError(t, ValidateVersion(c.version), fault.Invalid, c.want)
	}
}

func TestSplitName(t *testing.T) {
	for _, c := range []struct{ in, name, version string }{
		{"hello-1.2-r3", "hello", "1.2-r3"},
		{"py3-foo-2-1.0-r0", "py3-foo-2", "1.0-r0"},
		{"a-1", "a", "1"},
		{"hello", "", ""},
		{"-1", "", ""},
		{"", "", ""},
	} {
		name, version, err := SplitName(c.in)
		if name != c.name || version != c.version || (err == nil) != (c.name != "") {
			t.Errorf("%q is split into %q, %q, %v", c.in, name, version, err)
		}
	}
}

// The order is total, antisymmetric and transitive on all strings, and a fuzzy
// match is one with what begins alike.
func FuzzVersion(f *testing.F) {
	f.Add("1.2", "1.2.3", "1.2_rc1")
	f.Add("1.02a_p1~ff-r1", "1.2", "")
	f.Add("1.2x!", "1.2", "99999999999999999999999")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, bc, ac := CompareVersions(a, b), CompareVersions(b, c), CompareVersions(a, c)
		if CompareVersions(a, a) != 0 {
			t.Errorf("%q differs from itself", a)
		}
		if ba := CompareVersions(b, a); sign3(ab) != -sign3(ba) {
			t.Errorf("%q against %q is %d, the other way round %d", a, b, ab, ba)
		}
		if ab <= 0 && bc <= 0 && ac > 0 || ab >= 0 && bc >= 0 && ac < 0 || ab == 0 && bc == 0 && ac != 0 {
			t.Errorf("no order: %q %q %q: %d %d %d", a, b, c, ab, bc, ac)
		}
		if ab == 0 && bc != 0 && sign3(bc) != sign3(ac) {
			t.Errorf("%q equals %q, but they stand to %q in %d and %d", a, b, c, ac, bc)
		}
		if ValidateVersion(a) == nil && ValidateVersion(a+"-r1") == nil {
			d := Dependency{Name: "x", Match: Fuzzy | Equal, Version: a}
			if !d.Allows(a) || !d.Allows(a+"-r1") {
				t.Errorf("%s does not begin like itself", a)
			}
		}
	})
}

func sign3(n int) int { return max(-1, min(1, n)) }
