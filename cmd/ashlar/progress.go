package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/ashlar-project/ashlar/internal/work"
)

// A progress prints events: as JSON lines, as plain lines, or on a terminal with
// a last line that shows what is under way.
type progress struct {
	w    io.Writer
	json bool
	live bool
	now  func() time.Time

	mu      sync.Mutex
	current map[string]string    // subject → what it is doing
	since   map[string]time.Time // subject → since when
	shown   bool
}

// progress returns the function that verbs report to.
func (a *app) progress() func(work.Event) {
	if a.flags.quiet {
		return func(work.Event) {}
	}
	p := &progress{w: a.err, json: a.flags.json, now: a.now, current: map[string]string{}, since: map[string]time.Time{}}
	if f, ok := a.err.(*os.File); ok && !p.json {
		p.live = term.IsTerminal(int(f.Fd()))
	}
	a.closers = append(a.closers, func() error { p.clear(); return nil })
	return p.event
}

func (p *progress) event(e work.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		json.NewEncoder(p.w).Encode(e)
		return
	}
	p.erase()
	what := e.Stage
	if e.Step != "" {
		what += ": " + e.Step
	}
	switch e.State {
	case work.Begun:
		p.current[e.Subject], p.since[e.Subject] = what, p.now()
		if !p.live && e.Step == "" {
			fmt.Fprintf(p.w, "%s: %s …\n", e.Subject, what)
		}
	case work.Noted:
		fmt.Fprintf(p.w, "%s: %s: %s\n", e.Subject, what, e.Detail)
	default:
		if e.Step == "" {
			delete(p.current, e.Subject)
		}
		if e.Step == "" || e.State == work.Failed || (e.State == work.Ended && e.Took >= time.Second) {
			fmt.Fprintf(p.w, "%s: %s %s%s\n", e.Subject, what, outcome(e), detail(e.Detail))
		}
	}
	p.draw()
}

func outcome(e work.Event) string {
	switch e.State {
	case work.Cached:
		return "unchanged"
	case work.Failed:
		return "failed"
	}
	return fmt.Sprintf("done in %.1fs", e.Took.Seconds())
}

func detail(s string) string {
	if s == "" {
		return ""
	}
	return ", " + s
}

// draw writes the live line: what each subject is doing and for how long.
func (p *progress) draw() {
	if !p.live || len(p.current) == 0 {
		return
	}
	var parts []string
	for subject, what := range p.current {
		parts = append(parts, fmt.Sprintf("%s %s (%.0fs)", subject, what, p.now().Sub(p.since[subject]).Seconds()))
	}
	line := strings.Join(parts, " | ")
	if len(line) > 110 {
		line = line[:107] + "..."
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s", line)
	p.shown = true
}

// erase takes the live line away.
func (p *progress) erase() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.shown = false
	}
}

func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}
