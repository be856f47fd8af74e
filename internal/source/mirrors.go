package source

import (
	"bytes"
	"encoding/json"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/ashlar-project/ashlar/internal/fault"
)

// Mirrors says where files really come from, so that definitions and locks never
// name a mirror. The zero value serves every address from itself.
type Mirrors struct {
	// Aliases maps NAME of mirror://NAME/path to base URLs, tried in order. A base
	// is http, https or file, for a machine without network.
	Aliases map[string][]string `json:"aliases,omitempty"`
	// Prefixes are replacements for upstream addresses; the longest matching
	// prefix decides.
	Prefixes []Prefix `json:"prefixes,omitempty"`
}

// A Prefix replaces the start of an address.
type Prefix struct {
	Prefix string   `json:"prefix"`
	To     []string `json:"to"`             // tried in order
	Only   bool     `json:"only,omitempty"` // never fall back to the address itself
}

var aliasForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)

// ParseMirrors reads the JSON form of Mirrors and checks it. file names it in
// errors.
func ParseMirrors(file string, b []byte) (*Mirrors, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var m Mirrors
	if err := d.Decode(&m); err != nil {
		return nil, fault.New(fault.Invalid, "mirrors: %w", err).At(file, 0).
			Fix(`write {"aliases": {"debian": ["https://mirror.example.org/debian/"]}, "prefixes": [{"prefix": "https://example.org/", "to": ["https://mirror.example.org/"]}]}`)
	}
	if err := m.check(); err != nil {
		return nil, err.At(file, 0)
	}
	return &m, nil
}

// check makes every base end in a slash and refuses what is not an address.
func (m *Mirrors) check() *fault.Error {
	for name, bases := range m.Aliases {
		if !aliasForm.MatchString(name) {
			return fault.New(fault.Invalid, "mirrors: alias %q is not a name", name).Fix("use lower-case letters, digits, dots and hyphens")
		}
		if len(bases) == 0 {
			return fault.New(fault.Invalid, "mirrors: alias %q has no address", name).Fix("list at least one base URL")
		}
		for i, base := range bases {
			if !slices.Contains([]string{"http", "https", "file"}, schemeOf(base)) {
				return fault.New(fault.Invalid, "mirrors: alias %q: %q is not an http, https or file address", name, base).Fix("write a whole URL")
			}
			bases[i] = strings.TrimRight(base, "/") + "/"
		}
	}
	for _, p := range m.Prefixes {
		if !strings.Contains(p.Prefix, "://") || len(p.To) == 0 {
			return fault.New(fault.Invalid, "mirrors: prefix %q needs a scheme and at least one \"to\"", p.Prefix).Fix("write whole URL prefixes")
		}
		for _, to := range p.To {
			if !slices.Contains([]string{"http", "https", "file", "mirror"}, schemeOf(to)) {
				return fault.New(fault.Invalid, "mirrors: prefix %q: %q is not an http, https, file or mirror address", p.Prefix, to).Fix("write a whole URL")
			}
		}
	}
	return nil
}

// Merge returns m with what it lacks taken from more: aliases by name, prefixes
// after its own.
func (m *Mirrors) Merge(more *Mirrors) *Mirrors {
	all := &Mirrors{Aliases: map[string][]string{}, Prefixes: append(slices.Clone(m.Prefixes), more.Prefixes...)}
	for _, from := range []*Mirrors{more, m} {
		for name, bases := range from.Aliases {
			all.Aliases[name] = bases
		}
	}
	return all
}

// Alias returns the address that locks and provenance use for u: an address
// below the base of an alias, by http or https alike, or in the pool of Debian's
// own servers, becomes mirror://NAME/path; any other stays as it is.
func (m *Mirrors) Alias(u string) string {
	bare, ok := withoutScheme(u)
	if !ok {
		return u
	}
	best, rest := "", ""
	for name, bases := range m.Aliases {
		for _, base := range bases {
			b, _ := withoutScheme(base)
			if after, ok := strings.CutPrefix(bare, b); ok && b != "" && (rest == "" || len(after) < len(rest) || len(after) == len(rest) && name < best) {
				best, rest = name, after
			}
		}
	}
	if rest != "" {
		return "mirror://" + best + "/" + rest
	}
	if host, p, _ := strings.Cut(bare, "/"); strings.HasSuffix(host, ".debian.org") {
		if name, rest := poolAlias("/" + p); name != "" {
			return "mirror://" + name + "/" + rest
		}
	}
	return u
}

// poolAlias splits the path of a file in a Debian pool into the alias that has
// it and the path below that alias's base.
func poolAlias(p string) (name, rest string) {
	for _, name := range []string{"debian", "debian-security"} {
		if _, after, ok := strings.Cut(p, "/"+name+"/pool/"); ok {
			return name, "pool/" + after
		}
	}
	return "", ""
}

// withoutScheme returns an http or https address without its scheme.
func withoutScheme(u string) (string, bool) {
	if s, ok := strings.CutPrefix(u, "https://"); ok {
		return s, true
	}
	return strings.CutPrefix(u, "http://")
}

// candidates returns the addresses to try for uri, in order. With verified, the
// content will be checked by digest, so a Debian mirror may stand in for any
// server whose address has the path of a Debian pool.
func (m *Mirrors) candidates(uri string, verified bool) ([]string, error) {
	if err := checkURI(uri); err != nil {
		return nil, err
	}
	if schemeOf(uri) == "mirror" {
		all, err := m.resolveAlias(uri)
		if err == nil && verified {
			all = append(all, m.siblings(uri)...)
		}
		return all, err
	}
	var all []string
	only := false
	if p := m.prefixOf(uri); p != nil {
		only = p.Only
		for _, to := range p.To {
			to += strings.TrimPrefix(uri, p.Prefix)
			if schemeOf(to) != "mirror" {
				all = append(all, to)
				continue
			}
			more, err := m.resolveAlias(to)
			if err != nil {
				return nil, err
			}
			all = append(all, more...)
		}
	}
	if name, rest := poolAlias(uri); name != "" && verified {
		for _, base := range m.Aliases[name] {
			all = append(all, base+rest)
		}
	}
	if !only {
		all = append(all, uri)
	}
	return compact(all), nil
}

// siblings returns where else a file of Debian's pools may be: an upstream
// archive is often in the main pool and the security pool alike, and one of them
// may have dropped it.
func (m *Mirrors) siblings(uri string) []string {
	rest, security := strings.CutPrefix(uri, "mirror://debian-security/pool/updates/")
	other := "debian"
	if !security {
		var main bool
		if rest, main = strings.CutPrefix(uri, "mirror://debian/pool/"); !main {
			return nil
		}
		rest, other = "updates/"+rest, "debian-security"
	}
	var all []string
	for _, base := range m.Aliases[other] {
		all = append(all, base+"pool/"+rest)
	}
	return all
}

// prefixOf returns the longest prefix that matches, or nil.
func (m *Mirrors) prefixOf(uri string) *Prefix {
	var best *Prefix
	for i, p := range m.Prefixes {
		if strings.HasPrefix(uri, p.Prefix) && (best == nil || len(p.Prefix) > len(best.Prefix)) {
			best = &m.Prefixes[i]
		}
	}
	return best
}

// resolveAlias returns the addresses that a mirror: URI stands for.
func (m *Mirrors) resolveAlias(uri string) ([]string, error) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(uri, "mirror://"), "/")
	if !ok || !aliasForm.MatchString(name) {
		return nil, fault.New(fault.Invalid, "%q is not of the form mirror://NAME/path", uri).Fix("for example mirror://debian/pool/main/…")
	}
	bases := m.Aliases[name]
	if len(bases) == 0 {
		return nil, fault.New(fault.Invalid, "no address is known for %s: neither the configured mirrors nor this machine's apt sources have the alias %q", uri, name).
			Fix("add %q to the aliases of the mirrors configuration", name)
	}
	all := make([]string, 0, len(bases))
	for _, base := range bases {
		all = append(all, base+rest)
	}
	return all, nil
}

// checkURI refuses addresses that could escape a base, carry credentials into a
// lock, or use another scheme than those that Fetch knows.
func checkURI(uri string) error {
	u, err := url.Parse(uri)
	bad := func(why string) error {
		return fault.New(fault.Invalid, "address %q %s", uri, why).Fix("use https://host/path, mirror://NAME/path or git+https://host/repo.git#<commit>")
	}
	switch {
	case err != nil || len(uri) > 4096:
		return bad("is not a URL")
	case !slices.Contains([]string{"http", "https", "mirror"}, u.Scheme):
		return bad("has a scheme that cannot be fetched")
	case u.Host == "":
		return bad("names no host")
	case u.User != nil:
		return fault.New(fault.Invalid, "an address of host %s carries a user name or a password", u.Host).
			Fix("put credentials into the mirrors configuration, not into a definition")
	case slices.Contains(strings.Split(u.Path, "/"), ".."):
		return bad("climbs out of its folder with \"..\"")
	}
	return nil
}

func schemeOf(u string) string {
	scheme, _, ok := strings.Cut(u, "://")
	if !ok {
		return ""
	}
	return scheme
}

// compact drops repeated strings and keeps the order.
func compact(all []string) []string {
	var once []string
	for _, s := range all {
		if !slices.Contains(once, s) {
			once = append(once, s)
		}
	}
	return once
}

// FileName returns the file name at the end of an address, without its query.
func FileName(uri string) string {
	if u, err := url.Parse(uri); err == nil && u.Path != "" {
		return path.Base(u.Path)
	}
	return path.Base(uri)
}
