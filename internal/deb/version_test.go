package deb

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
)

// sign reduces a comparison to -1, 0 or 1.
func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

func TestCompare(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"1.0", "1.0", 0},
		{"1.0", "1.0-0", 0},
		{"0:1.0", "1.0", 0},
		{"1.0", "1.00", 0},
		{"1.0", "1.0.0", -1},
		{"1.9", "1.10", -1},
		{"1.0~rc1", "1.0", -1},
		{"1.0~~", "1.0~", -1},
		{"1.0~rc1-1", "1.0-1", -1},
		{"1.0a", "1.0+", -1},
		{"1.0", "1.0a", -1},
		{"1:0.1", "9.9", 1},
		{"1.0-1", "1.0-1+b1", -1},
		{"1.0-1", "1.0-1.1", -1},
		{"1.0-1-1", "1.0-1", 1},
		{"99999999999999999999999", "99999999999999999999998", 1},
		{"1.0-1+deb12u1", "1.0-1+deb12u10", -1},
	} {
		if got := sign(Compare(c.a, c.b)); got != c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := sign(Compare(c.b, c.a)); got != -c.want {
			t.Errorf("Compare(%q, %q) = %d, want %d", c.b, c.a, got, -c.want)
		}
	}
}

// dpkgSays runs dpkg --compare-versions over many pairs in one shell.
func dpkgSays(t *testing.T, pairs [][2]string) []int {
	t.Helper()
	if _, err := exec.LookPath("dpkg"); err != nil {
		t.Skip("dpkg is not installed")
	}
	var script strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&script, "if dpkg --compare-versions '%[1]s' lt '%[2]s'; then echo -1; elif dpkg --compare-versions '%[1]s' eq '%[2]s'; then echo 0; else echo 1; fi\n", p[0], p[1])
	}
	cmd := exec.Command("sh")
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var says []int
	for _, word := range strings.Fields(string(out)) {
		var n int
		fmt.Sscan(word, &n)
		says = append(says, n)
	}
	if len(says) != len(pairs) {
		t.Fatalf("dpkg answered %d of %d", len(says), len(pairs))
	}
	return says
}

// randomVersion makes a valid version out of pieces that are hard to order.
func randomVersion(r *rand.Rand) string {
	pieces := []string{"0", "1", "9", "10", "00", "~", "~~", "+", ".", "a", "b", "rc", "Z", "deb12u", "cut12u", "-"}
	pick := func(n int, from []string) string {
		var b strings.Builder
		for range r.IntN(n) {
			b.WriteString(from[r.IntN(len(from))])
		}
		return b.String()
	}
	v := []string{"", "0:", "1:"}[r.IntN(3)] + []string{"0", "1", "10"}[r.IntN(3)] + pick(5, pieces)
	if r.IntN(2) == 0 || strings.HasSuffix(v, "-") {
		v += "-" + []string{"0", "1", "a", "~"}[r.IntN(4)] + pick(3, pieces[:len(pieces)-1])
	}
	return v
}

func TestCompareAsDpkgDoes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	pairs := make([][2]string, 400)
	for i := range pairs {
		a := randomVersion(r)
		b := randomVersion(r)
		if i%4 == 0 { // near ones
			b = a + []string{"~", "0", "a", "+b1", ".0"}[r.IntN(5)]
		}
		pairs[i] = [2]string{a, b}
		for _, v := range pairs[i] {
			if err := ValidateVersion(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, want := range dpkgSays(t, pairs) {
		if got := sign(Compare(pairs[i][0], pairs[i][1])); got != want {
			t.Errorf("Compare(%q, %q) = %d, dpkg says %d", pairs[i][0], pairs[i][1], got, want)
		}
	}
}

// TestVendorVersion proves the promises of VendorVersion with the real dpkg.
func TestVendorVersion(t *testing.T) {
	ours := func(base, release string, n int) string { return VendorVersion(base, "cut", release, n) }
	var pairs [][2]string // each older, newer
	for _, base := range []string{"1.0-1", "7.88.1-10+deb12u14", "1:1.2.13.dfsg-1", "2.36-9+deb12u10", "1.0", "5.4.1-0.2+deb12u1", "3.0~rc1-1"} {
		one := ours(base, "12", 1)
		pairs = append(pairs,
			[2]string{base, one},
			[2]string{base + "+b9", one},
			[2]string{base + "~bpo12+1", one},
			[2]string{one, ours(base, "12", 2)},
			[2]string{ours(base, "12", 9), ours(base, "12", 10)},
			[2]string{one, one + "+b1"},
			[2]string{ours(base, "12", 99), ours(base, "13", 1)},
			[2]string{one, base + "+deb12u15"},
		)
	}
	for _, next := range []string{"7.88.1-10+deb12u15", "7.88.1-11", "7.88.1-10.1", "7.88.2-1", "8.0-1", "1:1.0-1"} {
		pairs = append(pairs, [2]string{ours("7.88.1-10+deb12u14", "12", 3), next})
	}
	pairs = append(pairs,
		[2]string{ours("1.0-1", "12", 5), "1.0-1+deb12u1"},
		[2]string{ours("1.0-1+deb12u1", "12", 1), "1.0-1+deb12u2"},
		[2]string{ours("1.0-1", "12", 5), "1.0-1.1"},
		[2]string{ours("1.0", "12", 5), "1.0+nmu1"},
	)
	for i, got := range dpkgSays(t, pairs) {
		if got != -1 {
			t.Errorf("dpkg does not hold %s older than %s", pairs[i][0], pairs[i][1])
		}
		if Compare(pairs[i][0], pairs[i][1]) >= 0 {
			t.Errorf("Compare does not hold %s older than %s", pairs[i][0], pairs[i][1])
		}
	}
}

// TestVendorVersionLimits pins the cases in which the order is not the wished
// one, so that nobody promises more.
func TestVendorVersionLimits(t *testing.T) {
	pairs := [][2]string{
		{"1.0-1+bar1", VendorVersion("1.0-1", "cut", "12", 1)},
		{"1.0-1ubuntu1", VendorVersion("1.0-1", "cut", "12", 1)},
		{"1.0+dfsg1", VendorVersion("1.0+dfsg", "cut", "12", 1)},
		{"1.0-1+b1+deb12u1", VendorVersion("1.0-1", "cut", "12", 1)},
	}
	for i, got := range dpkgSays(t, pairs) {
		if got != -1 {
			t.Errorf("dpkg does not hold %s older than %s", pairs[i][0], pairs[i][1])
		}
	}
}

func TestValidateVersion(t *testing.T) {
	for v, ok := range map[string]bool{
		"1.0": true, "1:1.0-1": true, "0": true, "1.0-1-2": true, "1~": true, "1:2:3-4": true,
		"": false, "a": false, "1.0-": false, ":1": false, "a:1": false, "1:": false, "1 0": false, "1.0_1": false,
		"-1": false, "1.0\n": false, "99999999999:1": false, "+1:1": false, "1/2": false,
		"1" + strings.Repeat(".0", 600): false,
	} {
		if err := ValidateVersion(v); (err == nil) != ok {
			t.Errorf("ValidateVersion(%q) = %v, want valid %t", clip(v), err, ok)
		}
	}
}

func FuzzCompare(f *testing.F) {
	f.Add("1.0-1", "1.0-1+b1", "1.0~")
	f.Add("1:0", ":::", "--~~")
	f.Add("", "\xff", "0")
	f.Add("a:1", "1:a", "01:1")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		ab, ba, bc, ac := Compare(a, b), Compare(b, a), Compare(b, c), Compare(a, c)
		if sign(ab) != -sign(ba) {
			t.Errorf("Compare(%q, %q) = %d but the other way round %d", a, b, ab, ba)
		}
		if Compare(a, a) != 0 {
			t.Errorf("%q is not equal to itself", a)
		}
		if ab <= 0 && bc <= 0 && ac > 0 {
			t.Errorf("%q <= %q <= %q, but the first is greater than the last", a, b, c)
		}
		if ab == 0 && sign(bc) != sign(ac) {
			t.Errorf("%q = %q, but they compare differently to %q", a, b, c)
		}
	})
}
