package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar/internal/catalog"
	"github.com/ashlar-project/ashlar/internal/fault"
)

// A checked is what `check` prints of one definition.
type checked struct {
	Definition string            `json:"definition"`
	Target     string            `json:"target,omitempty"`
	OK         bool              `json:"ok"`
	Error      string            `json:"error,omitempty"`
	Findings   []catalog.Finding `json:"findings,omitempty"`
}

func (a *app) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check [DEFINITION|FOLDER...]", Short: "parse, expand and lint definitions; say what cannot be built and why",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"catalog"}
			}
			refs, err := a.definitions(args)
			if err != nil {
				return err
			}
			var results []checked
			failed := 0
			for _, ref := range refs {
				for _, r := range checkOne(ref.Root, ref.Path) {
					if !r.OK {
						failed++
					}
					results = append(results, r)
				}
			}
			err = a.print(results, func(w io.Writer) { printChecked(w, results, failed) })
			if err == nil && failed > 0 {
				return fault.New(fault.Failed, "%d of %d checks failed", failed, len(results))
			}
			return err
		},
	}
}

// checkOne checks a definition for each of its targets.
func checkOne(root, path string) []checked {
	def, err := catalog.Load(root, path)
	if err != nil {
		return []checked{{Definition: path, Error: err.Error()}}
	}
	var list []checked
	for _, t := range def.Targets() {
		c := checked{Definition: path, Target: t.String()}
		e, err := def.Expand(t)
		if err == nil {
			c.Findings = catalog.Lint(e)
			err = supported(e)
		}
		if c.OK = err == nil; err != nil {
			c.Error = err.Error()
		}
		list = append(list, c)
	}
	return list
}

// supported returns an error for the first step that cannot be carried out.
func supported(e *catalog.Expanded) error {
	for _, b := range e.Builds {
		for _, s := range b.Pipeline {
			if err := s.Supported(); err != nil {
				return err
			}
		}
	}
	return nil
}

func printChecked(w io.Writer, results []checked, failed int) {
	for _, c := range results {
		if !c.OK {
			fmt.Fprintf(w, "FAIL  %s\n      %s\n", c.Definition, c.Error)
		}
		for _, f := range c.Findings {
			fmt.Fprintf(w, "%-5s %s\n", f.Severity, f)
		}
	}
	fmt.Fprintf(w, "%d checked, %d cannot be built\n", len(results), failed)
}
