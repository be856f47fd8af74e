package catalog

import (
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A Severity ranks findings.
type Severity string

// The severities, mildest first. A definition with an error cannot be built, or
// must not be.
const (
	Note    Severity = "note"
	Warning Severity = "warning"
	Error   Severity = "error"
)

// A Finding is something in a definition that a reviewer should know.
type Finding struct {
	Pos
	Rule     string // a short name, "no-checksum"
	Severity Severity
	Message  string // what is wrong, lower case, no period
	Remedy   string // what to do about it, "" if nothing sensible can be said
}

// String returns "file:line: severity: message (remedy)".
func (f Finding) String() string {
	message := string(f.Severity) + ": " + f.Message
	return fault.New(fault.Policy, "%s", message).At(f.File, f.Line).Fix("%s", f.Remedy).Error()
}

// Lint returns what a reviewer should know of a definition, expanded or bound,
// in the order of its lines.
func Lint(e *Expanded) []Finding {
	l := &linter{}
	if m := e.Definition.mismatch; m != nil {
		l.fault(Error, "distribution", m)
	}
	l.packages(e.Contents.Packages, e.Spec.Pos)
	l.files(e.Contents.Files)
	for i := range e.Builds {
		l.build(&e.Builds[i])
	}
	l.references(e)
	slices.SortStableFunc(l.found, func(a, b Finding) int { return a.Line - b.Line })
	return l.found
}

type linter struct{ found []Finding }

func (l *linter) add(pos Pos, severity Severity, rule, message, remedy string) {
	l.found = append(l.found, Finding{pos, rule, severity, message, remedy})
}

func (l *linter) fault(severity Severity, rule string, e *fault.Error) {
	l.add(Pos{e.File, e.Line}, severity, rule, e.What, e.Remedy)
}

func (l *linter) build(b *Build) {
	l.packages(b.Packages, b.Pos)
	l.files(b.Files)
	if b.Privileged {
		l.add(b.Pos, Warning, "network", "all steps of this build have the network", "fetch what they need as files with checksums")
	}
	if b.Uses != "" && !strings.Contains(b.Uses, "@sha256:") {
		l.add(b.Pos, Error, "floating-image", "the base image "+b.Uses+" is not pinned", "add its digest, @sha256:…")
	}
	if noCheck(b.Environment) {
		l.noTests(b.Pos, "nocheck")
	}
	for i := range b.Pipeline {
		l.step(&b.Pipeline[i])
	}
}

func (l *linter) step(s *Step) {
	if err, ok := s.Supported().(*fault.Error); ok {
		l.fault(Error, "step", err)
	}
	if s.Privileged {
		l.add(s.Pos, Warning, "network", "the step has the network", "fetch what it needs as files with checksums")
	}
	if noCheck(s.Environment) {
		l.noTests(s.Pos, "nocheck")
	}
	if strings.HasPrefix(s.Uses, "abuild/disable@") && s.With.text("function") == "check" {
		l.noTests(s.Pos, "the step")
	}
	if !strings.HasPrefix(s.Uses, "dpkg/build@") {
		return
	}
	args := strings.Fields(s.With.text("args"))
	if !checksDepends(args) {
		l.add(s.With.place("args"), Warning, "dependencies", "-d builds even if build dependencies are missing",
			"take -d away and complete the packages")
	}
	if slices.Contains(ActiveProfiles(args, ""), "nocheck") {
		l.noTests(s.With.place("args"), "nocheck")
	}
	if options := s.With.text("options"); slices.Contains(strings.Fields(options), "nocheck") {
		l.noTests(s.With.place("options"), "nocheck")
	}
}

func (l *linter) noTests(pos Pos, by string) {
	l.add(pos, Warning, "no-tests", "the package's own tests are turned off", "take "+by+" away, or say in a comment why not")
}

// noCheck reports whether an environment turns a Debian package's tests off.
func noCheck(environment map[string]string) bool {
	return slices.Contains(strings.Fields(environment["DEB_BUILD_OPTIONS"]), "nocheck") ||
		slices.Contains(strings.Fields(environment[profilesVariable]), "nocheck")
}

// packages finds names that are listed twice.
func (l *linter) packages(packages []string, pos Pos) {
	seen := map[string]bool{}
	for _, p := range packages {
		if seen[p] {
			l.add(pos, Note, "twice", "package "+p+" is listed twice", "take one away")
		}
		seen[p] = true
	}
}

var commitForm = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// files finds addresses whose content may change.
func (l *linter) files(files []FetchFile) {
	for _, f := range files {
		scheme, _, _ := strings.Cut(f.URL, ":")
		switch {
		case f.URL == "":
			l.add(f.Pos, Error, "no-address", "a file without \"url\"", "")
		case strings.HasPrefix(scheme, "git+"):
			_, ref, _ := strings.Cut(f.URL, "#")
			if !commitForm.MatchString(ref) && !commitForm.MatchString(f.Checksum) {
				l.add(f.Pos, Error, "floating-ref", "the Git reference of "+f.URL+" may move", "give the full commit as checksum")
			}
		case scheme == "http" || scheme == "https":
			l.checksum(f)
		}
	}
}

func (l *linter) checksum(f FetchFile) {
	switch {
	case f.Checksum == "":
		l.add(f.Pos, Error, "no-checksum", "no checksum for "+f.URL, "add checksum: sha256:…")
	case strings.HasPrefix(f.Checksum, "http://"):
		l.add(f.Pos, Error, "no-checksum", "the checksum file of "+f.URL+" comes over plain HTTP", "add checksum: sha256:…")
	case strings.HasPrefix(f.Checksum, "https://"):
		l.add(f.Pos, Note, "checksum-file", "the checksum of "+f.URL+" is taken from an address", "write sha256:… if it is known")
	case ashlar.Digest(f.Checksum).Validate() != nil && firstSymbol(f.Checksum) == "":
		l.add(f.Pos, Error, "no-checksum", "the checksum of "+f.URL+" has an unknown form", "write sha256: and 64 hexadecimal digits")
	}
}

// references finds names that mean nothing where that is a mistake.
func (l *linter) references(e *Expanded) {
	b := &binder{}
	if vars := e.tree.get("vars"); vars != nil {
		b.vars = vars.keys
	}
	var visit func(n *node, p place)
	visit = func(n *node, p place) {
		if n.kind == scalar {
			if err, ok := b.checkDefined(n, n.value, p).(*fault.Error); ok {
				l.fault(Error, "unknown-variable", err)
			}
		}
		for i, item := range n.items {
			if n.kind == mapping {
				visit(item, p.below(n.keys[i].value))
			} else {
				visit(item, p)
			}
		}
	}
	visit(e.tree, place{})
}

// text returns the text at a key of a raw part, "" if there is none.
func (r Raw) text(key string) string {
	if n := r.node.get(key); n != nil && n.kind == scalar {
		return n.value
	}
	return ""
}

// place returns where a key of a raw part has its value.
func (r Raw) place(key string) Pos {
	if n := r.node.get(key); n != nil {
		return n.Pos
	}
	return r.Pos()
}
