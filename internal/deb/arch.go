package deb

import (
	"strings"

	"github.com/ashlar-project/ashlar"
)

// A tuple is an architecture as dpkg takes it apart: ABI, C library, kernel, CPU.
type tuple [4]string

// MatchArch reports whether an architecture fits a name or wildcard such as
// "amd64", "any", "linux-any", "any-arm64" or "gnu-linux-any", by dpkg's rules.
func MatchArch(pattern string, arch ashlar.Arch) bool {
	if pattern == string(arch) {
		return true
	}
	want, ok := wildcardTuple(pattern)
	if !ok {
		return false
	}
	have, ok := archTuple(string(arch))
	if !ok {
		return false
	}
	for i, w := range want {
		if w != "any" && w != have[i] {
			return false
		}
	}
	return true
}

// wildcardTuple takes a wildcard or an architecture name apart.
func wildcardTuple(s string) (tuple, bool) {
	parts := strings.Split(s, "-")
	wild := false
	for _, p := range parts {
		wild = wild || p == "any"
	}
	if !wild {
		return archTuple(s)
	}
	if len(parts) > 4 {
		return tuple{}, false
	}
	t := tuple{"any", "any", "any", "any"}
	copy(t[4-len(parts):], parts)
	return t, true
}

// archTuple takes the name of an architecture apart. "all" has no tuple.
func archTuple(s string) (tuple, bool) {
	switch s {
	case "", "all", "source":
		return tuple{}, false
	case "armhf":
		return tuple{"eabihf", "gnu", "linux", "arm"}, true
	case "armel":
		return tuple{"eabi", "gnu", "linux", "arm"}, true
	case "x32":
		return tuple{"x32", "gnu", "linux", "amd64"}, true
	case "arm64ilp32":
		return tuple{"ilp32", "gnu", "linux", "arm64"}, true
	case "mips64", "mips64el", "mips64r6", "mips64r6el":
		return tuple{"abi64", "gnu", "linux", s}, true
	case "mipsn32", "mipsn32el", "mipsn32r6", "mipsn32r6el":
		return tuple{"abin32", "gnu", "linux", strings.Replace(s, "n32", "64", 1)}, true
	}
	parts := strings.Split(s, "-")
	t := tuple{"base", "gnu", "linux", ""}
	if len(parts) > 3 {
		return t, false
	}
	copy(t[4-len(parts):], parts)
	return t, true
}

// archListed evaluates an architecture restriction list, by dpkg's rules: the
// first entry that matches decides, and a list of exclusions includes the rest.
func archListed(list []string, arch ashlar.Arch) bool {
	if len(list) == 0 {
		return true
	}
	listed := false
	for _, entry := range list {
		name, negated := strings.CutPrefix(entry, "!")
		switch {
		case MatchArch(name, arch):
			return !negated
		case negated:
			listed = true
		}
	}
	return listed
}
