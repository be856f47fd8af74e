package resolve

import (
	"strings"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// ownScheme begins the address of a repository of packages that this factory
// built itself, "ashlar://musl-1/main".
const ownScheme = "ashlar://"

// repositories are what contents.repositories of a build names.
type repositories struct {
	debian ashlar.Distro     // whose packages make the root, "" if no line says
	own    map[string]string // by tag: the address of a repository of our own
}

// parseRepositories reads contents.repositories: lines of apt, and of apk with
// its syntax for pinned repositories.
func parseRepositories(b *catalog.Build) (*repositories, error) {
	r := &repositories{own: map[string]string{}}
	for _, line := range b.Repositories {
		words := strings.Fields(line)
		var err error
		switch {
		case len(words) > 0 && words[0] == "deb":
			err = r.addDebian(words[1:])
		case len(words) == 2 && len(words[0]) > 1 && words[0][0] == '@' && strings.HasPrefix(words[1], ownScheme):
			err = r.addOwn(words[0][1:], strings.TrimSuffix(words[1], "/"))
		default:
			err = fault.New(fault.Invalid, "repository %q is of a kind that is not supported yet", line).
				Fix("write \"deb mirror://debian SUITE main\", or \"@TAG %sDISTRO/main\" for packages of this catalog", ownScheme)
		}
		if err != nil {
			return nil, at(err, b.Pos)
		}
	}
	return r, nil
}

// addOwn takes a repository of our own.
func (r *repositories) addOwn(tag, uri string) error {
	if was, twice := r.own[tag]; twice && was != uri {
		return fault.New(fault.Invalid, "@%s stands for both %s and %s", tag, was, uri).Fix("give each repository a tag of its own")
	}
	r.own[tag] = uri
	return nil
}

// addDebian takes a line of apt's without its first word. The release counts: its
// updates and security fixes come with it.
func (r *repositories) addDebian(words []string) error {
	if len(words) != 3 || words[0] != "mirror://debian" || words[2] != "main" {
		return fault.New(fault.Invalid, "repository \"deb %s\" is not supported yet", strings.Join(words, " ")).Fix("write \"deb mirror://debian SUITE main\"")
	}
	d := ashlar.DistroOfCodename(words[1])
	switch {
	case d == "" || d.Codename() != words[1]:
		return fault.New(fault.Invalid, "no Debian release is called %q", words[1]).Fix("use a codename such as bookworm")
	case r.debian != "" && r.debian != d:
		return fault.New(fault.Invalid, "a root of both %s and %s", r.debian, d).Fix("name one release")
	}
	r.debian = d
	return nil
}

// RootTarget returns the target whose packages the build roots of a definition
// are made of: the definition's own, unless its repositories name a release of
// Debian. All builds of a definition must agree.
func RootTarget(def *catalog.Expanded) (ashlar.Target, error) {
	target := def.Target
	for i := range def.Builds {
		b := &def.Builds[i]
		r, err := parseRepositories(b)
		if err != nil {
			return target, err
		}
		if r.debian == "" {
			continue
		}
		if target.Distro != def.Target.Distro && target.Distro != r.debian {
			return target, fault.New(fault.Invalid, "builds have roots of both %s and %s", target.Distro, r.debian).At(b.File, b.Line).Fix("name one release in all of them")
		}
		target.Distro = r.debian
	}
	return target, nil
}
