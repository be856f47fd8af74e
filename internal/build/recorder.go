package build

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/ashlar-project/ashlar"
	"github.com/ashlar-project/ashlar/internal/engine"
)

// maxLog bounds what is kept of one step's log, in bytes.
const maxLog = 64 << 20

// A recorder gathers what the engine tells of the steps of a plan.
type recorder struct {
	live     io.Writer
	progress func(engine.Event)

	mu    sync.Mutex
	order []string // names of the vertices, in the plan's order
	seen  map[string]*vertex
	plan  *Plan
}

type vertex struct {
	log    bytes.Buffer
	took   time.Duration
	failed bool
}

func newRecorder(plan *Plan, live io.Writer, progress func(engine.Event)) *recorder {
	return &recorder{live: live, progress: progress, plan: plan, seen: map[string]*vertex{}, order: stepNames(plan)}
}

// stepNames returns the names of the steps' vertices in the plan's order.
func stepNames(plan *Plan) []string {
	var names []string
	for _, b := range plan.Builds {
		for i := range b.Steps {
			names = append(names, stepName(b.Name, i, &b.Steps[i]))
		}
	}
	return names
}

// event takes one report of the engine.
func (r *recorder) event(e engine.Event) {
	r.mu.Lock()
	v := r.seen[e.Name]
	if v == nil {
		v = &vertex{}
		r.seen[e.Name] = v
	}
	if room := maxLog - v.log.Len(); len(e.Log) > 0 && room > 0 {
		v.log.Write(e.Log[:min(room, len(e.Log))])
	}
	if !e.Completed.IsZero() && !e.Started.IsZero() {
		v.took = e.Completed.Sub(e.Started)
	}
	v.failed = v.failed || e.Error != ""
	if r.live != nil && len(e.Log) > 0 {
		r.live.Write(e.Log) //nolint: the live log is for watching; the kept one is complete
	}
	r.mu.Unlock()
	if r.progress != nil {
		r.progress(e)
	}
}

// log returns the logs of all steps, one after the other in the plan's order.
func (r *recorder) log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, name := range r.order {
		fmt.Fprintf(&b, "=== %s\n", name)
		if v := r.seen[name]; v != nil {
			b.Write(v.log.Bytes())
			if n := v.log.Len(); n > 0 && v.log.Bytes()[n-1] != '\n' {
				b.WriteByte('\n')
			}
		}
	}
	return b.String()
}

// steps returns what is known of each step, in the plan's order.
func (r *recorder) steps() []ashlar.StepResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []ashlar.StepResult
	for _, b := range r.plan.Builds {
		for i := range b.Steps {
			s := &b.Steps[i]
			res := ashlar.StepResult{Build: b.Name, Name: s.Name, Uses: s.Uses, Digest: s.Digest(), Network: s.Network}
			if v := r.seen[stepName(b.Name, i, s)]; v != nil {
				res.Took = v.took
			}
			all = append(all, res)
		}
	}
	return all
}

var (
	patchingFile = regexp.MustCompile(`(?m)^(?:patching|checking) file '?([^'\n]+)'?$`)
	failedHunk   = regexp.MustCompile(`(?m)^Hunk #(\d+) (?:FAILED|ignored) at (\d+)`)
	gitRefusal   = regexp.MustCompile(`(?m)^error: (?:patch failed: ([^:\n]+):(\d+)|([^:\n]+): patch does not apply)`)
	refusedPatch = regexp.MustCompile(`(?m)^ashlar: patch (\S+) does not apply$`)
)

// rejected names the patch, file and hunk that did not apply in a failed step,
// or returns "" if that is not what failed.
func (r *recorder) rejected() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.order {
		if v := r.seen[name]; v != nil && v.failed {
			return rejection(v.log.String())
		}
	}
	return ""
}

// rejection reads the output of patch or git apply.
func rejection(log string) string {
	refused := refusedPatch.FindStringSubmatch(log)
	if refused == nil {
		return ""
	}
	what := "patch " + refused[1] + " does not apply"
	if m := gitRefusal.FindStringSubmatch(log); m != nil && m[1] != "" {
		return fmt.Sprintf("%s: %s: the hunk at line %s does not fit", what, m[1], m[2])
	}
	if hunk := failedHunk.FindStringSubmatchIndex(log); hunk != nil {
		file := "?"
		if before := patchingFile.FindAllStringSubmatch(log[:hunk[0]], -1); before != nil {
			file = before[len(before)-1][1]
		}
		return fmt.Sprintf("%s: %s: hunk %s at line %s does not fit", what, file, log[hunk[2]:hunk[3]], log[hunk[4]:hunk[5]])
	}
	if strings.Contains(log, "can't find file to patch") {
		return what + ": the file that it changes is not in the source"
	}
	return what
}
