package pack

import (
	"strconv"
	"strings"

	"github.com/ashlar-project/ashlar/internal/catalog"
)

// ruleWith are the parameters of a rule that is more than a path.
type ruleWith struct {
	catalog.Pos
	Path   string       `yaml:"path,required"`
	Source string       `yaml:"source"`
	UID    string       `yaml:"uid"`
	GID    string       `yaml:"gid"`
	Mode   catalog.Mode `yaml:"mode"`
}

// rules reads the files of a package: paths, and rules with more than a path. No
// list at all is nil.
func rules(list []catalog.Raw, uses string) ([]Rule, error) {
	if list == nil {
		return nil, nil
	}
	rules := make([]Rule, 0, len(list))
	for _, raw := range list {
		w := ruleWith{Pos: raw.Pos()}
		switch v := raw.Value().(type) {
		case string:
			w.Path = v
		case map[string]any:
			if err := catalog.DecodeWith(catalog.Step{Pos: raw.Pos(), Uses: "files of " + uses, With: raw}, &w); err != nil {
				return nil, err
			}
		default:
			return nil, errorAt(raw.Pos(), "a rule for files is a path, or has a path and more").Fix("write - usr/bin/x, or - {path: usr/bin/x, source: usr/bin/y}")
		}
		r, err := w.rule()
		if err != nil {
			return nil, err
		}
		rules = append(rules, *r)
	}
	return rules, nil
}

// rule checks the parameters.
func (w *ruleWith) rule() (*Rule, error) {
	r := &Rule{Pos: w.Pos, UID: -1, GID: -1, Mode: -1}
	if w.Source == "" {
		w.Source = w.Path
	}
	for _, p := range []struct {
		text string
		to   *string
	}{{w.Path, &r.Path}, {w.Source, &r.Source}} {
		clean, ok := cleanPath(p.text)
		switch {
		case !ok || p.text == "":
			return nil, errorAt(w.Pos, "%q is not a path below the root", p.text).Fix("write it without .. and // in it, such as usr/bin/x")
		case strings.ContainsAny(p.text, "*?["):
			return nil, errorAt(w.Pos, "%q has a wildcard, which files do not have", p.text).Fix("name the folder, or each file")
		}
		*p.to = clean
	}
	for _, id := range []struct {
		key, text string
		to        *int
	}{{"uid", w.UID, &r.UID}, {"gid", w.GID, &r.GID}} {
		if id.text == "" {
			continue
		}
		n, err := strconv.ParseUint(id.text, 10, 20)
		if err != nil {
			return nil, errorAt(w.Pos, "%s is %q, which is no number that an owner may have", id.key, id.text)
		}
		*id.to = int(n)
	}
	if w.Mode != "" {
		n, err := strconv.ParseInt(string(w.Mode), 8, 32)
		if err != nil || n > 0o7777 {
			return nil, errorAt(w.Pos, "mode %q has bits that are no permissions", w.Mode)
		}
		r.Mode = n
	}
	return r, nil
}

// A text is a text of a definition, with its place.
type text struct {
	catalog.Pos
	text string
}

// texts reads a list that may be written as a single text.
func texts(r catalog.Raw) ([]text, error) {
	switch v := r.Value().(type) {
	case nil:
		return nil, nil
	case string:
		return []text{{r.Pos(), v}}, nil
	case []any:
		list := make([]text, 0, len(v))
		for _, item := range r.Items() {
			s, ok := item.Value().(string)
			if !ok {
				return nil, errorAt(item.Pos(), "an entry of the list is no text")
			}
			list = append(list, text{item.Pos(), s})
		}
		return list, nil
	}
	return nil, errorAt(r.Pos(), "a text or a list of texts is wanted")
}
