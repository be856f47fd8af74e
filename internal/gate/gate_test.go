package gate

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/deb"
	"github.com/ashlar-project/ashlar/internal/engine"
	"github.com/ashlar-project/ashlar/internal/fault"
)

const dsc = `Format: 3.0 (native)
Source: stone
Binary: stone, stone-doc, stone-arm, stone-installer, stone-extra
Version: 1.0
Package-List:
 stone deb misc optional arch=any
 stone-doc deb doc optional arch=all
 stone-arm deb misc optional arch=arm64,armhf
 stone-installer udeb debian-installer optional arch=any
 stone-extra deb misc optional arch=any profile=!noextra
 stone-cross deb misc optional arch=amd64 profile=cross+!nodoc
`

// pkg returns a package of a case.
func pkg(t *testing.T, name, version string) Package {
	t.Helper()
	p, err := deb.ParseParagraph([]byte("Package: " + name + "\nVersion: " + version + "\nArchitecture: amd64\n"))
	if err != nil {
		t.Fatal(err)
	}
	return Package{File: ashlar.File{Name: name + "_" + version + "_amd64.deb"}, Control: p}
}

func caseOf(t *testing.T, names ...string) *Case {
	t.Helper()
	c := &Case{Target: ashlar.Target{Distro: "debian-12", Arch: "amd64"}, Dsc: []byte(dsc)}
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, ".udeb"); ok {
			c.Set = append(c.Set, ashlar.File{Name: base + "_1.0_amd64.udeb"})
			continue
		}
		p := pkg(t, name, "1.0")
		c.Packages, c.Set = append(c.Packages, p), append(c.Set, p.File)
	}
	return c
}

func TestWholeSet(t *testing.T) {
	for _, c := range []struct {
		name     string
		have     []string
		profiles [][]string
		missing  string // "" if the set is whole
	}{
		{"all", []string{"stone", "stone-doc", "stone-installer.udeb", "stone-extra"}, nil, ""},
		{"more than listed", []string{"stone", "stone-doc", "stone-installer.udeb", "stone-extra", "stone-dbgsym"}, nil, ""},
		{"one missing", []string{"stone", "stone-installer.udeb", "stone-extra"}, nil, "stone-doc"},
		{"two missing", []string{"stone", "stone-extra"}, nil, "stone-doc, stone-installer"},
		{"a profile leaves one out", []string{"stone", "stone-doc", "stone-installer.udeb"}, [][]string{{"noextra"}}, ""},
		{"a profile adds one", []string{"stone", "stone-doc", "stone-installer.udeb", "stone-extra"}, [][]string{{"cross"}}, "stone-cross"},
		{"two profiles cancel", []string{"stone", "stone-doc", "stone-installer.udeb", "stone-extra"}, [][]string{{"cross", "nodoc"}}, ""},
		{"compiled twice", []string{"stone", "stone-doc", "stone-installer.udeb"}, [][]string{{"noextra"}, nil}, "stone-extra"},
		{"none", nil, nil, "stone, stone-doc, stone-installer, stone-extra"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := caseOf(t, c.have...)
			if k.Profiles = c.profiles; k.Profiles == nil {
				k.Profiles = [][]string{nil}
			}
			checks := wholeSet(k)
			if len(checks) == 0 {
				t.Fatal("no check")
			}
			want := ashlar.CheckPassed
			if c.missing != "" {
				want = ashlar.CheckFailed
			}
			if checks[0].Outcome != want || !strings.HasSuffix(checks[0].Detail, c.missing) && c.missing != "" {
				t.Errorf("%s: %s, want %s: %s", checks[0].Outcome, checks[0].Detail, want, c.missing)
			}
		})
	}
}

func TestWholeSetOfBadDsc(t *testing.T) {
	k := caseOf(t, "stone")
	k.Dsc = []byte("no paragraph at all")
	if got := wholeSet(k); got[0].Outcome != ashlar.CheckFailed {
		t.Errorf("a .dsc that cannot be read gives %+v", got)
	}
}

// TestTrials checks which ways onto a system are tried, and that one that is not
// is named.
func TestTrials(t *testing.T) {
	c := caseOf(t, "stone", "dpkg", "new")
	c.Before, c.Untried = map[string]string{"stone": "0.9"}, map[string]string{"dpkg": "the archive has 2.0"}
	c.Root = ashlar.Root{Layers: []ashlar.Layer{{Packages: []ashlar.RootPackage{{Name: "dpkg", Version: "2.0"}}}}}
	var got []string
	for _, x := range trialsOf(c) {
		got = append(got, fmt.Sprintf("%s %s from %q, purge %v", x.name(), x.pkg, x.from, x.remove))
	}
	want := []string{
		`install stone from "", purge true`,
		`upgrade stone from "0.9", purge true`,
		`install dpkg from "", purge false`, // the root needs it
		`install new from "", purge true`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	v := &ashlar.Verdict{Passed: true}
	for _, check := range leftOut(c) {
		v.Add(check)
	}
	left := &ashlar.Verdict{Passed: true, Checks: []ashlar.Check{{Name: "upgrade", Subject: "dpkg", Outcome: ashlar.CheckLeftOut, Detail: "the archive has 2.0"}}}
	if diff := cmp.Diff(left, v); diff != "" {
		t.Error(diff)
	}
}

// TestScript checks that a trial asks apt for exact versions, in order.
func TestScript(t *testing.T) {
	lines := func(x trial) (got []string) {
		for line := range strings.Lines(strings.TrimPrefix(x.script(), prologue)) {
			if f := strings.Fields(line); f[0] == "apt-get" {
				got = append(got, f[len(f)-2]+" "+f[len(f)-1])
			}
		}
		return got
	}
	for _, c := range []struct {
		trial trial
		want  []string
	}{
		{trial{pkg: "a", spec: "a", to: "2", remove: true}, []string{"install 'a=2'", "purge 'a'", "install 'a=2'"}},
		{trial{pkg: "a", spec: "a", to: "2"}, []string{"install 'a=2'"}},
		{trial{pkg: "a", spec: "a", to: "2", from: "1", remove: true}, []string{"install 'a=1'", "install 'a=2'"}},
	} {
		if diff := cmp.Diff(c.want, lines(c.trial)); diff != "" {
			t.Errorf("%+v: %s", c.trial, diff)
		}
	}
}

// TestOutcome checks that only a step's own failure is a verdict.
func TestOutcome(t *testing.T) {
	x := ashlar.Check{Name: "install", Subject: "stone"}
	step := &engine.StepError{Name: "install stone", ExitCode: 100, Log: []string{"dpkg: error", "it does not fit"}}
	check, err := outcome(x, fault.New(fault.Failed, "%w", step))
	if err != nil || check.Outcome != ashlar.CheckFailed || !strings.Contains(check.Detail, "it does not fit") {
		t.Errorf("a failed step gives %+v, %v", check, err)
	}
	if check, err := outcome(x, nil); err != nil || check.Outcome != ashlar.CheckPassed {
		t.Errorf("success gives %+v, %v", check, err)
	}
	gone := fault.New(fault.Unavailable, "the engine ended")
	if _, err := outcome(x, gone); !errors.Is(err, gone) {
		t.Errorf("an engine that ended gives %v", err)
	}
}

func TestFailure(t *testing.T) {
	v := &ashlar.Verdict{Passed: true}
	if err := Failure(v); err != nil {
		t.Errorf("a passed verdict fails: %v", err)
	}
	v.Add(ashlar.Check{Name: "install", Subject: "stone", Outcome: ashlar.CheckPassed, Detail: "fine"})
	v.Add(ashlar.Check{Name: "upgrade", Subject: "stone", Outcome: ashlar.CheckFailed, Detail: "preinst exit 1"})
	err := Failure(v)
	if !fault.Is(err, fault.Policy) || !strings.Contains(err.Error(), "upgrade: stone: preinst exit 1") || strings.Contains(err.Error(), "fine") {
		t.Errorf("the error is %v", err)
	}
}
