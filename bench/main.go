// Command bench measures what Ashlar promises to be fast or exact at, each
// figure beside a yardstick in the same run, and writes docs/benchmarks.md.
//
//	go run ./bench [-reps 5] [-state DIR] [NAME...]
//
// Each NAME is one section of that page and can be measured again without the
// others; without a name all are measured. It runs as root on a quiet machine,
// from the top of the repository, with bin/ashlar built.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A figure is one section of the page and the function that measures it.
type figure struct {
	name    string
	title   string
	measure func(ctx context.Context, l *lab) (*section, error)
}

// figures returns all figures in the order of the page.
func figures() []figure {
	return []figure{
		{"warm", "Nothing changed", warm},
		{"root", "Build roots", buildRoots},
		{"compile", "The compile itself", compile},
		{"index", "Repository indexes", indexes},
		{"apk", "Repository indexes for apk", apkIndexes},
		{"pack", "Packing files for apk", packing},
		{"solver", "The solver", solver},
		{"world", "A world of Alpine packages", worlds},
		{"debian", "Debian's own packages, bit for bit", debian},
		{"repro", "Two builds under different conditions", func(ctx context.Context, l *lab) (*section, error) { return repro(ctx, l, "debian-12") }},
		{"repro-musl", "Two builds of the musl world under different conditions", func(ctx context.Context, l *lab) (*section, error) { return repro(ctx, l, "musl-1") }},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures the figures that args name.
func run(ctx context.Context, args []string) error {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.reps, "reps", 5, "how often each thing is timed; the median counts")
	flags.StringVar(&o.state, "state", ".state/catalog", "state folder in which the catalog was built")
	flags.StringVar(&o.scratch, "scratch", ".state/bench", "folder for what the measurements need")
	flags.StringVar(&o.exe, "exe", "bin/ashlar", "the program that is measured")
	flags.StringVar(&o.page, "o", "docs/benchmarks.md", "page to write; - for standard output")
	flags.StringVar(&o.only, "only", "", "measure only definitions whose path contains this (warm, repro), or sources of this name (compile, debian)")
	flags.BoolVar(&o.keepGoing, "keep-going", false, "go on with the next figure or definition after one failed")
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "usage: go run ./bench [options] [%s]...\n", strings.Join(names(figures()), "|"))
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	chosen, err := choose(figures(), flags.Args())
	if err != nil {
		return err
	}
	l, err := newLab(o)
	if err != nil {
		return err
	}
	return l.measureAll(ctx, chosen)
}

func names(list []figure) []string {
	var out []string
	for _, f := range list {
		out = append(out, f.name)
	}
	return out
}

// choose returns the figures with the given names, all if there are none.
func choose(all []figure, wanted []string) ([]figure, error) {
	if len(wanted) == 0 {
		return all, nil
	}
	var out []figure
	for _, name := range wanted {
		i := slices.IndexFunc(all, func(f figure) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no figure %q; there are %s", name, strings.Join(names(all), ", "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// measureAll measures the figures one after the other and writes each to the
// page as soon as it is known.
func (l *lab) measureAll(ctx context.Context, chosen []figure) error {
	var failed []error
	for _, f := range chosen {
		l.logf("== %s", f.name)
		begun := time.Now()
		s, err := f.measure(ctx, l)
		if s != nil {
			s.Name, s.Title = f.name, f.title
			s.Made = fmt.Sprintf("Made by `%s` on %s, %s.", l.command(f.name), begun.UTC().Format("2006-01-02"), machine())
			if werr := l.write(s); werr != nil {
				return werr
			}
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", f.name, err)
		if !l.keepGoing || ctx.Err() != nil {
			return err
		}
		l.logf("%v", err)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
