package catalog

import (
	"strings"

	"github.com/ashlar-project/ashlar"
)

// The symbols that only a later stage knows; they are written ${source.dir} and
// are the keys of the values for Bind.
const (
	SourceDir             = "source.dir"              // where sources are put and built
	SourceName            = "source.name"             // of the Debian source package
	SourceVersion         = "source.version"          // with epoch
	SourceUpstreamVersion = "source.upstream-version" // without epoch and Debian revision
	SourceDsc             = "source.dsc"              // file name of the .dsc
	TargetDir             = "target.dir"              // what is put here goes into the result
)

// laterSymbols returns the names of all symbols that Bind knows.
func laterSymbols() []string {
	return []string{SourceDir, SourceName, SourceVersion, SourceUpstreamVersion, SourceDsc, TargetDir}
}

// isLater reports whether the name is a symbol that Bind knows.
func isLater(name string) bool {
	switch name {
	case SourceDir, SourceName, SourceVersion, SourceUpstreamVersion, SourceDsc, TargetDir:
		return true
	}
	return false
}

// firstSymbol returns the first "${…}" in text that names a symbol of Bind, or "".
func firstSymbol(text string) string {
	if !strings.Contains(text, "${") {
		return ""
	}
	for _, s := range laterSymbols() {
		if ref := "${" + s + "}"; strings.Contains(text, ref) {
			return ref
		}
	}
	return ""
}

// targetSymbols returns the symbols that a target and the definition's own top
// keys decide.
func targetSymbols(root *node, t ashlar.Target) map[string]string {
	text := func(key string) string {
		if n := root.get(key); n != nil && n.kind == scalar && n.tag != "!!null" {
			return n.value
		}
		return ""
	}
	yes := func(b bool) string {
		if b {
			return "true"
		}
		return "false"
	}
	return map[string]string{
		"target.arch":     string(t.Arch),
		"target.distro":   string(t.Distro),
		"target.platform": "linux/" + string(t.Arch),
		"target.flavor":   text("flavor"),
		"target.dev":      yes(text("variant") == "dev"),
		"target.fips":     yes(text("fips-compliant") == "true" || strings.Contains(text("flavor"), "fips")),
	}
}

// isReserved reports whether a dotted name is in the format's own name space, so
// that an unknown one is a mistake and not another language's variable.
func isReserved(name string) bool {
	prefix, _, dotted := strings.Cut(name, ".")
	return dotted && (prefix == "source" || prefix == "target" || prefix == "definition")
}
