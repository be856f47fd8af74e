package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/build"
	"github.com/ashlar-project/ashlar/internal/fault"
	"github.com/ashlar-project/ashlar/internal/work"
)

func (a *app) lockCommand() *cobra.Command {
	var arch string
	c := &cobra.Command{
		Use: "lock DEFINITION|FOLDER...", Short: "pin every input of definitions in a lock beside them, to be committed",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs, s, err := a.open(args)
			if err != nil {
				return err
			}
			type written struct {
				Lock  string   `json:"lock"`
				Files int      `json:"files"`
				Notes []string `json:"notes,omitempty"`
			}
			var done []written
			for _, ref := range refs {
				lock, lerr := s.WriteLock(c.Context(), ref, ashlar.Arch(arch))
				if lerr != nil {
					err = lerr
					break
				}
				done = append(done, written{ref.LockFile(ashlar.Arch(arch)), len(lock.Materials()), lock.Inputs.Notes})
			}
			return errors.Join(err, a.print(done, func(w io.Writer) {
				for _, d := range done {
					fmt.Fprintf(w, "%s  %d files\n", d.Lock, d.Files)
				}
			}))
		},
	}
	c.Flags().StringVar(&arch, "arch", "amd64", "architecture to lock for")
	return c
}

func (a *app) planCommand() *cobra.Command {
	var arch string
	var relock, graph bool
	c := &cobra.Command{
		Use: "plan DEFINITION", Short: "show the lock and the steps of a definition",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			refs, s, err := a.open(args)
			if err != nil {
				return err
			}
			if len(refs) != 1 {
				return fault.New(fault.Invalid, "plan takes one definition, %s has %d", args[0], len(refs)).Fix("name one .yaml file")
			}
			p, err := s.Plan(c.Context(), refs[0], work.BuildOptions{Arch: arch, Relock: relock})
			if err != nil {
				return err
			}
			if graph {
				return printGraph(a.out, p)
			}
			return a.print(map[string]any{"key": p.Plan.Key(), "lock": p.Lock, "plan": p.Plan}, func(w io.Writer) { printPlan(w, p) })
		},
	}
	a.builderFlags(c)
	c.Flags().StringVar(&arch, "arch", "amd64", "architecture to plan for")
	c.Flags().BoolVar(&relock, "relock", false, "resolve inputs anew even if there is a lock")
	c.Flags().BoolVar(&graph, "graph", false, "print the graph in the dot language")
	return c
}

func printPlan(w io.Writer, p *work.Planned) {
	fmt.Fprintf(w, "definition  %s\ntarget      %s\nlock        %s\nkey         %s\n", p.Plan.Definition, p.Plan.Target, p.Plan.Lock, p.Plan.Key())
	for _, n := range p.Lock.Inputs.Notes {
		fmt.Fprintf(w, "note        %s\n", n)
	}
	for i, b := range p.Plan.Builds {
		fmt.Fprintf(w, "\nbuild %s\n", b.Name)
		for _, l := range b.Root.Layers {
			fmt.Fprintf(w, "  root  %-10s %4d packages, %d calls of dpkg\n", l.Name, len(l.Packages), len(l.Order))
		}
		for _, src := range p.Lock.Inputs.Builds[i].Sources {
			fmt.Fprintf(w, "  file  %s  %s\n        %s (%s)\n", src.Digest.Short(), src.Path, src.URI, src.Anchor.Kind)
		}
		for j, s := range b.Steps {
			net := ""
			if s.Network {
				net = "  NETWORK"
			}
			fmt.Fprintf(w, "  step  %d %s%s\n", j, s.Name, net)
		}
	}
}

// printGraph prints the plan in the dot language: roots, files, steps.
func printGraph(w io.Writer, p *work.Planned) error {
	var b strings.Builder
	b.WriteString("digraph plan {\n  rankdir=LR; node [shape=box, fontname=\"sans-serif\"];\n")
	for i, bp := range p.Plan.Builds {
		last := ""
		node := func(kind string, n int, label string) {
			id := fmt.Sprintf("b%d_%s%d", i, kind, n)
			fmt.Fprintf(&b, "  %s [label=%q];\n", id, label)
			if last != "" {
				fmt.Fprintf(&b, "  %s -> %s;\n", last, id)
			}
			last = id
		}
		for j, l := range bp.Root.Layers {
			node("layer", j, fmt.Sprintf("%s\n%d packages", l.Name, len(l.Packages)))
		}
		for j, s := range bp.Steps {
			node("step", j, s.Name)
			graphInputs(&b, fmt.Sprintf("b%d", i), last, p.Lock.Inputs.Builds[i].Sources, s)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// graphInputs draws the pinned files that a step takes.
func graphInputs(b *strings.Builder, build, step string, sources []ashlar.Source, s build.Step) {
	for k, in := range s.Inputs {
		if k < len(sources) {
			fmt.Fprintf(b, "  %s_file%d [shape=note, label=%q];\n  %s_file%d -> %s;\n", build, k, sources[k].Name+"\n"+in.Digest.Short(), build, k, step)
		}
	}
}
