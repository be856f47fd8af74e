// Package work is the place where steps are chained: a definition becomes a
// lock, a plan, packages, a verdict and attestations, and those a publication.
// Each arrow of the design is one method; this package only passes what one
// returns to the next, and remembers results.
package work

import (
	"time"
)

// An Event tells a person what is under way.
type Event struct {
	Subject string        `json:"subject"`        // the definition
	Stage   string        `json:"stage"`          // "lock", "build", "gate", "attest", "publish"
	Step    string        `json:"step,omitempty"` // what exactly
	State   State         `json:"state"`
	Detail  string        `json:"detail,omitempty"`
	Took    time.Duration `json:"took,omitempty"` // in nanoseconds, once it ended
}

// A State says where a stage or step stands.
type State string

// The states of a stage or step.
const (
	Begun  State = "begun"
	Ended  State = "ended"
	Cached State = "cached" // nothing had to be done
	Failed State = "failed"
	Noted  State = "noted" // Detail has something that a reader should know
)
