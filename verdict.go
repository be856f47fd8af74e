package ashlar

// A Verdict is what the gate found out about a build's output.
type Verdict struct {
	Passed  bool    `json:"passed"`
	Checks  []Check `json:"checks"`
	Indexes []Index `json:"indexes,omitempty"` // the snapshot that the checks were made on
}

// A Check is one thing that the gate looked at.
type Check struct {
	Name    string `json:"name"`    // "whole source set", "install", "upgrade"
	Subject string `json:"subject"` // the package
	Outcome string `json:"outcome"` // CheckPassed, CheckFailed or CheckLeftOut
	Detail  string `json:"detail,omitempty"`
}

// The outcomes of a check.
const (
	CheckPassed  = "passed"
	CheckFailed  = "failed"
	CheckLeftOut = "left out" // it could not be made; Detail says why
)

// Add appends a check; one that neither passed nor was left out fails the verdict.
func (v *Verdict) Add(c Check) {
	v.Checks = append(v.Checks, c)
	v.Passed = v.Passed && (c.Outcome == CheckPassed || c.Outcome == CheckLeftOut)
}
